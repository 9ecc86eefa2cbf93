//! 4.13 Typed confirmation: default Cancel, armed late, paste refused, the exact objects named.

use super::{KeyHint, View};
use crate::tui::{
    action::{Action, Confirmation},
    field::TextField,
    widget::{
        boxed,
        buttons::{self, Button},
        keys::key,
        place, text,
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use std::time::{Duration, Instant};

/// Keys are dropped until the question has been on the screen for so long.
const ARMING: Duration = Duration::from_millis(400);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    Field,
    Cancel,
    Go,
}

/// A question on top of the screen.
#[derive(Debug)]
pub struct State {
    asked: Confirmation,
    typed: TextField,
    focus: Focus,
    drawn: Option<Instant>,
    /// First line of the body that is shown.
    scroll: usize,
    /// The furthest that it was scrolled.
    furthest: usize,
    said: Option<String>,
}

/// What the operator did.
#[derive(Debug)]
pub enum Answer {
    /// Leave everything as it is.
    Cancel,
    /// Do it.
    Go(Action),
}

impl State {
    /// Asks.
    pub fn new(asked: Confirmation) -> Self {
        let focus = if asked.expected.is_empty() { Focus::Cancel } else { Focus::Field };
        Self { asked, typed: TextField::default(), focus, drawn: None, scroll: 0, furthest: 0, said: None }
    }

    /// The question was drawn; the first time counts.
    pub fn was_drawn(&mut self, at: Instant) {
        self.drawn.get_or_insert(at);
    }

    /// True once the question was on the screen long enough.
    pub fn is_armed(&self, at: Instant) -> bool {
        self.drawn.is_some_and(|drawn| at.duration_since(drawn) >= ARMING)
    }

    /// True while letters go into the field.
    pub fn is_typing(&self) -> bool {
        self.focus == Focus::Field
    }

    fn matches(&self) -> bool {
        self.asked.expected.is_empty() || self.typed.text() == self.asked.expected
    }

    fn missing(&self) -> String {
        format!("Type {} exactly as shown: {}", self.asked.expected_label, self.asked.expected)
    }

    /// A paste is refused: the name has to be read to be typed.
    pub fn refuse_paste(&mut self) {
        self.typed.set("");
        self.said = Some("Pasting is refused here: type it.".into());
    }

    fn go_right(&mut self) {
        self.focus = match self.focus {
            Focus::Field => Focus::Cancel,
            Focus::Cancel => Focus::Go,
            Focus::Go if self.asked.expected.is_empty() => Focus::Cancel,
            Focus::Go => Focus::Field,
        };
    }

    /// The body in lines of `inside` columns.
    fn lines(&self, inside: usize) -> Vec<String> {
        let wrapped = |line: &String| {
            if text::width(line) <= inside { vec![line.clone()] } else { text::wrap(line, inside) }
        };
        self.asked.body.iter().flat_map(wrapped).collect()
    }

    /// Columns and lines for the body of the question when the screen's body has `size`.
    fn room(&self, size: (usize, usize)) -> (usize, usize) {
        let inside = size.0.saturating_sub(8).clamp(1, 72);
        let field = if self.asked.expected.is_empty() { 0 } else { 2 };
        let around = text::wrap(&self.asked.title, inside).len() + field + 5;
        (inside, size.1.saturating_sub(around).max(1))
    }

    /// A key; dropped while the question is not armed, and when it is a repeat. `size` is that of the screen's body;
    /// `None` when only a card fits, which cannot show what would be done.
    pub fn on_key(&mut self, key: KeyEvent, at: Instant, size: Option<(usize, usize)>) -> Option<Answer> {
        if !self.is_armed(at) || key.kind != KeyEventKind::Press {
            return None;
        }
        self.said = None;
        if self.focus == Focus::Field && self.typed.on_key(key) {
            return None;
        }
        let (inside, room) = self.room(size.unwrap_or_default());
        let most = self.lines(inside).len().saturating_sub(room);
        match (key.code, self.focus) {
            // The last line of a page says that there is more, so it begins the next one.
            (KeyCode::PageDown, _) => {
                self.scroll = (self.scroll + room.saturating_sub(1).max(1)).min(most);
                self.furthest = self.furthest.max(self.scroll);
            }
            (KeyCode::PageUp, _) => self.scroll = self.scroll.min(most).saturating_sub(room.saturating_sub(1).max(1)),
            (KeyCode::Esc, _) | (KeyCode::Enter, Focus::Cancel) => return Some(Answer::Cancel),
            (KeyCode::Enter, Focus::Go) if size.is_none() => {
                self.said = Some("Make the terminal larger (60x16) to see what this would do.".into());
            }
            (KeyCode::Enter, Focus::Go) if self.furthest < most => {
                let unread = text::counted(most - self.furthest, "line", "lines");
                self.said = Some(format!("{unread} of what this would do were not shown yet: PageDown shows them."));
            }
            (KeyCode::Enter, Focus::Go) if self.matches() => return Some(Answer::Go((*self.asked.then).clone())),
            (KeyCode::Enter, Focus::Go) => self.said = Some(self.missing()),
            (KeyCode::Enter, Focus::Field) if self.matches() => self.focus = Focus::Cancel,
            (KeyCode::Enter, Focus::Field) => self.said = Some(self.missing()),
            (KeyCode::Tab | KeyCode::Down, _) | (KeyCode::Right, Focus::Cancel) => self.go_right(),
            (KeyCode::Left, Focus::Go) => self.focus = Focus::Cancel,
            (KeyCode::Up | KeyCode::BackTab, Focus::Go) => self.focus = Focus::Cancel,
            (KeyCode::Up | KeyCode::BackTab, Focus::Cancel) if !self.asked.expected.is_empty() => {
                self.focus = Focus::Field;
            }
            _ => {}
        }
        None
    }

    /// One sentence: what now, or why not.
    pub fn status(&self) -> String {
        match (&self.said, self.focus) {
            (Some(said), _) => said.clone(),
            (None, Focus::Field) if self.matches() => "It matches. Tab goes to the buttons; Esc cancels.".into(),
            (None, Focus::Field) => "Keys typed before this question appeared were discarded.".into(),
            (None, Focus::Cancel) => "Enter cancels; nothing is changed.".into(),
            (None, Focus::Go) if self.matches() => format!("Enter: {}.", self.asked.button),
            (None, Focus::Go) => self.missing(),
        }
    }

    /// The keys, most important first.
    pub fn keys(&self) -> Vec<KeyHint> {
        let mut keys = Vec::new();
        if self.focus == Focus::Field {
            keys.push(key("Tab", "Buttons", "Goes to the buttons"));
        } else {
            keys.push(key("Enter", "Press", "Presses the chosen button"));
            keys.push(key("Left/Right", "Choose", "Moves between the buttons"));
        }
        keys.push(key("Esc", "Cancel", "Leaves everything as it is"));
        keys
    }

    /// The question for a terminal too small for the box: title, field, buttons.
    pub fn short_lines(&self) -> Vec<String> {
        let mark =
            |focus: Focus, label: &str| if self.focus == focus { format!(">[{label}]") } else { format!(" [{label}]") };
        let mut lines = vec![self.asked.title.clone()];
        if !self.asked.expected.is_empty() {
            lines.push(format!("Type {}: [{}]", self.asked.expected_label, self.typed.shown(20).0));
        }
        lines.push(format!("{} {}", mark(Focus::Cancel, "Cancel"), mark(Focus::Go, &self.asked.button)));
        lines
    }

    /// Draws the question over the body.
    pub fn draw(&self, frame: &mut Frame<'_>, body: Rect, view: &View<'_>) {
        let theme = view.theme;
        let width = usize::from(body.width).saturating_sub(4).min(76);
        let (inside, room) = self.room((usize::from(body.width), usize::from(body.height)));
        let mut rows: Vec<(String, ratatui::style::Style)> = Vec::new();
        for line in text::wrap(&self.asked.title, inside) {
            rows.push((format!(" {line}"), theme.strong));
        }
        rows.push((String::new(), theme.text));
        let all = self.lines(inside);
        let most = all.len().saturating_sub(room);
        let from = self.scroll.min(most);
        let below = most - from;
        let mut lines: Vec<String> = all.into_iter().skip(from).take(room).collect();
        if most > 0
            && let Some(last) = lines.last_mut()
        {
            *last = match below {
                0 => format!("{last}  (PageUp: the lines above)"),
                below => format!(".. {} more lines: PageDown shows them", below + 1),
            };
        }
        rows.extend(lines.into_iter().map(|line| (format!(" {line}"), theme.text)));
        rows.push((String::new(), theme.text));
        let field_row = rows.len();
        let label = format!(" Type {} to continue:  ", self.asked.expected_label);
        let wanted = (text::width(&self.asked.expected) + 1).max(24);
        let size = inside.saturating_sub(text::width(&label) + 2).clamp(4, wanted);
        let (shown, cursor) = self.typed.shown(size);
        if !self.asked.expected.is_empty() {
            let style = if self.focus == Focus::Field { theme.strong } else { theme.text };
            rows.push((format!("{label}[{}]", text::left(&shown, size)), style));
            rows.push((String::new(), theme.text));
        }
        let button_row = rows.len();
        rows.push((String::new(), theme.text));
        let mut drawn = boxed::boxed(&rows, 2, width, theme.strong, view.glyphs);
        let row = [
            Button { label: "Cancel".into(), enabled: true },
            Button { label: self.asked.button.clone(), enabled: self.matches() },
        ];
        let focused = match self.focus {
            Focus::Field => usize::MAX,
            Focus::Cancel => 0,
            Focus::Go => 1,
        };
        let indent = width.saturating_sub(2 + buttons::columns(&row)) / 2;
        let mut buttons_line = buttons::row(&row, focused, indent, (view.theme, view.glyphs.pointer));
        let missing = width.saturating_sub(2 + indent + buttons::columns(&row));
        buttons_line.spans.push(Span::raw(" ".repeat(missing)));
        if let Some(line) = drawn.get_mut(button_row + 1) {
            let edge = |style| Span::styled(view.glyphs.pipe.to_string(), style);
            let mut spans = vec![Span::raw("  "), edge(theme.strong)];
            spans.extend(buttons_line.spans);
            spans.push(edge(theme.strong));
            *line = Line::from(spans);
        }
        let height = drawn.len();
        let top = usize::from(body.height).saturating_sub(height) / 3;
        let area = place::part(body, 0, u16::try_from(top).unwrap_or(0), body.width, body.height);
        frame.render_widget(ratatui::widgets::Clear, body);
        // In a short terminal the question scrolls so that the buttons stay.
        let skip = height.saturating_sub(usize::from(area.height));
        place::draw(frame, area, drawn.into_iter().skip(skip).collect());
        let y = field_row + 1;
        if self.focus == Focus::Field && y >= skip {
            let x = 3 + text::width(&label) + 1 + cursor;
            let (x, y) = (u16::try_from(x).unwrap_or(u16::MAX), u16::try_from(y - skip).unwrap_or(u16::MAX));
            if x < area.width && y < area.height {
                frame.set_cursor_position((area.x + x, area.y + y));
            }
        }
    }
}
