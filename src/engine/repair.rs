//! Documents that no update can express, or whose update failed, are fetched again from the source and replaced.
//!
//! The fetched document is newer than the change that asked for it; the changes in between replay onto it and converge.

use super::{
    context::Context,
    retry::{Halt, retry},
};
use crate::{
    model::Side,
    mongo::{
        Namespace,
        catalog::name_of,
        cluster::DriverError,
        errors::{code, command_problem, is_transient},
    },
    oplog::{DocumentId, batch::upsert_statement},
};
use bson::{Binary, RawArrayBuf, RawDocumentBuf, Uuid, raw::cstr, rawdoc, spec::BinarySubtype};

const NAMESPACE_NOT_FOUND: i32 = 26;
const UNAUTHORIZED: i32 = 13;

/// Fetches one document of the collection `uuid` and puts it in place on the destination, or deletes it there when the
/// source no longer has it.
pub async fn refetch(context: &Context, uuid: Uuid, namespace: &Namespace, id: &DocumentId) -> Result<(), Halt> {
    let what = format!("fetching a document of {namespace} again");
    let read = || fetch(context, uuid, namespace, id);
    let found = match retry(Side::Source, &what, &context.events, &context.cancel, read).await? {
        Some(found) => found,
        // The collection was dropped on the source; the drop is still ahead and takes the document with it.
        None => return Ok(()),
    };
    let coll = namespace.coll.as_str();
    let (delete, put) = match found {
        None => (true, None),
        // On 4.4 nested dollar names enter by insert only (OPLOG.md B.3 (c)); after a delete an insert is always right.
        Some(document) if context.dialect.major < 5 => (true, Some(insert(coll, &document))),
        Some(document) => {
            let mut updates = RawArrayBuf::new();
            updates.push(upsert_statement(id, &document, context.dialect));
            let update = rawdoc! { "update": coll, "updates": updates, "bypassDocumentValidation": true };
            (false, Some(update))
        }
    };
    if delete {
        let deletes = rawdoc! { "delete": coll, "deletes": [{ "q": id.filter(), "limit": 1 }] };
        write(context, namespace, deletes).await?;
    }
    match put {
        Some(command) => write(context, namespace, command).await,
        None => Ok(()),
    }
}

fn insert(coll: &str, document: &RawDocumentBuf) -> RawDocumentBuf {
    rawdoc! { "insert": coll, "documents": [document.clone()], "bypassDocumentValidation": true }
}

/// Outer `None`: no such collection. Inner `None`: no such document.
async fn fetch(
    context: &Context,
    uuid: Uuid,
    namespace: &Namespace,
    id: &DocumentId,
) -> Result<Option<Option<RawDocumentBuf>>, DriverError> {
    let source = &context.source;
    let rest =
        rawdoc! { "filter": id.filter(), "limit": 1, "singleBatch": true, "readConcern": { "level": "majority" } };
    let command = |find: bson::RawBson| {
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("find"), find);
        for (key, value) in rest.iter().filter_map(Result::ok) {
            command.append(key, value);
        }
        command
    };
    // By UUID: the name may have changed on the source since the entry that asks.
    let by_uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() };
    let reply = match source.run(&namespace.db, command(by_uuid.into())).await {
        Err(error) if code(&error) == Some(UNAUTHORIZED) => {
            let Some(name) = name_of(source, &namespace.db, uuid).await? else { return Ok(None) };
            source.run(&namespace.db, command(name.into())).await
        }
        outcome => outcome,
    };
    match reply {
        Ok(reply) => {
            let batch = reply.get_document("cursor")?.get_array("firstBatch")?;
            Ok(Some(batch.get_document(0).ok().map(ToOwned::to_owned)))
        }
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(context: &Context, namespace: &Namespace, mut command: RawDocumentBuf) -> Result<(), Halt> {
    command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
    let destination = &context.destination;
    let what = format!("replacing a document of {namespace}");
    let reply = retry(Side::Destination, &what, &context.events, &context.cancel, || async {
        match destination.run(&namespace.db, command.clone()).await {
            Err(error) if !is_transient(&error) => Ok(Err(error)),
            outcome => outcome.map(Ok),
        }
    })
    .await?;
    let refused = |error: &DriverError| Halt::from(command_problem(Side::Destination, what.clone(), error));
    let reply = reply.map_err(|error| refused(&error))?;
    match reply.get_array("writeErrors") {
        Ok(errors) => {
            let first = errors.get_document(0).ok().and_then(|error| error.get_str("errmsg").ok());
            Err(refused(&DriverError::custom(first.unwrap_or("no message").to_string())))
        }
        Err(_) => Ok(()),
    }
}
