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
use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};

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
        let mut cursor = destination.client.database(&name).run_cursor_command(command).await?;
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
pub(super) fn judge(found: &[DroppedDatabase], clearing_agreed: bool, everything: bool) -> Finding {
    if found.is_empty() {
        return Finding::ok(if everything { "no user databases" } else { "nothing under the selected namespaces" });
    }
    let names: Vec<String> = found
        .iter()
        .map(|db| {
            let word = if db.collections == 1 { "collection" } else { "collections" };
            format!("{} ({} {word}, {})", db.name, db.collections, show_bytes(db.bytes))
        })
        .collect();
    if clearing_agreed {
        return Finding::ok(format!("will be cleared first: {}", names.join(", ")));
    }
    Finding::fail(
        format!("not empty: {}", names.join(", ")),
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
        assert_eq!(judge(&[], false, true), Finding::ok("no user databases"));
        assert_eq!(judge(&found, true, true), Finding::ok("will be cleared first: shop (2 collections, 4.0 KiB)"));
        let text = format!("{:?}", judge(&found, false, true));
        assert!(text.contains("Fail") && text.contains("clear_destination = true"), "{text}");
    }
}
