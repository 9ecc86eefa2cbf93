//! An error as an operator sees it: what, which side, why, what to do, whether retrying helps, what has been written.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the cause lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The cluster that is migrated.
    Source,
    /// The cluster that receives the data.
    Destination,
    /// This host: files, memory, terminal, network interfaces.
    Host,
    /// A mistake in mongoferry.
    Bug,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Destination => "destination",
            Side::Host => "this host",
            Side::Bug => "mongoferry (a bug)",
        })
    }
}

/// One error, complete enough to act on. No field ever holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which side the cause is on.
    pub side: Side,
    /// What happened, one sentence, no trailing full stop.
    pub what: String,
    /// Why, with the evidence (server code and message, host, file).
    pub why: String,
    /// What to do about it; a command where there is one.
    pub fix: String,
    /// True when trying the same thing again may succeed without a change.
    pub retry_helps: bool,
    /// What has been written to the clusters so far, e.g. "Nothing has been written to either cluster."
    pub written: String,
}

impl Problem {
    /// A problem that was found before anything was written.
    pub fn before_writing(side: Side, what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            side,
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
            retry_helps: false,
            written: "Nothing has been written to either cluster.".into(),
        }
    }

    /// The same problem, marked as one where trying again may help.
    pub fn retryable(mut self) -> Self {
        self.retry_helps = true;
        self
    }

    /// The same problem with another account of what has been written.
    pub fn having_written(mut self, written: impl Into<String>) -> Self {
        self.written = written.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}. {} {}", self.side, self.what, self.why.trim_end_matches('.'), self.fix, self.written)
    }
}

impl std::error::Error for Problem {}
