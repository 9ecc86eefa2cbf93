//! What of a migration survives a restart, and how it goes on from there.

use super::{
    effect::Effect,
    gate::Settings,
    notice::Told,
    state::{CutoverState, Machine},
};
use crate::model::{Limit, Optime, Phase, Problem, Repaired, Severity, snapshot::CutoverStep, snapshot::Extension};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The part of the state that is written to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
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
    /// When syncing stops unless the operator cuts over or extends.
    pub deadline: Option<Timestamp>,
    /// Every "Extend time".
    pub extensions: Vec<Extension>,
    /// The guided cutover, once begun.
    pub cutover: Option<CutoverState>,
    /// Who gave up the verification.
    pub verification_skipped_by: Option<String>,
    /// Documents that were copied again and are equal now.
    #[serde(default)]
    pub repaired: Repaired,
    /// Indexes that an operator accepted to be missing.
    #[serde(default)]
    pub accepted_indexes: Vec<String>,
    /// The error that ended it, or what it waits for.
    pub error: Option<Problem>,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// The source's oplog lost what is needed next.
    pub is_lost: bool,
    /// Why the way back ends without being used.
    #[serde(default)]
    pub unused: Option<String>,
    /// The limit on source reads; `None`: as the plan says.
    #[serde(default)]
    pub throttle: Option<Limit>,
    /// What somebody who is not at the terminal was told.
    #[serde(default)]
    pub told: Told,
}

impl Saved {
    /// False when there is nothing to go on with.
    pub fn can_go_on(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Validating | Phase::Completed | Phase::Stopped)
    }
}

impl Machine {
    /// What has to be written so that a restart goes on from here.
    pub fn saved(&self) -> Saved {
        Saved {
            phase: self.phase,
            left_phase: self.left_phase,
            since: self.since,
            started: self.started,
            finished: self.finished,
            deadline: self.deadline,
            extensions: self.extensions.clone(),
            cutover: self.cutover.clone(),
            verification_skipped_by: self.verification_skipped_by.clone(),
            repaired: self.repaired.clone(),
            accepted_indexes: self.accepted_indexes.clone(),
            error: self.error.clone(),
            paused_by: self.paused_by.clone(),
            is_lost: self.is_lost,
            unused: self.unused.clone(),
            throttle: Some(self.throttle),
            told: self.told.clone(),
        }
    }

    /// The migration as it was when its engine ended, and what has to be done to go on. The phase whose work was under
    /// way does that work again; every piece of it may be repeated. A pause of the operator and an expiry stay.
    pub fn restore(settings: Settings, saved: Saved, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut machine = Self {
            phase: saved.phase,
            left_phase: saved.left_phase,
            since: saved.since,
            started: saved.started,
            deadline: saved.deadline,
            extensions: saved.extensions,
            cutover: saved.cutover,
            verification_skipped_by: saved.verification_skipped_by,
            repaired: saved.repaired,
            accepted_indexes: saved.accepted_indexes,
            paused_by: saved.paused_by,
            is_lost: saved.is_lost,
            unused: saved.unused,
            throttle: saved.throttle.unwrap_or(settings.throttle),
            told: saved.told,
            ..Self::new(settings, now)
        };
        let left = saved.left_phase.unwrap_or(Phase::Copying);
        let work = match saved.phase {
            Phase::Paused | Phase::Expired | Phase::Failed => left,
            // What was measured before the restart says nothing about now.
            Phase::Ready => Phase::Following,
            phase => phase,
        };
        let is_held = saved.phase == Phase::Expired || (saved.phase == Phase::Paused && machine.paused_by.is_some());
        let mut effects = Vec::new();
        if machine.is_lost && saved.phase == Phase::Paused {
            machine.error = saved.error;
            return (machine, effects);
        }
        if is_held {
            effects.push(Effect::CloseGate);
        } else if machine.phase != work {
            machine.left_phase = None;
            machine.enter(work, now);
        }
        let text = format!("the engine was started again; going on with {work}");
        effects.push(Effect::Log(Severity::Info, "restarted", text));
        effects.extend(machine.work_of(work));
        (machine, effects)
    }

    fn work_of(&mut self, phase: Phase) -> Vec<Effect> {
        match phase {
            Phase::Clearing => vec![Effect::Clear],
            Phase::Copying if self.is_lost => vec![Effect::CompareAgain],
            Phase::Copying => vec![Effect::Copy],
            Phase::Indexing => vec![Effect::BuildIndexes],
            Phase::Cutover => {
                let mut effects = vec![Effect::Follow];
                effects.extend(self.drain_again());
                effects
            }
            Phase::Finalizing => vec![Effect::Finalize],
            Phase::Cleanup if self.unused.is_some() => vec![Effect::LetGo],
            Phase::Cleanup => match &mut self.cutover {
                Some(cutover) if cutover.step == CutoverStep::CheckOpened => {
                    cutover.mismatches = None;
                    vec![Effect::CheckData]
                }
                _ => vec![Effect::CleanUp],
            },
            _ => vec![Effect::Follow],
        }
    }

    /// The drain is proven again, and the check that follows it is made again.
    fn drain_again(&mut self) -> Option<Effect> {
        let cutover = self.cutover.as_mut()?;
        if cutover.step == CutoverStep::StopApplication {
            return (cutover.waiting_by.is_some() && self.settings.blocks_source).then_some(Effect::BlockSource);
        }
        cutover.step = CutoverStep::Drain;
        cutover.mismatches = None;
        Some(cutover.cutover_ts.map_or(Effect::FixCutover, |ts: Optime| Effect::DrainTo(ts)))
    }
}
