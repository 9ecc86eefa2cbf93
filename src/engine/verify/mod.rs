//! Verification: every document of both clusters compared as bytes, by `_id`.
//!
//! Owns the base pass (beside following), the recheck of what changed since (at cutover, on a quiet source), the list of
//! mismatches and their repair. The base pass never gives a verdict: a document that differs there is only remembered
//! ([`DirtySet`]), because changes are in flight. A verdict comes from reading the document on both sides by `_id` once
//! everything up to the cutover timestamp is applied. A document that was equal in the base pass and was not touched by
//! the applier since is equal. Order plays no part in a verdict, so collations and numeric types cannot falsify one.
//!
//! Memory: two collections at a time, per side one reply (at most 16 MiB and one document); identifiers waiting for their
//! recheck and identifiers that differ, at most 1,000,000 / 64 MiB each; beyond that a collection is compared (repaired)
//! whole. No document is kept; repair holds eight at a time, twice each.

pub mod diff;
pub mod id;
mod judge;
mod progress;
pub mod read;
mod repair;
mod scan;
pub mod standalone;

use super::{
    context::Context,
    dirty::{Dirty, DirtySet},
    metadata,
    registry::{Registry, Tracked},
    retry::Halt,
    throttle::Throttle,
};
use crate::{
    model::{Severity, Side, snapshot::Verification},
    mongo::{
        Namespace,
        catalog::Kind,
        cluster::DriverError,
        errors::{command_problem, explain},
    },
};
use bson::Uuid;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use progress::Progress;
use read::{Access, Interrupted};
use scan::Sink;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// How a collection is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// How it is read in order.
    pub access: Access,
    /// Its default collation is not simple: an identifier may find a document of another spelling.
    pub collated: bool,
    /// The server removes the oldest documents by itself, which 4.4 does not log (OPLOG.md A.6): always compared whole.
    /// What such a source trimmed and the destination will trim only in finalizing is reported as extra until then.
    pub capped: bool,
}

impl Shape {
    /// The shape of a collection that is migrated.
    pub fn of(tracked: &Tracked) -> Self {
        let clustered = tracked.kind == Kind::Buckets || tracked.is_clustered();
        let access = if clustered { Access::Natural } else { Access::Index };
        Self { access, collated: tracked.is_collated(), capped: tracked.is_capped() }
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
    throttle: Throttle,
    progress: Progress,
    /// Collections whose base pass finished.
    compared: Mutex<HashSet<Uuid>>,
    stop: CancellationToken,
}

impl Verifier {
    /// A verifier that has compared nothing yet.
    pub fn new(context: Context, dirty: Arc<DirtySet>, view: watch::Sender<Verification>) -> Self {
        let throttle = Throttle::new(context.options.throttle);
        let stop = context.cancel.child_token();
        Self { context, dirty, throttle, progress: Progress::new(view), compared: Mutex::default(), stop }
    }

    fn compared(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
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
        let passes: Vec<_> = targets.iter().map(|target| this.base_collection(target).boxed()).collect();
        let ended =
            stream::iter(passes).buffer_unordered(CONCURRENT).try_for_each(|()| std::future::ready(Ok(()))).await;
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
            self.dirty.start(target.uuid);
            self.progress.restart(target.uuid);
            match self.scan(target, &mut Sink::Remember(&self.dirty), &self.stop).await {
                Ok(()) => {
                    if self.is_there(target).await? {
                        self.compared().insert(target.uuid);
                        self.progress.finish(target.uuid);
                    } else {
                        self.dirty.touch_all(target.uuid);
                    }
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

    /// Compares what the applier touched again and again while following, so that little is left at cutover. Runs until
    /// [`Verifier::stopper`] fires. Gives no verdict.
    pub async fn keep_fresh(&mut self, targets: Vec<Target>) -> Result<(), Halt> {
        loop {
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(Halt::Cancelled),
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(FRESHEN_EVERY) => {}
            }
            for target in targets.iter().filter(|target| self.compared().contains(&target.uuid)) {
                if self.stop.is_cancelled() {
                    break;
                }
                if let Dirty::Ids(ids) = self.dirty.take(target.uuid) {
                    self.freshen(target, &ids).await?;
                }
            }
            self.progress.publish(self.dirty.count());
        }
    }

    async fn freshen(&self, target: &Target, ids: &[Vec<u8>]) -> Result<(), Halt> {
        let judged = self.judge(target, ids).await;
        let again: Vec<&[u8]> = match &judged {
            Ok(verdicts) => verdicts.iter().flat_map(|verdict| verdict.keys()).collect(),
            Err(_) => ids.iter().map(Vec::as_slice).collect(),
        };
        for key in again {
            self.dirty.touch(target.uuid, key);
        }
        judged.map(|_| ())
    }

    /// Gives the verdict: call when the source is quiet and everything up to the cutover timestamp is applied. Rechecks
    /// what was touched, compares whole what has no finished base pass, compares the set of namespaces.
    pub async fn final_pass(&mut self, registry: &Registry) -> Result<Verification, Halt> {
        let targets = Target::all(registry, |_| 0);
        self.progress.begin_final(&targets);
        let this = &*self;
        let passes: Vec<_> = targets.iter().map(|target| this.final_collection(target).boxed()).collect();
        stream::iter(passes).buffer_unordered(CONCURRENT).try_for_each(|()| std::future::ready(Ok(()))).await?;
        let known: HashSet<Uuid> = targets.iter().map(|target| target.uuid).collect();
        let differences = metadata::namespace_differences(&self.context, &known).await?;
        Ok(self.progress.complete(differences, self.dirty.count()))
    }

    async fn final_collection(&self, target: &Target) -> Result<(), Halt> {
        self.progress.clear_verdicts(target.uuid);
        let tracked = !target.shape.capped && self.compared().contains(&target.uuid);
        match self.dirty.take(target.uuid) {
            Dirty::Ids(ids) if tracked => {
                let judged = self.judge(target, &ids).await;
                if judged.is_err() {
                    // Not looked at: they wait for the next final pass.
                    ids.iter().for_each(|id| self.dirty.touch(target.uuid, id));
                }
                self.accept(target, judged?).await?;
            }
            _ => self.final_whole(target).await?,
        }
        self.progress.finish(target.uuid);
        self.progress.publish_soon(self.dirty.count());
        Ok(())
    }

    async fn final_whole(&self, target: &Target) -> Result<(), Halt> {
        self.compared().remove(&target.uuid);
        for attempt in 1..=ATTEMPTS {
            self.dirty.start(target.uuid);
            self.progress.restart(target.uuid);
            let mut sink = Sink::Judge(Vec::new());
            match self.scan(target, &mut sink, &self.context.cancel).await {
                Ok(()) => {
                    self.compared().insert(target.uuid);
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
