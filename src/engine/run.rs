//! A started migration: its views, its tasks, and the parts that pass from one task to the next.
//!
//! Every task takes what it needs, works, and hands it back with its [`Outcome`]; nothing is shared behind a lock.

use super::{
    again,
    checkpoint::Checkpointer,
    cleanup, clear, connect_info,
    context::Context,
    copy,
    dirty::DirtySet,
    fetch::{self, FetchEnd},
    finalize,
    follow::Follower,
    index, lag, lease, metadata,
    migration_user::{Account, MigrationUser},
    record::{Position, Record, Start},
    registry::Registry,
    retry::{Halt, retry},
    spool::{self, Resume, Spool, SpoolKeeper, SpoolReader},
    verify::{Target, Verifier},
    view::{ApplyView, FetchView, InitialSyncView, StepsView},
};
use crate::{
    machine::Saved,
    model::{
        Optime, Plan, Problem, Severity, Side,
        snapshot::{ConnectInfo, FailedIndex, Verification, VerificationState},
    },
    mongo::{Cluster, Namespace},
    oplog::Dialect,
};
use std::{collections::HashMap, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

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
    Leased(Result<(), Halt>),
    /// Somebody else took the lease.
    LeaseLost(Halt),
    /// The spool and the collections are there again after a restart.
    TakenUp(Result<Box<Copied>, Halt>),
    /// Fetching ended, which it never does by itself.
    FetchEnded(FetchEnd),
    /// Following ended: drained, or cannot go on.
    FollowEnded(Box<Follower>, Result<(), Halt>),
    /// The newest majority-committed position of the source, with everything up to it fetched.
    CutoverFixed(Result<Optime, Halt>),
    /// The base pass of verification ended.
    BasePassEnded(Box<Verifier>, Result<(), Halt>),
    /// The final pass or a repair ended.
    Checked(Box<Verifier>, Result<Verification, Halt>),
    /// Finalizing ended and the source was looked at once more.
    Finalized(Box<Follower>, Result<Vec<FailedIndex>, Halt>),
    /// Cleanup ended; what options, indexes and views differ.
    CleanedUp(Result<Vec<String>, Halt>),
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
    /// Who probably writes which namespace of the source, while the cutover waits for quiet.
    pub likely_clients: watch::Sender<HashMap<String, String>>,
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
    /// A check was asked for while the verifier was still at work.
    check_wanted: bool,
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
        let dirty = Arc::new(DirtySet::default());
        let verifier = Verifier::new(context.clone(), dirty.clone(), verification.clone());
        let (machine, keeper) = (watch::Sender::default(), watch::Sender::default());
        let (fetch, apply) = (watch::Sender::default(), watch::Sender::default());
        let keepers = Keepers { machine: machine.subscribe(), keeper: keeper.subscribe() };
        let views = (apply.subscribe(), fetch.subscribe());
        let checkpoints = Checkpointer::new(context.clone(), plan.clone(), views, keepers, events);
        Self {
            checkpoints: Some(tokio::spawn(checkpoints.run())),
            syncing: context.cancel.child_token(),
            stop_comparing: verifier.stopper(),
            verifier: Some(Box::new(verifier)),
            registry: Registry::default(),
            plan,
            context,
            user,
            machine,
            keeper,
            sync: watch::Sender::default(),
            fetch,
            apply,
            lag: watch::Sender::default(),
            verification,
            finalizing: watch::Sender::default(),
            cleanup: watch::Sender::default(),
            connect: watch::Sender::default(),
            likely_clients: watch::Sender::default(),
            until: watch::Sender::default(),
            dirty,
            copied: None,
            follower: None,
            check_wanted: false,
            outcomes,
        }
    }

    /// Takes the lease on the destination, then keeps it.
    pub fn take_lease(&self, owner: String) {
        let (context, machine, outcomes) = (self.context.clone(), self.machine.subscribe(), self.outcomes.clone());
        let name = self.plan.name.clone();
        tokio::spawn(async move {
            let taken = lease::take(&context, &owner, &name).await;
            let is_held = taken.is_ok();
            let _ = outcomes.send(Outcome::Leased(taken)).await;
            if is_held {
                let halt = lease::keep(context, owner, name, machine).await;
                let _ = outcomes.send(Outcome::LeaseLost(halt)).await;
            }
        });
    }

    /// Waits for the last checkpoint, after the tasks were cancelled.
    pub async fn ended(&mut self) {
        if let Some(checkpoints) = self.checkpoints.take() {
            let _ = checkpoints.await;
        }
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
    pub fn copy(&self) {
        let (context, view, tail) = (self.context.clone(), self.sync.clone(), self.tail());
        let comparing = self.verification.clone();
        self.spawn(async move { Outcome::Copied(initial_sync(context, tail, view, comparing).await.map(Box::new)) });
    }

    /// After a restart behind the copy: opens the spool, fetches on, reads the collections from the journal.
    pub fn take_up(&self) {
        let (context, tail) = (self.context.clone(), self.tail());
        self.spawn(async move { Outcome::TakenUp(taken_up(context, tail).await.map(Box::new)) });
    }

    fn tail(&self) -> Tail {
        Tail {
            context: Context { cancel: self.syncing.clone(), ..self.context.clone() },
            spool_folder: self.spool_folder(),
            view: self.fetch.clone(),
            keeper: self.keeper.clone(),
            apply: self.apply.clone(),
            outcomes: self.outcomes.clone(),
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
        tokio::spawn(connect_info::poll_likely_clients(context, self.likely_clients.clone()));
    }

    /// The spool and the collections for the next phase.
    pub fn keep_copied(&mut self, copied: Box<Copied>) {
        self.copied = Some(copied);
    }

    /// Applies without end (until a drain target is set). Does nothing while following runs already.
    pub fn follow_again(&mut self) {
        self.until.send_replace(None);
        if let Some(mut follower) = self.follower.take() {
            let until = self.until.subscribe();
            self.spawn(async move {
                let ended = follower.run(until).await;
                Outcome::FollowEnded(follower, ended)
            });
        }
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

    /// Compares beside following.
    pub fn begin_verification(&mut self) {
        let Some(mut verifier) = self.verifier.take() else { return };
        let rows = self.sync.borrow().rows.clone();
        let documents = |namespace: &Namespace| {
            let name = namespace.to_string();
            rows.iter().find(|row| row.namespace == name).map_or(0, |row| row.documents)
        };
        let targets = Target::all(&self.registry, documents);
        self.spawn(async move {
            let ended = match verifier.base_pass(targets.clone()).await {
                // Documents that change from here on are compared again as they come to rest.
                Ok(()) => verifier.keep_fresh(targets).await,
                Err(halt) => Err(halt),
            };
            Outcome::BasePassEnded(verifier, ended)
        });
    }

    /// Compares what changed since its last comparison, once the base pass is out of the way.
    pub fn check_data(&mut self) {
        let Some(registry) = self.follower.as_ref().map(|follower| follower.registry().clone()) else { return };
        let Some(mut verifier) = self.verifier.take() else {
            // It is comparing beside following; what it has not reached is compared now, with the source at rest.
            self.stop_comparing.cancel();
            self.check_wanted = true;
            return;
        };
        self.check_wanted = false;
        self.spawn(async move {
            let checked = verifier.final_pass(&registry).await;
            Outcome::Checked(verifier, checked)
        });
    }

    /// Takes the verifier back; starts the check that was asked for meanwhile.
    pub fn keep_verifier(&mut self, verifier: Box<Verifier>) {
        self.verifier = Some(verifier);
        if self.check_wanted {
            self.check_data();
        }
    }

    /// Nobody waits for the check any more.
    pub fn forget_check(&mut self) {
        self.check_wanted = false;
    }

    /// Copies the differing documents again and compares them once more.
    pub fn repair_mismatches(&mut self) {
        let Some(registry) = self.follower.as_ref().map(|follower| follower.registry().clone()) else { return };
        let Some(mut verifier) = self.verifier.take() else { return };
        self.spawn(async move {
            let checked = verifier.repair(&registry).await;
            Outcome::Checked(verifier, checked)
        });
    }

    /// Gives indexes, TTL values and capped sizes their final form, then looks at the source once more.
    pub fn finalize(&mut self) {
        let Some(mut follower) = self.follower.take() else { return };
        let (context, view, fetch) = (self.context.clone(), self.finalizing.clone(), self.fetch.subscribe());
        self.spawn(async move {
            let failed = match finalize::finalize(&context, follower.registry_mut(), &view).await {
                Ok(failed) => fetched_until_now(&context, fetch).await.map(|_| failed),
                Err(halt) => Err(halt),
            };
            Outcome::Finalized(follower, failed)
        });
    }

    /// Compares metadata, removes what mongoferry created, keeps the connect page current.
    pub fn clean_up(&self) {
        // Nothing is fetched any more into the folder that is removed now.
        self.syncing.cancel();
        let (context, view, spool) = (self.context.clone(), self.cleanup.clone(), self.spool_folder());
        let user = self.user.clone();
        let mut remaining = self.context.clone();
        if let Some(user) = &user {
            // The temporary user is gone soon; the connect page stays.
            remaining.destination = user.operator().clone();
        }
        self.spawn(async move {
            let differences = metadata::compare(&context).await;
            cleanup::clean_up(&context, user.as_deref(), &spool, &view).await;
            Outcome::CleanedUp(differences)
        });
        tokio::spawn(connect_info::poll(remaining, self.plan.destination.clone(), self.connect.clone()));
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

/// What fetching needs.
struct Tail {
    context: Context,
    spool_folder: PathBuf,
    view: watch::Sender<FetchView>,
    keeper: watch::Sender<Option<SpoolKeeper>>,
    apply: watch::Sender<ApplyView>,
    outcomes: mpsc::Sender<Outcome>,
}

impl Tail {
    /// Opens the spool, begins to fetch or goes on with it, and hands out the reading end.
    async fn begin(self, from: Optime, position: Option<Position>) -> Result<SpoolReader, Halt> {
        let (folder, limit) = (self.spool_folder.clone(), self.context.options.spool_limit);
        let resume = position.map(|position| Resume { read_from: position.read_from(), applied: position.applied });
        let open = move |_: &Record| match resume {
            None => spool::create(&folder, limit),
            Some(resume) => spool::open(&folder, limit, resume),
        };
        let Spool { writer, reader, keeper, mark, counted } = self.context.journal("opening the spool", open).await?;
        self.keeper.send_replace(Some(keeper.clone()));
        if let Some(position) = position {
            let (before, entries) = counted;
            let filter = &self.context.options.filter;
            let applied = before + fetch::count_until(&entries, position.applied, from, filter);
            self.apply.send_modify(|view| view.ops_applied = applied);
        }
        let (context, view, outcomes) = (self.context, self.view, self.outcomes);
        tokio::spawn(async move {
            let sink = fetch::Sink { writer, keeper, mark };
            let Err(end) = fetch::fetch(&context, from, sink, view).await;
            let _ = outcomes.send(Outcome::FetchEnded(end)).await;
        });
        Ok(reader)
    }
}

async fn initial_sync(
    context: Context,
    tail: Tail,
    view: watch::Sender<InitialSyncView>,
    comparing: watch::Sender<Verification>,
) -> Result<Copied, Halt> {
    let Context { source, events, cancel, options, .. } = &context;
    if context.journal("reading the journal", Record::is_again).await? {
        return compared(context, tail, view, comparing).await;
    }
    let known = context.journal("reading the journal", Record::start).await?;
    let position = known.as_ref().map(|_| Position::default());
    let Start { apply_from } = match known {
        Some(start) => start,
        None => {
            let what = "reading the oplog's newest position";
            let apply_from = retry(Side::Source, what, events, cancel, || fetch::start_position(source)).await?;
            let start = Start { apply_from };
            let kept = start.clone();
            context.journal("writing the journal", move |record| record.put_start(&kept)).await?;
            start
        }
    };
    let reader = tail.begin(apply_from, position).await?;
    let catalog = match context.journal("reading the journal", Record::catalog).await? {
        Some(catalog) => catalog,
        None => {
            let read = || crate::mongo::catalog::read(source, &options.filter);
            let catalog = Arc::new(retry(Side::Source, "reading the catalog", events, cancel, read).await?);
            let kept = catalog.clone();
            context.journal("writing the catalog", move |record| record.put_catalog(&kept)).await?;
            Arc::unwrap_or_clone(catalog)
        }
    };
    let registry = copy::copy(&context, &catalog, &view).await?;
    let kept = registry.clone();
    context.journal("writing the collections", move |record| record.put_copied(&kept, apply_from)).await?;
    Ok(Copied { registry, reader, position: Position { applied: apply_from, ..Position::default() }, intent: None })
}

/// The copy when something is there that only has to be compared.
async fn compared(
    context: Context,
    tail: Tail,
    view: watch::Sender<InitialSyncView>,
    comparing: watch::Sender<Verification>,
) -> Result<Copied, Halt> {
    let Context { source, events, cancel, options, .. } = &context;
    let known = context.journal("reading the collections", Record::registry).await?.unwrap_or_default();
    let what = "reading the oplog's newest position";
    let apply_from = retry(Side::Source, what, events, cancel, || fetch::start_position(source)).await?;
    let reader = tail.begin(apply_from, None).await?;
    let read = || crate::mongo::catalog::read(source, &options.filter);
    let catalog = retry(Side::Source, "reading the catalog", events, cancel, read).await?;
    let registry = again::compare_and_repair(&context, (&known, &catalog), &view, &comparing).await?;
    let kept = registry.clone();
    context.journal("writing the collections", move |record| record.put_copied(&kept, apply_from)).await?;
    Ok(Copied { registry, reader, position: Position { applied: apply_from, ..Position::default() }, intent: None })
}

async fn taken_up(context: Context, tail: Tail) -> Result<Copied, Halt> {
    let start = context.journal("reading the journal", Record::start).await?;
    let registry = context.journal("reading the collections", Record::registry).await?;
    let intent = context.journal("reading the journal", Record::intent).await?;
    let (Some(start), Some(registry)) = (start, registry) else {
        return Err(Problem {
            side: Side::Bug,
            what: "the journal does not hold the collections".into(),
            why: format!(
                "the copy never ended, and yet the migration in {} is past it",
                context.record.folder().display()
            ),
            fix: "Please report this with the log.".into(),
            retry_helps: false,
            written: "The source is untouched; the destination keeps what was copied so far.".into(),
        }
        .into());
    };
    let position = context.record.position();
    let reader = tail.begin(start.apply_from, Some(position)).await?;
    Ok(Copied { registry, reader, position, intent })
}

async fn keep_registry(context: &Context, registry: &Registry) -> Result<(), Halt> {
    let registry = registry.clone();
    context.journal("writing the collections", move |record| record.put_registry(&registry)).await
}

/// The source's newest position, once the majority has it and the fetcher everything up to it.
async fn fetched_until_now(context: &Context, mut fetch: watch::Receiver<FetchView>) -> Result<Optime, Halt> {
    let source = &context.source;
    let newest =
        retry(Side::Source, "reading the newest position", &context.events, &context.cancel, || source.last_write())
            .await?
            .majority_optime;
    tokio::select! {
        () = context.cancel.cancelled() => Err(Halt::Cancelled),
        reached = fetch.wait_for(|view| view.fetched_ts >= newest) => match reached {
            Ok(_) => Ok(newest),
            Err(_) => Err(Halt::Cancelled),
        },
    }
}
