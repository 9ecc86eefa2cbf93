//! Two clusters compared without a migration: only reads, keeps nothing, follows nothing.
//!
//! Every document is streamed beside its twin once. What was not byte-equal there is in doubt and is read by `_id` on both
//! sides, again and again, until it is equal, or proven to differ. It is proven when nobody wrote to either cluster since
//! before the comparison (their oplogs say so), or when neither side's bytes changed for the settling time. A document that
//! differs at every look and changes in between is counted as changing: it is neither equal nor proven to differ.
//!
//! Memory: as the module above, and what is in doubt up to 128 MiB; beyond that every document in doubt of a collection is
//! read once more and no longer waited for.

use super::{
    Access, Shape, Target, Verifier, at_once,
    judge::{Judged, Verdict},
    read::Interrupted,
    scan::Sink,
};
use crate::{
    engine::{
        backoff::Brake,
        context::Context,
        dirty::Range,
        gate::Gate,
        metadata,
        notices::Notices,
        record::Record,
        registry::Tracked,
        retry::{Halt, retry},
        throttle::Throttle,
    },
    model::{Optime, Plan, Problem, Side, snapshot::Verification},
    mongo::{
        Cluster,
        catalog::{self, Catalog, CatalogEntry, Kind},
        connect::connect,
        errors::command_problem,
    },
    oplog::Dialect,
    store::Journal,
};
use bson::{Document, Timestamp, Uuid, doc};
use futures_util::FutureExt;
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A wait for documents that keep changing, in multiples of the time that they have to stand still.
const PATIENCE: u32 = 12;
/// Memory for documents in doubt; what one takes beside its `_id`.
const MAX_DOUBT_BYTES: usize = 128 << 20;
const DOUBT_BYTES: usize = 300;
/// Longest look into an oplog.
const OPLOG_PATIENCE: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Documents and metadata; `mismatches` are proven.
    pub verification: Verification,
    /// Documents that differed at every look and changed on a side in between.
    pub changing: u64,
    /// Collections with too many documents in doubt: each was read once more and not waited for.
    pub crowded: Vec<String>,
    /// Somebody wrote to the source meanwhile; unknown when its oplog cannot be read.
    pub source_written: Option<bool>,
    /// The same of the destination.
    pub destination_written: Option<bool>,
}

impl Comparison {
    /// Nothing differs, and nothing is undecided.
    pub fn is_equal(&self) -> bool {
        self.verification.mismatches == 0 && self.changing == 0 && self.verification.metadata_differences.is_empty()
    }

    /// Nobody wrote meanwhile: what is said holds for one state of both clusters.
    pub fn is_at_rest(&self) -> bool {
        (self.source_written, self.destination_written) == (Some(false), Some(false))
    }
}

/// Connects to both clusters of a plan, to read only.
pub async fn open(plan: &Plan, events: Notices, cancel: CancellationToken) -> Result<Context, Problem> {
    let (source, destination) =
        tokio::join!(connect(Side::Source, &plan.source), connect(Side::Destination, &plan.destination));
    let (source, destination) = (source?, destination?);
    Ok(Context {
        dialect: Dialect { major: destination.version.major, internal_stage: false },
        source,
        destination,
        options: Arc::new(plan.options.clone()),
        gate: Gate::default(),
        throttle: Throttle::new(plan.options.throttle),
        brake: Brake::default(),
        cancel,
        events,
        record: Arc::new(Record::new(Journal::fleeting()?)?),
    })
}

/// Compares. A difference counts when neither side changed for `settle`, or when both clusters were at rest.
pub async fn compare(
    context: &Context,
    settle: Duration,
    view: watch::Sender<Verification>,
) -> Result<Comparison, Halt> {
    let began = (newest(context, &context.source).await?, newest(context, &context.destination).await?);
    let verifier = Verifier::new(context.clone(), Arc::default(), view);
    let comparing = Comparing { context, verifier, settle, began };
    comparing.run().await
}

/// A document in doubt.
#[derive(Debug)]
struct Doubt {
    verdict: Verdict,
    seen: (Option<[u8; 32]>, Option<[u8; 32]>),
    /// Since when both sides had just that, and when they were read last.
    stood: (Instant, Instant),
}

/// What is in doubt in one collection.
struct Doubted<'t> {
    target: &'t Target,
    open: HashMap<Vec<u8>, Doubt>,
    proven: Vec<Verdict>,
}

struct Comparing<'a> {
    context: &'a Context,
    verifier: Verifier,
    settle: Duration,
    began: (Optime, Optime),
}

impl Comparing<'_> {
    async fn run(&self) -> Result<Comparison, Halt> {
        let targets = self.targets().await?;
        let verifier = &self.verifier;
        verifier.progress.begin(&targets);
        at_once(targets.iter().map(|target| self.stream(target).boxed()).collect()).await?;
        let (mut doubted, crowded) = self.doubted(&targets).await?;
        self.decide(&mut doubted).await?;
        let mut changing = 0;
        for Doubted { target, open, proven } in doubted {
            verifier.accept(target, proven).await?;
            changing += open.len() as u64;
        }
        let differences = self.metadata().await?;
        let (source_written, destination_written) = self.written().await;
        let verification = verifier.progress.complete(differences, 0);
        Ok(Comparison { verification, changing, crowded, source_written, destination_written })
    }

    /// What the streams left in doubt, looked at for the first time; the names of collections that have too much of it.
    async fn doubted<'t>(&self, targets: &'t [Target]) -> Result<(Vec<Doubted<'t>>, Vec<String>), Halt> {
        let verifier = &self.verifier;
        let mut taken = verifier.dirty.take();
        let mut full: HashSet<Uuid> = taken.ranges.iter().map(|(uuid, _)| *uuid).collect();
        full.extend(targets.iter().map(|target| target.uuid).filter(|uuid| verifier.dirty.is_whole(*uuid)));
        let (mut keys, mut kept): (HashMap<Uuid, Vec<Vec<u8>>>, usize) = (HashMap::new(), 0);
        while let Some(touched) = verifier.next_touched(&mut taken) {
            for (uuid, more) in touched {
                let bytes: usize = more.iter().map(|key| key.len() + DOUBT_BYTES).sum();
                if kept + bytes > MAX_DOUBT_BYTES {
                    full.insert(uuid);
                }
                if !full.contains(&uuid) {
                    kept += bytes;
                    keys.entry(uuid).or_default().extend(more);
                }
            }
        }
        let (mut doubted, mut crowded) = (Vec::new(), Vec::new());
        for target in targets {
            let keys = keys.remove(&target.uuid).unwrap_or_default();
            if full.contains(&target.uuid) {
                verifier.final_whole(target).await?;
                crowded.push(target.namespace.to_string());
                continue;
            }
            let open = self.look(target, &keys, HashMap::new()).await?;
            doubted.push(Doubted { target, open, proven: Vec::new() });
        }
        Ok((doubted, crowded))
    }

    /// Everything that holds documents on either side.
    async fn targets(&self) -> Result<Vec<Target>, Halt> {
        let context = self.context;
        let (source, destination) =
            tokio::join!(read_catalog(context, &context.source), read_catalog(context, &context.destination));
        Ok(targets(&source?, &destination?))
    }

    async fn stream(&self, target: &Target) -> Result<(), Halt> {
        let verifier = &self.verifier;
        for attempt in 1.. {
            verifier.dirty.start(target.uuid);
            verifier.progress.restart(target.uuid, 0);
            let mut sink = Sink::Base(&verifier.dirty);
            match verifier.scan(target, &Range::default(), &mut sink, &self.context.cancel).await {
                Ok(()) => break,
                Err(Interrupted::StartOver(side, error)) if attempt >= super::ATTEMPTS => {
                    let what = format!("comparing {} failed {attempt} times", target.namespace);
                    return Err(command_problem(side, what, &error).into());
                }
                Err(Interrupted::StartOver(side, error)) => {
                    verifier.pause_before(attempt, target, side, &error, &self.context.cancel).await?;
                }
                Err(Interrupted::Halt(halt)) => return Err(halt),
            }
        }
        verifier.progress.finish(target.uuid);
        Ok(())
    }

    /// Looks at what is in doubt until everything is equal, proven, or has changed for too long.
    async fn decide(&self, doubted: &mut [Doubted<'_>]) -> Result<(), Halt> {
        let deadline = Instant::now() + self.settle * PATIENCE;
        loop {
            let at_rest = self.written().await == (Some(false), Some(false));
            for one in doubted.iter_mut() {
                let is_proven = |doubt: &Doubt| at_rest || doubt.stood.1 - doubt.stood.0 >= self.settle;
                let proven = one.open.extract_if(|_, doubt| is_proven(doubt));
                one.proven.extend(proven.map(|(_, doubt)| doubt.verdict));
            }
            let left: usize = doubted.iter().map(|one| one.open.len()).sum();
            self.verifier.progress.publish(left as u64);
            if left == 0 || Instant::now() >= deadline {
                return Ok(());
            }
            self.rest().await?;
            for one in doubted.iter_mut() {
                let keys = one.open.values().flat_map(|doubt| doubt.verdict.keys()).map(<[u8]>::to_vec);
                let keys: Vec<Vec<u8>> = keys.collect();
                one.open = self.look(one.target, &keys, std::mem::take(&mut one.open)).await?;
            }
        }
    }

    /// What of `keys` differs now. Whoever stands as before keeps the time since when.
    async fn look(
        &self,
        target: &Target,
        keys: &[Vec<u8>],
        before: HashMap<Vec<u8>, Doubt>,
    ) -> Result<HashMap<Vec<u8>, Doubt>, Halt> {
        let now = Instant::now();
        let judged = self.verifier.look(target, keys).await?;
        let doubt = |judged: Judged| {
            let key = judged.verdict.key().to_vec();
            let same = before.get(&key).filter(|doubt| doubt.seen == judged.seen);
            let since = same.map_or(now, |doubt| doubt.stood.0);
            (key, Doubt { verdict: judged.verdict, seen: judged.seen, stood: (since, now) })
        };
        Ok(judged.into_iter().map(doubt).collect())
    }

    async fn rest(&self) -> Result<(), Halt> {
        tokio::select! {
            () = self.context.cancel.cancelled() => Err(Halt::Cancelled),
            () = tokio::time::sleep(self.settle / 4 + Duration::from_millis(50)) => Ok(()),
        }
    }

    /// What differs in two readings when somebody writes, in one when nobody does.
    async fn metadata(&self) -> Result<Vec<String>, Halt> {
        let mut differences = metadata::compare(self.context).await?;
        if !differences.is_empty() && self.written().await != (Some(false), Some(false)) {
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(Halt::Cancelled),
                () = tokio::time::sleep(self.settle) => {}
            }
            let again = metadata::compare(self.context).await?;
            differences.retain(|difference| again.contains(difference));
        }
        Ok(differences)
    }

    async fn written(&self) -> (Option<bool>, Option<bool>) {
        let (source, destination) = (&self.context.source, &self.context.destination);
        tokio::join!(written_since(source, self.began.0), written_since(destination, self.began.1))
    }
}

async fn newest(context: &Context, cluster: &Cluster) -> Result<Optime, Halt> {
    let what = "reading the newest position";
    let last = retry(cluster.side, what, &context.events, &context.cancel, || cluster.last_write()).await?;
    Ok(last.majority_optime)
}

async fn read_catalog(context: &Context, cluster: &Cluster) -> Result<Catalog, Halt> {
    let read = || catalog::read(cluster, &context.options.filter);
    retry(cluster.side, "reading the catalog", &context.events, &context.cancel, read).await
}

/// Whether anybody but the server itself wrote after `since`; `None` when the oplog cannot be read.
async fn written_since(cluster: &Cluster, since: Optime) -> Option<bool> {
    let oplog = cluster.login.database("local").collection::<Document>("oplog.rs");
    let filter = doc! {
        "ts": { "$gt": Timestamp { time: since.t, increment: since.i } },
        "op": { "$ne": "n" },
        "ns": { "$not": { "$regex": r"^(config|local)\.|^admin\.system\." } },
    };
    let looking = oplog.find_one(filter).max_time(OPLOG_PATIENCE).into_future();
    match tokio::time::timeout(OPLOG_PATIENCE * 2, looking).await {
        Ok(Ok(found)) => Some(found.is_some()),
        _ => None,
    }
}

fn targets(source: &Catalog, destination: &Catalog) -> Vec<Target> {
    let entries = |catalog: &Catalog| -> Vec<CatalogEntry> {
        catalog.databases.iter().flat_map(|database| database.entries.iter().cloned()).collect()
    };
    let holds = |entry: &CatalogEntry| matches!(entry.kind, Kind::Collection | Kind::Buckets);
    let (left, right) = (entries(source), entries(destination));
    let twin =
        |of: &CatalogEntry, among: &[CatalogEntry]| among.iter().find(|entry| entry.namespace == of.namespace).cloned();
    let mut targets = Vec::new();
    for entry in left.iter().filter(|entry| holds(entry)) {
        match twin(entry, &right) {
            // A view there: the metadata says so.
            Some(other) if !holds(&other) => {}
            other => targets.push(target(entry, other.as_ref())),
        }
    }
    let only_there = right.iter().filter(|entry| holds(entry) && twin(entry, &left).is_none());
    targets.extend(only_there.map(|entry| target(entry, None)));
    targets.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    targets
}

fn target(entry: &CatalogEntry, twin: Option<&CatalogEntry>) -> Target {
    let shape = Shape::of(&Tracked::new(entry));
    let other = twin.map_or(shape, |twin| Shape::of(&Tracked::new(twin)));
    let buckets = shape.access == Access::Buckets || other.access == Access::Buckets;
    Target {
        // The two clusters may use one UUID for two collections.
        uuid: Uuid::new(),
        namespace: entry.namespace.clone(),
        documents: entry.documents.max(twin.map_or(0, |twin| twin.documents)),
        shape: Shape {
            expires: false,
            access: if buckets { Access::Buckets } else { Access::Index },
            collated: shape.collated || other.collated,
            capped: shape.capped,
        },
    }
}
