//! The final report of a migration, as Markdown and as JSON: the same facts for people and for scripts.
//!
//! Made from the last snapshot and the event log alone, so it can say nothing that the engine did not know. What is not
//! known is said to be unknown. Holds no secret: neither of its sources does.

mod markdown;

use crate::model::{
    Event, Phase, Snapshot,
    check::{Check, CheckState},
    left,
    snapshot::{CollectionRow, StepState, VerificationState},
};
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Events of these kinds are retries and their end; they are counted, not put into the timeline.
const NOISE: [&str; 2] = ["retry", "recovered"];

/// What a migration did, from its last snapshot and all its events.
#[derive(Debug, Clone)]
pub struct Report {
    snapshot: Snapshot,
    events: Vec<Event>,
}

impl Report {
    /// From the last snapshot and all events, oldest first.
    pub fn new(snapshot: &Snapshot, events: &[Event]) -> Self {
        Self { snapshot: snapshot.clone(), events: events.to_vec() }
    }

    /// For people.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// For scripts: one object as `assets/report.schema.json` describes it; times UTC RFC 3339, sizes bytes, durations ms, unknown is null.
    pub fn json(&self) -> Value {
        let snapshot = &self.snapshot;
        let copy = &snapshot.copy;
        let cutover = snapshot.cutover.as_ref();
        json!({
            "name": snapshot.name,
            "result": snapshot.phase,
            "left_phase": snapshot.left_phase,
            "started": snapshot.started,
            "finished": snapshot.finished,
            "took_ms": self.took_ms(),
            "source": snapshot.source,
            "destination": snapshot.destination,
            "copy": {
                "collections": copy.collections_done,
                "collections_total": copy.collections_total,
                "documents": copy.documents,
                "bytes": copy.bytes,
            },
            "collections": snapshot.collections.iter().map(collection).collect::<Vec<_>>(),
            "indexes": snapshot.indexes,
            "ops_applied": snapshot.ops_applied,
            "verification": snapshot.verification,
            "verification_skipped_by": self.texts("skipped").next(),
            "metadata_differences": self.snapshot.verification.metadata_differences,
            "rehearsal": snapshot.rehearsal,
            "cutover": cutover.map(|cutover| json!({
                "step": cutover.step,
                "started": cutover.started,
                "cutover_ts": cutover.cutover_ts,
                "last_source_write": cutover.last_source_write,
                "assumed_stopped_by": cutover.assumed_by,
                "source_blocked": cutover.source_blocked,
                "late_write": cutover.late_write,
                "opened": cutover.opened,
                "check": cutover.check,
                "steps": cutover.lines,
            })),
            "downtime_ms": cutover.and_then(|cutover| cutover.downtime_ms),
            "extensions": snapshot.extension_log,
            "accepted_warnings": self.checks(CheckState::Warn).collect::<Vec<_>>(),
            "checks": snapshot.validation.as_ref().map(|report| &report.checks),
            "incidents": snapshot.incidents,
            "foreign_writes": snapshot.foreign_writes,
            "cleanup": snapshot.cleanup,
            "left_behind": snapshot.left_behind,
            "left_to_do": self.left_to_do(),
            "way_back_of": snapshot.way_back_of,
            "way_back": snapshot.way_back,
            "error": snapshot.error,
            "events": self.events,
        })
    }

    /// Writes `report.md` and `report.json` (0600) into a folder; returns the path of the Markdown file.
    pub fn write_into(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join("report.md");
        write_private(&path, self.markdown().as_bytes())?;
        let mut text = serde_json::to_string_pretty(&self.json()).map_err(io::Error::other)?;
        text.push('\n');
        write_private(&directory.join("report.json"), text.as_bytes())?;
        Ok(path)
    }

    fn took_ms(&self) -> Option<u64> {
        let (started, finished) = (self.snapshot.started?, self.snapshot.finished?);
        u64::try_from(finished.as_millisecond() - started.as_millisecond()).ok()
    }

    /// The texts of the events of one kind.
    fn texts<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.events.iter().filter(move |event| event.kind == kind).map(|event| event.text.as_str())
    }

    fn checks(&self, state: CheckState) -> impl Iterator<Item = &Check> {
        let checks = self.snapshot.validation.iter().flat_map(|report| &report.checks);
        checks.filter(move |check| check.state == state)
    }

    fn timeline(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| !NOISE.contains(&event.kind.as_str()))
    }

    /// What the operator still has to do, most urgent first.
    fn left_to_do(&self) -> Vec<String> {
        let snapshot = &self.snapshot;
        let mut todo = Vec::new();
        let verification = &snapshot.verification;
        if verification.mismatches > 0 {
            todo.push(format!("look at the {} documents that differ", verification.mismatches));
        }
        if snapshot.cutover.as_ref().is_some_and(|cutover| cutover.source_blocked) {
            let command = "db.adminCommand({setUserWriteBlockMode: 1, global: false})";
            todo.push(format!("the source still refuses user writes; when it shall take them again: {command}"));
        }
        if !self.snapshot.verification.metadata_differences.is_empty() {
            todo.push("look at the differences in metadata".into());
        }
        for failed in &snapshot.indexes.failed {
            todo.push(format!(
                "build index {} of {} on the destination: {}",
                failed.index, failed.namespace, failed.reason
            ));
        }
        let steps = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines).chain(&snapshot.cleanup);
        for line in steps.filter(|line| line.state == StepState::Failed) {
            todo.push(format!("{}: {}", line.label, line.detail));
        }
        if snapshot.phase == Phase::Completed {
            if verification.state != VerificationState::Done {
                todo.push("compare the data yourself: it was not verified completely".into());
            }
            todo.push("point every application at the destination".into());
            todo.extend(left::to_close(snapshot).iter().map(left::Left::line));
            todo.push("keep the source read-only for some days, then retire it".into());
        } else if snapshot.phase.is_over() {
            todo.push("the destination keeps what was copied: clear it, or start again with clear_destination".into());
        }
        todo
    }
}

/// Without what is only of interest while it is copied.
fn collection(row: &CollectionRow) -> Value {
    json!({
        "namespace": row.namespace,
        "state": row.state,
        "documents": row.documents,
        "bytes": row.bytes,
        "indexes_built": row.indexes_built,
        "indexes_total": row.indexes_total,
    })
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
