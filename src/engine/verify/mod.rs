//! Verification: every document of both clusters compared as bytes, by `_id`.
//!
//! Owns the base pass (beside following), the recheck of what changed since (at cutover, on a quiet source), the list of
//! mismatches and their repair. The base pass never gives a verdict: a document that differs there is only remembered
//! ([`DirtySet`]), because changes are in flight. A verdict comes from reading the document on both sides by `_id` once
//! everything up to the cutover timestamp is applied. A document that was equal in the base pass and was not touched by
//! anybody since is equal. Order plays no part in a verdict, so collations and numeric types cannot falsify one.
//!
//! Touched is what the applier wrote, and what anybody else writes to the destination: its oplog is read along.
//!
//! What was compared and what was touched since is on disk ([`DirtySet`]), so a restart goes on where this one stood.
//!
//! Memory: two collections at a time, per side one reply (at most 16 MiB and one document); 100,000 / 16 MiB identifiers
//! that are rechecked; identifiers that differ, at most 1,000,000 / 64 MiB; beyond that a collection is repaired whole.
//! No document is kept; repair holds eight at a time, twice each.

pub mod diff;
pub mod id;
mod judge;
mod opened;
mod others;
mod progress;
pub mod read;
mod repair;
mod scan;
pub mod show;
mod since;
pub mod standalone;

use super::{
    context::Context,
    dirty::{Compared, DirtySet, Range, Taken},
    metadata,
    registry::{Registry, Tracked},
    retry::Halt,
};
use crate::{
    model::{Optime, Severity, Side, snapshot::Verification},
    mongo::{
        Namespace,
        catalog::Kind,
        cluster::DriverError,
        errors::{command_problem, explain},
    },
};
use bson::Uuid;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use progress::Progress;
use read::{Access, Interrupted};
use scan::Sink;
pub use since::Since;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Collections compared at the same time.
const CONCURRENT: usize = 2;
/// How often the comparison of a collection that cannot be taken up in the middle is started over.
const ATTEMPTS: u32 = 20;
/// [`Verifier::keep_fresh`] looks at the touched documents this often.
const FRESHEN_EVERY: Duration = Duration::from_secs(5);
/// Touched documents in memory, and their bytes.
const TOUCHED_AT_ONCE: usize = 100_000;
const TOUCHED_BYTES: usize = 16 << 20;

/// Runs comparisons, a few beside each other.
async fn at_once(comparisons: Vec<BoxFuture<'_, Result<(), Halt>>>) -> Result<(), Halt> {
    stream::iter(comparisons).buffer_unordered(CONCURRENT).try_for_each(|()| std::future::ready(Ok(()))).await
}

/// How a collection is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How it is read in order.
    pub access: Access,
    /// Its default collation is not simple: an identifier may find a document of another spelling.
    pub collated: bool,
    /// The source's TTL monitor deletes from it.
    pub expires: bool,
    /// The server removes the oldest documents by itself, which 4.4 does not log (OPLOG.md A.6): always compared whole.
    /// What such a source trimmed and the destination will trim only in finalizing is reported as extra until then.
    pub capped: bool,
}

impl Shape {
    /// The shape of a collection that is migrated.
    pub fn of(tracked: &Tracked) -> Self {
        let access = if tracked.kind == Kind::Buckets { Access::Buckets } else { Access::Index };
        Self { access, collated: tracked.is_collated(), expires: tracked.expires(), capped: tracked.is_capped() }
    }
}

/// One collection of the base pass.
#[derive(Debug, Clone)]
pub struct Target {
    /// The source's collection UUID.
    pub uuid: Uuid,
    /// Its name.
    pub namespace: Namespace,
    /// About how many documents it holds, for progress.
    pub documents: u64,
    /// How it is read.
    pub shape: Shape,
}

impl Target {
    /// Every collection of the registry, by name; `documents` estimates their size.
    pub fn all(registry: &Registry, documents: impl Fn(&Namespace) -> u64) -> Vec<Self> {
        let mut targets: Vec<_> = registry
            .collections
            .iter()
            .map(|(uuid, tracked)| Target {
                uuid: *uuid,
                namespace: tracked.namespace.clone(),
                documents: documents(&tracked.namespace),
                shape: Shape::of(tracked),
            })
            .collect();
        targets.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        targets
    }
}

/// Compares both clusters. See the module's header for what its verdict rests on.
#[derive(Debug)]
pub struct Verifier {
    context: Context,
    dirty: Arc<DirtySet>,
    progress: Progress,
    /// The destination's oplog is not for this user.
    cannot_watch: AtomicBool,
    /// It was said that an oplog does not tell what was written after the cutover.
    cannot_tell: AtomicBool,
    since: Since,
    /// How far the destination's oplog had been read when the last pass began.
    looked_from: Option<Optime>,
    /// What a repair wrote on an opened destination, and where that stands in its oplog.
    own: Mutex<HashMap<(Uuid, Vec<u8>), Optime>>,
    stop: CancellationToken,
}

impl Verifier {
    /// A verifier that has compared nothing yet.
    pub fn new(context: Context, dirty: Arc<DirtySet>, view: watch::Sender<Verification>) -> Self {
        let stop = context.cancel.child_token();
        Self {
            context,
            dirty,
            progress: Progress::new(view),
            cannot_watch: AtomicBool::new(false),
            cannot_tell: AtomicBool::new(false),
            since: Since::default(),
            looked_from: None,
            own: Mutex::default(),
            stop,
        }
    }

    /// Fire it to end [`Verifier::base_pass`] and [`Verifier::keep_fresh`] early (both then return `Ok`); what was not
    /// finished is compared whole in the final pass.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Compares every target beside following; differences are only remembered. Ends early when stopped.
    pub async fn base_pass(&mut self, targets: Vec<Target>) -> Result<(), Halt> {
        let this = &*self;
        this.progress.begin(&targets);
        this.watch_destination(&targets).await?;
        let watching = async {
            loop {
                tokio::time::sleep(FRESHEN_EVERY).await;
                if let Err(halt) = this.watch_destination(&targets).await {
                    return halt;
                }
            }
        };
        let ended = tokio::select! {
            ended = at_once(targets.iter().map(|target| this.base_collection(target).boxed()).collect()) => ended,
            halt = watching => Err(halt),
        };
        this.progress.publish(self.dirty.count());
        match ended {
            Err(Halt::Cancelled) if self.stop.is_cancelled() && !self.context.cancel.is_cancelled() => Ok(()),
            ended => ended,
        }
    }

    async fn base_collection(&self, target: &Target) -> Result<(), Halt> {
        // Under another name, or gone: its changes are still to be applied here. The final pass compares it whole.
        if target.shape.capped || !self.is_there(target).await? {
            return Ok(());
        }
        for attempt in 1..=ATTEMPTS {
            let (from, documents) = match self.dirty.compared(target.uuid) {
                Compared::Everything(documents) => {
                    self.progress.restart(target.uuid, documents);
                    self.progress.finish(target.uuid);
                    return Ok(());
                }
                Compared::Until(key, documents) => (Some(key), documents),
                Compared::Nothing => {
                    self.dirty.start(target.uuid);
                    (None, 0)
                }
            };
            self.progress.restart(target.uuid, documents);
            let rest = Range { from, to: None };
            match self.scan_while_there(target, &rest, &mut Sink::Base(&self.dirty)).await {
                Ok(true) => {
                    self.dirty.finish(target.uuid, self.progress.documents(target.uuid));
                    self.progress.finish(target.uuid);
                    return Ok(());
                }
                Ok(false) => {
                    self.dirty.touch_all(target.uuid);
                    return Ok(());
                }
                Err(Interrupted::StartOver(side, error)) => {
                    self.pause_before(attempt, target, side, &error, &self.stop).await?
                }
                Err(Interrupted::Halt(halt)) => return Err(halt),
            }
        }
        let text = format!("{}: could not be read to its end; it is compared at cutover", target.namespace);
        self.context.events.record(Severity::Warn, "verify", text);
        Ok(())
    }

    async fn pause_before(
        &self,
        attempt: u32,
        target: &Target,
        side: Side,
        error: &DriverError,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        if attempt == 1 {
            let text = format!("{side}: comparing {} starts over: {}", target.namespace, explain(error));
            self.context.events.record(Severity::Warn, "retry", text);
        }
        tokio::select! {
            () = stop.cancelled() => Err(Halt::Cancelled),
            () = tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 250)) => Ok(()),
        }
    }

    async fn is_there(&self, target: &Target) -> Result<bool, Halt> {
        let found = metadata::uuid_at(&self.context, &self.context.source, &target.namespace).await?;
        Ok(found == Some(target.uuid))
    }

    /// Scans a range while following; false when the collection was not under its name to the end. What has the name by
    /// then may not even be readable as the collection was: a view or a time series refuses `min` (168).
    async fn scan_while_there(&self, target: &Target, range: &Range, sink: &mut Sink<'_>) -> Result<bool, Interrupted> {
        let scanned = self.scan(target, range, sink, &self.stop).await;
        if let Ok(()) | Err(Interrupted::Halt(Halt::Problem(_))) = scanned
            && !self.is_there(target).await?
        {
            return Ok(false);
        }
        scanned.map(|()| true)
    }

    /// Compares what the applier touched again and again while following, so that little is left at cutover. Runs until
    /// [`Verifier::stopper`] fires. Gives no verdict.
    pub async fn keep_fresh(&mut self, targets: Vec<Target>) -> Result<(), Halt> {
        loop {
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(Halt::Cancelled),
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FRESHEN_EVERY) => {}
            }
            match self.freshen(&targets).await {
                Err(Halt::Cancelled) if !self.context.cancel.is_cancelled() => return Ok(()),
                ended => ended?,
            }
            self.progress.publish(self.dirty.count());
        }
    }

    /// What is not looked at because of an early end stays lent, and is lent again.
    async fn freshen(&self, targets: &[Target]) -> Result<(), Halt> {
        self.watch_destination(targets).await?;
        let mut taken = self.dirty.take();
        while let Some(mut touched) = self.next_touched(&mut taken) {
            for target in targets {
                if self.stop.is_cancelled() {
                    return Err(Halt::Cancelled);
                }
                if let Some(keys) = touched.remove(&target.uuid) {
                    self.freshen_documents(target, &keys).await?;
                }
            }
        }
        for (uuid, range) in &taken.ranges {
            let Some(target) = targets.iter().find(|target| target.uuid == *uuid) else { continue };
            match self.scan_while_there(target, range, &mut Sink::Remember(&self.dirty)).await {
                Ok(true) => {}
                Ok(false) | Err(Interrupted::StartOver(..)) => self.dirty.touch_all(target.uuid),
                Err(Interrupted::Halt(halt)) => return Err(halt),
            }
        }
        self.settle(&taken);
        Ok(())
    }

    async fn freshen_documents(&self, target: &Target, keys: &[Vec<u8>]) -> Result<(), Halt> {
        let verdicts = self.judge(target, keys).await?;
        // Under another name by now: nothing was learnt.
        let again: Vec<&[u8]> = match self.is_there(target).await? {
            true => verdicts.iter().flat_map(|verdict| verdict.keys()).collect(),
            false => keys.iter().map(Vec::as_slice).collect(),
        };
        again.into_iter().for_each(|key| self.dirty.touch(target.uuid, key));
        Ok(())
    }

    /// The next touched documents, by collection, each once; `None` at the end.
    fn next_touched(&self, taken: &mut Taken) -> Option<HashMap<Uuid, Vec<Vec<u8>>>> {
        let chunk = match taken.ids.next_chunk(TOUCHED_AT_ONCE, TOUCHED_BYTES) {
            Ok(chunk) => chunk,
            Err(error) => {
                let text = format!("what was touched cannot be read ({error}); everything is compared again");
                self.context.events.record(Severity::Warn, "verify", text);
                self.dirty.touch_everything();
                return None;
            }
        };
        let mut touched: HashMap<Uuid, HashSet<Vec<u8>>> = HashMap::new();
        for (uuid, key) in chunk {
            touched.entry(uuid).or_default().insert(key);
        }
        let touched = touched.into_iter().map(|(uuid, keys)| (uuid, keys.into_iter().collect()));
        Some(touched.collect()).filter(|touched: &HashMap<_, _>| !touched.is_empty())
    }

    /// Files that cannot be deleted are compared once more, which is no harm.
    fn settle(&self, taken: &Taken) {
        if let Err(error) = self.dirty.settle(taken) {
            let text = format!("the list of what was touched stays on this host for now: {error}");
            self.context.events.record(Severity::Warn, "verify", text);
        }
    }

    /// Gives the verdict: call when the source is quiet and everything up to the cutover timestamp is applied. Rechecks
    /// what was touched, compares what the base pass has not reached, compares the set of namespaces.
    pub async fn final_pass(&mut self, registry: &Registry) -> Result<Verification, Halt> {
        let targets = Target::all(registry, |_| 0);
        self.progress.begin_final(&targets);
        self.looked_from = self.dirty.watched();
        self.watch_destination(&targets).await?;
        self.final_changes(&targets).await?;
        at_once(targets.iter().map(|target| self.final_collection(target).boxed()).collect()).await?;
        let differences = self.namespace_differences(&targets).await?;
        Ok(self.progress.complete(differences, self.dirty.count()))
    }

    /// Looks once more at what was written on the destination since the final pass, while it was finalized, and adds to
    /// the verdict. Capped collections, which finalizing may have made anew, only document by document.
    pub async fn last_look(&mut self, registry: &Registry) -> Result<Verification, Halt> {
        let targets = Target::all(registry, |_| 0);
        self.looked_from = self.dirty.watched();
        self.watch_destination(&targets).await?;
        self.final_changes(&targets).await?;
        let rest = targets.iter().filter(|target| !target.shape.capped);
        at_once(rest.map(|target| self.final_collection(target).boxed()).collect()).await?;
        let differences = self.namespace_differences(&targets).await?;
        Ok(self.progress.complete(differences, self.dirty.count()))
    }

    /// Gives the verdict on what was touched.
    async fn final_changes(&self, targets: &[Target]) -> Result<(), Halt> {
        let mut taken = self.dirty.take();
        while let Some(touched) = self.next_touched(&mut taken) {
            let looks = targets.iter().filter_map(|target| Some((target, touched.get(&target.uuid)?)));
            let looks: Vec<_> = looks.map(|(target, keys)| self.final_documents(target, keys).boxed()).collect();
            at_once(looks).await?;
        }
        let ranges: Vec<_> = taken.ranges.iter().map(|(uuid, range)| self.final_range(targets, *uuid, range)).collect();
        at_once(ranges.into_iter().map(FutureExt::boxed).collect()).await?;
        self.settle(&taken);
        Ok(())
    }

    /// Once the destination is opened its collections are the application's; they were compared before.
    async fn namespace_differences(&self, targets: &[Target]) -> Result<Vec<String>, Halt> {
        if self.since.destination.is_some() {
            return Ok(Vec::new());
        }
        let known: HashSet<Uuid> = targets.iter().map(|target| target.uuid).collect();
        metadata::namespace_differences(&self.context, &known).await
    }

    async fn final_documents(&self, target: &Target, keys: &[Vec<u8>]) -> Result<(), Halt> {
        let verdicts = self.judge(target, keys).await?;
        self.progress.publish_soon(self.dirty.count());
        self.accept(target, verdicts).await
    }

    async fn final_range(&self, targets: &[Target], uuid: Uuid, range: &Range) -> Result<(), Halt> {
        let Some(target) = targets.iter().find(|target| target.uuid == uuid) else { return Ok(()) };
        match self.scan(target, range, &mut Sink::Judge(Vec::new()), &self.context.cancel).await {
            Ok(()) => Ok(()),
            Err(Interrupted::Halt(halt)) => Err(halt),
            Err(Interrupted::StartOver(..)) => {
                self.dirty.touch_all(uuid);
                Ok(())
            }
        }
    }

    /// What nobody has compared of a collection yet, if anything.
    async fn final_collection(&self, target: &Target) -> Result<(), Halt> {
        match self.dirty.compared(target.uuid) {
            _ if target.shape.capped => self.final_whole(target).await?,
            Compared::Everything(documents) => self.progress.restart(target.uuid, documents),
            Compared::Until(key, documents) => {
                self.progress.restart(target.uuid, documents);
                let rest = Range { from: Some(key), to: None };
                match self.scan(target, &rest, &mut Sink::Judge(Vec::new()), &self.context.cancel).await {
                    Ok(()) => self.dirty.finish(target.uuid, self.progress.documents(target.uuid)),
                    Err(Interrupted::StartOver(..)) => self.final_whole(target).await?,
                    Err(Interrupted::Halt(halt)) => return Err(halt),
                }
            }
            Compared::Nothing => self.final_whole(target).await?,
        }
        self.progress.finish(target.uuid);
        self.progress.publish_soon(self.dirty.count());
        Ok(())
    }

    async fn final_whole(&self, target: &Target) -> Result<(), Halt> {
        for attempt in 1..=ATTEMPTS {
            if !target.shape.capped {
                self.dirty.start(target.uuid);
            }
            self.progress.restart(target.uuid, 0);
            let mut sink = Sink::Judge(Vec::new());
            match self.scan(target, &Range::default(), &mut sink, &self.context.cancel).await {
                Ok(()) => {
                    self.dirty.finish(target.uuid, self.progress.documents(target.uuid));
                    return Ok(());
                }
                Err(Interrupted::StartOver(side, error)) if attempt == ATTEMPTS => {
                    let what = format!("comparing {} failed {attempt} times", target.namespace);
                    return Err(command_problem(side, what, &error).into());
                }
                Err(Interrupted::StartOver(side, error)) => {
                    self.pause_before(attempt, target, side, &error, &self.context.cancel).await?;
                }
                Err(Interrupted::Halt(halt)) => return Err(halt),
            }
        }
        Ok(())
    }
}
