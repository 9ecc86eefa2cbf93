//! Up to where everything is applied. Pure bookkeeping over what was dispatched to lanes and what they completed.

use crate::model::Optime;

/// Everything at or before [`Watermark::applied`] is applied; it never goes back and is never ahead of the truth.
#[derive(Debug, Clone)]
pub struct Watermark {
    lanes: Vec<Lane>,
    dispatched: (Optime, i64),
    applied: (Optime, i64),
    holding_wall_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    sent: u64,
    done: u64,
    /// No pending change of this lane is older than this position and wall time (ms).
    pending_from: (Optime, i64),
}

/// The position just before `ts`.
fn before(ts: Optime) -> Optime {
    match ts.i {
        0 => Optime::new(ts.t.saturating_sub(1), u32::MAX),
        i => Optime::new(ts.t, i - 1),
    }
}

impl Watermark {
    /// Nothing is pending; everything at or before `from`, an entry of this wall time (ms, 0 unknown), is applied.
    pub fn new(lanes: usize, from: Optime, wall_ms: i64) -> Self {
        let applied = (from, wall_ms);
        Self { lanes: vec![Lane::default(); lanes], dispatched: applied, applied, holding_wall_ms: None }
    }

    /// The dispatcher holds an entry of this wall time (ms) that it has not dispatched yet.
    pub fn holds(&mut self, wall_ms: i64) {
        self.holding_wall_ms = Some(wall_ms);
    }

    /// A change went to `lane`.
    pub fn sent(&mut self, lane: usize, ts: Optime, wall_ms: i64) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            if lane.sent == lane.done {
                lane.pending_from = (ts, wall_ms);
            }
            lane.sent += 1;
        }
    }

    /// Every change of the entry at `ts` was sent.
    pub fn dispatched(&mut self, ts: Optime, wall_ms: i64) {
        self.dispatched = (ts, wall_ms);
        self.holding_wall_ms = None;
        self.advance();
    }

    /// `lane` completed `count` changes, the last of which stands at `ts`.
    pub fn completed(&mut self, lane: usize, count: u64, ts: Optime, wall_ms: i64) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.done += count;
            // The next pending change may be of the same entry.
            lane.pending_from = (ts, wall_ms);
        }
        self.advance();
    }

    fn busy(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(|lane| lane.sent > lane.done)
    }

    fn advance(&mut self) {
        // Of an entry that is only partly dispatched nothing counts: an idle lane may still get more of it.
        let reached = match self.busy().map(|lane| lane.pending_from).min() {
            Some((ts, wall_ms)) if before(ts) < self.dispatched.0 => (before(ts), wall_ms),
            _ => self.dispatched,
        };
        if reached.0 >= self.applied.0 {
            self.applied = reached;
        }
    }

    /// Everything at or before this position is applied.
    pub fn applied(&self) -> Optime {
        self.applied.0
    }

    /// Wall time of about that position, ms; never later than the truth.
    pub fn applied_wall_ms(&self) -> i64 {
        self.applied.1
    }

    /// Wall time of the oldest change that is not applied, ms; `None` when none is known.
    pub fn oldest_waiting_wall_ms(&self) -> Option<i64> {
        self.busy().map(|lane| lane.pending_from.1).chain(self.holding_wall_ms).min()
    }

    /// True when no lane has work.
    pub fn is_idle(&self) -> bool {
        self.busy().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn an_idle_lane_imposes_nothing() {
        let mut mark = Watermark::new(2, Optime::new(1, 0), 1_000);
        mark.sent(0, Optime::new(5, 1), 5_000);
        mark.dispatched(Optime::new(5, 1), 5_000);
        mark.dispatched(Optime::new(9, 1), 9_000);
        assert_eq!(mark.applied(), Optime::new(5, 0));
        assert_eq!(mark.oldest_waiting_wall_ms(), Some(5_000));
        mark.completed(0, 1, Optime::new(5, 1), 5_000);
        assert_eq!((mark.applied(), mark.oldest_waiting_wall_ms()), (Optime::new(9, 1), None));
    }

    #[test]
    fn a_transaction_counts_only_when_all_of_it_is_sent_and_done() {
        let mut mark = Watermark::new(2, Optime::new(1, 0), 1_000);
        mark.dispatched(Optime::new(4, 1), 4_000);
        mark.holds(9_000);
        mark.sent(0, Optime::new(9, 1), 9_000);
        mark.completed(0, 1, Optime::new(9, 1), 9_000);
        // The lanes are idle in the middle of the entry.
        assert_eq!((mark.applied(), mark.applied_wall_ms()), (Optime::new(4, 1), 4_000));
        assert_eq!(mark.oldest_waiting_wall_ms(), Some(9_000));
        mark.sent(1, Optime::new(9, 1), 9_000);
        mark.dispatched(Optime::new(9, 1), 9_000);
        assert_eq!(mark.applied(), Optime::new(9, 0));
        mark.completed(1, 1, Optime::new(9, 1), 9_000);
        assert_eq!((mark.applied(), mark.oldest_waiting_wall_ms()), (Optime::new(9, 1), None));
    }

    #[test]
    fn the_entry_where_applying_begins_tells_its_wall_time() {
        let mut mark = Watermark::new(1, Optime::new(7, 1), 0);
        mark.dispatched(Optime::new(7, 1), 7_000);
        assert_eq!((mark.applied(), mark.applied_wall_ms()), (Optime::new(7, 1), 7_000));
    }

    proptest! {
        /// Whatever the order in which lanes complete: never ahead of the oldest pending change, never back, and at the
        /// end everything is applied.
        #[test]
        fn never_ahead_never_back(entries in prop::collection::vec(prop::collection::vec(0_usize..4, 0..4), 1..60),
                                  picks in prop::collection::vec((0_usize..4, 1_usize..4), 0..200)) {
            let mut mark = Watermark::new(4, Optime::new(1, 0), 1_000);
            let mut pending: Vec<VecDeque<Optime>> = vec![VecDeque::new(); 4];
            let mut picks = picks.into_iter();
            let mut last = mark.applied();
            let mut check = |mark: &Watermark, pending: &[VecDeque<Optime>]| {
                let oldest = pending.iter().filter_map(|lane| lane.front()).min();
                assert!(oldest.is_none_or(|oldest| mark.applied() < *oldest), "ahead of {oldest:?}");
                assert!(mark.applied() >= last, "went back");
                last = mark.applied();
            };
            let mut newest = Optime::new(1, 0);
            for (index, lanes) in entries.iter().enumerate() {
                let ts = Optime::new(2 + u32::try_from(index / 3).unwrap(), u32::try_from(index % 3).unwrap());
                for lane in lanes {
                    mark.sent(*lane, ts, i64::from(ts.t) * 1_000);
                    pending[*lane].push_back(ts);
                    if let Some((lane, count)) = picks.next() {
                        let done: Vec<Optime> = (0..count).filter_map(|_| pending[lane].pop_front()).collect();
                        if let Some(ts) = done.last() {
                            mark.completed(lane, done.len() as u64, *ts, i64::from(ts.t) * 1_000);
                        }
                        check(&mark, &pending);
                    }
                }
                mark.dispatched(ts, i64::from(ts.t) * 1_000);
                newest = ts;
                check(&mark, &pending);
            }
            for (lane, waiting) in pending.iter_mut().enumerate() {
                if let Some(ts) = waiting.back().copied() {
                    mark.completed(lane, waiting.len() as u64, ts, 0);
                    waiting.clear();
                }
            }
            assert_eq!(mark.applied(), newest);
            assert!(mark.is_idle());
        }
    }
}
