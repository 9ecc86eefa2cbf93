//! When somebody who is not at the terminal has to be told. Each thing is told once.

use super::{
    effect::Effect,
    gate::{after, between},
    state::Machine,
};
use crate::model::{Phase, notice::NoticeKind, snapshot::CutoverStep, units::show_duration};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A pause that lasts no longer is not worth waking somebody.
const SHORT_PAUSE: Duration = Duration::from_secs(300);

/// What was told already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The present window is known.
    ready: bool,
    /// The end of the window that was warned of, and how long before.
    warned: Option<(Timestamp, Duration)>,
    /// The beginning of the cutover that takes long.
    long_cutover: Option<Timestamp>,
    /// The phase that was told last, while it lasts.
    phase: Option<Phase>,
}

impl Machine {
    /// What has to be told now.
    pub(super) fn notices(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut notices = Vec::new();
        notices.extend(self.phase_notice(now));
        notices.extend(self.ready_notice());
        notices.extend(self.window_notice(now));
        notices.extend(self.long_cutover_notice(now));
        notices.into_iter().map(|(kind, text)| Effect::Notify(kind, text)).collect()
    }

    fn phase_notice(&mut self, now: Timestamp) -> Option<(NoticeKind, String)> {
        let why = || self.error.as_ref().map_or_else(String::new, |problem| format!(": {problem}"));
        let notice = match self.phase {
            Phase::Expired => {
                (NoticeKind::Expired, "the cutover window passed; syncing stopped, nothing is lost".into())
            }
            Phase::Failed => (NoticeKind::Failed, format!("the migration failed{}", why())),
            Phase::Completed => (NoticeKind::Completed, "the migration completed".into()),
            Phase::Paused if self.paused_by.is_none() && between(self.since, now) >= SHORT_PAUSE => {
                (NoticeKind::Paused, format!("the migration waits{}", why()))
            }
            Phase::Paused => return None,
            _ => {
                self.told.phase = None;
                return None;
            }
        };
        let is_new = self.told.phase != Some(self.phase);
        self.told.phase = Some(self.phase);
        is_new.then_some(notice)
    }

    fn ready_notice(&mut self) -> Option<(NoticeKind, String)> {
        if self.deadline.is_none() {
            self.told.ready = false;
            return None;
        }
        if self.phase != Phase::Ready || std::mem::replace(&mut self.told.ready, true) {
            return None;
        }
        let window = show_duration(self.settings.cutover_window);
        Some((NoticeKind::Ready, format!("ready to cut over; the {window} window has begun")))
    }

    fn window_notice(&mut self, now: Timestamp) -> Option<(NoticeKind, String)> {
        let deadline = self.deadline?;
        let runs = match (self.phase, &self.cutover) {
            (Phase::Following | Phase::Ready | Phase::Paused, _) => true,
            (Phase::Cutover, Some(cutover)) => cutover.step == CutoverStep::StopApplication,
            _ => false,
        };
        let left = between(now, deadline);
        if !runs || left.is_zero() {
            return None;
        }
        // A window that begins shorter than a warning needs none: its beginning was told.
        let is_due = |before: &&Duration| left <= **before && **before < self.settings.cutover_window;
        let before = *self.settings.warn_before.iter().filter(is_due).min()?;
        let is_told = self.told.warned.is_some_and(|(end, told)| end == deadline && told <= before);
        if is_told {
            return None;
        }
        self.told.warned = Some((deadline, before));
        let text = format!("{} left to cut over; the window ends {deadline:.0}", show_duration(left));
        Some((NoticeKind::WindowEnds, text))
    }

    fn long_cutover_notice(&mut self, now: Timestamp) -> Option<(NoticeKind, String)> {
        let cutover = self.cutover.as_ref()?;
        let is_open = matches!(self.phase, Phase::Cutover | Phase::Finalizing);
        let is_long = now >= after(cutover.started, self.settings.long_cutover);
        if !is_open || !is_long || self.told.long_cutover == Some(cutover.started) {
            return None;
        }
        self.told.long_cutover = Some(cutover.started);
        let text = format!("the cutover has been in progress for {}", show_duration(between(cutover.started, now)));
        Some((NoticeKind::LongCutover, text))
    }
}
