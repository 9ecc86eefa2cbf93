//! 4.6 Following changes: the lag gauge, its history with the ready line, and the cutover countdown.

use super::{KeyHint, View, limit, running};
use crate::{
    model::{
        Command, Phase,
        units::{show_count, show_duration, show_rate},
    },
    tui::{
        action::{Action, Confirmation, Screen},
        widget::{
            bar,
            chart::{self, Chart, Merge},
            keys::{key, key_unless, plain},
            place, table, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use std::time::Duration;

/// The field for the limit on source reads.
#[derive(Debug, Default)]
pub struct State {
    limit: limit::Field,
}

impl State {
    /// True while letters go into the limit.
    pub fn is_typing(&self) -> bool {
        self.limit.is_open()
    }
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    running::uptime(view)
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    if let Some(field) = state.limit.status() {
        return field;
    }
    let snapshot = view.snapshot;
    let name = running::destination_name(view);
    match snapshot.phase {
        _ if running::is_halted(view) => running::halted_status(view),
        _ if snapshot.holding_back.is_some() => running::holding_back(view),
        _ if snapshot.can_cutover => {
            // The status line may be narrow and a host list long: the name stands last, where it is cut.
            format!("READY: cut over when your application can stop. Nearly in sync: {name}")
        }
        _ if running::lag_grew_for_ten_minutes(view) => {
            "FAIL: lag has grown for 10 minutes; the destination does not keep up.".into()
        }
        Phase::Ready => "WAIT: lag has grown again; the cutover timer keeps running.".into(),
        _ => match snapshot.cutover_blocked_by.as_slice() {
            [one] if one.contains(" could not be built") => {
                let count = text::counted(snapshot.indexes.failed.len(), "index", "indexes");
                format!("WAIT: {count} could not be built; b builds again, i does without.")
            }
            _ => format!("WAIT: {}", blocked(view)),
        },
    }
}

/// Why cutover is not possible: the engine's own sentences.
fn blocked(view: &View<'_>) -> String {
    match view.snapshot.cutover_blocked_by.as_slice() {
        [] if running::is_halted(view) => "Syncing does not run.".into(),
        [] => "The destination is catching up with the source.".into(),
        reasons => reasons.join("; "),
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    if let Some(keys) = state.limit.keys() {
        return keys;
    }
    let cutover = (!view.snapshot.can_cutover).then(|| blocked(view));
    let mut keys = vec![
        key_unless("c", "Prepare to cutover", "Starts the guided steps, reversible", cutover),
        key_unless("e", "Extend", "Adds time to the cutover window; asks first", no_timer(view)),
    ];
    if !view.snapshot.indexes.failed.is_empty() {
        keys.push(key("b", "Build again", "Tries the indexes that could not be built once more"));
        keys.push(key("i", "Failed indexes", "Names them; asks whether to do without them"));
    }
    keys.extend(running::keys(view));
    keys.push(key_unless(
        "r",
        "Rehearse",
        "Measures how long the last change takes; changes nothing",
        no_rehearsal(view),
    ));
    keys.push(limit::hint(view));
    keys
}

/// Why a rehearsal does nothing now.
fn no_rehearsal(view: &View<'_>) -> Option<String> {
    let follows = matches!(view.snapshot.phase, Phase::Following | Phase::Ready);
    (!follows).then(|| "A cutover can be rehearsed while changes are followed.".into())
}

/// Names the indexes that could not be built and asks whether the destination may lack them.
fn failed_indexes(view: &View<'_>) -> Action {
    let failed = &view.snapshot.indexes.failed;
    let mut body: Vec<String> =
        failed.iter().map(|one| format!("{} / {} / {}", one.namespace, one.index, one.reason)).collect();
    body.push(String::new());
    body.push("The destination would lack them after the cutover. Queries may be slow, unique values are not".into());
    body.push("enforced. Who agreed and when goes into the report.".into());
    Action::Confirm(Confirmation {
        title: format!("Do without {}?", text::counted(failed.len(), "index", "indexes")),
        body,
        expected: String::new(),
        expected_label: String::new(),
        button: "Do without".into(),
        then: Box::new(Action::Send(Command::AcceptFailedIndexes)),
    })
}

fn no_timer(view: &View<'_>) -> Option<String> {
    view.snapshot.cutover_deadline.is_none().then(|| "Nothing to extend: the cutover timer has not started.".into())
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    if state.limit.is_open() {
        return state.limit.on_key(key);
    }
    let has_failed = !view.snapshot.indexes.failed.is_empty();
    match plain(key)? {
        KeyCode::Char('c') if view.snapshot.can_cutover => Some(Action::Send(Command::PrepareCutover)),
        KeyCode::Char('c') => Some(Action::Say(format!("Prepare to Cutover: {}", blocked(view)))),
        KeyCode::Char('e') => Some(no_timer(view).map_or(Action::Open(Screen::Countdown), Action::Say)),
        KeyCode::Char('r') => Some(no_rehearsal(view).map_or(Action::Send(Command::Rehearse), Action::Say)),
        KeyCode::Char('b') if has_failed => Some(Action::Send(Command::Retry)),
        KeyCode::Char('i') if has_failed => Some(failed_indexes(view)),
        limit::KEY => state.limit.open(view),
        code => running::on_key(code, view),
    }
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, _state: &State) {
    let side_by_side = body.width >= 80;
    let left_width = match body.width {
        width if width >= 110 => width - 36,
        _ if side_by_side => 51,
        width => width,
    };
    let tall = body.height >= 30;
    // Half of what a very tall terminal has more goes to the events.
    let event_rows = if tall { 8 + body.height.saturating_sub(35) / 2 } else { 6 };
    let event_rows = event_rows.min(body.height.saturating_sub(12));
    let upper = body.height.saturating_sub(event_rows);
    let left = place::part(body, 0, 0, left_width, upper);
    if running::is_halted(view) {
        let mut lines = running::halted(view, usize::from(left.width));
        lines.push(Line::raw(""));
        lines.push(lag_line(view));
        place::draw(frame, left, lines);
    } else {
        place::draw(frame, left, lag(view, usize::from(left.width), usize::from(left.height)));
    }
    let area = place::below(body, upper);
    let mut lines = vec![running::heading("EVENTS", usize::from(area.width), view)];
    lines.extend(running::events(view, usize::from(area.width), usize::from(event_rows.saturating_sub(1))));
    place::draw(frame, area, lines);
    if side_by_side {
        let rule = place::part(body, left_width, 0, 1, upper);
        place::draw(frame, rule, vec![Line::styled(view.glyphs.pipe, view.theme.dim); usize::from(upper)]);
        let right = place::part(body, left_width + 1, 0, body.width, upper);
        place::draw(frame, right, side(view, usize::from(right.width), usize::from(right.height)));
    }
}

/// `Lag   0.8 s   READY  (30 s under 10 s)`.
fn lag_line(view: &View<'_>) -> Line<'static> {
    let (snapshot, thresholds) = (view.snapshot, &view.snapshot.thresholds);
    let (word, style) = running::lag_word(view);
    let (ready_lag, ready_for) = (text::threshold(thresholds.ready_lag_ms), text::threshold(thresholds.ready_for_ms));
    let under = Duration::from_millis(snapshot.under_ready_lag_ms.min(thresholds.ready_for_ms)).as_secs();
    let why = match word {
        "READY" => format!("({ready_for} under {ready_lag})"),
        "FAIL" => "(growing for 10 min)".into(),
        _ if running::is_halted(view) => "(syncing does not run)".into(),
        _ if snapshot.lag_ms.is_none() => "(not measured yet)".into(),
        _ => format!("({under} of {ready_for} under {ready_lag})"),
    };
    Line::from(vec![
        Span::styled(format!(" Lag   {}", text::left(&text::ms(snapshot.lag_ms), 14)), view.theme.strong),
        Span::styled(word, style),
        Span::raw(format!("  {why}")),
    ])
}

fn lag(view: &View<'_>, columns: usize, height: usize) -> Vec<Line<'static>> {
    let (snapshot, ready) = (view.snapshot, view.snapshot.thresholds.ready_lag_ms.max(1));
    let state = if snapshot.can_cutover {
        Span::styled("NEARLY IN SYNC", view.theme.ok)
    } else {
        Span::styled("CATCHING UP", view.theme.wait)
    };
    let gap = columns.saturating_sub(" Following changes".len() + state.width() + 5);
    let title =
        Line::from(vec![Span::styled(" Following changes", view.theme.strong), Span::raw(" ".repeat(gap)), state]);
    let scale = format!(" 0   {}   {}", text::threshold(ready), text::threshold(ready * 6));
    let gauge_columns = columns.saturating_sub(text::width(&scale) + 3);
    let gauge =
        bar::marked(gauge_columns, snapshot.lag_ms.map(|lag| lag as f64 / (ready * 6) as f64), 1.0 / 6.0, view.glyphs);
    let samples = &snapshot.history.lag_ms;
    let span = chart::span_ms(samples.len(), 0, snapshot.history.step_ms);
    let since = if samples.is_empty() {
        String::new()
    } else {
        format!(", last {}", show_duration(Duration::from_millis(span)))
    };
    let mut lines = vec![
        title,
        Line::raw(""),
        lag_line(view),
        Line::raw(format!(" {gauge}{scale}")),
        Line::raw(""),
        Line::raw(format!(" Lag{since}")),
    ];
    let bounds: &[u64] = match height {
        32.. => &[1, 2, 3, 4, 5, 6, 9, 12, 18, 24, 30],
        22.. => &[1, 2, 3, 6, 12, 30],
        _ => &[1, 3, 6],
    };
    let rows = bounds.iter().map(|factor| (ready * factor, text::threshold(ready * factor).replace(' ', ""))).collect();
    let lag_chart = Chart { samples, merge: Merge::Max, rows, ready: Some((0, "<- ready line")), axis: "now".into() };
    lines.extend(lag_chart.lines(columns.saturating_sub(1), view.glyphs, view.theme));
    lines.push(steps(view));
    if height >= 22 {
        lines.push(Line::raw(""));
        lines.extend(busiest(view, columns));
    }
    lines
}

fn steps(view: &View<'_>) -> Line<'static> {
    // Nothing is cleared, copied or built on the way back.
    let before =
        if view.snapshot.way_back_of.is_some() { &["Checks"][..] } else { &["Checks", "Clear", "Copy", "Indexes"] };
    let done = before.iter().map(|name| format!("{}{name}", view.glyphs.done)).collect::<Vec<_>>().join("  ");
    Line::from(vec![Span::styled(format!(" {done}"), view.theme.ok), Span::styled("  [Follow]", view.theme.strong)])
}

fn busiest(view: &View<'_>, columns: usize) -> Vec<Line<'static>> {
    let titles = [
        table::Column::left("BUSIEST ON THE SOURCE", 24, 0),
        table::Column::right("OPS/s", 8, 0),
        table::Column::right("LAST WRITE", 12, 1),
    ];
    let rows: Vec<table::Row> = view
        .snapshot
        .writers
        .iter()
        .take(6)
        .map(|writer| table::Row {
            cells: vec![writer.namespace.clone(), text::rate(writer.ops_per_s), text::ago(writer.last_write, view.now)],
            style: view.theme.text,
        })
        .collect();
    if rows.is_empty() {
        return vec![Line::styled(" No writes seen on the source lately.", view.theme.dim)];
    }
    table::lines(&titles, &rows, (columns.saturating_sub(1), 7), None, 0, (view.theme, " "))
}

/// Rates of the tail; a rate from before a halt would look like work going on.
fn rates(view: &View<'_>) -> String {
    if running::is_halted(view) {
        return "-".into();
    }
    format!("in {}/s  out {}/s", text::rate(view.snapshot.ops_in_per_s), text::rate(view.snapshot.ops_out_per_s))
}

fn times(count: u32) -> String {
    if count == 0 { "never".into() } else { text::counted(count as usize, "time", "times") }
}

/// The right pane: the countdown, or when it starts; then the numbers of the tail.
fn side(view: &View<'_>, columns: usize, height: usize) -> Vec<Line<'static>> {
    let (snapshot, thresholds) = (view.snapshot, &view.snapshot.thresholds);
    let mut lines = vec![Line::styled(" Left to cut over", view.theme.strong), Line::raw("")];
    match (snapshot.cutover_deadline, running::left_to_cut_over(view)) {
        (Some(deadline), Some(left)) => {
            lines.push(Line::styled(format!("   {left}"), view.theme.strong));
            lines.push(Line::raw(""));
            lines.push(Line::raw(format!("  ends {}", text::date(deadline))));
            lines.push(Line::raw(format!("  e Extend by {}", text::threshold(thresholds.extend_by_ms))));
        }
        _ => {
            let sentence = format!(
                "The {} cutover timer starts when lag stays under {} for {}",
                text::threshold(thresholds.cutover_window_ms),
                text::threshold(thresholds.ready_lag_ms),
                text::threshold(thresholds.ready_for_ms)
            );
            lines.extend(text::labelled("  ", &sentence, columns.saturating_sub(1)).into_iter().map(Line::from));
        }
    }
    lines.resize(7, Line::raw(""));
    let last = snapshot.last_source_write.map_or_else(|| "-".into(), |at| text::ago(at, view.now));
    let numbers = [
        ("Applied", format!("{} ops", show_count(snapshot.ops_applied))),
        ("Rate", rates(view)),
        ("Oplog left", running::oplog_left(view)),
        ("Last change", last),
        ("Waiting", running::waiting(view)),
    ];
    let limit = snapshot.throttle.map(|rate| ("Read limit", show_rate(rate)));
    for (name, value) in numbers.into_iter().chain(limit) {
        lines.push(Line::raw(text::ends(&format!(" {name}"), &value, columns.saturating_sub(1))));
    }
    if height > 20 {
        lines.push(Line::raw(""));
        lines.push(Line::raw(text::ends(" Fetch lag", &text::ms(snapshot.fetch_lag_ms), columns.saturating_sub(1))));
        lines.push(Line::raw(text::ends(" Extended", &times(snapshot.extensions), columns.saturating_sub(1))));
        lines.push(Line::raw(""));
        lines.push(Line::raw(" Changes waiting"));
        let samples = &snapshot.history.ops_waiting;
        let rows =
            chart::even_rows(samples.iter().copied().max().unwrap_or(0), 3, crate::model::units::show_count_short);
        let waiting = Chart { samples, merge: Merge::Max, rows, ready: None, axis: "now".into() };
        lines.extend(waiting.lines(columns.saturating_sub(1), view.glyphs, view.theme));
    }
    lines
}
