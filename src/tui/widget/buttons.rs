//! A row of buttons: `[ Cancel ]       [ Extend by 24 h ]`.

use super::text;
use crate::tui::theme::Theme;
use ratatui::text::{Line, Span};

/// One button.
#[derive(Debug, Clone)]
pub struct Button {
    /// What it says.
    pub label: String,
    /// False: drawn dim; the status line says why.
    pub enabled: bool,
}

/// The row, indented by `indent`; the button at `focused` is highlighted.
pub fn row(buttons: &[Button], focused: usize, indent: usize, theme: &Theme) -> Line<'static> {
    let mut spans = vec![Span::raw(" ".repeat(indent))];
    for (index, button) in buttons.iter().enumerate() {
        if index > 0 {
            spans.push(Span::raw("   "));
        }
        let base = if button.enabled { theme.text } else { theme.dim };
        let style = if index == focused { base.patch(theme.selected) } else { base };
        spans.push(Span::styled(format!("[ {} ]", button.label), style));
    }
    Line::from(spans)
}

/// Columns that the row takes, without the indent.
pub fn columns(buttons: &[Button]) -> usize {
    buttons.iter().map(|button| text::width(&button.label) + 4).sum::<usize>() + 3 * buttons.len().saturating_sub(1)
}
