//! Key hints, and plain key presses.

use crate::tui::screen::KeyHint;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A key that works now.
pub fn key(key: &'static str, label: &'static str, help: &'static str) -> KeyHint {
    KeyHint { key, label, help, disabled: None }
}

/// A key that does nothing now when `disabled` says why.
pub fn key_unless(key: &'static str, label: &'static str, help: &'static str, disabled: Option<String>) -> KeyHint {
    KeyHint { key, label, help, disabled }
}

/// The code of a press (or repeat) without Ctrl and Alt; those chords belong to the whole program.
pub fn plain(key: KeyEvent) -> Option<KeyCode> {
    let chord = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SUPER);
    (key.kind != KeyEventKind::Release && !chord).then_some(key.code)
}
