//! A scene: a snapshot with its events and its time, read from a file, and the screens that it can be shown on.

use jiff::{Timestamp, tz};
use mongoferry::{
    model::{Event, Snapshot},
    tui::{
        action::Action,
        screen::{
            KeyHint, View, check_data, connect_new, countdown, finalising, following, migrating, stop_application,
            success,
        },
        theme::{Glyphs, Theme},
    },
};
use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, layout::Rect};
use serde::{Deserialize, Serialize};

/// What a fixture file holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Scene {
    pub now: Timestamp,
    pub events: Vec<Event>,
    pub snapshot: Snapshot,
}

/// Reads `tests/fixtures/snapshots/NAME.json`.
pub fn scene(name: &str) -> Scene {
    let path = format!("{}/tests/fixtures/snapshots/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every fixture with the screen that shows it.
pub const SCENES: &[(&str, Shown)] = &[
    ("copying", Shown::Migrating),
    ("copying_limited", Shown::Migrating),
    ("copying_held", Shown::Migrating),
    ("copying_speed_varies", Shown::Migrating),
    ("copying_grown", Shown::Migrating),
    ("indexing", Shown::Migrating),
    ("paused", Shown::Migrating),
    ("paused_by_operator", Shown::Migrating),
    ("failed", Shown::Migrating),
    ("stopped", Shown::Migrating),
    ("following", Shown::Following),
    ("following_unknown", Shown::Following),
    ("following_paused", Shown::Following),
    ("ready", Shown::Following),
    ("following_failed_index", Shown::Following),
    ("lag_grown_again", Shown::Following),
    ("lag_growing_for_long", Shown::Following),
    ("countdown", Shown::Countdown),
    ("expired", Shown::Countdown),
    ("cutover_writers", Shown::StopApplication),
    ("cutover_demo", Shown::StopApplication),
    ("cutover_quiet", Shown::StopApplication),
    ("cutover_open_first", Shown::StopApplication),
    ("cutover_open_transaction", Shown::StopApplication),
    ("cutover_quiet_demo", Shown::StopApplication),
    ("cutover_late_write", Shown::StopApplication),
    ("cutover_paused", Shown::StopApplication),
    ("cutover_drain", Shown::StopApplication),
    ("finalising", Shown::Finalising),
    ("finalising_failed_step", Shown::Finalising),
    ("finalising_differs", Shown::Finalising),
    ("finalising_open", Shown::Finalising),
    ("verification_running", Shown::CheckData),
    ("verification_mismatch", Shown::CheckData),
    ("verification_opened", Shown::CheckData),
    ("verification_metadata", Shown::CheckData),
    ("verification_done", Shown::CheckData),
    ("cleanup_held", Shown::Finalising),
    ("connect", Shown::ConnectNew),
    ("connect_source_written", Shown::ConnectNew),
    ("success", Shown::Success),
    ("success_with_rest", Shown::Success),
];

/// The screens after Start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Migrating,
    Following,
    Countdown,
    StopApplication,
    Finalising,
    CheckData,
    ConnectNew,
    Success,
}

impl Shown {
    pub const ALL: [Shown; 8] = [
        Shown::Migrating,
        Shown::Following,
        Shown::Countdown,
        Shown::StopApplication,
        Shown::Finalising,
        Shown::CheckData,
        Shown::ConnectNew,
        Shown::Success,
    ];
}

/// The states of all screens, as the client would hold them.
#[derive(Debug)]
pub struct States {
    pub migrating: migrating::State,
    pub following: following::State,
    pub countdown: countdown::State,
    pub stop_application: stop_application::State,
    pub finalising: finalising::State,
    pub check_data: check_data::State,
    pub connect_new: connect_new::State,
    pub success: success::State,
}

impl Default for States {
    fn default() -> Self {
        // One hour east of UTC, wherever the test runs.
        let mut countdown = countdown::State::default();
        countdown.zone = countdown::Zone(tz::TimeZone::fixed(tz::offset(1)));
        Self {
            migrating: Default::default(),
            following: Default::default(),
            countdown,
            stop_application: Default::default(),
            finalising: Default::default(),
            check_data: Default::default(),
            connect_new: Default::default(),
            success: Default::default(),
        }
    }
}

macro_rules! each {
    ($shown:expr, $states:expr, |$module:ident, $state:ident| $body:expr) => {
        match $shown {
            Shown::Migrating => {
                use migrating as $module;
                let $state = $states.migrating;
                $body
            }
            Shown::Following => {
                use following as $module;
                let $state = $states.following;
                $body
            }
            Shown::Countdown => {
                use countdown as $module;
                let $state = $states.countdown;
                $body
            }
            Shown::StopApplication => {
                use stop_application as $module;
                let $state = $states.stop_application;
                $body
            }
            Shown::Finalising => {
                use finalising as $module;
                let $state = $states.finalising;
                $body
            }
            Shown::CheckData => {
                use check_data as $module;
                let $state = $states.check_data;
                $body
            }
            Shown::ConnectNew => {
                use connect_new as $module;
                let $state = $states.connect_new;
                $body
            }
            Shown::Success => {
                use success as $module;
                let $state = $states.success;
                $body
            }
        }
    };
}

/// Borrowed states, so that one macro serves reading and changing.
struct Fields<M, F, C, S, N, D, W, X> {
    migrating: M,
    following: F,
    countdown: C,
    stop_application: S,
    finalising: N,
    check_data: D,
    connect_new: W,
    success: X,
}

macro_rules! fields {
    ($states:expr, $($mode:tt)+) => {
        Fields {
            migrating: $($mode)+ $states.migrating,
            following: $($mode)+ $states.following,
            countdown: $($mode)+ $states.countdown,
            stop_application: $($mode)+ $states.stop_application,
            finalising: $($mode)+ $states.finalising,
            check_data: $($mode)+ $states.check_data,
            connect_new: $($mode)+ $states.connect_new,
            success: $($mode)+ $states.success,
        }
    };
}

impl States {
    pub fn keys(&self, shown: Shown, view: &View<'_>) -> Vec<KeyHint> {
        each!(shown, fields!(self, &), |module, state| module::keys(view, state))
    }

    pub fn status(&self, shown: Shown, view: &View<'_>) -> String {
        each!(shown, fields!(self, &), |module, state| module::status(view, state))
    }

    pub fn press(&mut self, shown: Shown, key: crossterm::event::KeyEvent, view: &View<'_>) -> Option<Action> {
        each!(shown, fields!(self, &mut), |module, state| module::on_key(state, key, view))
    }

    pub fn draw(&self, shown: Shown, frame: &mut ratatui::Frame<'_>, body: Rect, view: &View<'_>) {
        each!(shown, fields!(self, &), |module, state| module::draw(frame, body, view, state));
    }
}

/// The right end of line 1.
pub fn header(shown: Shown, view: &View<'_>) -> String {
    match shown {
        Shown::Migrating => migrating::header(view),
        Shown::Following => following::header(view),
        Shown::Countdown => countdown::header(view),
        Shown::StopApplication => stop_application::header(view),
        Shown::Finalising => finalising::header(view),
        Shown::CheckData => check_data::header(view),
        Shown::ConnectNew => connect_new::header(view),
        Shown::Success => success::header(view),
    }
}

/// Calls `look` with a view of the scene.
pub fn with_view<T>(scene: &Scene, glyphs: &Glyphs, look: impl FnOnce(&View<'_>) -> T) -> T {
    let theme = Theme::sixteen();
    look(&View { snapshot: &scene.snapshot, events: &scene.events, theme: &theme, glyphs, now: scene.now })
}

/// The body alone, in a terminal of exactly its size.
pub fn body(shown: Shown, states: &States, view: &View<'_>, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("terminal");
    terminal.draw(|frame| states.draw(shown, frame, frame.area(), view)).expect("draw");
    terminal.backend().buffer().clone()
}

/// The buffer as text, one line per row, trailing blanks kept out.
pub fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let row = |y: u16| -> String { (0..area.width).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..area.height).map(|y| format!("{}\n", row(y).trim_end())).collect()
}

/// Header, body, status and footer as they would stand on the screen, for reading.
pub fn page(scene: &Scene, shown: Shown, states: &States, glyphs: &Glyphs, width: u16, height: u16) -> String {
    with_view(scene, glyphs, |view| {
        let keys = states.keys(shown, view);
        let keys: Vec<String> = keys
            .iter()
            .map(|hint| match &hint.disabled {
                None => format!("{} {}", hint.key, hint.label),
                Some(why) => format!("({} {}: {why})", hint.key, hint.label),
            })
            .collect();
        format!(
            "{}\n{}\n{}{}\n{}\n",
            header(shown, view),
            "-".repeat(usize::from(width)),
            text(&body(shown, states, view, width, height)),
            states.status(shown, view),
            keys.join("\n")
        )
    })
}
