//! 4.3 Connection form: the source, its TLS, what happens to data on the destination.

use super::{KeyHint, View};
use crate::{
    model::{Endpoint, Notify, Options, Plan, Side},
    tui::{
        action::{Action, Screen},
        field::{
            EndpointForm, TextField,
            endpoint::{Part, Pressed},
            rows::{self, FormRow},
        },
        host::Address,
        widget::{
            buttons::{self, Button},
            keys::{key, key_unless},
            place, text,
        },
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Focus {
    Source(Part),
    DestinationPassword,
    Data,
    Validate,
    Back,
}

/// The fields, and where the focus is.
#[derive(Debug)]
pub struct State {
    source: EndpointForm,
    /// The destination that was chosen; its password may be missing.
    destination: Option<(String, Endpoint)>,
    destination_password: TextField,
    destination_error: Option<String>,
    clear: bool,
    focus: Focus,
    /// The addresses of this host.
    addresses: Vec<Address>,
    options: Options,
    name: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            source: EndpointForm::default(),
            destination: None,
            destination_password: TextField::secret(),
            destination_error: None,
            clear: false,
            focus: Focus::Source(Part::Host),
            addresses: Vec::new(),
            options: Options::default(),
            name: None,
        }
    }
}

impl State {
    /// The form of a plan that exists already; everything is filled in, so the focus is on Validate.
    pub fn prefilled(plan: &Plan) -> Self {
        Self {
            source: EndpointForm::filled(&plan.source),
            clear: plan.options.clear_destination,
            options: plan.options.clone(),
            name: Some(plan.name.clone()),
            focus: Focus::Validate,
            ..Self::default()
        }
    }

    /// Whom to tell what happens, as the operator's preferences say.
    pub fn set_notify(&mut self, notify: Notify) {
        self.options.notify = notify;
    }

    /// Takes the chosen destination.
    pub fn set_destination(&mut self, name: String, endpoint: Endpoint) {
        if self.destination.as_ref().is_none_or(|(_, known)| known.uri != endpoint.uri) {
            self.destination_password.set("");
        }
        self.destination_error = None;
        self.destination = Some((name, endpoint));
    }

    /// What the operator calls the destination.
    pub fn destination_name(&self) -> Option<&str> {
        self.destination.as_ref().map(|(name, _)| name.as_str())
    }

    /// The hosts of the source, once they are filled in.
    pub fn source_hosts(&self) -> Option<String> {
        Some(self.source.host.trimmed().to_string()).filter(|hosts| !hosts.is_empty())
    }

    /// True when the operator chose to drop what is on the destination.
    pub fn is_clearing(&self) -> bool {
        self.clear
    }

    /// Takes the addresses of this host.
    pub fn set_addresses(&mut self, addresses: Vec<Address>) {
        self.addresses = addresses;
    }

    /// The addresses that the source's firewall must let in: those that lead to it, and the one that it saw.
    fn allow_from(&self, view: &View<'_>) -> String {
        let mut ips: Vec<String> =
            self.addresses.iter().filter(|address| address.is_used()).map(|address| address.ip.to_string()).collect();
        for seen in seen_by_source(view) {
            if !ips.iter().any(|ip| ip == seen) {
                ips.push(seen.to_string());
            }
        }
        ips.join(", ")
    }

    /// Where each address comes from.
    fn about_addresses(&self, view: &View<'_>) -> String {
        let mut seen: Vec<&str> = seen_by_source(view).collect();
        let mut parts = Vec::new();
        for address in self.addresses.iter().filter(|address| address.is_used()) {
            let before = seen.len();
            seen.retain(|ip| *ip != address.ip.to_string());
            let there = if seen.len() < before { ", which sees it so" } else { "" };
            parts.push(format!("{} {}{there}", address.ip, address.note));
        }
        if !seen.is_empty() {
            parts.push(format!("{} seen by the source", seen.join(", ")));
        }
        let others: Vec<String> =
            self.addresses.iter().filter(|address| !address.is_used()).map(|address| address.ip.to_string()).collect();
        if !others.is_empty() {
            parts.push(format!("also here: {}", others.join(", ")));
        }
        parts.join("; ")
    }

    /// Gives what was read from a file to the form.
    pub fn take_file(&mut self, path: &Path, read: Result<String, String>) {
        self.source.take_file(path, read);
    }

    /// True while letters go into a field.
    pub fn is_typing(&self) -> bool {
        match self.focus {
            Focus::Source(part) => self.source.takes_letters(part),
            Focus::DestinationPassword => true,
            Focus::Data | Focus::Validate | Focus::Back => false,
        }
    }

    /// A plan of everything on the form; otherwise the focus goes to what is missing and the sentence says it.
    pub fn plan(&mut self) -> Result<Plan, String> {
        let Some((name, mut destination)) = self.destination.clone() else {
            return Err("Choose a destination first (Esc goes back).".into());
        };
        let source = self.source.endpoint().map_err(|part| {
            self.focus = Focus::Source(part);
            self.source.error(part).unwrap_or_default().to_string()
        })?;
        self.leave_destination_password();
        if let Some(why) = &self.destination_error {
            self.focus = Focus::DestinationPassword;
            return Err(why.clone());
        }
        if let Some(typed) = self.destination_password.to_secret() {
            destination.password = Some(typed);
        }
        let plan_name = self.name.clone().unwrap_or_else(|| migration_name(source.hosts(), &name));
        let options = Options { clear_destination: self.clear, ..self.options.clone() };
        Ok(Plan { name: plan_name, source, destination, options })
    }

    fn asks_destination_password(&self) -> bool {
        let needs = |endpoint: &Endpoint| endpoint.username.is_some() && endpoint.password.is_none();
        self.destination.as_ref().is_some_and(|(_, endpoint)| needs(endpoint))
    }

    fn leave_destination_password(&mut self) {
        self.destination_password.hide();
        let missing = self.asks_destination_password() && self.destination_password.text().is_empty();
        self.destination_error = missing.then(|| "the destination's user needs its password".into());
    }

    fn order(&self) -> Vec<Focus> {
        let mut order: Vec<Focus> = self.source.parts().into_iter().map(Focus::Source).collect();
        if self.asks_destination_password() {
            order.push(Focus::DestinationPassword);
        }
        order.extend([Focus::Data, Focus::Validate, Focus::Back]);
        order
    }

    /// Moves the focus; leaving a field checks it, and leaving the host asks which address of this host reaches it.
    fn step(&mut self, by: isize) -> Option<Action> {
        let before = self.source_hosts();
        match self.focus {
            Focus::Source(part) => self.source.leave(part),
            Focus::DestinationPassword => self.leave_destination_password(),
            Focus::Data | Focus::Validate | Focus::Back => {}
        }
        let left_host = self.focus == Focus::Source(Part::Host);
        let order = self.order();
        let at = order.iter().position(|focus| *focus == self.focus).unwrap_or(0);
        let count = isize::try_from(order.len()).unwrap_or(1);
        let to = (isize::try_from(at).unwrap_or(0) + by).rem_euclid(count);
        self.focus = order[usize::try_from(to).unwrap_or(0)];
        let good = self.source.error(Part::Host).is_none();
        (left_host && good && before.is_some()).then(|| Action::Measure(self.source_hosts()))
    }
}

/// The addresses that the source's members saw this host under when it was validated last.
fn seen_by_source<'a>(view: &View<'a>) -> impl Iterator<Item = &'a str> {
    view.snapshot.validation.iter().flat_map(|report| report.seen_by(Side::Source))
}

/// `db-01-prod-new`: letters, digits, `-` and `_`, at most 40.
fn migration_name(source: &str, destination: &str) -> String {
    let host = source.split(',').next().unwrap_or(source);
    let is_address = host.starts_with('[') || host.starts_with(|first: char| first.is_ascii_digit());
    let short = if is_address { host } else { host.split(['.', ':']).next().unwrap_or(host) };
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = format!("{short}-{destination}").chars().map(safe).take(40).collect();
    name.trim_matches('-').to_string()
}

/// The right end of line 1.
pub fn header(_view: &View<'_>) -> String {
    "step 3 of 7".into()
}

/// One sentence: what now, or why not.
pub fn status(view: &View<'_>, state: &State) -> String {
    match state.focus {
        Focus::Source(part) => state.source.sentence(part, view),
        Focus::DestinationPassword => state.destination_error.as_ref().map_or_else(
            || "Kept in memory only; never written to a file. Ctrl-R shows it.".into(),
            |why| format!("! {why}"),
        ),
        Focus::Data if state.clear => {
            "Start Migration will ask you to type the destination's name before it drops.".into()
        }
        Focus::Data => "The migration does not start while the destination holds user data.".into(),
        Focus::Validate => match state.source.first_error() {
            Some((_, why)) => format!("! {why}"),
            None => "Enter runs all checks. Nothing is written to either cluster yet.".into(),
        },
        Focus::Back => "Back to Prepare; the fields keep what you typed.".into(),
    }
}

/// The keys, most important first.
pub fn keys(view: &View<'_>, state: &State) -> Vec<KeyHint> {
    let press = match state.focus {
        Focus::Validate => "Validate",
        Focus::Back => "Back",
        _ => "Go on",
    };
    let mut keys = vec![
        key("Tab", "Next", "Next field; Enter and Down do the same in a field"),
        key("Shift-Tab", "Back", "Previous field; also Up"),
        key("Enter", press, "Presses the focused button; in a field it goes to the next one"),
    ];
    match state.focus {
        Focus::Source(Part::Password) | Focus::DestinationPassword => {
            keys.push(key("Ctrl-R", "Reveal", "Shows or hides the password"));
        }
        Focus::Source(Part::Ca) => {
            keys.push(key("Ctrl-O", "File", "Takes the certificate from a file"));
            keys.push(key("Del", "Clear", "Forgets the certificates"));
        }
        Focus::Source(Part::ClientCertificate) => {
            keys.push(key("Ctrl-O", "File", "Takes certificate and key from a file"));
            keys.push(key("Del", "Clear", "Forgets certificate and key"));
        }
        Focus::Source(Part::Tls) | Focus::Data => {
            keys.push(key("Space", "Choose", "Next choice; also Left and Right"));
        }
        _ => {}
    }
    keys.push(key("Esc", "Leave", "Back to Prepare; the fields keep what you typed"));
    let unknown = state.allow_from(view).is_empty().then(|| NO_ADDRESSES.to_string());
    let help = "Copies the addresses that the source's firewall must let in";
    keys.push(key_unless("Ctrl-Y", "Copy addresses", help, unknown));
    keys
}

const NO_ADDRESSES: &str = "The addresses are not known yet: fill in the host first.";

/// What a key does.
pub fn on_key(state: &mut State, key: KeyEvent, view: &View<'_>) -> Option<Action> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('y') {
        let none = || Action::Say(NO_ADDRESSES.into());
        return Some(Some(state.allow_from(view)).filter(|text| !text.is_empty()).map_or_else(none, Action::Copy));
    }
    match state.focus {
        Focus::Source(part) => match state.source.on_key(part, key) {
            Pressed::Ignored => {}
            Pressed::Taken => return None,
            Pressed::ReadFile(path) => return Some(Action::ReadFile(path)),
            Pressed::Say(text) => return Some(Action::Say(text.into())),
        },
        Focus::DestinationPassword if control && key.code == KeyCode::Char('r') => {
            state.destination_password.toggle_reveal();
            return None;
        }
        Focus::DestinationPassword if state.destination_password.on_key(key) => return None,
        _ => {}
    }
    match (key.code, state.focus) {
        (KeyCode::Esc, _) | (KeyCode::Enter, Focus::Back) => return Some(Action::Open(Screen::Prepare)),
        (KeyCode::Enter, Focus::Validate) => return Some(Action::Validate),
        (KeyCode::Char(' ') | KeyCode::Left | KeyCode::Right, Focus::Data) => state.clear = !state.clear,
        (KeyCode::Right, Focus::Validate) => state.focus = Focus::Back,
        (KeyCode::Left, Focus::Back) => state.focus = Focus::Validate,
        (KeyCode::Tab | KeyCode::Down | KeyCode::Enter, _) => return state.step(1),
        (KeyCode::BackTab | KeyCode::Up, _) => return state.step(-1),
        _ => {}
    }
    None
}

/// Takes a paste.
pub fn on_paste(state: &mut State, pasted: &str) -> Option<Action> {
    match state.focus {
        Focus::Source(part) => {
            state.source.paste(part, pasted);
            let good = part == Part::Host && state.source.error(part).is_none();
            good.then(|| Action::Measure(state.source_hosts()))
        }
        Focus::DestinationPassword => {
            state.destination_password.paste(pasted);
            None
        }
        Focus::Data | Focus::Validate | Focus::Back => None,
    }
}

fn form_rows(columns: usize, height: usize, view: &View<'_>, state: &State) -> Vec<FormRow> {
    let theme = view.theme;
    let blank = || FormRow::text("");
    let allow_from = state.allow_from(view);
    let allow = if allow_from.is_empty() {
        String::new()
    } else {
        format!("       allow from: {allow_from}   (Ctrl-Y copies)")
    };
    let heading = text::cut(&format!(" Source cluster{allow}"), columns);
    let about = text::cut(&format!("   {}", state.about_addresses(view)), columns);
    let mut rows =
        vec![FormRow::text(Line::styled(heading, theme.strong)), FormRow::text(Line::styled(about, theme.dim))];
    let part = match state.focus {
        Focus::Source(part) => Some(part),
        _ => None,
    };
    rows.extend(state.source.rows("Primary host:port", part, columns, view));
    let name = state.destination_name().unwrap_or("the destination");
    if state.asks_destination_password() {
        let user = state.destination.as_ref().and_then(|(_, endpoint)| endpoint.username.clone()).unwrap_or_default();
        let at = (state.focus == Focus::DestinationPassword, state.destination_error.is_some());
        let size = columns.saturating_sub(rows::LABEL + 3).clamp(8, 33);
        let note = text::cut(&format!("of {user} on {name}"), columns.saturating_sub(rows::LABEL + size + 6));
        rows.push(rows::field("Destination pwd", &state.destination_password, size, &note, at, view));
    }
    let focused = state.focus == Focus::Data;
    let room = columns.saturating_sub(rows::LABEL);
    for (index, (chosen, choice)) in [
        (!state.clear, "keep: refuse to start unless empty".to_string()),
        (state.clear, format!("clear: DROP the selected databases on {name} first")),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = if chosen { "(*)" } else { "( )" };
        let label = if index == 0 { "Destination data" } else { "" };
        let mut spans = rows::label(label, focused && index == 0, false, view);
        let style = if focused && chosen { theme.selected } else { theme.text };
        let mut wrapped = text::labelled(&format!("{mark} "), &choice, room).into_iter();
        spans.push(Span::styled(wrapped.next().unwrap_or_default(), style));
        rows.push(FormRow { line: Line::from(spans), focused, cursor: None });
        let below = |line| Line::from(vec![Span::raw(" ".repeat(rows::LABEL)), Span::styled(line, style)]);
        rows.extend(wrapped.map(|line| FormRow { line: below(line), focused, cursor: None }));
    }
    let hint = "   Or paste a mongodb:// string into the host field: it fills the form.";
    if rows.len() + 4 <= height {
        rows.push(blank());
        rows.push(FormRow::text(Line::styled(text::cut(hint, columns), theme.dim)));
    }
    while rows.len() + 1 < height.min(19) {
        rows.push(blank());
    }
    let row = [Button { label: "Validate".into(), enabled: true }, Button { label: "Back".into(), enabled: true }];
    let on_button = match state.focus {
        Focus::Validate => 0,
        Focus::Back => 1,
        _ => usize::MAX,
    };
    let indent = columns.saturating_sub(buttons::columns(&row)) / 2;
    rows.push(FormRow {
        line: buttons::row(&row, on_button, indent, (view.theme, view.glyphs.pointer)),
        focused: on_button != usize::MAX,
        cursor: None,
    });
    rows
}

/// The 19 lines between rule and status line.
pub fn draw(frame: &mut Frame<'_>, body: Rect, view: &View<'_>, state: &State) {
    let wide = body.width >= 110;
    let width = if wide { 80 } else { body.width };
    let left = place::part(body, 0, 0, width, body.height);
    rows::draw(frame, left, &form_rows(usize::from(left.width), usize::from(left.height), view, state));
    if wide {
        let right = place::part(body, 82, 2, body.width.saturating_sub(83), body.height.saturating_sub(2));
        let mut lines: Vec<Line<'static>> = Vec::new();
        for (index, paragraph) in explanation(state.focus).iter().enumerate() {
            let style = if index == 0 { view.theme.strong } else { view.theme.text };
            lines.extend(
                text::wrap(paragraph, usize::from(right.width)).into_iter().map(|line| Line::styled(line, style)),
            );
        }
        place::draw(frame, right, lines);
    }
}

/// What the focused field is, why it is asked, and what is sent where.
fn explanation(focus: Focus) -> &'static [&'static str] {
    match focus {
        Focus::Source(Part::Host) => &[
            "Address of the source",
            "The primary, or several members separated by commas; the others are found by asking it.",
            "A pasted mongodb:// or mongodb+srv:// string fills the other fields; its password is masked at once.",
        ],
        Focus::Source(Part::User) | Focus::Source(Part::AuthDatabase) => &[
            "User on the source",
            "Needs readAnyDatabase and clusterMonitor. mongoferry only reads from the source.",
            "The auth database is where the user was created, mostly admin.",
        ],
        Focus::Source(Part::Password) | Focus::DestinationPassword => &[
            "Password",
            "Sent to the cluster by SCRAM, which never sends the password itself.",
            "Kept in memory until the wizard ends; in no file, log or report.",
        ],
        Focus::Source(Part::Tls) => &[
            "Encryption",
            "off: the server does not use TLS. Passwords are still not sent in the clear, the data is.",
            "public CA: the certificate is signed by an authority that everyone trusts.",
            "private CA: paste your own authority's certificate below.",
        ],
        Focus::Source(Part::Ca) => &[
            "CA certificate",
            "The PEM text of the authority that signed the server's certificate, not the server's own and never a key.",
            "Paste it as a whole, or press Ctrl-O and give a path on this host.",
        ],
        Focus::Source(Part::ClientCertificate) => &[
            "Client certificate",
            "For servers that demand one: one PEM file with the certificate, its issuers when needed, and the private key.",
            "Without a user it is the login too (X.509). The key stays in memory and is in no file, log or report.",
        ],
        Focus::Data => &[
            "What is on the destination",
            "keep: validation fails unless the selected databases are absent there.",
            "clear: they are dropped after you press Start and type the destination's name; nothing else is touched.",
        ],
        Focus::Validate | Focus::Back => &[
            "Validate",
            "Connects to both clusters and runs every check. Writes nothing but one empty temporary collection on the \
             destination, which is removed at once.",
        ],
    }
}

/// The name of the input that has the focus and its value, for terminals too small for the form.
pub fn focused(state: &State) -> (String, String) {
    match state.focus {
        Focus::Source(part) => state.source.focused(part),
        Focus::DestinationPassword => ("Destination pwd".into(), state.destination_password.shown(20).0),
        Focus::Data => ("Destination data".into(), if state.clear { "clear" } else { "keep" }.into()),
        Focus::Validate => ("[ Validate ]".into(), String::new()),
        Focus::Back => ("[ Back ]".into(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_named_after_both_ends() {
        assert_eq!(migration_name("db-01.example.net:27017,db-02", "prod-new"), "db-01-prod-new");
        assert_eq!(migration_name("10.1.2.3:27017", "neu süd"), "10-1-2-3-27017-neu-s-d");
        assert_eq!(migration_name(&"x".repeat(60), "y").len(), 40);
    }
}
