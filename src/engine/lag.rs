//! Lag as DESIGN.md section 5 defines it: now minus the wall time of the oldest change not yet applied; 0 if and only if
//! everything up to the source's newest majority-committed write is applied. Times are the source's clock.

use super::{
    context::Context,
    view::{ApplyView, FetchView},
};
use crate::{
    model::Severity,
    mongo::{LastWrite, errors::explain},
};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// Distance between two measurements.
const PACE: Duration = Duration::from_millis(200);
/// A reading that is older says nothing about now.
const STALE: Duration = Duration::from_secs(2);

/// One measurement. `None`: not known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LagReading {
    /// Lag of applying, ms.
    pub lag_ms: Option<u64>,
    /// Lag of fetching, ms.
    pub fetch_lag_ms: Option<u64>,
    /// How long the source has been without a user write, as far as its oplog has been fetched, ms.
    pub source_quiet_ms: Option<u64>,
}

/// What earlier measurements proved; source clock, ms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proven {
    /// Everything written before this moment is applied.
    applied_at: Option<i64>,
    /// Everything written before this moment is fetched.
    fetched_at: Option<i64>,
    /// The source had no write before this moment that is not fetched, confirmed by its majority or not.
    complete_at: Option<i64>,
    /// When watching began.
    began_at: Option<i64>,
}

impl Proven {
    /// Computes a reading. `source` must have been read before `fetch` and `apply`.
    pub fn measure(&mut self, source: &LastWrite, fetch: &FetchView, apply: &ApplyView) -> LagReading {
        let now = source.local_time_ms;
        let began = *self.began_at.get_or_insert(now);
        let is_applied = apply.applied_ts >= source.majority_optime;
        let is_fetched = fetch.fetched_ts >= source.majority_optime;
        if is_applied {
            self.applied_at = Some(now);
        }
        if is_fetched {
            self.fetched_at = Some(now);
        }
        // A majority that is slow to confirm does not make a source quiet.
        if fetch.fetched_ts >= source.optime {
            self.complete_at = Some(now);
        }
        let since = |at: i64| u64::try_from(now - at).unwrap_or(0).max(1);
        let applied_wall_ms = apply.applied_wall_ms.max(self.applied_at.unwrap_or(0));
        let lag_ms = match (is_applied, apply.oldest_waiting_wall_ms) {
            (true, _) => Some(0),
            (false, Some(oldest)) => Some(since(oldest)),
            // The oldest change that is missing was written after the last moment at which none was.
            // Right after the copy nothing says when the first missing change was written.
            (false, None) if applied_wall_ms == 0 => None,
            (false, None) => Some(since(applied_wall_ms)),
        };
        let fetch_lag_ms = match (is_fetched, fetch.fetched_wall_ms.max(self.fetched_at.unwrap_or(0))) {
            (true, _) => Some(0),
            (false, 0) => None,
            (false, known) => Some(since(known)),
        };
        let known_until = fetch.fetched_wall_ms.max(self.complete_at.unwrap_or(0));
        let last_write = fetch.last_active_write.unwrap_or(began);
        let source_quiet_ms = Some(u64::try_from(known_until - last_write).unwrap_or(0));
        LagReading { lag_ms, fetch_lag_ms, source_quiet_ms }
    }
}

/// Measures until cancelled. While the source does not answer, the lag is unknown rather than what it was.
pub async fn poll(
    context: Context,
    apply: watch::Receiver<ApplyView>,
    fetch: watch::Receiver<FetchView>,
    view: watch::Sender<Option<LagReading>>,
) {
    let mut proven = Proven::default();
    let mut heard = Instant::now();
    let mut is_silent = false;
    loop {
        let answer = tokio::select! {
            () = context.cancel.cancelled() => return,
            answer = timeout(STALE, context.source.last_write()) => answer,
        };
        let why = match answer {
            Ok(Ok(source)) => {
                // Read after the source, so that a lag of 0 is proven.
                let reading = proven.measure(&source, &fetch.borrow(), &apply.borrow());
                view.send_replace(Some(reading));
                heard = Instant::now();
                None
            }
            Ok(Err(error)) => Some(explain(&error)),
            Err(_) => Some("no answer".into()),
        };
        match why {
            None if is_silent => {
                is_silent = false;
                context.events.record(Severity::Info, "recovered", "source: it answers again; the lag is known");
            }
            Some(why) if heard.elapsed() >= STALE && !is_silent => {
                is_silent = true;
                view.send_replace(None);
                let text = format!("source: it does not say what its newest write is, so the lag is unknown: {why}");
                context.events.record(Severity::Warn, "retry", text);
            }
            _ => {}
        }
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(PACE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Optime;

    fn source(newest: u32, now_s: i64) -> LastWrite {
        let optime = Optime::new(newest, 1);
        LastWrite {
            optime,
            term: 1,
            wall_ms: i64::from(newest) * 1_000,
            majority_optime: optime,
            majority_wall_ms: i64::from(newest) * 1_000,
            local_time_ms: now_s * 1_000,
        }
    }

    fn apply(applied: u32, oldest_waiting_s: Option<i64>) -> ApplyView {
        ApplyView {
            applied_ts: Optime::new(applied, 1),
            applied_wall_ms: i64::from(applied) * 1_000,
            oldest_waiting_wall_ms: oldest_waiting_s.map(|s| s * 1_000),
            ..ApplyView::default()
        }
    }

    fn fetch(fetched: u32, last_write_s: i64) -> FetchView {
        FetchView {
            fetched_ts: Optime::new(fetched, 1),
            fetched_wall_ms: i64::from(fetched) * 1_000,
            last_active_write: Some(last_write_s * 1_000),
            ..FetchView::default()
        }
    }

    #[test]
    fn zero_only_when_the_newest_majority_write_is_applied() {
        let mut proven = Proven::default();
        let reading = proven.measure(&source(100, 130), &fetch(100, 90), &apply(100, None));
        assert_eq!(reading, LagReading { lag_ms: Some(0), fetch_lag_ms: Some(0), source_quiet_ms: Some(40_000) });
        let reading = proven.measure(&source(131, 131), &fetch(100, 90), &apply(100, None));
        assert_eq!(reading.lag_ms, Some(1_000), "since the last moment at which nothing was missing");
        let reading = proven.measure(&source(140, 150), &fetch(140, 140), &apply(100, Some(131)));
        assert_eq!(reading.lag_ms, Some(19_000), "since the oldest change that waits");
    }

    #[test]
    fn the_source_is_quiet_only_as_far_as_it_was_fetched() {
        let mut proven = Proven::default();
        let reading = proven.measure(&source(200, 300), &fetch(150, 140), &apply(150, None));
        assert_eq!(reading.source_quiet_ms, Some(10_000));
        assert_eq!(reading.fetch_lag_ms, Some(150_000));
        // Everything that the majority has is fetched, but that is not everything.
        let mut unconfirmed = source(150, 300);
        unconfirmed.optime = Optime::new(299, 1);
        let reading = proven.measure(&unconfirmed, &fetch(150, 140), &apply(150, None));
        assert_eq!(reading.source_quiet_ms, Some(10_000));
    }
}
