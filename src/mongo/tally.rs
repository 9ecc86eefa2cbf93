//! What was written through one cluster's handle, per namespace: what servers confirmed, and the most that commands
//! without an answer may have written. One lock per command, never per document.

use bson::{RawBsonRef, RawDocument};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Counts of one namespace by kind. Equal to the number of oplog entries that they cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents inserted or changed.
    pub written: u64,
    /// Documents removed.
    pub removed: u64,
    /// Drops and renames of the collection.
    pub dropped: u64,
}

impl Counts {
    /// Combines each kind with that of `other`.
    pub fn with(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            written: combine(self.written, other.written),
            removed: combine(self.removed, other.removed),
            dropped: combine(self.dropped, other.dropped),
        }
    }

    /// All kinds together.
    pub fn sum(self) -> u64 {
        self.written + self.removed + self.dropped
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    confirmed: Counts,
    on_the_way: Counts,
    unanswered: Counts,
    unanswered_at: Option<Instant>,
}

/// Shared by all clones of a cluster's handle.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<HashMap<String, Row>>>);

/// The writes of a tally at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// What servers confirmed.
    pub confirmed: HashMap<String, Counts>,
    /// The most that may have been written beyond that.
    pub possible: HashMap<String, Counts>,
}

impl Tally {
    /// Notes a command that is sent now; `None` for one that writes no documents and drops nothing.
    pub fn begin(&self, db: &str, command: &RawDocument) -> Option<Begun> {
        let (namespace, most) = most(db, command)?;
        self.change(&namespace, |row| row.on_the_way = row.on_the_way.with(most, u64::saturating_add));
        Some(Begun { tally: self.clone(), namespace, most, confirmed: None })
    }

    /// What is known now.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (namespace, row) in self.rows().iter() {
            let possible = row.on_the_way.with(row.unanswered, u64::saturating_add);
            sums.confirmed.insert(namespace.clone(), row.confirmed);
            if possible.sum() > 0 {
                sums.possible.insert(namespace.clone(), possible);
            }
        }
        sums
    }

    /// Forgets commands that were given up before `age`: by now they are carried out or never will be. True when there
    /// were any.
    pub fn forget_unanswered(&self, age: Duration) -> bool {
        let mut any = false;
        for row in self.rows().values_mut() {
            if row.unanswered_at.is_some_and(|at| at.elapsed() >= age) {
                (row.unanswered, row.unanswered_at) = (Counts::default(), None);
                any = true;
            }
        }
        any
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, namespace: &str, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows();
        match rows.get_mut(namespace) {
            Some(row) => change(row),
            None => change(rows.entry(namespace.to_string()).or_default()),
        }
    }
}

/// A command on its way. Dropped without an answer, it may have written everything that it could.
#[derive(Debug)]
pub struct Begun {
    tally: Tally,
    namespace: String,
    most: Counts,
    confirmed: Option<Counts>,
}

impl Begun {
    /// The server's answer.
    pub fn answered(mut self, reply: &RawDocument) {
        self.confirmed = confirmed(self.most, reply);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let (most, confirmed) = (self.most, self.confirmed);
        self.tally.change(&self.namespace, |row| {
            row.on_the_way = row.on_the_way.with(most, u64::saturating_sub);
            match confirmed {
                Some(confirmed) => row.confirmed = row.confirmed.with(confirmed, u64::saturating_add),
                None => {
                    row.unanswered = row.unanswered.with(most, u64::saturating_add);
                    row.unanswered_at = Some(Instant::now());
                }
            }
        });
    }
}

/// The namespace of a command and the most that it can do there.
fn most(db: &str, command: &RawDocument) -> Option<(String, Counts)> {
    let (name, value) = command.iter().next()?.ok()?;
    let RawBsonRef::String(target) = value else { return None };
    let statements = |field: &str| command.get_array(field).map_or(1, |array| array.into_iter().count() as u64);
    let counts = match name.as_str() {
        "insert" => Counts { written: statements("documents"), ..Counts::default() },
        "update" => Counts { written: statements("updates"), ..Counts::default() },
        "delete" => Counts { removed: statements("deletes"), ..Counts::default() },
        "drop" => return Some((format!("{db}.{}", dropped_as(target)), Counts { dropped: 1, ..Counts::default() })),
        "renameCollection" => return Some((target.to_string(), Counts { dropped: 1, ..Counts::default() })),
        _ => return None,
    };
    Some((format!("{db}.{target}"), counts))
}

/// The name under which a dropped collection counts: a time series is dropped by the user's name, and its oplog entry names
/// the buckets (OPLOG.md A.9).
pub fn dropped_as(coll: &str) -> &str {
    coll.strip_prefix("system.buckets.").unwrap_or(coll)
}

/// What a command of that kind did, from its reply. `None`: it does not say.
fn confirmed(most: Counts, reply: &RawDocument) -> Option<Counts> {
    let number = |field: &str| u64::try_from(reply.get_i32(field).ok()?).ok();
    if most.dropped > 0 {
        return Some(most);
    }
    let count = number("n")?;
    if most.removed > 0 {
        return Some(Counts { removed: count, ..Counts::default() });
    }
    let written = match number("nModified") {
        Some(modified) => {
            modified + reply.get_array("upserted").map_or(0, |upserted| upserted.into_iter().count() as u64)
        }
        None => count,
    };
    Some(Counts { written, ..Counts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn of(counts: &HashMap<String, Counts>, namespace: &str) -> (u64, u64, u64) {
        let counts = counts.get(namespace).copied().unwrap_or_default();
        (counts.written, counts.removed, counts.dropped)
    }

    #[test]
    fn counts_are_the_oplog_entries_that_a_command_causes() {
        let tally = Tally::default();
        let insert = rawdoc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }, { "_id": 3 }] };
        let begun = tally.begin("d", &insert).expect("a write");
        assert_eq!(of(&tally.sums().possible, "d.c"), (3, 0, 0));
        begun.answered(&rawdoc! { "n": 2, "ok": 1.0, "writeErrors": [{ "index": 1, "code": 11000 }] });
        let update = rawdoc! { "update": "c", "updates": [{ "q": {} }, { "q": {} }, { "q": {} }] };
        let reply = rawdoc! { "n": 3, "nModified": 1, "upserted": [{ "index": 2, "_id": 9 }], "ok": 1.0 };
        tally.begin("d", &update).expect("a write").answered(&reply);
        let delete = rawdoc! { "delete": "c", "deletes": [{ "q": {} }, { "q": {} }] };
        tally.begin("d", &delete).expect("a write").answered(&rawdoc! { "n": 1, "ok": 1.0 });
        let rename = rawdoc! { "renameCollection": "d.c", "to": "d.e" };
        tally.begin("admin", &rename).expect("a rename").answered(&rawdoc! { "ok": 1.0 });
        assert_eq!(of(&tally.sums().confirmed, "d.c"), (4, 1, 1));
        assert!(tally.sums().possible.is_empty());
        assert!(tally.begin("d", &rawdoc! { "find": "c" }).is_none());
    }

    #[test]
    fn what_was_given_up_may_have_been_carried_out_for_a_while() {
        let tally = Tally::default();
        let insert = rawdoc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] };
        drop(tally.begin("d", &insert));
        assert_eq!(of(&tally.sums().possible, "d.c"), (2, 0, 0));
        assert!(!tally.forget_unanswered(Duration::from_secs(600)));
        assert!(tally.forget_unanswered(Duration::ZERO));
        assert!(tally.sums().possible.is_empty());
    }
}
