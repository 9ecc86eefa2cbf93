//! A started migration: its views, its tasks, and the parts that pass from one task to the next.
//!
//! Every task takes what it needs, works, and hands it back with its [`Outcome`]; nothing is shared behind a lock.

mod block;
mod check;
mod let_go;
mod rehearsal;
mod sync;

use super::{
    backoff,
    checkpoint::Checkpointer,
    cleanup, clear,
    context::Context,
    dirty::DirtySet,
    fetch::FetchEnd,
    follow::Follower,
    foreign, index, lag, lease,
    migration_user::{Account, MigrationUser},
    operations::{self, SourceUse},
    record::Position,
    registry::Registry,
    retry::{Halt, retry},
    sign_in,
    spool::{SpoolKeeper, SpoolReader},
    verify::Verifier,
    view::{ApplyView, FetchView, InitialSyncView, StepsView},
};
use crate::{
    machine::Saved,
    model::{
        Optime, Plan, Problem, Repaired, Severity, Side,
        snapshot::{ConnectInfo, ForeignWrites, Rehearsal, Verification, VerificationState},
    },
    mongo::{Cluster, LastWrite, SeenCatalog, link::Wire},
    oplog::Dialect,
};
use bson::Uuid;
use check::Wanted;
pub use check::{FinalForm, Finalized};
use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};
use sync::{Tail, initial_sync, taken_up};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long a start waits for the lease.
const LEASE_PATIENCE: Duration = Duration::from_secs(30);

/// What a task hands back.
#[derive(Debug)]
pub enum Outcome {
    /// The selected collections of the destination are dropped.
    Cleared(Result<Vec<String>, Halt>),
    /// Every collection is copied.
    Copied(Result<Box<Copied>, Halt>),
    /// The index builds ended.
    Indexed(Result<Registry, Halt>),
    /// Both clusters answer after a restart.
    Reconnected(Result<Box<Reconnected>, Halt>),
    /// The lease on the destination is held, or another one has it.
    Leased(Result<String, Halt>),
    /// Somebody else took the lease.
    LeaseLost(Halt),
    /// The spool and the collections are there again after a restart.
    TakenUp(Result<Box<Copied>, Halt>),
    /// Fetching ended, which it never does by itself.
    FetchEnded(FetchEnd),
    /// Following ended: drained, or cannot go on.
    FollowEnded(Box<Follower>, Result<(), Halt>),
    /// User writes are blocked on the source, or why not.
    SourceBlocked(Result<(), String>),
    /// A rehearsal ended; it said how.
    Rehearsed,
    /// The newest majority-committed position of the source, with everything up to it fetched.
    CutoverFixed(Result<LastWrite, Halt>),
    /// The base pass of verification ended.
    BasePassEnded(Box<Verifier>, Result<(), Halt>),
    /// The final pass or a repair ended.
    Checked(Box<Verifier>, Result<(Verification, Repaired), Halt>),
    /// Finalizing ended and the source was looked at once more.
    Finalized(Box<Follower>, Box<Verifier>, Result<Finalized, Halt>),
    /// Cleanup ended.
    CleanedUp,
    /// What became of the way back that was asked for.
    WayBackTold(String),
}

/// What the copy hands to following.
#[derive(Debug)]
pub struct Copied {
    /// The collections.
    pub registry: Registry,
    /// The reading end of the spool.
    pub reader: SpoolReader,
    /// Where applying begins, or goes on.
    pub position: Position,
    /// The command that was begun last.
    pub intent: Option<Optime>,
}

/// What a restart has to find again.
#[derive(Debug)]
pub struct Reconnected {
    /// The cluster that is migrated.
    pub source: Cluster,
    /// The cluster that receives the data.
    pub destination: Account,
    /// How updates are written on the destination.
    pub dialect: Dialect,
}

/// What the checkpoint reads besides the views.
#[derive(Debug)]
pub struct Keepers {
    /// Where the state machine is.
    pub machine: watch::Receiver<Option<Saved>>,
    /// The spool, once it is open.
    pub keeper: watch::Receiver<Option<SpoolKeeper>>,
}

/// A started migration.
#[derive(Debug)]
pub struct Run {
    /// What was asked for.
    pub plan: Plan,
    /// What every task needs.
    pub context: Context,
    /// The temporary user of the destination, when one was created.
    pub user: Option<Arc<MigrationUser>>,
    /// Ends the renewals of the lease, and the task that makes them.
    lease: Option<(CancellationToken, JoinHandle<()>)>,
    /// Where the state machine is, for the checkpoint.
    pub machine: watch::Sender<Option<Saved>>,
    /// The spool, once it is open.
    pub keeper: watch::Sender<Option<SpoolKeeper>>,
    /// Copy and index builds.
    pub sync: watch::Sender<InitialSyncView>,
    /// Fetching.
    pub fetch: watch::Sender<FetchView>,
    /// Applying.
    pub apply: watch::Sender<ApplyView>,
    /// Lag.
    pub lag: watch::Sender<Option<lag::LagReading>>,
    /// Verification.
    pub verification: watch::Sender<Verification>,
    /// Finalizing.
    pub finalizing: watch::Sender<StepsView>,
    /// Cleanup.
    pub cleanup: watch::Sender<StepsView>,
    /// The connect page, once open.
    pub connect: watch::Sender<Option<ConnectInfo>>,
    /// Writes of others to the destination.
    pub foreign: watch::Sender<Vec<ForeignWrites>>,
    /// Asks for the last look at them.
    last_look: foreign::LastLook,
    /// What the task that looks takes over.
    asked: Option<mpsc::Receiver<foreign::Asked>>,
    /// What validation saw on the source, until it is copied.
    pub seen: Option<SeenCatalog>,
    /// No engine worked on this migration before.
    is_first: bool,
    /// Who uses the source.
    pub source_use: watch::Sender<SourceUse>,
    /// The last rehearsal of the cutover.
    pub rehearsal: watch::Sender<Option<Rehearsal>>,
    /// Lifts the block of user writes on the source.
    unblocking: Option<JoinHandle<()>>,
    /// Collections with a TTL index.
    expiring: watch::Sender<HashSet<Uuid>>,
    /// Counts the requests to build failed indexes again.
    build_again: watch::Sender<u64>,
    /// Drain target of following.
    until: watch::Sender<Option<Optime>>,
    dirty: Arc<DirtySet>,
    copied: Option<Box<Copied>>,
    follower: Option<Box<Follower>>,
    verifier: Option<Box<Verifier>>,
    /// Ends the comparison beside following.
    stop_comparing: CancellationToken,
    /// The collections when following began, for the comparison beside it.
    registry: Registry,
    /// Ends the check at the cutover.
    checking: CancellationToken,
    /// What was asked for while the verifier was still at work.
    wanted: Option<Wanted>,
    /// Ends the look-out for writes of others on the destination.
    alone: CancellationToken,
    outcomes: mpsc::Sender<Outcome>,
    /// Ends fetching and measuring; the rest goes on.
    syncing: CancellationToken,
    checkpoints: Option<tokio::task::JoinHandle<()>>,
}

impl Run {
    /// Prepares a migration; nothing but its checkpoint runs yet. `events` of the log are in the journal already.
    pub fn new(
        plan: Plan,
        context: Context,
        user: Option<MigrationUser>,
        outcomes: mpsc::Sender<Outcome>,
        events: u64,
    ) -> Self {
        let user = user.map(Arc::new);
        let state = match plan.options.verify {
            crate::model::Verify::Exact => VerificationState::Waiting,
            crate::model::Verify::Off => VerificationState::Off,
        };
        let verification = watch::Sender::new(Verification { state, ..Verification::default() });
        let dirty = context.record.touched().clone();
        let verifier = Verifier::new(context.clone(), dirty.clone(), verification.clone());
        let (machine, keeper) = (watch::Sender::default(), watch::Sender::default());
        let (fetch, apply) = (watch::Sender::default(), watch::Sender::default());
        let keepers = Keepers { machine: machine.subscribe(), keeper: keeper.subscribe() };
        let views = (apply.subscribe(), fetch.subscribe());
        let (last_look, asked) = foreign::LastLook::new();
        for cluster in [&context.source, &context.destination].into_iter().filter(|cluster| cluster.wire != Wire::Plain)
        {
            let text = format!("what passes from and to the {} is {}", cluster.side, cluster.wire);
            context.events.record(Severity::Info, "network", text);
        }
        tokio::spawn(sign_in::keep(context.clone()));
        let lag = watch::Sender::default();
        tokio::spawn(backoff::watch(context.clone(), machine.subscribe(), lag.subscribe()));
        let checkpoints = Checkpointer::new(context.clone(), plan.clone(), views, keepers, events);
        Self {
            checkpoints: Some(tokio::spawn(checkpoints.run())),
            alone: context.cancel.child_token(),
            checking: context.cancel.child_token(),
            syncing: context.cancel.child_token(),
            stop_comparing: verifier.stopper(),
            verifier: Some(Box::new(verifier)),
            registry: Registry::default(),
            plan,
            context,
            user,
            lease: None,
            machine,
            keeper,
            sync: watch::Sender::default(),
            fetch,
            apply,
            lag,
            verification,
            finalizing: watch::Sender::default(),
            cleanup: watch::Sender::default(),
            connect: watch::Sender::default(),
            foreign: watch::Sender::default(),
            last_look,
            asked: Some(asked),
            seen: None,
            is_first: events == 0,
            source_use: watch::Sender::default(),
            rehearsal: watch::Sender::default(),
            unblocking: None,
            expiring: watch::Sender::default(),
            build_again: watch::Sender::default(),
            until: watch::Sender::default(),
            dirty,
            copied: None,
            follower: None,
            wanted: None,
            outcomes,
        }
    }

    /// Takes the lease on the destination before the start is answered: who is refused has written nothing.
    pub async fn lease_at_start(&self, owner: &str) -> Result<(), Problem> {
        let why = match timeout(LEASE_PATIENCE, lease::take(&self.context, owner, &self.plan.name)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Halt::Problem(problem))) => return Err(*problem),
            Ok(Err(Halt::Cancelled)) => "the engine is ending".into(),
            Err(_) => format!("no answer within {} s", LEASE_PATIENCE.as_secs()),
        };
        let (what, fix) = ("the lease on the destination cannot be taken", "Validate again, then start.");
        Err(Problem::before_writing(Side::Destination, what, why, fix))
    }

    /// Keeps the lease that was taken.
    pub fn keep_lease(&mut self, owner: String) {
        let (machine, outcomes) = (self.machine.subscribe(), self.outcomes.clone());
        let name = self.plan.name.clone();
        let renewing = self.context.cancel.child_token();
        let context = Context { cancel: renewing.clone(), ..self.context.clone() };
        let keeper = tokio::spawn(async move {
            let halt = lease::keep(context, owner, name, machine).await;
            let _ = outcomes.send(Outcome::LeaseLost(halt)).await;
        });
        self.lease = Some((renewing, keeper));
        self.watch_for_others();
    }

    /// Until the destination is opened; from then on it is the application that writes.
    fn watch_for_others(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        let reader = self.user.as_ref().map_or(&self.context.destination, |user| user.operator()).clone();
        let desk = foreign::Desk { reader, is_first: self.is_first, view: self.foreign.clone(), asked };
        let context = Context { cancel: self.alone.clone(), ..self.context.clone() };
        tokio::spawn(foreign::watch(context, desk));
    }

    /// After a restart: takes the lease, however long the destination does not answer.
    pub fn take_lease(&self, owner: String) {
        let (context, name) = (self.context.clone(), self.plan.name.clone());
        self.spawn(async move { Outcome::Leased(lease::take(&context, &owner, &name).await.map(|()| owner)) });
    }

    /// Waits for the last checkpoint, after the tasks were cancelled.
    pub async fn ended(&mut self) {
        if let Some(checkpoints) = self.checkpoints.take() {
            let _ = checkpoints.await;
        }
        self.unblocked().await;
        self.drop_user().await;
    }

    fn spawn<F>(&self, task: F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let outcome = task.await;
            // The receiver is gone only when the engine is; then nobody wants the outcome.
            let _ = outcomes.send(outcome).await;
        });
    }

    /// Drops the selected user collections of the destination.
    pub fn clear(&self) {
        let context = self.context.clone();
        self.spawn(async move { Outcome::Cleared(clear::clear(&context).await) });
    }

    /// Begins fetching the oplog, then reads the catalog and copies; or goes on with all of that.
    pub fn copy(&mut self) {
        let (context, view, tail) = (self.context.clone(), self.sync.clone(), self.tail());
        let seen = self.seen.take();
        // What is copied now was not compared.
        if let Err(error) = self.dirty.clear() {
            let text = format!("the list of what was touched stays on this host for now: {error}");
            self.context.events.record(Severity::Warn, "verify", text);
        }
        let comparing = self.verification.clone();
        self.spawn(
            async move { Outcome::Copied(initial_sync(context, (tail, seen), view, comparing).await.map(Box::new)) },
        );
    }

    /// After a restart behind the copy: opens the spool, fetches on, reads the collections from the journal.
    pub fn take_up(&self) {
        let (context, tail) = (self.context.clone(), self.tail());
        let cutover = self.machine.borrow().as_ref().and_then(|saved| saved.cutover.clone());
        let is_open = cutover.is_some_and(|cutover| cutover.opened.is_some());
        self.spawn(async move { Outcome::TakenUp(taken_up(context, tail, is_open).await.map(Box::new)) });
    }

    fn tail(&self) -> Tail {
        Tail {
            context: Context { cancel: self.syncing.clone(), ..self.context.clone() },
            spool_folder: self.spool_folder(),
            view: self.fetch.clone(),
            keeper: self.keeper.clone(),
            apply: self.apply.clone(),
            outcomes: self.outcomes.clone(),
            expiring: self.expiring.subscribe(),
        }
    }

    /// Builds the secondary indexes.
    pub fn build_indexes(&mut self) {
        let Some(mut registry) = self.copied.as_ref().map(|copied| copied.registry.clone()) else { return };
        let (context, view) = (self.context.clone(), self.sync.clone());
        self.spawn(async move {
            let indexed = match index::build_indexes(&context, &mut registry, &view).await {
                Ok(()) => keep_registry(&context, &registry).await.map(|()| registry),
                Err(halt) => Err(halt),
            };
            Outcome::Indexed(indexed)
        });
    }

    /// Begins to apply the oplog and to measure the lag.
    pub fn follow(&mut self, registry: Registry) {
        self.prepare_following(registry);
        self.follow_again();
    }

    /// Everything that following needs, without applying anything.
    pub fn prepare_following(&mut self, registry: Registry) {
        let Some(copied) = self.copied.take() else { return };
        let expiring = registry.collections.iter().filter(|(_, tracked)| tracked.expires());
        self.expiring.send_replace(expiring.map(|(uuid, _)| *uuid).collect());
        self.registry = registry.clone();
        let follower = Follower::new(
            self.context.clone(),
            registry,
            copied.reader,
            copied.position.applied,
            self.apply.clone(),
            Some(self.dirty.clone()),
        );
        self.follower = Some(Box::new(follower.taking_up(copied.position, copied.intent)));
        let context = Context { cancel: self.syncing.clone(), ..self.context.clone() };
        let (apply, fetch, view) = (self.apply.subscribe(), self.fetch.subscribe(), self.lag.clone());
        tokio::spawn(lag::poll(context.clone(), apply, fetch, view));
        tokio::spawn(operations::poll_source(context, self.source_use.clone()));
    }

    /// The spool and the collections for the next phase.
    pub fn keep_copied(&mut self, copied: Box<Copied>) {
        self.copied = Some(copied);
    }

    /// Applies without end (until a drain target is set). Does nothing while following runs already.
    pub fn follow_again(&mut self) {
        self.until.send_replace(None);
        if let Some(mut follower) = self.follower.take() {
            let (until, again) = (self.until.subscribe(), self.build_again.subscribe());
            self.spawn(async move {
                let ended = follower.run(until, again).await;
                Outcome::FollowEnded(follower, ended)
            });
        }
    }

    /// Builds the indexes that could not be built once more, between two changes.
    pub fn build_failed_indexes(&self) {
        self.build_again.send_modify(|asked| *asked += 1);
    }

    /// Applies up to and including `ts`, nothing after it.
    pub fn drain_to(&mut self, ts: Optime) {
        self.until.send_replace(Some(ts));
    }

    /// Takes the follower back after it ended.
    pub fn keep_follower(&mut self, follower: Box<Follower>) {
        self.follower = Some(follower);
    }

    /// Reads the newest majority-committed position and waits until everything up to it is fetched, so that a write
    /// before it cannot be unknown.
    pub fn fix_cutover(&self) {
        let (context, fetch) = (self.context.clone(), self.fetch.subscribe());
        self.spawn(async move { Outcome::CutoverFixed(fetched_until_now(&context, fetch).await) });
    }

    /// Removes what mongoferry created.
    pub fn clean_up(&mut self) {
        // Nothing is fetched any more into the folder that is removed now.
        self.syncing.cancel();
        self.leave_to_application();
        if let Err(error) = self.dirty.end() {
            let text = format!("what was compared stays on this host: {error}");
            self.context.events.record(Severity::Warn, "verify", text);
        }
        let (context, view, spool) = (self.context.clone(), self.cleanup.clone(), self.spool_folder());
        let user = self.user.clone();
        let lease = self.lease.take();
        self.spawn(async move {
            // A renewal that is under way would bring the lease back after it was removed.
            if let Some((renewing, keeper)) = lease {
                renewing.cancel();
                let _ = keeper.await;
            }
            cleanup::clean_up(&context, user.as_deref(), &spool, &view).await;
            Outcome::CleanedUp
        });
    }

    /// Drops the temporary user, if cleanup has not done it: what ends without completing leaves no login behind.
    async fn drop_user(&self) {
        if let Some(user) = &self.user
            && let Err(left) = user.drop_it().await
        {
            self.context.events.record(Severity::Error, "user", left);
        }
    }

    fn spool_folder(&self) -> PathBuf {
        self.context.record.folder().join("spool")
    }
}

async fn keep_registry(context: &Context, registry: &Registry) -> Result<(), Halt> {
    let registry = registry.clone();
    context.journal("writing the collections", move |record| record.put_registry(&registry)).await
}

/// The source's newest position, once the majority has it and the fetcher everything up to it.
async fn fetched_until_now(context: &Context, mut fetch: watch::Receiver<FetchView>) -> Result<LastWrite, Halt> {
    let source = &context.source;
    let newest =
        retry(Side::Source, "reading the newest position", &context.events, &context.cancel, || source.last_write())
            .await?;
    tokio::select! {
        () = context.cancel.cancelled() => Err(Halt::Cancelled),
        // Not the majority's, which may lag: what is written already must not come behind the cutover.
        reached = fetch.wait_for(|view| view.fetched_ts >= newest.optime) => match reached {
            Ok(_) => Ok(newest),
            Err(_) => Err(Halt::Cancelled),
        },
    }
}
