//! 4.5 Migrating Data: the initial copy and the index builds, what waits meanwhile, and why a migration halted.

mod collections;
mod forecast;
mod panes;

use self::{
    collections::rows,
    panes::{Pane, events, mark, moves, scrolls},
};
use super::{KeyHint, View, limit, running};
use crate::{
    model::{
        Phase,
        units::{show_bytes, show_count, show_duration},
    },
    tui::{
        action::Action,
        widget::{
            bar,
            keys::{key, key_unless, plain},
            place, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use jiff::SignedDuration;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use std::time::Duration;

/// Order of the collection table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// What is worked on first, then what waits, then what is done.
    #[default]
    Progress,
    /// Largest first.
    Size,
    /// By name.
    Name,
    /// Fastest first.
    Speed,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Sort::Progress => Sort::Size,
            Sort::Size => Sort::Name,
            Sort::Name => Sort::Speed,
            Sort::Speed => Sort::Progress,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Sort::Progress => "progress",
            Sort::Size => "size",
            Sort::Name => "name",
            Sort::Speed => "speed",
        }
    }
}

/// Focus; selection, order and filter of the collection table.
#[derive(Debug, Default)]
pub struct State {
    pane: Pane,
    /// How many of the newest events lie below the part that is shown.
    events_back: usize,
    selected: usize,
    sort: Sort,
    filter: String,
    typing: bool,
    details: bool,
    zoomed: bool,
    limit: limit::Field,
}

impl State {
    /// True while letters go into the filter or the limit, so that no other key of the program acts.
    pub fn is_typing(&self) -> bool {
        self.typing || self.limit.is_open()
    }

    /// The pane with the focus: what halted a migration and the details of a collection hide the others.
    fn focus(&self, view: &View<'_>) -> Pane {
        if self.details || running::is_halted(view) { Pane::Collections } else { self.pane }
    }
}

const NO_CUTOVER: &str = "not yet - copy and index builds come first";

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    running::uptime(view)
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    if state.typing {
        return format!("Filter: {}_   Enter keeps it, Esc shows all collections again.", state.filter);
    }
    if let Some(field) = state.limit.status() {
        return field;
    }
    let failed = view.snapshot.indexes.failed.len();
    match view.snapshot.phase {
        _ if running::is_halted(view) => running::halted_status(view),
        Phase::Indexing if failed > 0 => {
            format!(
                "{} could not be built; Enter on the collection says why.",
                text::counted(failed, "index", "indexes")
            )
        }
        _ if view.snapshot.holding_back.is_some() => running::holding_back(view),
        Phase::Clearing => "Clearing the destination: its selected collections are dropped before copying.".into(),
        _ => format!("Prepare to Cutover: {NO_CUTOVER}."),
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    if state.typing {
        return vec![
            key("Enter", "Keep filter", "Back to the table, filtered"),
            key("Esc", "Show all", "Removes the filter"),
        ];
    }
    if let Some(keys) = state.limit.keys() {
        return keys;
    }
    let rows = rows(view, state).len();
    let none = (rows == 0).then(|| "There is no collection to show.".to_string());
    let closing = if state.details { "Close" } else { "Details" };
    let enter = match state.focus(view) {
        Pane::Collections => key_unless("Enter", closing, "Details of the selected collection", none),
        Pane::Forecast => key("Enter", "Zoom", "The charts over the whole screen, and back"),
        Pane::Events => key("Enter", "Log", "The whole log: follow, search, save"),
    };
    let mut keys = running::keys(view);
    // Behind pause, which comes first when something is wrong.
    keys.splice(
        1..1,
        [
            enter,
            key("s", "Sort", "Sort: progress, size, name, speed"),
            key("/", "Filter", "Shows the collections whose name holds a text"),
        ],
    );
    if !running::is_halted(view) {
        let zoom = if state.zoomed { "Zoom out" } else { "Zoom" };
        keys.push(key("z", zoom, "The pane with the focus over the whole screen, and back"));
        keys.push(key("1 2 3", "Focus pane", "Focus: 1 collections, 2 charts and oplog, 3 events"));
    }
    match state.focus(view) {
        Pane::Collections if rows > 1 => keys.push(key("Up/Down", "Select", "Moves the selection; also j and k")),
        Pane::Events if view.events.len() > 1 => keys.push(key("Up/Down", "Scroll", "Older events; also j and k")),
        _ => {}
    }
    keys.push(limit::hint(view));
    keys.push(key_unless("c", "Prepare to cutover", "Starts the guided cutover", Some(format!("{NO_CUTOVER}."))));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    if state.limit.is_open() {
        return state.limit.on_key(key);
    }
    let code = plain(key)?;
    if state.typing {
        on_filter_key(state, code);
        return None;
    }
    let focus = state.focus(view);
    if focus == Pane::Events && scrolls(state, code, view.events.len().saturating_sub(1)) {
        return None;
    }
    let last = rows(view, state).len().saturating_sub(1);
    match code {
        KeyCode::Char('1') => state.pane = Pane::Collections,
        KeyCode::Char('2') => state.pane = Pane::Forecast,
        KeyCode::Char('3') => state.pane = Pane::Events,
        KeyCode::Enter if focus == Pane::Events => return Some(Action::Log),
        KeyCode::Enter if focus == Pane::Forecast => state.zoomed = !state.zoomed,
        _ if focus == Pane::Forecast && moves(code) => {}
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.min(last).saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(last),
        KeyCode::PageUp => state.selected = state.selected.min(last).saturating_sub(10),
        KeyCode::PageDown => state.selected = (state.selected + 10).min(last),
        KeyCode::Home => state.selected = 0,
        KeyCode::End => state.selected = last,
        KeyCode::Enter if rows(view, state).is_empty() => {
            return Some(Action::Say("There is no collection to show.".into()));
        }
        KeyCode::Enter => state.details = !state.details,
        KeyCode::Esc if state.details => state.details = false,
        KeyCode::Esc if state.zoomed => state.zoomed = false,
        KeyCode::Char('z') => state.zoomed = !state.zoomed,
        KeyCode::Esc if !state.filter.is_empty() => state.filter.clear(),
        KeyCode::Char('s') => {
            state.sort = state.sort.next();
            return Some(Action::Say(format!("Sorted by {}.", state.sort.word())));
        }
        KeyCode::Char('/') => state.typing = true,
        limit::KEY => return state.limit.open(view),
        KeyCode::Char('c') => return Some(Action::Say(format!("Prepare to Cutover: {NO_CUTOVER}."))),
        code => return running::on_key(code, view),
    }
    None
}

fn on_filter_key(state: &mut State, code: KeyCode) {
    state.selected = 0;
    match code {
        // A paste that arrives as keys ends in a line end, which no name holds.
        KeyCode::Char(character) if !character.is_control() => state.filter.push(character),
        KeyCode::Backspace => drop(state.filter.pop()),
        KeyCode::Enter => state.typing = false,
        KeyCode::Esc => {
            state.filter.clear();
            state.typing = false;
        }
        _ => {}
    }
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    if state.zoomed && !state.details && !running::is_halted(view) {
        let (columns, rows) = (usize::from(body.width), usize::from(body.height));
        let lines = match state.pane {
            Pane::Collections => collections::table(view, state, columns, rows),
            Pane::Forecast => forecast::side(view, columns, rows),
            Pane::Events => events(view, state, columns, rows),
        };
        place::draw(frame, body, lines);
        if state.pane != Pane::Collections {
            mark(frame, body, state.pane, view, state);
        }
        return;
    }
    let side_by_side = body.width >= 80;
    let left_width = match body.width {
        width if width >= 110 => 68,
        _ if side_by_side => 42,
        width => width,
    };
    let event_rows = if body.height >= 30 { 9 } else { 6 }.min(body.height.saturating_sub(10));
    // A heading alone says nothing.
    let event_rows = if event_rows > 1 { event_rows } else { 0 };
    let upper = body.height.saturating_sub(event_rows);
    let left = place::part(body, 0, 0, left_width, upper);
    place::draw(frame, left, progress(view, usize::from(left.width)));
    // What halted the migration, and the reason of a failed index, are worth the whole width.
    let is_block = running::is_halted(view) || state.details;
    if is_block {
        let block = place::below(body, 6);
        let columns = usize::from(block.width);
        let lines =
            if state.details { collections::details(view, state, columns) } else { running::halted(view, columns) };
        place::draw(frame, block, lines);
    } else {
        let list = place::part(body, 0, 6, left_width, upper.saturating_sub(6));
        place::draw(frame, list, collections::table(view, state, usize::from(list.width), usize::from(list.height)));
        let area = place::below(body, upper);
        place::draw(frame, area, events(view, state, usize::from(area.width), usize::from(event_rows)));
        mark(frame, area, Pane::Events, view, state);
    }
    if side_by_side {
        let rows = if is_block { upper.min(5) } else { upper };
        let rule = place::part(body, left_width, 0, 1, rows);
        place::draw(frame, rule, vec![Line::styled(view.glyphs.pipe, view.theme.dim); usize::from(rows)]);
        let right = place::part(body, left_width + 1, 0, body.width, rows);
        place::draw(frame, right, forecast::side(view, usize::from(right.width), usize::from(right.height)));
        mark(frame, right, Pane::Forecast, view, state);
    }
}

fn is_indexing(view: &View<'_>) -> bool {
    let phase = view.snapshot.phase;
    phase == Phase::Indexing || (running::is_halted(view) && view.snapshot.left_phase == Some(Phase::Indexing))
}

fn progress(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let (copy, indexes) = (&view.snapshot.copy, &view.snapshot.indexes);
    let indexing = is_indexing(view);
    let ratio = match indexing {
        true => text::ratio(indexes.built, indexes.total),
        false if copy.bytes_total > 0 => text::ratio(copy.bytes, copy.bytes_total),
        false => text::ratio(copy.collections_done, copy.collections_total),
    };
    // The source may have grown past its measured size: the bar is full only when every collection is done.
    let unfinished = !indexing && copy.collections_done < copy.collections_total;
    let ratio = ratio.map(|ratio| if unfinished { ratio.min(0.999) } else { ratio });
    let title = match view.snapshot.phase {
        Phase::Clearing => "Clearing the destination",
        _ if indexing => "Building indexes",
        _ => "Copying data",
    };
    let numbers = if indexing {
        let failed = indexes.failed.len();
        let note = if failed > 0 { format!("   FAIL {failed} not built") } else { "   0 failed".into() };
        format!(" {} of {} indexes{note}", show_count(indexes.built), show_count(indexes.total))
    } else {
        sizes(view)
    };
    let columns = columns.saturating_sub(2);
    vec![
        Line::styled(text::ends(&format!(" {title}"), &text::percent(ratio), columns + 1), view.theme.strong),
        Line::raw(format!(" {}", bar::bar(columns, ratio, view.glyphs))),
        Line::raw(text::cut(&numbers, columns + 1)),
        Line::raw(growth(view)),
        steps(view, columns > 60),
    ]
}

fn sizes(view: &View<'_>) -> String {
    let copy = &view.snapshot.copy;
    if copy.collections_total == 0 {
        return " measuring the source".into();
    }
    let (done, total) = (show_bytes(copy.bytes.min(copy.bytes_total)), show_bytes(copy.bytes_total));
    let same_unit = done.rsplit_once(' ').zip(total.rsplit_once(' ')).filter(|((_, a), (_, b))| a == b);
    let done = same_unit.map_or(done.clone(), |((number, _), _)| number.to_string());
    format!(" {done} of {total}   {}", eta(view))
}

/// `ETA 44 min (12:03)`, the clock in UTC as everywhere; or why there is none.
fn eta(view: &View<'_>) -> String {
    let measuring = text::between(view.snapshot.since, view.now) < Duration::from_secs(60);
    match view.snapshot.copy.eta_ms {
        _ if running::is_halted(view) => "ETA: not running".into(),
        Some(eta) => {
            let at = i64::try_from(eta).ok().and_then(|ms| view.now.checked_add(SignedDuration::from_millis(ms)).ok());
            let clock = at.map_or_else(String::new, |at| format!(" ({})", text::clock_minutes(at)));
            format!("ETA {}{clock}", show_duration(Duration::from_millis(eta)))
        }
        None if measuring => "ETA: measuring".into(),
        None => "ETA: speed varies".into(),
    }
}

fn growth(view: &View<'_>) -> String {
    let copy = &view.snapshot.copy;
    let grown = copy.bytes.saturating_sub(copy.bytes_total);
    if is_indexing(view) || copy.collections_total == 0 {
        return String::new();
    }
    let (done, total) = (show_count(copy.collections_done), show_count(copy.collections_total));
    if grown > 0 && copy.bytes_total > 0 {
        format!(" {done}/{total} collections  +{} since start", show_bytes(grown))
    } else {
        format!(" {done} of {total} collections")
    }
}

/// The sub-steps: `+Checks  +Clear  [Copy]  Indexes  Follow`.
fn steps(view: &View<'_>, wide: bool) -> Line<'static> {
    let phase = if running::is_halted(view) { view.snapshot.left_phase } else { Some(view.snapshot.phase) };
    let now = match phase {
        Some(Phase::Idle | Phase::Validating) => 0,
        Some(Phase::Clearing) => 1,
        Some(Phase::Copying) | None => 2,
        Some(Phase::Indexing) => 3,
        Some(_) => 4,
    };
    let mut spans = vec![Span::raw(" ")];
    for (index, name) in ["Checks", "Clear", "Copy", "Indexes", "Follow"].into_iter().enumerate() {
        let total = view.snapshot.indexes.total;
        let name = if wide && index == 3 && total > 0 {
            format!("{name} {}/{total}", view.snapshot.indexes.built)
        } else {
            name.into()
        };
        let (word, style) = match index.cmp(&now) {
            std::cmp::Ordering::Less => (format!("{}{name}", view.glyphs.done), view.theme.ok),
            std::cmp::Ordering::Equal => (format!("[{name}]"), view.theme.strong),
            std::cmp::Ordering::Greater => (name, view.theme.dim),
        };
        spans.push(Span::styled(word, style));
        spans.push(Span::raw(if wide { "   " } else { "  " }));
    }
    Line::from(spans)
}
