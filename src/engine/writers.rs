//! Who writes on the source, from our own tail: namespaces, rates, last write.

use super::{history::Rate, view::WriterView};
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;

/// Namespaces remembered; beyond that the one that was written longest ago is forgotten.
const NAMESPACES: usize = 500;
/// Seconds whose writes are counted apart.
const SECONDS: i64 = 60;
/// Rows shown.
const SHOWN: usize = 20;

/// The table behind "writes still arriving".
#[derive(Debug, Default)]
pub struct Writers {
    namespaces: HashMap<String, Namespace>,
}

#[derive(Debug, Default)]
struct Namespace {
    writes: u64,
    last_write_ms: i64,
    rate: Rate,
    /// Second of wall time and its writes, oldest first.
    seconds: VecDeque<(i64, u64)>,
}

impl Namespace {
    fn wrote(&mut self, wall_ms: i64) {
        self.writes += 1;
        self.last_write_ms = self.last_write_ms.max(wall_ms);
        let second = wall_ms.div_euclid(1_000);
        match self.seconds.back_mut() {
            // The oplog is in order; a clock that is set back counts where the others are.
            Some((newest, writes)) if *newest >= second => *writes += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.front().is_some_and(|(oldest, _)| *oldest <= second - SECONDS) {
            self.seconds.pop_front();
        }
    }

    /// The writes of each of the last seconds up to `now`.
    fn per_second(&self, now: i64) -> Vec<u64> {
        let mut counts = vec![0; SECONDS as usize];
        for (second, writes) in &self.seconds {
            let age = usize::try_from((now - second).max(0)).unwrap_or(usize::MAX);
            let at = counts.len().checked_sub(age.saturating_add(1));
            if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
                *count += writes;
            }
        }
        counts
    }
}

impl Writers {
    /// A user write at `wall_ms` (ms since the epoch).
    pub fn wrote(&mut self, namespace: &str, wall_ms: i64) {
        if let Some(seen) = self.namespaces.get_mut(namespace) {
            seen.wrote(wall_ms);
            return;
        }
        if self.namespaces.len() >= NAMESPACES {
            let oldest = self.namespaces.iter().min_by_key(|(_, seen)| seen.last_write_ms);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.namespaces.remove(&name);
            }
        }
        let mut seen = Namespace { last_write_ms: wall_ms, ..Namespace::default() };
        seen.wrote(wall_ms);
        self.namespaces.insert(namespace.to_string(), seen);
    }

    /// The namespaces, most recently written first; `second` is the wall time of now.
    pub fn view(&mut self, now: Instant, second: i64) -> Vec<WriterView> {
        let mut rows: Vec<WriterView> = self
            .namespaces
            .iter_mut()
            .map(|(name, seen)| WriterView {
                namespace: name.clone(),
                ops_per_s: seen.rate.observe(now, seen.writes),
                last_write_ms: seen.last_write_ms,
                per_second: seen.per_second(second),
            })
            .collect();
        rows.sort_by(|a, b| b.last_write_ms.cmp(&a.last_write_ms).then_with(|| a.namespace.cmp(&b.namespace)));
        rows.truncate(SHOWN);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_writes() {
        let mut writers = Writers::default();
        for (second, writes) in [(1, 9), (100, 2), (101, 1), (103, 4)] {
            for n in 0..writes {
                writers.wrote("jobs.locks", second * 1_000 + n);
            }
        }
        // A clock that was set back.
        writers.wrote("jobs.locks", 102_000);
        let seen = writers.view(Instant::now(), 104).remove(0);
        assert_eq!((seen.per_second.len(), seen.per_second[55..].to_vec()), (60, vec![2, 1, 0, 5, 0]));
        assert_eq!(seen.per_second.iter().sum::<u64>(), 8, "what is older than a minute does not count");
        let later = writers.view(Instant::now(), 1_000).remove(0);
        assert_eq!(later.per_second.iter().sum::<u64>(), 0);
    }
}
