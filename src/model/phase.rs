//! The phases of a migration, in the words that status, journal and screens use.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a migration is. `Paused`, `Expired`, `Stopped` and `Failed` keep the phase that they left in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No migration has been asked for yet; the wizard is filling the form.
    Idle,
    /// The checks run; nothing is written.
    Validating,
    /// The destination's selected user collections are dropped, as the operator agreed.
    Clearing,
    /// Initial sync: documents are copied.
    Copying,
    /// Indexes are built on the destination.
    Indexing,
    /// The oplog is applied; the destination is catching up or keeping up.
    Following,
    /// Nearly in sync long enough: cutover is possible and the cutover timer runs.
    Ready,
    /// The guided cutover: waiting for a quiet source, draining.
    Cutover,
    /// TTL values, unique indexes, capped sizes get their final form.
    Finalizing,
    /// The destination accepts writes; what mongoferry created is removed.
    Cleanup,
    /// Done.
    Completed,
    /// Halted by the operator or by a cause that can go away.
    Paused,
    /// The cutover window passed; syncing stopped, everything is kept.
    Expired,
    /// Ended by the operator; the destination keeps what it has.
    Stopped,
    /// Ended by an error that mongoferry cannot get past.
    Failed,
}

impl Phase {
    /// The word used in status and journal.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Validating => "validating",
            Phase::Clearing => "clearing",
            Phase::Copying => "copying",
            Phase::Indexing => "indexing",
            Phase::Following => "following",
            Phase::Ready => "ready",
            Phase::Cutover => "cutover",
            Phase::Finalizing => "finalizing",
            Phase::Cleanup => "cleanup",
            Phase::Completed => "completed",
            Phase::Paused => "paused",
            Phase::Expired => "expired",
            Phase::Stopped => "stopped",
            Phase::Failed => "failed",
        }
    }

    /// True when no task of the engine works on the clusters any more.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Completed | Phase::Stopped | Phase::Failed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
