//! Rectangles inside a body that can never leave it, and drawing of lines into them.

use ratatui::{Frame, layout::Rect, text::Line, widgets::Paragraph};

/// The part of `body` that begins `x` columns and `y` rows inside it and is at most `width` x `height`; clipped to
/// `body`, so it may be empty and is always safe to draw into.
pub fn part(body: Rect, x: u16, y: u16, width: u16, height: u16) -> Rect {
    let left = body.x.saturating_add(x).min(body.right());
    let top = body.y.saturating_add(y).min(body.bottom());
    Rect::new(left, top, width.min(body.right() - left), height.min(body.bottom() - top))
}

/// Everything of `body` from row `y` on.
pub fn below(body: Rect, y: u16) -> Rect {
    part(body, 0, y, body.width, body.height)
}

/// Draws `lines` from the top of `area`; what does not fit is cut.
pub fn draw(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    if !area.is_empty() {
        frame.render_widget(Paragraph::new(lines), area);
    }
}
