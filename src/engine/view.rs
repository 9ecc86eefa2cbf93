//! What the engine's tasks report while they work. Each view has one writer (its task, through a `watch::Sender`) and
//! one reader (the publisher of the snapshot).

use crate::model::{
    Optime, Rows,
    snapshot::{CollectionRow, CopyProgress, IndexProgress, StepLine},
};

/// Written by the copy, then by the index builds.
#[derive(Debug, Clone, Default)]
pub struct InitialSyncView {
    /// Totals and rates.
    pub copy: CopyProgress,
    /// One row per collection.
    pub rows: Rows<CollectionRow>,
    /// Index builds.
    pub indexes: IndexProgress,
}

/// Written by the fetcher.
#[derive(Debug, Clone, Default)]
pub struct FetchView {
    /// Newest position in the spool (no-ops included).
    pub fetched_ts: Optime,
    /// Wall time of that entry, ms since the epoch.
    pub fetched_wall_ms: i64,
    /// Changes of selected user namespaces fetched since the start.
    pub ops_fetched: u64,
    /// Bytes of the oplog read since this process began.
    pub bytes_fetched: u64,
    /// Bytes in the spool not yet applied.
    pub spool_bytes: u64,
    /// Bytes that the spool takes on disk, compressed.
    pub spool_disk_bytes: u64,
    /// When the spool reaches its bound if it goes on growing like this, ms.
    pub spool_full_in_ms: Option<u64>,
    /// The bound is reached; fetching waits.
    pub is_waiting_for_room: bool,
    /// Position and wall time (ms) of the newest write to a selected user namespace.
    pub last_user_write: Option<(Optime, i64)>,
    /// Wall time (ms) of the newest of them that no TTL monitor can have made; TTL deletes never end by themselves.
    pub last_active_write: Option<i64>,
    /// Namespaces written lately.
    pub writers: Vec<WriterView>,
    /// Wall time span of the source's oplog, ms (newest minus oldest entry), measured every 10 s or so.
    pub oplog_window_ms: Option<u64>,
    /// How long at least until the source's oplog rolls over the fetch position, ms.
    pub oplog_left_ms: Option<u64>,
}

/// One namespace that is written on the source.
#[derive(Debug, Clone)]
pub struct WriterView {
    /// `db.collection`.
    pub namespace: String,
    /// Writes per second, 10 s mean.
    pub ops_per_s: f64,
    /// Wall time of the last write, ms since the epoch.
    pub last_write_ms: i64,
    /// Writes in each of the last 60 seconds of wall time, newest last.
    pub per_second: Vec<u64>,
}

/// Written by the applier.
#[derive(Debug, Clone, Default)]
pub struct ApplyView {
    /// Everything up to here is applied with majority write concern on the destination.
    pub applied_ts: Optime,
    /// Wall time of about that position, ms; never later than the truth.
    pub applied_wall_ms: i64,
    /// Wall time of the oldest change that is fetched or dispatched but not yet applied, ms; `None` when none is waiting.
    pub oldest_waiting_wall_ms: Option<i64>,
    /// Changes applied.
    pub ops_applied: u64,
    /// Documents that must be fetched again from the source before the copy is consistent.
    pub repair_pending: u64,
    /// The first part of the oldest transaction whose commit is not applied.
    pub open_from: Option<Optime>,
    /// Indexes that replayed DDL could not build.
    pub failed_indexes: Option<Vec<crate::model::snapshot::FailedIndex>>,
}

/// Written by finalizing and by cleanup.
#[derive(Debug, Clone, Default)]
pub struct StepsView {
    /// In order.
    pub lines: Vec<StepLine>,
}
