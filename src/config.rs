//! A plan file (TOML, DESIGN.md section 3) becomes a [`Plan`].
//!
//! Owns the keys, their defaults and the sentences for everything that can be wrong with them. An error names the file,
//! the line and what is accepted, and never repeats a value that may hold a password.

mod section;

use crate::{
    model::{Endpoint, NamespaceFilter, Options, Plan, Tls, Verify, filter::Pattern, units},
    pem,
    secret::Secret,
    uri,
};
use section::Section;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::de::DeTable;
use zeroize::Zeroizing;

/// Largest plan, password or CA file that is read.
const LARGEST_FILE: u64 = 1 << 20;

/// Why a plan cannot be used; one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Something on one line of it.
    #[error("{}, line {line}: {message}", file.display())]
    Line {
        /// The plan file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what is accepted.
        message: String,
    },
    /// Something is missing.
    #[error("{}: {message}", file.display())]
    Missing {
        /// The plan file.
        file: PathBuf,
        /// What is missing and how to add it.
        message: String,
    },
}

/// Reads a plan file. Files named in it are relative to it; passwords are read now.
pub fn read_plan(path: &Path) -> Result<Plan, ConfigError> {
    let text = read_text(path)?;
    parse_plan(path, &text)
}

/// Reads a plan from text; `path` is for messages and for relative files.
pub fn parse_plan(path: &Path, text: &str) -> Result<Plan, ConfigError> {
    let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| ConfigError::Line {
        file: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(span.start)),
        message: error.message().to_string(),
    })?;
    let root = Section::new(path, text, "the plan", table.get_ref());
    root.allow(&["name", "source", "destination", "options"])?;
    let endpoint = |name: &'static str| match root.table(name)? {
        Some(section) => read_endpoint(&section),
        None => Err(root.missing(format!("there is no [{name}] section"))),
    };
    let options = match root.table("options")? {
        Some(section) => read_options(&section)?,
        None => Options::default(),
    };
    Ok(Plan { name: read_name(&root)?, source: endpoint("source")?, destination: endpoint("destination")?, options })
}

/// True for a migration's name: letters, digits, `-`, `_`; 1 to 40 characters.
pub fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn read_name(root: &Section<'_>) -> Result<String, ConfigError> {
    if let Some(name) = root.text("name")? {
        if is_name(name) {
            return Ok(name.to_string());
        }
        return Err(root.at("name", "name: only letters, digits, - and _, at most 40 characters"));
    }
    let stem = root.file().file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if is_name(stem) {
        return Ok(stem.to_string());
    }
    Err(root.missing(format!("the file's name {stem:?} cannot name the migration; add name = \"…\" at the top")))
}

fn read_endpoint(section: &Section<'_>) -> Result<Endpoint, ConfigError> {
    const KEYS: [&str; 11] = [
        "host",
        "uri",
        "username",
        "password_file",
        "password_env",
        "password_credential",
        "auth_source",
        "tls",
        "ca_file",
        "client_certificate_file",
        "direct",
    ];
    if section.has("password") {
        return Err(section.at(
            "password",
            "a plan never holds the password itself; use password_file = \"…\" or password_env = \"…\"",
        ));
    }
    section.allow(&KEYS)?;
    let parts = read_address(section)?;
    let tls = read_tls(section, parts.tls)?;
    let username = section.text("username")?.map(String::from);
    if username.is_some() && parts.username.is_some() {
        return Err(section.at("username", "the uri names a user too; keep one of them"));
    }
    let username = username.or(parts.username);
    let given = read_password(section)?;
    if given.is_some() && parts.password.is_some() {
        return Err(section.at("uri", "the uri holds a password and the section names another; keep one of them"));
    }
    let password = given.or(parts.password);
    match (&username, &password) {
        (Some(_), None) => {
            let message =
                format!("[{}]: username without a password; add password_file or password_env", section.name());
            return Err(section.missing(message));
        }
        (None, Some(_)) => {
            let message = format!("[{}]: a password without username; add username", section.name());
            return Err(section.missing(message));
        }
        _ => {}
    }
    let auth_source = section.text("auth_source")?.map(String::from).or(parts.auth_source);
    let direct = section.flag("direct")?.unwrap_or(false);
    let client_certificate = read_client_certificate(section, &tls)?;
    Ok(Endpoint { uri: parts.uri, username, password, auth_source, tls, client_certificate, direct })
}

fn read_client_certificate(section: &Section<'_>, tls: &Tls) -> Result<Option<Secret>, ConfigError> {
    const KEY: &str = "client_certificate_file";
    let Some(file) = section.text(KEY)? else { return Ok(None) };
    if *tls == Tls::Off {
        return Err(section.at(KEY, "client_certificate_file is only used with TLS; set tls = \"private-ca\""));
    }
    let path = section.beside(file);
    let text = read_text(&path)?;
    pem::inspect_identity(&text).map_err(|error| section.at(KEY, format!("{KEY} {}: {error}", path.display())))?;
    Ok(Some(Secret::new(pem::with_lf(&text))))
}

fn read_address(section: &Section<'_>) -> Result<uri::Parts, ConfigError> {
    let (key, text) = match (section.text("host")?, section.text("uri")?) {
        (Some(_), Some(_)) => return Err(section.at("uri", "host and uri are both given; keep one of them")),
        (None, None) => {
            let message = format!("[{}]: the address is missing; add host = \"name:27017\" or uri", section.name());
            return Err(section.missing(message));
        }
        (Some(host), None) if host.contains("://") => {
            return Err(section.at("host", "host takes name:port; write a connection string as uri = \"…\""));
        }
        (Some(host), None) if host.contains(['/', '@', '?']) => {
            return Err(section.at("host", "host takes name:port, or several with commas, and nothing else"));
        }
        (Some(host), None) => ("host", Zeroizing::new(format!("mongodb://{}/", host.trim()))),
        (None, Some(uri)) => ("uri", Zeroizing::new(uri.to_string())),
    };
    uri::take_credentials(&text).map_err(|error| section.at(key, format!("{key}: {error}")))
}

fn read_tls(section: &Section<'_>, of_uri: Option<bool>) -> Result<Tls, ConfigError> {
    let word = section.text("tls")?;
    let ca_file = section.text("ca_file")?;
    if ca_file.is_some() && word != Some("private-ca") {
        return Err(section.at("ca_file", "ca_file is only used with tls = \"private-ca\""));
    }
    match (word, of_uri) {
        (Some("off"), Some(true)) if !section.text("uri")?.unwrap_or_default().starts_with("mongodb+srv:") => {
            Err(section.at("tls", "the uri asks for TLS and tls = \"off\" forbids it; change one of them"))
        }
        (Some("public-ca" | "private-ca"), Some(false)) => {
            Err(section.at("tls", "the uri says tls=false and the section asks for TLS; change one of them"))
        }
        (Some("off"), _) | (None, None | Some(false)) => Ok(Tls::Off),
        (Some("public-ca"), _) | (None, Some(true)) => Ok(Tls::PublicCa),
        (Some("private-ca"), _) => {
            let Some(file) = ca_file else {
                return Err(section.at("tls", "tls = \"private-ca\" needs ca_file = \"…\""));
            };
            let path = section.beside(file);
            let text = read_text(&path)?;
            pem::inspect(&text)
                .map_err(|error| section.at("ca_file", format!("ca_file {}: {error}", path.display())))?;
            Ok(Tls::PrivateCa { pem: pem::with_lf(&text) })
        }
        (Some(_), _) => Err(section.at("tls", "tls is \"off\", \"public-ca\" or \"private-ca\"")),
    }
}

fn read_password(section: &Section<'_>) -> Result<Option<Secret>, ConfigError> {
    const KEYS: [&str; 3] = ["password_file", "password_env", "password_credential"];
    let mut given = KEYS.into_iter().filter(|key| section.has(key));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        return Err(section.at(second, format!("{first} and {second} are both given; keep one of them")));
    }
    if let Some(file) = section.text("password_file")? {
        return read_password_file(section, "password_file", &section.beside(file)).map(Some);
    }
    if let Some(name) = section.text("password_credential")? {
        const KEY: &str = "password_credential";
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(section.at(KEY, "password_credential is the name of a systemd credential, not a path"));
        }
        let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
            let why =
                "systemd passed no credentials (CREDENTIALS_DIRECTORY is not set); use LoadCredential= in the unit";
            return Err(section.at(KEY, why));
        };
        return read_password_file(section, KEY, &Path::new(&folder).join(name)).map(Some);
    }
    match section.text("password_env")? {
        Some(variable) => match std::env::var(variable) {
            Ok(value) if !value.is_empty() => Ok(Some(Secret::new(value))),
            _ => Err(section.at("password_env", format!("the environment variable {variable} is not set"))),
        },
        None => Ok(None),
    }
}

fn read_password_file(section: &Section<'_>, key: &'static str, path: &Path) -> Result<Secret, ConfigError> {
    let text = read_text(path)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(section.at(key, format!("{key} {} is empty", path.display())));
    }
    if line.contains('\n') {
        let message = format!("{key} {} has several lines; it holds the password alone", path.display());
        return Err(section.at(key, message));
    }
    Ok(Secret::new(line.to_string()))
}

fn read_options(section: &Section<'_>) -> Result<Options, ConfigError> {
    section.allow(&[
        "clear_destination",
        "include",
        "exclude",
        "cutover_window",
        "extend_by",
        "ready_lag",
        "ready_for",
        "quiet_for",
        "verify",
        "throttle",
    ])?;
    let defaults = Options::default();
    let duration = |key: &'static str, default: Duration| match section.text(key)? {
        None => Ok(default),
        Some(text) => match units::parse_duration(text) {
            Ok(duration) if duration.is_zero() => Err(section.at(key, format!("{key} must be longer than nothing"))),
            Ok(duration) => Ok(duration),
            Err(why) => Err(section.at(key, format!("{key}: {why}"))),
        },
    };
    let patterns = |key: &'static str| -> Result<Vec<Pattern>, ConfigError> {
        let parse = |text: &str| Pattern::parse(text).map_err(|why| section.at(key, format!("{key}: {why}")));
        section.list(key)?.into_iter().map(parse).collect()
    };
    Ok(Options {
        clear_destination: section.flag("clear_destination")?.unwrap_or(false),
        filter: NamespaceFilter { include: patterns("include")?, exclude: patterns("exclude")? },
        cutover_window: duration("cutover_window", defaults.cutover_window)?,
        extend_by: duration("extend_by", defaults.extend_by)?,
        ready_lag: duration("ready_lag", defaults.ready_lag)?,
        ready_for: duration("ready_for", defaults.ready_for)?,
        quiet_for: duration("quiet_for", defaults.quiet_for)?,
        verify: match section.text("verify")? {
            None | Some("exact") => Verify::Exact,
            Some("off") => Verify::Off,
            Some(_) => return Err(section.at("verify", "verify is \"exact\" or \"off\"")),
        },
        throttle: match section.text("throttle")? {
            None => None,
            Some(text) => units::parse_rate(text).map_err(|why| section.at("throttle", format!("throttle: {why}")))?,
        },
    })
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { file: path.to_path_buf(), why };
    let size = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(unreadable("it is larger than 1 MiB".into()));
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| unreadable(error.to_string()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable("it is not UTF-8 text".into()))?;
    Ok(Zeroizing::new(text.to_string()))
}
