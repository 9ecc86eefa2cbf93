//! What lies beside the journal of a migration: its last snapshot, which is shown while no engine runs and never used to
//! resume, and what the clusters were when the destination was opened.

use super::problem;
use crate::model::{Problem, Snapshot};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

const FILE: &str = "last.json";
const OPENED: &str = "opened.bson";

/// Replaces the last snapshot in `folder`; a reader sees the old one or the new one.
pub fn keep_look(folder: &Path, snapshot: &Snapshot) -> Result<(), Problem> {
    let path = folder.join(FILE);
    let failed = |error: std::io::Error| problem(&path, "written", error);
    let text = serde_json::to_vec(snapshot).map_err(|error| problem(&path, "written", error))?;
    let new = folder.join("last.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(&text).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)
}

/// The last snapshot in `folder`; `None` when there is none.
pub fn last_look(folder: &Path) -> Result<Option<Snapshot>, Problem> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| problem(&path, "read", error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(problem(&path, "read", error)),
    }
}

/// Writes what the clusters were when the destination was opened; on disk when it returns.
pub fn keep_opened(folder: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let path = folder.join(OPENED);
    let failed = |error: std::io::Error| problem(&path, "written", error);
    let new = folder.join("opened.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// What was written there; `None` when the destination was not opened, or the journal was removed.
pub fn opened(folder: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let path = folder.join(OPENED);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(problem(&path, "read", error)),
    }
}

/// Removes what only a resume or a way back needs: journal, spool, last snapshot, the opening. Summary and report stay. Returns what it removed.
pub fn remove_journal(folder: &Path) -> Result<Vec<String>, Problem> {
    let mut removed = Vec::new();
    let entries = fs::read_dir(folder).map_err(|error| problem(folder, "read", error))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "summary.json" || name.starts_with("report.") {
            continue;
        }
        let path = entry.path();
        let outcome = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        outcome.map_err(|error| problem(&path, "removed", error))?;
        removed.push(name);
    }
    removed.sort();
    Ok(removed)
}
