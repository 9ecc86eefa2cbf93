//! empty: nothing of the destination is overwritten unless clearing was agreed.

use super::board::Finding;
use crate::{
    model::{NamespaceFilter, check::DroppedDatabase, units::show_bytes},
    mongo::{
        Cluster,
        catalog::{number, user_databases},
        cluster::DriverError,
        namespace::TEMPORARY_PREFIX,
    },
};
use bson::{RawDocument, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::bson::Document;
use std::time::Duration;

/// How far back writes of others count.
const WATCHED_S: u32 = 60;
/// Shows who is connected and what they run.
const WHO_WRITES: &str = "db.getSiblingDB('admin').aggregate([{$currentOp: {allUsers: true, idleConnections: true}}, \
                          {$match: {client: {$exists: true}}}, {$project: {client: 1, appName: 1, ns: 1, op: 1}}])";

/// Writes by others on the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecentWrites {
    /// `db.collection`.
    pub namespace: String,
    /// How many.
    pub count: u64,
}

/// What was written on the destination in the last minute, most first; empty when its oplog may not be read. Writes in
/// transactions are not counted.
pub(super) async fn recent_writes(destination: &Cluster) -> Vec<RecentWrites> {
    read_recent_writes(destination).await.unwrap_or_default()
}

async fn read_recent_writes(destination: &Cluster) -> Result<Vec<RecentWrites>, DriverError> {
    let newest = destination.last_write().await?;
    let clock = u32::try_from(newest.local_time_ms / 1000).unwrap_or(newest.optime.t);
    let since = Timestamp { time: clock.saturating_sub(WATCHED_S), increment: 0 };
    let ours = "^(admin|config|local|mongoferry_)";
    let pipeline = [
        doc! { "$match": { "ts": { "$gte": since }, "op": { "$in": ["i", "u", "d"] }, "ns": { "$not": { "$regex": ours } } } },
        doc! { "$limit": 100_000 },
        doc! { "$group": { "_id": "$ns", "count": { "$sum": 1 } } },
        doc! { "$sort": { "count": -1, "_id": 1 } },
        doc! { "$limit": 10 },
    ];
    let oplog = destination.login.database("local").collection::<Document>("oplog.rs");
    let found = oplog.aggregate(pipeline).max_time(Duration::from_secs(5));
    let mut cursor = found.with_type::<RawDocumentBuf>().await?;
    let mut writes = Vec::new();
    while cursor.advance().await? {
        let row: &RawDocument = cursor.current();
        let count = row.get("count")?.and_then(number).unwrap_or(0);
        writes.push(RecentWrites { namespace: row.get_str("_id")?.into(), count });
    }
    Ok(writes)
}

/// What of the destination the filter selects, by database. Reads only; needs no right on the oplog.
pub(super) async fn selected(
    destination: &Cluster,
    filter: &NamespaceFilter,
) -> Result<Vec<DroppedDatabase>, DriverError> {
    let mut databases = Vec::new();
    for (name, _) in user_databases(destination).await? {
        // What a killed or a simultaneous feature check left there is ours, empty, and removed at cleanup.
        if name.starts_with(TEMPORARY_PREFIX) || !filter.may_select_in(&name) {
            continue;
        }
        let (mut collections, mut bytes) = (0, 0);
        let command = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
        let mut cursor = destination.login.database(&name).run_cursor_command(command).await?;
        while cursor.advance().await? {
            let object: &RawDocument = cursor.current();
            let coll = object.get_str("name")?;
            let hidden = matches!(coll, "system.views" | "system.profile") || coll.starts_with("system.buckets.");
            if hidden || !filter.selects(&name, coll) {
                continue;
            }
            collections += 1;
            if object.get_str("type")? != "view" {
                bytes += size(destination, &name, coll).await.unwrap_or(0);
            }
        }
        if collections > 0 {
            databases.push(DroppedDatabase { name, collections, bytes });
        }
    }
    Ok(databases)
}

async fn size(destination: &Cluster, db: &str, coll: &str) -> Option<u64> {
    let stats: RawDocumentBuf = destination.run(db, rawdoc! { "collStats": coll }).await.ok()?;
    stats.get("size").ok().flatten().and_then(number)
}

/// Judges what [`selected`] found.
pub(super) fn judge(
    found: &[DroppedDatabase],
    writes: &[RecentWrites],
    clearing_agreed: bool,
    everything: bool,
) -> Finding {
    let busy: Vec<String> =
        writes.iter().take(3).map(|one| format!("{} ({} writes in 60 s)", one.namespace, one.count)).collect();
    let busy = busy.join(", ");
    let with_writes = |evidence: String| {
        if busy.is_empty() {
            return Finding::ok(evidence);
        }
        Finding::warn(
            format!("{evidence}; written to: {busy}"),
            "somebody uses the destination; whatever they write to a migrated collection makes it differ",
            "Stop what writes there, wait a minute, then run the checks again.",
        )
        .command(Some(WHO_WRITES.into()))
    };
    if found.is_empty() {
        let evidence = if everything { "no user databases" } else { "nothing under the selected namespaces" };
        return with_writes(evidence.into());
    }
    let names: Vec<String> = found
        .iter()
        .map(|db| {
            let word = if db.collections == 1 { "collection" } else { "collections" };
            format!("{} ({} {word}, {})", db.name, db.collections, show_bytes(db.bytes))
        })
        .collect();
    if clearing_agreed {
        return with_writes(format!("will be cleared first: {}", names.join(", ")));
    }
    let busy = if busy.is_empty() { busy } else { format!("; written to: {busy}") };
    Finding::fail(
        format!("not empty: {}{busy}", names.join(", ")),
        "mongoferry never merges into existing data",
        "Choose \"clear\" in the form (clear_destination = true in a plan), or another destination.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consent_makes_a_full_destination_usable() {
        let found = [DroppedDatabase { name: "shop".into(), collections: 2, bytes: 4096 }];
        assert_eq!(judge(&[], &[], false, true), Finding::ok("no user databases"));
        assert_eq!(judge(&found, &[], true, true), Finding::ok("will be cleared first: shop (2 collections, 4.0 KiB)"));
        let text = format!("{:?}", judge(&found, &[], false, true));
        assert!(text.contains("Fail") && text.contains("clear_destination = true"), "{text}");
    }
}
