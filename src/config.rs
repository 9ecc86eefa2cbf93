//! A plan file (TOML, DESIGN.md section 3) becomes a [`Plan`].
//!
//! Owns the keys, their defaults and the sentences for everything that can be wrong with them. An error names the file,
//! the line and what is accepted, and never repeats a value that may hold a password.

mod notify;
mod section;

use crate::{
    model::{
        CheckOrder, Endpoint, NamespaceFilter, Notify, Options, PasswordFrom, Plan, RepairPolicy, Tls, Verify,
        filter::Pattern, units,
    },
    paths, pem,
    secret::Secret,
    uri,
};
use section::Section;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::{Spanned, de::DeTable};
use zeroize::Zeroizing;

/// Largest plan, password or CA file that is read.
const LARGEST_FILE: u64 = 1 << 20;
/// A spool has to hold a few batches of 16 MB.
const SMALLEST_SPOOL: u64 = 64_000_000;

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
    let table = parse_table(path, text)?;
    let root = Section::new(path, text, "the plan", table.get_ref());
    root.allow(&["name", "source", "destination", "options", "notify"])?;
    let endpoint = |name: &'static str| match root.table(name)? {
        Some(section) => read_endpoint(&section),
        None => Err(root.missing(format!("there is no [{name}] section"))),
    };
    let mut options = match root.table("options")? {
        Some(section) => read_options(&section)?,
        None => Options::default(),
    };
    options.notify = match root.table("notify")? {
        Some(section) => notify::read(&section)?,
        None => read_notify()?,
    };
    Ok(Plan { name: read_name(&root)?, source: endpoint("source")?, destination: endpoint("destination")?, options })
}

/// The notices of every plan that has no `[notify]`: `notify.toml` in the config folder, with the same keys. None without
/// that file.
pub fn read_notify() -> Result<Notify, ConfigError> {
    let Some(path) = paths::config_root().ok().map(|root| root.join("notify.toml")).filter(|path| path.exists()) else {
        return Ok(Notify::default());
    };
    let text = read_text(&path)?;
    let table = parse_table(&path, &text)?;
    notify::read(&Section::new(&path, &text, "notify.toml", table.get_ref()))
}

fn parse_table<'a>(path: &Path, text: &'a str) -> Result<Spanned<DeTable<'a>>, ConfigError> {
    let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    DeTable::parse(text).map_err(|error| ConfigError::Line {
        file: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(span.start)),
        message: error.message().to_string(),
    })
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
    let password_from = secret_origin(section, ["password_file", "password_env", "password_credential"])?;
    let given = password_from.as_ref().map(|from| password(section, from)).transpose()?;
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
    let client_certificate_from = client_certificate_origin(section, &tls)?;
    let certificate = |path: &PathBuf| read_client_certificate(path).map_err(|why| section.at(CLIENT_CERTIFICATE, why));
    let client_certificate = client_certificate_from.as_ref().map(certificate).transpose()?;
    Ok(Endpoint {
        uri: parts.uri,
        username,
        password,
        password_from,
        auth_source,
        tls,
        client_certificate,
        client_certificate_from,
        direct,
    })
}

const CLIENT_CERTIFICATE: &str = "client_certificate_file";

fn client_certificate_origin(section: &Section<'_>, tls: &Tls) -> Result<Option<PathBuf>, ConfigError> {
    let Some(file) = section.text(CLIENT_CERTIFICATE)? else { return Ok(None) };
    if *tls == Tls::Off {
        let why = "client_certificate_file is only used with TLS; set tls = \"private-ca\"";
        return Err(section.at(CLIENT_CERTIFICATE, why));
    }
    let path = section.beside(file);
    // A file that cannot be read is an error of its own.
    read_text(&path)?;
    Ok(Some(path))
}

/// Reads certificate chain and key where a plan says that they are.
pub fn read_client_certificate(path: &Path) -> Result<Secret, String> {
    let text = read_text(path).map_err(|error| error.to_string())?;
    pem::inspect_identity(&text).map_err(|error| format!("{CLIENT_CERTIFICATE} {}: {error}", path.display()))?;
    Ok(Secret::new(pem::with_lf(&text)))
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

/// Where a secret is read: `keys` name a file, an environment variable and a systemd credential.
fn secret_origin(section: &Section<'_>, keys: [&'static str; 3]) -> Result<Option<PasswordFrom>, ConfigError> {
    let mut given = keys.into_iter().filter(|key| section.has(key));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        return Err(section.at(second, format!("{first} and {second} are both given; keep one of them")));
    }
    let [file, env, credential] = keys;
    if let Some(file) = section.text(file)? {
        return Ok(Some(PasswordFrom::File(section.beside(file))));
    }
    if let Some(name) = section.text(credential)? {
        return Ok(Some(PasswordFrom::Credential(name.to_string())));
    }
    Ok(section.text(env)?.map(|variable| PasswordFrom::Env(variable.to_string())))
}

fn password(section: &Section<'_>, from: &PasswordFrom) -> Result<Secret, ConfigError> {
    let key = match from {
        PasswordFrom::File(path) => {
            // As for every other file of the plan.
            read_text(path)?;
            "password_file"
        }
        PasswordFrom::Env(_) => "password_env",
        PasswordFrom::Credential(_) => "password_credential",
    };
    read_password(from).map_err(|why| section.at(key, why))
}

/// Reads a password where a plan says that it is; the sentence says what is wrong and never repeats it.
pub fn read_password(from: &PasswordFrom) -> Result<Secret, String> {
    match from {
        PasswordFrom::File(path) => read_password_file("password_file", path),
        PasswordFrom::Credential(name) => {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                return Err("password_credential is the name of a systemd credential, not a path".into());
            }
            let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
                let why =
                    "systemd passed no credentials (CREDENTIALS_DIRECTORY is not set); use LoadCredential= in the unit";
                return Err(why.into());
            };
            read_password_file("password_credential", &Path::new(&folder).join(name))
        }
        PasswordFrom::Env(variable) => match std::env::var(variable) {
            Ok(value) if !value.is_empty() => Ok(Secret::new(value)),
            _ => Err(format!("the environment variable {variable} is not set")),
        },
    }
}

fn read_password_file(key: &str, path: &Path) -> Result<Secret, String> {
    let text = read_text(path).map_err(|error| error.to_string())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(format!("{key} {} is empty", path.display()));
    }
    if line.contains('\n') {
        return Err(format!("{key} {} has several lines; it holds the password alone", path.display()));
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
        "check",
        "repair",
        "throttle",
        "spool_limit",
        "block_source_writes",
        "reverse",
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
        check: match section.text("check")? {
            None | Some("first") => CheckOrder::First,
            Some("after") => CheckOrder::After,
            Some(_) => return Err(section.at("check", "check is \"first\" or \"after\"")),
        },
        repair: match section.text("repair")? {
            None | Some("ask") => RepairPolicy::Ask,
            Some("auto") => RepairPolicy::Auto,
            Some(_) => return Err(section.at("repair", "repair is \"ask\" or \"auto\"")),
        },
        throttle: match section.text("throttle")? {
            None => None,
            Some(text) => units::parse_rate(text).map_err(|why| section.at("throttle", format!("throttle: {why}")))?,
        },
        spool_limit: match section.text("spool_limit")? {
            None => defaults.spool_limit,
            Some(text) => match units::parse_bytes(text) {
                Ok(bytes) if bytes < SMALLEST_SPOOL => {
                    return Err(section.at("spool_limit", "spool_limit must be at least \"64MB\""));
                }
                Ok(bytes) => bytes,
                Err(why) => return Err(section.at("spool_limit", format!("spool_limit: {why}"))),
            },
        },
        block_source_writes: section.flag("block_source_writes")?.unwrap_or(false),
        notify: Notify::default(),
        reverse: section.text("reverse")?.map(|_| duration("reverse", Duration::ZERO)).transpose()?,
        way_back: None,
    })
}

/// Reads certificates of a private authority; the sentence says what is wrong.
pub fn read_ca(path: &Path) -> Result<String, String> {
    let text = read_text(path).map_err(|error| error.to_string())?;
    pem::inspect(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(pem::with_lf(&text))
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
