//! The oplog on raw BSON: what an entry says, and the write that reproduces it on a destination.
//!
//! Pure: no driver, no IO, no clock. Owns entry parsing (OPLOG.md A), transactions (A.3), the update formats (B) and the
//! folding of consecutive changes into at most one statement per document. Never skips an entry silently: what it does
//! not know is an error that carries the entry.

pub mod batch;
mod commands;
pub mod dotted;
pub mod entry;
pub mod id;
pub mod pipeline;
pub mod transactions;
pub mod update;

pub use batch::{Batch, Traits};
pub use entry::{Body, Change, ChangeKind, DdlEntry, Entry, Inner};
pub use id::DocumentId;
pub use transactions::Assembler;

use bson::{Document, RawDocument};

/// How updates are written on a destination; decided once, by a probe at validation (OPLOG.md B.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Major version of the destination.
    pub major: u32,
    /// The destination accepts `$_internalApplyOplogUpdate` from this client.
    pub internal_stage: bool,
}

/// Why an entry cannot be applied. Nothing is skipped: the engine stops with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OplogError {
    /// The entry lacks something that every entry of its kind has.
    #[error("{what}: {entry}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// The entry, shortened.
        entry: String,
    },
    /// The entry is of a kind that mongoferry does not migrate.
    #[error("{what} cannot be migrated: {entry}")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// The entry, shortened.
        entry: String,
    },
    /// Bytes that are not BSON.
    #[error("an oplog entry is not valid BSON")]
    Corrupt,
}

impl OplogError {
    fn malformed(what: &'static str, raw: &RawDocument) -> Self {
        Self::Malformed { what, entry: shortened(raw) }
    }

    fn unsupported(what: &'static str, raw: &RawDocument) -> Self {
        Self::Unsupported { what, entry: shortened(raw) }
    }
}

/// The entry as text, at most 500 characters.
pub fn shortened(raw: &RawDocument) -> String {
    match Document::try_from(raw) {
        Ok(document) => document.to_string().chars().take(500).collect(),
        Err(error) => format!("<{error}>"),
    }
}
