//! What Start Migration will do, in the operator's words.

use crate::{
    model::{
        Endpoint, Plan, Verify,
        check::DroppedDatabase,
        units::{plural, show_bytes},
    },
    mongo::{
        Cluster,
        catalog::{Catalog, Kind},
    },
};

/// One line per act, in order.
pub(super) fn lines(
    plan: &Plan,
    (source, destination): (&Cluster, &Cluster),
    catalog: &Catalog,
    dropped: &[DroppedDatabase],
) -> Vec<String> {
    let mut lines = Vec::new();
    if plan.options.clear_destination && !dropped.is_empty() {
        let collections: u64 = dropped.iter().map(|db| db.collections).sum();
        let bytes = dropped.iter().map(|db| db.bytes).sum();
        let names: Vec<&str> = dropped.iter().map(|db| db.name.as_str()).collect();
        let word = if collections == 1 { "collection" } else { "collections" };
        lines.push(format!(
            "DROP {collections} {word} ({}) in {} on {}",
            show_bytes(bytes),
            names.join(", "),
            plan.destination.hosts()
        ));
    }
    let entries = || catalog.databases.iter().flat_map(|database| &database.entries);
    let collections = entries().filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets)).count();
    let bytes = entries().map(|entry| entry.bytes).sum();
    let indexes: usize = entries().map(|entry| entry.indexes.len()).sum();
    let what = if plan.options.filter.is_everything() { "all user databases" } else { "the selected namespaces" };
    lines.push(format!(
        "copy {}, {}, {} ({what}) from {} ({}) to {} ({})",
        plural(collections as u64, "collection"),
        show_bytes(bytes),
        plural(indexes as u64, "index"),
        plan.source.hosts(),
        source.set,
        plan.destination.hosts(),
        destination.set
    ));
    lines.push(format!("read {}, write {}", as_user(&plan.source), as_user(&plan.destination)));
    lines.push(match plan.options.verify {
        Verify::Exact => "follow changes until you cut over, and compare every document as bytes".into(),
        Verify::Off => "follow changes until you cut over; nothing is compared (verify = \"off\")".into(),
    });
    lines
}

fn as_user(endpoint: &Endpoint) -> String {
    match &endpoint.username {
        Some(user) => format!("as {user}@{}", endpoint.auth_source.as_deref().unwrap_or("admin")),
        None => "without a login".into(),
    }
}
