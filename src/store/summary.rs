//! What a migration is, for lists: a small file beside the journal that anybody of the same user may read at any time.

use super::{StoredPlan, journal, problem};
use crate::model::{Optime, Phase, Problem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const FILE: &str = "summary.json";

/// The process that works on a migration, or did last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process number.
    pub pid: u32,
    /// Its host.
    pub host: String,
}

/// A migration as its last engine left it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// Its folder's name in the state directory, which is also what commands call it.
    pub name: String,
    /// Where it is.
    pub phase: Phase,
    /// The phase that paused, expired, stopped or failed left.
    pub left_phase: Option<Phase>,
    /// When the phase began.
    pub since: Timestamp,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When syncing stops unless the operator cuts over or extends.
    pub cutover_deadline: Option<Timestamp>,
    /// Why it is paused or failed.
    pub error: Option<Problem>,
    /// Newest position in the spool.
    pub fetched_ts: Option<Optime>,
    /// Everything up to here is applied on the destination.
    pub applied_ts: Option<Optime>,
    /// When this was written.
    pub at: Timestamp,
    /// The process that works on it, or did last.
    pub owner: Owner,
    /// The plan without its passwords: what to connect to, and where the passwords are read.
    pub plan: StoredPlan,
    /// An engine holds the journal right now. Found out when the summary is read.
    #[serde(skip)]
    pub is_running: bool,
    /// The folder. Found out when the summary is read.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// Replaces the summary in `folder`; a reader sees the old one or the new one, never half of one.
pub(super) fn write(folder: &Path, summary: &Summary) -> Result<(), Problem> {
    let path = folder.join(FILE);
    let failed = |error: std::io::Error| problem(&path, "written", error);
    let text = serde_json::to_vec_pretty(summary).map_err(|error| problem(&path, "written", error))?;
    let new = folder.join("summary.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)
}

/// The summary of the migration in `folder`; works while an engine runs. `None`: there is no migration in it.
pub fn summary(folder: &Path) -> Result<Option<Summary>, Problem> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(&path, "read", error)),
    };
    let mut summary: Summary = serde_json::from_slice(&text).map_err(|error| problem(&path, "read", error))?;
    summary.is_running = journal::is_locked(folder);
    summary.folder = folder.to_path_buf();
    Ok(Some(summary))
}

/// Every migration under `state_root`, newest first. What cannot be read is left out.
pub fn list(state_root: &Path) -> Vec<Summary> {
    let Ok(folders) = fs::read_dir(state_root) else { return Vec::new() };
    let mut found: Vec<Summary> =
        folders.flatten().filter_map(|folder| summary(&folder.path()).ok().flatten()).collect();
    found.sort_by_key(|summary| std::cmp::Reverse(summary.started.unwrap_or(summary.since)));
    found
}
