//! How much collections hold: estimates of the server, of many collections by one command.

use super::{
    catalog::{AT_ONCE, CatalogEntry, Kind, MOVED_AWAY, list_all, number},
    cluster::{Cluster, DriverError},
    errors::code,
};
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use std::collections::HashMap;

/// Collections of one command. One command for each of thousands of small collections would cost a good part of copying
/// them.
const TOGETHER: usize = 100;

/// Notes documents and bytes in every entry of one database that has any. A collection that went meanwhile has none.
pub(super) async fn fill(cluster: &Cluster, db: &str, entries: &mut [CatalogEntry]) -> Result<(), DriverError> {
    let stored = |entry: &&mut CatalogEntry| matches!(entry.kind, Kind::Collection | Kind::Buckets);
    let mut stored: Vec<&mut CatalogEntry> = entries.iter_mut().filter(stored).collect();
    let readings: Vec<_> = stored.chunks_mut(TOGETHER).map(|chunk| fill_chunk(cluster, db, chunk).boxed()).collect();
    stream::iter(readings).buffer_unordered(AT_ONCE).try_collect().await
}

async fn fill_chunk(cluster: &Cluster, db: &str, chunk: &mut [&mut CatalogEntry]) -> Result<(), DriverError> {
    let names: Vec<&str> = chunk.iter().map(|entry| entry.namespace.coll.as_str()).collect();
    // Without one of them the server answers for none.
    let Ok(sizes) = read(cluster, db, &names).await else {
        return fill_each(cluster, db, chunk).await;
    };
    for entry in chunk {
        // A name that belongs to a view by now tells of another collection.
        let size = sizes.get(&entry.namespace.to_string());
        (entry.documents, entry.bytes) = size.copied().unwrap_or_default();
    }
    Ok(())
}

async fn fill_each(cluster: &Cluster, db: &str, chunk: &mut [&mut CatalogEntry]) -> Result<(), DriverError> {
    for entry in chunk {
        match read(cluster, db, &[&entry.namespace.coll]).await {
            Ok(sizes) => (entry.documents, entry.bytes) = sizes.into_values().next().unwrap_or_default(),
            Err(error) if code(&error).is_some_and(|code| MOVED_AWAY.contains(&code)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Documents and bytes by namespace.
async fn read(cluster: &Cluster, db: &str, names: &[&str]) -> Result<HashMap<String, (u64, u64)>, DriverError> {
    let (found, _) = list_all(cluster, db, command(names)).await?;
    let size = |row: &RawDocumentBuf| {
        let field = |name: &str| row.get(name).ok().flatten().and_then(number);
        let documents = field("documents").or_else(|| field("buckets")).unwrap_or(0);
        Some((row.get_str("ns").ok()?.to_string(), (documents, field("bytes").unwrap_or(0))))
    };
    Ok(found.iter().filter_map(size).collect())
}

/// Only these numbers are asked for: all of `collStats` is hundreds of fields, which cost more than copying a small
/// collection. `$unionWith` takes `$collStats` from 4.4 on (measured on 4.4.2, 5.0.4, 6.0.5 and 6.0.27).
fn command(names: &[&str]) -> RawDocumentBuf {
    let mut pipeline = stages();
    for name in names.iter().skip(1) {
        pipeline.push(rawdoc! { "$unionWith": { "coll": *name, "pipeline": stages() } });
    }
    rawdoc! {
        "aggregate": names.first().copied().unwrap_or_default(),
        "pipeline": pipeline,
        "cursor": { "batchSize": 1_000 },
    }
}

fn stages() -> RawArrayBuf {
    let wanted = rawdoc! {
        "ns": 1,
        "documents": "$storageStats.count",
        // For a bucket collection the server leaves `count` out and counts buckets.
        "buckets": "$storageStats.timeseries.bucketCount",
        "bytes": "$storageStats.size",
    };
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$collStats": { "storageStats": {} } });
    stages.push(rawdoc! { "$project": wanted });
    stages
}
