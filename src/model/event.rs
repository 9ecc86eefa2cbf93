//! The numbered event log: what happened, in plain words, lossless across attach and detach.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How much attention an event wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Progress.
    Info,
    /// Something an operator may want to know: a retry, an election, a shrinking oplog.
    Warn,
    /// Something that needs an operator.
    Error,
}

/// One line of the event log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the log, from 1, without gaps.
    pub seq: u64,
    /// When it happened on this host.
    pub at: Timestamp,
    /// How much attention it wants.
    pub severity: Severity,
    /// One word, lower case: `copied`, `ready`, `reconnect`.
    pub kind: String,
    /// The sentence.
    pub text: String,
}
