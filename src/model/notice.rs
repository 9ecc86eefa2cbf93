//! Notices: what somebody who is not at the terminal is told, and the channels by which.

use super::plan::PasswordFrom;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Whom to tell, and when. Holds no secret, only where each is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// By e-mail.
    pub email: Option<Email>,
    /// By a JSON POST.
    pub webhook: Option<Webhook>,
    /// By running a program: JSON on its standard input, no shell.
    pub command: Option<PathBuf>,
    /// So long before the cutover window ends, longest first (24 h, 12 h, 1 h); zero: not.
    pub warn_before: [Duration; 3],
    /// When a cutover has been in progress for so long (12 h).
    pub long_cutover: Duration,
}

impl Default for Notify {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            email: None,
            webhook: None,
            command: None,
            warn_before: [hours(24), hours(12), hours(1)],
            long_cutover: hours(12),
        }
    }
}

impl Notify {
    /// The channels that are set up.
    pub fn channels(&self) -> Vec<Channel> {
        let email = self.email.as_ref().map(|_| Channel::Email);
        let webhook = self.webhook.as_ref().map(|_| Channel::Webhook);
        let command = self.command.as_ref().map(|_| Channel::Command);
        [email, webhook, command].into_iter().flatten().collect()
    }
}

/// An SMTP server and who gets mail through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// Recipients.
    pub to: Vec<String>,
    /// Sender.
    pub from: String,
    /// `host:port`.
    pub server: String,
    /// How the connection is encrypted.
    pub encryption: SmtpEncryption,
    /// Certificates of a private authority (PEM file); public authorities otherwise.
    pub ca_file: Option<PathBuf>,
    /// Login, when the server wants one.
    pub username: Option<String>,
    /// Where its password is read each time.
    pub password_from: Option<PasswordFrom>,
}

/// Encryption of a connection to an SMTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpEncryption {
    /// Plain first, then TLS, which is required.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None. No login is sent over it.
    Off,
}

/// A web address that takes a JSON POST.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Where the address is read each time; it usually holds a token.
    pub address_from: PasswordFrom,
    /// Certificates of a private authority (PEM file); public authorities otherwise.
    pub ca_file: Option<PathBuf>,
}

/// A way to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// E-mail.
    Email,
    /// JSON POST.
    Webhook,
    /// A program.
    Command,
}

impl Channel {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Channel::Email => "e-mail",
            Channel::Webhook => "webhook",
            Channel::Command => "command hook",
        }
    }
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// Somebody tries the channels.
    Test,
    /// Ready to cut over; the timer runs.
    Ready,
    /// The cutover window is about to end.
    WindowEnds,
    /// The cutover window passed.
    Expired,
    /// A cutover has been in progress for long.
    LongCutover,
    /// Something stands in the way.
    Paused,
    /// The migration failed.
    Failed,
    /// The migration completed.
    Completed,
}

/// One notice. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// Name of the migration.
    pub migration: String,
    /// What happened, one sentence.
    pub text: String,
    /// When.
    pub at: Timestamp,
    /// The source's hosts.
    pub source: String,
    /// The destination's hosts.
    pub destination: String,
    /// The host that mongoferry runs on.
    pub host: String,
}

impl Notice {
    /// One line: which migration, and what happened.
    pub fn subject(&self) -> String {
        format!("mongoferry {}: {}", self.migration, self.text)
    }
}
