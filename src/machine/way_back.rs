//! The way back of a completed migration: it begins with following, for a chosen time, and may end without being used.

use super::{effect::Effect, gate::after, state::Machine};
use crate::model::{Phase, Severity, units::show_duration};
use jiff::Timestamp;

impl Machine {
    /// Nothing is copied: both clusters were equal when the new one was opened. The time runs from now.
    pub(super) fn become_way_back(&mut self, by: &str, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Following, now);
        self.deadline = Some(after(now, self.settings.cutover_window));
        let window = show_duration(self.settings.cutover_window);
        let text = format!("way back started by {by}; the new cluster is followed into the old one for {window}");
        vec![Effect::Log(Severity::Info, "started", text), Effect::TakeUp]
    }

    /// Nobody went back: following ends, and what was held on the old cluster gets its own value again.
    pub(super) fn become_unused(&mut self, why: String, now: Timestamp) -> Vec<Effect> {
        let left = if self.phase == Phase::Paused { self.left_phase } else { Some(self.phase) };
        let mut effects: Vec<Effect> = self.become_unblocked().into_iter().collect();
        self.left_phase = left;
        self.cutover = None;
        self.enter(Phase::Cleanup, now);
        self.deadline = None;
        let text = format!("the way back was not used: {why}; the old cluster is not followed into any more");
        self.unused = Some(why);
        effects.extend([Effect::Log(Severity::Warn, "unused", text), Effect::LetGo]);
        effects
    }

    /// What was held is given back.
    pub(super) fn become_given_up(&mut self, now: Timestamp) -> Vec<Effect> {
        self.enter(Phase::Stopped, now);
        self.finished = Some(now);
        let text = "the way back is over without having been used; the new cluster stays the application's";
        vec![Effect::StopTasks, Effect::Log(Severity::Info, "stopped", text.into()), Effect::WriteReport]
    }
}
