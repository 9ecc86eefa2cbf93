//! What the engine shall do next, as data. The engine executes effects in order and feeds the outcome back as events.

use std::time::Duration;

use crate::model::{Limit, Optime, Plan, Severity, notice::NoticeKind};

/// One thing to do.
#[derive(Debug, Clone)]
pub enum Effect {
    // Before the start
    /// Run the checks; answer with `ValidationFinished`.
    Validate(Box<Plan>),

    // Initial sync
    /// Drop the selected user collections of the destination; answer with `Cleared`.
    Clear,
    /// Begin fetching the oplog, read the catalog, copy; answer with `Copied`.
    Copy,
    /// End every task, then copy again by comparing what is there with the source; answer with `Copied`.
    CompareAgain,
    /// Build the secondary indexes; answer with `Indexed`.
    BuildIndexes,

    // Following
    /// Begin the way back: the journal holds the collections and where applying begins. `Follow` comes with it.
    TakeUp,
    /// Apply the oplog until told otherwise; `Measured` reports how it goes.
    Follow,
    /// Begin the base pass of verification beside following.
    BeginVerification,
    /// Build the indexes that could not be built once more; `Measured` shows which still fail.
    BuildFailedIndexes,
    /// Stop syncing between two batches, keep the position.
    CloseGate,
    /// Go on.
    OpenGate,
    /// The source may be read so fast from now on.
    Throttle(Limit),
    /// Whatever waits for a cure tries again at once.
    TryAgain,

    // Cutover
    /// Measure what a cutover would take now, for this operator; changes nothing.
    Rehearse(String),
    /// Block user writes on the source; answer with `SourceBlocked` or `SourceNotBlocked`.
    BlockSource,
    /// Lift that block.
    UnblockSource,
    /// Read the source's newest majority-committed position; answer with `CutoverFixed`.
    FixCutover,
    /// Apply everything up to and including this position, nothing after it; answer with `Drained`.
    DrainTo(Optime),
    /// Stop draining or checking and follow again.
    FollowAgain,
    /// Compare what changed since its last comparison, before or after the opening; answer with `Checked`.
    CheckData,
    /// Copy the differing documents again and compare them once more; answer with `Checked`.
    RepairMismatches,
    /// Give indexes, capped sizes and TTL values their final form, then compare options, indexes and views; answer with
    /// `Finalized`.
    Finalize,
    /// Remove what mongoferry created; answer with `CleanedUp`.
    CleanUp,
    /// End following, give held settings of the destination back, then clean up; answer with `CleanedUp`.
    LetGo,

    // The end
    /// End every task that works on the clusters.
    StopTasks,
    /// Write the report files.
    WriteReport,
    /// Start the way back as a migration of its own, for so long, asked for by this operator.
    KeepWayBack(Duration, String),

    // Telling people
    /// Tell those who are not at the terminal.
    Notify(NoticeKind, String),
    /// Append to the event log.
    Log(Severity, &'static str, String),
}
