//! A box around a message.

use super::text;
use crate::tui::theme::Glyphs;
use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// `rows` inside a box of `columns` in all, indented by `indent`; the border has `border`, each row its own style.
pub fn boxed(
    rows: &[(String, Style)],
    indent: usize,
    columns: usize,
    border: Style,
    glyphs: &Glyphs,
) -> Vec<Line<'static>> {
    let inside = columns.saturating_sub(2);
    let [top_left, top_right, bottom_left, bottom_right] = glyphs.corners;
    let space = " ".repeat(indent);
    let edge = |from: &str, to: &str| {
        Line::from(vec![
            Span::raw(space.clone()),
            Span::styled(format!("{from}{}{to}", glyphs.rule.repeat(inside)), border),
        ])
    };
    let mut lines = vec![edge(top_left, top_right)];
    for (row, style) in rows {
        lines.push(Line::from(vec![
            Span::raw(space.clone()),
            Span::styled(glyphs.pipe, border),
            Span::styled(text::left(row, inside), *style),
            Span::styled(glyphs.pipe, border),
        ]));
    }
    lines.push(edge(bottom_left, bottom_right));
    lines
}
