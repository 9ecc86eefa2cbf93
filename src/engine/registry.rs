//! The collections of a migration by source UUID: where each lives on the destination and what finalizing still owes it.
//!
//! One owner at a time: the copy builds it, the applier changes it as it replays DDL, finalizing consumes it.

use super::create::can_resize_capped;
use crate::{
    model::{Optime, snapshot::FailedIndex},
    mongo::{
        Namespace, ServerVersion,
        catalog::{CatalogEntry, Kind},
    },
};
use bson::{RawDocument, RawDocumentBuf, Uuid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// One collection that is migrated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tracked {
    /// Its name on the destination: the source's name at the catalog's position, moved along by replayed renames.
    pub namespace: Namespace,
    /// Collection or Buckets (views and time-series names carry no data and are not tracked here).
    pub kind: Kind,
    /// Options as on the source (kept current by replayed collMod); what finalizing restores.
    pub options: RawDocumentBuf,
    /// Secondary indexes by name, as they are on the source (kept current by replayed DDL).
    pub indexes: BTreeMap<String, TrackedIndex>,
    /// It was on the destination before anything was written, in its final form: on the way back.
    #[serde(default)]
    pub in_place: bool,
    /// It is to be created before anything else is done to it: only on the source is it there for certain.
    #[serde(default)]
    pub unmade: bool,
    /// Its indexes were built before its documents came.
    #[serde(default)]
    pub is_indexed: bool,
}

/// One secondary index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrackedIndex {
    /// The spec as on the source.
    pub spec: RawDocumentBuf,
    /// Why it is not on the destination, when it could not be built.
    pub failed: Option<String>,
    /// It was there before anything was written, in its final form: on the way back, where it is unique while changes are
    /// applied.
    #[serde(default)]
    pub in_place: bool,
    /// It is built at finalizing. Until then it cannot be told from another index of the same keys: one of the two is
    /// unique, and that is held.
    #[serde(default)]
    pub late: bool,
}

impl TrackedIndex {
    /// Not tried yet, or built.
    pub fn new(spec: RawDocumentBuf) -> Self {
        Self { spec, failed: None, in_place: false, late: false }
    }

    /// Only that one of them is unique tells them apart.
    fn is_twin_of(&self, spec: &RawDocument) -> bool {
        let keys = |spec: &RawDocument| spec.get_document("key").map(|key| key.as_bytes().to_vec()).ok();
        keys(&self.spec) == keys(spec) && is_set(&self.spec, "unique") != is_set(spec, "unique")
    }
}

impl Tracked {
    /// From what the catalog says.
    pub fn new(entry: &CatalogEntry) -> Self {
        let named = |spec: &RawDocumentBuf| {
            let name = spec.get_str("name").unwrap_or_default().to_string();
            (name, TrackedIndex::new(spec.clone()))
        };
        Self {
            namespace: entry.namespace.clone(),
            kind: entry.kind,
            options: entry.options.clone(),
            indexes: entry.indexes.iter().map(named).collect(),
            in_place: false,
            unmade: false,
            is_indexed: false,
        }
    }

    /// Capped collections are one lane and are copied in natural order.
    pub fn is_capped(&self) -> bool {
        is_set(&self.options, "capped")
    }

    /// The destination removes what is too much by itself and lets nobody else do so: a capped collection that was there
    /// before, on a server before 6.0 (OPLOG.md E.4).
    pub fn trims_itself(&self, destination: ServerVersion) -> bool {
        self.in_place && self.is_capped() && !can_resize_capped(destination)
    }

    /// A default collation: ids that are equal under it have other bytes (OPLOG.md B.7).
    pub fn is_collated(&self) -> bool {
        self.options.get_document("collation").is_ok()
    }

    /// Documents are stored in the order of `_id`; there is no `_id` index.
    pub fn is_clustered(&self) -> bool {
        matches!(self.options.get("clusteredIndex"), Ok(Some(_)))
    }

    /// The source's TTL monitor deletes from it.
    pub fn expires(&self) -> bool {
        let has_ttl = |document: &RawDocument| matches!(document.get("expireAfterSeconds"), Ok(Some(_)));
        has_ttl(&self.options) || self.indexes.values().any(|index| has_ttl(&index.spec))
    }

    /// Some index refuses equal values already: a value that one document gives away may be taken by another.
    pub fn is_unique(&self) -> bool {
        self.indexes
            .values()
            .any(|index| index.in_place && (is_set(&index.spec, "unique") || is_set(&index.spec, "prepareUnique")))
    }

    /// Its indexes that could not be built.
    pub fn failed_indexes(&self) -> impl Iterator<Item = FailedIndex> {
        let failed = |(name, index): (&String, &TrackedIndex)| {
            let reason = index.failed.clone()?;
            Some(FailedIndex { namespace: self.namespace.to_string(), index: name.clone(), reason })
        };
        self.indexes.iter().filter_map(failed)
    }

    /// Some other index has the same keys, and one of the two is unique.
    pub fn has_twin(&self, spec: &RawDocument) -> bool {
        self.indexes.values().any(|index| index.is_twin_of(spec))
    }

    /// All its changes must be applied in the order of the oplog.
    pub fn is_serial(&self) -> bool {
        self.is_capped() || self.is_collated() || self.is_unique()
    }
}

/// True when the option is there and true.
pub fn is_set(options: &RawDocument, name: &str) -> bool {
    options.get_bool(name).unwrap_or(false)
}

/// All collections, and up to where each database's catalog already reflects DDL.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// By the source's collection UUID.
    pub collections: HashMap<Uuid, Tracked>,
    /// DDL entries of a database at or before this position are already reflected and must be skipped.
    pub catalog_as_of: HashMap<String, Optime>,
    /// Position before the database list was read: the limit for databases that are not in `catalog_as_of`.
    pub started_at: Optime,
    /// The command at hand was begun before a restart: some or all of it may have been carried out.
    pub is_repeated: bool,
}

impl Registry {
    /// The position up to which DDL of `db` is already reflected on the destination.
    pub fn ddl_reflected_until(&self, db: &str) -> Optime {
        self.catalog_as_of.get(db).copied().unwrap_or(self.started_at)
    }

    /// All indexes that could not be built.
    pub fn failed_indexes(&self) -> Vec<FailedIndex> {
        self.collections.values().flat_map(Tracked::failed_indexes).collect()
    }

    /// The UUID of the collection that lives at `namespace` on the destination.
    pub fn uuid_at(&self, namespace: &Namespace) -> Option<Uuid> {
        self.collections.iter().find(|(_, tracked)| tracked.namespace == *namespace).map(|(uuid, _)| *uuid)
    }
}
