//! Pauses that nobody asked for: a cause outside of mongoferry stands in the way, and its end lifts them.

use super::{effect::Effect, gate::Gate, state::Machine};
use crate::model::{Phase, Problem, Severity};
use jiff::Timestamp;

impl Machine {
    /// Tasks wait. From the cutover on the phase stays what it is, because its steps must not be mistaken for a pause;
    /// the reason is shown beside it.
    pub(super) fn become_hindered(&mut self, problem: Problem, now: Timestamp) -> Vec<Effect> {
        if self.phase.is_over() || self.waits_for_operator() || self.error.as_ref() == Some(&problem) {
            return Vec::new();
        }
        self.error = Some(problem);
        let left = match self.phase {
            // What was ready has to earn its gate again.
            Phase::Ready => Phase::Following,
            Phase::Clearing | Phase::Copying | Phase::Indexing | Phase::Following => self.phase,
            _ => return Vec::new(),
        };
        self.left_phase = Some(left);
        self.enter(Phase::Paused, now);
        let text = "paused until the cause is gone; nothing is skipped";
        vec![Effect::Log(Severity::Warn, "paused", text.into())]
    }

    /// Nothing more can be applied. The operator decides when everything is compared again.
    pub(super) fn become_lost(&mut self, problem: Problem, now: Timestamp) -> Vec<Effect> {
        if self.phase.is_over() || self.phase == Phase::Cleanup {
            return Vec::new();
        }
        let text = problem.to_string();
        self.error = Some(problem);
        self.is_lost = true;
        self.left_phase = Some(Phase::Copying);
        self.cutover = None;
        self.held.clear();
        self.enter(Phase::Paused, now);
        vec![Effect::CloseGate, Effect::Log(Severity::Error, "oplog-lost", text)]
    }

    fn waits_for_operator(&self) -> bool {
        self.is_lost && self.phase == Phase::Paused
    }

    /// The way back from a lost oplog.
    pub(super) fn compare_again(&mut self, by: &str, now: Timestamp) -> Vec<Effect> {
        (self.error, self.paused_by, self.left_phase) = (None, None, None);
        self.gate = Gate::default();
        self.verification_begun = false;
        self.enter(Phase::Copying, now);
        let text = format!("{by} resumed: what was copied is compared with the source and repaired where it differs");
        vec![Effect::Log(Severity::Warn, "comparing", text), Effect::CompareAgain]
    }

    pub(super) fn become_relieved(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.phase.is_over() || self.waits_for_operator() || self.error.take().is_none() {
            return Vec::new();
        }
        let log = Effect::Log(Severity::Info, "resumed", "nothing stands in the way any more".into());
        match self.left_phase {
            Some(left) if self.phase == Phase::Paused && self.paused_by.is_none() => {
                self.left_phase = None;
                self.enter(left, now);
                self.gate = Gate::default();
                let mut effects = vec![log];
                effects.append(&mut self.held);
                effects
            }
            _ => vec![log],
        }
    }
}
