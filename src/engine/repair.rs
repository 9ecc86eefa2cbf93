//! Documents that no update can express, or whose update failed, are fetched again from the source and replaced.
//!
//! The fetched document is at least as new as the change that asked for it; the changes in between replay onto it and
//! converge.

mod unique;

use super::{
    context::Context,
    record::Record,
    registry::Registry,
    retry::{Halt, retry},
    write::{Sent, send},
};
use crate::{
    model::{Optime, Problem, Side},
    mongo::{
        Namespace,
        catalog::name_of,
        cluster::DriverError,
        errors::{PRIMARY_STEPPED_DOWN, code, explain, from_code, may_pass},
    },
    oplog::{
        DocumentId,
        batch::{WriteCommand, deletes, holds_zero_timestamp, inserts, upsert_statement, upserts},
    },
};
use bson::{
    Binary, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, Uuid, raw::cstr, rawdoc,
    spec::BinarySubtype,
};
use futures_util::TryStreamExt;
use std::collections::HashSet;
use unique::DUPLICATE_KEY;

/// Documents that are asked for with one command.
const TOGETHER: usize = 500;
const NAMESPACE_NOT_FOUND: i32 = 26;
const UNAUTHORIZED: i32 = 13;

/// Fetches documents of the collection `uuid`, as they are at or after `at`, and puts them in place on the destination, or
/// deletes them there when the source no longer has them. `done` hears of every number of documents that are in place.
pub async fn refetch(
    context: &Context,
    uuid: Uuid,
    namespace: &Namespace,
    ids: &[DocumentId],
    at: Optime,
    done: impl Fn(usize),
) -> Result<(), Halt> {
    let mut wanted = Wanted { context, uuid, namespace, at, noted: Vec::new() };
    for some in ids.chunks(TOGETHER) {
        let mut left: Vec<&DocumentId> = some.iter().collect();
        while left.len() > 1 {
            let before = left.len();
            left = wanted.replace_together(left).await?;
            done(before - left.len());
            if left.len() == before {
                break;
            }
        }
        // One after the other: under a collation several of them may be one document.
        for id in left {
            wanted.replace_one(id).await?;
            done(1);
        }
        wanted.forget().await?;
    }
    Ok(())
}

/// Documents that an earlier engine deleted and perhaps did not insert anew.
pub async fn refetch_noted(context: &Context, registry: &Registry, at: Optime) -> Result<(), Halt> {
    let noted = context.journal("reading the journal", Record::repairs).await?;
    for (uuid, ids) in noted {
        if let Some(tracked) = registry.collections.get(&uuid) {
            let ids: Vec<_> = ids.iter().filter_map(|id| id_of(id)).collect();
            refetch(context, uuid, &tracked.namespace, &ids, at, |_| ()).await?;
        }
        context.journal("writing the journal", move |record| record.remove_repairs(uuid, &ids)).await?;
    }
    Ok(())
}

/// A collection of the source, where its documents go, and how new they have to be.
struct Wanted<'a> {
    context: &'a Context,
    uuid: Uuid,
    namespace: &'a Namespace,
    at: Optime,
    /// Documents, `{ "_id": … }`, that the journal has as deleted.
    noted: Vec<RawDocumentBuf>,
}

impl Wanted<'_> {
    /// A document that is deleted to be inserted anew is lost when the engine ends in between: the journal knows it.
    async fn note(&mut self, ids: impl Iterator<Item = &DocumentId>) -> Result<(), Halt> {
        let (uuid, ids): (_, Vec<_>) = (self.uuid, ids.map(|id| id.wrapped().to_owned()).collect());
        self.noted.extend_from_slice(&ids);
        self.context.journal("writing the journal", move |record| record.put_repairs(uuid, &ids)).await
    }

    /// Everything that was noted is in place.
    async fn forget(&mut self) -> Result<(), Halt> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let (uuid, ids) = (self.uuid, std::mem::take(&mut self.noted));
        self.context.journal("writing the journal", move |record| record.remove_repairs(uuid, &ids)).await
    }

    /// Puts in place what one reply of the source and few commands can; returns the documents that were not in the reply
    /// or need a look of their own: of another spelling, or refused.
    async fn replace_together<'a>(&mut self, ids: Vec<&'a DocumentId>) -> Result<Vec<&'a DocumentId>, Halt> {
        let (context, namespace) = (self.context, self.namespace);
        let read = || async {
            match self.find(any_of(&ids), ids.len()).await {
                // Asking for each of them tells which one it is about.
                Err(error) if !may_pass(&error) => Ok(None),
                found => found.map(Some),
            }
        };
        let what = format!("fetching documents of {namespace} again");
        let documents = match retry(Side::Source, &what, &context.events, &context.cancel, read).await? {
            None => return Ok(ids),
            // The drop is still ahead and takes the documents with it.
            Some(Found::NoCollection) => return Ok(Vec::new()),
            Some(Found::Documents(documents)) => documents,
        };
        let name = namespace.coll.as_str();
        let in_place = if documents.is_empty() {
            self.execute(deletes(ids.iter().copied(), name)).await?
        } else {
            let asked: HashSet<&[u8]> = ids.iter().map(|id| id.wrapped().as_bytes()).collect();
            let named = documents.iter().filter_map(|document| Some((id_of(document)?, document.as_ref())));
            let exact: Vec<_> = named.filter(|(id, _)| asked.contains(id.wrapped().as_bytes())).collect();
            let plain = exact.iter().filter(|(_, document)| !repeats_names(document));
            let mut in_place =
                self.execute(upserts(plain.map(|(id, document)| (id, *document)), name, context.dialect)).await?;
            let is_left = |id: &DocumentId| !in_place.contains(id.wrapped().as_bytes());
            let left: Vec<_> =
                exact.iter().filter(|(id, document)| is_left(id) && !holds_zero_timestamp(document)).collect();
            in_place.extend(self.delete_and_insert(&left).await?);
            in_place
        };
        Ok(ids.into_iter().filter(|id| !in_place.contains(id.wrapped().as_bytes())).collect())
    }

    /// Returns the documents, `{ "_id": … }`, that are in place.
    async fn delete_and_insert(&mut self, documents: &[&(DocumentId, &RawDocument)]) -> Result<HashSet<Vec<u8>>, Halt> {
        if documents.is_empty() {
            return Ok(HashSet::new());
        }
        self.note(documents.iter().map(|(id, _)| id)).await?;
        let name = self.namespace.coll.as_str();
        let deleted = self.execute(deletes(documents.iter().map(|(id, _)| id), name)).await?;
        let gone = documents.iter().filter(|(id, _)| deleted.contains(id.wrapped().as_bytes()));
        self.execute(inserts(gone.map(|(id, document)| (id, *document)), name)).await
    }

    /// Runs the commands; returns the documents, `{ "_id": … }`, whose statements did not fail.
    async fn execute(&self, commands: Vec<WriteCommand>) -> Result<HashSet<Vec<u8>>, Halt> {
        let what = format!("replacing documents of {}", self.namespace);
        let mut done = HashSet::new();
        for WriteCommand { command, ids, .. } in commands {
            let Sent::Executed(failed) = send(self.context, self.namespace, &what, &command).await? else { continue };
            let failed: HashSet<usize> = failed.into_iter().map(|(index, _)| index).collect();
            let passed = ids.iter().enumerate().filter(|(index, _)| !failed.contains(index));
            done.extend(passed.map(|(_, id)| id.wrapped().as_bytes().to_vec()));
        }
        Ok(done)
    }

    async fn replace_one(&mut self, id: &DocumentId) -> Result<(), Halt> {
        let (context, namespace) = (self.context, self.namespace);
        let what = format!("fetching a document of {namespace} again");
        let read = || self.find(id.filter().into_owned(), 1);
        let documents = match retry(Side::Source, &what, &context.events, &context.cancel, read).await? {
            // The drop is still ahead and takes the document with it.
            Found::NoCollection => return Ok(()),
            Found::Documents(documents) => documents,
        };
        match documents.first() {
            Some(document) => self.put(id, document).await,
            None => match delete(context, namespace, id).await? {
                None => Ok(()),
                Some(why) => Err(refused(namespace, &why.text)),
            },
        }
    }

    /// An upsert where it stores the document exactly; otherwise delete and insert, which takes another spelling of `_id`
    /// (OPLOG.md B.7), repeated field names and, on 4.4, nested dollar names (B.3).
    async fn put(&mut self, id: &DocumentId, document: &RawDocument) -> Result<(), Halt> {
        let (context, namespace) = (self.context, self.namespace);
        let is_repeated = repeats_names(document);
        if !is_repeated {
            let mut updates = RawArrayBuf::new();
            updates.push(upsert_statement(id, document, context.dialect));
            let update = rawdoc! {
                "update": namespace.coll.as_str(), "updates": updates, "bypassDocumentValidation": true
            };
            match write(context, namespace, update).await? {
                None => return Ok(()),
                // An insert would rewrite the timestamp.
                Some(why) if why.code == Some(DUPLICATE_KEY) && holds_zero_timestamp(document) => {
                    return self.settle(id).await;
                }
                Some(why) if holds_zero_timestamp(document) => return Err(refused(namespace, &why.text)),
                Some(_) => {}
            }
        } else if holds_zero_timestamp(document) {
            let why = "it holds a zero timestamp and repeated field names, which no command can store together";
            return Err(refused(namespace, why));
        }
        let insert = rawdoc! {
            "insert": namespace.coll.as_str(), "documents": [document.to_owned()], "bypassDocumentValidation": true
        };
        self.note(std::iter::once(id)).await?;
        let failed = match delete(context, namespace, id).await? {
            None => write(context, namespace, insert).await?,
            failed => failed,
        };
        match failed {
            None => Ok(()),
            Some(why) if why.code == Some(DUPLICATE_KEY) => self.settle(id).await,
            Some(why) => Err(refused(namespace, &why.text)),
        }
    }

    /// Documents of the collection, as many as one reply holds and at most `count`.
    async fn find(&self, filter: RawDocumentBuf, count: usize) -> Result<Found, DriverError> {
        let Self { context, uuid, namespace, at, .. } = *self;
        let source = &context.source;
        // A new primary may not know yet that the majority has the change; without `at` it could show an older document.
        let after = Timestamp { time: at.t, increment: at.i };
        let find = |collection: RawBson| {
            let mut command = RawDocumentBuf::new();
            command.append(cstr!("find"), collection);
            command.append(cstr!("filter"), filter.clone());
            command.append(cstr!("batchSize"), i64::try_from(count).unwrap_or(i64::MAX));
            command.append(cstr!("singleBatch"), true);
            command.append(cstr!("readConcern"), rawdoc! { "level": "majority", "afterClusterTime": after });
            command
        };
        // By UUID: the name may have changed on the source since the entry that asks.
        let by_uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() };
        let outcome = match first_batch(context, &namespace.db, find(by_uuid.into())).await {
            Err(error) if code(&error) == Some(UNAUTHORIZED) => {
                let Some(name) = name_of(source, &namespace.db, uuid).await? else { return Ok(Found::NoCollection) };
                first_batch(context, &namespace.db, find(name.into())).await
            }
            outcome => outcome,
        };
        match outcome {
            Ok(documents) => Ok(Found::Documents(documents)),
            // A drop that the majority has not got may be rolled back.
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => {
                match name_of(source, &namespace.db, uuid).await? {
                    None => Ok(Found::NoCollection),
                    Some(_) => Err(from_code(PRIMARY_STEPPED_DOWN, "the drop of the collection was rolled back")),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// What the source has.
enum Found {
    NoCollection,
    Documents(Vec<RawDocumentBuf>),
}

fn id_of(document: &RawDocument) -> Option<DocumentId> {
    document.get("_id").ok().flatten().map(DocumentId::new)
}

/// `{ "_id": { "$in": [ids] } }`.
fn any_of(ids: &[&DocumentId]) -> RawDocumentBuf {
    let mut values = RawArrayBuf::new();
    for value in ids.iter().filter_map(|id| id.wrapped().get("_id").ok().flatten()) {
        values.push(value);
    }
    rawdoc! { "_id": { "$in": values } }
}

async fn delete(context: &Context, namespace: &Namespace, id: &DocumentId) -> Result<Option<Why>, Halt> {
    let deletes =
        rawdoc! { "delete": namespace.coll.as_str(), "deletes": [{ "q": id.filter().into_owned(), "limit": 1 }] };
    write(context, namespace, deletes).await
}

/// Some field name stands twice in one document: no update can store it.
pub fn repeats_names(document: &RawDocument) -> bool {
    let mut names = HashSet::new();
    document.iter().filter_map(Result::ok).any(|(name, value)| !names.insert(name.as_str()) || repeats_inside(value))
}

fn repeats_inside(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Document(inner) => repeats_names(inner),
        RawBsonRef::Array(array) => array.into_iter().filter_map(Result::ok).any(repeats_inside),
        _ => false,
    }
}

/// The documents of the first reply to a `find` on the source, byte for byte. (The driver's `run_command` reads replies
/// into a map, which keeps only one of repeated field names.)
async fn first_batch(context: &Context, db: &str, command: RawDocumentBuf) -> Result<Vec<RawDocumentBuf>, DriverError> {
    let mut batches = context.source.login.database(db).run_raw_cursor_command(command).batch().await?;
    let Some(batch) = batches.try_next().await? else { return Ok(Vec::new()) };
    let mut documents = Vec::new();
    for document in batch.doc_slices()? {
        documents.extend(document?.as_document().map(ToOwned::to_owned));
    }
    Ok(documents)
}

/// Why the destination refused a statement.
struct Why {
    code: Option<i32>,
    text: String,
}

/// Runs one statement; `Some` is why the destination refused it.
async fn write(context: &Context, namespace: &Namespace, mut command: RawDocumentBuf) -> Result<Option<Why>, Halt> {
    command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
    Ok(match send(context, namespace, &format!("replacing a document of {namespace}"), &command).await? {
        Sent::Executed(failed) => {
            failed.first().map(|(_, code)| Why { code: Some(*code), text: format!("code {code}") })
        }
        Sent::Refused(error) => Some(Why { code: code(&error), text: explain(&error) }),
    })
}

fn refused(namespace: &Namespace, why: &str) -> Halt {
    Problem {
        side: Side::Destination,
        what: format!("a document of {namespace} cannot be stored as it is on the source"),
        why: why.into(),
        fix: "Change that document on the source, or exclude the collection; then start again.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied so far.".into(),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_are_found_at_any_depth() {
        let mut twice = rawdoc! { "a": 1 };
        twice.append(cstr!("a"), 2);
        assert!(repeats_names(&twice));
        assert!(repeats_names(&rawdoc! { "_id": 1, "x": [{ "y": twice }] }));
        assert!(!repeats_names(&rawdoc! { "a": { "a": 1 }, "b": [{ "a": 1 }, { "a": 2 }] }));
    }
}
