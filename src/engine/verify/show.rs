//! One document read on both sides for whoever asked. What it holds goes into the answer and nowhere else.

use super::{
    diff::differences,
    id::{Id, elements},
    read::try_one,
};
use crate::{
    model::{Problem, ShownDocument, ShownField, Side},
    mongo::{Cluster, Namespace, errors::command_problem},
};
use bson::{Bson, RawDocumentBuf};
use jiff::Timestamp;
use std::time::Duration;

/// Both sides answer within this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A longer value is cut, in characters.
const LONGEST: usize = 64 << 10;
/// Bytes of a value that are shown when its text does not tell it apart.
const BYTES: usize = 64;

/// Reads the document that `id` finds in `namespace`.
pub async fn show(
    (source, destination): (&Cluster, &Cluster),
    namespace: &str,
    id: &str,
) -> Result<ShownDocument, Problem> {
    let what = format!("reading a document of {namespace} on both sides");
    let bad = |side, why: &str, fix: &str| Problem {
        side,
        what: what.clone(),
        why: why.into(),
        fix: fix.into(),
        retry_helps: side != Side::Host,
        written: "Nothing was written by this.".into(),
    };
    let parsed = Namespace::parse(namespace);
    let wrapped = wrap(id);
    let (Some(parsed), Some(key)) = (parsed, wrapped.as_ref().and_then(|wrapped| Id::of(wrapped.as_bytes()))) else {
        return Err(bad(
            Side::Host,
            "it is not named by database.collection and _id",
            "Name it as mismatches are named.",
        ));
    };
    let reading = async { tokio::join!(try_one(source, &parsed, key), try_one(destination, &parsed, key)) };
    let Ok((left, right)) = tokio::time::timeout(PATIENCE, reading).await else {
        let why = format!("no answer within {} s", PATIENCE.as_secs());
        return Err(bad(Side::Host, &why, "Try again when both clusters answer."));
    };
    let left = left.map_err(|error| command_problem(source.side, what.clone(), &error))?;
    let right = right.map_err(|error| command_problem(destination.side, what.clone(), &error))?;
    let fields = match (&left, &right) {
        (Some(left), Some(right)) => fields(left, right),
        _ => Vec::new(),
    };
    let text = |document: &Option<Vec<u8>>| document.as_ref().map(|document| cut(write(Id::whole(document))));
    Ok(ShownDocument {
        namespace: namespace.into(),
        id: id.into(),
        at: Timestamp::now(),
        source: text(&left),
        destination: text(&right),
        fields,
    })
}

/// `{ _id: … }`.
fn wrap(id: &str) -> Option<RawDocumentBuf> {
    let value: Bson = serde_json::from_str(id).unwrap_or_else(|_| Bson::String(id.into()));
    RawDocumentBuf::try_from(&bson::doc! { "_id": value }).ok()
}

fn fields(left: &[u8], right: &[u8]) -> Vec<ShownField> {
    let shown = |difference: super::diff::Difference<'_>| {
        let (mut source, mut destination) = (difference.left.map(write), difference.right.map(write));
        if source == destination {
            // For example NaN and NaN.
            source = source.zip(difference.left).map(|(text, value)| with_bytes(&text, value));
            destination = destination.zip(difference.right).map(|(text, value)| with_bytes(&text, value));
        }
        ShownField { path: difference.path, source: source.map(cut), destination: destination.map(cut) }
    };
    differences(left, right).into_iter().map(shown).collect()
}

/// Canonical extended JSON in stored order; repeated names are kept.
fn write(value: Id<'_>) -> String {
    match value.kind() {
        0x03 => {
            let field = |element: super::id::Element<'_>| {
                let name = String::from_utf8_lossy(element.name);
                format!("{}:{}", Bson::String(name.into_owned()).into_canonical_extjson(), write(element.value))
            };
            format!("{{{}}}", elements(value.value()).map(field).collect::<Vec<_>>().join(","))
        }
        0x04 => {
            let items = elements(value.value()).map(|element| write(element.value));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        _ => {
            let document = bson::Document::try_from(&value.document()).ok();
            let value_of = document.and_then(|mut document| document.remove("_id"));
            match value_of {
                Some(value) => value.into_canonical_extjson().to_string(),
                None => with_bytes("not readable", value),
            }
        }
    }
}

fn with_bytes(text: &str, value: Id<'_>) -> String {
    let hex: String = value.value().iter().take(BYTES).map(|byte| format!("{byte:02x}")).collect();
    let more = if value.value().len() > BYTES { " and more" } else { "" };
    format!("{text} (bytes {hex}{more})")
}

/// For a terminal: no control character is left, and nothing is endless.
fn cut(text: String) -> String {
    let text: String = match text.chars().any(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.into() }).collect(),
        false => text,
    };
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((at, _)) => {
            let length = text.chars().count();
            format!("{} ... (cut; {length} characters in all)", text.get(..at).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Timestamp as BsonTimestamp, rawdoc};

    fn shown(a: &RawDocumentBuf, b: &RawDocumentBuf) -> Vec<(String, Option<String>, Option<String>)> {
        fields(a.as_bytes(), b.as_bytes()).into_iter().map(|one| (one.path, one.source, one.destination)).collect()
    }

    #[test]
    fn both_values_tell_what_differs() {
        let nan = |payload: u64| f64::from_bits(0x7ff8_0000_0000_0000 | payload);
        let zero = BsonTimestamp { time: 0, increment: 0 };
        let a = rawdoc! { "_id": 1, "n": 1, "x": nan(0), "s": { "a": 1, "b": "q" }, "t": zero, "gone": [true] };
        let b = rawdoc! { "_id": 1, "n": 1_i64, "x": nan(0xbeef), "s": { "b": "q", "a": 1 }, "t": zero };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(
            shown(&a, &b),
            [
                ("n".into(), some(r#"{"$numberInt":"1"}"#), some(r#"{"$numberLong":"1"}"#)),
                (
                    "x".into(),
                    some(r#"{"$numberDouble":"NaN"} (bytes 000000000000f87f)"#),
                    some(r#"{"$numberDouble":"NaN"} (bytes efbe00000000f87f)"#)
                ),
                (
                    "s (field order)".into(),
                    some(r#"{"a":{"$numberInt":"1"},"b":"q"}"#),
                    some(r#"{"b":"q","a":{"$numberInt":"1"}}"#)
                ),
                ("gone".into(), some("[true]"), None),
            ]
        );
    }

    #[test]
    fn repeated_names_and_long_values_are_said() {
        let repeated = rawdoc! { "x": 1, "x": 2 };
        assert_eq!(write(Id::whole(repeated.as_bytes())), r#"{"x":{"$numberInt":"1"},"x":{"$numberInt":"2"}}"#);
        let long = cut("é".repeat(LONGEST + 1));
        assert!(long.ends_with("é ... (cut; 65537 characters in all)"), "{}", long.len());
        assert_eq!(cut("é".repeat(LONGEST)).chars().count(), LONGEST);
    }

    #[test]
    fn identifiers_are_read_as_they_are_shown() {
        let of = |text: &str| Id::of(wrap(text).unwrap().as_bytes()).unwrap().show();
        for id in
            ["7", "\"7\"", r#"{"$oid":"6560c0ffee6560c0ffee6560"}"#, r#"{"b":1,"a":2}"#, r#"{"$numberDouble":"NaN"}"#]
        {
            assert_eq!(of(id), id);
        }
        assert_eq!(of("before-value"), "\"before-value\"");
    }
}
