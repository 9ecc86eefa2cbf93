//! The snapshot: everything that a screen, `status --json` or the report shows about a migration at one moment.
//!
//! Plain data, complete (no screen asks anything else), coalesced by the engine. Times are UTC, sizes bytes, durations
//! ms. Unknown is `None`, never a guess.

pub use super::connect::{Arrival, ConnectInfo, ConnectedApplication};
use super::{
    check::ValidationReport, notice::Channel, phase::Phase, plan::CheckOrder, problem::Problem, rows::Rows,
    units::Optime,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of a migration at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name of the migration; empty while idle.
    pub name: String,
    /// Where it is.
    pub phase: Phase,
    /// The phase that `paused`, `expired`, `stopped` or `failed` left.
    pub left_phase: Option<Phase>,
    /// When the phase began.
    pub since: Timestamp,
    /// When Start Migration was pressed.
    pub started: Option<Timestamp>,
    /// When the migration completed, stopped or failed.
    pub finished: Option<Timestamp>,
    /// The source, as far as known.
    pub source: ClusterView,
    /// The destination, as far as known.
    pub destination: ClusterView,
    /// What a test of a destination for the picker showed last.
    pub destination_test: Option<DestinationTest>,
    /// The last validation.
    pub validation: Option<ValidationReport>,
    /// Initial sync.
    pub copy: CopyProgress,
    /// One row per collection, in copy order.
    pub collections: Rows<CollectionRow>,
    /// Index builds.
    pub indexes: IndexProgress,
    /// Now minus the wall time of the oldest change not yet applied, in ms; 0 if and only if everything up to the
    /// source's newest majority-committed write is applied. `None` before following begins.
    pub lag_ms: Option<u64>,
    /// The same for changes not yet fetched.
    pub fetch_lag_ms: Option<u64>,
    /// For how long lag has been under the ready threshold, ms.
    pub under_ready_lag_ms: u64,
    /// The plan's thresholds, for gauges and sentences.
    pub thresholds: Thresholds,
    /// Everything up to here is applied on the destination.
    pub applied_ts: Option<Optime>,
    /// Changes applied since the start.
    pub ops_applied: u64,
    /// Changes fetched and not yet applied.
    pub ops_waiting: u64,
    /// Changes arriving per second (10 s mean).
    pub ops_in_per_s: f64,
    /// Changes applied per second (10 s mean).
    pub ops_out_per_s: f64,
    /// Wall time of the last user write seen on the source.
    pub last_source_write: Option<Timestamp>,
    /// Bytes of fetched changes waiting on local disk.
    pub spool_bytes: u64,
    /// Bytes that the spool takes on disk; compressed, with what a restart may still need.
    #[serde(default)]
    pub spool_disk_bytes: u64,
    /// The plan's bound for them; 0 before the start.
    #[serde(default)]
    pub spool_limit_bytes: u64,
    /// When the bound is reached if the spool goes on growing like this, ms; `None` when it does not grow.
    #[serde(default)]
    pub spool_full_in_ms: Option<u64>,
    /// The source's oplog window (newest minus oldest entry), ms.
    pub oplog_window_ms: Option<u64>,
    /// How long at least until the source's oplog rolls over the position that is fetched next, ms: at the busiest rate
    /// of the last minutes, never better than what can be relied on. `None` in the first half minute, while that rate is
    /// measured, unless the oplog is full.
    pub oplog_left_ms: Option<u64>,
    /// The limit on source reads, bytes per second; `None`: no limit.
    #[serde(default)]
    pub throttle: Option<u64>,
    /// Why nothing is written for a while: how far the destination's secondaries are behind; `None`: nothing is held back.
    #[serde(default)]
    pub holding_back: Option<String>,
    /// "Prepare to Cutover" is possible now.
    pub can_cutover: bool,
    /// The destination accepts writes now.
    pub can_write: bool,
    /// Why "Prepare to Cutover" is not possible, one sentence each; empty when it is.
    pub cutover_blocked_by: Vec<String>,
    /// When syncing stops unless the operator cuts over or extends.
    pub cutover_deadline: Option<Timestamp>,
    /// How often the window was extended.
    pub extensions: u32,
    /// Who extended it, when, and to what.
    pub extension_log: Vec<Extension>,
    /// How long the source has been without a user write, ms; `None` before following.
    pub source_quiet_ms: Option<u64>,
    /// Namespaces written on the source lately, busiest first.
    pub writers: Vec<Writer>,
    /// Namespaces of the destination that somebody else wrote to before the cutover, the latest first.
    #[serde(default)]
    pub foreign_writes: Vec<ForeignWrites>,
    /// Transactions that are open on the source, one sentence each; seen only with the privilege `inprog`.
    #[serde(default)]
    pub open_transactions: Vec<String>,
    /// The last rehearsal of the cutover.
    #[serde(default)]
    pub rehearsal: Option<Rehearsal>,
    /// Continue makes the source refuse user writes, as the plan says; nobody waits for quiet then.
    #[serde(default)]
    pub blocks_source: bool,
    /// The guided cutover, once begun.
    pub cutover: Option<Cutover>,
    /// Verification of the copy.
    pub verification: Verification,
    /// What cleanup removes, one line each.
    pub cleanup: Vec<StepLine>,
    /// The connect page, once the destination accepts writes.
    pub connect: Option<ConnectInfo>,
    /// The error that paused or ended the migration.
    pub error: Option<Problem>,
    /// Objects that were not carried, `namespace: reason`.
    pub left_behind: Vec<String>,
    /// What went wrong and was survived, for the report.
    pub incidents: Vec<String>,
    /// The channels by which notices are sent.
    #[serde(default)]
    pub notices: Vec<Channel>,
    /// Where the report is (Markdown), once written.
    pub report: Option<String>,
    /// The completed migration that this one is the way back of.
    #[serde(default)]
    pub way_back_of: Option<String>,
    /// What became of the way back of this migration, once it was asked for.
    #[serde(default)]
    pub way_back: Option<String>,
    /// Samples for charts.
    pub history: History,
    /// The demo's application; `None` outside the demo.
    pub application: Option<Application>,
}

/// One cluster as an operator recognises it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// What the operator calls it: a profile's name or the host list.
    pub label: String,
    /// Replica set name.
    pub set: Option<String>,
    /// Server version, e.g. `6.0.27`.
    pub version: Option<String>,
    /// Members as `host:port`.
    pub hosts: Vec<String>,
    /// The primary, when known.
    pub primary: Option<String>,
    /// The mongosh command that drops the user that mongoferry signs in as; `None` without a user.
    #[serde(default)]
    pub drop_user: Option<String>,
}

/// What a look at a destination showed (picker).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationTest {
    /// The URI that was tested (no credentials), to match the row.
    pub uri: String,
    /// Still running.
    pub running: bool,
    /// What the cluster said, when reachable.
    pub cluster: Option<ClusterView>,
    /// User databases with their size in bytes.
    pub databases: Vec<(String, u64)>,
    /// Why it is not usable.
    pub problem: Option<Problem>,
    /// When it was tested.
    pub at: Timestamp,
}

/// Initial sync as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Collections copied.
    pub collections_done: u64,
    /// Collections to copy.
    pub collections_total: u64,
    /// Documents copied.
    pub documents: u64,
    /// Documents on the source when the copy began (an estimate of the server).
    pub documents_total: u64,
    /// Bytes copied (BSON, uncompressed).
    pub bytes: u64,
    /// Bytes on the source when the copy began (measured once).
    pub bytes_total: u64,
    /// Time left, ms; `None` when speed varies too much or it is too early.
    pub eta_ms: Option<u64>,
    /// Bytes per second (10 s mean).
    pub bytes_per_s: f64,
    /// Documents per second (10 s mean).
    pub documents_per_s: f64,
    /// Concurrent range readers.
    pub readers: u32,
}

/// Where one collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectionState {
    /// Being copied.
    Copying,
    /// Waiting for a reader.
    Queued,
    /// Its indexes are being built.
    Indexing,
    /// Copied, indexes built.
    Done,
}

/// One collection in the migrating screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionRow {
    /// `db.collection`.
    pub namespace: String,
    /// Where it is.
    pub state: CollectionState,
    /// Documents copied.
    pub documents: u64,
    /// Documents on the source when the copy began.
    pub documents_total: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes on the source when the copy began.
    pub bytes_total: u64,
    /// Bytes per second lately.
    pub bytes_per_s: f64,
    /// Indexes built of `indexes_total`.
    pub indexes_built: u32,
    /// Indexes to build, `_id` not counted.
    pub indexes_total: u32,
}

/// Index builds as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexProgress {
    /// Built.
    pub built: u64,
    /// To build, `_id` indexes not counted.
    pub total: u64,
    /// Could not be built.
    pub failed: Vec<FailedIndex>,
}

/// An index that could not be built, by name and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedIndex {
    /// `db.collection`.
    pub namespace: String,
    /// Index name.
    pub index: String,
    /// The server's reason.
    pub reason: String,
}

impl FailedIndex {
    /// What it is called by whoever accepts that it is missing.
    pub fn label(&self) -> String {
        super::units::index_label(&self.namespace, &self.index)
    }
}

/// The plan's thresholds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Lag that counts as nearly in sync, ms.
    pub ready_lag_ms: u64,
    /// For how long, ms.
    pub ready_for_ms: u64,
    /// Quiet needed at cutover, ms.
    pub quiet_for_ms: u64,
    /// What one extension adds, ms.
    pub extend_by_ms: u64,
    /// The whole window, ms.
    pub cutover_window_ms: u64,
}

/// One "Extend time".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// `user@tty`.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The new end.
    pub new_deadline: Timestamp,
}

/// Someone who writes on the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Writer {
    /// `db.collection`.
    pub namespace: String,
    /// Writes per second (10 s mean).
    pub ops_per_s: f64,
    /// Wall time of its last write.
    pub last_write: Timestamp,
    /// From `$currentOp`, when permitted; labelled "likely".
    pub likely_client: Option<String>,
    /// Writes in each of the last 60 seconds, newest last: the rhythm of a job.
    #[serde(default)]
    pub per_second: Vec<u64>,
}

/// Somebody other than mongoferry who writes to a migrated namespace of the destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeignWrites {
    /// `db.collection`.
    pub namespace: String,
    /// Changes that were noticed; there may have been more.
    pub writes: u64,
    /// Changes per second (10 s mean).
    pub ops_per_s: f64,
    /// Wall time of the last one that was noticed.
    pub last_write: Timestamp,
    /// From `$currentOp`, when permitted; labelled "likely".
    pub likely_client: Option<String>,
}

/// What a cutover would have taken at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// When it began.
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// From the source's newest write to its arrival on the destination, ms.
    pub drain_ms: u64,
    /// Documents that would have been compared again.
    pub recheck: u64,
    /// Quiet time and drain together, ms; comparing and finalizing come on top.
    pub least_ms: u64,
}

/// Steps of the guided cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutoverStep {
    /// "Stop your application": waiting for quiet.
    StopApplication,
    /// The cutover timestamp is fixed; the rest is being applied.
    Drain,
    /// Documents that changed since their last check are compared.
    CheckData,
    /// TTL, unique, capped, … get their final form; options, indexes and views are compared.
    Finalize,
    /// Open first: the destination accepts writes, and documents are compared.
    CheckOpened,
    /// The destination accepts writes, and nothing is left to check.
    Open,
}

/// The guided cutover.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cutover {
    /// Where it is.
    pub step: CutoverStep,
    /// When "Prepare to Cutover" was pressed.
    pub started: Timestamp,
    /// Fixed by the drain step: everything up to here must be applied.
    pub cutover_ts: Option<Optime>,
    /// Wall time of the last user write on the source before the cutover timestamp.
    pub last_source_write: Option<Timestamp>,
    /// Who pressed Continue before the source was quiet; the step goes on by itself when it is.
    #[serde(default)]
    pub waiting_by: Option<String>,
    /// User writes are blocked on the source.
    #[serde(default)]
    pub source_blocked: bool,
    /// Whether the data is checked before or after the opening.
    #[serde(default)]
    pub check: CheckOrder,
    /// True when the operator overrode the quiet check.
    pub assumed_stopped: bool,
    /// Who overrode it.
    pub assumed_by: Option<String>,
    /// Set when a write arrived after the source had been quiet; the step was reopened.
    pub late_write: Option<String>,
    /// When the destination was opened for writes.
    pub opened: Option<Timestamp>,
    /// From the later of the last source write and the operator's "Continue" minus quiet time … see `report`; ms.
    pub downtime_ms: Option<u64>,
    /// The lines of the finalising screen.
    pub lines: Vec<StepLine>,
}

/// State of one line of a step list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Now.
    Running,
    /// Done.
    Ok,
    /// Failed; `detail` says why and leaves a command for the operator.
    Failed,
}

/// One line of finalising or cleanup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLine {
    /// What is done ("deferred unique indexes").
    pub label: String,
    /// Where it is.
    pub state: StepState,
    /// Evidence, progress, or the reason of a failure.
    pub detail: String,
}

/// State of the verification.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerificationState {
    /// Not begun.
    #[default]
    Waiting,
    /// Comparing.
    Running,
    /// Everything was compared.
    Done,
    /// Given up by the operator; printed in the report.
    Skipped,
    /// Switched off in the plan.
    Off,
}

/// Verification as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Where it is.
    pub state: VerificationState,
    /// Documents compared.
    pub documents: u64,
    /// Documents to compare, as far as known.
    pub documents_total: u64,
    /// Documents that changed since their comparison and will be compared again.
    pub recheck: u64,
    /// Documents that differ (missing, extra or different), after the recheck.
    pub mismatches: u64,
    /// Documents that differ because the application (or the destination's TTL monitor) wrote them there after it was
    /// opened: no mistake of the copy.
    #[serde(default)]
    pub application: u64,
    /// Metadata that differs, `namespace: what`.
    pub metadata_differences: Vec<String>,
    /// One row per collection that was looked at, differing ones first.
    pub collections: Rows<VerifiedCollection>,
    /// The first mismatches (at most 100).
    pub examples: Vec<Mismatch>,
    /// What was copied again and is equal now.
    #[serde(default)]
    pub repaired: super::Repaired,
}

/// One collection in the verification screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedCollection {
    /// `db.collection`.
    pub namespace: String,
    /// Documents compared.
    pub documents: u64,
    /// Documents to compare.
    pub documents_total: u64,
    /// On the source only.
    pub missing: u64,
    /// On the destination only.
    pub extra: u64,
    /// On both, bytes differ.
    pub different: u64,
    /// Differ because they were written on the destination after it was opened: no mistake of the copy.
    #[serde(default)]
    pub application: u64,
    /// Finished.
    pub done: bool,
}

/// How a document differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MismatchKind {
    /// On the source only.
    Missing,
    /// On the destination only.
    Extra,
    /// On both, bytes differ.
    Different,
}

/// One document that differs. Holds no values, only the identifier and the paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// `db.collection`.
    pub namespace: String,
    /// The `_id` as relaxed extended JSON.
    pub id: String,
    /// How it differs.
    pub kind: MismatchKind,
    /// Dotted paths that differ (at most 20).
    pub paths: Vec<String>,
}

/// Samples for charts, newest last, one per `step_ms`; at most 360 each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Distance between samples, ms.
    pub step_ms: u64,
    /// Lag, ms.
    pub lag_ms: Vec<u64>,
    /// Copy throughput, bytes per second.
    pub bytes_per_s: Vec<u64>,
    /// Changes waiting.
    pub ops_waiting: Vec<u64>,
}

/// The demo's application that writes to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Still writing.
    pub running: bool,
    /// Writes so far.
    pub writes: u64,
}

impl Snapshot {
    /// Nothing has been asked for yet.
    pub fn idle(now: Timestamp) -> Self {
        Self {
            name: String::new(),
            phase: Phase::Idle,
            left_phase: None,
            since: now,
            started: None,
            finished: None,
            source: ClusterView::default(),
            destination: ClusterView::default(),
            destination_test: None,
            validation: None,
            copy: CopyProgress::default(),
            collections: Rows::default(),
            indexes: IndexProgress::default(),
            lag_ms: None,
            fetch_lag_ms: None,
            under_ready_lag_ms: 0,
            thresholds: Thresholds::default(),
            applied_ts: None,
            ops_applied: 0,
            ops_waiting: 0,
            ops_in_per_s: 0.0,
            ops_out_per_s: 0.0,
            last_source_write: None,
            spool_bytes: 0,
            spool_disk_bytes: 0,
            spool_limit_bytes: 0,
            spool_full_in_ms: None,
            oplog_window_ms: None,
            oplog_left_ms: None,
            throttle: None,
            holding_back: None,
            can_cutover: false,
            can_write: false,
            cutover_blocked_by: Vec::new(),
            cutover_deadline: None,
            extensions: 0,
            extension_log: Vec::new(),
            source_quiet_ms: None,
            writers: Vec::new(),
            foreign_writes: Vec::new(),
            open_transactions: Vec::new(),
            rehearsal: None,
            blocks_source: false,
            cutover: None,
            verification: Verification::default(),
            cleanup: Vec::new(),
            connect: None,
            error: None,
            left_behind: Vec::new(),
            incidents: Vec::new(),
            notices: Vec::new(),
            report: None,
            way_back_of: None,
            way_back: None,
            history: History::default(),
            application: None,
        }
    }
}
