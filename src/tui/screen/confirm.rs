//! 4.13 Typed confirmation: default Cancel, armed late, paste refused, key repeat ignored.

use super::{KeyHint, View};
use crate::tui::{
    action::{Action, Confirmation},
    field::TextField,
    widget::{
        boxed,
        buttons::{self, Button},
        keys::{key, key_unless},
        place, text,
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::{SignedDuration, Timestamp};
use ratatui::{Frame, layout::Rect, text::Line};

/// Keys are ignored for this long after the question appeared.
const ARMED_AFTER: SignedDuration = SignedDuration::from_millis(400);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    Text,
    Cancel,
    Go,
}

/// One open question.
#[derive(Debug)]
pub struct State {
    question: Confirmation,
    typed: TextField,
    focus: Focus,
    asked: Timestamp,
}

/// What became of a key.
#[derive(Debug)]
pub enum Outcome {
    /// The question stays open.
    Stay,
    /// No.
    Cancel,
    /// Yes.
    Agreed(Action),
}

impl State {
    /// Asks now.
    pub fn new(question: Confirmation, now: Timestamp) -> Self {
        let focus = if question.expected.is_empty() { Focus::Cancel } else { Focus::Text };
        Self { question, typed: TextField::default(), focus, asked: now }
    }

    fn matches(&self) -> bool {
        self.typed.text() == self.question.expected
    }

    fn step(&mut self, forward: bool) {
        self.focus = match (self.focus, forward, self.question.expected.is_empty()) {
            (Focus::Text, true, _) | (Focus::Go, false, _) => Focus::Cancel,
            (Focus::Cancel, true, _) | (Focus::Text, false, _) => Focus::Go,
            (Focus::Go, true, false) | (Focus::Cancel, false, false) => Focus::Text,
            (Focus::Go, true, true) => Focus::Cancel,
            (Focus::Cancel, false, true) => Focus::Go,
        };
    }
}

/// The keys, most important first.
pub fn keys(state: &State) -> Vec<KeyHint> {
    let why = (!state.matches()).then(|| format!("Type {} first.", state.question.expected_label));
    vec![
        key("Tab", "Buttons", "Moves between the field and the buttons"),
        key_unless("Enter", "Press", "Presses the focused button", why.filter(|_| state.focus == Focus::Go)),
        key("Esc", "Cancel", "Nothing is done"),
    ]
}

/// One sentence: what now.
pub fn status(state: &State) -> String {
    match (state.question.expected.is_empty(), state.matches()) {
        (true, _) => "Left/Right chooses, Enter presses, Esc cancels.".into(),
        (false, true) => format!("Tab to \"{}\" and press Enter; Esc cancels.", state.question.button),
        (false, false) => "Keys typed before this question appeared were discarded.".into(),
    }
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, now: Timestamp) -> Outcome {
    if key.kind == KeyEventKind::Repeat && key.code == KeyCode::Enter {
        return Outcome::Stay;
    }
    if key.code == KeyCode::Esc {
        return Outcome::Cancel;
    }
    if now.duration_since(state.asked) < ARMED_AFTER {
        return Outcome::Stay;
    }
    match (key.code, state.focus) {
        (KeyCode::Tab | KeyCode::Down, _) => state.step(true),
        (KeyCode::BackTab | KeyCode::Up, _) => state.step(false),
        (KeyCode::Left | KeyCode::Right, Focus::Cancel | Focus::Go) => {
            state.focus = if state.focus == Focus::Cancel { Focus::Go } else { Focus::Cancel };
        }
        (KeyCode::Enter, Focus::Text) => state.step(true),
        (KeyCode::Enter, Focus::Cancel) => return Outcome::Cancel,
        (KeyCode::Enter, Focus::Go) if state.matches() => return Outcome::Agreed((*state.question.then).clone()),
        (_, Focus::Text) if !key.modifiers.contains(KeyModifiers::ALT) => {
            state.typed.on_key(key);
        }
        _ => {}
    }
    Outcome::Stay
}

/// Draws the question over the body.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let columns = usize::from(body.width).min(76);
    let inside = columns.saturating_sub(6).max(4);
    let theme = view.theme;
    let mut rows = vec![(String::new(), theme.text)];
    for line in &state.question.body {
        for wrapped in text::wrap(line, inside) {
            rows.push((format!("  {wrapped}"), theme.text));
        }
        if line.is_empty() {
            rows.push((String::new(), theme.text));
        }
    }
    rows.push((String::new(), theme.text));
    if !state.question.expected.is_empty() {
        let (shown, _) = state.typed.shown(24);
        let label = format!("  Type {} ({}) to continue:", state.question.expected_label, state.question.expected);
        rows.push((text::cut(&label, inside + 2), theme.text));
        let style = if state.focus == Focus::Text { theme.strong } else { theme.text };
        rows.push((format!("  [{}]", text::left(&shown, 24)), style));
        rows.push((String::new(), theme.text));
    }
    let mut lines = boxed::boxed(&rows, 2, columns.saturating_sub(2), theme.strong, view.glyphs);
    if let Some(first) = lines.first_mut() {
        let title = text::cut(&format!("  {} {} ", view.glyphs.corners[0], state.question.title), columns);
        let rest = view.glyphs.rule.repeat(columns.saturating_sub(text::width(&title) + 1));
        *first = Line::styled(format!("{title}{rest}{}", view.glyphs.corners[1]), theme.strong);
    }
    let focused = match state.focus {
        Focus::Cancel => 0,
        Focus::Go => 1,
        Focus::Text => usize::MAX,
    };
    let go = Button { label: state.question.button.clone(), enabled: state.matches() };
    let row = [Button { label: "Cancel".into(), enabled: true }, go];
    let height = usize::from(body.height);
    lines.truncate(height.saturating_sub(2));
    lines.push(Line::default());
    lines.push(buttons::row(&row, focused, 6, theme));
    place::draw(frame, body, lines);
}
