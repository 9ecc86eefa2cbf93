//! What anybody writes to the destination, from its own oplog: a document that was compared and is written afterwards is
//! in doubt again, whoever wrote it. Only reads.
//!
//! The applier's own writes are among them; they are touched already, and once more does no harm.

use super::{Target, Verifier, id::Id, id::elements};
use crate::{
    engine::retry::{Halt, retry},
    model::{Optime, Severity},
    mongo::{
        Namespace,
        errors::{code, explain},
    },
};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, Uuid, raw::cstr, rawdoc};
use futures_util::StreamExt;
use std::{collections::HashMap, sync::atomic::Ordering};

const UNAUTHORIZED: i32 = 13;

/// Where each collection is, and what it is called here.
type Names = HashMap<String, Uuid>;

impl Verifier {
    /// Reads on from where the last reading ended, and touches what was written. The first call begins here and now.
    pub(super) async fn watch_destination(&self, targets: &[Target]) -> Result<(), Halt> {
        if self.cannot_watch.load(Ordering::Relaxed) {
            return Ok(());
        }
        let names: Names = targets.iter().map(|target| (target.namespace.to_string(), target.uuid)).collect();
        let (context, cluster) = (&self.context, &self.context.destination);
        let what = "reading the oplog for verification";
        let read = || async {
            let Some(from) = self.dirty.watched() else {
                // Reads have read concern majority, too: what is behind this position is seen by them.
                self.dirty.set_watched(cluster.last_write().await?.majority_optime);
                return Ok(Ok(()));
            };
            match self.read_on(from, &names).await {
                Err(error) if code(&error) == Some(UNAUTHORIZED) => Ok(Err(error)),
                read => read.map(Ok),
            }
        };
        let read = retry(cluster.side, what, &context.events, &context.cancel, read).await?;
        if let Err(error) = read {
            self.cannot_watch.store(true, Ordering::Relaxed);
            let text = format!(
                "the destination's oplog cannot be read: what somebody else changes there after it was compared is not \
                 noticed ({})",
                explain(&error)
            );
            context.events.record(Severity::Warn, "verify", text);
        }
        Ok(())
    }

    async fn read_on(&self, from: Optime, names: &Names) -> Result<(), crate::mongo::cluster::DriverError> {
        let cluster = &self.context.destination;
        let mut cursor = cluster.login.database("local").run_raw_cursor_command(command(from)).batch().await?;
        let mut newest = None;
        while let Some(batch) = cursor.next().await {
            for entry in batch?.doc_slices()? {
                let Some(entry) = entry?.as_document() else { continue };
                let stamp = entry.get_timestamp("ts")?;
                let ts = Optime::new(stamp.time, stamp.increment);
                if newest.is_none() && ts != from {
                    break;
                }
                newest = Some(ts);
                if ts != from {
                    self.note(entry, names);
                }
            }
            // Touched first: a crash in between must not lose them.
            match newest {
                Some(newest) => self.dirty.set_watched(newest),
                None => break,
            }
        }
        if newest.is_none() {
            let text = "the destination's oplog no longer holds what was written since the last look; everything is \
                        compared again";
            self.context.events.record(Severity::Warn, "verify", text);
            self.dirty.touch_everything();
            self.dirty.set_watched(cluster.last_write().await?.majority_optime);
        }
        Ok(())
    }

    fn note(&self, entry: &RawDocument, names: &Names) {
        changes(entry, &mut |namespace, change| match (names.get(namespace), change) {
            (Some(uuid), Change::Document(key)) => self.dirty.touch(*uuid, &key),
            (Some(uuid), Change::Collection) => self.dirty.touch_all(*uuid),
            (None, _) => {}
        });
    }
}

/// What an entry changed in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The document of this key.
    Document(Vec<u8>),
    /// All documents at once: dropped, renamed, emptied.
    Collection,
}

/// Tells every change of an entry that was read with [`projected`].
pub(super) fn changes(entry: &RawDocument, tell: &mut impl FnMut(&str, Change)) {
    let Ok(ns) = entry.get_str("ns") else { return };
    if entry.get_str("op").unwrap_or_default() == "c" {
        if let Ok(command) = entry.get_document("c") {
            of_command(ns, command, tell);
        }
        return;
    }
    let field = |name: &[u8]| elements(entry.as_bytes()).find(|element| element.name == name);
    if let Some(id) = field(b"of").or_else(|| field(b"in")) {
        tell(ns, Change::Document(id.value.key()));
    }
}

fn of_command(ns: &str, command: &RawDocument, tell: &mut impl FnMut(&str, Change)) {
    let db = ns.split_once('.').map_or(ns, |(db, _)| db);
    let first = command.iter().next().and_then(Result::ok);
    match first.map(|(name, value)| (name.as_str(), value)) {
        Some(("applyOps", RawBsonRef::Array(operations))) => {
            for operation in operations.into_iter().filter_map(|operation| operation.ok()?.as_document()) {
                of_operation(operation, tell);
            }
        }
        Some(("drop" | "emptycapped" | "convertToCapped", RawBsonRef::String(coll))) => {
            tell(&Namespace::new(db, coll).to_string(), Change::Collection);
        }
        Some(("renameCollection", RawBsonRef::String(from))) => {
            tell(from, Change::Collection);
            tell(command.get_str("to").unwrap_or_default(), Change::Collection);
        }
        _ => {}
    }
}

fn of_operation(operation: &RawDocument, tell: &mut impl FnMut(&str, Change)) {
    let Ok(ns) = operation.get_str("ns") else { return };
    if operation.get_str("op").unwrap_or_default() == "c" {
        if let Ok(command) = operation.get_document("o") {
            of_command(ns, command, tell);
        }
        return;
    }
    let of = |field: &str| operation.get_document(field).ok().and_then(|document| Id::of(document.as_bytes()));
    if let Some(id) = of("o2").or_else(|| of("o")) {
        tell(ns, Change::Document(id.key()));
    }
}

/// Entries from `from` on.
fn command(from: Optime) -> RawDocumentBuf {
    let mut command = projected();
    command.append(cstr!("filter"), rawdoc! { "ts": { "$gte": Timestamp { time: from.t, increment: from.i } } });
    command
}

/// A reading of the oplog, still without filter. Entries are cut down to what is needed: the `_id` of updates (`of`), of
/// inserts and deletes (`in`), and commands whole.
pub(super) fn projected() -> RawDocumentBuf {
    let mut command = rawdoc! {
        "find": "oplog.rs",
        "projection": {
            "_id": 0, "ts": 1, "op": 1, "ns": 1, "of": "$o2._id", "in": "$o._id",
            "c": { "$cond": [{ "$eq": ["$op", "c"] }, "$o", "$$REMOVE"] },
        },
    };
    command.append(cstr!("readConcern"), rawdoc! { "level": "majority" });
    command
}
