//! The way back: a second migration from the new cluster into the old one, without a copy. Both were equal when the new
//! one was opened; from that point on the new one is followed.
//!
//! The old cluster has its indexes in their final form. What would delete by itself there is held until the end, as on
//! every destination; what expired there since the cutover is fetched from the new cluster.

pub mod keep;

use super::{
    context::Context,
    create::{LARGEST_CAPPED, can_resize_capped},
    opened::Opened,
    pre_images,
    record::Record,
    registry::{Registry, Tracked, is_set},
    retry::{Halt, retry},
};
use crate::{
    model::{Options, Plan, Problem, Severity, Side, WayBack, units::show_count},
    mongo::{
        catalog::{self, Kind},
        errors::{code, explain, may_pass},
    },
    store::{self, Summary},
    validate::untouched::{self, Touched},
};
use bson::{RawDocumentBuf, Uuid, rawdoc};
use std::{collections::HashMap, path::Path, time::Duration};

/// What no server takes for a time to delete anything (OPLOG.md E.2).
const LONGEST_TTL: i64 = i32::MAX as i64;
/// The collection or the index is gone: a command that an earlier engine carried out took it away.
const GONE: [i32; 2] = [26, 27];

/// Longest name of a migration.
const LONGEST_NAME: usize = 40;
const SUFFIX: &str = "-back";

/// The way back of the completed migration `name` that is not over yet.
pub fn under_way(state_root: &Path, name: &str) -> Option<String> {
    let is_its = |other: &Summary| {
        other.plan.options.way_back.as_ref().is_some_and(|way_back| way_back.of == name) && !other.phase.is_over()
    };
    store::list(state_root).into_iter().find(is_its).map(|other| other.name)
}

/// The plan of the way back: the clusters swapped; nothing is cleared, and nothing is blocked.
pub fn plan(forward: Plan, opened: &Opened, window: Duration) -> Plan {
    let name: String = forward.name.chars().take(LONGEST_NAME - SUFFIX.len()).collect();
    let way_back = WayBack { of: forward.name, from: opened.from, untouched_since: opened.cutover };
    Plan {
        name: name + SUFFIX,
        source: forward.destination,
        destination: forward.source,
        options: Options {
            clear_destination: false,
            block_source_writes: false,
            reverse: None,
            cutover_window: window,
            way_back: Some(way_back),
            ..forward.options
        },
    }
}

/// Nothing is known of the opening.
pub fn not_noted(name: &str) -> Problem {
    let what = format!("there is no way back from {name}");
    let why = "what the clusters were when the new one was opened is not on this host: it was cleaned up, or could not be \
               noted, which the report says";
    Problem::before_writing(Side::Host, what, why, "Migrate the other way round, with a copy.")
}

/// Writes into the journal where the way back begins, and with which collections.
pub fn begin(state_root: &Path, way_back: &WayBack, record: &Record) -> Result<(), Problem> {
    let opened = Opened::read(&state_root.join(&way_back.of))?.ok_or_else(|| not_noted(&way_back.of))?;
    record.put_copied(&opened.registry(), opened.from)
}

/// Makes the old cluster ready to take changes; does nothing for a migration that is no way back. May be repeated.
pub async fn prepare(context: &Context, registry: &Registry) -> Result<(), Halt> {
    let Some(way_back) = &context.options.way_back else { return Ok(()) };
    let held = context.journal("reading the journal", Record::held).await?;
    if held.is_none() {
        let touched = touched(context, way_back).await?;
        if !touched.written.is_empty() {
            return Err(written(&touched.written).into());
        }
        refuse_stricter(context, registry).await?;
        context.journal("writing the journal", |record| record.put_held(false)).await?;
    }
    hold(context, registry).await?;
    if held != Some(true) {
        // Only now nothing expires any more.
        let touched = touched(context, way_back).await?;
        fetch_expired(context, registry, touched.deleted).await?;
        context.journal("writing the journal", |record| record.put_held(true)).await?;
    }
    Ok(())
}

/// What only the old cluster keeps unique may have two owners on the new one.
async fn refuse_stricter(context: &Context, registry: &Registry) -> Result<(), Halt> {
    let what = "reading the catalog of the old cluster";
    let read = || catalog::read(&context.destination, &context.options.filter);
    let old = retry(Side::Destination, what, &context.events, &context.cancel, read).await?;
    let by_name: HashMap<_, _> =
        registry.collections.values().map(|tracked| (&tracked.namespace, &tracked.indexes)).collect();
    for entry in old.databases.iter().flat_map(|database| &database.entries) {
        for spec in entry.indexes.iter().filter(|spec| is_set(spec, "unique")) {
            let name = spec.get_str("name").unwrap_or_default();
            let there = by_name.get(&entry.namespace).and_then(|indexes| indexes.get(name));
            if !there.is_some_and(|index| is_set(&index.spec, "unique")) {
                return Err(Problem::before_writing(
                    Side::Destination,
                    format!("{} / {name} is unique on the old cluster and was not on the new one", entry.namespace),
                    "the new cluster may hold what the old one must refuse",
                    "Drop that index on the old cluster, or make it unique on the new one and migrate back with a copy.",
                )
                .into());
            }
        }
    }
    Ok(())
}

async fn touched(context: &Context, way_back: &WayBack) -> Result<Touched, Halt> {
    let what = "reading what was written to the old cluster since the cutover";
    let read = || untouched::since(&context.destination, way_back.untouched_since, &context.options.filter);
    let touched = retry(Side::Destination, what, &context.events, &context.cancel, read).await?;
    touched.ok_or_else(|| rolled_over(way_back).into())
}

fn rolled_over(way_back: &WayBack) -> Problem {
    Problem::before_writing(
        Side::Destination,
        "whether the old cluster was written to since the cutover cannot be known any more",
        format!("its oplog no longer holds the cutover position {}", way_back.untouched_since),
        "Migrate the other way round, with a copy.",
    )
}

fn written(written: &[String]) -> Problem {
    Problem::before_writing(
        Side::Destination,
        "the old cluster was written to after the cutover",
        written.join("; "),
        "Changes of both sides cannot be merged; migrate the other way round, with a copy.",
    )
}

/// A deletion in a collection with a TTL is the server's own; the document may live on the new cluster, refreshed.
async fn fetch_expired(
    context: &Context,
    registry: &Registry,
    deleted: HashMap<String, Vec<RawDocumentBuf>>,
) -> Result<(), Halt> {
    let named = registry.collections.iter().map(|(uuid, tracked)| (tracked.namespace.to_string(), *uuid));
    let by_name: HashMap<String, Uuid> = named.collect();
    let mut count = 0;
    for (namespace, ids) in deleted {
        let Some(uuid) = by_name.get(&namespace).copied() else { continue };
        count += ids.len();
        context.journal("writing the journal", move |record| record.put_repairs(uuid, &ids)).await?;
    }
    if count > 0 {
        let text = format!(
            "{} documents expired on the old cluster since the cutover; fetched from the new one",
            show_count(count as u64)
        );
        context.events.record(Severity::Info, "expired-documents", text);
    }
    Ok(())
}

/// Nothing is deleted by the old cluster itself while changes are applied; finalizing sets what is in the journal.
async fn hold(context: &Context, registry: &Registry) -> Result<(), Halt> {
    for tracked in registry.collections.values() {
        let mut commands = holding(tracked, can_resize_capped(context.destination.version));
        pre_images::keep(&mut commands, &tracked.options, context.destination.version);
        for command in commands {
            let what = format!("holding what {} deletes by itself", tracked.namespace);
            let destination = &context.destination;
            retry(Side::Destination, &what, &context.events, &context.cancel, || async {
                match destination.run_with_majority(&tracked.namespace.db, command.clone()).await {
                    Err(error) if code(&error).is_some_and(|code| GONE.contains(&code)) => Ok(Ok(())),
                    Err(error) if !may_pass(&error) => Ok(Err(error)),
                    outcome => outcome.map(|_| Ok(())),
                }
            })
            .await?
            .map_err(|error| not_held(tracked, &explain(&error)))?;
        }
    }
    Ok(())
}

fn not_held(tracked: &Tracked, why: &str) -> Problem {
    Problem {
        side: Side::Destination,
        what: format!("what {} deletes by itself cannot be held", tracked.namespace),
        why: why.into(),
        fix: "Grant collMod on it to the login of the old cluster, then resume.".into(),
        retry_helps: true,
        written: "The old cluster keeps its documents; some TTL values may be held already and are given back by stop."
            .into(),
    }
}

/// The commands that hold a collection.
fn holding(tracked: &Tracked, can_resize: bool) -> Vec<RawDocumentBuf> {
    let name = tracked.namespace.coll.as_str();
    let mut commands = Vec::new();
    let expires = |document: &RawDocumentBuf| matches!(document.get("expireAfterSeconds"), Ok(Some(_)));
    if tracked.kind == Kind::Collection {
        for (index, _) in tracked.indexes.iter().filter(|(_, index)| index.failed.is_none() && expires(&index.spec)) {
            let change = rawdoc! { "name": index.as_str(), "expireAfterSeconds": LONGEST_TTL };
            commands.push(rawdoc! { "collMod": name, "index": change });
        }
    }
    if expires(&tracked.options) {
        let user = name.strip_prefix("system.buckets.").unwrap_or(name);
        // A collection's own TTL may not reach back before 1970 (72), so that no number holds it for long.
        commands.push(rawdoc! { "collMod": user, "expireAfterSeconds": "off" });
    }
    if tracked.is_capped() && can_resize {
        commands.push(rawdoc! { "collMod": name, "cappedSize": LARGEST_CAPPED, "cappedMax": 0 });
    }
    commands
}
