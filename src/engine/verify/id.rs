//! Raw `_id` values: finding them in a document's bytes, the server's order of them, and how they are shown.
//!
//! The order only decides which of two streams is read on, never whether documents are equal: a mistake here costs
//! look-ups, not a wrong verdict. Pure.

use bson::{RawDocument, RawDocumentBuf};
use std::cmp::Ordering;

/// Longest identifier that is shown in full, in characters.
const SHOWN: usize = 300;

/// A raw `_id`: BSON type byte and the bytes of the value, borrowed from a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id<'a> {
    kind: u8,
    value: &'a [u8],
}

impl<'a> Id<'a> {
    /// The `_id` of a document given as BSON bytes; `None` when it has none or the bytes are not BSON.
    pub fn of(document: &'a [u8]) -> Option<Self> {
        elements(document).find(|element| element.name == b"_id").map(|element| element.value)
    }

    /// From a key: type byte, then value bytes.
    pub fn from_key(key: &'a [u8]) -> Option<Self> {
        let (kind, value) = key.split_first()?;
        (value_length(*kind, value)? == value.len()).then_some(Self { kind: *kind, value })
    }

    /// Type byte, then value bytes: what [`crate::engine::dirty::DirtySet`] keeps.
    pub fn key(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.value.len() + 1);
        key.push(self.kind);
        key.extend_from_slice(self.value);
        key
    }

    /// A whole document as one value.
    pub fn whole(document: &'a [u8]) -> Self {
        Self { kind: 0x03, value: document }
    }

    /// `{ _id: <this> }` as a document.
    pub fn document(self) -> RawDocumentBuf {
        let mut body = Vec::with_capacity(self.value.len() + 8);
        push_element(&mut body, b"_id", self);
        from_body(&body)
    }

    /// Type byte.
    pub fn kind(self) -> u8 {
        self.kind
    }

    /// Value bytes.
    pub fn value(self) -> &'a [u8] {
        self.value
    }

    /// The order of the `_id` index (simple collation). `Equal` for values that the server takes for one key, such as
    /// `1` and `1.0`; decimals are compared with other numbers to about 15 digits.
    pub fn compare(self, other: Self) -> Ordering {
        canonical(self.kind).cmp(&canonical(other.kind)).then_with(|| self.compare_within_type(other))
    }

    /// True when [`Id::compare`] is the server's order to the last bit for this kind of value.
    pub fn is_exactly_ordered(self) -> bool {
        matches!(self.kind, 0x01 | 0x02 | 0x05 | 0x07 | 0x08 | 0x09 | 0x0A | 0x10 | 0x11 | 0x12 | 0x7F | 0xFF)
    }

    fn compare_within_type(self, other: Self) -> Ordering {
        let (a, b) = (self.value, other.value);
        match self.kind {
            0x01 | 0x10 | 0x12 | 0x13 => Number::of(self).compare(Number::of(other)),
            0x02 | 0x0D | 0x0E => text(a).cmp(text(b)),
            0x03 | 0x04 => compare_documents(a, b),
            0x05 => compare_binary(a, b),
            0x09 => int64(a).cmp(&int64(b)),
            0x11 => int64(a).cast_unsigned().cmp(&int64(b).cast_unsigned()),
            0x06 | 0x0A | 0x7F | 0xFF => Ordering::Equal,
            _ => a.cmp(b),
        }
    }

    /// The identifier as relaxed extended JSON, shortened when it is very long.
    pub fn show(self) -> String {
        let document = self.document();
        let value = bson::Document::try_from(&document).ok().and_then(|mut document| document.remove("_id"));
        let text = value.as_ref().map(extended_json);
        let text = text.unwrap_or_else(|| {
            let hex: String = self.value.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
            format!("BSON type {} {hex}", self.kind)
        });
        if text.chars().count() <= SHOWN {
            return text;
        }
        text.chars().take(SHOWN).chain("...".chars()).collect()
    }
}

/// Relaxed extended JSON that keeps the order of fields (serde_json's own values sort them) and can tell NaN.
fn extended_json(value: &bson::Bson) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value {
        bson::Bson::Double(value) if value.is_nan() => r#"{"$numberDouble":"NaN"}"#.into(),
        bson::Bson::Double(value) if value.is_infinite() => {
            let sign = if *value < 0.0 { "-" } else { "" };
            format!(r#"{{"$numberDouble":"{sign}Infinity"}}"#)
        }
        bson::Bson::Document(document) => {
            let field = |(name, value): (&String, _)| format!("{}:{}", serde_json::json!(name), extended_json(value));
            format!("{{{}}}", list(document.iter().map(field).collect()))
        }
        bson::Bson::Array(array) => format!("[{}]", list(array.iter().map(extended_json).collect())),
        other => serde_json::to_string(other).unwrap_or_else(|_| other.to_string()),
    }
}

/// One element of a document.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Field name without the terminator.
    pub name: &'a [u8],
    /// Type and value.
    pub value: Id<'a>,
}

/// The elements of a document or array in stored order; ends early where the bytes are not BSON.
pub fn elements(document: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = document.get(4..document.len().saturating_sub(1)).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first()?;
        let end = after.iter().position(|byte| *byte == 0)?;
        let (name, after) = (&after[..end], &after[end + 1..]);
        let length = value_length(*kind, after)?;
        let value = after.get(..length)?;
        rest = &after[length..];
        Some(Element { name, value: Id { kind: *kind, value } })
    })
}

/// `{ _id: { $in: [ids] } }`, built from the raw values so that nothing is decoded on the way.
pub fn in_filter<'a>(ids: impl Iterator<Item = Id<'a>>) -> RawDocumentBuf {
    let mut body = Vec::new();
    for (index, id) in ids.enumerate() {
        push_element(&mut body, index.to_string().as_bytes(), id);
    }
    let array = from_body(&body);
    let mut body = Vec::with_capacity(array.as_bytes().len() + 8);
    push_element(&mut body, b"$in", Id { kind: 0x04, value: array.as_bytes() });
    let operator = from_body(&body);
    let mut body = Vec::with_capacity(operator.as_bytes().len() + 8);
    push_element(&mut body, b"_id", Id { kind: 0x03, value: operator.as_bytes() });
    from_body(&body)
}

fn push_element(body: &mut Vec<u8>, name: &[u8], value: Id<'_>) {
    body.push(value.kind);
    body.extend_from_slice(name);
    body.push(0);
    body.extend_from_slice(value.value);
}

/// A document from its encoded elements.
fn from_body(body: &[u8]) -> RawDocumentBuf {
    let length = body.len() + 5;
    let mut bytes = Vec::with_capacity(length);
    // A document that came from a server is far below 2 GiB.
    bytes.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.push(0);
    RawDocument::from_bytes(&bytes).map(ToOwned::to_owned).unwrap_or_default()
}

fn value_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let prefixed = |extra: usize| -> Option<usize> {
        let length = i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        usize::try_from(length).ok()?.checked_add(extra)
    };
    let length = match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0D | 0x0E => prefixed(4)?,
        0x03 | 0x04 | 0x0F => prefixed(0)?.max(4),
        0x05 => prefixed(5)?,
        0x06 | 0x0A | 0x7F | 0xFF => 0,
        0x07 => 12,
        0x08 => 1,
        0x0B => {
            let pattern = bytes.iter().position(|byte| *byte == 0)?;
            pattern + 2 + bytes.get(pattern + 1..)?.iter().position(|byte| *byte == 0)?
        }
        0x0C => prefixed(16)?,
        0x10 => 4,
        0x13 => 16,
        _ => return None,
    };
    (length <= bytes.len()).then_some(length)
}

/// The server's order of types (`canonicalizeBSONType`).
fn canonical(kind: u8) -> u8 {
    match kind {
        0xFF => 0,
        0x06 => 1,
        0x0A => 5,
        0x01 | 0x10 | 0x12 | 0x13 => 10,
        0x02 | 0x0E => 15,
        0x03 => 20,
        0x04 => 25,
        0x05 => 30,
        0x07 => 35,
        0x08 => 40,
        0x09 => 45,
        0x11 => 47,
        0x0B => 50,
        0x0C => 55,
        0x0D => 60,
        0x0F => 65,
        0x7F => 127,
        _ => 126,
    }
}

fn text(value: &[u8]) -> &[u8] {
    value.get(4..value.len().saturating_sub(1)).unwrap_or_default()
}

fn int64(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_le_bytes)
}

fn compare_binary(a: &[u8], b: &[u8]) -> Ordering {
    let length = |value: &[u8]| value.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_le_bytes);
    length(a).cmp(&length(b)).then_with(|| a.get(4..).cmp(&b.get(4..)))
}

fn compare_documents(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (elements(a), elements(b));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(l), Some(r)) => {
                let order = canonical(l.value.kind)
                    .cmp(&canonical(r.value.kind))
                    .then_with(|| l.name.cmp(r.name))
                    .then_with(|| l.value.compare_within_type(r.value));
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    fn of(id: Id<'_>) -> Self {
        match id.kind {
            0x10 => Number::Integer(id.value.try_into().map_or(0, i32::from_le_bytes).into()),
            0x12 => Number::Integer(int64(id.value)),
            0x01 => Number::Float(id.value.try_into().map_or(f64::NAN, f64::from_le_bytes)),
            _ => {
                let text = id.value.try_into().map(|bytes| bson::Decimal128::from_bytes(bytes).to_string());
                let text = text.unwrap_or_default();
                if let Ok(integer) = text.parse() {
                    return Number::Integer(integer);
                }
                let float: f64 = text.parse().unwrap_or(f64::NAN);
                // A decimal beyond the range of a double is still less than infinity.
                let overflowed = float.is_infinite() && text.contains(|digit: char| digit.is_ascii_digit());
                Number::Float(if overflowed { f64::MAX.copysign(float) } else { float })
            }
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
            (Number::Float(a), Number::Float(b)) => compare_floats(a, b),
            (Number::Integer(a), Number::Float(b)) => compare_mixed(a, b),
            (Number::Float(a), Number::Integer(b)) => compare_mixed(b, a).reverse(),
        }
    }
}

/// NaN before every other number, all NaN equal, as in the server's index.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Exact: no integer is rounded on the way.
fn compare_mixed(a: i64, b: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if b.is_nan() || b < -LIMIT {
        return Ordering::Greater;
    }
    if b >= LIMIT {
        return Ordering::Less;
    }
    let whole = b.trunc();
    a.cmp(&(whole as i64)).then_with(|| compare_floats(whole, b))
}

#[cfg(test)]
#[path = "id_tests.rs"]
mod tests;
