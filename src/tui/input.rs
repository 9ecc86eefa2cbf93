//! Input as the terminal sends it: tells a paste that arrives as single keys from a person who types.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// More printable keys than this …
const KEYS: usize = 8;
/// … within this time are a paste, not a person.
const WITHIN: Duration = Duration::from_millis(30);
/// A burst ends when nothing came for so long.
const QUIET: Duration = Duration::from_millis(100);

/// Finds bursts of keys: the paste of a terminal without bracketed paste.
#[derive(Debug, Default)]
pub struct Bursts {
    recent: VecDeque<Instant>,
    newest: Option<Instant>,
    inside: bool,
}

impl Bursts {
    /// Notes a key that was read at `at`; true when it is part of a burst.
    pub fn note(&mut self, key: KeyEvent, at: Instant) -> bool {
        let chord = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
        let printable = matches!(key.code, KeyCode::Char(_)) && !chord;
        if !printable && key.code != KeyCode::Enter && key.code != KeyCode::Tab {
            *self = Self::default();
            return false;
        }
        if self.newest.is_some_and(|newest| at.duration_since(newest) > QUIET) {
            *self = Self::default();
        }
        self.newest = Some(at);
        if printable {
            self.recent.push_back(at);
        }
        while self.recent.front().is_some_and(|first| at.duration_since(*first) > WITHIN) {
            self.recent.pop_front();
        }
        self.inside |= self.recent.len() > KEYS;
        self.inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn a_paste_is_a_burst_and_typing_is_not() {
        let start = Instant::now();
        let mut bursts = Bursts::default();
        for n in 0..20 {
            assert!(!bursts.note(key(KeyCode::Char('a')), start + Duration::from_millis(n * 30)), "typing");
        }
        let later = start + Duration::from_secs(5);
        let inside: Vec<bool> = (0..12).map(|_| bursts.note(key(KeyCode::Char('a')), later)).collect();
        assert_eq!(inside.iter().filter(|inside| **inside).count(), 4, "from the ninth key on");
        assert!(bursts.note(key(KeyCode::Enter), later + Duration::from_millis(60)), "a newline in the paste");
        assert!(!bursts.note(key(KeyCode::Enter), later + Duration::from_secs(1)), "the operator's Enter");
    }
}
