//! Commands: everything that an operator can ask of the engine, by key or by command line.

use super::{
    limit::Limit,
    plan::{CheckOrder, Endpoint, Plan},
    problem::Problem,
    shown::ShownDocument,
};
use serde::{Deserialize, Serialize};

/// One request. Every key that changes something sends one of these, and the command line sends the same.
#[derive(Debug, Clone)]
pub enum Command {
    /// Look at a destination for the picker: reachable, version, members, user data. Writes nothing.
    TestDestination(Box<Endpoint>),
    /// Run all checks on a plan. Writes nothing but a temporary empty collection on the destination, removed at once.
    Validate(Box<Plan>),
    /// Run again what failed and what depends on it.
    Revalidate,
    /// Start the migration that was validated last.
    Start(Consent),
    /// Stop syncing, keep the position.
    Pause,
    /// Go on after a pause or after the window expired.
    Resume,
    /// "Extend time": add the plan's `extend_by` to the cutover deadline.
    Extend,
    /// Measure how long the drain of a cutover would take now. Changes nothing.
    Rehearse,
    /// "Prepare to Cutover": begin the guided cutover. Refused until the gate is open.
    PrepareCutover,
    /// Go on from "Stop your application". Refused until the source is quiet, unless overridden.
    ContinueCutover {
        /// The typed override of the quiet check. Never of the drain.
        assume_stopped: bool,
    },
    /// Check the data before the destination is opened, or after it. Possible until the last changes are applied.
    ChooseCheck(CheckOrder),
    /// Do without the indexes that could not be built; the cutover does not wait for them any more.
    AcceptFailedIndexes,
    /// Leave the guided cutover; syncing continues. Free until the destination was opened.
    GoBack,
    /// Give up the rest of the verification (typed confirmation); printed in the report.
    SkipVerification,
    /// Copy the documents again that verification found different, and check them once more.
    RepairMismatches,
    /// Read one document on both clusters, for the answer and nothing else. Changes nothing.
    ShowDocument {
        /// `db.collection`.
        namespace: String,
        /// Its `_id` as extended JSON, as mismatches name it; anything else is taken as a string.
        id: String,
    },
    /// Try again what failed: index builds while following, a check that found differences, steps of finalizing.
    Retry,
    /// Send a test notice by every channel of the plan.
    TestNotices,
    /// Keep a way back open: follow the destination of this completed migration into its source, for so many seconds.
    KeepWayBack {
        /// How long.
        seconds: u64,
    },
    /// Another limit on source reads, from now on, for copy and verification.
    Throttle(Limit),
    /// End the migration for good (typed confirmation). The destination keeps what it has.
    Stop,
    /// The demo only: stop "the application" that writes to the source.
    StopApplication,
}

/// What comes back for a command that was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was; the snapshot tells the rest.
    Accepted,
    /// What [`Command::ShowDocument`] asked for.
    Document(Box<ShownDocument>),
}

/// What the operator agreed to when pressing Start Migration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consent {
    /// Warnings of the validation are accepted.
    pub warnings: bool,
    /// The destination's name was typed to agree to dropping its selected user collections.
    pub clear_destination: bool,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Not possible now; one sentence says why and what would make it possible.
    #[error("{0}")]
    NotNow(String),
    /// It was tried and failed.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The engine is not there any more.
    #[error("the engine does not answer")]
    EngineGone,
}
