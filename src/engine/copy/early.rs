//! Indexes of small collections, built while they are empty: a server has those of an empty collection at once, and takes
//! tens of milliseconds as soon as there is one document. On 6.0.5 the indexes of 2,000 collections of ten documents took
//! 50 s after the documents; with them first, the whole copy takes 12 s.

use super::{Confirmed, create, is_empty};
use crate::{
    engine::{
        context::Context,
        index,
        registry::Tracked,
        retry::{Halt, retry},
    },
    model::Side,
    mongo::{
        catalog::{CatalogEntry, Kind},
        errors::{code, from_code, may_pass},
    },
};
use bson::{RawDocument, Uuid, raw::cstr, rawdoc};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Index entries of a small collection. Alone, a collection of up to 80,000 of them is there sooner with its indexes first
/// (6.0.5, one to eight indexes: a build after the documents takes 0.1 s before it does anything); but from about 20,000
/// on that keeps the server busier, which matters when there are many.
const ENTRIES: u64 = 10_000;
const INDEX_NOT_FOUND: i32 = 27;
const NAMESPACE_NOT_FOUND: i32 = 26;
const NAMESPACE_EXISTS: i32 = 48;

/// The collections whose indexes are there already. One per copy; an engine that takes up another one's copy knows of
/// none, and building them again is nothing to a server.
#[derive(Debug, Default)]
pub struct Early(Mutex<HashSet<Uuid>>);

impl Early {
    /// The collection's indexes are built.
    pub fn has(&self, uuid: Uuid) -> bool {
        self.built().contains(&uuid)
    }

    /// Creates a small collection with all its indexes, without waiting for the majority. False: it is not created; it is
    /// not small, or the server did not take its indexes together.
    pub async fn create(&self, context: &Context, entry: &CatalogEntry) -> Result<bool, Halt> {
        let (true, Some(uuid)) = (is_small(entry), entry.uuid) else { return Ok(false) };
        // Without options the first command creates the collection, too.
        let brings_it = entry.options.is_empty();
        if !brings_it {
            create(context, entry, Confirmed::Later).await?;
        }
        let destination = &context.destination;
        let specs: Vec<_> = entry.indexes.iter().collect();
        let what = format!("creating {}", entry.namespace);
        for (db, mut command) in index::commands(&Tracked::new(entry), &specs, destination.version) {
            command.append(cstr!("writeConcern"), rawdoc! { "w": 1 });
            let run = || async {
                let reply = match destination.run_concerned(&db, command.clone()).await {
                    Err(error) if !may_pass(&error) => return Ok(false),
                    outcome => outcome?,
                };
                if brings_it && !was_created(&reply) && !is_empty(destination, &entry.namespace).await? {
                    return Err(from_code(NAMESPACE_EXISTS, "a collection of that name is there, and it is not empty"));
                }
                Ok(true)
            };
            if !retry(Side::Destination, &what, &context.events, &context.cancel, run).await? {
                return Ok(false);
            }
        }
        self.built().insert(uuid);
        Ok(true)
    }

    /// Drops the indexes that were built early: a document is older or younger than they are, and cannot be in them. False:
    /// the collection has none.
    pub async fn take_back(&self, context: &Context, entry: &CatalogEntry) -> Result<bool, Halt> {
        let (true, Some(uuid)) = (is_small(entry), entry.uuid) else { return Ok(false) };
        let destination = &context.destination;
        self.built().remove(&uuid);
        let tracked = Tracked::new(entry);
        let what = format!("dropping the indexes of {} until its documents are there", entry.namespace);
        for spec in &entry.indexes {
            let spec = index::neutral(spec, &tracked, destination.version);
            let name = spec.get_str("name").unwrap_or_default();
            retry(Side::Destination, &what, &context.events, &context.cancel, || async {
                let command = rawdoc! { "dropIndexes": entry.namespace.coll.as_str(), "index": name };
                match destination.run_with_majority(&entry.namespace.db, command).await {
                    Err(error) if matches!(code(&error), Some(INDEX_NOT_FOUND | NAMESPACE_NOT_FOUND)) => Ok(()),
                    outcome => outcome.map(|_| ()),
                }
            })
            .await?;
        }
        Ok(true)
    }

    fn built(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the source's estimate; a wrong one costs time alone.
fn is_small(entry: &CatalogEntry) -> bool {
    let indexes = entry.indexes.len() as u64;
    entry.kind == Kind::Collection && indexes > 0 && entry.documents.saturating_mul(indexes) <= ENTRIES
}

fn was_created(reply: &RawDocument) -> bool {
    reply.get_bool("createdCollectionAutomatically").unwrap_or(false)
}
