//! The oplog on raw BSON: what an entry says, and the write that reproduces it on a destination.
//!
//! Pure: no driver, no IO, no clock. Owns entry parsing (OPLOG.md A), transactions (A.3), the update formats (B) and the
//! folding of consecutive changes into at most one statement per document. Never skips an entry silently: what it does
//! not know is an error that carries the entry.

pub mod entry;

pub use entry::{Body, Change, ChangeKind, Entry};

/// How updates are written on a destination; decided once, by a probe at validation (OPLOG.md B.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Major version of the destination.
    pub major: u32,
    /// The destination accepts `$_internalApplyOplogUpdate` from this client.
    pub internal_stage: bool,
}
