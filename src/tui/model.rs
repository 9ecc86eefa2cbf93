//! The wizard's own state: which screen, what is typed, what was said. Everything about the migration is the snapshot's.

use super::{
    GlyphChoice, ThemeChoice, WizardOptions,
    action::{Action, Screen},
    screen::{
        View, check_data, confirm, connect, connect_new, countdown, destination, finalising, following, log, migrating,
        prepare, stop_application, success, validate,
    },
    terminal,
    theme::{Glyphs, Theme},
};
use crate::{
    model::{Endpoint, Event, Phase, Plan, Snapshot, snapshot::CutoverStep},
    profiles,
};
use jiff::Timestamp;
use std::sync::Arc;

/// Events kept for the log screen.
const EVENTS: usize = 5_000;

/// What lies over the screen.
#[derive(Debug)]
pub enum Overlay {
    /// Keys of this screen and everywhere; the first line shown.
    Help(usize),
    /// The event log.
    Log(log::State),
    /// A typed confirmation.
    Confirm(confirm::State),
}

/// The state of every screen.
#[derive(Debug, Default)]
pub struct Screens {
    /// 4.1
    pub destination: destination::State,
    /// 4.2
    pub prepare: prepare::State,
    /// 4.3
    pub connect: connect::State,
    /// 4.4
    pub validate: validate::State,
    /// 4.5
    pub migrating: migrating::State,
    /// 4.6
    pub following: following::State,
    /// 4.7
    pub countdown: countdown::State,
    /// 4.8
    pub stop_application: stop_application::State,
    /// 4.9
    pub finalising: finalising::State,
    /// 4.10
    pub check_data: check_data::State,
    /// 4.11
    pub connect_new: connect_new::State,
    /// 4.12
    pub success: success::State,
}

/// The wizard.
#[derive(Debug)]
pub struct Wizard {
    /// The screen that is shown.
    pub screen: Screen,
    /// The screen that the migration itself asks for; opened whenever it changes.
    pub wanted: Option<Screen>,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// The screens' own state.
    pub screens: Screens,
    /// Said on the status line until the next key.
    pub message: Option<String>,
    /// The chosen destination: its name and how to reach it.
    pub destination: Option<(String, Endpoint)>,
    /// Newest snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Newest events.
    pub events: Vec<Event>,
    /// Number of the newest event.
    pub last_event: u64,
    /// Styles.
    pub theme: Theme,
    /// Glyphs.
    pub glyphs: Glyphs,
    /// The time to count from.
    pub now: Timestamp,
    /// The engine does not answer any more.
    pub engine_gone: bool,
    /// The loop shall end.
    pub left: bool,
}

impl Wizard {
    /// Opens at the first screen, or where the migration is.
    pub fn new(snapshot: Arc<Snapshot>, options: WizardOptions, now: Timestamp) -> Self {
        let glyphs = match options.look.glyphs {
            Some(GlyphChoice::Ascii) => Glyphs::ASCII,
            Some(GlyphChoice::Unicode) => Glyphs::UNICODE,
            None if terminal::speaks_unicode() => Glyphs::UNICODE,
            None => Glyphs::ASCII,
        };
        let theme = match options.look.theme {
            Some(ThemeChoice::Sixteen) => Theme::sixteen(),
            Some(ThemeChoice::Mono) => Theme::mono(),
            None if terminal::wants_no_color() => Theme::mono(),
            None => Theme::sixteen(),
        };
        let mut screens = Screens {
            destination: destinations(options.prefill.as_ref()),
            prepare: prepare::State::inside(terminal::multiplexer()),
            ..Screens::default()
        };
        if let Some(plan) = &options.prefill {
            screens.connect = connect::State::prefilled(plan);
        }
        let mut wizard = Self {
            screen: Screen::Destination,
            wanted: None,
            overlay: None,
            screens,
            message: None,
            destination: None,
            snapshot,
            events: Vec::new(),
            last_event: 0,
            theme,
            glyphs,
            now,
            engine_gone: false,
            left: false,
        };
        wizard.follow_phase();
        wizard
    }

    /// What screens look at.
    pub fn view(&self) -> View<'_> {
        View { snapshot: &self.snapshot, events: &self.events, theme: &self.theme, glyphs: &self.glyphs, now: self.now }
    }

    /// Takes new events.
    pub fn take_events(&mut self, events: Vec<Event>) {
        self.last_event = events.last().map_or(self.last_event, |event| event.seq);
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(EVENTS);
        self.events.drain(..surplus);
    }

    /// Takes a new snapshot; the screen follows the migration when its phase asks for another one.
    pub fn take_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
        if let Some(test) = &self.snapshot.destination_test {
            self.screens.destination.notice(test);
        }
        self.follow_phase();
    }

    fn follow_phase(&mut self) {
        let wanted = wanted_screen(&self.snapshot);
        if wanted != self.wanted
            && let Some(screen) = wanted
        {
            self.screen = screen;
            // A question about a state that is gone must not be answered by accident.
            if matches!(self.overlay, Some(Overlay::Confirm(_))) {
                self.overlay = None;
            }
        }
        self.wanted = wanted;
    }

    /// True while letters go into a field.
    pub fn is_typing(&self) -> bool {
        match &self.overlay {
            Some(Overlay::Confirm(_)) => true,
            Some(Overlay::Log(log)) => log.is_typing(),
            Some(Overlay::Help(_)) => false,
            None => match self.screen {
                Screen::Destination => self.screens.destination.is_typing(),
                Screen::Connect => self.screens.connect.is_typing(),
                Screen::Migrating => self.screens.migrating.is_typing(),
                _ => false,
            },
        }
    }

    /// True while a paste has a place to go.
    pub fn takes_paste(&self) -> bool {
        self.overlay.is_none() && matches!(self.screen, Screen::Destination | Screen::Connect) && self.is_typing()
    }

    /// True while work on the clusters would end with the wizard.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.snapshot.phase, Phase::Idle | Phase::Validating) && !self.snapshot.phase.is_over()
    }

    /// Asks before something that cannot be undone.
    pub fn ask(&mut self, confirmation: super::action::Confirmation) {
        self.overlay = Some(Overlay::Confirm(confirm::State::new(confirmation, self.now)));
    }

    /// What leaving means now.
    pub fn leave(&mut self) -> Option<Action> {
        if self.is_under_way() {
            let confirmation = leaving(&self.snapshot);
            self.ask(confirmation);
            return None;
        }
        Some(Action::Leave)
    }
}

fn leaving(snapshot: &Snapshot) -> super::action::Confirmation {
    let kept = if snapshot.can_write {
        "The destination accepts writes already; only the clean-up would be left undone."
    } else {
        "The destination keeps what it has and will be OUT OF DATE. The source is not touched."
    };
    super::action::Confirmation {
        title: "Leave the wizard? The migration ends with it.".into(),
        body: vec![
            "This version runs the migration inside the wizard: it cannot be detached,".into(),
            "and it cannot be continued later.".into(),
            kept.into(),
            "To keep it running, cancel and leave this terminal open (tmux, screen).".into(),
        ],
        expected: "leave".into(),
        expected_label: "leave".into(),
        button: "End the migration".into(),
        then: Box::new(Action::Leave),
    }
}

fn destinations(prefill: Option<&Plan>) -> destination::State {
    let (saved, unreadable) = match profiles::load() {
        Ok(saved) => (saved, None),
        Err(problem) => (Vec::new(), Some(problem.to_string())),
    };
    let mut entries = Vec::new();
    if let Some(plan) = prefill {
        entries.push(destination::Entry::only_now(&plan.name, &plan.destination));
    }
    entries.extend(saved.into_iter().map(|profile| {
        // A file that is gone shows up when the destination is tested.
        let pem = profile.ca_file.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        destination::Entry::saved(profile, pem.unwrap_or_default())
    }));
    destination::State::with(entries, unreadable)
}

/// The screen that a phase asks for; `None` before the start.
fn wanted_screen(snapshot: &Snapshot) -> Option<Screen> {
    let of_phase = |phase: Phase| match phase {
        Phase::Idle | Phase::Validating => None,
        Phase::Clearing | Phase::Copying | Phase::Indexing => Some(Screen::Migrating),
        Phase::Following | Phase::Ready | Phase::Paused | Phase::Stopped | Phase::Failed => Some(Screen::Following),
        Phase::Expired => Some(Screen::Countdown),
        Phase::Cutover => match snapshot.cutover.as_ref().map(|cutover| cutover.step) {
            Some(CutoverStep::CheckData) => Some(Screen::CheckData),
            _ => Some(Screen::StopApplication),
        },
        Phase::Finalizing | Phase::Cleanup => Some(Screen::Finalising),
        Phase::Completed => Some(Screen::ConnectNew),
    };
    match (snapshot.phase, snapshot.left_phase) {
        (Phase::Paused | Phase::Stopped | Phase::Failed, Some(left)) => of_phase(left),
        (phase, _) => of_phase(phase),
    }
}
