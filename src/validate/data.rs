//! data: what will be copied, and by name what will not.

use super::{
    board::Finding,
    clashes::{Clash, clashes},
};
use crate::{
    model::{
        NamespaceFilter,
        units::{plural, show_bytes, show_count},
    },
    mongo::{Cluster, SeenCatalog, accounts::Accounts, catalog::Kind, errors::code},
};

/// Names of users or roles in the line of the check.
const NAMES: usize = 3;

/// The selected data of the source.
pub(super) struct Data {
    /// Everything selected.
    pub seen: SeenCatalog,
    /// Uncompressed size of the documents.
    pub bytes: u64,
    /// How the check ended.
    pub finding: Finding,
    /// Objects that stay behind, `name: reason`.
    pub left_behind: Vec<String>,
}

/// Reads the catalog of the selected namespaces and looks for what cannot be carried.
pub(super) async fn check(source: &Cluster, filter: &NamespaceFilter) -> Result<Data, Finding> {
    let seen = SeenCatalog::read(source, filter).await.map_err(|error| {
        let fix = match code(&error) {
            Some(13) => "Grant readAnyDatabase and clusterMonitor to the source user (time-series buckets need them).",
            _ => "Look at the server's message, then run the checks again.",
        };
        Finding::fail("the collections cannot be listed", error.to_string(), fix)
    })?;
    let entries = || seen.catalog.databases.iter().flat_map(|database| &database.entries);
    let bytes = entries().map(|entry| entry.bytes).sum();
    let documents: u64 = entries().map(|entry| entry.documents).sum();
    let count = |kind| entries().filter(|entry| entry.kind == kind).count();
    let indexes: usize = entries().map(|entry| entry.indexes.len()).sum();
    let mut parts = vec![plural(count(Kind::Collection) as u64, "collection")];
    if count(Kind::Timeseries) > 0 {
        parts.push(plural(count(Kind::Timeseries) as u64, "time-series collection"));
    }
    if count(Kind::View) > 0 {
        parts.push(plural(count(Kind::View) as u64, "view"));
    }
    parts.push(show_bytes(bytes));
    parts.push(format!("about {} documents", show_count(documents)));
    parts.push(plural(indexes as u64, "index"));
    let evidence = parts.join(", ");
    let mut left_behind: Vec<String> = entries()
        .filter(|entry| entry.options.get_document("encryptedFields").is_ok())
        .map(|entry| {
            format!("{}: queryable encryption was never tried; compare it after the migration", entry.namespace)
        })
        .collect();
    let accounts = Accounts::read(source).await;
    let mut lost = Vec::new();
    for (found, word) in [(&accounts.roles, "role"), (&accounts.users, "user")] {
        match found {
            Some(names) => {
                let line = |name: &String| format!("{word} {name}: create it on the destination");
                left_behind.extend(names.iter().map(line));
                lost.extend(
                    (!names.is_empty()).then(|| format!("{} ({})", plural(names.len() as u64, word), shortened(names))),
                );
            }
            None => left_behind.push(format!("{word}s: never carried; they cannot be listed with this login")),
        }
    }
    let clashes = clashes(&seen.catalog);
    let finding = if let Some(clash) = clashes.first() {
        Finding::fail(
            format!("{evidence}; {}", clashes.iter().map(Clash::text).collect::<Vec<_>>().join("; ")),
            "the source can hold two objects of one name, a destination cannot",
            "Give the collection another name with the command below, or drop or exclude it; then run the checks again.",
        )
        .command(Some(clash.command()))
    } else if lost.is_empty() && left_behind.iter().all(|line| line.contains("cannot be listed")) {
        Finding::ok(evidence)
    } else {
        Finding::warn(
            format!("{evidence}; left behind: {}", if lost.is_empty() { "see below".into() } else { lost.join(", ") }),
            "these objects of the source are not carried over".to_string(),
            "Create what your application needs on the destination before the cutover, in mongosh there.",
        )
        .command(accounts.script)
    };
    Ok(Data { bytes, finding, left_behind, seen })
}

/// Names for one line; the whole list stands under "left behind".
fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES { format!("{shown}, ...") } else { shown }
}
