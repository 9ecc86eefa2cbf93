//! Copies one range: raw batches from `find` on the source to `insert` on the destination, without decoding.

use super::{Range, refused};
use crate::{
    engine::{
        context::Context,
        retry::{Halt, retry},
        throttle::Throttle,
    },
    model::{Severity, Side},
    mongo::{
        catalog::{CatalogEntry, Kind},
        cluster::DriverError,
        errors::{code, command_problem, explain, is_transient},
    },
    oplog::{
        DocumentId,
        batch::{holds_zero_timestamp, upsert_statement},
    },
};
use bson::{Binary, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc, spec::BinarySubtype};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use std::time::Duration;

/// The collection does not exist (any more).
const NAMESPACE_NOT_FOUND: i32 = 26;
/// The cursor died because its collection was renamed or dropped.
const QUERY_PLAN_KILLED: i32 = 175;
/// The cursor died because the capped collection went round; the copy of it begins anew.
const CAPPED_POSITION_LOST: i32 = 136;

/// Copies one range; `copied(documents, bytes)` after each batch. A collection that was dropped on the source meanwhile
/// is not an error: the replay drops it on the destination too.
pub async fn copy_range(
    context: &Context,
    entry: &CatalogEntry,
    range: &Range,
    throttle: &Throttle,
    copied: impl Fn(u64, u64),
) -> Result<(), Halt> {
    let mut range = range.clone();
    let mut delay = Duration::from_millis(100);
    loop {
        context.gate.pass(&context.cancel).await?;
        let outcome = tokio::select! {
            () = context.cancel.cancelled() => return Err(Halt::Cancelled),
            outcome = copy_once(context, entry, &mut range, throttle, &copied) => outcome,
        };
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(Stop::Halt(halt)) => return Err(halt),
            Err(Stop::Source(error)) => error,
        };
        match code(&error) {
            Some(NAMESPACE_NOT_FOUND) => {
                let text = format!("{} was dropped on the source while it was copied", entry.namespace);
                context.events.record(Severity::Info, "dropped", text);
                return Ok(());
            }
            Some(QUERY_PLAN_KILLED | CAPPED_POSITION_LOST) => {}
            _ if is_transient(&error) => {
                let text = format!("reading {} was interrupted and goes on: {}", entry.namespace, explain(&error));
                context.events.record(Severity::Warn, "retry", text);
            }
            _ => {
                return Err(command_problem(Side::Source, format!("reading {} failed", entry.namespace), &error).into());
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => return Err(Halt::Cancelled),
            () = tokio::time::sleep(delay) => {}
        }
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

enum Stop {
    Halt(Halt),
    Source(DriverError),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Stop::Halt(halt)
    }
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Stop::Source(error)
    }
}

/// Reads and writes overlap: while a batch is inserted, the next one is on its way. `range.from` moves along, so that an
/// interrupted range goes on where it was.
async fn copy_once(
    context: &Context,
    entry: &CatalogEntry,
    range: &mut Range,
    throttle: &Throttle,
    copied: &impl Fn(u64, u64),
) -> Result<(), Stop> {
    let mut cursor = open(context, entry, range).await?;
    let ordered = range.from.is_some() || range.until.is_some();
    let mut next = cursor.next().await;
    while let Some(batch) = next {
        let batch = batch?;
        context.gate.pass(&context.cancel).await?;
        throttle.take(batch.as_raw_document().as_bytes().len() as u64).await;
        let (written, following) = tokio::join!(write(context, entry, &batch), cursor.next());
        let written = written?;
        copied(written.documents, written.bytes);
        if ordered && let Some(last) = written.last {
            range.from = Some(last);
        }
        next = following;
    }
    Ok(())
}

async fn open(context: &Context, entry: &CatalogEntry, range: &Range) -> Result<RawBatchCursor, DriverError> {
    let mut command = RawDocumentBuf::new();
    // By UUID, so that a rename in between can neither end the copy early nor read another collection.
    match entry.uuid {
        Some(uuid) => {
            let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() };
            command.append(cstr!("find"), uuid);
        }
        None => command.append(cstr!("find"), entry.namespace.coll.as_str()),
    }
    let is_range = range.from.is_some() || range.until.is_some();
    command.append(
        cstr!("hint"),
        if is_range {
            rawdoc! { "_id": 1 }
        } else {
            rawdoc! { "$natural": 1 }
        },
    );
    if let Some(from) = &range.from {
        command.append(cstr!("min"), from);
    }
    if let Some(until) = &range.until {
        command.append(cstr!("max"), until);
    }
    // A throttled read comes in quarters of a second, not in batches of 16 MB.
    let batch = context.options.throttle.map(|rate| {
        let average = (entry.bytes / entry.documents.max(1)).max(1);
        u32::try_from(rate / 4 / average).unwrap_or(u32::MAX).clamp(1, 100_000)
    });
    if let Some(batch) = batch {
        command.append(cstr!("batchSize"), i64::from(batch));
    }
    let source = context.source.client.database(&entry.namespace.db);
    let run = |command: RawDocumentBuf| {
        let run = source.run_raw_cursor_command(command);
        if let Some(batch) = batch { run.batch_size(batch) } else { run }
    };
    match run(command.clone()).batch().await {
        // Reading by UUID needs a privilege that the plain read roles lack.
        Err(error) if code(&error) == Some(13) && entry.uuid.is_some() => {
            let name = crate::mongo::catalog::name_of(&context.source, &entry.namespace.db, uuid_of(entry)).await?;
            let Some(name) = name else { return Err(gone()) };
            let mut by_name = RawDocumentBuf::new();
            by_name.append(cstr!("find"), name);
            for (key, value) in command.iter().filter_map(Result::ok).skip(1) {
                by_name.append(key, value);
            }
            run(by_name).batch().await
        }
        outcome => outcome,
    }
}

fn uuid_of(entry: &CatalogEntry) -> bson::Uuid {
    entry.uuid.unwrap_or_else(|| bson::Uuid::from_bytes([0; 16]))
}

fn gone() -> DriverError {
    DriverError::custom("the collection is gone")
}

struct Written {
    documents: u64,
    bytes: u64,
    last: Option<RawDocumentBuf>,
}

/// Writes a batch of raw documents into the destination's `entry.namespace`, in order.
pub async fn write_batch(context: &Context, entry: &CatalogEntry, batch: &RawBatch) -> Result<(), Halt> {
    match write(context, entry, batch).await {
        Ok(_) => Ok(()),
        Err(Stop::Halt(halt)) => Err(halt),
        Err(Stop::Source(error)) => {
            Err(command_problem(Side::Destination, format!("reading for {} failed", entry.namespace), &error).into())
        }
    }
}

async fn write(context: &Context, entry: &CatalogEntry, batch: &RawBatch) -> Result<Written, Stop> {
    let mut plain = RawArrayBuf::new();
    let mut written = Written { documents: 0, bytes: 0, last: None };
    for document in batch.doc_slices()? {
        let Some(document) = document.map_err(DriverError::from)?.as_document() else { continue };
        written.documents += 1;
        written.bytes += document.as_bytes().len() as u64;
        if let Ok(Some(id)) = document.get("_id") {
            written.last = Some(rawdoc! { "_id": bson::RawBson::from(id) });
        }
        // An insert would rewrite a top-level Timestamp(0,0) (OPLOG.md B.7).
        if entry.kind == Kind::Collection && holds_zero_timestamp(document) {
            // What stands before it goes first: capped collections keep their order.
            insert(context, entry, std::mem::take(&mut plain)).await?;
            let mut updates = RawArrayBuf::new();
            updates.push(upsert(context, document));
            let mut command = RawDocumentBuf::new();
            command.append(cstr!("update"), entry.namespace.coll.as_str());
            command.append(cstr!("updates"), updates);
            finish(context, entry, command).await?;
        } else {
            plain.push(document);
        }
    }
    insert(context, entry, plain).await?;
    Ok(written)
}

async fn insert(context: &Context, entry: &CatalogEntry, documents: RawArrayBuf) -> Result<(), Halt> {
    if documents.is_empty() {
        return Ok(());
    }
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("insert"), entry.namespace.coll.as_str());
    command.append(cstr!("documents"), documents);
    finish(context, entry, command).await
}

fn upsert(context: &Context, document: &RawDocument) -> RawDocumentBuf {
    let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
    upsert_statement(&DocumentId::new(id), document, context.dialect)
}

/// Runs a write command. A duplicate `_id` is a document that is there already, from an interrupted attempt; whatever
/// changed since is in the oplog that will be replayed.
async fn finish(context: &Context, entry: &CatalogEntry, mut command: RawDocumentBuf) -> Result<(), Halt> {
    command.append(cstr!("ordered"), false);
    command.append(cstr!("bypassDocumentValidation"), true);
    command.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
    let (destination, db) = (&context.destination, &entry.namespace.db);
    let what = format!("writing {}", entry.namespace);
    let reply =
        retry(Side::Destination, &what, &context.events, &context.cancel, || destination.run(db, command.clone()))
            .await?;
    let Ok(errors) = reply.get_array("writeErrors") else { return Ok(()) };
    for error in errors.into_iter().flatten() {
        let Some(error) = error.as_document() else { continue };
        let code = error.get_i32("code").unwrap_or(0);
        if code != 11000 {
            return Err(refused(entry, code, error.get_str("errmsg").unwrap_or("no message")));
        }
    }
    Ok(())
}
