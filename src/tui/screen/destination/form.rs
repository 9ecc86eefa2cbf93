//! The form that adds or changes a destination. A new one begins with a single field: the connection string.

use super::Entry;
use crate::{
    model::Tls,
    profiles,
    tui::{
        action::Action,
        field::{
            EndpointForm, TextField,
            endpoint::{Part, Pressed},
            rows::{self, FormRow},
        },
        screen::{KeyHint, View},
        widget::{
            buttons::{self, Button},
            keys::key,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent};
use ratatui::text::Line;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    Name,
    Part(Part),
    Save,
    Cancel,
}

/// How the form ended, or what it wants meanwhile.
#[derive(Debug)]
pub(super) enum Done {
    Cancelled,
    /// `certificates`: pasted ones, with the path where they are to be kept.
    Saved {
        editing: Option<usize>,
        entry: Box<Entry>,
        certificates: Vec<(PathBuf, String)>,
    },
    Act(Action),
}

/// Name, address, login and TLS of a destination.
#[derive(Debug)]
pub struct Form {
    editing: Option<usize>,
    /// False while there is only the first field.
    opened: bool,
    name: TextField,
    name_error: Option<String>,
    endpoint: EndpointForm,
    focus: Focus,
}

impl Form {
    /// One field: the connection string.
    pub fn first() -> Self {
        Self {
            editing: None,
            opened: false,
            name: TextField::default(),
            name_error: None,
            endpoint: EndpointForm::default(),
            focus: Focus::Part(Part::Host),
        }
    }

    /// The form of a known destination.
    pub fn editing(at: usize, entry: &Entry) -> Self {
        let mut endpoint = EndpointForm::filled(&entry.endpoint());
        endpoint.set_ca_file(entry.profile.ca_file.clone());
        Self {
            editing: Some(at),
            opened: true,
            name: TextField::plain(&entry.profile.name),
            name_error: None,
            endpoint,
            focus: Focus::Name,
        }
    }

    fn order(&self) -> Vec<Focus> {
        if !self.opened {
            return vec![Focus::Part(Part::Host)];
        }
        let mut order = vec![Focus::Name];
        order.extend(self.endpoint.parts().into_iter().map(Focus::Part));
        order.extend([Focus::Save, Focus::Cancel]);
        order
    }

    pub(super) fn is_typing(&self) -> bool {
        match self.focus {
            Focus::Name => true,
            Focus::Part(part) => self.endpoint.takes_letters(part),
            Focus::Save | Focus::Cancel => false,
        }
    }

    fn step(&mut self, by: isize) {
        if let Focus::Part(part) = self.focus {
            self.endpoint.leave(part);
        }
        let order = self.order();
        let at = order.iter().position(|focus| *focus == self.focus).unwrap_or(0);
        let count = isize::try_from(order.len()).unwrap_or(1);
        let to = (isize::try_from(at).unwrap_or(0) + by).rem_euclid(count);
        self.focus = order[usize::try_from(to).unwrap_or(0)];
    }

    /// The first field is good: shows the rest, with a name proposed.
    fn open(&mut self) {
        self.endpoint.leave(Part::Host);
        if self.endpoint.error(Part::Host).is_some() {
            return;
        }
        self.opened = true;
        self.name.set(&proposed_name(self.endpoint.host.trimmed()));
        self.focus = Focus::Name;
    }

    fn check_name(&mut self, entries: &[Entry]) -> bool {
        let name = self.name.trimmed();
        let taken =
            entries.iter().enumerate().any(|(at, entry)| Some(at) != self.editing && entry.profile.name == name);
        self.name_error = match name {
            "" => Some("a name is needed, for example prod-new".into()),
            _ if taken => Some(format!("there is a destination named {name} already")),
            _ if name.chars().count() > 40 => Some("a name has at most 40 characters".into()),
            _ if name.chars().any(char::is_control) => Some("a name cannot hold control characters".into()),
            _ => None,
        };
        self.name_error.is_none()
    }

    /// Where the certificates are kept: the file that they were read from, else one next to the profiles.
    fn ca_path(&self, name: &str) -> Option<PathBuf> {
        let safe: String = name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let beside = || Some(profiles::path().ok()?.with_file_name(format!("{safe}-ca.pem")));
        self.endpoint.ca_file().map(PathBuf::from).or_else(beside)
    }

    fn save(&mut self, entries: &[Entry]) -> Option<Done> {
        let named = self.check_name(entries);
        match self.endpoint.endpoint() {
            Err(part) => self.focus = Focus::Part(part),
            Ok(_) if !named => self.focus = Focus::Name,
            Ok(endpoint) => {
                let name = self.name.trimmed();
                let pem = match &endpoint.tls {
                    Tls::PrivateCa { pem } => Some(pem.clone()),
                    Tls::Off | Tls::PublicCa => None,
                };
                let file = pem.as_ref().and_then(|_| self.ca_path(name));
                let pasted = self.endpoint.ca_file().is_none();
                let certificates = file.clone().zip(pem).filter(|_| pasted).into_iter().collect();
                let entry = Box::new(Entry::of(name, &endpoint, file));
                return Some(Done::Saved { editing: self.editing, entry, certificates });
            }
        }
        None
    }

    pub(super) fn on_key(&mut self, key: KeyEvent, entries: &[Entry], _view: &View<'_>) -> Option<Done> {
        if let Focus::Part(part) = self.focus {
            match self.endpoint.on_key(part, key) {
                Pressed::Ignored => {}
                Pressed::Taken => return None,
                Pressed::ReadFile(path) => return Some(Done::Act(Action::ReadFile(path))),
                Pressed::Say(text) => return Some(Done::Act(Action::Say(text.into()))),
            }
        }
        if self.focus == Focus::Name && self.name.on_key(key) {
            return None;
        }
        match (key.code, self.focus) {
            (KeyCode::Esc, _) | (KeyCode::Enter, Focus::Cancel) => return Some(Done::Cancelled),
            (KeyCode::Enter, Focus::Save) => return self.save(entries),
            (KeyCode::Enter | KeyCode::Tab | KeyCode::Down, _) if !self.opened => self.open(),
            (KeyCode::Enter | KeyCode::Tab | KeyCode::Down, Focus::Name) => {
                self.check_name(entries);
                self.step(1);
            }
            (KeyCode::Enter | KeyCode::Tab | KeyCode::Down, _) => self.step(1),
            (KeyCode::Right, Focus::Save) => self.step(1),
            (KeyCode::BackTab | KeyCode::Up, _) | (KeyCode::Left, Focus::Cancel) => self.step(-1),
            _ => {}
        }
        None
    }

    pub(super) fn paste(&mut self, pasted: &str) {
        match self.focus {
            Focus::Name => self.name.paste(pasted),
            Focus::Part(part) => self.endpoint.paste(part, pasted),
            Focus::Save | Focus::Cancel => {}
        }
        if !self.opened && self.endpoint.error(Part::Host).is_none() && self.endpoint.host.trimmed().contains("mongodb")
        {
            self.open();
        }
    }

    pub(super) fn take_file(&mut self, path: &Path, read: Result<String, String>) {
        self.endpoint.take_file(path, read);
    }

    pub(super) fn status(&self, view: &View<'_>) -> String {
        match self.focus {
            Focus::Name => self.name_error.as_ref().map_or_else(
                || "A name for the list; you will type it before anything on it is dropped.".into(),
                |why| format!("! {why}"),
            ),
            Focus::Part(Part::Host) if !self.opened => self.endpoint.error(Part::Host).map_or_else(
                || "Paste it and press Enter; a password in it goes into a masked field.".into(),
                |why| format!("! {why}"),
            ),
            Focus::Part(part) => self.endpoint.sentence(part, view),
            Focus::Save => match self.endpoint.first_error() {
                Some((_, why)) => format!("! {why}"),
                None => "Enter saves the profile (never the password) and tests the destination.".into(),
            },
            Focus::Cancel => "Enter leaves the form; nothing is saved.".into(),
        }
    }

    pub(super) fn keys(&self, has_list: bool) -> Vec<KeyHint> {
        let mut keys = vec![key("Enter", "Go on", "Presses the focused button; in a field it goes to the next one")];
        if self.opened {
            keys.push(key("Tab", "Next", "Next field; Shift-Tab goes back"));
            keys.push(key("Shift-Tab", "Back", "Previous field"));
        }
        match self.focus {
            Focus::Part(Part::Password) => keys.push(key("Ctrl-R", "Reveal", "Shows or hides the password")),
            Focus::Part(Part::ClientCertificate) => {
                keys.push(key("Ctrl-O", "File", "Takes certificate and key from a file"));
            }
            Focus::Part(Part::Ca) => keys.push(key("Ctrl-O", "File", "Takes the certificate from a file")),
            Focus::Part(Part::Tls) => keys.push(key("Space", "Choose", "Next choice; also Left and Right")),
            _ => {}
        }
        if has_list || self.opened {
            keys.push(key("Esc", "Cancel", "Leaves the form; nothing is saved"));
        }
        keys
    }

    pub(super) fn rows(&self, columns: usize, view: &View<'_>) -> Vec<FormRow> {
        let theme = view.theme;
        if !self.opened {
            let at = (true, self.endpoint.error(Part::Host).is_some());
            let size = columns.saturating_sub(6).clamp(8, 100);
            let (shown, cursor) = self.endpoint.host.shown(size);
            let mark = if at.1 { "!" } else { " " };
            let shown = crate::tui::widget::text::left(&shown, size);
            let mut rows = vec![
                FormRow::text(Line::styled(" Where should the data go?", theme.strong)),
                FormRow::text(""),
                FormRow::text(" Paste the destination's connection string"),
                FormRow::text(""),
                FormRow {
                    line: Line::styled(format!("{mark}  [{shown}]"), theme.strong),
                    focused: true,
                    cursor: Some(4 + cursor),
                },
                FormRow::text(""),
            ];
            for line in [
                " for example  mongodb://new-a.example.net,new-b.example.net/?replicaSet=rs9",
                "              mongodb+srv://ferry:password@cluster0.example.net/",
                "              new-a.example.net:27017",
                "",
                " A user name and a password in it are taken out at once: the password goes",
                " into a masked field and is never written to a file.",
            ] {
                let cut = crate::tui::widget::text::cut(line, columns);
                rows.push(FormRow::text(Line::styled(cut, theme.dim)));
            }
            return rows;
        }
        let title = if self.editing.is_some() { " Edit the destination" } else { " Add a destination" };
        let mut rows = vec![FormRow::text(Line::styled(title, theme.strong)), FormRow::text("")];
        let name_at = (self.focus == Focus::Name, self.name_error.is_some());
        rows.push(rows::field("Name", &self.name, 33.min(columns.saturating_sub(25)), "", name_at, view));
        let part = match self.focus {
            Focus::Part(part) => Some(part),
            _ => None,
        };
        rows.extend(self.endpoint.rows("Host:port list", part, columns, view));
        rows.push(FormRow::text(""));
        let row =
            [Button { label: "Save and test".into(), enabled: true }, Button { label: "Cancel".into(), enabled: true }];
        let focused = match self.focus {
            Focus::Save => 0,
            Focus::Cancel => 1,
            _ => usize::MAX,
        };
        let indent = columns.saturating_sub(buttons::columns(&row)) / 2;
        rows.push(FormRow {
            line: buttons::row(&row, focused, indent, (view.theme, view.glyphs.pointer)),
            focused: focused != usize::MAX,
            cursor: None,
        });
        rows
    }

    pub(super) fn focused(&self) -> (String, String) {
        match self.focus {
            Focus::Name => ("Name".into(), self.name.shown(40).0),
            Focus::Part(part) => self.endpoint.focused(part),
            Focus::Save => ("[ Save and test ]".into(), String::new()),
            Focus::Cancel => ("[ Cancel ]".into(), String::new()),
        }
    }
}

/// `new-a` from `new-a.example.net:27017,…`; an address of digits stays whole.
fn proposed_name(hosts: &str) -> String {
    let first = hosts.split("://").last().unwrap_or(hosts).split(',').next().unwrap_or(hosts);
    let host = first.rsplit_once(':').map_or(first, |(host, _)| host);
    let short = host.split('.').next().unwrap_or(host);
    if short.chars().all(|character| character.is_ascii_digit()) { host.into() } else { short.into() }
}
