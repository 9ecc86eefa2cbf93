//! The engine's loop: orders and outcomes in, effects out. The only owner of the state machine.

mod effects;
mod show;
mod take_up;

use super::{
    EngineSettings,
    backoff::Brake,
    checkpoint::keep_machine,
    context::Context,
    fetch::FetchEnd,
    gate::Gate,
    herald::Herald,
    lag::LagReading,
    migration_user,
    notices::Notices,
    publish::Publisher,
    record::Record,
    restore::Restored,
    retry::Halt,
    run::{Finalized, Outcome, Run},
    throttle::Throttle,
    view::{ApplyView, FetchView},
    way_back,
};
use crate::{
    machine::{Effect, Event, Machine, Measurement, Saved, Settings},
    model::{
        Answer, Command, Optime, Options, Phase, Plan, Problem, Refusal, Severity, Side, Snapshot, ValidationReport,
        check::CheckState,
        snapshot::{CutoverStep, DestinationTest, FailedIndex},
    },
    session::{EventLog, Order},
    store::{Journal, create_folder},
    validate::{self, Validated},
};
use crate::{mongo::Cluster, oplog::Dialect};
use jiff::Timestamp;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often following is measured and a snapshot is published while nothing else happens.
const TICK: Duration = Duration::from_millis(200);

/// Owns the machine, the validation desk and the run.
#[derive(Debug)]
pub struct Runner {
    settings: EngineSettings,
    machine: Machine,
    publisher: Publisher,
    events: Notices,
    cancel: CancellationToken,
    desk: Desk,
    run: Option<Run>,
    run_cancel: CancellationToken,
    outcomes: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    indexed: Option<super::registry::Registry>,
    ended: bool,
    /// The journal of a migration that was started, here or before a restart.
    record: Option<Arc<Record>>,
    /// What the journal says about the machine.
    saved: Option<Saved>,
    /// Effects that wait until both clusters answer after a restart.
    waiting: Vec<Effect>,
    after_lease: AfterLease,
    /// Events that the journal has already.
    known_events: u64,
    /// How updates are written on the destination, after a restart.
    dialect: Option<Dialect>,
    /// Tells those who are not at the terminal.
    herald: Herald,
}

/// What follows once the lease is held.
#[derive(Debug, Clone, Copy)]
enum AfterLease {
    /// The waiting effects.
    Work,
    /// The spool and the collections are read first.
    TakeUp,
}

/// What happens before the start: tests of destinations, validation.
#[derive(Debug)]
pub struct Desk {
    /// The last look at a destination.
    pub destination_test: watch::Sender<Option<DestinationTest>>,
    /// The checks of the last validation.
    pub report: watch::Sender<Option<ValidationReport>>,
    /// The plan that was validated last.
    pub plan: Option<Plan>,
    /// What became of the way back, once it was asked for.
    pub way_back: Option<String>,
    finished: (mpsc::Sender<Validated>, mpsc::Receiver<Validated>),
    validated: Option<Validated>,
    /// The validation that begins now repeats only what failed in the last one.
    keeps_results: bool,
    cancel: CancellationToken,
}

impl Runner {
    /// A runner without a migration.
    pub fn new(
        settings: EngineSettings,
        publish: watch::Sender<Arc<Snapshot>>,
        events: EventLog,
        cancel: CancellationToken,
    ) -> Self {
        let (now, events) = (Timestamp::now(), Notices::new(events));
        Self {
            publisher: Publisher::new(publish, settings.application.clone(), now),
            machine: Machine::new(Settings::from(&Options::default()), now),
            settings,
            herald: Herald::new(events.clone()),
            events,
            run_cancel: cancel.child_token(),
            desk: Desk {
                destination_test: watch::Sender::default(),
                report: watch::Sender::default(),
                plan: None,
                way_back: None,
                finished: mpsc::channel(4),
                validated: None,
                keeps_results: false,
                cancel: cancel.child_token(),
            },
            cancel,
            run: None,
            outcomes: mpsc::channel(16),
            indexed: None,
            ended: false,
            record: None,
            saved: None,
            waiting: Vec::new(),
            after_lease: AfterLease::Work,
            known_events: 0,
            dialect: None,
        }
    }

    /// Takes up a migration from its journal. Nothing works on the clusters before [`Runner::run`].
    pub fn restored(mut self, restored: Restored) -> Self {
        let Restored { record, saved, dialect, mut plan, validation, events } = restored;
        self.desk.report.send_replace(validation);
        plan.name = name_of(record.folder());
        let (machine, effects) = Machine::restore(Settings::from(&plan.options), saved, Timestamp::now());
        self.known_events = events;
        self.machine = machine;
        self.desk.plan = Some(plan);
        self.record = Some(record);
        self.waiting = effects;
        self.dialect = Some(dialect);
        // A command that comes at once shall not take it for one that was never started.
        self.publish();
        self
    }

    /// The loop. Returns when the engine is cancelled or every client is gone.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.reconnect();
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => break,
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                Some(outcome) = self.outcomes.1.recv() => self.take(outcome),
                Some(validated) = self.desk.finished.1.recv() => self.validation_finished(validated),
                _ = tick.tick() => self.measure(),
            }
            self.keep();
            self.publish();
        }
        self.herald.end().await;
        self.run_cancel.cancel();
        self.desk.cancel.cancel();
        self.keep();
        if let Some(run) = &mut self.run {
            run.ended().await;
        }
    }

    /// The journal says where the machine is before anything is done about it.
    fn keep(&mut self) {
        let (Some(record), Some(plan), Some(_)) = (&self.record, &self.desk.plan, self.machine.started) else { return };
        let saved = self.machine.saved();
        if self.saved.as_ref() != Some(&saved) {
            let fetched = self.run.as_ref().map_or_else(Optime::default, |run| run.fetch.borrow().fetched_ts);
            if let Err(problem) = keep_machine(record, plan, &saved, fetched) {
                self.events.record(Severity::Error, "journal", problem.to_string());
            }
            if let Some(run) = &self.run {
                run.machine.send_replace(Some(saved.clone()));
            }
            self.saved = Some(saved);
        }
    }

    fn context(
        &self,
        plan: &Plan,
        (source, destination): (Cluster, Cluster),
        dialect: Dialect,
        record: Arc<Record>,
    ) -> Context {
        Context {
            source,
            destination,
            dialect,
            options: Arc::new(plan.options.clone()),
            gate: Gate::default(),
            throttle: Throttle::new(self.machine.throttle.bytes_per_s()),
            brake: Brake::default(),
            cancel: self.run_cancel.clone(),
            events: self.events.clone(),
            record,
        }
    }

    fn publish(&mut self) {
        self.publisher.publish(&self.machine, &self.desk, self.run.as_ref(), &self.events);
    }

    async fn obey(&mut self, order: Order) {
        let Order { command, by, reply } = order;
        let answer = match command {
            Command::ShowDocument { namespace, id } => return self.show_document(namespace, id, reply),
            Command::TestDestination(endpoint) => {
                let test = self.desk.destination_test.clone();
                tokio::spawn(async move {
                    let uri = endpoint.uri.clone();
                    let at = Timestamp::now();
                    let running =
                        DestinationTest { uri, running: true, cluster: None, databases: Vec::new(), problem: None, at };
                    test.send_replace(Some(running));
                    test.send_replace(Some(validate::test_destination(&endpoint).await));
                });
                Ok(())
            }
            Command::Revalidate => match self.desk.plan.clone() {
                Some(plan) => {
                    self.desk.keeps_results = true;
                    let answer = self.command(Command::Validate(Box::new(plan)), &by).await;
                    self.desk.keeps_results = false;
                    answer
                }
                None => Err(Refusal::NotNow("nothing has been validated yet".into())),
            },
            Command::StopApplication => match &self.settings.application {
                Some(application) => {
                    application.running.send_replace(false);
                    self.events.record(
                        Severity::Info,
                        "application",
                        format!("the demo's application stopped by {by}"),
                    );
                    Ok(())
                }
                None => Err(Refusal::NotNow("only the demo has an application that mongoferry can stop".into())),
            },
            Command::TestNotices => self.test_notices(&by),
            command => self.command(command, &by).await,
        };
        // Whoever has the answer shall not see the verdict of before and take it for the new one.
        self.publish();
        // The client may have gone without waiting for the answer.
        let _ = reply.send(answer.map(|()| Answer::Accepted));
    }

    async fn command(&mut self, command: Command, by: &str) -> Result<(), Refusal> {
        let start = matches!(command, Command::Start(_));
        let before = self.machine.clone();
        let effects = self.machine.command(command, by, Timestamp::now())?;
        if start && let Err(problem) = self.prepare_run().await {
            self.machine = before;
            return Err(Refusal::Problem(Box::new(problem)));
        }
        self.keep();
        self.carry_out(effects);
        Ok(())
    }

    async fn prepare_run(&mut self) -> Result<(), Problem> {
        let bug = || {
            Problem::before_writing(Side::Bug, "the validated plan is gone", "start without a plan", "Validate again.")
        };
        let mut plan = self.desk.plan.clone().ok_or_else(bug)?;
        let validated = self.desk.validated.as_mut().ok_or_else(bug)?;
        let seen = validated.take_seen();
        let clusters = validated.clusters.clone().ok_or_else(bug)?;
        let dialect = validated.dialect.ok_or_else(bug)?;
        let seen_as: Vec<String> = validated.report.seen_by(Side::Destination).map(String::from).collect();
        let folder = create_folder(&self.settings.state_root, &plan.name)?;
        plan.name = name_of(&folder);
        self.desk.plan = Some(plan.clone());
        let record = Arc::new(Record::new(Journal::open(&folder)?)?);
        let owner = bson::Uuid::new();
        record.put_plan(&plan, dialect, &owner, &validated.report)?;
        if let Some(way_back) = &plan.options.way_back {
            way_back::begin(&self.settings.state_root, way_back, &record)?;
        }
        self.record = Some(record.clone());
        self.dialect = Some(dialect);
        self.run_cancel = self.cancel.child_token();
        let (source, operator) = clusters;
        let account = migration_user::open(&plan.name, &operator, &plan.destination, &seen_as).await;
        self.events.record(Severity::Info, "user", account.note);
        let context = self.context(&plan, (source, account.destination), dialect, record);
        let mut run = Run::new(plan, context, account.user, self.outcomes.0.clone(), 0);
        if let Err(problem) = run.lease_at_start(&owner.to_string()).await {
            self.run_cancel.cancel();
            run.ended().await;
            self.record = None;
            // Nothing was started: nothing of it is listed.
            let _ = std::fs::remove_dir_all(&folder);
            return Err(problem);
        }
        run.keep_lease(owner.to_string());
        run.seen = seen;
        self.run = Some(run);
        self.desk.validated = None;
        Ok(())
    }

    fn validation_finished(&mut self, validated: Validated) {
        let report = &validated.report;
        let event = Event::ValidationFinished {
            passed: report.passed(),
            warnings: report.count(CheckState::Warn) > 0,
            would_drop: !report.would_drop.is_empty(),
        };
        self.desk.report.send_replace(Some(report.clone()));
        self.desk.validated = Some(validated);
        self.happened(event);
    }

    fn happened(&mut self, event: Event) {
        let effects = self.machine.handle(event, Timestamp::now());
        self.keep();
        self.carry_out(effects);
    }

    fn failed(&mut self, halt: Halt) {
        if let Halt::Problem(problem) = halt {
            self.happened(Event::Failed(problem));
        }
    }

    fn measure(&mut self) {
        self.measure_at(None);
    }

    /// With everything fetched that was written before `until` on the source's clock, its quiet is known up to there.
    fn measure_at(&mut self, until: Option<i64>) {
        match self.events.hindrance() {
            Some(problem) => self.happened(Event::Hindered(Box::new(problem))),
            None if self.machine.error.is_some() => self.happened(Event::Relieved),
            None => {}
        }
        if self.machine.started.is_some() {
            self.happened(Event::Ticked);
        }
        let Some(run) = &self.run else { return };
        if matches!(self.machine.phase, Phase::Following | Phase::Ready | Phase::Cutover | Phase::Finalizing) {
            // Every view once: with a writer waiting in between, a second look at one would wait for that writer, which
            // waits for the first.
            let (fetch, apply) = (run.fetch.borrow().clone(), run.apply.borrow().clone());
            let open_transactions = run.source_use.borrow().open_transactions.clone();
            let reading = run.lag.borrow().unwrap_or_default();
            let measurement = measurement(until, reading, (&fetch, &apply), open_transactions);
            self.happened(Event::Measured(measurement));
        }
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Cleared(Ok(dropped)) => {
                let text = format!("dropped on the destination: {}", dropped.join(", "));
                self.events.record(Severity::Warn, "cleared", text);
                self.happened(Event::Cleared);
            }
            Outcome::Copied(Ok(copied)) => {
                if let Some(run) = &mut self.run {
                    run.keep_copied(copied);
                }
                self.happened(Event::Copied);
            }
            Outcome::Indexed(Ok(registry)) => {
                let failed = self.run.as_ref().map_or(0, |run| run.sync.borrow().indexes.failed.len());
                self.indexed = Some(registry);
                self.happened(Event::Indexed { failed });
            }
            Outcome::Reconnected(Ok(reconnected)) => self.reconnected(*reconnected),
            Outcome::Leased(Ok(owner)) => self.leased(owner),
            Outcome::TakenUp(Ok(copied)) => {
                self.indexed = Some(copied.registry.clone());
                if let Some(run) = &mut self.run {
                    run.keep_copied(copied);
                }
                self.take_up_work();
            }
            Outcome::SourceBlocked(Ok(())) => self.happened(Event::SourceBlocked),
            Outcome::SourceBlocked(Err(why)) => self.happened(Event::SourceNotBlocked(why)),
            Outcome::Rehearsed => {}
            Outcome::CutoverFixed(Ok(newest)) => {
                self.measure_at(Some(newest.local_time_ms));
                self.happened(Event::CutoverFixed(newest.optime));
            }
            Outcome::FollowEnded(follower, ended) => self.follow_ended(follower, ended),
            Outcome::BasePassEnded(verifier, ended) => {
                if let Some(run) = &mut self.run {
                    run.keep_verifier(verifier);
                }
                if let Err(halt) = ended {
                    self.failed(halt);
                }
            }
            Outcome::Checked(verifier, checked) => {
                if let Some(run) = &mut self.run {
                    run.keep_verifier(verifier);
                }
                match checked {
                    Ok((verification, repaired)) => {
                        self.measure();
                        self.happened(Event::Checked { mismatches: verification.mismatches, repaired });
                    }
                    Err(halt) => self.failed(halt),
                }
            }
            Outcome::Finalized(follower, verifier, ended) => {
                if let Some(run) = &mut self.run {
                    run.keep_follower(follower);
                    run.keep_verifier(verifier);
                }
                match ended {
                    Ok(Finalized { failed, differences, accepted, mismatches, destination }) => {
                        let named = |failed: &FailedIndex| {
                            format!("{} / {} / {}", failed.namespace, failed.index, failed.reason)
                        };
                        let failed = failed.iter().map(named).collect();
                        self.measure();
                        self.happened(Event::Finalized { failed, differences, accepted, mismatches, destination });
                    }
                    Err(halt) => self.failed(halt),
                }
            }
            Outcome::CleanedUp => self.happened(Event::CleanedUp),
            Outcome::WayBackTold(told) => self.way_back_told(told),
            Outcome::Cleared(Err(halt))
            | Outcome::Copied(Err(halt))
            | Outcome::Indexed(Err(halt))
            | Outcome::CutoverFixed(Err(halt))
            | Outcome::Reconnected(Err(halt))
            | Outcome::TakenUp(Err(halt))
            | Outcome::Leased(Err(halt))
            | Outcome::LeaseLost(halt)
            | Outcome::FetchEnded(FetchEnd::Halt(halt)) => self.failed(halt),
            Outcome::FetchEnded(FetchEnd::Lost(problem)) => self.happened(Event::OplogLost(Box::new(problem))),
        }
    }

    fn follow_ended(&mut self, follower: Box<super::follow::Follower>, ended: Result<(), Halt>) {
        let Some(run) = &mut self.run else { return };
        run.keep_follower(follower);
        match ended {
            Ok(()) => {
                let draining = matches!(&self.machine.cutover, Some(cutover) if cutover.step == CutoverStep::Drain);
                if self.machine.phase == Phase::Cutover && draining {
                    self.measure();
                    self.happened(Event::Drained);
                } else if !self.machine.phase.is_over() {
                    // The operator went back, or a late write came, while the drain was ending.
                    run.follow_again();
                }
            }
            Err(halt) => self.failed(halt),
        }
    }

    fn validate(&mut self, plan: Plan) {
        self.desk.cancel.cancel();
        self.desk.cancel = self.cancel.child_token();
        let previous = self.desk.validated.take().filter(|_| self.desk.keeps_results);
        self.desk.plan = Some(plan.clone());
        if previous.is_none() {
            self.desk.report.send_replace(Some(ValidationReport::waiting()));
        }
        let (report, finished, cancel) =
            (self.desk.report.clone(), self.desk.finished.0.clone(), self.desk.cancel.clone());
        tokio::spawn(async move {
            let publish = |checks: &ValidationReport| drop(report.send_replace(Some(checks.clone())));
            let validation = async {
                match previous {
                    Some(previous) => validate::run_again(&plan, previous, publish, &cancel).await,
                    None => validate::run(&plan, publish, &cancel).await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                validated = validation => drop(finished.send(validated).await),
            }
        });
    }
}

/// A migration is called like its folder, so that two of the same plan differ.
fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the views amount to; of the source's clock (ms) it is known that everything written before `until` is fetched.
fn measurement(
    until: Option<i64>,
    reading: LagReading,
    (fetch, apply): (&FetchView, &ApplyView),
    open_transactions: Vec<String>,
) -> Measurement {
    let quiet_now = until.zip(fetch.last_active_write).map(|(until, last)| u64::try_from(until - last).unwrap_or(0));
    Measurement {
        lag_ms: reading.lag_ms,
        source_quiet_ms: reading.source_quiet_ms.into_iter().chain(quiet_now).min(),
        last_user_write: fetch.last_user_write.map(|(ts, _)| ts),
        repair_pending: apply.repair_pending,
        failed_indexes: apply.failed_indexes.iter().flatten().map(FailedIndex::label).collect(),
        open_transactions,
    }
}
