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

/// The row, indented by `indent`; the button at `focused` is highlighted and has the pointer in front of it.
pub fn row(buttons: &[Button], focused: usize, indent: usize, (theme, pointer): (&Theme, &str)) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, button) in buttons.iter().enumerate() {
        let gap = if index > 0 { 3 } else { indent };
        let is_pointed = index == focused && gap > 0;
        spans.push(Span::raw(" ".repeat(gap - usize::from(is_pointed))));
        spans.push(Span::raw(if is_pointed { pointer.to_string() } else { String::new() }));
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
