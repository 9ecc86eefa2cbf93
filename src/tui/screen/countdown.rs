//! 4.7 Cutover countdown with "Extend time", and what can be done once the window passed.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Command, Phase,
        units::{show_clock, show_duration},
    },
    tui::{
        action::{Action, Screen},
        widget::{
            boxed,
            buttons::{self, Button},
            digits,
            keys::{key, key_unless, plain},
            place, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use std::time::Duration;

/// Which button has the focus, and the operator's time zone.
#[derive(Debug, Default)]
pub struct State {
    on_second: bool,
    /// Where the operator is; the system's zone unless set.
    pub zone: Zone,
}

/// The time zone of the bracket "(your time 14:08)".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(pub TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::system())
    }
}

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    running::uptime(view)
}

fn is_expired(view: &View<'_>) -> bool {
    view.snapshot.phase == Phase::Expired
}

/// The deadline after one more extension.
fn extended(view: &View<'_>) -> Option<Timestamp> {
    let by = SignedDuration::from_millis(i64::try_from(view.snapshot.thresholds.extend_by_ms).ok()?);
    view.snapshot.cutover_deadline?.checked_add(by).ok()
}

/// Why the second button does nothing now.
fn disabled(view: &View<'_>) -> Option<String> {
    let snapshot = view.snapshot;
    match snapshot.phase {
        Phase::Expired => None,
        phase if phase.is_over() => Some(format!("The migration has ended ({phase}).")),
        _ if snapshot.can_write => Some("The destination was opened for writes; there is no window any more.".into()),
        _ if snapshot.cutover_deadline.is_none() => {
            Some("Nothing to extend: the cutover timer has not started.".into())
        }
        _ => None,
    }
}

fn second_label(view: &View<'_>) -> String {
    if is_expired(view) {
        "Resume syncing".into()
    } else {
        format!("Extend by {}", text::threshold(view.snapshot.thresholds.extend_by_ms))
    }
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    if let Some(why) = disabled(view) {
        return why;
    }
    if is_expired(view) {
        return "EXPIRED: changes are not followed; Resume goes on from the kept position.".into();
    }
    let left = view.snapshot.cutover_deadline.map(|deadline| text::between(view.now, deadline)).unwrap_or_default();
    let bells = "A bell rings at 24 h, 12 h, 1 h and 10 min.";
    match left.as_secs() {
        0 => "The window ends now; extend to go on following changes.".into(),
        seconds if seconds < 12 * 3600 => format!("Less than {} left. {bells}", soon(seconds)),
        _ => format!("{} left to cut over. {bells}", show_duration(left)),
    }
}

fn soon(seconds: u64) -> &'static str {
    match seconds {
        0..600 => "10 min",
        600..3600 => "1 h",
        _ => "12 h",
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, _state: &State) -> Vec<KeyHint> {
    vec![
        key("Left/Right", "Choose", "Moves between the buttons"),
        key("Enter", "Press", "Presses the chosen button"),
        key_unless(
            "e",
            if is_expired(view) { "Choose resume" } else { "Choose extend" },
            "Moves to the second button; Enter presses it",
            disabled(view),
        ),
        key("Esc", "Cancel", "Back; nothing is changed"),
        key("l", "Log", "Everything that happened, numbered"),
    ]
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    match plain(key)? {
        KeyCode::Left | KeyCode::BackTab => state.on_second = false,
        KeyCode::Right => state.on_second = true,
        KeyCode::Tab => state.on_second = !state.on_second,
        KeyCode::Char('e') => match disabled(view) {
            Some(why) => return Some(Action::Say(why)),
            None => state.on_second = true,
        },
        KeyCode::Enter if state.on_second => {
            let command = if is_expired(view) { Command::Resume } else { Command::Extend };
            let action = disabled(view).map_or(Action::Send(command), Action::Say);
            // The next Enter must not extend again by accident.
            state.on_second = false;
            return Some(action);
        }
        KeyCode::Enter | KeyCode::Esc => {
            state.on_second = false;
            return Some(Action::Open(Screen::Following));
        }
        KeyCode::Char('l') => return Some(Action::Log),
        _ => {}
    }
    None
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let roomy = body.height >= 30 && columns >= 90;
    let mut lines = vec![Line::raw("")];
    lines.extend(big_clock(view, columns, if roomy { 2 } else { usize::from(body.height >= 18) }));
    lines.push(Line::raw(""));
    let name = running::destination_name(view);
    let sentence = if is_expired(view) {
        format!(
            "The window passed and mongoferry stopped following changes. {name} keeps the data it has, but it is OUT OF DATE."
        )
    } else {
        "After that mongoferry stops following changes. The destination keeps the data it has, but it will be OUT OF DATE and the migration may have to start again.".into()
    };
    lines.extend(text::labelled(" ", &sentence, columns.saturating_sub(1)).into_iter().map(Line::from));
    if roomy || (lines.len() < 10 && body.height >= 19) {
        lines.push(Line::raw(""));
    }
    lines.extend(facts(view, state, columns, if roomy { 8 } else { 1 }));
    lines.extend(question(view, state, columns));
    place::draw(frame, body, lines);
}

/// The clock as digits of `scale`, or as text when it is 0 or the terminal is narrow.
fn big_clock(view: &View<'_>, columns: usize, scale: usize) -> Vec<Line<'static>> {
    let left = match (is_expired(view), view.snapshot.cutover_deadline) {
        (true, _) => Some(show_clock(Duration::ZERO)),
        (false, Some(deadline)) => Some(show_clock(text::between(view.now, deadline))),
        (false, None) => None,
    };
    let Some(left) = left else {
        return vec![Line::raw("          The cutover timer has not started."), Line::raw("")];
    };
    let after = if is_expired(view) { "EXPIRED" } else { "left to cut over" };
    let style = if is_expired(view) { view.theme.wait } else { view.theme.strong };
    if columns < 60 || scale == 0 {
        return vec![Line::styled(format!("  {left}  {after}"), style)];
    }
    let mut rows = digits::big(&left, scale, view.glyphs);
    if let Some(last) = rows.last_mut() {
        last.push_str(&format!("     {after}"));
    }
    rows.into_iter().map(|row| Line::styled(format!("          {row}"), style)).collect()
}

/// When it ends, who extended it, and how the lag is now.
fn facts(view: &View<'_>, state: &State, columns: usize, log_rows: usize) -> Vec<Line<'static>> {
    let snapshot = view.snapshot;
    let mut lines = Vec::new();
    if let Some(deadline) = snapshot.cutover_deadline {
        let verb = if is_expired(view) { "ended" } else { "ends " };
        lines.push(Line::raw(format!(
            " {verb}      {}  (your time {})",
            text::date(deadline),
            local(deadline, &state.zone)
        )));
    }
    let times = match snapshot.extensions {
        0 => "never".into(),
        1 => "1 time".into(),
        count => format!("{count} times"),
    };
    let newest: Vec<String> = snapshot
        .extension_log
        .iter()
        .rev()
        .take(log_rows)
        .map(|one| {
            let who = format!("by {} on {}", one.by, text::date(one.at));
            if log_rows > 1 { format!("{who}, new end {}", text::date(one.new_deadline)) } else { who }
        })
        .collect();
    let first = newest.first().map_or(times.clone(), |first| {
        format!("{times}, {}{first}", if snapshot.extensions > 1 { "last " } else { "" })
    });
    lines.push(Line::raw(text::cut(&format!(" extended   {first}"), columns)));
    lines.extend(newest.iter().skip(1).map(|line| Line::raw(text::cut(&format!("            {line}"), columns))));
    if is_expired(view) {
        let applied = snapshot.applied_ts.map_or_else(
            || "not known".into(),
            |ts| {
                Timestamp::from_second(i64::from(ts.t))
                    .map_or_else(|_| ts.to_string(), |at| format!("{} ({ts})", text::date(at)))
            },
        );
        let left = snapshot.oplog_left_ms.map_or_else(|| "measuring".into(), |_| text::ms(snapshot.oplog_left_ms));
        lines.push(Line::raw(format!(" applied    up to {applied}   oplog left  {left}")));
    } else {
        let (word, style) = running::lag_word(view);
        lines.push(Line::from(vec![
            Span::raw(format!(" lag        {}   ", text::ms(snapshot.lag_ms))),
            Span::styled(word, style),
            Span::raw(format!("            oplog left  {}", running::oplog_left(view))),
        ]));
    }
    lines
}

fn local(at: Timestamp, zone: &Zone) -> String {
    let there = at.to_zoned(zone.0.clone());
    let same_day = there.date() == at.to_zoned(TimeZone::UTC).date();
    there.strftime(if same_day { "%H:%M" } else { "%a %H:%M" }).to_string()
}

fn question(view: &View<'_>, state: &State, columns: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let choice = [
        Button { label: if is_expired(view) { "Back".into() } else { "Cancel".into() }, enabled: true },
        Button { label: second_label(view), enabled: disabled(view).is_none() },
    ];
    let ask = match (is_expired(view), extended(view)) {
        (true, _) => "  Resume syncing?   works while the oplog covers the position".to_string(),
        (false, Some(end)) => format!("  {}?   new end  {}", second_label(view), text::date(end)),
        (false, None) => "  Nothing to extend yet".to_string(),
    };
    let width = columns.saturating_sub(8).clamp(20, 70);
    let mut lines = vec![Line::raw("")];
    let blank = (String::new(), theme.text);
    lines.extend(boxed::boxed(&[(ask, theme.strong), blank.clone(), blank], 3, width, theme.text, view.glyphs));
    let inside = lines.len() - 2;
    let pad = width.saturating_sub(2 + buttons::columns(&choice)) / 2;
    let mut row = buttons::row(&choice, usize::from(state.on_second), pad, (view.theme, view.glyphs.pointer));
    let missing = width.saturating_sub(2 + row.width());
    row.spans.push(Span::raw(" ".repeat(missing)));
    row.spans.insert(0, Span::raw(format!("   {}", view.glyphs.pipe)));
    row.spans.push(Span::raw(view.glyphs.pipe));
    lines[inside] = row;
    lines
}
