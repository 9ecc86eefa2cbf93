//! Documents that no update can express, or whose update failed, are fetched again from the source and replaced.
//!
//! The fetched document is at least as new as the change that asked for it; the changes in between replay onto it and
//! converge.

use super::{
    context::Context,
    retry::{Halt, retry},
    write::{Sent, send},
};
use crate::{
    model::{Optime, Problem, Side},
    mongo::{
        Namespace,
        catalog::name_of,
        cluster::DriverError,
        errors::{PRIMARY_STEPPED_DOWN, code, explain, from_code},
    },
    oplog::{
        DocumentId,
        batch::{holds_zero_timestamp, upsert_statement},
    },
};
use bson::{
    Binary, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, Uuid, raw::cstr, rawdoc,
    spec::BinarySubtype,
};
use futures_util::TryStreamExt;
use std::collections::HashSet;

const NAMESPACE_NOT_FOUND: i32 = 26;
const UNAUTHORIZED: i32 = 13;

/// Fetches one document of the collection `uuid`, as it is at or after `at`, and puts it in place on the destination, or
/// deletes it there when the source no longer has it.
pub async fn refetch(
    context: &Context,
    uuid: Uuid,
    namespace: &Namespace,
    id: &DocumentId,
    at: Optime,
) -> Result<(), Halt> {
    let what = format!("fetching a document of {namespace} again");
    let read = || fetch(context, uuid, namespace, id, at);
    match retry(Side::Source, &what, &context.events, &context.cancel, read).await? {
        // The drop is still ahead and takes the document with it.
        Found::NoCollection => Ok(()),
        Found::NoDocument => match delete(context, namespace, id).await? {
            None => Ok(()),
            Some(why) => Err(refused(namespace, &why)),
        },
        Found::Document(document) => put(context, namespace, id, &document).await,
    }
}

/// What the source has.
enum Found {
    NoCollection,
    NoDocument,
    Document(RawDocumentBuf),
}

/// An upsert where it stores the document exactly; otherwise delete and insert, which takes another spelling of `_id`
/// (OPLOG.md B.7), repeated field names and, on 4.4, nested dollar names (B.3).
async fn put(context: &Context, namespace: &Namespace, id: &DocumentId, document: &RawDocument) -> Result<(), Halt> {
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
            Some(why) if holds_zero_timestamp(document) => return Err(refused(namespace, &why)),
            Some(_) => {}
        }
    } else if holds_zero_timestamp(document) {
        let why = "it holds a zero timestamp and repeated field names, which no command can store together";
        return Err(refused(namespace, why));
    }
    let insert = rawdoc! {
        "insert": namespace.coll.as_str(), "documents": [document.to_owned()], "bypassDocumentValidation": true
    };
    let failed = match delete(context, namespace, id).await? {
        None => write(context, namespace, insert).await?,
        failed => failed,
    };
    failed.map_or(Ok(()), |why| Err(refused(namespace, &why)))
}

async fn delete(context: &Context, namespace: &Namespace, id: &DocumentId) -> Result<Option<String>, Halt> {
    let deletes = rawdoc! { "delete": namespace.coll.as_str(), "deletes": [{ "q": id.filter(), "limit": 1 }] };
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

async fn fetch(
    context: &Context,
    uuid: Uuid,
    namespace: &Namespace,
    id: &DocumentId,
    at: Optime,
) -> Result<Found, DriverError> {
    let source = &context.source;
    // A new primary may not know yet that the majority has the change; without `at` it could show an older document.
    let after = Timestamp { time: at.t, increment: at.i };
    let find = |collection: RawBson| {
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("find"), collection);
        command.append(cstr!("filter"), id.filter());
        command.append(cstr!("limit"), 1);
        command.append(cstr!("singleBatch"), true);
        command.append(cstr!("readConcern"), rawdoc! { "level": "majority", "afterClusterTime": after });
        command
    };
    // By UUID: the name may have changed on the source since the entry that asks.
    let by_uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() };
    let outcome = match first(context, &namespace.db, find(by_uuid.into())).await {
        Err(error) if code(&error) == Some(UNAUTHORIZED) => {
            let Some(name) = name_of(source, &namespace.db, uuid).await? else { return Ok(Found::NoCollection) };
            first(context, &namespace.db, find(name.into())).await
        }
        outcome => outcome,
    };
    match outcome {
        Ok(document) => Ok(document.map_or(Found::NoDocument, Found::Document)),
        // A drop that the majority has not got may be rolled back.
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => match name_of(source, &namespace.db, uuid).await? {
            None => Ok(Found::NoCollection),
            Some(_) => Err(from_code(PRIMARY_STEPPED_DOWN, "the drop of the collection was rolled back")),
        },
        Err(error) => Err(error),
    }
}

/// The first document that a `find` on the source returns, byte for byte. (The driver's `run_command` reads replies into
/// a map, which keeps only one of repeated field names.)
async fn first(context: &Context, db: &str, command: RawDocumentBuf) -> Result<Option<RawDocumentBuf>, DriverError> {
    let mut batches = context.source.client.database(db).run_raw_cursor_command(command).batch().await?;
    let Some(batch) = batches.try_next().await? else { return Ok(None) };
    match batch.doc_slices()?.into_iter().next() {
        Some(document) => Ok(document?.as_document().map(ToOwned::to_owned)),
        None => Ok(None),
    }
}

/// Runs one statement; `Some` is why the destination refused it.
async fn write(context: &Context, namespace: &Namespace, mut command: RawDocumentBuf) -> Result<Option<String>, Halt> {
    command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
    Ok(match send(context, namespace, &format!("replacing a document of {namespace}"), &command).await? {
        Sent::Executed(failed) => failed.first().map(|(_, code)| format!("code {code}")),
        Sent::Refused(error) => Some(explain(&error)),
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
