//! Composes the snapshot from the machine's state and the tasks' views. Never decides anything.

use super::{
    ApplicationLink,
    history::{Rate, Recorder},
    notices::Notices,
    run::Run,
    runner::Desk,
};
use crate::{
    machine::Machine,
    model::{
        CheckOrder, Endpoint, Phase, Severity, Snapshot,
        snapshot::{Application, ClusterView, Cutover, CutoverStep, StepLine, StepState, VerificationState, Writer},
        units::show_namespace,
    },
    mongo::Cluster,
};
use jiff::Timestamp;
use std::{path::Path, sync::Arc};
use tokio::{sync::watch, time::Instant};

/// Events of these kinds, when they warn, are what went wrong and was survived.
const INCIDENTS: [&str; 8] =
    ["retry", "repair", "reconnect", "hindered", "oplog-lost", "late-write", "foreign-write", "foreign-unseen"];

/// Publishes snapshots.
#[derive(Debug)]
pub struct Publisher {
    publish: watch::Sender<Arc<Snapshot>>,
    application: Option<ApplicationLink>,
    recorder: Recorder,
    rate_in: Rate,
    rate_out: Rate,
    report: Option<String>,
    /// Number of the last event that was looked at, and what went wrong up to it.
    incidents: (u64, Vec<String>),
    idle_since: Timestamp,
}

impl Publisher {
    /// A publisher that has published nothing but the idle snapshot.
    pub fn new(publish: watch::Sender<Arc<Snapshot>>, application: Option<ApplicationLink>, now: Timestamp) -> Self {
        Self {
            publish,
            application,
            recorder: Recorder::default(),
            rate_in: Rate::default(),
            rate_out: Rate::default(),
            report: None,
            incidents: (0, Vec::new()),
            idle_since: now,
        }
    }

    /// The report is there.
    pub fn report_written(&mut self, path: &Path) {
        self.report = Some(path.display().to_string());
    }

    /// Composes and publishes; clients are woken only when something differs.
    pub fn publish(&mut self, machine: &Machine, desk: &Desk, run: Option<&Run>, events: &Notices) {
        let snapshot = self.compose(machine, desk, run, events);
        self.publish.send_if_modified(|published| {
            let changed = **published != snapshot;
            if changed {
                *published = Arc::new(snapshot);
            }
            changed
        });
    }

    /// The snapshot as it is now.
    pub fn compose(&mut self, machine: &Machine, desk: &Desk, run: Option<&Run>, events: &Notices) -> Snapshot {
        let now = Timestamp::now();
        let mut snapshot = Snapshot::idle(self.idle_since);
        snapshot.phase = machine.phase;
        snapshot.left_phase = machine.left_phase;
        snapshot.since = machine.since;
        snapshot.started = machine.started;
        snapshot.finished = machine.finished;
        snapshot.destination_test = desk.destination_test.borrow().clone();
        snapshot.validation = desk.report.borrow().clone();
        if let Some(plan) = &desk.plan {
            snapshot.name = plan.name.clone();
            snapshot.notices = plan.options.notify.channels();
            snapshot.way_back_of = plan.options.way_back.as_ref().map(|way_back| way_back.of.clone());
            snapshot.source.label = plan.source.hosts().to_string();
            snapshot.destination.label = plan.destination.hosts().to_string();
        }
        if let Some(report) = &snapshot.validation {
            snapshot.left_behind = report.left_behind.clone();
        }
        snapshot.thresholds = machine.settings.thresholds();
        snapshot.blocks_source = machine.settings.blocks_source;
        snapshot.under_ready_lag_ms = u64::try_from(machine.gate.under_for(now).as_millis()).unwrap_or(u64::MAX);
        snapshot.throttle = machine.throttle.bytes_per_s();
        snapshot.can_cutover = machine.can_cutover(now);
        snapshot.cutover_blocked_by = machine.cutover_blocked_by(now);
        snapshot.cutover_deadline = machine.deadline;
        snapshot.extensions = u32::try_from(machine.extensions.len()).unwrap_or(u32::MAX);
        snapshot.extension_log = machine.extensions.clone();
        snapshot.error = machine.error.clone();
        snapshot.can_write = matches!(machine.phase, Phase::Cleanup | Phase::Completed) && machine.unused.is_none();
        snapshot.report = self.report.clone();
        snapshot.way_back = desk.way_back.clone();
        snapshot.application = self
            .application
            .as_ref()
            .map(|link| Application { running: *link.running.borrow(), writes: *link.writes.borrow() });
        if let Some(run) = run {
            self.add_run(&mut snapshot, machine, run);
        }
        snapshot.incidents = self.incidents(events);
        snapshot
    }

    /// Only new events are looked at: there is one of each collection.
    fn incidents(&mut self, events: &Notices) -> Vec<String> {
        let (seen, incidents) = &mut self.incidents;
        for event in events.since(*seen) {
            *seen = event.seq;
            if event.severity >= Severity::Warn && INCIDENTS.contains(&event.kind.as_str()) {
                incidents.push(event.text);
            }
        }
        incidents.clone()
    }

    fn add_run(&mut self, snapshot: &mut Snapshot, machine: &Machine, run: &Run) {
        let tick = Instant::now();
        snapshot.source = cluster_view(&run.context.source, &snapshot.source.label, &run.plan.source);
        snapshot.destination =
            cluster_view(&run.context.destination, &snapshot.destination.label, &run.plan.destination);
        let sync = run.sync.borrow().clone();
        snapshot.copy = sync.copy;
        snapshot.collections = sync.rows;
        snapshot.indexes = sync.indexes;
        let (fetch, apply) = (run.fetch.borrow().clone(), run.apply.borrow().clone());
        if let Some(failed) = apply.failed_indexes {
            snapshot.indexes.failed = failed;
        }
        // After that nothing is measured, and the last reading says nothing about now.
        let is_syncing = !snapshot.can_write && !snapshot.phase.is_over();
        snapshot.holding_back = run.context.brake.why();
        if let Some(reading) = run.lag.borrow().as_ref().filter(|_| is_syncing) {
            snapshot.lag_ms = reading.lag_ms;
            snapshot.fetch_lag_ms = reading.fetch_lag_ms;
            snapshot.source_quiet_ms = reading.source_quiet_ms;
        }
        snapshot.applied_ts = (apply.applied_ts != crate::model::Optime::default()).then_some(apply.applied_ts);
        snapshot.ops_applied = apply.ops_applied;
        snapshot.ops_waiting = fetch.ops_fetched.saturating_sub(apply.ops_applied);
        snapshot.ops_in_per_s = self.rate_in.observe(tick, fetch.ops_fetched);
        snapshot.ops_out_per_s = self.rate_out.observe(tick, apply.ops_applied);
        snapshot.last_source_write = fetch.last_user_write.and_then(|(_, wall_ms)| timestamp(wall_ms));
        snapshot.spool_bytes = fetch.spool_bytes;
        snapshot.spool_disk_bytes = fetch.spool_disk_bytes;
        snapshot.spool_limit_bytes = run.context.options.spool_limit;
        snapshot.spool_full_in_ms = fetch.spool_full_in_ms;
        snapshot.oplog_window_ms = fetch.oplog_window_ms;
        snapshot.oplog_left_ms = fetch.oplog_left_ms;
        let source_use = run.source_use.borrow();
        snapshot.open_transactions = source_use.open_transactions.clone();
        snapshot.writers = fetch
            .writers
            .iter()
            .filter_map(|writer| {
                // A time-series collection as its applications call it.
                let namespace = show_namespace(&writer.namespace);
                Some(Writer {
                    ops_per_s: writer.ops_per_s,
                    last_write: timestamp(writer.last_write_ms)?,
                    per_second: writer.per_second.clone(),
                    likely_client: source_use.writers.get(&namespace).cloned(),
                    namespace,
                })
            })
            .collect();
        drop(source_use);
        snapshot.foreign_writes = run.foreign.borrow().clone();
        snapshot.verification = run.verification.borrow().clone();
        snapshot.verification.repaired = machine.repaired.clone();
        if let Some(differences) = machine.cutover.as_ref().and_then(|cutover| cutover.differences.clone()) {
            snapshot.verification.metadata_differences = differences;
        }
        if machine.verification_skipped_by.is_some() && snapshot.verification.state != VerificationState::Done {
            snapshot.verification.state = VerificationState::Skipped;
        }
        snapshot.cutover = cutover_view(machine, run, snapshot.last_source_write);
        snapshot.rehearsal = run.rehearsal.borrow().clone();
        snapshot.cleanup = run.cleanup.borrow().lines.clone();
        snapshot.connect = run.connect.borrow().clone();
        if is_syncing {
            self.recorder.sample(tick, snapshot.lag_ms, snapshot.copy.bytes_per_s, snapshot.ops_waiting);
        }
        snapshot.history = self.recorder.history().clone();
    }
}

fn timestamp(wall_ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(wall_ms).ok()
}

fn cluster_view(cluster: &Cluster, label: &str, endpoint: &Endpoint) -> ClusterView {
    ClusterView {
        label: label.into(),
        set: Some(cluster.set.clone()),
        version: Some(cluster.version.to_string()),
        hosts: cluster.hosts.clone(),
        primary: cluster.primary.clone(),
        drop_user: drop_user(endpoint),
    }
}

/// As JSON, whose strings mongosh understands, whatever is in a name.
fn drop_user(endpoint: &Endpoint) -> Option<String> {
    let user = serde_json::to_string(endpoint.username.as_deref()?).ok()?;
    let database = serde_json::to_string(endpoint.auth_source.as_deref().unwrap_or("admin")).ok()?;
    Some(format!("db.getSiblingDB({database}).dropUser({user})"))
}

/// The guided cutover with its lines: what is proven so far, then what finalizing does.
fn cutover_view(machine: &Machine, run: &Run, last_source_write: Option<Timestamp>) -> Option<Cutover> {
    let cutover = machine.cutover.as_ref()?;
    let state = |step: CutoverStep| match cutover.step.cmp(&step) {
        std::cmp::Ordering::Less => StepState::Waiting,
        std::cmp::Ordering::Equal => StepState::Running,
        std::cmp::Ordering::Greater => StepState::Ok,
    };
    let mut lines = vec![
        StepLine {
            label: "source quiet".into(),
            state: state(CutoverStep::StopApplication),
            detail: match &cutover.assumed_stopped_by {
                Some(by) => format!("assumed by {by}"),
                None if cutover.source_blocked => "user writes are blocked".into(),
                None => machine.quiet_sentence(),
            },
        },
        StepLine {
            label: "last change applied".into(),
            state: state(CutoverStep::Drain),
            detail: cutover.cutover_ts.map_or(String::new(), |ts| format!("up to ts {ts}")),
        },
    ];
    let check = match cutover.check {
        CheckOrder::First => CutoverStep::CheckData,
        CheckOrder::After => CutoverStep::CheckOpened,
    };
    let checked = machine.settings.verify.then(|| {
        let detail = match (&machine.verification_skipped_by, cutover.mismatches) {
            (Some(by), _) => format!("skipped by {by}"),
            (None, Some(count)) => format!("{count} documents differ"),
            (None, None) => String::new(),
        };
        StepLine { label: "data checked".into(), state: state(check), detail }
    });
    let finalizing = match cutover.step >= CutoverStep::Finalize {
        true => run.finalizing.borrow().lines.clone(),
        false => Vec::new(),
    };
    match cutover.check {
        CheckOrder::First => lines.extend(checked.into_iter().chain(finalizing)),
        CheckOrder::After => lines.extend(finalizing.into_iter().chain(checked)),
    }
    Some(Cutover {
        step: cutover.step,
        started: cutover.started,
        cutover_ts: cutover.cutover_ts,
        last_source_write,
        waiting_by: cutover.waiting_by.clone(),
        source_blocked: cutover.source_blocked,
        check: cutover.check,
        assumed_stopped: cutover.assumed_stopped_by.is_some(),
        assumed_by: cutover.assumed_stopped_by.clone(),
        late_write: cutover.late_write.clone(),
        opened: cutover.opened,
        downtime_ms: machine.downtime_ms(last_source_write),
        lines,
    })
}
