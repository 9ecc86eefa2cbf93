//! 4.14 Help: the keys of this screen, then those that work everywhere; made from the same hints as the footer.

use super::{KeyHint, View};
use crate::tui::{
    keymap,
    widget::{keys::key, place, text},
};
use ratatui::{Frame, layout::Rect, text::Line};

/// The keys of the help itself.
pub fn keys() -> Vec<KeyHint> {
    vec![key("Up/Down", "Scroll", "Scrolls the help"), key("Esc", "Close", "Closes the help")]
}

/// One sentence.
pub fn status() -> String {
    "Esc, ? or q closes this help.".into()
}

/// Draws the help over the body, from line `from` on.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, hints: &[KeyHint], from: usize) {
    let columns = usize::from(body.width);
    let heading = |name: &str| {
        let rule = view.glyphs.rule.repeat(columns.saturating_sub(text::width(name) + 5));
        Line::styled(format!(" {} {name} {rule}", view.glyphs.rule), view.theme.strong)
    };
    let entry = |hint: &KeyHint| {
        let why = hint.disabled.as_ref().map_or(String::new(), |why| format!(" Now: {why}"));
        let line = format!("   {:<10} {:<22} {}{why}", hint.key, hint.label, hint.help);
        let style = if hint.disabled.is_some() { view.theme.dim } else { view.theme.text };
        Line::styled(text::cut(&line, columns), style)
    };
    let mut lines = vec![heading("Keys on this screen")];
    lines.extend(hints.iter().map(entry));
    lines.push(Line::default());
    lines.push(heading("Everywhere"));
    lines.extend(keymap::everywhere().iter().map(entry));
    lines.push(Line::default());
    lines.push(Line::styled(format!("   mongoferry {}", env!("CARGO_PKG_VERSION")), view.theme.dim));
    let last = lines.len().saturating_sub(usize::from(body.height));
    place::draw(frame, body, lines.into_iter().skip(from.min(last)).collect());
}
