//! createIndexes, commitIndexBuild, dropIndexes.

use super::{run, stop};
use crate::{
    engine::{
        context::Context,
        index::{Built, add_index, needs_stand_in, stand_in_name, waits},
        registry::{Registry, Tracked},
        retry::Halt,
    },
    model::Severity,
    oplog::DdlEntry,
};
use bson::{RawDocument, RawDocumentBuf, rawdoc};

const INDEX_NOT_FOUND: i32 = 27;
const NAMESPACE_NOT_FOUND: i32 = 26;

/// One entry per index; the spec lies flat in the entry.
pub(super) async fn create(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let is_repeated = registry.is_repeated;
    let Some(tracked) = entry.uuid.and_then(|uuid| registry.collections.get_mut(&uuid)) else { return Ok(()) };
    let spec: RawDocumentBuf =
        entry.o.iter().filter_map(Result::ok).filter(|(field, _)| field.as_str() != "createIndexes").collect();
    build(context, tracked, &spec, is_repeated).await
}

/// The indexes of a build that finished.
pub(super) async fn commit(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let is_repeated = registry.is_repeated;
    let Some(tracked) = entry.uuid.and_then(|uuid| registry.collections.get_mut(&uuid)) else { return Ok(()) };
    let specs = entry.o.get_array("indexes").map_err(|_| stop(entry, "an index build without indexes".into()))?;
    for spec in specs {
        let spec = spec.ok().and_then(bson::RawBsonRef::as_document);
        let spec = spec.ok_or_else(|| stop(entry, "an index build without a spec".into()))?;
        build(context, tracked, spec, is_repeated).await?;
    }
    Ok(())
}

async fn build(context: &Context, tracked: &mut Tracked, spec: &RawDocument, is_repeated: bool) -> Result<(), Halt> {
    if is_repeated {
        // An earlier attempt held its TTL at another value.
        let command =
            rawdoc! { "dropIndexes": tracked.namespace.coll.as_str(), "index": on_destination(context, spec) };
        run(context, &tracked.namespace.db, command, &[INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND]).await?;
    }
    build_index(context, tracked, spec).await
}

/// Builds one index; why it failed is noted in `tracked` and told.
pub async fn build_index(context: &Context, tracked: &mut Tracked, spec: &RawDocument) -> Result<(), Halt> {
    let name = spec.get_str("name").unwrap_or_default();
    match add_index(context, tracked, spec).await? {
        Built::Now => {
            context.events.record(Severity::Info, "index", format!("{} / {name} built", tracked.namespace));
        }
        Built::Late => context.events.record(Severity::Info, "index", waits(tracked, name)),
        Built::Failed(reason) => {
            let text = format!("{} / {name} / {reason}", tracked.namespace);
            context.events.record(Severity::Error, "index-failed", text);
        }
    }
    Ok(())
}

pub(super) async fn drop(context: &Context, registry: &mut Registry, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    let Some(tracked) = entry.uuid.and_then(|uuid| registry.collections.get_mut(&uuid)) else { return Ok(()) };
    let name = entry.o.get_str("index").map_err(|_| stop(entry, "a dropIndexes without a name".into()))?;
    let index = tracked.indexes.remove(name).filter(|index| !index.in_place);
    let bears = index.map_or_else(|| name.to_string(), |index| on_destination(context, &index.spec));
    let command = rawdoc! { "dropIndexes": tracked.namespace.coll.as_str(), "index": bears };
    run(context, entry.db, command, &[INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND]).await
}

/// The name that an index bears on the destination until finalizing.
pub(super) fn on_destination(context: &Context, spec: &RawDocument) -> String {
    let name = spec.get_str("name").unwrap_or_default();
    let unique = spec.get_bool("unique").unwrap_or(false);
    if unique && needs_stand_in(context.destination.version) { stand_in_name(name) } else { name.to_string() }
}
