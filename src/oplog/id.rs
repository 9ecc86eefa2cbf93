//! A document's identity: its `_id` as bytes, and a key under which the server's equal ids are equal.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Uuid, raw::cstr};
use std::hash::{DefaultHasher, Hash, Hasher};

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
        let key = key(value, wrapped.as_bytes());
        Self { wrapped, key }
    }

    /// Equal for ids that the server may hold for equal; ids of different documents can share a key, too.
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

    /// The query that finds exactly this document: `{ "_id": { "$eq": value } }`.
    pub fn filter(&self) -> RawDocumentBuf {
        let mut equal = RawDocumentBuf::new();
        if let Ok(Some(value)) = self.wrapped.get("_id") {
            equal.append(cstr!("$eq"), value);
        }
        let mut filter = RawDocumentBuf::new();
        filter.append(cstr!("_id"), equal);
        filter
    }

    /// Which of `lanes` the document belongs to; changes of one document always go to the same lane.
    pub fn lane(&self, collection: Uuid, lanes: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (collection.bytes(), &self.key).hash(&mut hasher);
        usize::try_from(hasher.finish() % lanes.max(1) as u64).unwrap_or(0)
    }
}

/// Ids that the server holds for equal have equal keys. 1, 1.0, Long(1) and Decimal(1) are one id (OPLOG.md B.7), so
/// every number is keyed by its double value. Numbers inside sub-documents can be equal across types too: all such ids
/// share one key. Different documents under one key are told apart by their bytes; the batch never folds those.
fn key(value: RawBsonRef<'_>, wrapped: &[u8]) -> Vec<u8> {
    let number = |value: f64| {
        let value = if value == 0.0 { 0.0 } else { value };
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        [b"n".as_slice(), &bits.to_le_bytes()].concat()
    };
    match value {
        RawBsonRef::Double(value) => number(value),
        RawBsonRef::Int32(value) => number(f64::from(value)),
        RawBsonRef::Int64(value) => number(value as f64),
        RawBsonRef::Decimal128(value) => number(value.to_string().parse().unwrap_or(f64::NAN)),
        RawBsonRef::Symbol(text) | RawBsonRef::String(text) => [b"s", text.as_bytes()].concat(),
        RawBsonRef::Document(document) if !holds_numbers(document) => wrapped.to_vec(),
        RawBsonRef::Document(_) => b"document".to_vec(),
        _ => wrapped.to_vec(),
    }
}

fn holds_numbers(document: &RawDocument) -> bool {
    document.iter().any(|element| match element {
        Ok((_, RawBsonRef::Document(inner))) => holds_numbers(inner),
        Ok((_, value)) => matches!(
            value,
            RawBsonRef::Double(_)
                | RawBsonRef::Int32(_)
                | RawBsonRef::Int64(_)
                | RawBsonRef::Decimal128(_)
                | RawBsonRef::Symbol(_)
                | RawBsonRef::Array(_)
        ),
        Err(_) => true,
    })
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
    fn the_exact_bytes_are_kept() {
        let document = rawdoc! { "_id": 1_i64 };
        assert_eq!(id(&document).bytes(), [&[0x12][..], &1_i64.to_le_bytes()].concat());
        assert_eq!(id(&document).filter(), rawdoc! { "_id": { "$eq": 1_i64 } });
    }
}
