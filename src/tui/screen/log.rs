//! The event log: everything that happened, numbered; follow, search, save.

use super::{KeyHint, View};
use crate::{
    model::{Event, Severity},
    tui::{
        action::Action,
        field::TextField,
        widget::{
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

/// Where the log is looked at, and what is searched.
#[derive(Debug, Default)]
pub struct State {
    /// Number of the last event shown; `None`: follows the newest.
    until: Option<usize>,
    search: TextField,
    typing: bool,
    only_warnings: bool,
}

/// What a key led to.
#[derive(Debug)]
pub enum Outcome {
    /// Still open.
    Stay,
    /// To be closed.
    Close,
    /// To be done.
    Act(Action),
}

impl State {
    /// True while letters go into the search.
    pub fn is_typing(&self) -> bool {
        self.typing
    }

    fn shown<'a>(&self, events: &'a [Event]) -> Vec<&'a Event> {
        let wanted = self.search.trimmed().to_lowercase();
        let matches = |event: &&Event| {
            let severe = !self.only_warnings || event.severity > Severity::Info;
            let named = || event.text.to_lowercase().contains(&wanted) || event.kind.to_lowercase().contains(&wanted);
            severe && (wanted.is_empty() || named())
        };
        events.iter().filter(matches).collect()
    }

    /// A key.
    pub fn on_key(&mut self, key: KeyEvent, view: &View<'_>) -> Outcome {
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => {
                    self.typing = false;
                    self.search.set("");
                }
                _ => drop(self.search.on_key(key)),
            }
            self.until = None;
            return Outcome::Stay;
        }
        let count = self.shown(view.events).len();
        let now = self.until.unwrap_or(count).min(count);
        let Some(code) = plain(key) else { return Outcome::Stay };
        match code {
            KeyCode::Esc | KeyCode::Char('l' | 'q') | KeyCode::Left => return Outcome::Close,
            KeyCode::Up | KeyCode::Char('k') => self.until = Some(now.saturating_sub(1).max(1)),
            KeyCode::PageUp => self.until = Some(now.saturating_sub(15).max(1)),
            KeyCode::Home => self.until = Some(1),
            KeyCode::Down | KeyCode::Char('j') => self.until = Some(now + 1).filter(|until| *until < count),
            KeyCode::PageDown => self.until = Some(now + 15).filter(|until| *until < count),
            KeyCode::End => self.until = None,
            KeyCode::Char('f') => self.until = if self.until.is_some() { None } else { Some(count) },
            KeyCode::Char('s') => {
                self.only_warnings = !self.only_warnings;
                self.until = None;
            }
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('w') => {
                let text = self.shown(view.events).into_iter().map(plain_line).collect();
                return Outcome::Act(Action::Save { file_name: "mongoferry-log.txt".into(), text });
            }
            KeyCode::Char('y') => {
                let text = self.shown(view.events).into_iter().map(plain_line).collect();
                return Outcome::Act(Action::Copy(text));
            }
            _ => {}
        }
        Outcome::Stay
    }

    /// One sentence.
    pub fn status(&self, view: &View<'_>) -> String {
        let count = self.shown(view.events).len();
        if self.typing {
            return format!("Search: {}_   Enter keeps it, Esc shows everything again.", self.search.text());
        }
        let filtered = if count < view.events.len() { format!(" of {}", view.events.len()) } else { String::new() };
        match self.until {
            None => format!("{count}{filtered} events; following the newest."),
            Some(until) => format!("Event {} of {count}{filtered}; frozen. End follows again.", until.min(count)),
        }
    }

    /// The keys, most important first.
    pub fn keys(&self) -> Vec<KeyHint> {
        if self.typing {
            return vec![
                key("Enter", "Keep", "Back to the log, filtered"),
                key("Esc", "Show all", "Removes the search"),
            ];
        }
        // As the status line says it.
        let follows = self.until.is_none().then(|| "following the newest".to_string());
        vec![
            key("Esc", "Close", "Closes the log; also l and q"),
            key("Up/Down", "Scroll", "Moves in the log; PageUp, PageDown, Home too"),
            key_unless("End", "Follow", "Follows the newest event", follows),
            key("f", "Freeze", "Freezes the display, or follows again"),
            key("/", "Search", "Shows the events that hold a text"),
            key("s", "Severity", "Warnings and errors only, or everything"),
            key("w", "Save", "Writes the shown events to a file"),
            key("y", "Copy", "Copies the shown events"),
        ]
    }

    /// Draws the log over the body.
    pub fn draw(&self, frame: &mut Frame<'_>, body: Rect, view: &View<'_>) {
        let columns = usize::from(body.width);
        let shown = self.shown(view.events);
        let until = self.until.unwrap_or(shown.len()).min(shown.len());
        let title = if self.only_warnings { " Event log: warnings and errors" } else { " Event log" };
        let mut lines: Vec<Line<'static>> = Vec::new();
        let room = usize::from(body.height).saturating_sub(2);
        for event in shown[..until].iter().rev() {
            let mut rows = event_lines(event, columns, view);
            if lines.len() + rows.len() > room {
                break;
            }
            rows.append(&mut lines);
            lines = rows;
        }
        if shown.is_empty() {
            lines.push(Line::raw(if view.events.is_empty() {
                " Nothing has happened yet."
            } else {
                " No event matches."
            }));
        }
        let mut all = vec![Line::styled(title, view.theme.strong), Line::raw("")];
        all.extend(lines);
        frame.render_widget(ratatui::widgets::Clear, body);
        place::draw(frame, body, all);
    }
}

fn event_lines(event: &Event, columns: usize, view: &View<'_>) -> Vec<Line<'static>> {
    let style = match event.severity {
        Severity::Info => view.theme.text,
        Severity::Warn => view.theme.wait,
        Severity::Error => view.theme.fail,
    };
    let start = format!(" {:>5} {} ", event.seq, text::clock(event.at));
    let kind = format!("{} ", text::left(&event.kind, 11));
    let indent = text::width(&start) + text::width(&kind);
    let wrapped = text::wrap(&event.text, columns.saturating_sub(indent + 1).max(10));
    let mut lines = Vec::new();
    for (row, line) in wrapped.into_iter().enumerate() {
        lines.push(if row == 0 {
            Line::from(vec![Span::raw(start.clone()), Span::styled(kind.clone(), style), Span::raw(line)])
        } else {
            Line::raw(format!("{}{line}", " ".repeat(indent)))
        });
    }
    lines
}

fn plain_line(event: &Event) -> String {
    format!("{}\t{}\t{}\t{}\n", event.seq, text::moment(event.at), event.kind, event.text)
}
