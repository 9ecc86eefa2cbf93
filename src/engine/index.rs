//! Secondary indexes: neutral while data is inconsistent, built after a collection's data, several collections at once.

use super::{
    context::Context,
    registry::{Registry, Tracked, TrackedIndex},
    retry::{Halt, retry},
    view::InitialSyncView,
};
use crate::{
    model::{
        Severity, Side,
        snapshot::CollectionState,
        units::{index_label, show_count, show_duration},
    },
    mongo::{
        Namespace, ServerVersion,
        catalog::{self, Kind, with_own_collation},
        cluster::DriverError,
        errors::{code, explain, may_pass},
    },
};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, Uuid, raw::cstr};
use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};
use tokio::sync::watch;

/// Collections whose indexes are built at the same time.
const AT_ONCE: usize = 3;
const NAMESPACE_NOT_FOUND: i32 = 26;
/// IndexOptionsConflict: the index is there under another name.
const OTHER_NAME: i32 = 85;
/// That, and IndexKeySpecsConflict: an index of that name is there with other keys or options.
const CONFLICTS: [i32; 2] = [OTHER_NAME, 86];
/// The largest TTL that 6.0 accepts at creation, and every version in collMod (OPLOG.md E.2).
const LONGEST_TTL: i64 = i32::MAX as i64;

/// The name of the non-unique stand-in where the final name must stay free (5.0, OPLOG.md E.1).
pub fn stand_in_name(name: &str) -> String {
    format!("{name}_mongoferry")
}

/// True when a unique index is built beside its non-unique stand-in at finalizing (5.x only).
pub fn needs_stand_in(version: ServerVersion) -> bool {
    version.major == 5
}

/// The TTL that never expires anything before finalizing.
pub fn held_ttl(version: ServerVersion, now_s: i64) -> i64 {
    // 4.4 and 5.0 refuse at creation what reaches back before 1970.
    if version.major >= 6 { LONGEST_TTL } else { (now_s - 3_600).clamp(0, LONGEST_TTL) }
}

/// The spec as it is built while data is inconsistent: not unique, TTL held.
pub fn neutral_spec(spec: &RawDocument, version: ServerVersion, now_s: i64) -> RawDocumentBuf {
    let unique = spec.get_bool("unique").unwrap_or(false);
    let mut neutral = RawDocumentBuf::new();
    for (name, value) in spec.iter().filter_map(Result::ok) {
        match name.as_str() {
            "unique" | "prepareUnique" | "dropDups" | "ns" | "originalSpec" => {}
            "expireAfterSeconds" => neutral.append(name, held_ttl(version, now_s)),
            "name" if unique && needs_stand_in(version) => {
                neutral.append(name, stand_in_name(value.as_str().unwrap_or_default()));
            }
            _ => neutral.append(name, value),
        }
    }
    neutral
}

/// `createIndexes` for a collection; time-series indexes that only the user's name can express go there.
pub fn create_indexes_command(
    namespace: &Namespace,
    kind: Kind,
    specs: &[RawDocumentBuf],
) -> Vec<(String, RawDocumentBuf)> {
    let (mut plain, mut original) = (RawArrayBuf::new(), RawArrayBuf::new());
    for spec in specs {
        match spec.get_document("originalSpec") {
            Ok(spec) if kind == Kind::Buckets => original.push(spec),
            _ => plain.push(spec.as_ref()),
        }
    }
    let user_name = namespace.coll.strip_prefix("system.buckets.").unwrap_or(&namespace.coll);
    let mut commands = Vec::new();
    for (coll, indexes) in [(namespace.coll.as_str(), plain), (user_name, original)] {
        if !indexes.is_empty() {
            let mut command = RawDocumentBuf::new();
            command.append(cstr!("createIndexes"), coll);
            command.append(cstr!("indexes"), indexes);
            commands.push((namespace.db.clone(), command));
        }
    }
    commands
}

/// The commands that build these indexes of a collection, neutral.
pub fn commands(tracked: &Tracked, specs: &[&RawDocumentBuf], version: ServerVersion) -> Vec<(String, RawDocumentBuf)> {
    let specs: Vec<_> = specs.iter().map(|spec| neutral(spec, tracked, version)).collect();
    create_indexes_command(&tracked.namespace, tracked.kind, &specs)
}

/// The spec as it is sent for a tracked collection before finalizing.
pub fn neutral(spec: &RawDocument, tracked: &Tracked, version: ServerVersion) -> RawDocumentBuf {
    // Bucket indexes are never unique or TTL; their original spec has to survive.
    if tracked.kind == Kind::Buckets {
        return spec.to_owned();
    }
    let spec = with_own_collation(spec, &tracked.options);
    neutral_spec(&spec, version, Timestamp::now().as_second())
}

async fn create(
    context: &Context,
    tracked: &Tracked,
    specs: &[&RawDocumentBuf],
) -> Result<Result<(), DriverError>, Halt> {
    let destination = &context.destination;
    let what = format!("building indexes of {}", tracked.namespace);
    for (db, command) in commands(tracked, specs, destination.version) {
        let outcome = retry(Side::Destination, &what, &context.events, &context.cancel, || async {
            match destination.run_with_majority(&db, command.clone()).await {
                Err(error) if !may_pass(&error) => Ok(Err(error)),
                outcome => outcome.map(|_| Ok(())),
            }
        })
        .await?;
        if outcome.is_err() {
            return Ok(outcome);
        }
    }
    Ok(Ok(()))
}

/// How building one index ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// It is there.
    Now,
    /// It has to wait for finalizing.
    Late,
    /// Why it is not there.
    Failed(String),
}

/// Builds one index of a tracked collection and notes it in `tracked`; a failure is noted by its reason, not returned.
pub async fn add_index(context: &Context, tracked: &mut Tracked, spec: &RawDocument) -> Result<Built, Halt> {
    let spec = spec.to_owned();
    let name = spec.get_str("name").unwrap_or_default().to_string();
    let built = match create(context, tracked, &[&spec]).await? {
        Ok(()) => Built::Now,
        Err(error) if code(&error) == Some(OTHER_NAME) && tracked.has_twin(&spec) => Built::Late,
        Err(error) => Built::Failed(reason(&error)),
    };
    let mut index = TrackedIndex::new(spec);
    index.late = built == Built::Late;
    if let Built::Failed(reason) = &built {
        index.failed = Some(reason.clone());
    }
    tracked.indexes.insert(name, index);
    Ok(built)
}

fn reason(error: &DriverError) -> String {
    match code(error) {
        Some(code) if CONFLICTS.contains(&code) => format!("conflicts with another index: {}", explain(error)),
        _ => explain(error),
    }
}

/// The indexes that are not on the destination; an earlier engine may have built some.
async fn missing(context: &Context, tracked: &Tracked) -> Result<Vec<RawDocumentBuf>, Halt> {
    let destination = &context.destination;
    let what = format!("listing indexes of {}", tracked.namespace);
    let read = || async {
        match catalog::read_indexes(destination, &tracked.namespace).await {
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
            outcome => outcome,
        }
    };
    let there = retry(Side::Destination, &what, &context.events, &context.cancel, read).await?;
    let names: HashSet<&str> = there.iter().filter_map(|spec| spec.get_str("name").ok()).collect();
    let is_there = |name: &str| names.contains(name) || names.contains(stand_in_name(name).as_str());
    let missing = tracked.indexes.iter().filter(|(name, _)| !is_there(name));
    Ok(missing.map(|(_, index)| index.spec.clone()).collect())
}

/// Builds all indexes of one collection at once; if that fails, one by one, so that one bad spec takes no other down.
async fn build(context: &Context, mut tracked: Tracked) -> Result<Tracked, Halt> {
    if tracked.is_indexed {
        return Ok(tracked);
    }
    // Those that an earlier engine built are no hindrance as long as they are asked for alike.
    let all: Vec<_> = tracked.indexes.values().map(|index| &index.spec).collect();
    if create(context, &tracked, &all).await?.is_ok() {
        return Ok(tracked);
    }
    let specs = missing(context, &tracked).await?;
    let is_less = specs.len() < tracked.indexes.len();
    if is_less && create(context, &tracked, &specs.iter().collect::<Vec<_>>()).await?.is_ok() {
        return Ok(tracked);
    }
    for spec in specs {
        add_index(context, &mut tracked, &spec).await?;
    }
    Ok(tracked)
}

async fn build_all(context: &Context, uuid: Uuid, tracked: &Tracked, rows: &Rows<'_>) -> Result<(Uuid, Tracked), Halt> {
    rows.show(tracked, CollectionState::Indexing);
    Ok((uuid, build(context, tracked.clone()).await?))
}

/// Builds the secondary indexes of every collection.
pub async fn build_indexes(
    context: &Context,
    registry: &mut Registry,
    view: &watch::Sender<InitialSyncView>,
) -> Result<(), Halt> {
    let began = Instant::now();
    let rows = Rows::new(view);
    let with_indexes = registry.collections.iter().filter(|(_, tracked)| !tracked.indexes.is_empty());
    let builds: Vec<_> =
        with_indexes.map(|(uuid, tracked)| build_all(context, *uuid, tracked, &rows).boxed()).collect();
    let mut builds = stream::iter(builds).buffer_unordered(AT_ONCE);
    let mut built = Vec::new();
    while let Some(outcome) = builds.next().await {
        let (uuid, tracked) = outcome?;
        rows.show(&tracked, CollectionState::Done);
        for (name, index) in &tracked.indexes {
            if let Some(reason) = &index.failed {
                let text = format!("{} / {reason}", index_label(&tracked.namespace, name));
                context.events.record(Severity::Error, "index-failed", text);
            } else if index.late {
                context.events.record(Severity::Info, "index", waits(&tracked, name));
            }
        }
        built.push((uuid, tracked));
    }
    drop(builds);
    registry.collections.extend(built);
    let indexes = view.borrow().indexes.clone();
    let took = show_duration(began.elapsed());
    let (done, total, failed) = (show_count(indexes.built), show_count(indexes.total), indexes.failed.len());
    context.events.record(Severity::Info, "indexes", format!("{done} of {total} built, {failed} failed, in {took}"));
    Ok(())
}

/// What is said of an index that is built late.
pub fn waits(tracked: &Tracked, name: &str) -> String {
    let namespace = &tracked.namespace;
    format!("{namespace} / {name} is built at the cutover; until then it and an index of the same keys would be alike")
}

/// The view, with the row of every collection at hand: there may be thousands.
struct Rows<'a> {
    view: &'a watch::Sender<InitialSyncView>,
    by_namespace: HashMap<String, usize>,
}

impl<'a> Rows<'a> {
    fn new(view: &'a watch::Sender<InitialSyncView>) -> Self {
        let rows = view.borrow();
        let by_namespace = (0..).zip(rows.rows.iter()).map(|(index, row)| (row.namespace.clone(), index)).collect();
        Self { view, by_namespace }
    }

    fn show(&self, tracked: &Tracked, state: CollectionState) {
        let row = self.by_namespace.get(&tracked.namespace.to_string());
        let built = tracked.indexes.values().filter(|index| index.failed.is_none() && !index.late).count();
        self.view.send_modify(|view| {
            if let Some(row) = row.and_then(|index| view.rows.change().get_mut(*index)) {
                row.state = state;
                if state == CollectionState::Done {
                    row.indexes_built = u32::try_from(built).unwrap_or(u32::MAX);
                }
            }
            if state == CollectionState::Done {
                view.indexes.built += built as u64;
                view.indexes.failed.extend(tracked.failed_indexes());
            }
        });
    }
}

/// Counts after finalizing: of what was to be built, only what `is_missing` (`namespace / index`) says is not there.
pub fn settle(registry: &Registry, view: &watch::Sender<InitialSyncView>, is_missing: impl Fn(&String) -> bool) {
    view.send_modify(|view| {
        for tracked in registry.collections.values() {
            let mut waited =
                tracked.indexes.iter().filter(|(_, index)| index.late || index.failed.is_some()).peekable();
            if waited.peek().is_none() {
                continue;
            }
            let missing = waited.filter(|(name, _)| is_missing(&index_label(&tracked.namespace, name))).count();
            let namespace = tracked.namespace.to_string();
            if let Some(row) = view.rows.change().iter_mut().find(|row| row.namespace == namespace) {
                let built = row.indexes_total.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX));
                view.indexes.built += u64::from(built.saturating_sub(row.indexes_built));
                row.indexes_built = row.indexes_built.max(built);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    const fn version(major: u32) -> ServerVersion {
        ServerVersion { major, minor: 0, patch: 0 }
    }

    #[test]
    fn unique_and_ttl_are_held_until_finalizing() {
        let spec = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "unique": true, "expireAfterSeconds": 60 };
        let held = rawdoc! { "v": 2, "key": { "a": 1 }, "name": "a_1", "expireAfterSeconds": 2_147_483_647_i64 };
        assert_eq!(neutral_spec(&spec, version(6), 1_795_000_000), held);
        let older = rawdoc! {
            "v": 2, "key": { "a": 1 }, "name": "a_1_mongoferry", "expireAfterSeconds": 1_794_996_400_i64
        };
        assert_eq!(neutral_spec(&spec, version(5), 1_795_000_000), older);
    }

    #[test]
    fn everything_else_is_kept_in_order() {
        let spec = rawdoc! {
            "v": 2, "key": { "a": "text" }, "name": "t", "weights": { "a": 3 }, "sparse": true, "hidden": true,
            "collation": { "locale": "de" }, "partialFilterExpression": { "b": { "$gt": 1 } }
        };
        assert_eq!(neutral_spec(&spec, version(6), 0), spec);
    }
}
