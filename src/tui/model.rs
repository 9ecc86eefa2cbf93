//! Everything that the wizard knows at one moment: the newest snapshot, the screens, what lies over them.

use super::{
    action::Screen,
    screen::{Screens, View, confirm, help, log},
    theme::{Glyphs, Theme},
    widget::text,
};
use crate::{
    model::{
        Event, Phase, Snapshot,
        snapshot::{Cutover, CutoverStep},
        units::show_duration,
    },
    session::Link,
};
use jiff::Timestamp;
use std::sync::Arc;

/// How many events the wizard keeps.
pub const MOST_EVENTS: usize = 5_000;

/// How the wizard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The operator left.
    Left,
    /// A signal asked the program to end.
    Signalled,
    /// The terminal is gone; nothing can be written to it any more.
    HungUp,
}

/// What lies over the screen.
#[derive(Debug)]
pub enum Overlay {
    /// The keys.
    Help(help::State),
    /// The event log.
    Log(log::State),
    /// A question.
    Confirm(Box<confirm::State>),
}

/// The state of the wizard.
#[derive(Debug)]
pub struct Model {
    /// The newest snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The newest events, oldest first.
    pub events: Vec<Event>,
    /// Styles by meaning.
    pub theme: Theme,
    /// Glyph set.
    pub glyphs: Glyphs,
    /// The time to count from.
    pub now: Timestamp,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What is shown.
    pub screen: Screen,
    /// The states of the screens.
    pub screens: Screens,
    /// What lies over the screen.
    pub overlay: Option<Overlay>,
    /// Said on the status line until the next key.
    pub said: Option<String>,
    /// What was asked of the engine and is not answered, and since when.
    pub waiting: Option<(&'static str, Timestamp)>,
    /// The engine is gone; the snapshot is the last one known.
    pub engine_gone: bool,
    /// How the engine can be reached; while it is lost the snapshot is the last one known.
    pub link: Link,
    /// The engine lives in another process and goes on when the wizard ends.
    pub is_detached: bool,
    /// Nothing may be asked of the engine.
    pub watches: bool,
    /// The screen is left for a plain text; Enter comes back.
    pub in_plain_view: bool,
    /// The mouse moves and presses; otherwise the terminal selects text with it.
    pub mouse: bool,
    /// The screen follows the phase; false while the operator looks at another one.
    pub follows: bool,
    /// How the wizard ends, once it does.
    pub outcome: Option<Outcome>,
}

impl Model {
    /// A model that shows the screen of `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>, events: Vec<Event>, look: (Theme, Glyphs), now: Timestamp) -> Self {
        let screen = home(&snapshot).unwrap_or(match snapshot.phase {
            Phase::Validating => Screen::Validate,
            _ => Screen::Destination,
        });
        Self {
            snapshot,
            events,
            theme: look.0,
            glyphs: look.1,
            now,
            size: (80, 24),
            screen,
            screens: Screens::default(),
            overlay: None,
            said: None,
            waiting: None,
            engine_gone: false,
            link: Link::Up,
            is_detached: false,
            watches: false,
            in_plain_view: false,
            mouse: false,
            follows: true,
            outcome: None,
        }
    }

    /// What a screen may look at.
    pub fn view(&self) -> View<'_> {
        View { snapshot: &self.snapshot, events: &self.events, theme: &self.theme, glyphs: &self.glyphs, now: self.now }
    }

    /// Calls `act` with the screens, which it may change, and a view of everything else.
    pub fn with_screens<T>(&mut self, act: impl FnOnce(&mut Screens, &View<'_>) -> T) -> T {
        let view = View {
            snapshot: &self.snapshot,
            events: &self.events,
            theme: &self.theme,
            glyphs: &self.glyphs,
            now: self.now,
        };
        act(&mut self.screens, &view)
    }

    /// True while the mouse's reports are wanted; the plain view is there for selecting with it.
    pub fn takes_mouse(&self) -> bool {
        self.mouse && !self.in_plain_view
    }

    /// True once Start Migration was accepted.
    pub fn is_started(&self) -> bool {
        home(&self.snapshot).is_some()
    }

    /// Why nothing can be asked of the engine now.
    pub fn out_of_reach(&self) -> Option<String> {
        if self.watches {
            return Some("You only watch; attach without --watch to act.".into());
        }
        if self.engine_gone {
            return Some("The engine has ended; nothing can be asked of it.".into());
        }
        match self.link {
            Link::Lost { since, .. } => {
                let lost = show_duration(text::between(since, self.now));
                Some(format!("Not now: the engine was lost {lost} ago; the wizard tries to reach it again."))
            }
            Link::Up | Link::Ended => None,
        }
    }

    /// The engine is gone while its migration is not over: a new one can take it up.
    pub fn is_orphaned(&self) -> bool {
        matches!(self.link, Link::Lost { is_dead: true, .. }) && self.is_started() && !self.snapshot.phase.is_over()
    }

    /// True while leaving the wizard would end a migration.
    pub fn ends_with_wizard(&self) -> bool {
        self.is_running() && !self.is_detached
    }

    /// True while a migration is under way.
    pub fn is_running(&self) -> bool {
        self.is_started() && !self.snapshot.phase.is_over() && !self.engine_gone
    }

    /// True while letters go into a field.
    pub fn is_typing(&self) -> bool {
        match &self.overlay {
            Some(Overlay::Confirm(question)) => question.is_typing(),
            Some(Overlay::Log(log)) => log.is_typing(),
            Some(Overlay::Help(_)) => false,
            None => self.screens.is_typing(self.screen),
        }
    }

    /// True while a paste should arrive as one: only then does the terminal announce pastes.
    pub fn takes_paste(&self) -> bool {
        match &self.overlay {
            Some(Overlay::Confirm(question)) => question.is_typing(),
            Some(_) => false,
            None => self.screens.takes_paste(self.screen),
        }
    }

    /// True while something visible changes with the clock alone.
    pub fn needs_clock(&self) -> bool {
        let testing = self.snapshot.destination_test.as_ref().is_some_and(|test| test.running);
        let is_lost = self.link != Link::Up;
        !self.in_plain_view && (is_lost || self.is_running() || self.waiting.is_some() || testing)
    }
}

/// The screen of a phase; `None` before Start.
pub fn home(snapshot: &Snapshot) -> Option<Screen> {
    Some(match snapshot.phase {
        Phase::Idle | Phase::Validating => return None,
        Phase::Paused => match snapshot.left_phase {
            Some(Phase::Following | Phase::Ready) => Screen::Following,
            Some(Phase::Cutover) => cutover(snapshot.cutover.as_ref()),
            Some(Phase::Finalizing | Phase::Cleanup) => Screen::Finalising,
            _ => Screen::Migrating,
        },
        Phase::Clearing | Phase::Copying | Phase::Indexing | Phase::Stopped | Phase::Failed => Screen::Migrating,
        Phase::Following | Phase::Ready => Screen::Following,
        Phase::Expired => Screen::Countdown,
        Phase::Cutover => cutover(snapshot.cutover.as_ref()),
        Phase::Finalizing | Phase::Cleanup => Screen::Finalising,
        // The walk-through ends with the connect page; its Done opens the success report.
        Phase::Completed if snapshot.connect.is_some() => Screen::ConnectNew,
        Phase::Completed => Screen::Success,
    })
}

fn cutover(cutover: Option<&Cutover>) -> Screen {
    match cutover.map(|cutover| cutover.step) {
        None | Some(CutoverStep::StopApplication | CutoverStep::Drain) => Screen::StopApplication,
        Some(CutoverStep::CheckData) => Screen::CheckData,
        Some(CutoverStep::Finalize | CutoverStep::CheckOpened | CutoverStep::Open) => Screen::Finalising,
    }
}
