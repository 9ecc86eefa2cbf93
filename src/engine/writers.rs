//! Who writes on the source, from our own tail: namespaces, rates, last write.

use super::{history::Rate, view::WriterView};
use std::collections::HashMap;
use tokio::time::Instant;

/// Namespaces remembered; beyond that the one that was written longest ago is forgotten.
const NAMESPACES: usize = 500;
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
}

impl Writers {
    /// A user write at `wall_ms` (ms since the epoch).
    pub fn wrote(&mut self, namespace: &str, wall_ms: i64) {
        if let Some(seen) = self.namespaces.get_mut(namespace) {
            seen.writes += 1;
            seen.last_write_ms = seen.last_write_ms.max(wall_ms);
            return;
        }
        if self.namespaces.len() >= NAMESPACES {
            let oldest = self.namespaces.iter().min_by_key(|(_, seen)| seen.last_write_ms);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.namespaces.remove(&name);
            }
        }
        let seen = Namespace { writes: 1, last_write_ms: wall_ms, rate: Rate::default() };
        self.namespaces.insert(namespace.to_string(), seen);
    }

    /// The namespaces, most recently written first.
    pub fn view(&mut self, now: Instant) -> Vec<WriterView> {
        let mut rows: Vec<WriterView> = self
            .namespaces
            .iter_mut()
            .map(|(name, seen)| WriterView {
                namespace: name.clone(),
                ops_per_s: seen.rate.observe(now, seen.writes),
                last_write_ms: seen.last_write_ms,
            })
            .collect();
        rows.sort_by(|a, b| b.last_write_ms.cmp(&a.last_write_ms).then_with(|| a.namespace.cmp(&b.namespace)));
        rows.truncate(SHOWN);
        rows
    }
}
