//! One oplog entry, borrowed from its raw bytes.

use super::OplogError;
use crate::model::Optime;
use bson::{RawArray, RawBsonRef, RawDocument, Uuid};

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
    /// `n`: periodic no-op, new primary, notes, findAndModify images; and dbCheck.
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
    ApplyOps(&'a RawArray),
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
    /// The operations of this part.
    pub operations: &'a RawArray,
}

/// One operation inside an `applyOps`.
#[derive(Debug, Clone)]
pub enum Inner<'a> {
    /// A change of a user document.
    Change(Change<'a>),
    /// A command on a user database.
    Command(DdlEntry<'a>),
    /// A no-op or a change of a system database.
    Nothing,
}

impl Change<'_> {
    /// The `_id` of the document. An insert without one cannot be in an oplog.
    pub fn id(&self) -> Result<RawBsonRef<'_>, OplogError> {
        match &self.kind {
            ChangeKind::Insert(document) => {
                document.get("_id").ok().flatten().ok_or_else(|| OplogError::malformed("insert without _id", document))
            }
            ChangeKind::Update { id, .. } | ChangeKind::Delete(id) => Ok(*id),
        }
    }
}

/// True for namespaces that are never migrated (OPLOG.md section 0, rule 3).
fn is_system(ns: &str) -> bool {
    let db = ns.split('.').next().unwrap_or_default();
    matches!(db, "local" | "config" | "admin") || ns.ends_with(".system.profile")
}

fn optime(document: &RawDocument, field: &str) -> Option<Optime> {
    let stamp = document.get_timestamp(field).ok()?;
    Some(Optime::new(stamp.time, stamp.increment))
}

fn uuid(document: &RawDocument, field: &str) -> Option<Uuid> {
    let binary = document.get_binary(field).ok()?;
    Some(Uuid::from_bytes(binary.bytes.try_into().ok()?))
}

impl<'a> Entry<'a> {
    /// Reads an entry. What is not known, or cannot be migrated, is an error that carries the entry's text.
    pub fn parse(raw: &'a RawDocument) -> Result<Self, OplogError> {
        let malformed = |what| OplogError::malformed(what, raw);
        let ts = optime(raw, "ts").ok_or_else(|| malformed("entry without ts"))?;
        let wall_ms = raw.get_datetime("wall").map_err(|_| malformed("entry without wall"))?.timestamp_millis();
        Ok(Self { ts, term: raw.get_i64("t").unwrap_or(-1), wall_ms, body: body(raw)? })
    }
}

fn body(raw: &RawDocument) -> Result<Body<'_>, OplogError> {
    let malformed = |what| OplogError::malformed(what, raw);
    let op = raw.get_str("op").map_err(|_| malformed("entry without op"))?;
    match op {
        "n" => return Ok(Body::Noop),
        "i" | "u" | "d" | "c" => {}
        _ => return Err(OplogError::unsupported("an unknown operation", raw)),
    }
    let ns = raw.get_str("ns").map_err(|_| malformed("entry without ns"))?;
    if op == "c" {
        let o = raw.get_document("o").map_err(|_| malformed("command without o"))?;
        for refused in ["prepare", "commitTransaction", "abortTransaction"] {
            if o.get(refused).ok().flatten().is_some() {
                return Err(OplogError::unsupported("a prepared transaction (sharded clusters only)", raw));
            }
        }
        if let Ok(operations) = o.get_array("applyOps") {
            return applied(raw, o, operations);
        }
        if o.get("dbCheck").ok().flatten().is_some() {
            return Ok(Body::Noop);
        }
    }
    if is_system(ns) {
        return Ok(Body::System);
    }
    Ok(match operation(raw)? {
        Inner::Change(change) => Body::Change(change),
        Inner::Command(command) => Body::Command(command),
        Inner::Nothing => Body::Noop,
    })
}

fn applied<'a>(raw: &'a RawDocument, o: &'a RawDocument, operations: &'a RawArray) -> Result<Body<'a>, OplogError> {
    let malformed = |what| OplogError::malformed(what, raw);
    // Newer servers write the inserts of one command like this: parts that stand for themselves (type 1), although they
    // name a transaction number and the entry before them.
    let part = match raw.get("multiOpType").ok().flatten() {
        None | Some(RawBsonRef::Int32(0)) => true,
        Some(RawBsonRef::Int32(1)) => false,
        Some(_) => return Err(OplogError::unsupported("an unknown kind of applyOps", raw)),
    };
    if !part || !matches!(raw.get("txnNumber"), Ok(Some(_))) {
        return Ok(Body::ApplyOps(operations));
    }
    let number = raw.get_i64("txnNumber").map_err(|_| malformed("txnNumber is not a long"))?;
    let session = raw.get_document("lsid").ok().and_then(|lsid| uuid(lsid, "id"));
    let session = session.ok_or_else(|| malformed("transaction without lsid"))?;
    let previous = raw.get_document("prevOpTime").ok().and_then(|previous| optime(previous, "ts"));
    Ok(Body::Transaction(TransactionPart {
        key: (session, number),
        previous: previous.ok_or_else(|| malformed("transaction without prevOpTime"))?,
        partial: o.get_bool("partialTxn").unwrap_or(false),
        operations,
    }))
}

fn id_in<'a>(document: &'a RawDocument, raw: &RawDocument) -> Result<RawBsonRef<'a>, OplogError> {
    document.get("_id").ok().flatten().ok_or_else(|| OplogError::malformed("operation without _id", raw))
}

/// Reads one operation: a whole entry, or an element of `applyOps`, which has the same fields.
pub fn operation(raw: &RawDocument) -> Result<Inner<'_>, OplogError> {
    let malformed = |what| OplogError::malformed(what, raw);
    let op = raw.get_str("op").map_err(|_| malformed("operation without op"))?;
    let ns = raw.get_str("ns").map_err(|_| malformed("operation without ns"))?;
    if op == "n" {
        return Ok(Inner::Nothing);
    }
    let o = raw.get_document("o").map_err(|_| malformed("operation without o"))?;
    if op == "c" && matches!(o.get("applyOps"), Ok(Some(_))) {
        return Err(OplogError::unsupported("applyOps within applyOps", raw));
    }
    if is_system(ns) {
        return Ok(Inner::Nothing);
    }
    let uuid = uuid(raw, "ui");
    let kind = match op {
        "i" => ChangeKind::Insert(o),
        "u" => {
            let o2 = raw.get_document("o2").map_err(|_| malformed("update without o2"))?;
            ChangeKind::Update { id: id_in(o2, raw)?, update: o }
        }
        "d" => ChangeKind::Delete(id_in(o, raw)?),
        "c" => {
            let db = ns.strip_suffix(".$cmd").ok_or_else(|| malformed("command outside $cmd"))?;
            let first = o.iter().next().and_then(Result::ok).ok_or_else(|| malformed("empty command"))?;
            let (name, o2) = (first.0.as_str(), raw.get_document("o2").ok());
            return Ok(Inner::Command(DdlEntry { db, uuid, name, o, o2 }));
        }
        _ => return Err(OplogError::unsupported("an unknown operation", raw)),
    };
    Ok(Inner::Change(Change { ns, uuid, kind }))
}

/// The operations of an `applyOps` array, in order.
pub fn operations(array: &RawArray) -> impl Iterator<Item = Result<Inner<'_>, OplogError>> {
    array.into_iter().map(|element| {
        let document = element.ok().and_then(RawBsonRef::as_document);
        operation(document.ok_or(OplogError::Corrupt)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{DateTime, RawDocumentBuf, Timestamp, oid::ObjectId, rawdoc, spec::BinarySubtype};

    fn entry(op: &str, ns: &str, o: RawDocumentBuf) -> RawDocumentBuf {
        rawdoc! {
            "op": op, "ns": ns, "o": o, "ts": Timestamp { time: 7, increment: 1 }, "t": 1_i64, "v": 2_i64,
            "wall": DateTime::from_millis(7_000),
        }
    }

    fn transaction(o: RawDocumentBuf) -> RawDocumentBuf {
        let mut raw = entry("c", "admin.$cmd", o);
        let id = bson::Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] };
        let previous = rawdoc! { "ts": Timestamp { time: 0, increment: 0 }, "t": -1_i64 };
        raw.append(bson::raw::cstr!("lsid"), rawdoc! { "id": id });
        raw.append(bson::raw::cstr!("txnNumber"), 4_i64);
        raw.append(bson::raw::cstr!("prevOpTime"), previous);
        raw
    }

    #[test]
    fn prepared_transactions_are_refused_with_their_text() {
        for o in [
            rawdoc! { "applyOps": [], "prepare": true },
            rawdoc! { "commitTransaction": 1 },
            rawdoc! { "abortTransaction": 1 },
        ] {
            let error = Entry::parse(&transaction(o.clone())).unwrap_err().to_string();
            assert!(
                error.contains("prepared") && error.contains(o.iter().last().unwrap().unwrap().0.as_str()),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_operation_is_refused_wherever_it_is() {
        for ns in ["shop.orders", "config.x", ""] {
            let error = Entry::parse(&entry("xi", ns, rawdoc! { "_id": 1 })).unwrap_err();
            assert!(matches!(error, OplogError::Unsupported { .. }), "{error}");
        }
        assert!(
            Entry::parse(&entry("i", "", rawdoc! { "_id": 1 }))
                .is_ok_and(|entry| { matches!(entry.body, Body::Change(change) if change.ns.is_empty()) })
        );
    }

    #[test]
    fn parts_that_stand_for_themselves_are_no_transaction() {
        let o = rawdoc! { "applyOps": [entry("i", "a.b", rawdoc! { "_id": ObjectId::new() })] };
        let raw = transaction(o);
        assert!(
            matches!(Entry::parse(&raw).unwrap().body, Body::Transaction(part) if part.key.1 == 4 && !part.partial)
        );
        for (kind, whole) in [(0, false), (1, true)] {
            let mut raw = raw.clone();
            raw.append(bson::raw::cstr!("multiOpType"), kind);
            assert_eq!(matches!(Entry::parse(&raw).unwrap().body, Body::ApplyOps(_)), whole);
        }
        let mut raw = raw.clone();
        raw.append(bson::raw::cstr!("multiOpType"), 2);
        assert!(matches!(Entry::parse(&raw), Err(OplogError::Unsupported { .. })));
    }

    #[test]
    fn nothing_inside_apply_ops_is_skipped_but_no_ops_and_system_databases() {
        let inner = |op: &str, ns: &str, o: RawDocumentBuf| rawdoc! { "op": op, "ns": ns, "o": o };
        let array = rawdoc! { "a": [
            inner("i", "a.b", rawdoc! { "_id": 1 }),
            inner("n", "a.b", rawdoc! { "_id": 1 }),
            inner("d", "admin.system.roles", rawdoc! { "_id": 1 }),
            inner("c", "a.$cmd", rawdoc! { "create": "b" }),
            inner("c", "admin.$cmd", rawdoc! { "applyOps": [] }),
            inner("z", "a.b", rawdoc! { "_id": 1 }),
        ] };
        let found: Vec<_> = operations(array.get_array("a").unwrap()).collect();
        assert!(matches!(&found[0], Ok(Inner::Change(change)) if change.ns == "a.b"));
        assert!(matches!((&found[1], &found[2]), (Ok(Inner::Nothing), Ok(Inner::Nothing))));
        assert!(matches!(&found[3], Ok(Inner::Command(command)) if (command.db, command.name) == ("a", "create")));
        assert!(found[4].is_err() && found[5].is_err());
    }
}
