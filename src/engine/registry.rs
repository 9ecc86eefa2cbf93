//! The collections of a migration by source UUID: where each lives on the destination and what finalizing still owes it.
//!
//! One owner at a time: the copy builds it, the applier changes it as it replays DDL, finalizing consumes it.

use crate::{
    model::Optime,
    mongo::{Namespace, catalog::Kind},
};
use bson::{RawDocumentBuf, Uuid};
use std::collections::{BTreeMap, HashMap};

/// One collection that is migrated.
#[derive(Debug, Clone)]
pub struct Tracked {
    /// Its name on the destination: the source's name at `catalog_as_of`, moved along by replayed renames.
    pub namespace: Namespace,
    /// Collection or Buckets (views and time-series names carry no data and are not tracked here).
    pub kind: Kind,
    /// Options as on the source (kept current by replayed collMod); what finalizing restores.
    pub options: RawDocumentBuf,
    /// Secondary indexes by name, as they are on the source (kept current by replayed DDL).
    pub indexes: BTreeMap<String, TrackedIndex>,
    /// Capped collections are one lane and are copied in natural order.
    pub capped: bool,
    /// A default collation other than simple: `_id` lookups need care (OPLOG.md B.7).
    pub collated: bool,
}

/// One secondary index.
#[derive(Debug, Clone)]
pub struct TrackedIndex {
    /// The spec as on the source.
    pub spec: RawDocumentBuf,
    /// Why it is not on the destination, when it could not be built.
    pub failed: Option<String>,
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
}

impl Registry {
    /// The position up to which DDL of `db` is already reflected on the destination.
    pub fn ddl_reflected_until(&self, db: &str) -> Optime {
        self.catalog_as_of.get(db).copied().unwrap_or(self.started_at)
    }

    /// The UUID of the collection that lives at `namespace` on the destination.
    pub fn uuid_at(&self, namespace: &Namespace) -> Option<Uuid> {
        self.collections.iter().find(|(_, tracked)| tracked.namespace == *namespace).map(|(uuid, _)| *uuid)
    }
}
