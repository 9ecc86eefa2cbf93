//! The event log: everything that happened, numbered; End follows, `/` searches, `w` saves.

use super::{KeyHint, View};
use crate::{
    model::{Event, Severity},
    tui::{
        field::TextField,
        widget::{keys::key, place, text},
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Where the log stands.
#[derive(Debug, Default)]
pub struct State {
    /// Lines above the newest; 0 follows.
    back: usize,
    search: TextField,
    typing: bool,
}

/// What became of a key.
#[derive(Debug)]
pub enum Outcome {
    /// The log stays open.
    Stay,
    /// It is closed.
    Close,
    /// It is written to a file.
    Save(String),
}

impl State {
    /// True while letters go into the search.
    pub fn is_typing(&self) -> bool {
        self.typing
    }

    fn found<'a>(&self, events: &'a [Event]) -> Vec<&'a Event> {
        let wanted = self.search.text().to_lowercase();
        let holds = |event: &&Event| wanted.is_empty() || line(event).to_lowercase().contains(&wanted);
        events.iter().filter(holds).collect()
    }
}

fn line(event: &Event) -> String {
    format!("{:>5} {} {:<10} {}", event.seq, text::clock(event.at), event.kind, event.text)
}

/// The keys, most important first.
pub fn keys(_state: &State) -> Vec<KeyHint> {
    vec![
        key("Up/Down", "Scroll", "One line; PgUp and PgDn ten"),
        key("End", "Follow", "Follows the newest event"),
        key("/", "Search", "Shows only the events that hold a text"),
        key("w", "Save", "Writes the log into the current folder"),
        key("Esc", "Close", "Back to the screen"),
    ]
}

/// One sentence.
pub fn status(view: &View<'_>, state: &State) -> String {
    let found = state.found(view.events).len();
    match (state.typing, state.search.text().is_empty(), state.back) {
        (true, _, _) => format!("Search: {}_  ({found} found; Enter keeps, Esc clears)", state.search.text()),
        (false, false, _) => format!("{found} events hold {:?}; / changes the search.", state.search.text()),
        (false, true, 0) => "Following the newest event.".into(),
        (false, true, back) => format!("{back} newer events below; End follows."),
    }
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, events: &[Event]) -> Outcome {
    if state.typing {
        match key.code {
            KeyCode::Enter => state.typing = false,
            KeyCode::Esc => {
                state.typing = false;
                state.search.set("");
            }
            _ => {
                state.search.on_key(key);
            }
        }
        return Outcome::Stay;
    }
    let most = state.found(events).len().saturating_sub(1);
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => state.back = (state.back + 1).min(most),
        KeyCode::Down | KeyCode::Char('j') => state.back = state.back.saturating_sub(1),
        KeyCode::PageUp => state.back = (state.back + 10).min(most),
        KeyCode::PageDown => state.back = state.back.saturating_sub(10),
        KeyCode::Home => state.back = most,
        KeyCode::End => state.back = 0,
        KeyCode::Char('/') => state.typing = true,
        KeyCode::Char('w') => {
            let full = |event: &Event| format!("{} {} {} {}\n", event.seq, event.at, event.kind, event.text);
            return Outcome::Save(events.iter().map(full).collect());
        }
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('l' | 'q') => return Outcome::Close,
        _ => {}
    }
    Outcome::Stay
}

/// Draws the log over the body.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let (columns, rows) = (usize::from(body.width), usize::from(body.height));
    let found = state.found(view.events);
    let end = found.len().saturating_sub(state.back);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for event in found.get(..end).unwrap_or_default().iter().rev() {
        let style = match event.severity {
            Severity::Info => view.theme.text,
            Severity::Warn => view.theme.wait,
            Severity::Error => view.theme.fail,
        };
        let wrapped = text::wrap(&line(event), columns.saturating_sub(2));
        for (index, part) in wrapped.into_iter().enumerate().collect::<Vec<_>>().into_iter().rev() {
            let indent = if index == 0 { " " } else { "                          " };
            lines.push(Line::from(Span::styled(text::cut(&format!("{indent}{part}"), columns), style)));
        }
        if lines.len() >= rows {
            break;
        }
    }
    if lines.is_empty() {
        lines.push(Line::raw(" Nothing has happened yet."));
    }
    lines.truncate(rows);
    lines.reverse();
    place::draw(frame, body, lines);
}
