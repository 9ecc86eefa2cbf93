//! 4.5 Migrating Data: the initial copy and the index builds, what waits meanwhile, and why a migration halted.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Phase,
        snapshot::{CollectionRow, CollectionState},
        units::{show_bytes, show_count, show_count_short, show_duration},
    },
    tui::{
        action::Action,
        widget::{
            bar,
            chart::{self, Chart, Merge},
            keys::{key, key_unless, plain},
            place, table, text,
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
use std::{cmp::Reverse, time::Duration};

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

/// Selection, order and filter of the collection table.
#[derive(Debug, Default)]
pub struct State {
    selected: usize,
    sort: Sort,
    filter: String,
    typing: bool,
    details: bool,
}

impl State {
    /// True while letters go into the filter, so that no other key of the program acts.
    pub fn is_typing(&self) -> bool {
        self.typing
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
    let failed = view.snapshot.indexes.failed.len();
    match (view.snapshot.phase, &view.snapshot.error) {
        (Phase::Paused, Some(problem)) => format!("Paused: {}. p resumes when it is fixed.", problem.what),
        (Phase::Paused, None) => "Paused by the operator; p resumes from the kept position.".into(),
        (Phase::Failed, Some(problem)) => format!("Failed: {}.", problem.what),
        (Phase::Failed, None) => "Failed; l shows the log.".into(),
        (Phase::Stopped, _) => "The migration was stopped; start a new one to migrate.".into(),
        (Phase::Indexing, _) if failed > 0 => {
            format!("{failed} index(es) could not be built; Enter on the collection says why.")
        }
        (Phase::Clearing, _) => "Clearing the destination: its selected collections are dropped before copying.".into(),
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
    let rows = rows(view, state).len();
    let none = (rows == 0).then(|| "There is no collection to show.".to_string());
    let mut keys = running::keys(view);
    let stop = keys.pop();
    let details = if state.details { "Close" } else { "Details" };
    keys.push(key_unless("Enter", details, "Details of the selected collection", none));
    keys.push(key("s", "Sort", "Sort: progress, size, name, speed"));
    keys.push(key("/", "Filter", "Shows the collections whose name holds a text"));
    if rows > 1 {
        keys.push(key("Up/Down", "Select", "Moves the selection; also j and k"));
    }
    keys.extend(stop);
    keys.push(key_unless(
        "c",
        "Prepare to cutover",
        "Starts the guided cutover",
        Some(format!("Prepare to Cutover: {NO_CUTOVER}.")),
    ));
    keys
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let code = plain(key)?;
    if state.typing {
        on_filter_key(state, code);
        return None;
    }
    let last = rows(view, state).len().saturating_sub(1);
    match code {
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
        KeyCode::Esc if !state.filter.is_empty() => state.filter.clear(),
        KeyCode::Char('s') => {
            state.sort = state.sort.next();
            return Some(Action::Say(format!("Sorted by {}.", state.sort.word())));
        }
        KeyCode::Char('/') => state.typing = true,
        KeyCode::Char('c') => return Some(Action::Say(format!("Prepare to Cutover: {NO_CUTOVER}."))),
        code => return running::on_key(code, view),
    }
    None
}

fn on_filter_key(state: &mut State, code: KeyCode) {
    state.selected = 0;
    match code {
        KeyCode::Char(character) => state.filter.push(character),
        KeyCode::Backspace => drop(state.filter.pop()),
        KeyCode::Enter => state.typing = false,
        KeyCode::Esc => {
            state.filter.clear();
            state.typing = false;
        }
        _ => {}
    }
}

/// The collections in the chosen order.
fn rows<'a>(view: &View<'a>, state: &State) -> Vec<&'a CollectionRow> {
    let mut rows: Vec<&CollectionRow> =
        view.snapshot.collections.iter().filter(|row| row.namespace.contains(&state.filter)).collect();
    match state.sort {
        Sort::Progress => rows.sort_by_key(|row| match row.state {
            CollectionState::Copying | CollectionState::Indexing => 0,
            CollectionState::Queued => 1,
            CollectionState::Done => 2,
        }),
        Sort::Size => rows.sort_by_key(|row| Reverse(row.bytes_total)),
        Sort::Name => rows.sort_by(|a, b| a.namespace.cmp(&b.namespace)),
        Sort::Speed => rows.sort_by(|a, b| b.bytes_per_s.total_cmp(&a.bytes_per_s)),
    }
    rows
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let side_by_side = body.width >= 80;
    let left_width = match body.width {
        width if width >= 110 => 68,
        _ if side_by_side => 42,
        width => width,
    };
    let event_rows = if body.height >= 30 { 9 } else { 6 }.min(body.height.saturating_sub(10));
    let upper = body.height.saturating_sub(event_rows);
    let left = place::part(body, 0, 0, left_width, upper);
    place::draw(frame, left, progress(view, usize::from(left.width)));
    if running::is_halted(view) {
        let block = place::below(body, 6);
        place::draw(frame, block, running::halted(view, usize::from(block.width)));
    } else {
        let list = place::part(body, 0, 6, left_width, upper.saturating_sub(6));
        let (columns, height) = (usize::from(list.width), usize::from(list.height));
        place::draw(
            frame,
            list,
            if state.details { details(view, state, columns) } else { collections(view, state, columns, height) },
        );
        let area = place::below(body, upper);
        let mut lines = vec![running::heading("EVENTS", usize::from(area.width), view)];
        lines.extend(running::events(view, usize::from(area.width), usize::from(event_rows.saturating_sub(1))));
        place::draw(frame, area, lines);
    }
    if side_by_side {
        let rows = if running::is_halted(view) { upper.min(5) } else { upper };
        let rule = place::part(body, left_width, 0, 1, rows);
        place::draw(frame, rule, vec![Line::styled(view.glyphs.pipe, view.theme.dim); usize::from(rows)]);
        let right = place::part(body, left_width + 1, 0, body.width, rows);
        place::draw(frame, right, side(view, usize::from(right.width), usize::from(right.height)));
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

/// `ETA 44 min (12:03 UTC)`, or why there is none.
fn eta(view: &View<'_>) -> String {
    let measuring = text::between(view.snapshot.since, view.now) < Duration::from_secs(60);
    match view.snapshot.copy.eta_ms {
        _ if running::is_halted(view) => "ETA: not running".into(),
        Some(eta) => {
            let at = i64::try_from(eta).ok().and_then(|ms| view.now.checked_add(SignedDuration::from_millis(ms)).ok());
            let clock = at.map_or_else(String::new, |at| format!(" ({} UTC)", &text::clock(at)[..5]));
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
    let done = format!(" {} of {} collections", show_count(copy.collections_done), show_count(copy.collections_total));
    if grown > 0 && copy.bytes_total > 0 { format!("{done}   +{} since start", show_bytes(grown)) } else { done }
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

fn collections(view: &View<'_>, state: &State, columns: usize, height: usize) -> Vec<Line<'static>> {
    let rows = rows(view, state);
    if rows.is_empty() {
        let why = if state.filter.is_empty() { "No collections yet." } else { "No collection matches the filter." };
        return vec![Line::raw(format!(" {why}"))];
    }
    let indexing = is_indexing(view);
    let titles = [
        table::Column::left("COLLECTION", 16, 0),
        table::Column::left(if columns > 60 { "DONE" } else { "DONE" }, if columns > 60 { 16 } else { 8 }, 0),
        table::Column::right(if indexing { "INDEX" } else { "DOCS" }, 5, 1),
        table::Column::right("SIZE", 10, 3),
        table::Column::right("MB/s", 5, 2),
    ];
    // The short frame has no room for both; size gives way to speed there by its priority.
    let cells: Vec<table::Row> = rows.iter().map(|row| table_row(row, indexing, columns > 60, view)).collect();
    let selected = state.selected.min(rows.len() - 1);
    let shown = height.saturating_sub(2);
    let offset = table::offset_for(selected, rows.len(), shown);
    let mut lines = table::lines(
        &titles,
        &cells,
        (columns.saturating_sub(1), shown + 1),
        Some(selected),
        offset,
        (view.theme, view.glyphs.pointer),
    );
    lines.push(rest(&rows, offset, shown, state, view));
    lines
}

fn table_row(row: &CollectionRow, indexing: bool, wide: bool, view: &View<'_>) -> table::Row {
    let ratio = if row.bytes_total > 0 {
        text::ratio(row.bytes, row.bytes_total)
    } else {
        text::ratio(row.documents, row.documents_total)
    };
    let built = text::ratio(u64::from(row.indexes_built), u64::from(row.indexes_total));
    let cells = if wide { 10 } else { 4 };
    let progress = |ratio: Option<f64>| {
        let number = ratio.map_or_else(|| "-".into(), |ratio| format!("{:.0}%", (ratio * 100.0).floor()));
        format!("{}{}", bar::cells(cells, ratio, view.glyphs), text::right(&number, if wide { 6 } else { 4 }))
    };
    let failed = view.snapshot.indexes.failed.iter().any(|index| index.namespace == row.namespace);
    let (done, style) = match row.state {
        _ if indexing && failed => ("FAIL".to_string(), view.theme.fail),
        CollectionState::Copying => (progress(ratio), view.theme.text),
        CollectionState::Indexing => (progress(built), view.theme.text),
        CollectionState::Queued => ("queued".to_string(), view.theme.text),
        CollectionState::Done => ("done".to_string(), view.theme.text),
    };
    let copying = row.state == CollectionState::Copying;
    let speed = if copying { text::rate(row.bytes_per_s / 1e6) } else { "-".into() };
    let third = if indexing {
        format!("{}/{}", row.indexes_built, row.indexes_total)
    } else {
        show_count_short(row.documents_total)
    };
    table::Row { cells: vec![row.namespace.clone(), done, third, show_bytes(row.bytes_total), speed], style }
}

fn rest(rows: &[&CollectionRow], offset: usize, shown: usize, state: &State, view: &View<'_>) -> Line<'static> {
    let hidden: Vec<&&CollectionRow> = rows.iter().take(offset).chain(rows.iter().skip(offset + shown)).collect();
    let in_state = |wanted: CollectionState| hidden.iter().filter(|row| row.state == wanted).count();
    let parts = [
        (in_state(CollectionState::Done), "done"),
        (in_state(CollectionState::Queued), "queued"),
        (in_state(CollectionState::Copying) + in_state(CollectionState::Indexing), "running"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let filter = if state.filter.is_empty() { String::new() } else { format!(" [{}]", state.filter) };
    let more = if hidden.is_empty() { String::new() } else { format!("{} more: {}", hidden.len(), parts.join(", ")) };
    Line::styled(format!(" {more}{filter}"), view.theme.dim)
}

fn details(view: &View<'_>, state: &State, columns: usize) -> Vec<Line<'static>> {
    let rows = rows(view, state);
    let Some(row) = rows.get(state.selected.min(rows.len().saturating_sub(1))) else { return Vec::new() };
    let word = match row.state {
        CollectionState::Copying => "copying",
        CollectionState::Queued => "queued",
        CollectionState::Indexing => "building indexes",
        CollectionState::Done => "done",
    };
    let speed = if row.state == CollectionState::Copying {
        format!("{}/s", show_bytes(row.bytes_per_s.max(0.0) as u64))
    } else {
        "-".into()
    };
    let mut lines = vec![
        Line::styled(text::cut(&format!(" {}", row.namespace), columns), view.theme.strong),
        Line::raw(format!("   state      {word}")),
        Line::raw(format!("   documents  {} of {}", show_count(row.documents), show_count(row.documents_total))),
        Line::raw(format!("   bytes      {} of {}", show_bytes(row.bytes), show_bytes(row.bytes_total))),
        Line::raw(format!("   speed      {speed}")),
        Line::raw(format!("   indexes    {} of {} built", row.indexes_built, row.indexes_total)),
    ];
    for index in view.snapshot.indexes.failed.iter().filter(|index| index.namespace == row.namespace) {
        let wrapped =
            text::labelled("   FAIL ", &format!("{}: {}", index.index, index.reason), columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.fail)));
    }
    lines
}

/// The right pane: throughput, then what waits and how long the oplog still covers it.
fn side(view: &View<'_>, columns: usize, height: usize) -> Vec<Line<'static>> {
    let (snapshot, copy) = (view.snapshot, &view.snapshot.copy);
    let chart_rows = if height > 20 { 3 } else { 2 };
    let (title, now, samples) = if is_indexing(view) {
        ("Changes waiting", format!("{} ops", show_count_short(snapshot.ops_waiting)), &snapshot.history.ops_waiting)
    } else {
        ("Throughput", format!("{} MB/s", text::rate(copy.bytes_per_s / 1e6)), &snapshot.history.bytes_per_s)
    };
    let mut lines =
        vec![Line::styled(text::ends(&format!(" {title}"), &now, columns.saturating_sub(1)), view.theme.strong)];
    lines.extend(history_chart(view, samples, chart_rows, columns.saturating_sub(1), !is_indexing(view)));
    let documents = show_count(copy.documents_per_s.max(0.0).round() as u64);
    let readers = if copy.readers == 0 { "-".into() } else { copy.readers.to_string() };
    lines.push(Line::raw(if is_indexing(view) {
        String::new()
    } else {
        format!(" docs/s {documents}   readers {readers}")
    }));
    if height > 20 {
        lines.push(Line::raw(""));
        lines.push(Line::styled(
            text::ends(" Changes waiting", &running::waiting(view), columns.saturating_sub(1)),
            view.theme.strong,
        ));
        lines.extend(history_chart(view, &snapshot.history.ops_waiting, 2, columns.saturating_sub(1), false));
    }
    lines.push(Line::raw(""));
    lines.push(Line::styled(" Changes since start", view.theme.strong));
    lines.push(Line::raw(format!("  buffered   {}", running::waiting(view))));
    lines.push(Line::raw(format!("  arriving   {} ops/s", text::rate(snapshot.ops_in_per_s))));
    let left = snapshot
        .oplog_left_ms
        .map_or_else(|| "not known".into(), |_| format!("{} before rollover", text::ms(snapshot.oplog_left_ms)));
    lines.push(Line::raw(format!("  oplog left {left}")));
    lines.push(margin(view));
    if height > 20 {
        lines.extend(clusters(view, columns));
    }
    lines
}

/// "Copy ends in / oplog rolls over in": the number that decides success.
fn margin(view: &View<'_>) -> Line<'static> {
    let start = Span::raw("  worst case margin ");
    let ends_in = if is_indexing(view) { None } else { view.snapshot.copy.eta_ms };
    match (ends_in, view.snapshot.oplog_left_ms) {
        (Some(eta), Some(left)) if eta > 0 => {
            let margin = left as f64 / eta as f64;
            let (word, style) = match margin {
                margin if margin > 2.0 => ("OK", view.theme.ok),
                margin if margin < 1.2 => ("FAIL", view.theme.fail),
                _ => ("WAIT", view.theme.wait),
            };
            let shown = if margin > 99.0 { ">99x".into() } else { format!("{margin:.1}x") };
            Line::from(vec![start, Span::raw(format!("{shown}  ")), Span::styled(word, style)])
        }
        _ => Line::from(vec![start, Span::raw("not known yet")]),
    }
}

fn history_chart(view: &View<'_>, samples: &[u64], rows: usize, columns: usize, is_rate: bool) -> Vec<Line<'static>> {
    let max = samples.iter().copied().max().unwrap_or(0);
    let rows = match is_rate {
        true => chart::even_rows(max.div_ceil(1_000_000), rows, |mb| mb.to_string()),
        false => chart::even_rows(max, rows, show_count_short),
    };
    let unit = if is_rate { 1_000_000 } else { 1 };
    let rows: Vec<(u64, String)> = rows.into_iter().map(|(bound, label)| (bound * unit, label)).collect();
    let labels = rows.iter().map(|(_, label)| text::width(label)).max().unwrap_or(0) + 2;
    let drawn = columns.saturating_sub(labels);
    let per = chart::samples_per_column(samples.len(), drawn);
    let span = (per * drawn) as u64 * view.snapshot.history.step_ms;
    let axis = if samples.is_empty() { "now".into() } else { text::ms(Some(span)) };
    let merge = if is_rate { Merge::Mean } else { Merge::Max };
    Chart { samples, merge, rows, ready: None, axis }.lines(columns, view.glyphs, view.theme)
}

fn clusters(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::raw("")];
    for (name, cluster) in [("Source", &view.snapshot.source), ("Target", &view.snapshot.destination)] {
        let version = cluster.version.clone().unwrap_or_else(|| "version not known".into());
        let primary = cluster.primary.clone().unwrap_or_else(|| "primary not known".into());
        lines.push(Line::raw(text::cut(
            &format!(" {name}  {primary}  {version}  {} members", cluster.hosts.len()),
            columns,
        )));
    }
    lines
}
