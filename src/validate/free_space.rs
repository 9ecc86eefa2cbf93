//! free space: what the destination's primary has left against what the copy needs. Unknown stays unknown.

use super::board::Finding;
use crate::{
    model::{NamespaceFilter, check::DroppedDatabase, units::show_bytes},
    mongo::{
        Cluster, Namespace,
        catalog::{Catalog, Kind, number},
        errors::code,
    },
};
use bson::{RawDocumentBuf, rawdoc};
use futures_util::{FutureExt, StreamExt, stream};

/// Collections that are measured at the same time.
const AT_ONCE: usize = 8;

/// Judges the destination's disk. `dropped` is what clearing gives back before the copy.
pub(super) async fn check(
    source: &Cluster,
    (catalog, filter): (&Catalog, &NamespaceFilter),
    destination: &Cluster,
    dropped: Option<&[DroppedDatabase]>,
) -> Finding {
    let Some((needed, how)) = needed(source, catalog, filter).await else {
        return Finding::ok("need not known: the source's sizes cannot be read");
    };
    let needed = needed / 10 * 11;
    let need = format!("need {} ({how} + 10 %)", show_bytes(needed));
    let Some(free) = free(destination).await else {
        return Finding::ok(format!("free space not known: the destination does not tell; {need}"));
    };
    let evidence = format!("{} free on the primary, {need}", show_bytes(free));
    if free >= needed {
        return Finding::ok(evidence);
    }
    let fix = "Enlarge the destination's disk, or leave namespaces out.";
    match dropped {
        Some(dropped) if !dropped.is_empty() => {
            Finding::warn(evidence, "it fits only with the room that clearing gives back, and that is not known", fix)
        }
        _ => Finding::fail(evidence, "the copy would fill the disk", fix),
    }
}

/// Bytes on disk that what is selected takes on the source, and how that was found.
async fn needed(source: &Cluster, catalog: &Catalog, filter: &NamespaceFilter) -> Option<(u64, &'static str)> {
    let mut total = 0;
    if filter.is_everything() {
        for database in &catalog.databases {
            let stats = source.run(&database.db, rawdoc! { "dbStats": 1 }).await.ok()?;
            total += field(&stats, "storageSize")? + field(&stats, "indexSize")?;
        }
        return Some((total, "data + indexes on the source's disk"));
    }
    let entries = catalog.databases.iter().flat_map(|database| &database.entries);
    let stored = entries.filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets));
    let sizes: Vec<_> = stored.map(|entry| on_disk(source, &entry.namespace).boxed()).collect();
    let mut sizes = stream::iter(sizes).buffer_unordered(AT_ONCE);
    while let Some(size) = sizes.next().await {
        total += size?;
    }
    Some((total, "the selected data + indexes on the source's disk"))
}

async fn on_disk(source: &Cluster, namespace: &Namespace) -> Option<u64> {
    match source.run(&namespace.db, rawdoc! { "collStats": namespace.coll.as_str() }).await {
        Ok(stats) => Some(field(&stats, "storageSize")? + field(&stats, "totalIndexSize")?),
        // Dropped since the catalog was read.
        Err(error) if code(&error) == Some(26) => Some(0),
        Err(_) => None,
    }
}

/// `fsTotalSize - fsUsedSize` of the primary; `None` when it is not told.
async fn free(destination: &Cluster) -> Option<u64> {
    let stats = destination.run("admin", rawdoc! { "dbStats": 1 }).await.ok()?;
    let (total, used) = (field(&stats, "fsTotalSize")?, field(&stats, "fsUsedSize")?);
    (total > 0).then(|| total.saturating_sub(used))
}

fn field(stats: &RawDocumentBuf, name: &str) -> Option<u64> {
    stats.get(name).ok().flatten().and_then(number)
}
