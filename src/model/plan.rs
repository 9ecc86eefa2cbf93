//! What the operator asked for: two endpoints and the options. `config` reads it from TOML, the wizard from its form.

use super::{filter::NamespaceFilter, notice::Notify, units::Optime};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// A whole migration as asked for. Holds secrets, so it is never serialised; see [`crate::secret`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the migration: letters, digits, `-`, `_`; at most 40 characters.
    pub name: String,
    /// The cluster that is migrated.
    pub source: Endpoint,
    /// The cluster that receives the data.
    pub destination: Endpoint,
    /// Everything else.
    pub options: Options,
}

/// Where a password can be read again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordFrom {
    /// A file that holds the password alone.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential that systemd passes, by its name.
    Credential(String),
}

/// How to reach one cluster.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `mongodb://host:port[,…]/[?replicaSet=…]` or `mongodb+srv://…`, always without user name and password.
    pub uri: String,
    /// `None` on a server without authentication.
    pub username: Option<String>,
    /// Only in memory.
    pub password: Option<Secret>,
    /// Where the password was read from; `None` when it was typed.
    pub password_from: Option<PasswordFrom>,
    /// Database of the user; the driver's default (`admin`) when absent.
    pub auth_source: Option<String>,
    /// Encryption in transit.
    pub tls: Tls,
    /// Certificate chain and private key (PEM) for a server that asks its clients for one. Without a user name it is
    /// the login too (X.509). Only in memory.
    pub client_certificate: Option<Secret>,
    /// Where that was read from; `None` when it was pasted.
    pub client_certificate_from: Option<PathBuf>,
    /// True: never discover other members, talk to the given host alone.
    pub direct: bool,
}

/// What a restart is given again to sign in to one cluster. Only in memory.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The password.
    pub password: Option<Secret>,
    /// Certificate chain and private key (PEM).
    pub client_certificate: Option<Secret>,
}

impl From<&Endpoint> for Secrets {
    fn from(endpoint: &Endpoint) -> Self {
        Self { password: endpoint.password.clone(), client_certificate: endpoint.client_certificate.clone() }
    }
}

impl Endpoint {
    /// An endpoint without login and TLS.
    pub fn plain(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            username: None,
            password: None,
            password_from: None,
            auth_source: None,
            tls: Tls::Off,
            client_certificate: None,
            client_certificate_from: None,
            direct: false,
        }
    }

    /// The host list of the URI, as an operator would recognise it (never with credentials).
    pub fn hosts(&self) -> &str {
        let rest = self.uri.split_once("://").map_or(self.uri.as_str(), |(_, rest)| rest);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or(rest)
    }
}

/// Encryption in transit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// The server does not use TLS.
    Off,
    /// TLS with a certificate of a public authority.
    PublicCa,
    /// TLS with a private authority, whose certificates are given as PEM text (LF line ends).
    PrivateCa {
        /// One or more `CERTIFICATE` blocks.
        pem: String,
    },
}

/// Verification of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Every document is compared as bytes.
    Exact,
    /// Nothing is compared; the report says so.
    Off,
}

/// When the data is checked at the cutover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOrder {
    /// Check first, then open: the destination accepts writes when nothing differs.
    #[default]
    First,
    /// Open first: the result arrives while the application may write already.
    After,
}

/// What becomes of documents that the check at the cutover finds different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepairPolicy {
    /// Somebody decides.
    #[default]
    Ask,
    /// They are copied again at once, and checked again. What differs even then is for somebody to decide.
    Auto,
}

/// Everything in a plan that is not an endpoint. Durations are the operator's, defaults as documented in the README.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// Consent to drop the selected user collections of the destination after validation passed.
    pub clear_destination: bool,
    /// Which namespaces are migrated.
    pub filter: NamespaceFilter,
    /// How long a ready migration may wait for its cutover (120 h).
    pub cutover_window: Duration,
    /// What one "Extend time" adds (24 h).
    pub extend_by: Duration,
    /// Lag that counts as nearly in sync (10 s) …
    pub ready_lag: Duration,
    /// … when it lasts for this long (30 s).
    pub ready_for: Duration,
    /// How long the source must be without a write before the cutover goes on (60 s).
    pub quiet_for: Duration,
    /// Verification of the copy.
    pub verify: Verify,
    /// Whether the destination is opened before or after the check at the cutover; may be chosen anew there.
    #[serde(default)]
    pub check: CheckOrder,
    /// Whether documents that differ at the cutover are copied again without being asked.
    #[serde(default)]
    pub repair: RepairPolicy,
    /// Limit on source reads during the copy in bytes per second; `None`: no limit.
    pub throttle: Option<u64>,
    /// Most bytes of local disk that fetched changes may take (20 GB); beyond it fetching waits.
    pub spool_limit: u64,
    /// Continue in the cutover blocks user writes on the source (`setUserWriteBlockMode`, 6.0).
    #[serde(default)]
    pub block_source_writes: bool,
    /// Whom to tell what happens.
    #[serde(default)]
    pub notify: Notify,
    /// Keep a way back open for so long as soon as the migration is completed.
    #[serde(default)]
    pub reverse: Option<Duration>,
    /// It follows the new cluster of a completed migration back into the old one. Nothing is copied or cleared.
    #[serde(default)]
    pub way_back: Option<WayBack>,
}

/// From where the way back of a completed migration goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// The completed migration.
    pub of: String,
    /// A position of the new cluster before it was opened: both clusters were equal there.
    pub from: Optime,
    /// The cutover position of the old cluster: nothing may be written there after it.
    pub untouched_since: Optime,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clear_destination: false,
            filter: NamespaceFilter::default(),
            cutover_window: Duration::from_secs(120 * 3600),
            extend_by: Duration::from_secs(24 * 3600),
            ready_lag: Duration::from_secs(10),
            ready_for: Duration::from_secs(30),
            quiet_for: Duration::from_secs(60),
            verify: Verify::Exact,
            check: CheckOrder::First,
            repair: RepairPolicy::Ask,
            throttle: None,
            spool_limit: 20_000_000_000,
            block_source_writes: false,
            notify: Notify::default(),
            reverse: None,
            way_back: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_shown_without_credentials_and_options() {
        assert_eq!(Endpoint::plain("mongodb://a:1,b:2/?replicaSet=rs0").hosts(), "a:1,b:2");
        assert_eq!(Endpoint::plain("mongodb+srv://x.example.net").hosts(), "x.example.net");
        assert_eq!(Endpoint::plain("mongodb://u:p@a:1/").hosts(), "a:1");
    }
}
