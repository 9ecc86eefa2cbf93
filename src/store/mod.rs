//! The journal of a migration: everything that a restart needs, on disk, locked against a second runner.
//!
//! Owns the folder of a migration (0700), the embedded database in it, the summary beside it that can be read while an
//! engine holds the lock, the last snapshot, and the plan without its passwords. Knows nothing of what the rows mean;
//! `engine` does.

mod journal;
mod look;
mod plan;
mod summary;

pub use journal::{Changes, Journal, Table, create_folder};
pub use look::{keep_look, keep_opened, last_look, opened, remove_journal};
pub use plan::{StoredEndpoint, StoredPlan};
pub use summary::{Owner, Summary, list, summary};

use crate::model::{Problem, Side};
use std::path::Path;

/// The problem of a file of the journal.
fn problem(path: &Path, what: &str, why: impl ToString) -> Problem {
    let why = why.to_string();
    let is_full = why.contains("No space left") || why.contains("quota") || why.contains("File too large");
    let fix = if is_full {
        "Free space on that disk; the migration goes on by itself."
    } else {
        "Check the disk that holds the state folder, and the mode of the folder."
    };
    Problem {
        side: Side::Host,
        what: format!("the journal {} cannot be {what}", path.display()),
        why,
        fix: fix.into(),
        retry_helps: true,
        written: "The source is untouched; the destination keeps what was written so far.".into(),
    }
}
