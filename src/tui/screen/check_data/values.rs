//! One differing document as both clusters had it when it was asked for; kept for this screen alone.

use super::View;
use crate::{
    model::ShownDocument,
    tui::widget::{place, text},
};
use ratatui::{Frame, layout::Rect, text::Line};

/// The document, and how far it is scrolled.
#[derive(Debug)]
pub struct Values {
    shown: ShownDocument,
    scroll: usize,
}

impl Values {
    /// Shown from the top.
    pub fn new(shown: ShownDocument) -> Self {
        Self { shown, scroll: 0 }
    }

    /// Up or down by one line.
    pub fn scroll(&mut self, down: bool) {
        self.scroll = if down { self.scroll.saturating_add(1) } else { self.scroll.saturating_sub(1) };
    }

    /// Namespace and `_id`, to ask for it again.
    pub fn named(&self) -> (String, String) {
        (self.shown.namespace.clone(), self.shown.id.clone())
    }

    /// Both values of every place at which they differ, then both documents.
    pub fn draw(&self, frame: &mut Frame<'_>, body: Rect, view: &View<'_>) {
        let lines = self.lines(usize::from(body.width), view);
        let most = lines.len().saturating_sub(usize::from(body.height));
        let rest = lines.into_iter().skip(self.scroll.min(most)).take(usize::from(body.height));
        place::draw(frame, body, rest.collect());
    }

    fn lines(&self, columns: usize, view: &View<'_>) -> Vec<Line<'static>> {
        let shown = &self.shown;
        let title = format!(" {} _id {}", shown.namespace, shown.id);
        let read = format!("read at {} UTC", text::clock(shown.at));
        let mut lines = vec![Line::styled(text::ends(&title, &read, columns.saturating_sub(1)), view.theme.strong)];
        let verdict = match (&shown.source, &shown.destination) {
            (None, None) => "neither side has it any more",
            (None, Some(_)) => "only the destination has it",
            (Some(_), None) => "only the source has it",
            (Some(_), Some(_)) if shown.is_equal() => "both sides have the same bytes now",
            (Some(_), Some(_)) => "it differs",
        };
        lines.push(Line::raw(format!(" {verdict}; values are shown here only, never logged")));
        let both = |lines: &mut Vec<Line<'static>>, source: &Option<String>, destination: &Option<String>| {
            for (label, value) in [("     source       ", source), ("     destination  ", destination)] {
                let value = value.as_deref().unwrap_or("-");
                lines.extend(text::labelled(label, value, columns.saturating_sub(1)).into_iter().map(Line::raw));
            }
        };
        for field in &shown.fields {
            lines.push(Line::raw(""));
            lines.push(Line::styled(format!("   {}", field.path), view.theme.fail));
            both(&mut lines, &field.source, &field.destination);
        }
        lines.push(Line::raw(""));
        lines.push(Line::styled("   the whole document", view.theme.dim));
        both(&mut lines, &shown.source, &shown.destination);
        lines
    }
}
