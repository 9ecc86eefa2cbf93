//! Which keys every screen has, and which key event a hint names. Footer and help are made from hints alone.

use super::{screen::KeyHint, widget::keys::key};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Keys that work on every screen, for the help.
pub fn everywhere() -> Vec<KeyHint> {
    vec![
        key("?", "Help", "This help (F1 where letters are typed)"),
        key("l", "Log", "Everything that happened; End follows, / searches, w saves"),
        key("T", "Theme", "The terminal's 16 colours, or none"),
        key("Ctrl-L", "Redraw", "Draws the whole screen again"),
        key("Ctrl-Z", "Suspend", "Back to the shell; fg returns; the migration goes on only while this runs"),
        key("Ctrl-C", "Leave", "Leaves the wizard; asks first while a migration runs"),
        key("q", "Quit", "Leaves the wizard; asks first while a migration runs"),
    ]
}

/// True when the hint `name` ("Up/Down", "Ctrl-R", "Enter") names this key.
pub fn names(name: &str, event: KeyEvent) -> bool {
    if name == "/" {
        return event.code == KeyCode::Char('/');
    }
    name.split('/').any(|one| one == spelled(event))
}

fn spelled(event: KeyEvent) -> String {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        KeyCode::Char(' ') => "Space".into(),
        KeyCode::Char(letter) if control => format!("Ctrl-{}", letter.to_ascii_uppercase()),
        KeyCode::Char(letter) => letter.to_string(),
        KeyCode::F(number) => format!("F{number}"),
        KeyCode::BackTab => "Shift-Tab".into(),
        KeyCode::Delete => "Del".into(),
        KeyCode::PageUp => "PgUp".into(),
        KeyCode::PageDown => "PgDn".into(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_keys_that_are_pressed() {
        let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!(names("Up/Down", press(KeyCode::Down)));
        assert!(names("Enter", press(KeyCode::Enter)));
        assert!(names("/", press(KeyCode::Char('/'))));
        assert!(!names("c", press(KeyCode::Char('C'))));
        assert!(names("Ctrl-R", KeyEvent::new(KeyCode::Char('r'), KeyModifiers::CONTROL)));
    }
}
