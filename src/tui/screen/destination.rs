//! 4.1 Destination picker: "Where should the data go?"

mod form;
mod list;

pub use form::Form;

use super::{KeyHint, View};
use crate::{
    model::{Command, Endpoint, Tls, snapshot::DestinationTest},
    profiles::{Profile, ProfileTls},
    secret::Secret,
    tui::{
        action::{Action, Confirmation},
        field::{TextField, rows},
        widget::{
            keys::{key, key_unless, plain},
            text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Frame, layout::Rect};
use std::path::{Path, PathBuf};

/// One destination of the list.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name and address.
    pub profile: Profile,
    /// The private CA's certificates; empty without one.
    pub ca_pem: String,
    /// Kept in memory only.
    pub password: Option<Secret>,
    /// Kept in memory only.
    pub client_certificate: Option<Secret>,
    /// Comes from a plan or the demo, so it is not written to the profile file.
    pub only_now: bool,
    /// What a test showed.
    pub test: Option<DestinationTest>,
}

impl Entry {
    /// A destination from the profile file; `ca_pem` is what its CA file holds.
    pub fn saved(profile: Profile, ca_pem: String) -> Self {
        Self { profile, ca_pem, password: None, client_certificate: None, only_now: false, test: None }
    }

    /// A destination of this run only.
    pub fn only_now(name: &str, endpoint: &Endpoint) -> Self {
        Self { only_now: true, ..Self::of(name, endpoint, None) }
    }

    fn of(name: &str, endpoint: &Endpoint, ca_file: Option<PathBuf>) -> Self {
        let (tls, ca_pem) = match &endpoint.tls {
            Tls::Off => (ProfileTls::Off, String::new()),
            Tls::PublicCa => (ProfileTls::PublicCa, String::new()),
            Tls::PrivateCa { pem } => (ProfileTls::PrivateCa, pem.clone()),
        };
        let profile = Profile {
            name: name.into(),
            uri: endpoint.uri.clone(),
            username: endpoint.username.clone(),
            auth_source: endpoint.auth_source.clone(),
            tls,
            ca_file,
            last_used: None,
        };
        Self {
            profile,
            ca_pem,
            password: endpoint.password.clone(),
            client_certificate: endpoint.client_certificate.clone(),
            only_now: false,
            test: None,
        }
    }

    /// How to reach it, with the password when it is known.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            uri: self.profile.uri.clone(),
            username: self.profile.username.clone(),
            password: self.password.clone(),
            password_from: None,
            client_certificate_from: None,
            auth_source: self.profile.auth_source.clone(),
            tls: match self.profile.tls {
                ProfileTls::Off => Tls::Off,
                ProfileTls::PublicCa => Tls::PublicCa,
                ProfileTls::PrivateCa => Tls::PrivateCa { pem: self.ca_pem.clone() },
            },
            client_certificate: self.client_certificate.clone(),
            direct: false,
        }
    }

    fn lacks_password(&self) -> bool {
        self.profile.username.is_some() && self.password.is_none()
    }
}

#[derive(Debug)]
enum Mode {
    List,
    Form(Box<Form>),
    /// The password for a test.
    Password(TextField),
}

/// The list, the selection, and the form or question on top of it.
#[derive(Debug)]
pub struct State {
    entries: Vec<Entry>,
    selected: usize,
    mode: Mode,
    /// Why the profile file cannot be used.
    unreadable: Option<String>,
    /// Where the profiles live, as shown.
    path: String,
}

impl Default for State {
    /// A first run: no list, one field.
    fn default() -> Self {
        Self::with(Vec::new(), None, String::new())
    }
}

impl State {
    /// The list of known destinations; with none it is a first run.
    /// `path` is where the profiles live, as it is shown.
    pub fn with(entries: Vec<Entry>, unreadable: Option<String>, path: String) -> Self {
        let mode = if entries.is_empty() { Mode::Form(Box::new(Form::first())) } else { Mode::List };
        Self { entries, selected: 0, mode, unreadable, path }
    }

    /// True while letters go into a field.
    pub fn is_typing(&self) -> bool {
        match &self.mode {
            Mode::List => false,
            Mode::Form(form) => form.is_typing(),
            Mode::Password(_) => true,
        }
    }

    /// Remembers what a test showed, for its row.
    pub fn notice(&mut self, test: &DestinationTest) {
        for entry in self.entries.iter_mut().filter(|entry| entry.profile.uri == test.uri) {
            entry.test = Some(test.clone());
        }
    }

    fn entry(&self) -> Option<&Entry> {
        self.entries.get(self.selected)
    }

    fn saved(&self) -> Vec<Profile> {
        self.entries.iter().filter(|entry| !entry.only_now).map(|entry| entry.profile.clone()).collect()
    }

    fn keep(&mut self, editing: Option<usize>, entry: Entry, certificates: Vec<(PathBuf, String)>) -> Action {
        let test = (!entry.lacks_password()).then(|| Command::TestDestination(Box::new(entry.endpoint())));
        match editing.and_then(|at| self.entries.get_mut(at)) {
            Some(old) => *old = entry,
            None => {
                self.entries.push(entry);
                self.selected = self.entries.len() - 1;
            }
        }
        self.mode = Mode::List;
        let mut actions = vec![Action::SaveProfiles { profiles: self.saved(), certificates }];
        actions.extend(test.map(Action::Send));
        Action::Many(actions)
    }

    fn test(&mut self) -> Option<Action> {
        let entry = self.entry()?;
        if entry.lacks_password() {
            self.mode = Mode::Password(TextField::secret());
            return None;
        }
        Some(Action::Send(Command::TestDestination(Box::new(entry.endpoint()))))
    }

    fn forget(&self) -> Option<Action> {
        let entry = self.entry()?;
        let name = entry.profile.name.clone();
        if entry.only_now {
            return Some(Action::Say(format!("{name} belongs to this run only; there is nothing to delete.")));
        }
        let rest = self.saved().into_iter().filter(|profile| profile.name != name).collect();
        Some(Action::Confirm(Confirmation {
            title: format!("Delete the profile {name}?"),
            body: vec!["Only the profile on this host is deleted. No cluster is touched.".into()],
            expected: String::new(),
            expected_label: String::new(),
            button: "Delete the profile".into(),
            then: Box::new(Action::SaveProfiles { profiles: rest, certificates: Vec::new() }),
        }))
    }

    /// Follows what was written to the profile file.
    pub fn keep_only(&mut self, profiles: &[Profile]) {
        self.entries.retain(|entry| entry.only_now || profiles.iter().any(|kept| kept.name == entry.profile.name));
        self.selected = self.selected.min(self.entries.len());
        if self.entries.is_empty() && matches!(self.mode, Mode::List) {
            self.mode = Mode::Form(Box::new(Form::first()));
        }
    }

    /// Gives what was read from a file to the form.
    pub fn take_file(&mut self, path: &Path, read: Result<String, String>) {
        if let Mode::Form(form) = &mut self.mode {
            form.take_file(path, read);
        }
    }
}

/// The right end of line 1.
pub fn header(_view: &View<'_>) -> String {
    "no migration running".into()
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    match &state.mode {
        Mode::Form(form) => form.status(view),
        Mode::Password(_) => {
            let user = state.entry().and_then(|entry| entry.profile.username.clone()).unwrap_or_default();
            format!("Password of {user}, for this run only; Enter tests, Esc cancels.")
        }
        Mode::List => match (&state.unreadable, state.entry()) {
            (Some(why), _) => format!("! {why}"),
            (None, None) => "Enter adds a destination from its connection string.".into(),
            (None, Some(entry)) => match &entry.test {
                Some(test) if test.running => format!("Testing {}: connecting.", entry.profile.name),
                Some(test) => match &test.problem {
                    Some(problem) => format!("{}: {}.", entry.profile.name, problem.what),
                    None => format!("{} answers; Enter chooses it.", entry.profile.name),
                },
                None => "Enter chooses the destination; t tests it first. Nothing is written.".into(),
            },
        },
    }
}

/// The keys, most important first.
pub fn keys(_view: &View<'_>, state: &State) -> Vec<KeyHint> {
    match &state.mode {
        Mode::Form(form) => form.keys(!state.entries.is_empty()),
        Mode::Password(_) => vec![
            key("Enter", "Test", "Tests the destination with this password; it is kept in memory only"),
            key("Ctrl-R", "Reveal", "Shows or hides the password"),
            key("Esc", "Cancel", "Back to the list"),
        ],
        Mode::List => {
            let none = state.entry().is_none().then(|| "Select a destination first.".to_string());
            vec![
                key("Enter", "Choose", "Takes the selected destination and goes on to Prepare"),
                key_unless("t", "Test", "Connects and reads version, members and data; writes nothing", none.clone()),
                key("a", "Add", "Adds a destination from its connection string"),
                key_unless("e", "Edit", "Changes the selected destination", none.clone()),
                key_unless("D", "Delete...", "Deletes the selected profile on this host; asks first", none),
                key("Up/Down", "Select", "Moves the selection; also j and k"),
            ]
        }
    }
}

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    match &mut state.mode {
        Mode::Form(form) => match form.on_key(key, &state.entries, view)? {
            form::Done::Cancelled if state.entries.is_empty() => {
                state.mode = Mode::Form(Box::new(Form::first()));
                None
            }
            form::Done::Cancelled => {
                state.mode = Mode::List;
                None
            }
            form::Done::Saved { editing, entry, certificates } => Some(state.keep(editing, *entry, certificates)),
            form::Done::Act(action) => Some(action),
        },
        Mode::Password(field) => match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
            (KeyCode::Esc, _) => {
                state.mode = Mode::List;
                None
            }
            (KeyCode::Char('r'), true) => {
                field.toggle_reveal();
                None
            }
            (KeyCode::Enter, _) => {
                let password = field.to_secret();
                state.mode = Mode::List;
                let selected = state.selected;
                if let Some(entry) = state.entries.get_mut(selected).filter(|_| password.is_some()) {
                    entry.password = password;
                    return state.test();
                }
                None
            }
            _ => {
                field.on_key(key);
                None
            }
        },
        Mode::List => on_list_key(state, plain(key)?),
    }
}

fn on_list_key(state: &mut State, code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Up | KeyCode::Char('k') => state.selected = state.selected.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => state.selected = (state.selected + 1).min(state.entries.len()),
        KeyCode::Home => state.selected = 0,
        KeyCode::End => state.selected = state.entries.len(),
        KeyCode::Char('a') => state.mode = Mode::Form(Box::new(Form::first())),
        KeyCode::Enter => match state.entry() {
            None => state.mode = Mode::Form(Box::new(Form::first())),
            Some(entry) => {
                let (name, endpoint) = (entry.profile.name.clone(), Box::new(entry.endpoint()));
                return Some(Action::Choose { name, endpoint });
            }
        },
        KeyCode::Char('t' | 'e' | 'D') if state.entry().is_none() => {
            return Some(Action::Say("Select a destination first.".into()));
        }
        KeyCode::Char('t') => return state.test(),
        KeyCode::Char('D') => return state.forget(),
        KeyCode::Char('e') => match state.entry() {
            Some(entry) if entry.only_now => {
                return Some(Action::Say(format!("{} belongs to this run only; a adds another.", entry.profile.name)));
            }
            Some(entry) => state.mode = Mode::Form(Box::new(Form::editing(state.selected, entry))),
            None => {}
        },
        _ => {}
    }
    None
}

/// Takes a paste.
pub fn on_paste(state: &mut State, pasted: &str) {
    match &mut state.mode {
        Mode::Form(form) => form.paste(pasted),
        Mode::Password(field) => field.paste(pasted),
        Mode::List => {}
    }
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    match &state.mode {
        Mode::Form(form) => rows::draw(frame, body, &form.rows(usize::from(body.width), view)),
        Mode::List => list::draw(frame, body, view, state, None),
        Mode::Password(field) => list::draw(frame, body, view, state, Some(field)),
    }
}

/// The name of the input that has the focus and its value, for terminals too small for the form.
pub fn focused(state: &State) -> Option<(String, String)> {
    match &state.mode {
        Mode::Form(form) => Some(form.focused()),
        Mode::Password(field) => Some(("Password".into(), field.shown(20).0)),
        Mode::List => state.entry().map(|entry| {
            ("Destination".into(), text::cut(&format!("{} {}", entry.profile.name, entry.profile.uri), 60))
        }),
    }
}
