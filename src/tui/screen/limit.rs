//! The small field for another limit on source reads: on the status line, of the screens on which reads go on.

use super::{KeyHint, View, running};
use crate::{
    model::{Command, Limit},
    tui::{
        action::Action,
        field::TextField,
        widget::keys::{key, key_unless, plain},
    },
};
use crossterm::event::{KeyCode, KeyEvent};

/// Opens the field.
pub const KEY: KeyCode = KeyCode::Char('t');
/// Columns of the field.
const COLUMNS: usize = 14;

/// The field, while it is open.
#[derive(Debug, Default)]
pub struct Field {
    open: Option<TextField>,
    /// What stands there is the limit of now, which the first letter replaces.
    untouched: bool,
}

impl Field {
    /// True while letters go into it.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Opens it with the limit of now, unless nothing is read any more.
    pub fn open(&mut self, view: &View<'_>) -> Option<Action> {
        if let Some(why) = running::over(view) {
            return Some(Action::Say(why));
        }
        self.open = Some(TextField::plain(&Limit::from(view.snapshot.throttle).to_string()));
        self.untouched = true;
        None
    }

    /// A key while it is open. What is no rate is said, and the field stays open.
    pub fn on_key(&mut self, key: KeyEvent) -> Option<Action> {
        let field = self.open.as_mut()?;
        match key.code {
            KeyCode::Esc => self.open = None,
            KeyCode::Enter => match field.trimmed().parse() {
                Ok(limit) => {
                    self.open = None;
                    return Some(Action::Send(Command::Throttle(limit)));
                }
                Err(why) => return Some(Action::Say(format!("! {why}"))),
            },
            code => {
                if self.untouched && plain(key).is_some() && matches!(code, KeyCode::Char(_)) {
                    field.set("");
                }
                self.untouched = false;
                field.on_key(key);
            }
        }
        None
    }

    /// The field and what it is for; `None` while it is closed.
    pub fn status(&self) -> Option<String> {
        let shown = self.open.as_ref()?.shown(COLUMNS).0;
        Some(format!("Limit on source reads: {shown}_   Enter sets it (off: none), Esc leaves it."))
    }

    /// The keys while it is open.
    pub fn keys(&self) -> Option<Vec<KeyHint>> {
        self.is_open().then(|| {
            vec![key("Enter", "Set limit", "From now on, for copy and verification"), key("Esc", "Leave", "As it was")]
        })
    }
}

/// The key that opens it.
pub fn hint(view: &View<'_>) -> KeyHint {
    key_unless("t", "Limit reads", "How fast the source is read: a rate like 20MB/s, or off", running::over(view))
}
