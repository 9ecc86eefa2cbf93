//! Writes on the destination that are not ours: what its oplog holds against what we wrote. The arithmetic is here, the
//! looking in [`watch()`].
//!
//! Our own commands carry no session in the oplog, so an entry with one is somebody else's. Of the others, everything
//! beyond what our commands can have caused is. Commands without an answer count as carried out: nobody is accused wrongly,
//! and a few foreign writes may hide behind an outage.

mod arrivals;
mod watch;

pub use arrivals::Arrivals;
pub use watch::{Asked, Desk, LastLook, watch};

use super::history::Rate;
use crate::{
    model::NamespaceFilter,
    mongo::{
        Namespace,
        tally::{Counts, Sums, dropped_as},
    },
};
use bson::{RawBsonRef, RawDocument};
use std::collections::{BTreeMap, HashMap};
use tokio::time::Instant;

/// Namespaces that are told apart; more are not needed to say that something is wrong.
const NAMESPACES: usize = 100;

/// Entries of one kind in the destination's oplog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    namespace: String,
    counts: Counts,
    /// They carry a session, which ours never do.
    is_marked: bool,
    first_ms: i64,
    last_ms: i64,
}

impl Seen {
    /// Reads one group of [`watch()`]'s pipeline; a transaction is one group with several namespaces.
    fn parse(row: &RawDocument) -> Vec<Self> {
        let Ok(id) = row.get_document("_id") else { return Vec::new() };
        let text = |field: &str| id.get_str(field).ok();
        let count = row.get("n").ok().flatten().and_then(crate::mongo::catalog::number).unwrap_or(0);
        let time = |field: &str| row.get_datetime(field).map_or(0, |time| time.timestamp_millis());
        let (first_ms, last_ms) = (time("first"), time("last"));
        let is_marked = id.get_bool("marked").unwrap_or(false);
        let seen = |namespace: &str, counts| Self { namespace: namespace.into(), counts, is_marked, first_ms, last_ms };
        let (written, removed, dropped) = (
            Counts { written: count, ..Counts::default() },
            Counts { removed: count, ..Counts::default() },
            Counts { dropped: count, ..Counts::default() },
        );
        let (Some(op), Some(ns)) = (text("op"), text("ns")) else { return Vec::new() };
        match op {
            "i" | "u" => vec![seen(ns, written)],
            "d" => vec![seen(ns, removed)],
            _ => {
                if let (Some(coll), Some((db, _))) = (text("drop"), ns.split_once('.')) {
                    return vec![seen(&format!("{db}.{}", dropped_as(coll)), dropped)];
                }
                if let Some(renamed) = text("rename") {
                    return vec![seen(renamed, dropped)];
                }
                // How many of its operations belong to which is not worth reading it for: one each.
                let inner = id.get_array("inner").ok();
                let inner = inner.into_iter().flatten().filter_map(|name| name.ok().and_then(RawBsonRef::as_str));
                inner.map(|name| seen(name, written)).collect()
            }
        }
    }
}

/// Somebody else's writes to one namespace.
#[derive(Debug, Default)]
struct Foreign {
    marked: u64,
    /// Found before the present base.
    before: u64,
    /// Beyond what is ours, since the present base.
    surplus: Counts,
    last_ms: i64,
    rate: Rate,
    likely_client: Option<String>,
}

impl Foreign {
    fn total(&self) -> u64 {
        self.marked + self.before + self.surplus.sum()
    }
}

/// What was seen and what is ours, since a base.
#[derive(Debug)]
pub struct Ledger {
    filter: NamespaceFilter,
    base: HashMap<String, Counts>,
    seen: HashMap<String, Counts>,
    foreign: BTreeMap<String, Foreign>,
}

impl Ledger {
    /// An empty one for the selected namespaces.
    pub fn new(filter: NamespaceFilter) -> Self {
        Self { filter, base: HashMap::new(), seen: HashMap::new(), foreign: BTreeMap::new() }
    }

    /// Counts anew; `ours` was read before the position from which the oplog is looked at.
    pub fn rebase(&mut self, ours: Sums) {
        self.base = ours.confirmed;
        self.seen.clear();
        for foreign in self.foreign.values_mut() {
            foreign.before += std::mem::take(&mut foreign.surplus).sum();
        }
    }

    /// Adds what was seen; `ours` was read after it. Returns the namespaces that have more foreign writes than before.
    pub fn take(&mut self, seen: Vec<Seen>, ours: &Sums) -> Vec<String> {
        let before: HashMap<String, u64> =
            self.foreign.iter().map(|(name, found)| (name.clone(), found.total())).collect();
        let mut last_ms: HashMap<String, i64> = HashMap::new();
        for seen in seen {
            let selected = Namespace::parse(&seen.namespace)
                .is_some_and(|ns| ns.coll != "system.views" && self.filter.selects(&ns.db, &ns.coll));
            if !selected {
                continue;
            }
            let last = last_ms.entry(seen.namespace.clone()).or_default();
            *last = seen.last_ms.max(*last);
            if !seen.is_marked {
                let counts = self.seen.entry(seen.namespace).or_default();
                *counts = counts.with(seen.counts, u64::saturating_add);
            } else if let Some(foreign) = row(&mut self.foreign, &seen.namespace) {
                foreign.marked += seen.counts.sum();
            }
        }
        let of = |counts: &HashMap<String, Counts>, name: &str| counts.get(name).copied().unwrap_or_default();
        for (name, seen) in &self.seen {
            let ours = of(&ours.confirmed, name)
                .with(of(&self.base, name), u64::saturating_sub)
                .with(of(&ours.possible, name), u64::saturating_add);
            let surplus = seen.with(ours, u64::saturating_sub);
            if surplus.sum() > 0
                && let Some(foreign) = row(&mut self.foreign, name)
            {
                // What hides behind commands on their way now was seen before.
                foreign.surplus = foreign.surplus.with(surplus, u64::max);
            }
        }
        let grown = |name: &String, found: &Foreign| found.total() > before.get(name).copied().unwrap_or(0);
        let grown: Vec<String> =
            self.foreign.iter().filter(|(name, found)| grown(name, found)).map(|(name, _)| name.clone()).collect();
        for name in &grown {
            if let (Some(foreign), Some(last)) = (self.foreign.get_mut(name), last_ms.get(name)) {
                foreign.last_ms = foreign.last_ms.max(*last);
            }
        }
        grown
    }

    /// True when documents without a session were removed there that we did not remove.
    pub fn has_unexplained_removals(&self, name: &str) -> bool {
        self.foreign.get(name).is_some_and(|foreign| foreign.surplus.removed > 0)
    }

    /// The server itself removes documents there (TTL, capped): its removals are nobody's.
    pub fn server_removes(&mut self, name: &str) {
        if let Some(foreign) = self.foreign.get_mut(name) {
            let removed = std::mem::take(&mut foreign.surplus.removed);
            // Counted as ours from now on.
            let seen = self.seen.entry(name.into()).or_default();
            seen.removed = seen.removed.saturating_sub(removed);
            if foreign.total() == 0 {
                self.foreign.remove(name);
            }
        }
    }
}

/// The row of a namespace; `None` when there are too many.
fn row<'a>(foreign: &'a mut BTreeMap<String, Foreign>, name: &str) -> Option<&'a mut Foreign> {
    if !foreign.contains_key(name) && foreign.len() >= NAMESPACES {
        return None;
    }
    Some(foreign.entry(name.into()).or_default())
}

impl Ledger {
    /// Names the client that was seen writing there.
    pub fn likely(&mut self, clients: &HashMap<String, String>) {
        for (name, foreign) in &mut self.foreign {
            if let Some(client) = clients.get(name) {
                foreign.likely_client = Some(client.clone());
            }
        }
    }

    /// What is shown, the latest first.
    pub fn view(&mut self, now: Instant) -> Vec<crate::model::snapshot::ForeignWrites> {
        let shown = |(name, foreign): (&String, &mut Foreign)| {
            let writes = foreign.total();
            Some(crate::model::snapshot::ForeignWrites {
                namespace: name.clone(),
                writes,
                ops_per_s: foreign.rate.observe(now, writes),
                last_write: jiff::Timestamp::from_millisecond(foreign.last_ms).ok()?,
                likely_client: foreign.likely_client.clone(),
            })
        };
        let mut rows: Vec<_> = self.foreign.iter_mut().filter_map(shown).collect();
        rows.sort_by(|a, b| b.last_write.cmp(&a.last_write).then_with(|| a.namespace.cmp(&b.namespace)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mongo::tally::Tally;
    use bson::rawdoc;

    fn seen(namespace: &str, written: u64, removed: u64, is_marked: bool) -> Seen {
        let counts = Counts { written, removed, dropped: 0 };
        Seen { namespace: namespace.into(), counts, is_marked, first_ms: 1_000, last_ms: 1_000 }
    }

    fn ours(written: u64, removed: u64, possible: u64) -> Sums {
        let of = |written, removed| HashMap::from([("d.c".to_string(), Counts { written, removed, dropped: 0 })]);
        Sums { confirmed: of(written, removed), possible: of(possible, 0) }
    }

    fn totals(ledger: &mut Ledger) -> Vec<(String, u64)> {
        ledger.view(Instant::now()).into_iter().map(|row| (row.namespace, row.writes)).collect()
    }

    #[test]
    fn our_own_writes_are_nobody_elses() {
        let mut ledger = Ledger::new(NamespaceFilter::default());
        ledger.rebase(ours(1_000, 10, 0));
        // 40 confirmed since, 60 on their way of which 25 are there.
        assert!(ledger.take(vec![seen("d.c", 65, 5, false)], &ours(1_040, 15, 60)).is_empty());
        assert!(ledger.take(vec![seen("d.c", 35, 0, false)], &ours(1_100, 15, 0)).is_empty());
        assert_eq!(totals(&mut ledger), []);
    }

    #[test]
    fn a_dropped_time_series_is_ours_under_the_name_by_which_we_drop_it() {
        let logged =
            rawdoc! { "_id": { "op": "c", "ns": "d.$cmd", "marked": false, "drop": "system.buckets.s" }, "n": 1 };
        let dropped = || Seen::parse(&logged);
        let tally = Tally::default();
        let mut ledger = Ledger::new(NamespaceFilter::default());
        ledger.rebase(tally.sums());
        tally.begin("d", &rawdoc! { "drop": "s" }).expect("a drop").answered(&rawdoc! { "ok": 1.0 });
        assert!(ledger.take(dropped(), &tally.sums()).is_empty());
        // Buckets without a view are dropped by their own name.
        tally.begin("d", &rawdoc! { "drop": "system.buckets.s" }).expect("a drop").answered(&rawdoc! { "ok": 1.0 });
        assert!(ledger.take(dropped(), &tally.sums()).is_empty());
        assert_eq!(ledger.take(dropped(), &tally.sums()), ["d.s"], "somebody else's");
    }

    #[test]
    fn what_is_beyond_ours_or_carries_a_session_is_foreign() {
        let mut ledger = Ledger::new(NamespaceFilter::default());
        ledger.rebase(ours(0, 0, 0));
        assert_eq!(ledger.take(vec![seen("d.c", 12, 0, false)], &ours(10, 0, 0)), ["d.c"]);
        // It stays found when new commands on their way could explain it.
        assert!(ledger.take(vec![seen("d.c", 5, 0, false)], &ours(15, 0, 100)).is_empty());
        assert_eq!(totals(&mut ledger), [("d.c".to_string(), 2)]);
        ledger.rebase(ours(15, 0, 0));
        assert_eq!(ledger.take(vec![seen("d.c", 3, 0, true)], &ours(15, 0, 50)), ["d.c"]);
        assert_eq!(totals(&mut ledger), [("d.c".to_string(), 5)]);
        // Not selected, or none of a user's.
        let others = vec![seen("config.transactions", 3, 0, true), seen("d.system.views", 1, 0, false)];
        assert!(ledger.take(others, &ours(15, 0, 0)).is_empty());
    }

    #[test]
    fn what_the_server_removes_by_itself_is_forgotten() {
        let mut ledger = Ledger::new(NamespaceFilter::default());
        ledger.rebase(ours(0, 0, 0));
        ledger.take(vec![seen("d.c", 0, 7, false)], &ours(0, 0, 0));
        assert!(ledger.has_unexplained_removals("d.c"));
        ledger.server_removes("d.c");
        assert_eq!(totals(&mut ledger), []);
        assert!(ledger.take(Vec::new(), &ours(0, 0, 0)).is_empty());
    }
}
