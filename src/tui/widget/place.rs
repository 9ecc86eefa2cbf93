//! Rectangles inside a body that can never leave it, and drawing of lines into them.

use super::text;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

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

/// Draws `lines` from the top of `area`; a line that is too long ends in `..`, so that it can be seen.
pub fn draw(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    if !area.is_empty() {
        let columns = usize::from(area.width);
        let lines: Vec<Line<'static>> = lines.into_iter().map(|line| fitted(line, columns)).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }
}

/// `line` in at most `columns`; blanks at its end need no mark.
fn fitted(line: Line<'static>, columns: usize) -> Line<'static> {
    if line.width() <= columns || text::width(line.to_string().trim_end()) <= columns {
        return line;
    }
    let mut room = columns.saturating_sub(2);
    let mut spans: Vec<Span<'static>> = Vec::new();
    for span in line.spans {
        if span.width() <= room {
            room -= span.width();
            spans.push(span);
            continue;
        }
        let fits = |end: &usize| text::width(&span.content[..*end]) <= room;
        let end = text::ends_of_graphemes(&span.content).into_iter().take_while(fits).last().unwrap_or(0);
        spans.push(Span::styled(format!("{}..", &span.content[..end]), span.style));
        break;
    }
    Line { spans, ..Line::default() }.style(line.style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_shows_that_it_is_cut() {
        let line = || Line::from(vec![Span::raw("  still here: "), Span::raw("checkout-api"), Span::raw("  OK")]);
        let drawn = |columns| fitted(line(), columns).to_string();
        assert_eq!(drawn(40), "  still here: checkout-api  OK");
        assert_eq!(drawn(29), "  still here: checkout-api ..");
        assert_eq!(drawn(27), "  still here: checkout-ap..");
        assert_eq!(drawn(12), "  still he..");
        assert_eq!(fitted(Line::raw("full          "), 6).to_string().trim_end(), "full");
        for columns in 2..40 {
            assert!(fitted(line(), columns).width() <= columns, "{columns}");
        }
    }
}
