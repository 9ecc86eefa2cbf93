//! The way back when the source's oplog lost what is needed next: a new tail first, then every collection that was copied
//! is compared with the source and repaired where it differs; what was renamed, dropped or created meanwhile is dropped
//! and copied. Not a drop of everything.

use super::{
    context::Context,
    copy,
    ddl::run,
    dirty::DirtySet,
    index::stand_in_name,
    record::Record,
    registry::{Registry, Tracked},
    retry::Halt,
    verify::{Target, Verifier},
    view::InitialSyncView,
};
use crate::{
    model::{Severity, snapshot::Verification, units::show_count},
    mongo::{
        Namespace,
        catalog::{Catalog, CatalogEntry, Kind},
    },
};
use bson::{Uuid, rawdoc};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::watch;

const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;

/// Makes the destination what `catalog` says; `known` is what an earlier copy left there.
pub async fn compare_and_repair(
    context: &Context,
    (known, catalog): (&Registry, &Catalog),
    view: &watch::Sender<InitialSyncView>,
    comparing: &watch::Sender<Verification>,
) -> Result<Registry, Halt> {
    let before = comparing.borrow().clone();
    context.journal("writing the journal", Record::begin_again).await?;
    drop_views(context, known, catalog).await?;
    let mut kept = drop_what_changed(context, known, catalog).await?;
    let verifier = Verifier::new(context.clone(), Arc::new(DirtySet::default()), comparing.clone());
    let targets: Vec<Target> = kept.iter().map(|(entry, _)| target(entry)).collect();
    verifier.show(&targets);
    let mut gone = HashSet::new();
    for target in &targets {
        context.gate.pass(&context.cancel).await?;
        if !verifier.make_equal(target).await? {
            drop_collection(context, &target.namespace).await?;
            gone.insert(target.uuid);
        }
    }
    // What was compared here is not the verification that follows.
    comparing.send_replace(before);
    kept.retain(|(entry, _)| entry.uuid.is_some_and(|uuid| !gone.contains(&uuid)));
    let rest = rest_of(catalog, &kept);
    let copied = rest.databases.iter().flat_map(|database| &database.entries);
    let copied = copied.filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets)).count();
    let text = format!(
        "{} collections compared and made equal, {} copied again",
        show_count(kept.len() as u64),
        show_count(copied as u64)
    );
    context.events.record(Severity::Info, "compared", text);
    let mut registry = copy::copy(context, &rest, view).await?;
    for (entry, known) in kept {
        drop_old_indexes(context, entry, known).await?;
        if let Some(uuid) = entry.uuid {
            registry.collections.insert(uuid, Tracked::new(entry));
        }
    }
    for database in &catalog.databases {
        registry.catalog_as_of.insert(database.db.clone(), database.as_of);
    }
    Ok(registry)
}

fn target(entry: &CatalogEntry) -> Target {
    Target {
        // Only collections with one are kept.
        uuid: entry.uuid.unwrap_or_else(|| Uuid::from_bytes([0; 16])),
        namespace: entry.namespace.clone(),
        documents: entry.documents,
        shape: super::verify::Shape::of(&Tracked::new(entry)),
    }
}

/// Drops what is not the same collection any more, and what half a comparison before a restart created. Returns the
/// collections that can be compared.
async fn drop_what_changed<'a>(
    context: &Context,
    known: &'a Registry,
    catalog: &'a Catalog,
) -> Result<Vec<(&'a CatalogEntry, &'a Tracked)>, Halt> {
    let entries = || catalog.databases.iter().flat_map(|database| &database.entries);
    let mut kept = Vec::new();
    for entry in entries().filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets)) {
        let known = entry.uuid.and_then(|uuid| known.collections.get(&uuid));
        let is_same = |known: &&Tracked| known.namespace == entry.namespace && known.options == entry.options;
        // A capped collection has an order that repairing cannot restore.
        match known.filter(is_same).filter(|known| !known.is_capped()) {
            Some(known) => kept.push((entry, known)),
            None => drop_collection(context, &entry.namespace).await?,
        }
    }
    let same: HashSet<&Namespace> = kept.iter().map(|(entry, _)| &entry.namespace).collect();
    for tracked in known.collections.values().filter(|tracked| !same.contains(&tracked.namespace)) {
        drop_collection(context, &tracked.namespace).await?;
    }
    Ok(kept)
}

async fn drop_collection(context: &Context, namespace: &Namespace) -> Result<(), Halt> {
    let name = namespace.coll.strip_prefix("system.buckets.").unwrap_or(&namespace.coll);
    run(context, &namespace.db, rawdoc! { "drop": name }, &[NAMESPACE_NOT_FOUND]).await
}

async fn drop_views(context: &Context, known: &Registry, catalog: &Catalog) -> Result<(), Halt> {
    let mut databases: HashSet<&str> = catalog.databases.iter().map(|database| database.db.as_str()).collect();
    databases.extend(known.collections.values().map(|tracked| tracked.namespace.db.as_str()));
    for db in databases {
        super::ddl::drop_views(context, db).await?;
    }
    Ok(())
}

/// The catalog without what is on the destination already.
fn rest_of(catalog: &Catalog, kept: &[(&CatalogEntry, &Tracked)]) -> Catalog {
    let there: HashSet<&Namespace> = kept.iter().map(|(entry, _)| &entry.namespace).collect();
    let is_there = |entry: &CatalogEntry| match entry.kind {
        // The user's name of a time-series collection is there with its buckets.
        Kind::Timeseries => {
            let buckets = format!("system.buckets.{}", entry.namespace.coll);
            there.contains(&Namespace::new(&entry.namespace.db, buckets))
        }
        _ => there.contains(&entry.namespace),
    };
    let mut rest = catalog.clone();
    for database in &mut rest.databases {
        database.entries.retain(|entry| !is_there(entry));
    }
    rest
}

/// Indexes that the source no longer has, or has otherwise; those that are missing are built with the others.
async fn drop_old_indexes(context: &Context, entry: &CatalogEntry, known: &Tracked) -> Result<(), Halt> {
    for (name, index) in &known.indexes {
        if entry.indexes.contains(&index.spec) {
            continue;
        }
        for name in [name.clone(), stand_in_name(name)] {
            let command = rawdoc! { "dropIndexes": entry.namespace.coll.as_str(), "index": name };
            run(context, &entry.namespace.db, command, &[INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND]).await?;
        }
    }
    Ok(())
}
