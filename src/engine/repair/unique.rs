//! Unique indexes that are there while changes are applied (the way back): a document that was fetched again may need a
//! value that another one on the destination still holds. Both are put in place as they are on the source now.
//!
//! All changes of such a collection are in one lane, so that nobody else writes to these documents meanwhile.

use super::{Found, Wanted, any_of, id_of, refused};
use crate::{
    engine::{
        retry::{Halt, retry},
        write::{Sent, judge},
    },
    model::{Severity, Side},
    mongo::{cluster::DriverError, errors::may_pass},
    oplog::{
        DocumentId,
        batch::{deletes, holds_zero_timestamp, upsert_statement},
    },
};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use std::time::Duration;

/// The server's word for a value that only one may have.
pub(super) const DUPLICATE_KEY: i32 = 11000;
/// Documents move on while they are read; each reading is newer than the last.
const PASSES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);
/// Documents that may hang together by their values.
const MOST: usize = 1_000;

/// What became of one insert.
enum Put {
    Placed,
    /// The documents, as far as they can be found, that hold what it needs.
    Held(Vec<DocumentId>),
}

impl Wanted<'_> {
    /// Puts a document in place together with those that hold its values, and with those that hold theirs.
    pub(super) async fn settle(&mut self, id: &DocumentId) -> Result<(), Halt> {
        let namespace = self.namespace;
        let mut group: Vec<DocumentId> = vec![id.clone()];
        let what = format!("fetching documents of {namespace} that share a value");
        for _ in 0..PASSES {
            let ids: Vec<&DocumentId> = group.iter().collect();
            let read = || self.find(any_of(&ids), ids.len());
            let (events, cancel) = (&self.context.events, &self.context.cancel);
            let documents = match retry(Side::Source, &what, events, cancel, read).await? {
                // The drop is still ahead and takes the documents with it.
                Found::NoCollection => return Ok(()),
                Found::Documents(documents) => documents,
            };
            self.note(group.iter()).await?;
            self.execute(deletes(group.iter(), &namespace.coll)).await?;
            let (mut is_held, mut holders) = (false, Vec::new());
            for document in &documents {
                if let Put::Held(by) = self.insert(document).await? {
                    is_held = true;
                    holders.extend(by);
                }
            }
            // Those that did not fit into one reply of the source are asked for next.
            let is_whole =
                documents.len() == group.len() || documents.iter().map(|d| d.as_bytes().len()).sum::<usize>() < 8 << 20;
            if !is_held && is_whole {
                let text = format!(
                    "{} documents of {namespace} that shared a unique value: put in place together",
                    group.len()
                );
                self.context.events.record(Severity::Info, "unique", text);
                return Ok(());
            }
            let before = group.len();
            for holder in holders {
                if !group.contains(&holder) {
                    group.push(holder);
                }
            }
            if group.len() > MOST {
                break;
            }
            if group.len() == before {
                // Read at different moments: on the source only one of them has the value.
                tokio::select! {
                    () = cancel.cancelled() => return Err(Halt::Cancelled),
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
        Err(refused(namespace, "a unique index of the destination holds its value in another document"))
    }

    async fn insert(&self, document: &RawDocument) -> Result<Put, Halt> {
        let (context, namespace) = (self.context, self.namespace);
        let mut command = match id_of(document).filter(|_| holds_zero_timestamp(document)) {
            // An insert would rewrite the timestamp.
            Some(id) => {
                let mut updates = RawArrayBuf::new();
                updates.push(upsert_statement(&id, document, context.dialect));
                rawdoc! { "update": namespace.coll.as_str(), "updates": updates }
            }
            None => rawdoc! { "insert": namespace.coll.as_str(), "documents": [document.to_owned()] },
        };
        command.append(cstr!("bypassDocumentValidation"), true);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        let what = format!("replacing documents of {namespace}");
        let outcome = retry(Side::Destination, &what, &context.events, &context.cancel, || async {
            let reply = match context.destination.run(&namespace.db, command.clone()).await {
                Err(error) if !may_pass(&error) => return Ok(Err(error.to_string())),
                reply => reply?,
            };
            match judge(&reply)? {
                Sent::Executed(failed) => match failed.first() {
                    None => Ok(Ok(Put::Placed)),
                    Some((_, DUPLICATE_KEY)) => Ok(Ok(Put::Held(self.holders(&reply, document).await?))),
                    Some((_, code)) => Ok(Err(format!("code {code}"))),
                },
                Sent::Refused(error) => Ok(Err(error.to_string())),
            }
        })
        .await?;
        outcome.map_err(|why| refused(namespace, &why))
    }

    /// Who holds the values that the error names.
    async fn holders(&self, reply: &RawDocument, document: &RawDocument) -> Result<Vec<DocumentId>, DriverError> {
        let error = reply.get_array("writeErrors")?.into_iter().next().transpose()?;
        let Some(error) = error.and_then(|error| error.as_document()) else { return Ok(Vec::new()) };
        let collation = error.get_document("collation").ok();
        let mut filter = RawDocumentBuf::new();
        for (path, _) in error.get_document("keyPattern")?.iter().filter_map(Result::ok) {
            // Under a collation the error holds no readable values.
            let of_error = || error.get_document("keyValue").ok()?.get(path.as_str()).ok().flatten();
            let value = if collation.is_some() { value_at(document, path.as_str()) } else { of_error() };
            let mut equal = RawDocumentBuf::new();
            match value {
                Some(value) => equal.append(cstr!("$eq"), value),
                None => equal.append(cstr!("$eq"), bson::RawBson::Null),
            }
            filter.append(path, equal);
        }
        let mut find = rawdoc! { "find": self.namespace.coll.as_str(), "filter": filter, "projection": { "_id": 1 } };
        find.append(cstr!("limit"), i64::try_from(MOST).unwrap_or(i64::MAX));
        find.append(cstr!("batchSize"), i64::try_from(MOST).unwrap_or(i64::MAX));
        match collation {
            Some(collation) => find.append(cstr!("collation"), collation),
            None => find.append(cstr!("collation"), rawdoc! { "locale": "simple" }),
        }
        let found = self.context.destination.run(&self.namespace.db, find).await?;
        let batch = found.get_document("cursor")?.get_array("firstBatch")?;
        let ids = batch.into_iter().flatten().filter_map(|found| found.as_document().and_then(id_of));
        Ok(ids.collect())
    }
}

/// What stands at a path of names.
fn value_at<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = document.get(first).ok().flatten()?;
    match rest {
        None => Some(value),
        Some(rest) => value_at(value.as_document()?, rest),
    }
}
