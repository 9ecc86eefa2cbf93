//! The steps of the guided cutover after "Continue": drain, check, finalize, open. Late writes reopen the first step.

use super::{
    effect::Effect,
    state::{CutoverState, Machine},
};
use crate::model::{
    CheckOrder, Optime, Phase, Repaired, Severity,
    snapshot::CutoverStep,
    units::{show_count, show_duration},
};
use jiff::Timestamp;

impl Machine {
    /// On from "Stop your application": the cutover timestamp is fixed next.
    pub(super) fn become_draining(&mut self) -> Vec<Effect> {
        if let Some(cutover) = &mut self.cutover {
            cutover.late_write = None;
        }
        self.step(CutoverStep::Drain);
        vec![Effect::FixCutover]
    }

    pub(super) fn source_blocked(&mut self) -> Vec<Effect> {
        match &mut self.cutover {
            Some(cutover) if self.phase == Phase::Cutover && cutover.waiting_by.is_some() => {
                cutover.source_blocked = true;
                let mut effects =
                    vec![Effect::Log(Severity::Warn, "blocked", "no user can write to the source now".into())];
                effects.extend(self.become_draining());
                effects
            }
            // The operator went back meanwhile.
            _ => vec![Effect::UnblockSource],
        }
    }

    /// Lifts a block that is there or on its way, when the destination will not be opened.
    pub(super) fn become_unblocked(&mut self) -> Option<Effect> {
        let blocks_source = self.settings.blocks_source;
        let cutover = self.cutover.as_mut().filter(|cutover| cutover.opened.is_none())?;
        let is_waiting = cutover.waiting_by.take().is_some();
        let is_blocked = std::mem::take(&mut cutover.source_blocked);
        (is_blocked || is_waiting && blocks_source).then_some(Effect::UnblockSource)
    }

    pub(super) fn source_not_blocked(&mut self, why: &str) -> Vec<Effect> {
        let text = format!("user writes cannot be blocked on the source: {why}");
        if let Some(cutover) = &mut self.cutover {
            cutover.waiting_by = None;
            cutover.late_write = Some(text.clone());
        }
        vec![Effect::Log(Severity::Error, "block", text)]
    }

    /// The quiet that let the cutover go on was measured a moment before: by now everything up to `ts` is known.
    pub(super) fn cutover_fixed(&mut self, ts: Optime) -> Vec<Effect> {
        let quiet = self.gate.latest().source_quiet_ms.map(std::time::Duration::from_millis);
        let is_written = quiet.is_some_and(|quiet| quiet < self.settings.quiet_for);
        match &mut self.cutover {
            Some(cutover) if self.phase == Phase::Cutover && cutover.step == CutoverStep::Drain => {
                if is_written && cutover.assumed_stopped_by.is_none() && !cutover.source_blocked {
                    cutover.step = CutoverStep::StopApplication;
                    let text =
                        "a write arrived on the source as the cutover went on; it goes on again after as much quiet";
                    return vec![Effect::Log(Severity::Info, "waiting", text.into())];
                }
                cutover.waiting_by = None;
                cutover.cutover_ts = Some(ts);
                let text = format!("cutover timestamp {ts}; everything up to it is being applied");
                vec![Effect::Log(Severity::Info, "drain", text), Effect::DrainTo(ts)]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn drained(&mut self, now: Timestamp) -> Vec<Effect> {
        if !self.at(Phase::Cutover, CutoverStep::Drain) {
            return Vec::new();
        }
        if let Some(effects) = self.reopen_on_late_write() {
            return effects;
        }
        let mut effects = vec![Effect::Log(Severity::Info, "drained", "0 operations behind".into())];
        if self.checks(CheckOrder::First) {
            self.step(CutoverStep::CheckData);
            effects.push(Effect::CheckData);
        } else {
            effects.extend(self.become_finalizing(now));
        }
        effects
    }

    pub(super) fn checked(&mut self, mismatches: u64, repaired: Repaired, now: Timestamp) -> Vec<Effect> {
        let log = self.take_repaired(repaired);
        let effects = self.judged(mismatches, now);
        log.into_iter().chain(effects).collect()
    }

    fn take_repaired(&mut self, repaired: Repaired) -> Option<Effect> {
        let count = show_count(repaired.documents);
        let is_some = repaired.documents > 0;
        self.repaired.append(repaired);
        let text = format!("{count} documents were copied again from the source, read again, and are equal now");
        is_some.then_some(Effect::Log(Severity::Warn, "repaired", text))
    }

    fn judged(&mut self, mismatches: u64, now: Timestamp) -> Vec<Effect> {
        let is_open = self.at(Phase::Cleanup, CutoverStep::CheckOpened);
        if !is_open && !self.at(Phase::Cutover, CutoverStep::CheckData) {
            return Vec::new();
        }
        if !is_open && let Some(effects) = self.reopen_on_late_write() {
            return effects;
        }
        if mismatches > 0
            && let Some(effects) = self.repair_by_policy(mismatches)
        {
            return effects;
        }
        if let Some(cutover) = &mut self.cutover {
            cutover.mismatches = Some(mismatches);
            cutover.is_repaired = false;
        }
        if mismatches > 0 {
            let way_out = if is_open { "give up the verification" } else { "go back" };
            let text = format!("{} documents differ; repair them or {way_out}", show_count(mismatches));
            return vec![Effect::Log(Severity::Error, "differs", text)];
        }
        let mut effects = vec![Effect::Log(Severity::Info, "verified", "0 documents differ".into())];
        effects.extend(if is_open { self.become_cleaning_up() } else { self.become_finalizing(now) });
        effects
    }

    /// Once per check; what differs even then waits for somebody.
    fn repair_by_policy(&mut self, mismatches: u64) -> Option<Vec<Effect>> {
        let is_asked = self.settings.repairs;
        let cutover = self.cutover.as_mut().filter(|cutover| is_asked && !cutover.is_repaired)?;
        cutover.is_repaired = true;
        cutover.mismatches = None;
        let count = show_count(mismatches);
        let text = format!("{count} documents differ; they are copied again from the source, as the plan says");
        Some(vec![Effect::Log(Severity::Warn, "repair", text), Effect::RepairMismatches])
    }

    pub(super) fn finalized(
        &mut self,
        failed: Vec<String>,
        (differences, accepted): (Vec<String>, Vec<String>),
        mismatches: u64,
        destination: Optime,
        now: Timestamp,
    ) -> Vec<Effect> {
        if !self.at(Phase::Finalizing, CutoverStep::Finalize) {
            return Vec::new();
        }
        if let Some(effects) = self.reopen_on_late_write() {
            self.enter(Phase::Cutover, now);
            return effects;
        }
        let log = |kind| move |what: &String| Effect::Log(Severity::Error, kind, what.clone());
        let mut effects: Vec<Effect> = failed.iter().map(log("finalize")).collect();
        effects.extend(differences.iter().chain(&accepted).map(log("metadata")));
        let holds = self.holds_differences();
        if let Some(cutover) = &mut self.cutover {
            cutover.destination_ts = Some(destination);
            cutover.finalize_failed = failed;
            if holds {
                cutover.finalize_failed.extend(differences.iter().cloned());
            }
            cutover.differences = Some(differences.into_iter().chain(accepted).collect());
            if mismatches > 0 {
                effects.extend(self.become_differing(mismatches, now));
                return effects;
            }
            if !cutover.finalize_failed.is_empty() {
                return effects;
            }
        }
        effects.extend(self.become_open(now));
        effects
    }

    /// Somebody wrote on the destination while it was finalized: back to the check, which says what.
    fn become_differing(&mut self, mismatches: u64, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Cutover, now);
        self.step(CutoverStep::CheckData);
        if let Some(cutover) = &mut self.cutover {
            cutover.mismatches = Some(mismatches);
            cutover.finalize_failed.clear();
        }
        let count = show_count(mismatches);
        let text = format!("{count} documents were changed on the destination while it was finalized; repair them");
        let mut effects = vec![Effect::Log(Severity::Error, "differs", text)];
        effects.extend(self.repair_by_policy(mismatches).into_iter().flatten());
        effects
    }

    /// A difference in options, indexes or views keeps the destination closed until somebody decides.
    pub fn holds_differences(&self) -> bool {
        self.checks(CheckOrder::First) && self.verification_skipped_by.is_none()
    }

    /// The data is checked, and at that moment.
    pub(super) fn checks(&self, order: CheckOrder) -> bool {
        self.settings.verify && self.cutover.as_ref().is_some_and(|cutover| cutover.check == order)
    }

    /// A measurement during the cutover: has somebody written again?
    pub(super) fn cutover_measured(&mut self, _now: Timestamp) -> Vec<Effect> {
        if self.at(Phase::Cutover, CutoverStep::Drain) || self.at(Phase::Cutover, CutoverStep::CheckData) {
            return self.reopen_on_late_write().unwrap_or_default();
        }
        if self.at(Phase::Cutover, CutoverStep::StopApplication) && !self.settings.blocks_source {
            let is_waited_for = self.cutover.as_ref().is_some_and(|cutover| cutover.waiting_by.is_some());
            let latest = self.gate.latest();
            let quiet = latest.source_quiet_ms.map(std::time::Duration::from_millis);
            let is_quiet = quiet.is_some_and(|quiet| quiet >= self.settings.quiet_for);
            if is_waited_for && is_quiet && latest.open_transactions.is_empty() {
                return self.become_draining();
            }
        }
        // While finalizing runs it is left to finish; `finalized` looks again before anything is opened.
        Vec::new()
    }

    pub(super) fn become_finalizing(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Finalizing, now);
        self.step(CutoverStep::Finalize);
        if let Some(cutover) = &mut self.cutover {
            cutover.is_finalized = true;
        }
        vec![Effect::Finalize]
    }

    pub(super) fn become_open(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Cleanup, now);
        self.deadline = None;
        if let Some(cutover) = &mut self.cutover {
            cutover.opened = Some(now);
            cutover.finalize_failed.clear();
        }
        let mut effects = vec![Effect::Log(Severity::Info, "open", "the destination accepts writes now".into())];
        if self.checks(CheckOrder::After) {
            self.step(CutoverStep::CheckOpened);
            effects.push(Effect::CheckData);
        } else {
            effects.extend(self.become_cleaning_up());
        }
        effects
    }

    /// Nothing is left to check.
    pub(super) fn become_cleaning_up(&mut self) -> Vec<Effect> {
        self.step(CutoverStep::Open);
        vec![Effect::CleanUp]
    }

    /// A user write after the cutover timestamp would be lost, and so would a transaction that commits then: back to
    /// "Stop your application", in red. With the operator's override such writes are what was agreed to lose, but they
    /// are still applied up to the timestamp.
    pub(super) fn reopen_on_late_write(&mut self) -> Option<Vec<Effect>> {
        let cutover = self.cutover.as_mut()?;
        let fixed = cutover.cutover_ts?;
        if cutover.assumed_stopped_by.is_some() {
            return None;
        }
        let latest = self.gate.latest();
        let late = latest.last_user_write.filter(|newest| *newest > fixed);
        let text = match (late, latest.open_transactions.first()) {
            (Some(newest), _) => {
                let second = Timestamp::from_second(i64::from(newest.t)).unwrap_or_default();
                let at = second.strftime("%H:%M:%S UTC");
                format!("a write arrived on the source at {at} ({newest}), after it had been found quiet")
            }
            (None, Some(open)) => {
                format!("a transaction was opened on the source after it had been found quiet: {open}")
            }
            (None, None) => return None,
        };
        *cutover = CutoverState {
            step: CutoverStep::StopApplication,
            started: cutover.started,
            cutover_ts: None,
            waiting_by: None,
            source_blocked: cutover.source_blocked,
            assumed_stopped_by: None,
            late_write: Some(text.clone()),
            mismatches: None,
            is_repaired: false,
            check: cutover.check,
            is_finalized: cutover.is_finalized,
            finalize_failed: Vec::new(),
            differences: None,
            destination_ts: None,
            opened: None,
        };
        Some(vec![Effect::FollowAgain, Effect::Log(Severity::Error, "late-write", text)])
    }

    pub(super) fn at(&self, phase: Phase, step: CutoverStep) -> bool {
        self.phase == phase && self.cutover.as_ref().is_some_and(|cutover| cutover.step == step)
    }

    fn step(&mut self, step: CutoverStep) {
        if let Some(cutover) = &mut self.cutover {
            cutover.step = step;
        }
    }

    /// How long writers had nowhere to write: from the last write on the source (or, when the source was idle already,
    /// from the beginning of the cutover) to the opening of the destination. `None` before it was opened.
    pub fn downtime_ms(&self, last_source_write: Option<Timestamp>) -> Option<u64> {
        let cutover = self.cutover.as_ref()?;
        let opened = cutover.opened?;
        let began = last_source_write.map_or(cutover.started, |write| write.max(cutover.started));
        u64::try_from(super::gate::between(began, opened).as_millis()).ok()
    }

    /// One sentence about the quiet check, for status lines.
    pub fn quiet_sentence(&self) -> String {
        let needed = show_duration(self.settings.quiet_for);
        match self.gate.latest().source_quiet_ms {
            Some(quiet_ms) => {
                let quiet = show_duration(std::time::Duration::from_millis(quiet_ms));
                format!("the source has been quiet for {quiet} of {needed}")
            }
            None => format!("the source must be quiet for {needed}"),
        }
    }
}
