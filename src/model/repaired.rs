//! Documents that verification found different and that are equal since they were copied again.

use super::snapshot::MismatchKind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// At most so many are named.
const NAMED: usize = 100;

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// How many.
    pub documents: u64,
    /// The first ones (at most 100).
    pub examples: Vec<RepairedDocument>,
}

/// One document that was copied again and read again: both sides had the same bytes then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairedDocument {
    /// `db.collection`.
    pub namespace: String,
    /// Its `_id`, as mismatches name it.
    pub id: String,
    /// How it had differed.
    pub kind: MismatchKind,
    /// When it was found equal.
    pub at: Timestamp,
}

impl Repaired {
    /// One more; named while there is room.
    pub fn add(&mut self, one: impl FnOnce() -> RepairedDocument) {
        self.documents += 1;
        if self.examples.len() < NAMED {
            self.examples.push(one());
        }
    }

    /// Others, after these.
    pub fn append(&mut self, others: Repaired) {
        self.documents += others.documents;
        let room = NAMED.saturating_sub(self.examples.len());
        self.examples.extend(others.examples.into_iter().take(room));
    }
}
