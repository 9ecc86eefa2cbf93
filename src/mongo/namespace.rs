//! `db.collection`, split at the first dot.

pub use crate::model::filter::{LEASE_DB, TEMPORARY_PREFIX};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A namespace. Equal and hashed by both parts; shown as `db.collection`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Namespace {
    /// Database name.
    pub db: String,
    /// Collection name; may hold dots.
    pub coll: String,
}

impl Namespace {
    /// From its parts.
    pub fn new(db: impl Into<String>, coll: impl Into<String>) -> Self {
        Self { db: db.into(), coll: coll.into() }
    }

    /// Splits `db.collection` at the first dot; `None` without one or with an empty part.
    pub fn parse(text: &str) -> Option<Self> {
        let (db, coll) = text.split_once('.')?;
        (!db.is_empty() && !coll.is_empty()).then(|| Self::new(db, coll))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}
