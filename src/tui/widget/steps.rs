//! Step lists: `OK`, `...`, `FAIL` in front of what was done and its evidence.

use super::text;
use crate::{
    model::snapshot::{StepLine, StepState},
    tui::theme::Theme,
};
use ratatui::text::{Line, Span};

/// One row per step, `columns` wide. A step that failed or runs wraps its detail: it
/// holds the reason, what is waited for, or a command.
pub fn lines(steps: &[StepLine], columns: usize, theme: &Theme) -> Vec<Line<'static>> {
    let label_columns = steps.iter().map(|step| text::width(&step.label)).max().unwrap_or(0).clamp(20, 27);
    let mut lines = Vec::new();
    for step in steps {
        let (word, style) = match step.state {
            StepState::Waiting => ("", theme.dim),
            StepState::Running => ("...", theme.text),
            StepState::Ok => ("OK", theme.ok),
            StepState::Failed => ("FAIL", theme.fail),
        };
        let head = |rest: String| Line::from(vec![Span::styled(format!("   {word:<6}"), style), Span::raw(rest)]);
        // A label longer than its column pushes its detail to the right.
        let text_columns = label_columns.max(text::width(&step.label));
        let row = format!("{}  {}", text::left(&step.label, text_columns), step.detail);
        let room = columns.saturating_sub(9);
        let is_told_whole = matches!(step.state, StepState::Failed | StepState::Running);
        if is_told_whole && text::width(&row) > room {
            lines.push(head(text::cut(&step.label, room)));
            lines.extend(text::labelled("         ", &step.detail, columns).into_iter().map(Line::from));
        } else {
            lines.push(head(text::cut(row.trim_end(), room)));
        }
    }
    lines
}
