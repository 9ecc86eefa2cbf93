//! Rows of a form: what is drawn, which one has the focus, where the cursor stands; scrolled so that the focus is seen.

use super::TextField;
use crate::tui::{screen::View, widget::text};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

/// Columns in front of the values: mark, label.
pub const LABEL: usize = 22;

/// One row of a form.
#[derive(Debug, Clone)]
pub struct FormRow {
    /// What is drawn.
    pub line: Line<'static>,
    /// The focus is here.
    pub focused: bool,
    /// Column of the cursor, when there is one.
    pub cursor: Option<usize>,
}

impl FormRow {
    /// A row that never has the focus.
    pub fn text(line: impl Into<Line<'static>>) -> Self {
        Self { line: line.into(), focused: false, cursor: None }
    }
}

/// `>` for the focus, `!` for an error, and the label, in [`LABEL`] columns.
pub fn label(name: &str, focused: bool, error: bool, view: &View<'_>) -> Vec<Span<'static>> {
    let pointer = if focused { view.glyphs.pointer } else { " " };
    let mark = if error { Span::styled("!", view.theme.fail) } else { Span::raw(" ") };
    let name = text::left(name, LABEL.saturating_sub(3));
    let style = if focused { view.theme.strong } else { view.theme.text };
    vec![mark, Span::styled(pointer.to_string(), view.theme.strong), Span::styled(format!(" {name}"), style)]
}

/// `   User               [ferry_src                        ]   Ctrl-R reveal`
pub fn field(name: &str, field: &TextField, size: usize, note: &str, at: (bool, bool), view: &View<'_>) -> FormRow {
    let (focused, error) = at;
    let (shown, cursor) = field.shown(size);
    let mut spans = label(name, focused, error, view);
    let style = if focused { view.theme.strong } else { view.theme.text };
    spans.push(Span::styled(format!("[{}]", text::left(&shown, size)), style));
    spans.push(Span::styled(format!("   {note}"), view.theme.dim));
    FormRow { line: Line::from(spans), focused, cursor: focused.then_some(LABEL + 1 + cursor) }
}

/// `(*) off   ( ) on, public CA`
pub fn radio(name: &str, choices: &[&str], chosen: usize, at: (bool, bool), view: &View<'_>) -> FormRow {
    let (focused, error) = at;
    let mut spans = label(name, focused, error, view);
    for (index, choice) in choices.iter().enumerate() {
        let mark = if index == chosen { "(*)" } else { "( )" };
        let style = if focused && index == chosen { view.theme.selected } else { view.theme.text };
        spans.push(Span::styled(format!("{mark} {choice}"), style));
        spans.push(Span::raw("   "));
    }
    FormRow { line: Line::from(spans), focused, cursor: None }
}

/// Draws the rows into `area`, scrolled so that the focused one is visible, and places the cursor.
pub fn draw(frame: &mut Frame<'_>, area: Rect, rows: &[FormRow]) {
    if area.is_empty() {
        return;
    }
    let height = usize::from(area.height);
    let first = rows.iter().position(|row| row.focused).unwrap_or(0);
    let last = rows.iter().rposition(|row| row.focused).unwrap_or(0);
    let offset = if last < height { 0 } else { (last + 1 - height).min(first) };
    let lines: Vec<Line<'static>> = rows.iter().skip(offset).take(height).map(|row| row.line.clone()).collect();
    frame.render_widget(Paragraph::new(lines), area);
    let cursor = rows.iter().enumerate().skip(offset).take(height).find_map(|(at, row)| Some((at, row.cursor?)));
    if let Some((row, column)) = cursor
        && let (Ok(column), Ok(row)) = (u16::try_from(column), u16::try_from(row - offset))
        && column < area.width
    {
        frame.set_cursor_position((area.x + column, area.y + row));
    }
}
