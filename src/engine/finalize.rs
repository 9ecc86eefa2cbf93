//! Finalizing: TTL values, unique indexes and capped sizes get the source's final form. Idempotent, so that Retry works;
//! a failure is named and does not stop the others.

use super::{
    capped,
    context::Context,
    create::can_resize_capped,
    ddl::make_all,
    index::{create_indexes_command, needs_stand_in, stand_in_name},
    pre_images,
    registry::{Registry, Tracked, TrackedIndex},
    retry::{Halt, retry},
    view::StepsView,
};
use crate::{
    model::{
        Side,
        snapshot::{FailedIndex, StepLine, StepState},
        units::{index_label, show_count},
    },
    mongo::{
        Namespace,
        catalog::{Kind, with_own_collation},
        cluster::DriverError,
        errors::{code, explain, may_pass},
    },
};
use bson::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Collections finalized at the same time.
const AT_ONCE: usize = 8;
/// The index does not exist (any more): an earlier attempt dropped it.
const INDEX_NOT_FOUND: i32 = 27;

/// What finalizing restores, in the order of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kindred {
    Unique,
    Ttl,
    Capped,
}

impl Kindred {
    const ALL: [Kindred; 3] = [Kindred::Unique, Kindred::Ttl, Kindred::Capped];

    fn label(self) -> &'static str {
        match self {
            Kindred::Unique => "deferred unique indexes",
            Kindred::Ttl => "TTL values",
            Kindred::Capped => "capped sizes",
        }
    }
}

/// One thing to restore.
#[derive(Debug, Clone)]
struct Step {
    kindred: Kindred,
    namespace: Namespace,
    /// Index name, or the option's name.
    name: String,
    work: Work,
}

/// How a step is carried out.
#[derive(Debug, Clone)]
enum Work {
    /// Commands in order.
    Commands(Vec<RawDocumentBuf>),
    /// A capped collection takes the place of the ordinary one, with its indexes.
    BecomeCapped(Box<Tracked>),
}

/// Restores everything; returns what failed. Indexes that could not be built are tried once more, but for those in
/// `do_without` (`namespace / index`), which may be missing.
pub async fn finalize(
    context: &Context,
    registry: &Registry,
    view: &watch::Sender<StepsView>,
    do_without: &[String],
) -> Result<Vec<FailedIndex>, Halt> {
    make_all(context, registry).await?;
    restore(context, registry, view, (do_without, |_| true)).await
}

/// Restores only what would delete by itself: whoever goes on can hold that again, but not make an index of unique values
/// one of any values.
pub async fn give_back(
    context: &Context,
    registry: &Registry,
    view: &watch::Sender<StepsView>,
) -> Result<Vec<FailedIndex>, Halt> {
    restore(context, registry, view, (&[], |kindred| kindred != Kindred::Unique)).await
}

async fn restore(
    context: &Context,
    registry: &Registry,
    view: &watch::Sender<StepsView>,
    (do_without, is_wanted): (&[String], impl Fn(Kindred) -> bool),
) -> Result<Vec<FailedIndex>, Halt> {
    let version = context.destination.version;
    let mut steps = Vec::new();
    for tracked in registry.collections.values() {
        if tracked.is_capped() && !can_resize_capped(version) {
            steps.push(Step {
                kindred: Kindred::Capped,
                namespace: tracked.namespace.clone(),
                name: "capped".into(),
                work: Work::BecomeCapped(Box::new(tracked.clone())),
            });
            continue;
        }
        let mut of_collection = index_steps(tracked, needs_stand_in(version), version.major >= 6);
        of_collection.extend(late_steps(tracked, do_without));
        of_collection.extend(option_steps(tracked));
        for step in &mut of_collection {
            if let Work::Commands(commands) = &mut step.work {
                pre_images::keep(commands, &tracked.options, version);
            }
        }
        steps.extend(of_collection);
    }
    steps.retain(|step| is_wanted(step.kindred));
    let mut lines: Vec<StepLine> = Kindred::ALL.map(|kindred| line(kindred, &steps, 0, &[])).to_vec();
    view.send_replace(StepsView { lines: lines.clone() });
    let mut failed: Vec<(Kindred, FailedIndex)> = Vec::new();
    let mut done = [0_usize; 3];
    // One after another within a collection: while it builds an index, it takes no other change of its indexes.
    let mut of_collection: BTreeMap<&Namespace, Vec<&Step>> = BTreeMap::new();
    for step in &steps {
        of_collection.entry(&step.namespace).or_default().push(step);
    }
    let runs = of_collection.into_values().map(|steps| stream::iter(steps).then(|step| run(context, step)).boxed());
    let mut running = stream::iter(runs.collect::<Vec<_>>()).flatten_unordered(AT_ONCE);
    while let Some((outcome, step)) = running.next().await {
        match outcome? {
            Ok(()) => done[step.kindred as usize] += 1,
            Err(reason) => failed.push((
                step.kindred,
                FailedIndex { namespace: step.namespace.to_string(), index: step.name.clone(), reason },
            )),
        }
        for (kindred, line_now) in Kindred::ALL.iter().zip(&mut lines) {
            let of_kind: Vec<_> = failed.iter().filter(|(k, _)| k == kindred).map(|(_, failed)| failed).collect();
            *line_now = line(*kindred, &steps, done[*kindred as usize], &of_kind);
        }
        view.send_replace(StepsView { lines: lines.clone() });
    }
    Ok(failed.into_iter().map(|(_, failed)| failed).collect())
}

fn line(kindred: Kindred, steps: &[Step], done: usize, failed: &[&FailedIndex]) -> StepLine {
    let total = steps.iter().filter(|step| step.kindred == kindred).count();
    let counts = format!("{} of {} restored", show_count(done as u64), show_count(total as u64));
    let (state, detail) = match (failed.first(), done + failed.len() == total) {
        (Some(first), true) => {
            let what = format!("{} / {} / {}", first.namespace, first.index, first.reason);
            (StepState::Failed, format!("{counts}; {what}"))
        }
        (_, true) if total == 0 => (StepState::Ok, "none".into()),
        (_, true) => (StepState::Ok, counts),
        (_, false) => (StepState::Running, counts),
    };
    StepLine { label: kindred.label().into(), state, detail }
}

fn coll_mod_index(namespace: &Namespace, name: &str, change: &str, value: RawBson) -> RawDocumentBuf {
    let mut index = rawdoc! { "name": name };
    if let Ok(change) = bson::raw::CString::try_from(change) {
        index.append(change, value);
    }
    rawdoc! { "collMod": namespace.coll.as_str(), "index": index }
}

/// OPLOG.md E.1, E.2.
fn index_steps(tracked: &Tracked, stand_in: bool, convertible: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let namespace = &tracked.namespace;
    let is_built = |index: &TrackedIndex| index.failed.is_none() && !index.late && tracked.kind == Kind::Collection;
    for (name, index) in tracked.indexes.iter().filter(|(_, index)| is_built(index)) {
        let step = |kindred, commands| Step {
            kindred,
            namespace: namespace.clone(),
            name: name.clone(),
            work: Work::Commands(commands),
        };
        let is_deferred = |property: &str| !index.in_place && index.spec.get_bool(property).unwrap_or(false);
        let prepared = is_deferred("prepareUnique");
        if is_deferred("unique") {
            let commands = if convertible {
                vec![
                    coll_mod_index(namespace, name, "prepareUnique", RawBson::Boolean(true)),
                    coll_mod_index(namespace, name, "unique", RawBson::Boolean(true)),
                ]
            } else {
                let rebuild = create_index(tracked, &index.spec);
                let old = if stand_in { stand_in_name(name) } else { name.clone() };
                let drop = rawdoc! { "dropIndexes": namespace.coll.as_str(), "index": old };
                if stand_in { vec![rebuild, drop] } else { vec![drop, rebuild] }
            };
            // A rebuilt index has its TTL already.
            steps.push(step(Kindred::Unique, commands));
            if !convertible {
                continue;
            }
        } else if prepared {
            let command = coll_mod_index(namespace, name, "prepareUnique", RawBson::Boolean(true));
            steps.push(step(Kindred::Unique, vec![command]));
        }
        if let Ok(Some(ttl)) = index.spec.get("expireAfterSeconds") {
            if is_truncated_by_coll_mod(ttl) {
                let drop = rawdoc! { "dropIndexes": namespace.coll.as_str(), "index": name.as_str() };
                steps.push(step(Kindred::Ttl, vec![drop, create_index(tracked, &index.spec)]));
                continue;
            }
            let command = coll_mod_index(namespace, name, "expireAfterSeconds", RawBson::from(ttl));
            steps.push(step(Kindred::Ttl, vec![command]));
        }
    }
    steps
}

/// What is not there yet, after everything that may have been in its way got its final form.
fn late_steps(tracked: &Tracked, do_without: &[String]) -> Vec<Step> {
    let may_be_missing = |name: &str| do_without.contains(&index_label(&tracked.namespace, name));
    let missing = |name: &str, index: &TrackedIndex| index.late || index.failed.is_some() && !may_be_missing(name);
    let late = tracked.indexes.iter().filter(|(name, index)| missing(name, index));
    let step = |(name, index): (&String, &TrackedIndex)| {
        let spec = match tracked.kind {
            Kind::Buckets => index.spec.clone(),
            _ => with_own_collation(&index.spec, &tracked.options),
        };
        let commands = create_indexes_command(&tracked.namespace, tracked.kind, &[spec]);
        Step {
            kindred: Kindred::Unique,
            namespace: tracked.namespace.clone(),
            name: name.clone(),
            work: Work::Commands(commands.into_iter().map(|(_, command)| command).collect()),
        }
    };
    late.map(step).collect()
}

fn create_index(tracked: &Tracked, spec: &RawDocument) -> RawDocumentBuf {
    let mut indexes = bson::RawArrayBuf::new();
    indexes.push(with_own_collation(spec, &tracked.options));
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("createIndexes"), tracked.namespace.coll.as_str());
    command.append(cstr!("indexes"), indexes);
    command
}

/// `createIndexes` keeps fractions and NaN; `collMod` makes a whole number of them, which is another setting.
fn is_truncated_by_coll_mod(ttl: RawBsonRef<'_>) -> bool {
    matches!(ttl, RawBsonRef::Double(seconds) if seconds.is_nan() || seconds.fract() != 0.0)
}

fn option_steps(tracked: &Tracked) -> Vec<Step> {
    let mut steps = Vec::new();
    let user_name = tracked.namespace.coll.strip_prefix("system.buckets.").unwrap_or(&tracked.namespace.coll);
    let step = |kindred, name: &str, command| Step {
        kindred,
        namespace: tracked.namespace.clone(),
        name: name.into(),
        work: Work::Commands(vec![command]),
    };
    if let Ok(Some(ttl)) = tracked.options.get("expireAfterSeconds") {
        let mut command = rawdoc! { "collMod": user_name };
        command.append(cstr!("expireAfterSeconds"), ttl);
        steps.push(step(Kindred::Ttl, "expireAfterSeconds", command));
    }
    if tracked.is_capped() {
        let mut command = rawdoc! { "collMod": tracked.namespace.coll.as_str() };
        for (option, change) in [("size", cstr!("cappedSize")), ("max", cstr!("cappedMax"))] {
            if let Ok(Some(value)) = tracked.options.get(option) {
                command.append(change, value);
            }
        }
        steps.push(step(Kindred::Capped, "capped", command));
    }
    steps
}

async fn run<'a>(context: &Context, step: &'a Step) -> (Result<Result<(), String>, Halt>, &'a Step) {
    let outcome = match &step.work {
        Work::Commands(commands) => run_commands(context, step, commands).await,
        Work::BecomeCapped(tracked) => capped::become_capped(context, tracked).await,
    };
    (outcome, step)
}

async fn run_commands(context: &Context, step: &Step, commands: &[RawDocumentBuf]) -> Result<Result<(), String>, Halt> {
    let destination = &context.destination;
    let what = format!("finalizing {} / {}", step.namespace, step.name);
    for command in commands {
        let outcome: Result<(), DriverError> =
            retry(Side::Destination, &what, &context.events, &context.cancel, || async {
                match destination.run_with_majority(&step.namespace.db, command.clone()).await {
                    Err(error) if code(&error) == Some(INDEX_NOT_FOUND) && command.get("dropIndexes")?.is_some() => {
                        Ok(Ok(()))
                    }
                    Err(error) if !may_pass(&error) => Ok(Err(error)),
                    outcome => outcome.map(|_| Ok(())),
                }
            })
            .await?;
        if let Err(error) = outcome {
            return Ok(Err(explain(&error)));
        }
    }
    Ok(Ok(()))
}
