//! One oplog entry, borrowed from its raw bytes.

use crate::model::Optime;
use bson::{RawBsonRef, RawDocument, Uuid};

/// An entry of `local.oplog.rs` (OPLOG.md A.1).
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Position.
    pub ts: Optime,
    /// Election term; -1 on the first entry of a set, which has none.
    pub term: i64,
    /// Wall time, ms since the epoch.
    pub wall_ms: i64,
    /// What it says.
    pub body: Body<'a>,
}

/// What an entry says.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// `n`: periodic no-op, new primary, notes, findAndModify images.
    Noop,
    /// A change in `admin`, `config` or `local`, or server bookkeeping: never migrated.
    System,
    /// One insert, update or delete of a user document.
    Change(Change<'a>),
    /// A command on a user database: create, drop, renameCollection, collMod, index builds, dropDatabase.
    Command(DdlEntry<'a>),
    /// Part of a transaction: `applyOps` with `lsid` and `txnNumber` (OPLOG.md A.3).
    Transaction(TransactionPart<'a>),
    /// A user's own `applyOps` command: its operations, applied in place.
    ApplyOps(&'a RawDocument),
}

/// One insert, update or delete.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// `db.collection` at the time of the entry.
    pub ns: &'a str,
    /// Collection UUID (`ui`).
    pub uuid: Option<Uuid>,
    /// What happened.
    pub kind: ChangeKind<'a>,
}

/// What happened to a document.
#[derive(Debug, Clone)]
pub enum ChangeKind<'a> {
    /// The whole document.
    Insert(&'a RawDocument),
    /// `o2._id` and the update in `o` (replacement, `$v:1` or `$v:2`).
    Update {
        /// The document's `_id`.
        id: RawBsonRef<'a>,
        /// The entry's `o`.
        update: &'a RawDocument,
    },
    /// The document's `_id`.
    Delete(RawBsonRef<'a>),
}

/// A command entry on a user database.
#[derive(Debug, Clone)]
pub struct DdlEntry<'a> {
    /// Database (the namespace without `.$cmd`).
    pub db: &'a str,
    /// Collection UUID (`ui`), absent for dropDatabase.
    pub uuid: Option<Uuid>,
    /// First key of `o`: `create`, `drop`, …
    pub name: &'a str,
    /// `o`.
    pub o: &'a RawDocument,
    /// `o2`.
    pub o2: Option<&'a RawDocument>,
}

/// One entry of a transaction.
#[derive(Debug, Clone)]
pub struct TransactionPart<'a> {
    /// `lsid.id` and `txnNumber`: which transaction.
    pub key: (Uuid, i64),
    /// Position of the part before this one; `Optime::default()` for the first.
    pub previous: Optime,
    /// More parts follow.
    pub partial: bool,
    /// The `applyOps` array's document (`o`).
    pub o: &'a RawDocument,
}
