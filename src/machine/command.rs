//! What an operator may ask for in which phase. A refusal is one sentence that says why and what would help.

use super::{
    effect::Effect,
    gate::{Gate, Settings, after},
    state::{CutoverState, Machine},
};
use crate::model::{
    CheckOrder, Command, Limit, Phase, Refusal, Severity,
    command::Consent,
    snapshot::{CutoverStep, Extension},
    units::{show_count, show_duration},
};
use jiff::Timestamp;
use std::time::Duration;

fn not_now<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::NotNow(why.into()))
}

impl Machine {
    /// Carries out a command of `by` (`user@tty`), or refuses it with the reason. Commands that the machine has no say
    /// in (`TestDestination`, `Revalidate`, `StopApplication`, `TestNotices`, `ShowDocument`) are the engine's.
    pub fn command(&mut self, command: Command, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        match command {
            Command::Validate(plan) => {
                if !matches!(self.phase, Phase::Idle | Phase::Validating) {
                    return not_now("a migration is under way; stop it before validating another");
                }
                self.settings = Settings::from(&plan.options);
                self.throttle = self.settings.throttle;
                self.validated = None;
                self.enter(Phase::Validating, now);
                Ok(vec![Effect::Validate(plan)])
            }
            Command::Start(consent) => self.start(consent, by, now),
            Command::Pause => self.pause(by, now),
            Command::Resume => self.resume(by, now),
            Command::Extend => self.extend(by, now),
            Command::PrepareCutover => self.prepare_cutover(by, now),
            Command::ContinueCutover { assume_stopped } => self.continue_cutover(assume_stopped, by, now),
            Command::GoBack => self.go_back(by, now),
            Command::SkipVerification => self.skip_verification(by, now),
            Command::ChooseCheck(order) => self.choose_check(order, by),
            Command::RepairMismatches if self.has_mismatches() => Ok(vec![Effect::RepairMismatches]),
            Command::RepairMismatches => not_now("there is nothing to repair: no finished check found a difference"),
            Command::Retry if self.has_mismatches() => {
                if let Some(cutover) = &mut self.cutover {
                    cutover.mismatches = None;
                    cutover.is_repaired = false;
                }
                Ok(vec![Effect::CheckData, Effect::Log(Severity::Info, "retry", format!("{by} asked to check again"))])
            }
            Command::Rehearse if matches!(self.phase, Phase::Following | Phase::Ready) => {
                Ok(vec![Effect::Rehearse(by.into())])
            }
            Command::Rehearse => not_now("a cutover can be rehearsed while changes are followed"),
            Command::AcceptFailedIndexes => self.accept_failed_indexes(by),
            Command::Retry => match &mut self.cutover {
                Some(cutover) if self.phase == Phase::Finalizing && !cutover.finalize_failed.is_empty() => {
                    cutover.finalize_failed.clear();
                    Ok(vec![Effect::Finalize])
                }
                _ if matches!(self.phase, Phase::Following | Phase::Ready)
                    && !self.gate.latest().failed_indexes.is_empty() =>
                {
                    let text = format!("{by} asked to build the failed indexes again");
                    Ok(vec![Effect::BuildFailedIndexes, Effect::Log(Severity::Info, "retry", text)])
                }
                _ if self.error.is_some() && !matches!(self.phase, Phase::Paused | Phase::Expired) => {
                    // Work that waits for a cure tries at once.
                    Ok(vec![Effect::TryAgain, Effect::Log(Severity::Info, "retry", format!("{by} asked to try again"))])
                }
                _ => not_now("nothing failed that could be tried again"),
            },
            Command::KeepWayBack { seconds } if self.phase == Phase::Completed => {
                Ok(vec![Effect::KeepWayBack(Duration::from_secs(seconds), by.into())])
            }
            Command::KeepWayBack { .. } => not_now("there is a way back once the migration is completed"),
            Command::Throttle(limit) => self.limit_reads(limit, by),
            Command::Stop => self.stop(by, now),
            Command::TestDestination(_)
            | Command::Revalidate
            | Command::StopApplication
            | Command::TestNotices
            | Command::ShowDocument { .. } => Ok(Vec::new()),
        }
    }

    fn start(&mut self, consent: Consent, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        if self.phase != Phase::Validating {
            return not_now(match self.phase {
                Phase::Idle => "validate first",
                _ => "the migration has already been started",
            });
        }
        let Some((passed, warnings, would_drop)) = self.validated else {
            return not_now("the checks are still running");
        };
        if !passed {
            return not_now("a check failed; mend it and validate again");
        }
        if warnings && !consent.warnings {
            return not_now("accept the warnings of the validation first");
        }
        if would_drop && !consent.clear_destination {
            return not_now("the destination holds data; agree to dropping it by typing its name first");
        }
        self.started = Some(now);
        if self.settings.is_way_back {
            return Ok(self.become_way_back(by, now));
        }
        let log = Effect::Log(Severity::Info, "started", format!("migration started by {by}"));
        let (phase, first) = if would_drop { (Phase::Clearing, Effect::Clear) } else { (Phase::Copying, Effect::Copy) };
        self.enter(phase, now);
        Ok(vec![log, first])
    }

    fn pause(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        match self.phase {
            Phase::Copying | Phase::Following | Phase::Ready => {
                // After a pause the gate has to be earned again, so a ready migration goes back to following.
                let left = if self.phase == Phase::Ready { Phase::Following } else { self.phase };
                self.left_phase = Some(left);
                self.paused_by = Some(by.into());
                self.enter(Phase::Paused, now);
                let text = format!("paused by {by}; changes are still fetched into the spool");
                Ok(vec![Effect::CloseGate, Effect::Log(Severity::Warn, "paused", text)])
            }
            Phase::Indexing => not_now("index builds run on the destination server and cannot pause"),
            Phase::Paused if self.paused_by.is_none() => {
                self.paused_by = Some(by.into());
                let text = format!("paused by {by}; it stays paused when the cause is gone");
                Ok(vec![Effect::CloseGate, Effect::Log(Severity::Warn, "paused", text)])
            }
            Phase::Paused => not_now("the migration is paused already"),
            Phase::Cutover | Phase::Finalizing | Phase::Cleanup => not_now("not during the cutover; go back first"),
            _ => not_now("no migration is syncing"),
        }
    }

    fn resume(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let Some(left) = self.left_phase.filter(|_| matches!(self.phase, Phase::Paused | Phase::Expired)) else {
            return not_now("the migration is neither paused nor expired");
        };
        if self.is_lost && self.phase == Phase::Paused {
            return Ok(self.compare_again(by, now));
        }
        let mut effects = vec![Effect::OpenGate, Effect::TryAgain];
        self.paused_by = None;
        if self.error.is_some() {
            // Whatever stands in the way is tried again now; what still stands pauses it again.
            effects.push(Effect::Log(Severity::Info, "resumed", format!("{by} asked to try again")));
            return Ok(effects);
        }
        if self.phase == Phase::Expired {
            // The next ready starts a new window.
            self.deadline = None;
        }
        self.left_phase = None;
        self.enter(left, now);
        // What was measured before the halt says nothing about now.
        self.gate = Gate::default();
        effects.append(&mut self.held);
        effects.push(Effect::Log(Severity::Info, "resumed", format!("resumed by {by}")));
        Ok(effects)
    }

    fn extend(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let Some(deadline) = self.deadline else {
            return not_now("the cutover timer has not started");
        };
        if !matches!(self.phase, Phase::Following | Phase::Ready | Phase::Paused | Phase::Cutover) {
            return not_now(match self.phase {
                Phase::Expired => "the window has passed already; resume syncing instead",
                _ => "the cutover timer no longer runs",
            });
        }
        let new_deadline = after(deadline, self.settings.extend_by);
        self.deadline = Some(new_deadline);
        self.extensions.push(Extension { by: by.into(), at: now, new_deadline });
        let added = show_duration(self.settings.extend_by);
        let text = format!("{by} extended the cutover window by {added}; it ends {new_deadline:.0}");
        Ok(vec![Effect::Log(Severity::Info, "extended", text)])
    }

    fn prepare_cutover(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        if !self.can_cutover(now) {
            return not_now(self.cutover_blocked_by(now).join("; "));
        }
        self.enter(Phase::Cutover, now);
        self.cutover = Some(CutoverState {
            step: CutoverStep::StopApplication,
            started: now,
            cutover_ts: None,
            waiting_by: None,
            source_blocked: false,
            assumed_stopped_by: None,
            late_write: None,
            mismatches: None,
            is_repaired: false,
            check: self.settings.check,
            is_finalized: false,
            finalize_failed: Vec::new(),
            differences: None,
            destination_ts: None,
            opened: None,
        });
        Ok(vec![Effect::Log(Severity::Info, "cutover", format!("cutover begun by {by}; nothing has changed yet"))])
    }

    fn continue_cutover(&mut self, assume_stopped: bool, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let quiet = self.gate.latest().source_quiet_ms.map(Duration::from_millis);
        let needed = self.settings.quiet_for;
        let phase = self.phase;
        let Some(cutover) = &mut self.cutover else {
            return not_now("the cutover has not begun");
        };
        match (phase, cutover.step) {
            (Phase::Cutover, CutoverStep::StopApplication) => {
                let open = !self.gate.latest().open_transactions.is_empty();
                let is_quiet = quiet.is_some_and(|quiet| quiet >= needed) && !open;
                if self.settings.blocks_source && !assume_stopped {
                    cutover.waiting_by = Some(by.into());
                    let text = format!("{by} pressed Continue: user writes are being blocked on the source");
                    return Ok(vec![Effect::BlockSource, Effect::Log(Severity::Info, "block", text)]);
                }
                if !is_quiet && !assume_stopped {
                    cutover.waiting_by = Some(by.into());
                    let text = format!(
                        "{by} pressed Continue; the step goes on when the source has been without a write for {} and no \
                         transaction is open",
                        show_duration(needed)
                    );
                    return Ok(vec![Effect::Log(Severity::Info, "waiting", text)]);
                }
                let mut effects = Vec::new();
                if is_quiet {
                    cutover.waiting_by = Some(by.into());
                } else {
                    cutover.assumed_stopped_by = Some(by.into());
                    let text = format!("{by} overrode the quiet check; the drain is still proven");
                    effects.push(Effect::Log(Severity::Warn, "override", text));
                }
                effects.extend(self.become_draining());
                Ok(effects)
            }
            (Phase::Finalizing, CutoverStep::Finalize) if !cutover.finalize_failed.is_empty() => {
                let count = show_count(cutover.finalize_failed.len() as u64);
                // The application may have gone on while somebody thought about what failed.
                if let Some(effects) = self.reopen_on_late_write() {
                    self.enter(Phase::Cutover, now);
                    return Ok(effects);
                }
                let mut effects = self.become_open(now);
                let text =
                    format!("{by} went on although not everything is as on the source ({count} named in the report)");
                effects.insert(0, Effect::Log(Severity::Warn, "accepted", text));
                Ok(effects)
            }
            _ => not_now("this step completes by itself"),
        }
    }

    fn accept_failed_indexes(&mut self, by: &str) -> Result<Vec<Effect>, Refusal> {
        let missing = self.gate.missing_indexes(&self.accepted_indexes);
        if missing.is_empty() {
            return not_now("no index is missing that has not been accepted");
        }
        let text = format!("{by} accepted that the destination lacks: {}", missing.join(", "));
        self.accepted_indexes.extend(missing);
        Ok(vec![Effect::Log(Severity::Warn, "accepted", text)])
    }

    fn go_back(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let Some(cutover) = self.cutover.as_ref().filter(|_| self.phase == Phase::Cutover) else {
            return not_now(match self.phase {
                Phase::Finalizing => "the destination is being finalized; it can no longer be undone by going back",
                Phase::Cleanup | Phase::Completed => "the destination has been opened for writes",
                _ => "no cutover is under way",
            });
        };
        let mut effects = Vec::new();
        if cutover.step != CutoverStep::StopApplication {
            effects.push(Effect::FollowAgain);
        }
        effects.extend(self.become_unblocked());
        self.cutover = None;
        self.enter(Phase::Following, now);
        effects.push(Effect::Log(Severity::Info, "back", format!("{by} left the cutover; syncing continues")));
        Ok(effects)
    }

    fn choose_check(&mut self, order: CheckOrder, by: &str) -> Result<Vec<Effect>, Refusal> {
        if !self.settings.verify {
            return not_now("the plan switched verification off");
        }
        let text = match order {
            CheckOrder::First => "check first, then open",
            CheckOrder::After => "open first; the result of the check arrives later",
        };
        match &mut self.cutover {
            Some(cutover)
                if self.phase == Phase::Cutover
                    && matches!(cutover.step, CutoverStep::StopApplication | CutoverStep::Drain) =>
            {
                cutover.check = order;
                Ok(vec![Effect::Log(Severity::Info, "check", format!("{by} chose: {text}"))])
            }
            Some(_) => not_now("the last changes are applied; the order is fixed for this cutover"),
            None => not_now("it is chosen in the cutover, which has not begun"),
        }
    }

    /// A finished check found differences, and the cutover waits for somebody to decide.
    fn has_mismatches(&self) -> bool {
        self.cutover.as_ref().is_some_and(|cutover| {
            matches!(cutover.step, CutoverStep::CheckData | CutoverStep::CheckOpened)
                && cutover.mismatches.is_some_and(|count| count > 0)
        })
    }

    fn skip_verification(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let step = self.cutover.as_ref().map(|cutover| cutover.step);
        if !matches!(step, Some(CutoverStep::CheckData | CutoverStep::CheckOpened)) {
            return not_now("verification can be skipped only while the cutover waits for it");
        }
        self.verification_skipped_by = Some(by.into());
        let text = format!("{by} gave up the rest of the verification; the report says so");
        let mut effects = vec![Effect::Log(Severity::Warn, "skipped", text)];
        effects.extend(match step {
            Some(CutoverStep::CheckOpened) => self.become_cleaning_up(),
            _ => self.become_finalizing(now),
        });
        Ok(effects)
    }

    /// Refused when nothing will be read from the source any more.
    fn limit_reads(&mut self, limit: Limit, by: &str) -> Result<Vec<Effect>, Refusal> {
        let is_checking = self.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::CheckOpened);
        match self.phase {
            Phase::Idle | Phase::Validating => {
                return not_now("the migration has not been started; until then the plan's throttle says it");
            }
            Phase::Cleanup if !is_checking => return not_now("nothing is read from the source any more"),
            Phase::Completed | Phase::Stopped | Phase::Failed => return not_now("the migration is over"),
            _ => {}
        }
        let before = std::mem::replace(&mut self.throttle, limit);
        if before == limit {
            return Ok(Vec::new());
        }
        let text = format!("{by} changed the limit on source reads from {before} to {limit}");
        Ok(vec![Effect::Throttle(limit), Effect::Log(Severity::Info, "throttle", text)])
    }

    fn stop(&mut self, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        match self.phase {
            Phase::Cleanup => return not_now("the destination accepts writes already; cleanup is finishing"),
            Phase::Completed | Phase::Stopped | Phase::Failed => return not_now("the migration is over"),
            Phase::Idle => return not_now("no migration has been started"),
            _ => {}
        }
        if self.phase == Phase::Validating {
            self.enter(Phase::Idle, now);
            return Ok(vec![Effect::StopTasks]);
        }
        if self.settings.is_way_back && self.unused.is_none() {
            return Ok(self.become_unused(format!("stopped by {by}"), now));
        }
        self.left_phase = if self.phase == Phase::Paused { self.left_phase } else { Some(self.phase) };
        self.enter(Phase::Stopped, now);
        self.finished = Some(now);
        let mut effects: Vec<Effect> = self.become_unblocked().into_iter().collect();
        let text = format!("stopped by {by}; the destination keeps what it has");
        effects.extend([Effect::StopTasks, Effect::Log(Severity::Warn, "stopped", text), Effect::WriteReport]);
        Ok(effects)
    }
}
