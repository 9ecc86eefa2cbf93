//! The catalog of a cluster: databases, collections with options and UUIDs, views, indexes.

use super::namespace::Namespace;
use crate::model::Optime;
use bson::{RawDocumentBuf, Uuid};

/// What kind of object a catalog entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary, capped or clustered collection.
    Collection,
    /// `system.buckets.X`, the storage of time-series collection `X`.
    Buckets,
    /// The user-facing name of a time-series collection; no data of its own.
    Timeseries,
    /// A view.
    View,
}

/// One object of `listCollections`, with its indexes.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// Its name.
    pub namespace: Namespace,
    /// What it is.
    pub kind: Kind,
    /// `info.uuid`; absent for views.
    pub uuid: Option<Uuid>,
    /// `options`, as the server printed them.
    pub options: RawDocumentBuf,
    /// Index specs as `listIndexes` printed them, without the `_id` index, without clustered entries and without
    /// builds that are still running (their commit entry will be in the oplog).
    pub indexes: Vec<RawDocumentBuf>,
    /// The server's estimate of documents.
    pub documents: u64,
    /// Uncompressed size of the data in bytes.
    pub bytes: u64,
}

/// The selected objects of one database as they were at `as_of`.
#[derive(Debug, Clone)]
pub struct DatabaseCatalog {
    /// Database name.
    pub db: String,
    /// Every command entry (DDL) of this database up to and including this position is reflected, none after it is.
    pub as_of: Optime,
    /// Its selected objects.
    pub entries: Vec<CatalogEntry>,
}
