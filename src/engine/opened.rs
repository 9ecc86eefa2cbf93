//! What both clusters were when the destination was opened: the point from which a way back goes. Written beside the
//! journal before the application may write to the destination, so that nothing of it comes earlier.

use super::{
    context::Context,
    registry::{Registry, Tracked},
};
use crate::{
    model::{Optime, Problem, Severity, Side},
    mongo::{
        Cluster,
        catalog::{self, CatalogEntry, Kind},
        errors::explain,
    },
    store,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tokio::time::timeout;

/// Opening does not wait longer for each attempt; without this point there is no way back, which is said.
const PATIENCE: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;

/// The destination as it was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// Its position before its catalog was read: no write of the application stands before it.
    pub from: Optime,
    /// Commands of a database up to here are reflected.
    as_of: BTreeMap<String, Optime>,
    /// Its collections.
    entries: Vec<CatalogEntry>,
    /// The source's position at the cutover.
    pub cutover: Optime,
}

impl Opened {
    /// What stands in the folder of a migration.
    pub fn read(folder: &Path) -> Result<Option<Self>, Problem> {
        let Some(bytes) = store::opened(folder)? else { return Ok(None) };
        bson::deserialize_from_slice(&bytes).map(Some).map_err(|error| unreadable(folder, error))
    }

    /// The collections to follow, as they were then, with every index in its final form.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry { started_at: self.from, ..Registry::default() };
        registry.catalog_as_of.extend(self.as_of.clone());
        for entry in self.entries.iter().filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets)) {
            let Some(uuid) = entry.uuid else { continue };
            let mut tracked = Tracked::new(entry);
            tracked.in_place = true;
            tracked.indexes.values_mut().for_each(|index| index.in_place = true);
            registry.collections.insert(uuid, tracked);
        }
        registry
    }
}

fn unreadable(folder: &Path, why: impl ToString) -> Problem {
    let what = format!("what {} says about the opening cannot be understood", folder.display());
    Problem::before_writing(Side::Host, what, why.to_string(), "There is no way back from here.")
}

/// Notes the destination's position and collections. A failure is said and keeps nobody from opening it.
pub async fn note(context: &Context, reader: &Cluster, cutover: Optime) {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match timeout(PATIENCE, catalog::read_committed(reader, &context.options.filter)).await {
            Ok(Ok(catalog)) => {
                let as_of = catalog.databases.iter().map(|database| (database.db.clone(), database.as_of)).collect();
                let entries = catalog.databases.into_iter().flat_map(|database| database.entries).collect();
                let opened = Opened { from: catalog.started_at, as_of, entries, cutover };
                let folder = context.record.folder().to_path_buf();
                let written = tokio::task::spawn_blocking(move || {
                    let bytes = bson::serialize_to_vec(&opened).map_err(|error| unreadable(&folder, error))?;
                    store::keep_opened(&folder, &bytes)
                });
                match written.await {
                    Ok(Ok(())) => return,
                    Ok(Err(problem)) => why = problem.to_string(),
                    // Only at the end of the runtime.
                    Err(_) => return,
                }
            }
            Ok(Err(error)) => why = explain(&error),
            Err(_) => why = format!("no answer within {} s", PATIENCE.as_secs()),
        }
    }
    let text = format!("there will be no way back: the destination cannot be noted as it is opened: {why}");
    context.events.record(Severity::Warn, "no-way-back", text);
}
