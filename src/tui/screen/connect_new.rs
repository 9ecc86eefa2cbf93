//! 4.11 Connect to your new cluster: lines to copy, and whether the application has arrived.

use super::{KeyHint, View, running};
use crate::{
    model::{
        Phase,
        snapshot::{Arrival, ConnectInfo, ConnectedApplication},
        units::show_count,
    },
    tui::{
        action::{Action, Screen},
        widget::{
            buttons::{self, Button},
            keys::{key, key_unless, plain},
            place, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// The selected line and the focused button.
#[derive(Debug, Default)]
pub struct State {
    selected: usize,
    on_check: bool,
}

const LINES: usize = 3;

/// The right end of line 1.
pub fn header(view: &View<'_>) -> String {
    super::check_data::header(view)
}

fn lines_of(connect: &ConnectInfo) -> [(&'static str, &str); LINES] {
    [("mongosh", &connect.mongosh), ("Driver URI", &connect.driver_uri), (".env line", &connect.env_line)]
}

fn unknown(view: &View<'_>) -> Option<String> {
    view.snapshot.connect.is_none().then(|| "Connection strings are shown once the destination accepts writes.".into())
}

fn done_blocked(view: &View<'_>) -> Option<String> {
    (view.snapshot.phase != Phase::Completed)
        .then(|| "Clean-up is still running; Done works when it has finished.".into())
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, _state: &State) -> String {
    let Some(connect) = &view.snapshot.connect else { return unknown(view).unwrap_or_default() };
    if let Some(written) = connect.left_writing.first() {
        let more = match connect.left_writing.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return format!("! LOST: {}{more} is still written on the OLD cluster. Stop that writer.", written.namespace);
    }
    if !connect.stragglers.is_empty() {
        let verb = if connect.stragglers.len() == 1 { "application is" } else { "applications are" };
        return format!("{} {verb} still connected to the source.", connect.stragglers.len());
    }
    if let Some(why) = done_blocked(view) {
        return why;
    }
    match connect.applications.iter().filter(|one| one.connections == 0).count() {
        0 => "Everything is cleaned up; Done shows the report.".into(),
        missing => {
            let missing = text::counted(missing, "application is", "applications are");
            format!("{missing} not on the new cluster yet. Done shows the report.")
        }
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    let press = if state.on_check { None } else { done_blocked(view) };
    vec![
        key_unless("y", "Copy", "Copies the selected line", unknown(view)),
        key_unless("v", "View plain", "Shows the line unwrapped, for the mouse", unknown(view)),
        key_unless("Enter", "Press", "Presses the focused button", press),
        key("Up/Down", "Select", "Moves between the lines"),
        key("Left/Right", "Choose", "Moves between the buttons"),
        key("Esc", "Back", "Back to the clean-up"),
        key("l", "Log", "Everything that happened, numbered"),
    ]
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let line =
        view.snapshot.connect.as_ref().map(|connect| lines_of(connect)[state.selected.min(LINES - 1)].1.to_string());
    let refused = || Action::Say(unknown(view).unwrap_or_default());
    match plain(key)? {
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(LINES - 1),
        KeyCode::Left | KeyCode::BackTab => state.on_check = false,
        KeyCode::Right => state.on_check = true,
        KeyCode::Tab => state.on_check = !state.on_check,
        KeyCode::Char('y') => return Some(line.map_or_else(refused, Action::Copy)),
        KeyCode::Char('v') => return Some(line.map_or_else(refused, Action::PlainView)),
        KeyCode::Enter if state.on_check => return Some(Action::Open(Screen::CheckData)),
        KeyCode::Enter => return Some(done_blocked(view).map_or(Action::Open(Screen::Success), Action::Say)),
        KeyCode::Esc => return Some(Action::Open(Screen::Finalising)),
        KeyCode::Char('l') => return Some(Action::Log),
        _ => {}
    }
    None
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width);
    let height = usize::from(body.height);
    let theme = view.theme;
    let mut lines = vec![Line::styled(" Connect to your new cluster", theme.strong), Line::raw("")];
    match &view.snapshot.connect {
        None => lines.push(Line::raw(format!("   {}", unknown(view).unwrap_or_default()))),
        Some(connect) => {
            lines.extend(strings(view, connect, state, columns, height));
            lines.push(Line::raw(""));
            lines.push(Line::raw(" Passwords are never printed here. y copies, v shows the line for the mouse."));
            lines.push(Line::raw(""));
            let room = height.saturating_sub(lines.len() + 2);
            lines.extend(arrivals(view, connect, columns, room));
        }
    }
    lines.truncate(height.saturating_sub(2));
    lines.push(Line::raw(""));
    let row = [
        Button { label: "Done".into(), enabled: done_blocked(view).is_none() },
        Button { label: "Check data again".into(), enabled: true },
    ];
    let indent = columns.saturating_sub(buttons::columns(&row)) / 2;
    lines.push(buttons::row(&row, usize::from(state.on_check), indent, (view.theme, view.glyphs.pointer)));
    place::draw(frame, body, lines);
}

/// The lines; the selected one is wrapped in full, the others are cut.
fn strings(view: &View<'_>, connect: &ConnectInfo, state: &State, columns: usize, height: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (index, (name, value)) in lines_of(connect).into_iter().enumerate() {
        let is_selected = index == state.selected;
        let mark = if is_selected { view.glyphs.pointer } else { " " };
        let start = format!(" {mark} {name:<12}");
        let style = if is_selected { view.theme.selected } else { view.theme.text };
        let room = columns.saturating_sub(text::width(&start) + 1);
        let most = if is_selected {
            3
        } else if height >= 30 {
            2
        } else {
            1
        };
        let wrapped = text::pieces(value, room);
        let shown = if wrapped.len() > most { vec![text::cut(value, room)] } else { wrapped };
        for (row, part) in shown.into_iter().enumerate() {
            let start = if row == 0 { start.clone() } else { " ".repeat(text::width(&start)) };
            lines.push(Line::from(vec![Span::raw(start), Span::styled(part, style)]));
        }
    }
    lines
}

/// One row of "Is the application there yet?".
struct Row {
    name: String,
    what: String,
    is_there: bool,
}

/// Applications first, then namespaces; of both, what is missing comes first.
fn rows(view: &View<'_>, connect: &ConnectInfo) -> Vec<Row> {
    let since = |at: Option<Timestamp>| at.map_or_else(String::new, |at| format!("  since {}", text::clock(at)));
    let application = |one: &ConnectedApplication| {
        let what = match (one.connections, one.since) {
            (0, None) => "not seen yet (wrote to the source)".into(),
            (0, Some(_)) => "was here, not connected now".into(),
            (1, at) => format!("{:>5} connection {}", 1, since(at)),
            (count, at) => format!("{count:>5} connections{}", since(at)),
        };
        Row { name: one.name.clone(), what, is_there: one.connections > 0 }
    };
    let namespace = |one: &Arrival| {
        let ago = one.last_write.map_or_else(String::new, |at| format!("  last {}", text::ago(at, view.now)));
        let what = match one.since {
            None => "not written yet (was on the source)".into(),
            Some(_) if one.ops_per_s < 0.05 => {
                format!("{:>5} written    {}{ago}", show_count(one.writes), since(one.since))
            }
            Some(_) => format!("{:>5} writes/s   {}", text::rate(one.ops_per_s), since(one.since)),
        };
        Row { name: one.namespace.clone(), what, is_there: one.since.is_some() }
    };
    let mut rows: Vec<Row> = connect.applications.iter().map(application).collect();
    rows.extend(connect.arrivals.iter().map(namespace));
    rows.sort_by_key(|row| row.is_there);
    rows
}

fn arrivals(view: &View<'_>, connect: &ConnectInfo, columns: usize, height: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let name = running::destination_name(view);
    let rate: f64 = connect.arrivals.iter().map(|arrival| arrival.ops_per_s).sum();
    let title = " Is the application there yet?";
    let live = format!("   {} writes/s on ", text::rate(rate));
    let name = text::middle(&name, columns.saturating_sub(text::width(title) + text::width(&live) + 1));
    let mut lines = vec![Line::from(vec![Span::styled(title, theme.strong), Span::raw(live + &name)])];
    let old = on_the_source(view, connect, columns);
    let rows = rows(view, connect);
    if rows.is_empty() {
        let start = text::left("   nobody is seen on the new cluster yet", columns.saturating_sub(7));
        lines.push(Line::from(vec![Span::raw(start), Span::styled(" WAIT", theme.wait)]));
    }
    let room = height.saturating_sub(1 + old.len()).max(1);
    let shown = if rows.len() > room { room.saturating_sub(1) } else { rows.len() };
    for row in rows.iter().take(shown) {
        let (word, style) = if row.is_there { ("OK", theme.ok) } else { ("WAIT", theme.wait) };
        let name_columns = if columns >= 110 { 40 } else { 26 };
        let name = text::left(&text::middle(&row.name, name_columns), name_columns);
        let start = format!("   {name} {}", row.what);
        lines.push(Line::from(vec![
            Span::raw(text::left(&start, columns.saturating_sub(7))),
            Span::styled(format!(" {word}"), style),
        ]));
    }
    if rows.len() > shown {
        let hidden = &rows[shown..];
        let missing = hidden.iter().filter(|row| !row.is_there).count();
        lines.push(Line::raw(format!("   {} more: {} there, {missing} not yet", hidden.len(), hidden.len() - missing)));
    }
    lines.extend(old);
    lines
}

/// Who is left on the source: writes there are lost, so they are red.
fn on_the_source(view: &View<'_>, connect: &ConnectInfo, columns: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let (still, style) = match connect.stragglers.as_slice() {
        [] => ("none seen".to_string(), view.theme.ok),
        names => (names.join(", "), view.theme.wait),
    };
    let start = "   still on the source:  ";
    let room = columns.saturating_sub(text::width(start) + 1);
    for (row, part) in text::wrap(&still, room).into_iter().enumerate() {
        let start = if row == 0 { start.to_string() } else { " ".repeat(text::width(start)) };
        lines.push(Line::from(vec![Span::raw(start), Span::styled(part, style)]));
    }
    for written in connect.left_writing.iter().take(2) {
        let ago = written.last_write.map_or_else(String::new, |at| format!(", last {}", text::ago(at, view.now)));
        let writes = show_count(written.writes);
        let sentence = format!("   FAIL  {}: {writes} writes on the source are LOST{ago}", written.namespace);
        let wrapped = text::labelled("   ", sentence.trim_start(), columns.saturating_sub(1));
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, view.theme.fail)));
    }
    lines
}
