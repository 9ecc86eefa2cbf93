//! The part of a form that describes one cluster: address, login, TLS, certificates.

use super::{IdentityBox, PasteBox, TextField, rows, rows::FormRow, uri};
use crate::{
    model::{Endpoint, Tls},
    tui::{
        screen::View,
        widget::{boxed, text},
    },
};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::text::Line;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// One input of the form, in the order of Tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Host list or connection string.
    Host,
    /// User name; empty on a server without authentication.
    User,
    /// Password.
    Password,
    /// Database of the user.
    AuthDatabase,
    /// off / public CA / private CA.
    Tls,
    /// The certificates of the private CA.
    Ca,
    /// Certificate and key that are shown to the server.
    ClientCertificate,
}

/// The TLS radio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsChoice {
    /// The server does not use TLS.
    #[default]
    Off,
    /// A certificate of a public authority.
    PublicCa,
    /// A certificate of a private authority.
    PrivateCa,
}

const TLS: [TlsChoice; 3] = [TlsChoice::Off, TlsChoice::PublicCa, TlsChoice::PrivateCa];

/// What a key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pressed {
    /// Not a key of this input.
    Ignored,
    /// The input took it.
    Taken,
    /// A file with certificates is wanted.
    ReadFile(PathBuf),
    /// Something to say on the status line.
    Say(&'static str),
}

/// Address, login, TLS and certificates of one cluster.
#[derive(Debug, Clone)]
pub struct EndpointForm {
    /// Host list or connection string.
    pub host: TextField,
    /// User name.
    pub user: TextField,
    /// Password, masked.
    pub password: TextField,
    /// Database of the user.
    pub auth_database: TextField,
    /// The TLS radio.
    pub tls: TlsChoice,
    /// The certificates.
    pub ca: PasteBox,
    /// Certificate and key that are shown to the server.
    pub client_certificate: IdentityBox,
    options: String,
    direct: bool,
    ca_path: Option<TextField>,
    /// The file that the certificates were read from, while they are unchanged.
    ca_file: Option<PathBuf>,
    errors: Vec<(Part, String)>,
}

impl Default for EndpointForm {
    fn default() -> Self {
        Self {
            host: TextField::default(),
            user: TextField::default(),
            password: TextField::secret(),
            auth_database: TextField::plain("admin"),
            tls: TlsChoice::Off,
            ca: PasteBox::default(),
            client_certificate: IdentityBox::default(),
            options: String::new(),
            direct: false,
            ca_path: None,
            ca_file: None,
            errors: Vec::new(),
        }
    }
}

impl EndpointForm {
    /// A form filled from an endpoint, its password included.
    pub fn filled(endpoint: &Endpoint) -> Self {
        let mut form = Self { direct: endpoint.direct, ..Self::default() };
        form.host.set(&endpoint.uri);
        form.leave(Part::Host);
        form.user.set(endpoint.username.as_deref().unwrap_or_default());
        form.password.set(endpoint.password.as_ref().map_or("", |password| password.expose()));
        form.auth_database.set(endpoint.auth_source.as_deref().unwrap_or("admin"));
        match &endpoint.tls {
            Tls::Off => {}
            Tls::PublicCa => form.tls = TlsChoice::PublicCa,
            Tls::PrivateCa { pem } => {
                form.tls = TlsChoice::PrivateCa;
                form.ca = PasteBox::holding(pem);
            }
        }
        if let Some(pem) = &endpoint.client_certificate {
            form.client_certificate = IdentityBox::holding(pem);
        }
        form
    }

    /// The inputs that are shown now.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Host, Part::User, Part::Password, Part::AuthDatabase, Part::Tls];
        if self.tls == TlsChoice::PrivateCa {
            parts.push(Part::Ca);
        }
        if self.tls != TlsChoice::Off {
            parts.push(Part::ClientCertificate);
        }
        parts
    }

    /// Why an input is not acceptable, once it was left.
    pub fn error(&self, part: Part) -> Option<&str> {
        self.errors.iter().find(|(at, _)| *at == part).map(|(_, why)| why.as_str())
    }

    /// The first error in the order of the form.
    pub fn first_error(&self) -> Option<(Part, &str)> {
        self.parts().into_iter().find_map(|part| self.error(part).map(|why| (part, why)))
    }

    /// Looks at an input when it is left: takes a connection string apart, hides a revealed password, notes an error.
    pub fn leave(&mut self, part: Part) {
        self.password.hide();
        self.errors.retain(|(at, _)| *at != part);
        let error = match part {
            Part::Host => self.absorb_host().err(),
            Part::Password if !self.password.text().is_empty() && self.user.trimmed().is_empty() => {
                Some("a password without a user name; fill in the user too".into())
            }
            Part::Ca if self.tls == TlsChoice::PrivateCa && self.ca.pem().is_empty() => Some(
                self.ca
                    .refused()
                    .unwrap_or("TLS with a private CA needs its certificate: paste it or press Ctrl-O")
                    .into(),
            ),
            Part::ClientCertificate if self.tls != TlsChoice::Off => {
                self.client_certificate.refused().map(String::from)
            }
            _ => None,
        };
        self.errors.extend(error.map(|why| (part, why)));
    }

    fn absorb_host(&mut self) -> Result<(), String> {
        let address = uri::parse(self.host.trimmed())?;
        let is_string = self.host.trimmed().contains("://");
        self.host.set(&address.hosts);
        if !is_string {
            return Ok(());
        }
        self.options = address.options;
        if let Some(username) = address.username {
            self.user.set(&username);
        }
        if let Some(password) = address.password {
            self.password.set(password.expose());
        }
        if let Some(database) = address.auth_source {
            self.auth_database.set(&database);
        }
        match address.tls {
            Some(false) => self.tls = TlsChoice::Off,
            Some(true) if self.tls == TlsChoice::Off => self.tls = TlsChoice::PublicCa,
            _ => {}
        }
        Ok(())
    }

    /// The endpoint that the form describes; otherwise the first input to mend (its error is noted).
    pub fn endpoint(&mut self) -> Result<Endpoint, Part> {
        for part in self.parts() {
            self.leave(part);
        }
        if let Some((part, _)) = self.first_error() {
            return Err(part);
        }
        let username = Some(self.user.trimmed().to_string()).filter(|user| !user.is_empty());
        let auth_source = Some(self.auth_database.trimmed().to_string());
        Ok(Endpoint {
            uri: uri::build(self.host.trimmed(), &self.options),
            auth_source: auth_source.filter(|database| username.is_some() && !database.is_empty()),
            password: self.password.to_secret().filter(|_| username.is_some()),
            password_from: None,
            client_certificate_from: None,
            username,
            tls: match self.tls {
                TlsChoice::Off => Tls::Off,
                TlsChoice::PublicCa => Tls::PublicCa,
                TlsChoice::PrivateCa => Tls::PrivateCa { pem: self.ca.pem().to_string() },
            },
            client_certificate: self.client_certificate.pem().filter(|_| self.tls != TlsChoice::Off).cloned(),
            direct: self.direct,
        })
    }

    /// The file that the certificates come from; `None` when they were pasted.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Says that the certificates come from a file, for a form that is filled from a profile.
    pub fn set_ca_file(&mut self, path: Option<PathBuf>) {
        self.ca_file = path;
    }

    /// True while letters go into `part`.
    pub fn takes_letters(&self, part: Part) -> bool {
        part != Part::Tls
    }

    fn text(&mut self, part: Part) -> Option<&mut TextField> {
        match part {
            Part::Host => Some(&mut self.host),
            Part::User => Some(&mut self.user),
            Part::Password => Some(&mut self.password),
            Part::AuthDatabase => Some(&mut self.auth_database),
            Part::Tls | Part::Ca | Part::ClientCertificate => None,
        }
    }

    /// Takes a paste.
    pub fn paste(&mut self, part: Part, pasted: &str) {
        match (&mut self.ca_path, part) {
            (Some(path), Part::Ca) => path.paste(pasted),
            (None, Part::Ca) => {
                self.ca.paste(pasted);
                self.ca_file = None;
            }
            (_, Part::ClientCertificate) => match &mut self.client_certificate.path {
                Some(path) => path.paste(pasted),
                None => self.client_certificate.take(pasted),
            },
            _ => {
                if let Some(field) = self.text(part) {
                    field.paste(pasted);
                }
                if part == Part::Host && self.host.text().contains("://") {
                    // The password must not stay in a field that is drawn.
                    self.leave(Part::Host);
                }
            }
        }
    }

    /// Takes what was read from the file.
    pub fn take_file(&mut self, path: &Path, read: Result<String, String>) {
        // Whatever it is, it may hold a key.
        let read = read.map(Zeroizing::new);
        if self.client_certificate.path.is_some() {
            match read {
                Ok(text) => self.client_certificate.take(&text),
                Err(why) => self.client_certificate.refuse(why),
            }
            return self.leave(Part::ClientCertificate);
        }
        self.ca_path = None;
        match read {
            Ok(text) => {
                self.ca.paste(&text);
                self.ca_file = Some(path.to_path_buf());
            }
            Err(why) => self.ca.refuse(why),
        }
        self.leave(Part::Ca);
    }

    /// Gives a key to the input that has the focus.
    pub fn on_key(&mut self, part: Part, key: KeyEvent) -> Pressed {
        if key.kind == KeyEventKind::Release {
            return Pressed::Ignored;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match part {
            Part::Password if control && key.code == KeyCode::Char('r') => {
                self.password.toggle_reveal();
                Pressed::Taken
            }
            Part::Tls => self.turn_tls(key.code),
            Part::Ca => self.on_ca_key(key.code, control, key),
            Part::ClientCertificate => self.on_identity_key(key.code, control, key),
            _ => match self.text(part).is_some_and(|field| field.on_key(key)) {
                true => Pressed::Taken,
                false => Pressed::Ignored,
            },
        }
    }

    fn turn_tls(&mut self, code: KeyCode) -> Pressed {
        let at = TLS.iter().position(|choice| *choice == self.tls).unwrap_or(0);
        let to = match code {
            KeyCode::Char(' ') => (at + 1) % TLS.len(),
            KeyCode::Right => (at + 1).min(TLS.len() - 1),
            KeyCode::Left => at.saturating_sub(1),
            _ => return Pressed::Ignored,
        };
        self.tls = TLS[to];
        Pressed::Taken
    }

    fn on_ca_key(&mut self, code: KeyCode, control: bool, key: KeyEvent) -> Pressed {
        if let Some(path) = &mut self.ca_path {
            match code {
                KeyCode::Enter if path.trimmed().is_empty() => self.ca_path = None,
                KeyCode::Enter => return Pressed::ReadFile(expanded(path.trimmed())),
                KeyCode::Esc => self.ca_path = None,
                _ if path.on_key(key) => {}
                _ => return Pressed::Ignored,
            }
            return Pressed::Taken;
        }
        match code {
            KeyCode::Char('o') if control => {
                self.client_certificate.path = None;
                self.ca_path = Some(TextField::default());
            }
            KeyCode::Delete | KeyCode::Backspace => self.ca.clear(),
            KeyCode::Enter if self.ca.is_collecting() => self.ca.type_char('\n'),
            KeyCode::Char(character) if !control => {
                self.ca.type_char(character);
                if self.ca.is_collecting() && !"-\n".contains(character) {
                    return Pressed::Say("Certificates are pasted, not typed; Ctrl-O takes a file path.");
                }
            }
            _ => return Pressed::Ignored,
        }
        Pressed::Taken
    }

    fn on_identity_key(&mut self, code: KeyCode, control: bool, key: KeyEvent) -> Pressed {
        let identity = &mut self.client_certificate;
        if let Some(path) = &mut identity.path {
            match code {
                KeyCode::Enter if path.trimmed().is_empty() => identity.path = None,
                KeyCode::Enter => return Pressed::ReadFile(expanded(path.trimmed())),
                KeyCode::Esc => identity.path = None,
                _ if path.on_key(key) => {}
                _ => return Pressed::Ignored,
            }
            return Pressed::Taken;
        }
        match code {
            KeyCode::Char('o') if control => {
                // One file at a time is read.
                self.ca_path = None;
                identity.path = Some(TextField::default());
            }
            KeyCode::Delete | KeyCode::Backspace => identity.clear(),
            KeyCode::Char(_) if !control => {
                return Pressed::Say("Certificate and key are pasted as a whole; Ctrl-O takes a file path.");
            }
            _ => return Pressed::Ignored,
        }
        Pressed::Taken
    }

    /// The rows of the form for `columns`; `focus` is the input that has the focus.
    pub fn rows(&self, host_label: &str, focus: Option<Part>, columns: usize, view: &View<'_>) -> Vec<FormRow> {
        let at = |part: Part| (focus == Some(part), self.error(part).is_some());
        let wide = columns.saturating_sub(rows::LABEL + 3).clamp(8, 70);
        let reveal = if self.password.is_revealed() { "Ctrl-R hide" } else { "Ctrl-R reveal" };
        let host_size = wide.min(50);
        let mut out = vec![
            rows::field(host_label, &self.host, host_size, "", at(Part::Host), view),
            rows::field("User", &self.user, wide.min(33), "empty: no login", at(Part::User), view),
            rows::field("Password", &self.password, wide.min(33), reveal, at(Part::Password), view),
            rows::field("Auth database", &self.auth_database, wide.min(17), "", at(Part::AuthDatabase), view),
        ];
        if !self.options.is_empty() {
            let kept = format!("{}kept: {}", " ".repeat(rows::LABEL), self.options);
            out.insert(1, FormRow::text(Line::styled(text::cut(&kept, columns), view.theme.dim)));
        }
        let chosen = TLS.iter().position(|choice| *choice == self.tls).unwrap_or(0);
        // The chosen one must be seen in a narrow terminal too.
        let choices =
            if columns < 72 { ["off", "public", "private"] } else { ["off", "on, public CA", "on, private CA"] };
        out.push(rows::radio("TLS", &choices, chosen, at(Part::Tls), view));
        if self.tls == TlsChoice::PrivateCa {
            out.extend(self.ca_rows(at(Part::Ca), columns, view));
        }
        if self.tls != TlsChoice::Off {
            out.extend(self.client_certificate.rows(at(Part::ClientCertificate), columns, view));
        }
        out
    }

    fn ca_rows(&self, at: (bool, bool), columns: usize, view: &View<'_>) -> Vec<FormRow> {
        let (focused, error) = at;
        let inside = self.ca_text(columns, view);
        let border = if focused { view.theme.strong } else { view.theme.text };
        let box_columns = columns.saturating_sub(rows::LABEL + 1).max(10);
        let lines = boxed::boxed(&inside, 0, box_columns, border, view.glyphs);
        let mut out: Vec<FormRow> = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            let name = if index == 0 { "CA certificate" } else { "" };
            let mut spans = rows::label(name, focused && index == 0, error && index == 0, view);
            spans.extend(line.spans);
            out.push(FormRow { line: Line::from(spans), focused, cursor: None });
        }
        if let Some(path) = &self.ca_path {
            out.push(rows::field(
                "  file path",
                path,
                box_columns.saturating_sub(2).min(48),
                "",
                (focused, false),
                view,
            ));
        }
        out
    }

    fn ca_text(&self, columns: usize, view: &View<'_>) -> Vec<(String, ratatui::style::Style)> {
        let theme = view.theme;
        let certificates = self.ca.certificates();
        if let Some(why) = self.ca.refused() {
            let wrapped = text::wrap(why, columns.saturating_sub(rows::LABEL + 5).max(8));
            return wrapped.into_iter().map(|line| (format!(" {line}"), theme.fail)).collect();
        }
        if certificates.is_empty() {
            return vec![
                (" paste the CA certificate here (PEM text)".into(), theme.text),
                (" Ctrl-O takes the path of a file instead".into(), theme.dim),
            ];
        }
        let expired = certificates.iter().any(|certificate| certificate.not_after < view.now);
        let (word, style) = if expired { ("EXPIRED", theme.fail) } else { ("OK", theme.ok) };
        let count = text::counted(certificates.len(), "certificate", "certificates");
        let mut lines = vec![(format!(" {count} ({} bytes)  {word}", self.ca.pem().len()), style)];
        for certificate in certificates.iter().take(2) {
            let until = text::moment(certificate.not_after);
            let until = until.split(' ').next().unwrap_or_default();
            let role = if certificate.is_ca { "" } else { "  (not a CA)" };
            let by = if certificate.issuer == certificate.subject {
                " (self-signed)".to_string()
            } else {
                format!(", by {}", certificate.issuer)
            };
            let room = columns.saturating_sub(rows::LABEL + 21 + role.len()).max(8);
            let who = format!("{}{by}", certificate.subject);
            let who = text::left(&text::cut(&who, room), room);
            lines.push((format!("  {who}  to {until}{role}"), theme.text));
        }
        if certificates.len() > 2 {
            lines.push((format!("  and {} more", certificates.len() - 2), theme.text));
        }
        lines.push((" paste again to replace; Del clears; Ctrl-O file".into(), theme.dim));
        lines
    }

    /// Name and value of an input, for terminals too small for the form.
    pub fn focused(&self, part: Part) -> (String, String) {
        let chosen = match self.tls {
            TlsChoice::Off => "off",
            TlsChoice::PublicCa => "on, public CA",
            TlsChoice::PrivateCa => "on, private CA",
        };
        match part {
            Part::Host => ("Host:port".into(), self.host.shown(60).0),
            Part::User => ("User".into(), self.user.shown(60).0),
            Part::Password => ("Password".into(), self.password.shown(20).0),
            Part::AuthDatabase => ("Auth database".into(), self.auth_database.shown(60).0),
            Part::Tls => ("TLS".into(), chosen.into()),
            Part::Ca => {
                let count = self.ca.certificates().len();
                ("CA certificate".into(), text::counted(count, "certificate", "certificates"))
            }
            Part::ClientCertificate => ("Client certificate".into(), self.client_certificate.summary()),
        }
    }

    /// One sentence about `part`: its error, else what it is for.
    pub fn sentence(&self, part: Part, view: &View<'_>) -> String {
        if let Some(why) = self.error(part) {
            return format!("! {why}");
        }
        match part {
            Part::Host => "The primary as host:port, a list of members, or a pasted mongodb:// string.".into(),
            Part::User => "Leave the user empty if the server has no authentication.".into(),
            Part::Password => "Kept in memory only; never written to a file. Ctrl-R shows it.".into(),
            Part::AuthDatabase => "The database where the user was created, mostly admin.".into(),
            Part::Tls => "Space or Left/Right chooses whether the connection is encrypted.".into(),
            Part::Ca if self.ca_path.is_some() => "Path of a PEM file on this host; Enter reads it, Esc closes.".into(),
            Part::Ca => self.ca_sentence(view),
            Part::ClientCertificate if self.client_certificate.path.is_some() => {
                "Path of a PEM file with certificate and key on this host; Enter reads it, Esc closes.".into()
            }
            Part::ClientCertificate => {
                "Only where the server demands one. Without a user it signs in (X.509). Del forgets it.".into()
            }
        }
    }

    fn ca_sentence(&self, view: &View<'_>) -> String {
        let certificates = self.ca.certificates();
        let Some(first) = certificates.iter().map(|certificate| certificate.not_after).min() else {
            return "CA certificate: paste the PEM text of the CA that signed the server's certificate.".into();
        };
        let has = |name: &str| certificates.iter().any(|certificate| certificate.subject == name);
        let complete = certificates.iter().all(|certificate| has(&certificate.issuer));
        let chain = if complete { "chain is complete" } else { "the root is not among them" };
        let days = text::between(view.now, first).as_secs() / 86_400;
        if first < view.now {
            return "! CA certificate: at least one of them has expired.".into();
        }
        format!("CA certificate: {chain}, first expiry in {days} days.")
    }
}

/// `~/ca.pem` with the home folder in front.
fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}
