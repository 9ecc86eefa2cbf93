//! A document's identity: its `_id` as bytes, and a key under which the server's equal ids are equal.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Uuid, raw::cstr};
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

/// A document's `_id`: exact bytes plus a key for "is the same document to the server".
#[derive(Debug, Clone)]
pub struct DocumentId {
    /// `{ "_id": value }`, the value as it was in the entry.
    wrapped: RawDocumentBuf,
    key: Vec<u8>,
}

impl PartialEq for DocumentId {
    /// Same bytes. Ids that differ here may still be one document to the server: see [`DocumentId::key`].
    fn eq(&self, other: &Self) -> bool {
        self.wrapped.as_bytes() == other.wrapped.as_bytes()
    }
}

impl Eq for DocumentId {}

/// Offset of the value in `{ "_id": value }`: length, type byte, `_id\0`.
const VALUE: usize = 4 + 1 + 4;

impl DocumentId {
    /// From the value of `_id`.
    pub fn new(value: RawBsonRef<'_>) -> Self {
        let mut wrapped = RawDocumentBuf::new();
        wrapped.append(cstr!("_id"), value);
        let mut key = Vec::with_capacity(wrapped.as_bytes().len() + 8);
        canonical(&mut key, value);
        Self { wrapped, key }
    }

    /// Equal for ids that the server holds for equal (except under a collation, which is the caller's to know); seldom
    /// equal for ids of different documents, so compare the ids themselves before taking them for one.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// `{ "_id": value }`.
    pub fn wrapped(&self) -> &RawDocument {
        &self.wrapped
    }

    /// Type byte, then the value's bytes: what [`crate::engine`] remembers about touched documents.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.wrapped.as_bytes();
        let mut out = Vec::with_capacity(bytes.len() - VALUE);
        out.push(bytes[4]);
        out.extend_from_slice(&bytes[VALUE..bytes.len() - 1]);
        out
    }

    /// The query that finds exactly this document. In its plain form, `{ "_id": value }`, the server goes straight to the
    /// `_id` index; for `{ "_id": { "$eq": value } }` it plans every statement anew (6.0.5: 2.3 times its processor time
    /// for a delete, 1.6 times for an update), so that stands only where the plain form would be an operator or a pattern.
    pub fn filter(&self) -> Cow<'_, RawDocument> {
        let value = match self.wrapped.get("_id") {
            Ok(Some(value)) if reads_as_operator(value) => value,
            _ => return Cow::Borrowed(&self.wrapped),
        };
        let mut equal = RawDocumentBuf::new();
        equal.append(cstr!("$eq"), value);
        let mut filter = RawDocumentBuf::new();
        filter.append(cstr!("_id"), equal);
        Cow::Owned(filter)
    }

    /// Which of `lanes` the document belongs to; changes of one document always go to the same lane.
    pub fn lane(&self, collection: Uuid, lanes: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (collection.bytes(), &self.key).hash(&mut hasher);
        usize::try_from(hasher.finish() % lanes.max(1) as u64).unwrap_or(0)
    }
}

/// In a query the server takes a document whose first name has a dollar for operators, and an expression for a pattern.
fn reads_as_operator(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Document(document) => {
            document.iter().next().is_some_and(|first| first.is_ok_and(|(name, _)| name.as_str().starts_with('$')))
        }
        RawBsonRef::RegularExpression(_) => true,
        _ => false,
    }
}

/// Appends the canonical form of a value: equal for ids that the server holds for equal (OPLOG.md B.7: 1, 1.0, Long(1)
/// and Decimal(1) are one id, inside sub-documents too), and different for almost all others. Decimals that no double
/// equals share the key of the nearest double; the batch tells them apart by their bytes.
fn canonical(out: &mut Vec<u8>, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Int32(value) => integer(out, i64::from(value)),
        RawBsonRef::Int64(value) => integer(out, value),
        RawBsonRef::Double(value) => double(out, value),
        RawBsonRef::Decimal128(value) => {
            let text = value.to_string();
            match whole_number(&text) {
                Some(value) => integer(out, value),
                None => fraction(out, text.parse().unwrap_or(f64::NAN)),
            }
        }
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
            out.push(b's');
            sized(out, text.as_bytes());
        }
        RawBsonRef::Document(document) => {
            out.push(b'{');
            elements(out, document);
        }
        RawBsonRef::Array(array) => {
            out.push(b'[');
            for element in array {
                match element {
                    Ok(element) => canonical(out, element),
                    Err(_) => out.push(b'?'),
                }
            }
            out.push(b']');
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.push(b'c');
            sized(out, code.code.as_bytes());
            elements(out, code.scope);
        }
        RawBsonRef::ObjectId(id) => {
            out.push(b'o');
            out.extend_from_slice(&id.bytes());
        }
        // Of one type only, so that equal means equal bytes.
        other => {
            let mut wrapped = RawDocumentBuf::new();
            wrapped.append(cstr!(""), other);
            out.push(b'=');
            sized(out, &wrapped.as_bytes()[4..]);
        }
    }
}

fn elements(out: &mut Vec<u8>, document: &RawDocument) {
    for element in document {
        match element {
            Ok((name, value)) => {
                sized(out, name.as_str().as_bytes());
                canonical(out, value);
            }
            Err(_) => out.push(b'?'),
        }
    }
    out.push(b'}');
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&bytes.len().to_le_bytes());
    out.extend_from_slice(bytes);
}

fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b'i');
    out.extend_from_slice(&value.to_le_bytes());
}

fn double(out: &mut Vec<u8>, value: f64) {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value) {
        integer(out, value as i64);
    } else {
        fraction(out, value);
    }
}

/// What no 64-bit integer equals. All NaN are one id.
fn fraction(out: &mut Vec<u8>, value: f64) {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    out.push(b'f');
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// The 64-bit integer that a decimal such as `1.50E+3` equals, if it equals one.
fn whole_number(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.trim_start_matches('+')),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{after}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    let dropped = digits.len() - significant.len();
    if significant.trim_start_matches('0').is_empty() {
        return Some(0);
    }
    let scale = exponent.parse::<i64>().ok()? - i64::try_from(after.len()).ok()? + i64::try_from(dropped).ok()?;
    let scale = u32::try_from(scale).ok()?;
    let magnitude = 10_i128.checked_pow(scale)?.checked_mul(significant.parse().ok()?)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn id(document: &RawDocumentBuf) -> DocumentId {
        DocumentId::new(document.get("_id").unwrap().unwrap())
    }

    #[test]
    fn numbers_of_any_type_are_one_document() {
        let ids = [rawdoc! { "_id": 1 }, rawdoc! { "_id": 1.0 }, rawdoc! { "_id": 1_i64 }];
        for other in &ids {
            assert_eq!(id(&ids[0]).key(), id(other).key());
            assert_eq!(id(&ids[0]).lane(Uuid::from_bytes([7; 16]), 8), id(other).lane(Uuid::from_bytes([7; 16]), 8));
        }
        assert_eq!(id(&rawdoc! { "_id": 0.0 }).key(), id(&rawdoc! { "_id": -0.0 }).key());
        assert_ne!(id(&rawdoc! { "_id": 1 }).key(), id(&rawdoc! { "_id": "1" }).key());
        assert_ne!(id(&rawdoc! { "_id": { "a": "x" } }).key(), id(&rawdoc! { "_id": { "b": "x" } }).key());
        assert_ne!(id(&rawdoc! { "_id": { "a": 1, "b": 2 } }), id(&rawdoc! { "_id": { "b": 2, "a": 1 } }));
    }

    #[test]
    fn decimals_meet_the_numbers_that_they_equal() {
        let decimal = |text: &str| rawdoc! { "_id": text.parse::<bson::Decimal128>().unwrap() };
        for text in ["1", "1.0", "1.000", "10E-1", "0.1E1", "+1"] {
            assert_eq!(id(&decimal(text)).key(), id(&rawdoc! { "_id": 1 }).key(), "{text}");
        }
        assert_eq!(id(&decimal("-0E+3")).key(), id(&rawdoc! { "_id": 0 }).key());
        assert_eq!(id(&decimal("1.5E+3")).key(), id(&rawdoc! { "_id": 1500_i64 }).key());
        assert_eq!(id(&decimal("-9223372036854775808")).key(), id(&rawdoc! { "_id": i64::MIN }).key());
        assert_eq!(
            id(&decimal("9223372036854775808")).key(),
            id(&rawdoc! { "_id": 9_223_372_036_854_775_808.0 }).key()
        );
        assert_eq!(id(&decimal("1E+40")).key(), id(&rawdoc! { "_id": 1e40 }).key());
        assert_eq!(id(&decimal("0.5")).key(), id(&rawdoc! { "_id": 0.5 }).key());
        assert_eq!(id(&decimal("NaN")).key(), id(&rawdoc! { "_id": -f64::NAN }).key());
        assert_eq!(id(&decimal("-Infinity")).key(), id(&rawdoc! { "_id": f64::NEG_INFINITY }).key());
        assert_ne!(id(&decimal("9007199254740993")).key(), id(&rawdoc! { "_id": 9_007_199_254_740_992.0 }).key());
    }

    #[test]
    fn neighbouring_large_numbers_and_composite_ids_have_keys_of_their_own() {
        let first = 1_234_567_890_123_456_789_i64;
        assert_ne!(id(&rawdoc! { "_id": first }).key(), id(&rawdoc! { "_id": first + 1 }).key());
        assert_ne!(id(&rawdoc! { "_id": { "u": 1, "d": 2 } }).key(), id(&rawdoc! { "_id": { "u": 2, "d": 2 } }).key());
        assert_ne!(id(&rawdoc! { "_id": { "a": [1], "b": 2 } }).key(), id(&rawdoc! { "_id": { "a": [1, 2] } }).key());
        let (int, long) =
            (rawdoc! { "_id": { "u": [1, { "x": 2 }] } }, rawdoc! { "_id": { "u": [1.0, { "x": 2_i64 }] } });
        assert_eq!(id(&int).key(), id(&long).key());
        assert_ne!(id(&rawdoc! { "_id": "a" }).key(), id(&rawdoc! { "_id": bson::oid::ObjectId::new() }).key());
    }

    #[test]
    fn the_exact_bytes_are_kept() {
        let document = rawdoc! { "_id": 1_i64 };
        assert_eq!(id(&document).bytes(), [&[0x12][..], &1_i64.to_le_bytes()].concat());
    }

    #[test]
    fn an_id_that_would_be_an_operator_is_compared_by_one() {
        for plain in [rawdoc! { "_id": 1_i64 }, rawdoc! { "_id": { "a": { "$b": 1 } } }, rawdoc! { "_id": {} }] {
            assert_eq!(id(&plain).filter().as_bytes(), plain.as_bytes());
        }
        let reference = rawdoc! { "_id": { "$ref": "c", "$id": 1 } };
        let expected = rawdoc! { "_id": { "$eq": { "$ref": "c", "$id": 1 } } };
        assert_eq!(id(&reference).filter().as_bytes(), expected.as_bytes());
    }
}
