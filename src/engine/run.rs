//! A started migration: its views, its tasks, and the parts that pass from one task to the next.
//!
//! Every task takes what it needs, works, and hands it back with its [`Outcome`]; nothing is shared behind a lock.

use super::{
    EngineSettings, cleanup, clear, connect_info,
    context::Context,
    copy,
    dirty::DirtySet,
    fetch, finalize,
    follow::Follower,
    index, lag, metadata,
    migration_user::MigrationUser,
    registry::Registry,
    retry::{Halt, retry},
    spool::{self, SpoolReader},
    verify::{Target, Verifier},
    view::{ApplyView, FetchView, InitialSyncView, StepsView},
};
use crate::{
    model::{
        Optime, Plan, Problem, Severity, Side,
        snapshot::{ConnectInfo, FailedIndex, Verification, VerificationState},
    },
    mongo::Namespace,
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
    /// Fetching ended, which it never does by itself.
    FetchEnded(Halt),
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
    /// Where applying begins.
    pub apply_from: Optime,
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
    /// Its folder in the state directory.
    pub directory: PathBuf,
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
}

impl Run {
    /// Prepares a migration; no task runs yet. Creates its folder.
    pub fn new(
        plan: Plan,
        context: Context,
        settings: &EngineSettings,
        outcomes: mpsc::Sender<Outcome>,
    ) -> Result<Self, Problem> {
        let directory = create_directory(settings, &plan.name)?;
        let state = match plan.options.verify {
            crate::model::Verify::Exact => VerificationState::Waiting,
            crate::model::Verify::Off => VerificationState::Off,
        };
        let verification = watch::Sender::new(Verification { state, ..Verification::default() });
        let dirty = Arc::new(DirtySet::default());
        let verifier = Verifier::new(context.clone(), dirty.clone(), verification.clone());
        Ok(Self {
            stop_comparing: verifier.stopper(),
            verifier: Some(Box::new(verifier)),
            registry: Registry::default(),
            plan,
            context,
            user: None,
            directory,
            sync: watch::Sender::default(),
            fetch: watch::Sender::default(),
            apply: watch::Sender::default(),
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
        })
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

    /// Begins fetching the oplog, then reads the catalog and copies.
    pub fn copy(&self) {
        let context = self.context.clone();
        let (fetch_view, sync_view) = (self.fetch.clone(), self.sync.clone());
        let (spool_folder, outcomes) = (self.spool_folder(), self.outcomes.clone());
        self.spawn(async move {
            Outcome::Copied(initial_sync(context, spool_folder, fetch_view, sync_view, outcomes).await.map(Box::new))
        });
    }

    /// Builds the secondary indexes.
    pub fn build_indexes(&mut self, copied: Box<Copied>) {
        let (context, view) = (self.context.clone(), self.sync.clone());
        let mut registry = copied.registry.clone();
        self.copied = Some(copied);
        self.spawn(async move {
            Outcome::Indexed(index::build_indexes(&context, &mut registry, &view).await.map(|()| registry))
        });
    }

    /// Begins to apply the oplog and to measure the lag.
    pub fn follow(&mut self, registry: Registry) {
        let Some(copied) = self.copied.take() else { return };
        self.registry = registry.clone();
        let follower = Follower::new(
            self.context.clone(),
            registry,
            copied.reader,
            copied.apply_from,
            self.apply.clone(),
            Some(self.dirty.clone()),
        );
        self.follower = Some(Box::new(follower));
        self.follow_again();
        let (context, apply) = (self.context.clone(), self.apply.subscribe());
        let (fetch, view) = (self.fetch.subscribe(), self.lag.clone());
        tokio::spawn(lag::poll(context, apply, fetch, view));
        tokio::spawn(connect_info::poll_likely_clients(self.context.clone(), self.likely_clients.clone()));
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
    pub async fn drop_user(&self) {
        if let Some(user) = &self.user
            && let Err(left) = user.drop_it().await
        {
            self.context.events.record(Severity::Error, "user", left);
        }
    }

    fn spool_folder(&self) -> PathBuf {
        self.directory.join("spool")
    }
}

async fn initial_sync(
    context: Context,
    spool_folder: PathBuf,
    fetch_view: watch::Sender<FetchView>,
    sync_view: watch::Sender<InitialSyncView>,
    outcomes: mpsc::Sender<Outcome>,
) -> Result<Copied, Halt> {
    let Context { source, events, cancel, options, .. } = &context;
    let apply_from =
        retry(Side::Source, "reading the oplog's newest position", events, cancel, || fetch::start_position(source))
            .await?;
    let (writer, reader) = spool::open(&spool_folder)?;
    let fetching = context.clone();
    tokio::spawn(async move {
        let Err(halt) = fetch::fetch(&fetching, apply_from, writer, fetch_view).await;
        let _ = outcomes.send(Outcome::FetchEnded(halt)).await;
    });
    let catalog = retry(Side::Source, "reading the catalog", events, cancel, || {
        crate::mongo::catalog::read(source, &options.filter)
    })
    .await?;
    let registry = copy::copy(&context, &catalog, &sync_view).await?;
    Ok(Copied { registry, reader, apply_from })
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

fn create_directory(settings: &EngineSettings, name: &str) -> Result<PathBuf, Problem> {
    use std::os::unix::fs::DirBuilderExt;
    let problem = |path: &std::path::Path, error: std::io::Error| {
        Problem::before_writing(
            Side::Host,
            format!("cannot create the state folder {}", path.display()),
            error.to_string(),
            "Make the folder writable, or set MONGOFERRY_HOME to one that is.",
        )
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    builder.recursive(true).create(&settings.state_root).map_err(|error| problem(&settings.state_root, error))?;
    builder.recursive(false);
    for attempt in 1..1000 {
        let folder = if attempt == 1 { name.to_string() } else { format!("{name}-{attempt}") };
        let path = settings.state_root.join(folder);
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(problem(&path, error)),
        }
    }
    Err(Problem::before_writing(
        Side::Host,
        format!("{} holds a thousand migrations named {name}", settings.state_root.display()),
        "no free folder name is left",
        "Remove old folders, or give the plan another name.",
    ))
}
