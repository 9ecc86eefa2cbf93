//! Keys that work everywhere, and the footer. The footer, the help overlay and the README table come from here and from
//! the screens' `keys()`.

use super::{
    screen::{KeyHint, View},
    widget::text,
};
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
pub const GLOBALS: [Global; 11] = [
    global("?", "Help", "This help; F1 while typing", false, false),
    global("F1", "Help", "This help", true, false),
    global("l", "Log", "Everything that happened, numbered", false, true),
    global("v", "Plain view", "Shows this screen as plain text, for the mouse", false, false),
    global("T", "Theme", "Colours: the terminal's own 16, for light or dark ground, or none", false, false),
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
