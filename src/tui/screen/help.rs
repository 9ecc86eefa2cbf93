//! 4.14 Help overlay: the keys of the screen below, then those that work everywhere. Generated, never written twice.

use super::{KeyHint, View};
use crate::tui::{
    keymap,
    widget::{keys::key, place, text},
};
use crossterm::event::KeyCode;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Clear,
};

/// How far the help is scrolled.
#[derive(Debug, Default)]
pub struct State {
    scroll: usize,
}

impl State {
    /// A key; true when the help is to be closed. `most` is how far it can be scrolled.
    pub fn on_key(&mut self, code: KeyCode, most: usize) -> bool {
        match code {
            KeyCode::Esc | KeyCode::Char('?' | 'q') | KeyCode::F(1) | KeyCode::Enter => return true,
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::PageDown => self.scroll += 10,
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        self.scroll = self.scroll.min(most);
        false
    }

    /// The keys of the help itself; `most` is how far it can be scrolled.
    pub fn keys(&self, most: usize) -> Vec<KeyHint> {
        let scroll = (most > 0).then(|| key("Up/Down", "Scroll", "Moves the help"));
        scroll.into_iter().chain([key("Esc", "Close", "Closes the help; also ? and q")]).collect()
    }

    /// Draws the help for `keys` over the body.
    pub fn draw(&self, frame: &mut Frame<'_>, body: Rect, view: &View<'_>, keys: &[KeyHint], typing: bool) {
        let lines = lines(usize::from(body.width), view, keys, typing);
        let most = lines.len().saturating_sub(usize::from(body.height));
        frame.render_widget(Clear, body);
        place::draw(frame, body, lines.into_iter().skip(self.scroll.min(most)).collect());
    }
}

/// The whole help, `columns` wide.
pub fn lines(columns: usize, view: &View<'_>, keys: &[KeyHint], typing: bool) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(" Keys on this screen", view.theme.strong)];
    for hint in keys {
        lines.extend(entry(hint.key, hint.label, hint.help, hint.disabled.as_deref(), columns, view));
    }
    lines.push(Line::raw(""));
    lines.push(Line::styled(" Everywhere", view.theme.strong));
    for global in keymap::GLOBALS.iter().filter(|global| !typing || global.while_typing) {
        lines.extend(entry(global.key, global.label, global.help, None, columns, view));
    }
    lines.push(Line::raw(""));
    lines.push(Line::raw(text::cut(&format!(" mongoferry {}", env!("CARGO_PKG_VERSION")), columns)));
    let detached = " Detached? mongoferry attach opens this wizard again; mongoferry status prints one look.";
    lines.push(Line::raw(text::cut(detached, columns)));
    lines
}

fn entry(
    key: &str,
    label: &str,
    help: &str,
    disabled: Option<&str>,
    columns: usize,
    view: &View<'_>,
) -> Vec<Line<'static>> {
    let start = format!("   {} {}", text::left(key, 10), text::left(label, 22));
    let room = columns.saturating_sub(text::width(&start) + 1).max(8);
    let mut wrapped = text::wrap(help, room).into_iter();
    let first = wrapped.next().unwrap_or_default();
    let indent = " ".repeat(text::width(&start));
    let mut lines = vec![Line::from(vec![Span::styled(start, view.theme.strong), Span::raw(first)])];
    lines.extend(wrapped.map(|line| Line::raw(format!("{indent}{line}"))));
    if let Some(why) = disabled {
        let why = text::wrap(&format!("(now: {why})"), room);
        lines.extend(why.into_iter().map(|line| Line::styled(format!("{indent}{line}"), view.theme.dim)));
    }
    lines
}
