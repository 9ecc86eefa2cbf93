//! Keys that work everywhere, and the footer. The footer, the help overlay and the README table come from here and from
//! the screens' `keys()`.

use super::{
    screen::{KeyHint, View},
    widget::text,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::text::{Line, Span};

/// One key that works on every screen.
#[derive(Debug, Clone, Copy)]
pub struct Global {
    /// As drawn.
    pub key: &'static str,
    /// Short label for the footer.
    pub label: &'static str,
    /// Sentence for the help.
    pub help: &'static str,
    /// Works while letters go into a field.
    pub while_typing: bool,
    /// Stands in the footer when there is room.
    pub in_footer: bool,
}

const fn global(key: &'static str, label: &'static str, help: &'static str, typing: bool, footer: bool) -> Global {
    Global { key, label, help, while_typing: typing, in_footer: footer }
}

/// The keys that work everywhere, in the order of the help.
pub const GLOBALS: [Global; 12] = [
    global("?", "Help", "This help; F1 while typing", false, false),
    global("F1", "Help", "This help", true, false),
    global("l", "Log", "Everything that happened, numbered", false, true),
    global("v", "Plain view", "Shows this screen as plain text, for the mouse", false, false),
    global("T", "Theme", "Colours: the terminal's own 16, for light or dark ground, or none", false, false),
    global("m", "Mouse", "The wheel moves, a click presses a key of the last line; off, it selects text", false, false),
    global("d", "Detach", "Leaves the wizard; the migration goes on without it", false, false),
    global("q", "Quit", "Leaves the wizard, like d while a migration runs; asks first in the demo", false, true),
    global("R", "Take up", "Starts a new engine on a migration whose engine has died", false, false),
    global("Ctrl-C", "Quit", "The same as q", true, false),
    global("Ctrl-L", "Redraw", "Draws everything again", true, false),
    global("Ctrl-Z", "Suspend", "Back to the shell, until fg; the migration goes on", true, false),
];

/// One entry of the footer: key, label, and whether it does nothing now.
pub type Entry = (String, String, bool);

/// The entry of a screen's key.
pub fn entry(hint: &KeyHint) -> Entry {
    (hint.key.to_string(), hint.label.to_string(), hint.disabled.is_some())
}

/// The hints of the footer: the screen's own, then the global ones that it does not have, the help always last.
pub fn footer_hints(keys: &[KeyHint], typing: bool) -> Vec<Entry> {
    let mut hints: Vec<Entry> = keys.iter().map(entry).collect();
    for global in GLOBALS.iter().filter(|global| global.in_footer && (!typing || global.while_typing)) {
        if !keys.iter().any(|hint| hint.key == global.key) {
            hints.push((global.key.into(), global.label.into(), false));
        }
    }
    hints
}

/// The footer in `columns`: drops entries from the end of `hints` until it fits, never those of `kept`.
pub fn footer(hints: &[Entry], kept: &[(&str, &str)], columns: usize, view: &View<'_>) -> Line<'static> {
    let kept: Vec<Entry> = kept.iter().map(|(key, label)| ((*key).into(), (*label).into(), false)).collect();
    let width = |(key, label, _): &Entry| text::width(key) + 1 + text::width(label) + 2;
    // The last one needs no distance behind it.
    let mut room = (columns + 2).saturating_sub(kept.iter().map(width).sum::<usize>() + 1);
    let fitting = hints.iter().take_while(|entry| {
        let fits = width(entry) <= room;
        room = room.saturating_sub(width(entry));
        fits
    });
    let mut spans = vec![Span::raw(" ")];
    for (key, label, disabled) in fitting.chain(&kept) {
        let (strong, plain) =
            if *disabled { (view.theme.dim, view.theme.dim) } else { (view.theme.strong, view.theme.text) };
        spans.push(Span::styled(key.clone(), strong));
        spans.push(Span::styled(format!(" {label}  "), plain));
    }
    Line::from(spans)
}

/// The key whose entry `column` of a [`footer`] shows; `None` between them, and for an entry that names several keys.
pub fn key_under(footer: &Line<'_>, column: usize) -> Option<KeyEvent> {
    let mut spans = footer.spans.iter();
    let mut from = spans.next().map_or(0, |indent| text::width(&indent.content));
    while let (Some(key), Some(label)) = (spans.next(), spans.next()) {
        let until = from + text::width(&key.content) + text::width(label.content.trim_end());
        if (from..until).contains(&column) {
            return pressed(&key.content);
        }
        from += text::width(&key.content) + text::width(&label.content);
    }
    None
}

/// The press of a key by its drawn name; `None` for a name that stands for several.
pub fn pressed(name: &str) -> Option<KeyEvent> {
    let plain = |code| Some(KeyEvent::new(code, KeyModifiers::NONE));
    match name {
        "Enter" => plain(KeyCode::Enter),
        "Esc" => plain(KeyCode::Esc),
        "Tab" => plain(KeyCode::Tab),
        "Shift-Tab" => plain(KeyCode::BackTab),
        "Space" => plain(KeyCode::Char(' ')),
        "Del" => plain(KeyCode::Delete),
        "End" => plain(KeyCode::End),
        "F1" => plain(KeyCode::F(1)),
        _ => {
            let (letter, modifiers) = match name.strip_prefix("Ctrl-") {
                Some(letter) => (letter.to_lowercase(), KeyModifiers::CONTROL),
                None => (name.to_string(), KeyModifiers::NONE),
            };
            let mut letters = letter.chars();
            let only = letters.next().filter(|_| letters.next().is_none())?;
            Some(KeyEvent::new(KeyCode::Char(only), modifiers))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_key_is_found_again_under_its_entry() {
        let spans = [" ", "Up/Down", " Move  ", "Ctrl-R", " Reveal  ", "X", " Stop...  ", "?", " Help  "];
        let footer = Line::from(spans.map(Span::raw).to_vec());
        let text = footer.to_string();
        let under = |word: &str| key_under(&footer, text.find(word).unwrap());
        assert_eq!(under("Up/Down"), None, "two keys");
        assert_eq!(under("Reveal"), Some(KeyEvent::new(KeyCode::Char('r'), KeyModifiers::CONTROL)));
        assert_eq!(under("X Stop"), Some(KeyEvent::new(KeyCode::Char('X'), KeyModifiers::NONE)));
        assert_eq!(under("  ? Help"), None, "between two entries");
        assert_eq!(key_under(&footer, text.find("? Help").unwrap() + 5), under("? Help"));
        assert_eq!(key_under(&footer, text.len() + 3), None);
        assert_eq!(key_under(&footer, 0), None);
    }
}
