//! One line of text with a cursor: plain, or masked at a fixed length.

use crate::{secret::Secret, tui::widget::text};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use zeroize::Zeroizing;

/// What is shown for a secret, however long it is.
const MASK: &str = "**************";
/// Room from the start, so that typing does not leave copies behind in freed memory.
const CAPACITY: usize = 256;

/// One line of text. Wiped on drop, because a connection string may hold a password.
#[derive(Clone)]
pub struct TextField {
    value: Zeroizing<String>,
    /// Byte offset of the cursor, always between two things that a terminal draws in one place.
    cursor: usize,
    secret: bool,
    revealed: bool,
}

impl std::fmt::Debug for TextField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextField(****)")
    }
}

impl Default for TextField {
    fn default() -> Self {
        Self { value: Zeroizing::new(String::with_capacity(CAPACITY)), cursor: 0, secret: false, revealed: false }
    }
}

impl TextField {
    /// A plain field.
    pub fn plain(value: &str) -> Self {
        let mut field = Self::default();
        field.set(value);
        field
    }

    /// A masked field.
    pub fn secret() -> Self {
        Self { secret: true, ..Self::default() }
    }

    /// The text itself.
    pub fn text(&self) -> &str {
        &self.value
    }

    /// The text without blanks around it.
    pub fn trimmed(&self) -> &str {
        self.value.trim()
    }

    /// The text as a secret; `None` when nothing was entered.
    pub fn to_secret(&self) -> Option<Secret> {
        (!self.value.is_empty()).then(|| Secret::new(self.value.to_string()))
    }

    /// Replaces the text; the cursor goes to its end.
    pub fn set(&mut self, value: &str) {
        self.value = Zeroizing::new(String::with_capacity(CAPACITY.max(value.len())));
        self.value.extend(value.chars().filter(|character| !character.is_control()));
        self.cursor = self.value.len();
    }

    /// Shows or hides a secret.
    pub fn toggle_reveal(&mut self) {
        self.revealed = self.secret && !self.revealed;
    }

    /// True while a secret is shown in the clear.
    pub fn is_revealed(&self) -> bool {
        self.revealed
    }

    /// Hides a revealed secret, when leaving the field.
    pub fn hide(&mut self) {
        self.revealed = false;
    }

    /// Inserts pasted text: the first line only, control characters left out.
    pub fn paste(&mut self, pasted: &str) {
        let line = pasted.trim_start_matches(['\r', '\n']).split(['\r', '\n']).next().unwrap_or_default();
        let line = if self.secret { line } else { line.trim() };
        for character in line.chars().filter(|character| !character.is_control()) {
            self.insert(character);
        }
    }

    fn insert(&mut self, character: char) {
        let needed = self.value.len() + character.len_utf8();
        if needed > self.value.capacity() {
            let mut roomier = Zeroizing::new(String::with_capacity(needed * 2));
            roomier.push_str(&self.value);
            self.value = roomier;
        }
        self.value.insert(self.cursor, character);
        self.cursor += character.len_utf8();
    }

    fn before(&self) -> usize {
        text::ends_of_graphemes(&self.value[..self.cursor]).into_iter().rev().nth(1).unwrap_or(0)
    }

    fn after(&self) -> usize {
        self.cursor + text::ends_of_graphemes(&self.value[self.cursor..]).first().copied().unwrap_or(0)
    }

    fn word_before(&self) -> usize {
        let is_word = |character: char| character.is_alphanumeric();
        let trimmed = self.value[..self.cursor].trim_end_matches(|character| !is_word(character));
        trimmed.trim_end_matches(is_word).len()
    }

    /// Edits the text; false when the key is not one of a text field.
    pub fn on_key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SUPER) {
            return false;
        }
        match (key.code, control) {
            (KeyCode::Char('u'), true) => {
                self.value.drain(..self.cursor);
                self.cursor = 0;
            }
            (KeyCode::Char('k'), true) => self.value.truncate(self.cursor),
            (KeyCode::Char('w'), true) => {
                let from = self.word_before();
                self.value.drain(from..self.cursor);
                self.cursor = from;
            }
            (KeyCode::Char('a'), true) | (KeyCode::Home, _) => self.cursor = 0,
            (KeyCode::Char('e'), true) | (KeyCode::End, _) => self.cursor = self.value.len(),
            (KeyCode::Left, true) => self.cursor = self.word_before(),
            (KeyCode::Left, false) => self.cursor = self.before(),
            (KeyCode::Right, _) => self.cursor = self.after(),
            (KeyCode::Backspace, _) => {
                let from = self.before();
                self.value.drain(from..self.cursor);
                self.cursor = from;
            }
            (KeyCode::Delete, _) => {
                let until = self.after();
                self.value.drain(self.cursor..until);
            }
            (KeyCode::Char(character), false) if !character.is_control() => self.insert(character),
            _ => return false,
        }
        true
    }

    /// What is drawn in `columns`, and the column of the cursor in it. A secret is a mask of fixed length; the password
    /// in a connection string is masked while it still stands there.
    pub fn shown(&self, columns: usize) -> (String, usize) {
        if self.secret && !self.revealed {
            let mask = if self.value.is_empty() { "" } else { MASK };
            let mask: String = mask.chars().take(columns).collect();
            let at = mask.len().min(columns.saturating_sub(1));
            return (mask, at);
        }
        let shown: String = match hidden_part(&self.value) {
            Some(range) => self
                .value
                .char_indices()
                .map(|(at, character)| if range.contains(&at) { '*' } else { character })
                .collect(),
            None => self.value.to_string(),
        };
        let before: String = shown.chars().take(self.value[..self.cursor].chars().count()).collect();
        let starts = std::iter::once(0).chain(text::ends_of_graphemes(&before));
        let start = starts.into_iter().find(|start| text::width(&before[*start..]) < columns.max(1)).unwrap_or(0);
        let at = text::width(&before[start..]);
        let rest = &shown[start..];
        let fits = |end: &usize| text::width(&rest[..*end]) <= columns;
        let end = text::ends_of_graphemes(rest).into_iter().take_while(fits).last().unwrap_or(0);
        let window = rest[..end].to_string();
        (window, at)
    }
}

/// Bytes of `value` that are, or may be about to become, the password of a connection string.
fn hidden_part(value: &str) -> Option<std::ops::Range<usize>> {
    let authority = value.find("://").map(|at| at + 3)?;
    let rest = &value[authority..];
    let colon = authority + rest.find(':')? + 1;
    match rest.rfind('@').map(|at| authority + at) {
        Some(end) => (colon < end).then_some(colon..end),
        None => {
            let port: &str = value[colon..].split(['/', ',', '?']).next().unwrap_or_default();
            (!port.chars().all(|character| character.is_ascii_digit())).then_some(colon..value.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(field: &mut TextField, code: KeyCode, modifiers: KeyModifiers) {
        assert!(field.on_key(KeyEvent::new(code, modifiers)));
    }

    fn typed(text: &str) -> TextField {
        let mut field = TextField::default();
        for character in text.chars() {
            press(&mut field, KeyCode::Char(character), KeyModifiers::NONE);
        }
        field
    }

    #[test]
    fn editing_keys_do_what_a_shell_does() {
        let mut field = typed("db-01.example.net");
        press(&mut field, KeyCode::Char('w'), KeyModifiers::CONTROL);
        assert_eq!(field.text(), "db-01.example.");
        press(&mut field, KeyCode::Home, KeyModifiers::NONE);
        press(&mut field, KeyCode::Delete, KeyModifiers::NONE);
        press(&mut field, KeyCode::Char('é'), KeyModifiers::NONE);
        press(&mut field, KeyCode::Left, KeyModifiers::NONE);
        press(&mut field, KeyCode::Right, KeyModifiers::NONE);
        assert_eq!(field.text(), "éb-01.example.");
        press(&mut field, KeyCode::Char('u'), KeyModifiers::CONTROL);
        assert_eq!(field.text(), "b-01.example.");
        assert_eq!(field.shown(6), ("b-01.e".into(), 0));
        press(&mut field, KeyCode::End, KeyModifiers::NONE);
        assert_eq!(field.shown(6), ("mple.".into(), 5));
    }

    #[test]
    fn the_cursor_stands_where_a_terminal_puts_it() {
        // Two columns each; one column with an accent of its own; a flag and a family of several parts, two columns each.
        let flag = "\u{1f1e9}\u{1f1ea}";
        let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
        let mut field = typed(&format!("数据a\u{301}{flag}{family}z"));
        let mut columns = vec![field.shown(30).1];
        for _ in 0..7 {
            press(&mut field, KeyCode::Left, KeyModifiers::NONE);
            columns.push(field.shown(30).1);
        }
        assert_eq!(columns, [10, 9, 7, 5, 4, 2, 0, 0]);
        // What is deleted is what is seen: not half of it.
        press(&mut field, KeyCode::End, KeyModifiers::NONE);
        press(&mut field, KeyCode::Left, KeyModifiers::NONE);
        press(&mut field, KeyCode::Backspace, KeyModifiers::NONE);
        press(&mut field, KeyCode::Backspace, KeyModifiers::NONE);
        press(&mut field, KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!(field.text(), "数据z");
        press(&mut field, KeyCode::Home, KeyModifiers::NONE);
        press(&mut field, KeyCode::Delete, KeyModifiers::NONE);
        assert_eq!(field.text(), "据z");
        // Half of a wide character is never shown.
        let field = typed("数据库");
        assert_eq!(field.shown(5), ("据库".into(), 4));
        assert_eq!(field.shown(6), ("据库".into(), 4));
        assert_eq!(field.shown(7), ("数据库".into(), 6));
    }

    #[test]
    fn a_secret_is_masked_at_a_fixed_length() {
        let mut field = TextField::secret();
        field.paste("x\n");
        let short = field.shown(30);
        field.set("a much longer password than that");
        assert_eq!(field.shown(30), short);
        assert_eq!(format!("{field:?}"), "TextField(****)");
        field.toggle_reveal();
        assert!(field.shown(40).0.contains("longer"));
        field.hide();
        assert!(!field.shown(40).0.contains("longer"));
    }

    #[test]
    fn the_password_in_a_connection_string_is_never_drawn() {
        for text in ["mongodb://u:s3cret@h:1/", "mongodb://u:s3cret", "mongodb+srv://u:s3@cret@h"] {
            let shown = typed(text).shown(60).0;
            assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
        }
        assert_eq!(typed("mongodb://h:27017/?replicaSet=rs0").shown(60).0, "mongodb://h:27017/?replicaSet=rs0");
    }

    #[test]
    fn only_the_first_line_is_pasted() {
        let mut field = TextField::default();
        field.paste(" db-01:27017 \rrm -rf\r");
        assert_eq!(field.text(), "db-01:27017");
    }
}
