//! `[notify]`: whom to tell what happens, and by which channel.

use super::{ConfigError, read_ca, secret_origin, section::Section};
use crate::model::{
    Notify,
    notice::{Email, SmtpEncryption, Webhook},
    units,
};
use std::{path::PathBuf, time::Duration};

const KEYS: [&str; 17] = [
    "email_to",
    "email_from",
    "smtp",
    "smtp_tls",
    "smtp_ca_file",
    "smtp_username",
    "smtp_password_file",
    "smtp_password_env",
    "smtp_password_credential",
    "webhook_file",
    "webhook_env",
    "webhook_credential",
    "webhook_ca_file",
    "command",
    "warn_before",
    "long_cutover",
    // Refused with a better sentence than "unknown".
    "webhook",
];

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> Result<Notify, ConfigError> {
    section.allow(&KEYS)?;
    if section.has("webhook") {
        let why = "a plan never holds the address of a webhook, which usually holds a token; put it into a file: \
                   webhook_file = \"...\"";
        return Err(section.at("webhook", why));
    }
    let defaults = Notify::default();
    Ok(Notify {
        email: email(section)?,
        webhook: webhook(section)?,
        command: section.text("command")?.map(|program| section.beside(program)),
        warn_before: warnings(section)?.unwrap_or(defaults.warn_before),
        long_cutover: match section.text("long_cutover")? {
            Some(text) => duration(section, "long_cutover", text)?,
            None => defaults.long_cutover,
        },
    })
}

fn email(section: &Section<'_>) -> Result<Option<Email>, ConfigError> {
    let to = section.list("email_to")?;
    if to.is_empty() {
        let parts = KEYS.iter().filter(|key| key.starts_with("smtp") || key.starts_with("email"));
        return match parts.into_iter().find(|key| section.has(key)) {
            Some(part) => Err(section.at(part, format!("{part} without email_to = [\"...\"] tells nobody"))),
            None => Ok(None),
        };
    }
    let needed = |key: &str, example: &str| match section.text(key)? {
        Some(text) => Ok(text.to_string()),
        None => Err(section.at("email_to", format!("email_to needs {key} = \"{example}\""))),
    };
    let server = needed("smtp", "smtp.example.net:587")?;
    let port = server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((_, port)) = port.filter(|(host, _)| !host.is_empty() && !host.contains('/')) else {
        return Err(section.at("smtp", "smtp takes host:port, such as \"smtp.example.net:587\""));
    };
    let encryption = match section.text("smtp_tls")? {
        None if port == 465 => SmtpEncryption::Tls,
        None | Some("starttls") => SmtpEncryption::Starttls,
        Some("tls") => SmtpEncryption::Tls,
        Some("off") => SmtpEncryption::Off,
        Some(_) => return Err(section.at("smtp_tls", "smtp_tls is \"starttls\", \"tls\" or \"off\"")),
    };
    let username = section.text("smtp_username")?.map(String::from);
    let password_from =
        secret_origin(section, ["smtp_password_file", "smtp_password_env", "smtp_password_credential"])?;
    if username.is_some() && encryption == SmtpEncryption::Off {
        return Err(section.at("smtp_tls", "a password would go over the network in plain text; use starttls or tls"));
    }
    if username.is_some() != password_from.is_some() {
        let key = if username.is_some() { "smtp_username" } else { "smtp" };
        return Err(section.at(key, "smtp_username and smtp_password_file (or _env, _credential) go together"));
    }
    Ok(Some(Email {
        to: to.into_iter().map(String::from).collect(),
        from: needed("email_from", "mongoferry@example.net")?,
        server,
        encryption,
        ca_file: ca_file(section, "smtp_ca_file")?,
        username,
        password_from,
    }))
}

fn webhook(section: &Section<'_>) -> Result<Option<Webhook>, ConfigError> {
    let ca_file = ca_file(section, "webhook_ca_file")?;
    let Some(address_from) = secret_origin(section, ["webhook_file", "webhook_env", "webhook_credential"])? else {
        return match ca_file {
            Some(_) => Err(section.at("webhook_ca_file", "webhook_ca_file is only used with webhook_file")),
            None => Ok(None),
        };
    };
    Ok(Some(Webhook { address_from, ca_file }))
}

fn ca_file(section: &Section<'_>, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    let Some(file) = section.text(key)? else { return Ok(None) };
    let path = section.beside(file);
    read_ca(&path).map_err(|why| section.at(key, format!("{key}: {why}")))?;
    Ok(Some(path))
}

fn warnings(section: &Section<'_>) -> Result<Option<[Duration; 3]>, ConfigError> {
    if !section.has("warn_before") {
        return Ok(None);
    }
    let texts = section.list("warn_before")?;
    let mut warnings = [Duration::ZERO; 3];
    if texts.len() > warnings.len() {
        return Err(section.at("warn_before", "warn_before takes up to three durations"));
    }
    for (warning, text) in warnings.iter_mut().zip(texts) {
        *warning = duration(section, "warn_before", text)?;
    }
    Ok(Some(warnings))
}

fn duration(section: &Section<'_>, key: &str, text: &str) -> Result<Duration, ConfigError> {
    units::parse_duration(text).map_err(|why| section.at(key, format!("{key}: {why}")))
}
