//! 4.11 Connect to your new cluster: lines to copy, and whether the application has arrived.

use super::{KeyHint, View, running};
use crate::{
    model::{Phase, snapshot::ConnectInfo},
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
    if !connect.stragglers.is_empty() {
        let verb = if connect.stragglers.len() == 1 { "application is" } else { "applications are" };
        return format!("{} {verb} still connected to the source.", connect.stragglers.len());
    }
    done_blocked(view).unwrap_or_else(|| "Everything is cleaned up; Done shows the report.".into())
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
            lines.push(Line::raw(" y copies the selected line; v shows it unwrapped, full screen, for the mouse."));
            lines.push(Line::raw(" Passwords are never printed here."));
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
    lines.push(buttons::row(&row, usize::from(state.on_check), indent, theme));
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

fn arrivals(view: &View<'_>, connect: &ConnectInfo, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let theme = view.theme;
    let name = running::destination_name(view);
    let mut lines = vec![Line::from(vec![
        Span::styled(" Is the application there yet?", theme.strong),
        Span::raw(format!("        (live, from {name})")),
    ])];
    let shown = rows.saturating_sub(2);
    for application in connect.applications.iter().take(shown) {
        let (word, style, note) =
            if application.connections > 0 { ("OK", theme.ok, "") } else { ("WAIT", theme.wait, "   not seen yet") };
        let plural = if application.connections == 1 { "connection" } else { "connections" };
        let start = format!("   {} {:>4} {plural}{note}", text::left(&application.name, 24), application.connections);
        lines.push(Line::from(vec![
            Span::raw(text::left(&start, columns.saturating_sub(7))),
            Span::styled(format!(" {word}"), style),
        ]));
    }
    if connect.applications.is_empty() {
        let start = text::left("   no application seen on the new cluster yet", columns.saturating_sub(7));
        lines.push(Line::from(vec![Span::raw(start), Span::styled(" WAIT", theme.wait)]));
    }
    if connect.applications.len() > shown && shown > 0 {
        lines.pop();
        lines.push(Line::raw(format!("   {} more applications", connect.applications.len() - shown + 1)));
    }
    let (still, style) = match connect.stragglers.as_slice() {
        [] => ("none seen".to_string(), theme.ok),
        names => (names.join(", "), theme.wait),
    };
    let start = "   still on the source:  ";
    lines.push(Line::from(vec![
        Span::raw(start),
        Span::styled(text::cut(&still, columns.saturating_sub(text::width(start) + 1)), style),
    ]));
    lines
}
