//! What the engine tells the machine: outcomes of effects, and a measurement every so often.

use crate::model::{Optime, Problem, Repaired};

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// All checks ran.
    ValidationFinished {
        /// No check failed.
        passed: bool,
        /// Some check wants to be accepted.
        warnings: bool,
        /// Clearing would drop something.
        would_drop: bool,
    },
    /// The destination's selected collections are gone.
    Cleared,
    /// Every selected collection is copied.
    Copied,
    /// The index builds ended; this many could not be built.
    Indexed {
        /// How many failed.
        failed: usize,
    },
    /// Time went by.
    Ticked,
    /// How following goes; arrives a few times a second.
    Measured(Measurement),
    /// User writes are blocked on the source.
    SourceBlocked,
    /// They cannot be blocked, and why.
    SourceNotBlocked(String),
    /// The newest majority-committed position of the source after it was found quiet.
    CutoverFixed(Optime),
    /// Everything up to and including the cutover position is applied with majority.
    Drained,
    /// Verification ended with this many differing documents.
    Checked {
        /// Missing, extra or different documents.
        mismatches: u64,
        /// What was copied again before, and is equal now.
        repaired: Repaired,
    },
    /// Finalizing ended; the names of what failed.
    Finalized {
        /// `namespace / index / reason`.
        failed: Vec<String>,
        /// What differs in options, indexes and views though nobody accepted it.
        differences: Vec<String>,
        /// The same for indexes that are known to be missing.
        accepted: Vec<String>,
        /// Documents that differ because somebody wrote them on the destination meanwhile.
        mismatches: u64,
        /// The destination's newest position after the last write of mongoferry.
        destination: Optime,
    },
    /// Everything mongoferry created on the destination is gone, or left to the operator by name.
    CleanedUp,
    /// Tasks wait for something that somebody has to cure.
    Hindered(Box<Problem>),
    /// Nothing stands in the way any more.
    Relieved,
    /// The source's oplog no longer holds what is needed next.
    OplogLost(Box<Problem>),
    /// A task cannot go on.
    Failed(Box<Problem>),
}

/// One look at how following goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurement {
    /// Lag in ms as DESIGN.md section 5 defines it; `None` while unknown.
    pub lag_ms: Option<u64>,
    /// How long the source has been without a user write, ms; `None` while unknown.
    pub source_quiet_ms: Option<u64>,
    /// Position of the newest user write seen on the source.
    pub last_user_write: Option<Optime>,
    /// Documents that must be fetched again before the copy is consistent.
    pub repair_pending: u64,
    /// Indexes that could not be built, `namespace / index`.
    pub failed_indexes: Vec<String>,
    /// Transactions that are open on the source, one sentence each.
    pub open_transactions: Vec<String>,
}
