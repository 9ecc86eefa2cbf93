//! Step lists: `OK`, `...`, `FAIL` in front of what was done and its evidence.

use super::text;
use crate::{
    model::snapshot::{StepLine, StepState},
    tui::theme::Theme,
};
use ratatui::text::{Line, Span};

/// One row per step, `columns` wide. A failed step wraps its detail: it holds the reason and a command.
pub fn lines(steps: &[StepLine], columns: usize, theme: &Theme) -> Vec<Line<'static>> {
    let label_columns = steps.iter().map(|step| text::width(&step.label)).max().unwrap_or(0).clamp(20, 34);
    let mut lines = Vec::new();
    for step in steps {
        let (word, style) = match step.state {
            StepState::Waiting => ("", theme.dim),
            StepState::Running => ("...", theme.text),
            StepState::Ok => ("OK", theme.ok),
            StepState::Failed => ("FAIL", theme.fail),
        };
        let room = columns.saturating_sub(9 + label_columns + 2);
        let head = |detail: String| {
            Line::from(vec![
                Span::styled(format!("   {word:<6}"), style),
                Span::raw(format!("{}  {detail}", text::left(&step.label, label_columns))),
            ])
        };
        if step.state == StepState::Failed && text::width(&step.detail) > room {
            lines.push(head(String::new()));
            lines.extend(text::labelled("         ", &step.detail, columns).into_iter().map(Line::from));
        } else {
            lines.push(head(text::cut(&step.detail, room)));
        }
    }
    lines
}
