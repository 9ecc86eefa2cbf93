//! The state of a migration and its transitions (`become_*`).

use super::{
    effect::Effect,
    event::{Event, Measurement},
    gate::{Gate, Settings, after, between},
    notice::Told,
};
use crate::model::{
    CheckOrder, Limit, Optime, Phase, Problem, Repaired, Severity,
    snapshot::{CutoverStep, Extension},
    units::{show_count, show_duration},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A migration. Fields are read by the publisher of the snapshot and changed only here and in `command` and `cutover`.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Durations and switches of the plan.
    pub settings: Settings,
    /// Where it is.
    pub phase: Phase,
    /// The phase that paused, expired, stopped or failed left.
    pub left_phase: Option<Phase>,
    /// When the phase began.
    pub since: Timestamp,
    /// When Start Migration was pressed.
    pub started: Option<Timestamp>,
    /// When it completed, stopped or failed.
    pub finished: Option<Timestamp>,
    /// The outcome of the last validation: passed, warnings, would drop.
    pub validated: Option<(bool, bool, bool)>,
    /// The limit on source reads now.
    pub throttle: Limit,
    /// The ready gate.
    pub gate: Gate,
    /// When syncing stops unless the operator cuts over or extends.
    pub deadline: Option<Timestamp>,
    /// Every "Extend time".
    pub extensions: Vec<Extension>,
    /// The guided cutover, once begun.
    pub cutover: Option<CutoverState>,
    /// The base pass of verification was begun.
    pub verification_begun: bool,
    /// Who gave up the verification.
    pub verification_skipped_by: Option<String>,
    /// Documents that were copied again and are equal now.
    pub repaired: Repaired,
    /// Indexes that an operator accepted to be missing, `namespace / index`.
    pub accepted_indexes: Vec<String>,
    /// The error that ended it, or what it waits for.
    pub error: Option<Problem>,
    /// Who paused it; `None` when a cause that can go away did.
    pub paused_by: Option<String>,
    /// The source's oplog lost what is needed next: going on means comparing everything again.
    pub is_lost: bool,
    /// Why the way back ends without being used.
    pub unused: Option<String>,
    /// What somebody who is not at the terminal was told.
    pub(super) told: Told,
    /// Effects that wait for Resume.
    pub(super) held: Vec<Effect>,
}

/// The guided cutover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutoverState {
    /// Where it is.
    pub step: CutoverStep,
    /// When "Prepare to Cutover" was pressed.
    pub started: Timestamp,
    /// Everything up to here must be applied.
    pub cutover_ts: Option<Optime>,
    /// Who pressed Continue before the source was quiet: the step goes on by itself when it is.
    #[serde(default)]
    pub waiting_by: Option<String>,
    /// User writes are blocked on the source.
    #[serde(default)]
    pub source_blocked: bool,
    /// Who overrode the quiet check.
    pub assumed_stopped_by: Option<String>,
    /// A write that arrived after the source had been found quiet.
    pub late_write: Option<String>,
    /// Documents that differ, once checked.
    pub mismatches: Option<u64>,
    /// What differed was copied again as the plan says; what differs even then is for somebody to decide.
    #[serde(default)]
    pub is_repaired: bool,
    /// Before or after the opening.
    #[serde(default)]
    pub check: CheckOrder,
    /// Finalizing has begun once: the destination's TTL monitor may be loose.
    #[serde(default)]
    pub is_finalized: bool,
    /// What finalizing could not do.
    pub finalize_failed: Vec<String>,
    /// What differs in options, indexes and views; `None` before they were compared.
    #[serde(default)]
    pub differences: Option<Vec<String>>,
    /// The destination's position before it was opened: what it wrote later is not mongoferry's.
    #[serde(default)]
    pub destination_ts: Option<Optime>,
    /// When the destination was opened for writes.
    pub opened: Option<Timestamp>,
}

impl Machine {
    /// Nothing has been asked for yet.
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            settings,
            phase: Phase::Idle,
            left_phase: None,
            since: now,
            started: None,
            finished: None,
            validated: None,
            throttle: settings.throttle,
            gate: Gate::default(),
            deadline: None,
            extensions: Vec::new(),
            cutover: None,
            verification_begun: false,
            verification_skipped_by: None,
            repaired: Repaired::default(),
            accepted_indexes: Vec::new(),
            error: None,
            paused_by: None,
            is_lost: false,
            unused: None,
            told: Told::default(),
            held: Vec::new(),
        }
    }

    /// Takes note of what happened and says what to do next.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.take(event, now);
        effects.extend(self.notices(now));
        effects
    }

    fn take(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        match event {
            Event::Ticked => Vec::new(),
            Event::Failed(problem) => self.become_failed(*problem, now),
            Event::Measured(measurement) => self.measured(measurement, now),
            Event::Hindered(problem) => self.become_hindered(*problem, now),
            Event::Relieved => self.become_relieved(now),
            // Comparing again would drop and copy on the cluster that is gone back to.
            Event::OplogLost(problem) if self.settings.is_way_back => self.become_failed(*problem, now),
            Event::OplogLost(problem) => self.become_lost(*problem, now),
            Event::ValidationFinished { passed, warnings, would_drop } => {
                self.validated = Some((passed, warnings, would_drop));
                Vec::new()
            }
            Event::Cleared if self.is_in(Phase::Clearing) => self.advance(Phase::Copying, vec![Effect::Copy], now),
            Event::Copied if self.is_in(Phase::Copying) => {
                self.is_lost = false;
                self.advance(Phase::Indexing, vec![Effect::BuildIndexes], now)
            }
            Event::Indexed { failed } if self.is_in(Phase::Indexing) => self.become_following(failed, now),
            Event::CutoverFixed(ts) => self.cutover_fixed(ts),
            Event::SourceBlocked => self.source_blocked(),
            Event::SourceNotBlocked(why) => self.source_not_blocked(&why),
            Event::Drained => self.drained(now),
            Event::Checked { mismatches, repaired } => self.checked(mismatches, repaired, now),
            Event::Finalized { failed, differences, accepted, mismatches, destination } => {
                self.finalized(failed, (differences, accepted), mismatches, destination, now)
            }
            Event::CleanedUp if self.phase == Phase::Cleanup && self.unused.is_some() => self.become_given_up(now),
            Event::CleanedUp if self.at(Phase::Cleanup, CutoverStep::Open) => self.become_completed(now),
            // An outcome of a phase that was stopped or failed meanwhile.
            Event::Cleared | Event::Copied | Event::Indexed { .. } | Event::CleanedUp => Vec::new(),
        }
    }

    /// True when "Prepare to Cutover" is possible now.
    pub fn can_cutover(&self, now: Timestamp) -> bool {
        self.phase == Phase::Ready && self.gate.blocked_by(&self.settings, &self.accepted_indexes, now).is_empty()
    }

    /// Why "Prepare to Cutover" is not possible, one sentence each; empty when it is.
    pub fn cutover_blocked_by(&self, now: Timestamp) -> Vec<String> {
        match self.phase {
            Phase::Ready => self.gate.blocked_by(&self.settings, &self.accepted_indexes, now),
            Phase::Following => {
                let mut reasons = self.gate.blocked_by(&self.settings, &self.accepted_indexes, now);
                if reasons.is_empty() {
                    reasons.push("the next measurement of the lag decides".into());
                }
                reasons
            }
            Phase::Idle | Phase::Validating => vec!["the migration has not been started".into()],
            Phase::Clearing | Phase::Copying | Phase::Indexing => {
                vec!["not yet - copy and index builds come first".into()]
            }
            Phase::Paused => vec!["the migration is paused; resume it first".into()],
            Phase::Expired => vec!["the cutover window has passed; resume syncing first".into()],
            Phase::Cutover | Phase::Finalizing | Phase::Cleanup => vec!["the cutover is under way".into()],
            Phase::Completed | Phase::Stopped | Phase::Failed => vec!["the migration is over".into()],
        }
    }

    /// The phase, or the phase that a pause holds.
    pub(super) fn is_in(&self, phase: Phase) -> bool {
        self.phase == phase || (self.phase == Phase::Paused && self.left_phase == Some(phase))
    }

    /// Goes to the next phase; while paused the next phase and its effects wait for Resume.
    pub(super) fn advance(&mut self, next: Phase, effects: Vec<Effect>, now: Timestamp) -> Vec<Effect> {
        if self.phase == Phase::Paused {
            self.left_phase = Some(next);
            self.held = effects;
            return Vec::new();
        }
        self.enter(next, now);
        effects
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.since = now;
    }

    fn become_following(&mut self, failed: usize, now: Timestamp) -> Vec<Effect> {
        let mut effects = vec![Effect::Follow];
        if failed > 0 {
            let text = format!("{} indexes could not be built; the cutover waits for them", show_count(failed as u64));
            effects.push(Effect::Log(Severity::Warn, "indexes", text));
        }
        self.advance(Phase::Following, effects, now)
    }

    fn measured(&mut self, measurement: Measurement, now: Timestamp) -> Vec<Effect> {
        self.gate.measure(&self.settings, measurement, now);
        match self.phase {
            Phase::Following | Phase::Ready => self.following_measured(now),
            Phase::Cutover | Phase::Finalizing => self.cutover_measured(now),
            _ => Vec::new(),
        }
    }

    fn following_measured(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            if self.settings.is_way_back {
                return self.become_unused("the chosen time has passed".into(), now);
            }
            return self.become_expired(now);
        }
        let mut effects = Vec::new();
        let near = self.gate.under_for(now) > Duration::ZERO;
        if near && self.settings.verify && !self.verification_begun {
            self.verification_begun = true;
            effects.push(Effect::BeginVerification);
        }
        let open = self.gate.blocked_by(&self.settings, &self.accepted_indexes, now).is_empty();
        match (self.phase, open) {
            (Phase::Following, true) => effects.extend(self.become_ready(now)),
            (Phase::Ready, false) => {
                self.enter(Phase::Following, now);
                let why = self.gate.blocked_by(&self.settings, &self.accepted_indexes, now).join("; ");
                effects.push(Effect::Log(Severity::Warn, "wait", format!("no longer nearly in sync: {why}")));
            }
            _ => {}
        }
        effects
    }

    fn become_ready(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Ready, now);
        let (lag, long) = (show_duration(self.settings.ready_lag), show_duration(self.settings.ready_for));
        let text = match self.deadline {
            Some(_) => format!("lag under {lag} for {long} again; the cutover timer went on running"),
            None => {
                self.deadline = Some(after(now, self.settings.cutover_window));
                let window = show_duration(self.settings.cutover_window);
                format!("lag under {lag} for {long}; the {window} cutover timer runs")
            }
        };
        vec![Effect::Log(Severity::Info, "ready", text)]
    }

    fn become_expired(&mut self, now: Timestamp) -> Vec<Effect> {
        self.left_phase = Some(Phase::Following);
        self.enter(Phase::Expired, now);
        let text = "the cutover window has passed; syncing stopped, the position and the data are kept";
        vec![Effect::CloseGate, Effect::Log(Severity::Error, "expired", text.into())]
    }

    fn become_completed(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Completed, now);
        self.finished = Some(now);
        let took = show_duration(self.started.map_or(Duration::ZERO, |started| between(started, now)));
        let text = format!("you have successfully migrated, {took} after the start");
        let mut effects = vec![Effect::StopTasks, Effect::Log(Severity::Info, "completed", text)];
        effects.extend(self.settings.reverse.map(|window| Effect::KeepWayBack(window, "the plan".into())));
        effects.push(Effect::WriteReport);
        effects
    }

    fn become_failed(&mut self, problem: Problem, now: Timestamp) -> Vec<Effect> {
        if self.phase.is_over() {
            return Vec::new();
        }
        let left = if self.phase == Phase::Paused { self.left_phase } else { Some(self.phase) };
        self.left_phase = left;
        self.enter(Phase::Failed, now);
        self.finished = Some(now);
        let text = problem.to_string();
        self.error = Some(problem);
        let mut effects: Vec<Effect> = self.become_unblocked().into_iter().collect();
        if let Some(cutover) = self.cutover.as_mut().filter(|_| left == Some(Phase::Cutover)) {
            // Whoever goes on finds an application that may write again.
            cutover.step = CutoverStep::StopApplication;
            cutover.cutover_ts = None;
        }
        effects.extend([Effect::StopTasks, Effect::Log(Severity::Error, "failed", text)]);
        // Whoever goes on holds it again.
        effects.extend(self.settings.is_way_back.then_some(Effect::LetGo));
        effects.push(Effect::WriteReport);
        effects
    }
}
