//! What was written to the old cluster since the cutover, as its oplog shows it: the ground of a way back.

use crate::{
    model::{NamespaceFilter, Optime},
    mongo::{Cluster, cluster::DriverError, namespace::TEMPORARY_PREFIX},
    oplog::{Body, ChangeKind, Entry, Inner, OplogError, entry::operations},
};
use bson::{RawDocumentBuf, Timestamp, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Namespaces that are named.
const NAMED: usize = 5;

/// What was written.
#[derive(Debug, Default)]
pub struct Touched {
    /// By somebody: one sentence for each namespace, at most a few.
    pub written: Vec<String>,
    /// Deleted where the server deletes by itself: `{ "_id": … }` by `db.collection`.
    pub deleted: HashMap<String, Vec<RawDocumentBuf>>,
}

/// Everything in the selected namespaces after `since`; `None` when the oplog no longer reaches back so far.
pub async fn since(cluster: &Cluster, since: Optime, filter: &NamespaceFilter) -> Result<Option<Touched>, DriverError> {
    let stamp = Timestamp { time: since.t, increment: since.i };
    let oplog = cluster.login.database("local").collection::<RawDocumentBuf>("oplog.rs");
    if oplog.find_one(doc! { "ts": stamp }).await?.is_none() {
        return Ok(None);
    }
    let others =
        doc! { "ts": { "$gt": stamp }, "op": { "$ne": "n" }, "ns": { "$not": { "$regex": "^(config|local)\\." } } };
    let mut entries = oplog.find(others).read_concern(ReadConcern::local()).await?;
    let mut found = Found { filter, counts: BTreeMap::new(), deleted: HashMap::new() };
    while let Some(entry) = entries.try_next().await? {
        found.add(&entry).map_err(|error| DriverError::custom(error.to_string()))?;
    }
    let mut touched = Touched::default();
    let expiring = expiring(cluster, found.deleted.keys()).await?;
    for (namespace, ids) in found.deleted {
        if expiring.contains(&namespace) {
            touched.deleted.insert(namespace, ids);
        } else {
            *found.counts.entry((namespace, "deletes".into())).or_default() += ids.len();
        }
    }
    let more = found.counts.len().saturating_sub(NAMED);
    let named = found.counts.into_iter().take(NAMED);
    touched.written = named.map(|((namespace, what), count)| format!("{namespace}: {count} {what}")).collect();
    touched.written.extend((more > 0).then(|| format!("and {more} more")));
    Ok(Some(touched))
}

struct Found<'a> {
    filter: &'a NamespaceFilter,
    counts: BTreeMap<(String, String), usize>,
    deleted: HashMap<String, Vec<RawDocumentBuf>>,
}

impl Found<'_> {
    fn is_selected(&self, namespace: &str) -> bool {
        let (db, coll) = namespace.split_once('.').unwrap_or((namespace, ""));
        !db.starts_with(TEMPORARY_PREFIX)
            && db != "admin"
            && self.filter.may_select_in(db)
            && (coll == "$cmd" || coll == "system.views" || self.filter.selects(db, coll))
    }

    fn add(&mut self, entry: &RawDocumentBuf) -> Result<(), OplogError> {
        match Entry::parse(entry)?.body {
            Body::Noop | Body::System => {}
            Body::Change(change) => self.inner(&Inner::Change(change)),
            Body::Command(command) => self.inner(&Inner::Command(command)),
            Body::ApplyOps(array) => {
                for inner in operations(array) {
                    self.inner(&inner?);
                }
            }
            Body::Transaction(_) => {
                *self.counts.entry(("a transaction".into(), "entries".into())).or_default() += 1;
            }
        }
        Ok(())
    }

    fn inner(&mut self, inner: &Inner<'_>) {
        let (namespace, what) = match inner {
            Inner::Nothing => return,
            Inner::Change(change) => match change.kind {
                ChangeKind::Delete(id) if self.is_selected(change.ns) => {
                    let mut wrapped = rawdoc! {};
                    wrapped.append(bson::raw::cstr!("_id"), id);
                    self.deleted.entry(change.ns.to_string()).or_default().push(wrapped);
                    return;
                }
                ChangeKind::Delete(_) => return,
                ChangeKind::Insert(_) => (change.ns.to_string(), "inserts"),
                ChangeKind::Update { .. } => (change.ns.to_string(), "updates"),
            },
            Inner::Command(command) => (format!("{}.$cmd", command.db), command.name),
        };
        if self.is_selected(&namespace) {
            *self.counts.entry((namespace, what.to_string())).or_default() += 1;
        }
    }
}

/// Those of `namespaces` where the server deletes what is old, or beyond a size, by itself.
async fn expiring(
    cluster: &Cluster,
    namespaces: impl Iterator<Item = &String>,
) -> Result<HashSet<String>, DriverError> {
    let mut expiring = HashSet::new();
    for namespace in namespaces {
        let Some((db, coll)) = namespace.split_once('.') else { continue };
        let reply = cluster.run(db, rawdoc! { "listCollections": 1, "filter": { "name": coll } }).await?;
        let first = reply.get_document("cursor")?.get_array("firstBatch")?.into_iter().next().transpose()?;
        let listed = first.and_then(|first| first.as_document());
        let Some(listed) = listed else { continue };
        let has =
            |name: &str| listed.get_document("options").is_ok_and(|options| matches!(options.get(name), Ok(Some(_))));
        let reply = cluster.run(db, rawdoc! { "listIndexes": coll }).await?;
        let indexes = reply.get_document("cursor")?.get_array("firstBatch")?;
        let of_index = indexes
            .into_iter()
            .flatten()
            .any(|spec| spec.as_document().is_some_and(|spec| matches!(spec.get("expireAfterSeconds"), Ok(Some(_)))));
        if has("expireAfterSeconds") || has("capped") || of_index {
            expiring.insert(namespace.clone());
        }
    }
    Ok(expiring)
}
