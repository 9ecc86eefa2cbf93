//! Capped collections where the destination cannot follow them one change at a time (OPLOG.md A.6, E.4).
//!
//! Before 6.0 a destination can neither resize a capped collection nor delete single documents from it: there it is an
//! ordinary collection until finalizing puts a capped one in its place. A 4.4 source does not log what it trims: what is
//! left over is removed before the data is checked, with the source at rest.

use super::{
    context::Context,
    copy::{copy_documents, write_batch},
    registry::{Registry, Tracked, is_set},
    retry::{Halt, retry},
};
use crate::{
    model::{Severity, Side, units::show_count},
    mongo::{
        Cluster, Namespace,
        catalog::{CatalogEntry, options_of, with_own_collation},
        cluster::DriverError,
        errors::{code, explain, may_pass},
        namespace::TEMPORARY_PREFIX,
    },
    oplog::DocumentId,
};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, Uuid, doc, oid::ObjectId, raw::cstr, rawdoc};
use futures_util::{Stream, TryStreamExt};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Documents removed with one command.
const REMOVED_AT_ONCE: usize = 1_000;
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Removes what a source before 5.0 trimmed without a word, and restores the order where that was not enough. Call with
/// everything applied and the source at rest; repeating it changes nothing.
pub async fn reconcile(context: &Context, registry: &Registry) -> Result<(), Halt> {
    if context.source.version.major >= 5 {
        return Ok(());
    }
    let is_ours = |tracked: &Tracked| tracked.is_capped() && !tracked.trims_itself(context.destination.version);
    for (uuid, tracked) in registry.collections.iter().filter(|(_, tracked)| is_ours(tracked)) {
        let namespace = &tracked.namespace;
        let what = format!("removing from {namespace} what the source has trimmed");
        // Either side may interrupt it; it begins anew.
        let (removed, complete) =
            retry(Side::Source, &what, &context.events, &context.cancel, || remove_extra(context, namespace)).await?;
        if removed > 0 {
            let text = format!("{namespace}: {} documents that the source no longer holds", show_count(removed));
            context.events.record(Severity::Info, "trimmed", text);
        }
        if !complete {
            copy_again(context, *uuid, tracked).await?;
        }
    }
    Ok(())
}

/// Walks both sides in natural order and removes what only the destination has. False: the destination lacks something,
/// or has it in another order.
async fn remove_extra(context: &Context, namespace: &Namespace) -> Result<(u64, bool), DriverError> {
    let ids = doc! { "_id": 1 };
    let mut there = natural(&context.source, namespace, Some(&ids)).await?;
    let mut here = natural(&context.destination, namespace, Some(&ids)).await?;
    let mut wanted = there.try_next().await?;
    let (mut extra, mut removed) = (Vec::new(), 0);
    while let Some(id) = here.try_next().await? {
        if wanted.as_ref() == Some(&id) {
            wanted = there.try_next().await?;
            continue;
        }
        extra.push(id);
        if extra.len() == REMOVED_AT_ONCE {
            removed += remove(context, namespace, &mut extra).await?;
        }
    }
    removed += remove(context, namespace, &mut extra).await?;
    Ok((removed, wanted.is_none()))
}

async fn remove(context: &Context, namespace: &Namespace, ids: &mut Vec<RawDocumentBuf>) -> Result<u64, DriverError> {
    let mut deletes = RawArrayBuf::new();
    for id in ids.drain(..) {
        if let Some(id) = id.get("_id")? {
            deletes.push(rawdoc! { "q": DocumentId::new(id).filter().into_owned(), "limit": 1 });
        }
    }
    if deletes.is_empty() {
        return Ok(0);
    }
    let mut command = rawdoc! { "delete": namespace.coll.as_str() };
    command.append(cstr!("deletes"), deletes);
    command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
    let reply = context.destination.run(&namespace.db, command).await?;
    Ok(reply.get_i32("n").ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

async fn copy_again(context: &Context, uuid: Uuid, tracked: &Tracked) -> Result<(), Halt> {
    let namespace = &tracked.namespace;
    context.events.record(Severity::Info, "repair", format!("{namespace}: copied again in the order of the source"));
    let what = format!("emptying {namespace}");
    let empty = rawdoc! { "delete": namespace.coll.as_str(), "deletes": [{ "q": {}, "limit": 0 }] };
    retry(Side::Destination, &what, &context.events, &context.cancel, || {
        context.destination.run(&namespace.db, empty.clone())
    })
    .await?;
    let source = &context.source;
    let what = "reading the oplog's newest position";
    let newest = retry(Side::Source, what, &context.events, &context.cancel, || source.last_write()).await?;
    copy_documents(context, &entry_of(tracked, namespace.clone(), Some(uuid)), newest.majority_optime).await
}

fn entry_of(tracked: &Tracked, namespace: Namespace, uuid: Option<Uuid>) -> CatalogEntry {
    CatalogEntry {
        namespace,
        kind: tracked.kind,
        uuid,
        options: tracked.options.clone(),
        indexes: Vec::new(),
        documents: 0,
        bytes: 0,
    }
}

async fn natural(
    cluster: &Cluster,
    namespace: &Namespace,
    projection: Option<&bson::Document>,
) -> Result<impl Stream<Item = Result<RawDocumentBuf, DriverError>> + Unpin + use<>, DriverError> {
    let collection = cluster.login.database(&namespace.db).collection::<RawDocumentBuf>(&namespace.coll);
    let find = collection.find(doc! {}).sort(doc! { "$natural": 1 });
    match projection {
        Some(projection) => find.projection(projection.clone()).await,
        None => find.await,
    }
}

/// Puts a capped collection with the source's size, indexes and order in the place of the ordinary one that stood in for
/// it. The reason when the destination refused. Repeating it changes nothing.
pub async fn become_capped(context: &Context, tracked: &Tracked) -> Result<Result<(), String>, Halt> {
    let namespace = &tracked.namespace;
    let what = format!("making {namespace} capped");
    let outcome = retry(Side::Destination, &what, &context.events, &context.cancel, || async {
        match build(context, tracked).await {
            Err(Refused::Driver(error)) if may_pass(&error) => Err(error),
            Err(Refused::Driver(error)) => Ok(Err(Refused::Driver(error))),
            Err(refused) => Ok(Err(refused)),
            Ok(()) => Ok(Ok(())),
        }
    })
    .await?;
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(Refused::Driver(error)) => Ok(Err(explain(&error))),
        Err(Refused::Differs) => Ok(Err("the documents do not fit into the source's size".into())),
        Err(Refused::Halt(halt)) => Err(halt),
    }
}

enum Refused {
    Driver(DriverError),
    Differs,
    Halt(Halt),
}

impl From<DriverError> for Refused {
    fn from(error: DriverError) -> Self {
        Refused::Driver(error)
    }
}

async fn build(context: &Context, tracked: &Tracked) -> Result<(), Refused> {
    let (destination, namespace) = (&context.destination, &tracked.namespace);
    let db = namespace.db.as_str();
    let stand_in = options_of(destination, namespace).await?.unwrap_or_default();
    if is_set(&stand_in, "capped") {
        return Ok(());
    }
    let name = temporary_name(&namespace.coll);
    let temporary = Namespace::new(db, &name);
    // Left by an attempt that was killed.
    destination.run(db, rawdoc! { "drop": name.as_str() }).await.map(drop).or_else(not_there)?;
    let built = fill(context, tracked, &stand_in, &temporary).await;
    if built.is_err() {
        // Nothing is lost with it.
        let _ = destination.run(db, rawdoc! { "drop": name.as_str() }).await;
        return built;
    }
    let rename = rawdoc! { "renameCollection": temporary.to_string(), "to": namespace.to_string(), "dropTarget": true };
    destination.run_with_majority("admin", rename).await?;
    Ok(())
}

/// The same at every attempt, so that none is left behind; short however long the name is.
fn temporary_name(coll: &str) -> String {
    let mut hasher = DefaultHasher::new();
    coll.hash(&mut hasher);
    format!("{TEMPORARY_PREFIX}{:016x}", hasher.finish())
}

fn not_there(error: DriverError) -> Result<(), DriverError> {
    if code(&error) == Some(NAMESPACE_NOT_FOUND) { Ok(()) } else { Err(error) }
}

async fn fill(
    context: &Context,
    tracked: &Tracked,
    stand_in: &RawDocument,
    temporary: &Namespace,
) -> Result<(), Refused> {
    let destination = &context.destination;
    let mut create = rawdoc! { "create": temporary.coll.as_str() };
    // The collection that stood in took every collMod, with what the server adds to it.
    let of_source = tracked.options.iter().filter_map(Result::ok);
    let sizes = of_source.filter(|(option, _)| matches!(option.as_str(), "capped" | "size" | "max"));
    let others = stand_in.iter().filter_map(Result::ok).filter(|(option, _)| option.as_str() != "uuid");
    sizes.chain(others).for_each(|(option, value)| create.append(option, value));
    destination.run(&temporary.db, create).await?;
    let mut indexes = RawArrayBuf::new();
    for index in tracked.indexes.values().filter(|index| index.failed.is_none()) {
        indexes.push(with_own_collation(&index.spec, &tracked.options));
    }
    if !indexes.is_empty() {
        let mut command = rawdoc! { "createIndexes": temporary.coll.as_str() };
        command.append(cstr!("indexes"), indexes);
        destination.run(&temporary.db, command).await?;
    }
    let entry = entry_of(tracked, temporary.clone(), None);
    let command = rawdoc! { "find": tracked.namespace.coll.as_str(), "hint": { "$natural": 1 } };
    let mut batches = destination.login.database(&temporary.db).run_raw_cursor_command(command).batch().await?;
    while let Some(batch) = batches.try_next().await? {
        write_batch(context, &entry, &batch).await.map_err(Refused::Halt)?;
    }
    // What is compared after this is not lost by an election before the rename.
    let nothing =
        rawdoc! { "delete": temporary.coll.as_str(), "deletes": [{ "q": { "_id": ObjectId::new() }, "limit": 1 }] };
    destination.run_with_majority(&temporary.db, nothing).await?;
    let mut original = natural(destination, &tracked.namespace, None).await?;
    let mut copied = natural(destination, temporary, None).await?;
    loop {
        match (original.try_next().await?, copied.try_next().await?) {
            (None, None) => return Ok(()),
            (left, right) if left != right => return Err(Refused::Differs),
            _ => {}
        }
    }
}
