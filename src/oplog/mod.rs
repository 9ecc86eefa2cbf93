//! The oplog on raw BSON: what an entry says, and the write that reproduces it on a destination.
//!
//! Pure: no driver, no IO, no clock. Owns entry parsing (OPLOG.md A), transactions (A.3), the update formats (B) and the
//! folding of consecutive changes into at most one statement per document. Never skips an entry silently: what it does
//! not know is an error that carries the entry.

pub mod entry;

pub use entry::{Body, Change, ChangeKind, Entry};
