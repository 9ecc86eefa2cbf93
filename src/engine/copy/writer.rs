//! Writes what the copy read: the documents of a batch become one `insert`, copied once and never decoded.

use super::{early::Early, reader::Stop, refused};
use crate::{
    engine::{
        context::Context,
        retry::{Halt, retry},
        write::{Sent, allow_mixed_buckets, election_term, is_mixed, judge},
    },
    model::Side,
    mongo::{
        catalog::{CatalogEntry, Kind},
        cluster::DriverError,
        errors::command_problem,
    },
    oplog::{
        DocumentId,
        batch::{holds_zero_timestamp, upsert_statement},
    },
};
use bson::{
    RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};
use mongodb::raw_batch_cursor::RawBatch;

/// Statements of one command. Servers take 100,000 (`maxWriteBatchSize`), but when all of so many are there already, from an
/// interrupted attempt, the reply that says so is too large for them and they close the connection instead.
pub const STATEMENTS: u64 = 10_000;

const DUPLICATE_KEY: i32 = 11000;

/// Bytes of a write command besides its documents, roughly.
const ROOM: usize = 512;

/// What was written of one batch.
#[derive(Debug, Default)]
pub struct Written {
    /// How many.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last one's `{ "_id": value }`.
    pub last: Option<RawDocumentBuf>,
    /// Terms of the primaries that took it.
    pub terms: Vec<i64>,
}

/// Writes a batch of raw documents into the destination's `entry.namespace`, in order, without waiting for the majority.
pub async fn write_batch(context: &Context, entry: &CatalogEntry, batch: &RawBatch) -> Result<(), Halt> {
    let writer = Writer { context, entry, early: None };
    let error = match writer.write(batch).await {
        Ok(_) => return Ok(()),
        Err(Stop::Halt(halt)) => return Err(halt),
        Err(Stop::Source(error)) => error,
        Err(Stop::Elected | Stop::Outgrown | Stop::Resized) => {
            DriverError::custom("the destination elected another primary")
        }
    };
    Err(command_problem(Side::Destination, format!("reading for {} failed", entry.namespace), &error).into())
}

/// Writes into one collection of the destination.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    pub context: &'a Context,
    pub entry: &'a CatalogEntry,
    /// Indexes that may go when a document does not fit into them.
    pub early: Option<&'a Early>,
}

impl Writer<'_> {
    /// Writes a batch without waiting for the majority.
    pub async fn write(self, batch: &RawBatch) -> Result<Written, Stop> {
        let documents = batch.doc_slices()?;
        let mut written = Written::default();
        let (mut last, mut apart) = (None, false);
        for document in documents {
            let Some(document) = document.map_err(DriverError::from)?.as_document() else { continue };
            written.documents += 1;
            written.bytes += document.as_bytes().len() as u64;
            last = Some(document);
            apart |= self.is_upserted(document);
        }
        let Some(last) = last else { return Ok(written) };
        if let Ok(Some(id)) = last.get("_id") {
            written.last = Some(rawdoc! { "_id": bson::RawBson::from(id) });
        }
        if apart || written.documents > STATEMENTS {
            written.terms = self.write_apart(documents).await?;
        } else {
            written.terms.extend(self.insert(documents).await?);
        }
        Ok(written)
    }

    /// An insert would rewrite a top-level Timestamp(0,0) (OPLOG.md B.7).
    fn is_upserted(self, document: &RawDocument) -> bool {
        self.entry.kind == Kind::Collection && holds_zero_timestamp(document)
    }

    /// Writes documents that one insert cannot take, in their order.
    async fn write_apart(self, documents: &RawArray) -> Result<Vec<i64>, Stop> {
        let (mut plain, mut statements) = (RawArrayBuf::new(), 0);
        let mut terms = Vec::new();
        for document in documents {
            let Some(document) = document.map_err(DriverError::from)?.as_document() else { continue };
            let is_upserted = self.is_upserted(document);
            if (is_upserted || statements >= STATEMENTS) && statements > 0 {
                // What stands before it goes first: capped collections keep their order.
                terms.extend(self.insert(&std::mem::take(&mut plain)).await?);
                statements = 0;
            }
            if is_upserted {
                let mut updates = RawArrayBuf::new();
                updates.push(upsert(self.context, document));
                terms.extend(self.finish(|| command(self.entry, cstr!("update"), cstr!("updates"), &updates)).await?);
            } else {
                plain.push(document);
                statements += 1;
            }
        }
        if statements > 0 {
            terms.extend(self.insert(&plain).await?);
        }
        Ok(terms)
    }

    /// Returns the term of the primary that took them.
    async fn insert(self, documents: &RawArray) -> Result<Option<i64>, Halt> {
        self.finish(|| command(self.entry, cstr!("insert"), cstr!("documents"), documents)).await
    }

    /// Runs a write command until every document is there.
    async fn finish(self, command: impl Fn() -> RawDocumentBuf) -> Result<Option<i64>, Halt> {
        let mut reply = self.send(&command).await?;
        if let (Some(early), Some(_)) = (self.early, refusal(&reply))
            && early.take_back(self.context, self.entry).await?
        {
            reply = self.send(&command).await?;
        }
        match refusal(&reply) {
            Some(error) => {
                let text = error.get_str("errmsg").unwrap_or("no message");
                Err(refused(self.entry, error.get_i32("code").unwrap_or(0), text))
            }
            None => Ok(election_term(&reply)),
        }
    }

    async fn send(self, command: impl Fn() -> RawDocumentBuf) -> Result<RawDocumentBuf, Halt> {
        let Self { context, entry, .. } = self;
        let what = format!("writing {}", entry.namespace);
        retry(Side::Destination, &what, &context.events, &context.cancel, || async {
            let reply = context.destination.run(&entry.namespace.db, command()).await?;
            // A statement that may pass later is tried again with all of them; what is there already stays.
            match judge(&reply)? {
                Sent::Executed(failed) if is_mixed(&failed) => {
                    let again = allow_mixed_buckets(context, &entry.namespace, &command()).await?;
                    judge(&again).map(|_| again)
                }
                _ => Ok(reply),
            }
        })
        .await
    }
}

/// The first statement that failed for good. A duplicate `_id` is a document that is there already, from an interrupted
/// attempt; whatever changed since is in the oplog that will be replayed.
fn refusal(reply: &RawDocument) -> Option<&RawDocument> {
    let errors = reply.get_array("writeErrors").ok()?;
    let mut errors = errors.into_iter().filter_map(|error| error.ok()?.as_document());
    errors.find(|error| error.get_i32("code").ok() != Some(DUPLICATE_KEY))
}

/// A write command; the one copy of the documents that is made here.
fn command(entry: &CatalogEntry, verb: &CStr, statements: &CStr, array: &RawArray) -> RawDocumentBuf {
    let mut bytes = Vec::with_capacity(array.as_bytes().len() + ROOM);
    bytes.extend_from_slice(RawDocumentBuf::new().as_bytes());
    let mut command = RawDocumentBuf::from_bytes(bytes).unwrap_or_default();
    command.append(verb, entry.namespace.coll.as_str());
    command.append(cstr!("ordered"), false);
    command.append(cstr!("bypassDocumentValidation"), true);
    command.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
    command.append(statements, array);
    command
}

fn upsert(context: &Context, document: &RawDocument) -> RawDocumentBuf {
    let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
    upsert_statement(&DocumentId::new(id), document, context.dialect)
}
