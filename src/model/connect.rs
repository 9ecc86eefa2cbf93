//! The page after the opening: how to reach the new cluster, who is there, who is not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The connect page. Never a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectInfo {
    /// A mongosh command line.
    pub mongosh: String,
    /// A driver URI with `<user>:<password>` placeholders when the cluster has logins.
    pub driver_uri: String,
    /// A `.env` line.
    pub env_line: String,
    /// Applications seen on the destination, and those that wrote to the source before and are not there.
    pub applications: Vec<ConnectedApplication>,
    /// Namespaces written on the destination since it was opened, and those that were written on the source before.
    #[serde(default)]
    pub arrivals: Vec<Arrival>,
    /// Applications still connected to the source, `name (address)`.
    pub stragglers: Vec<String>,
    /// Namespaces of the source that somebody wrote to after the destination was opened: nobody carries that.
    #[serde(default)]
    pub left_writing: Vec<Arrival>,
}

/// Writes to one namespace since the destination was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    /// `db.collection`.
    pub namespace: String,
    /// Writes that were seen.
    pub writes: u64,
    /// Writes per second (10 s mean).
    pub ops_per_s: f64,
    /// Wall time of the first one; `None`: not written yet.
    pub since: Option<Timestamp>,
    /// Wall time of the last one.
    pub last_write: Option<Timestamp>,
}

/// An application connected to the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedApplication {
    /// Its `appName` or driver name.
    pub name: String,
    /// Connections; 0 when it is not there.
    pub connections: u32,
    /// When it was seen there first; `None`: not yet.
    #[serde(default)]
    pub since: Option<Timestamp>,
}
