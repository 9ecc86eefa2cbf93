//! The buckets of time series. A creation is two entries, the buckets and a view of them, and a source that is interrupted
//! in between has buckets alone (OPLOG.md A.9).
//!
//! They are made no sooner than something asks for them: beside the buckets, a server takes inserts into a plain collection
//! of the user's name for measurements, and such a collection may have come between the two entries.

use super::{collections::exists, run};
use crate::{
    engine::{
        context::Context,
        create::{bare_buckets_command, create_command},
        registry::{Registry, Tracked},
        retry::{Halt, retry},
    },
    model::Side,
    mongo::{Namespace, catalog::Kind},
};
use bson::{RawDocumentBuf, Uuid, rawdoc};

const NAMESPACE_NOT_FOUND: i32 = 26;
const NAMESPACE_EXISTS: i32 = 48;

pub(super) fn kind_of(name: &str) -> Kind {
    if name.starts_with("system.buckets.") { Kind::Buckets } else { Kind::Collection }
}

pub(super) fn user_name(name: &str) -> &str {
    name.strip_prefix("system.buckets.").unwrap_or(name)
}

/// Makes a collection that waited for it, before anything else is done to it.
pub async fn make(context: &Context, registry: &mut Registry, uuid: Uuid) -> Result<(), Halt> {
    let Some(tracked) = registry.collections.get_mut(&uuid).filter(|tracked| tracked.unmade) else { return Ok(()) };
    make_alone(context, tracked).await?;
    tracked.unmade = false;
    Ok(())
}

/// Makes all that nothing asked for: on the source they are there.
pub async fn make_all(context: &Context, registry: &Registry) -> Result<(), Halt> {
    for tracked in registry.collections.values().filter(|tracked| tracked.unmade) {
        make_alone(context, tracked).await?;
    }
    Ok(())
}

async fn make_alone(context: &Context, Tracked { namespace, options, .. }: &Tracked) -> Result<(), Halt> {
    run(context, &namespace.db, bare_buckets_command(namespace, options), &[NAMESPACE_EXISTS]).await
}

/// Gives buckets the name that users see.
pub(super) async fn show(context: &Context, registry: &mut Registry, view: &Namespace) -> Result<(), Halt> {
    let buckets = Namespace::new(&view.db, format!("system.buckets.{}", view.coll));
    let Some(tracked) = registry.uuid_at(&buckets).and_then(|uuid| registry.collections.get_mut(&uuid)) else {
        return Ok(());
    };
    if exists(context, view).await? {
        return Ok(());
    }
    let wanted = |name: &str| matches!(name, "timeseries" | "collation");
    let options: RawDocumentBuf =
        tracked.options.iter().filter_map(Result::ok).filter(|(name, _)| wanted(name.as_str())).collect();
    let Some(command) = create_command(view, Kind::Timeseries, &options, context.destination.version) else {
        return Ok(());
    };
    // Made with their view, they get the validator of the destination's own release, without which it refuses the view
    // when the releases differ.
    if !tracked.unmade && tracked.indexes.is_empty() && is_empty(context, &buckets).await? {
        run(context, &view.db, rawdoc! { "drop": buckets.coll.as_str() }, &[NAMESPACE_NOT_FOUND]).await?;
    }
    run(context, &view.db, command, &[NAMESPACE_EXISTS]).await?;
    tracked.unmade = false;
    Ok(())
}

async fn is_empty(context: &Context, namespace: &Namespace) -> Result<bool, Halt> {
    let destination = &context.destination;
    let find = rawdoc! { "find": namespace.coll.as_str(), "limit": 1, "projection": { "_id": 1 } };
    retry(Side::Destination, "looking for measurements", &context.events, &context.cancel, || async {
        let reply = destination.run(&namespace.db, find.clone()).await?;
        Ok(reply.get_document("cursor")?.get_array("firstBatch")?.is_empty())
    })
    .await
}
