//! The ready gate and the durations that it and the timer use.

use super::event::Measurement;
use crate::model::{CheckOrder, Limit, Options, RepairPolicy, Verify, snapshot::Thresholds, units::show_duration};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The plan's durations and switches that the machine decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Lag that counts as nearly in sync …
    pub ready_lag: Duration,
    /// … when it lasts this long.
    pub ready_for: Duration,
    /// Quiet that "Stop your application" waits for.
    pub quiet_for: Duration,
    /// How long a ready migration may wait.
    pub cutover_window: Duration,
    /// What "Extend time" adds.
    pub extend_by: Duration,
    /// Documents are compared.
    pub verify: bool,
    /// Before or after the opening, unless the operator chooses anew.
    pub check: CheckOrder,
    /// Documents that differ are copied again without being asked.
    pub repairs: bool,
    /// Continue blocks user writes on the source.
    pub blocks_source: bool,
    /// It is the way back of a completed migration: it begins with following and can be given up without a trace.
    pub is_way_back: bool,
    /// Keep a way back open for so long once it is completed.
    pub reverse: Option<Duration>,
    /// The limit on source reads until somebody sets another one.
    pub throttle: Limit,
    /// So long before the window ends somebody is told; zero: not.
    pub warn_before: [Duration; 3],
    /// When a cutover has been in progress for so long somebody is told.
    pub long_cutover: Duration,
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Self {
        Self {
            ready_lag: options.ready_lag,
            ready_for: options.ready_for,
            quiet_for: options.quiet_for,
            cutover_window: options.cutover_window,
            extend_by: options.extend_by,
            verify: options.verify == Verify::Exact,
            check: options.check,
            repairs: options.repair == RepairPolicy::Auto,
            blocks_source: options.block_source_writes,
            is_way_back: options.way_back.is_some(),
            reverse: options.reverse,
            throttle: options.throttle.into(),
            warn_before: options.notify.warn_before,
            long_cutover: options.notify.long_cutover,
        }
    }
}

impl Settings {
    /// The same for gauges and sentences on screens.
    pub fn thresholds(&self) -> Thresholds {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Thresholds {
            ready_lag_ms: ms(self.ready_lag),
            ready_for_ms: ms(self.ready_for),
            quiet_for_ms: ms(self.quiet_for),
            extend_by_ms: ms(self.extend_by),
            cutover_window_ms: ms(self.cutover_window),
        }
    }
}

/// `at + duration`, saturating at the end of time instead of failing.
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|span| at.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// `until - from`, zero when negative.
pub fn between(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// Watches the lag: opens when it stayed under the threshold long enough with nothing left to repair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gate {
    under_since: Option<Timestamp>,
    latest: Measurement,
}

impl Gate {
    /// Takes a measurement into account.
    pub fn measure(&mut self, settings: &Settings, measurement: Measurement, now: Timestamp) {
        let under = measurement.lag_ms.is_some_and(|lag_ms| Duration::from_millis(lag_ms) < settings.ready_lag);
        self.under_since = if under { self.under_since.or(Some(now)) } else { None };
        self.latest = measurement;
    }

    /// The newest measurement.
    pub fn latest(&self) -> &Measurement {
        &self.latest
    }

    /// For how long the lag has been under the threshold.
    pub fn under_for(&self, now: Timestamp) -> Duration {
        self.under_since.map_or(Duration::ZERO, |since| between(since, now))
    }

    /// Indexes that could not be built and that nobody accepted to be missing.
    pub fn missing_indexes(&self, accepted: &[String]) -> Vec<String> {
        self.latest.failed_indexes.iter().filter(|index| !accepted.contains(index)).cloned().collect()
    }

    /// Why the gate is closed, one sentence each; empty when it is open. `accepted` indexes may be missing.
    pub fn blocked_by(&self, settings: &Settings, accepted: &[String], now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        let (limit, long) = (show_duration(settings.ready_lag), show_duration(settings.ready_for));
        match self.latest.lag_ms {
            None => reasons.push("the lag is not known yet".to_string()),
            Some(lag_ms) if self.under_since.is_none() => {
                let lag = show_duration(Duration::from_millis(lag_ms));
                reasons.push(format!("lag is {lag}; it must stay under {limit} for {long}"));
            }
            Some(_) if self.under_for(now) < settings.ready_for => {
                let so_far = show_duration(self.under_for(now));
                reasons.push(format!("lag is under {limit} for {so_far} so far; {long} are needed"));
            }
            Some(_) => {}
        }
        if self.latest.repair_pending > 0 {
            let count = self.latest.repair_pending;
            reasons.push(format!("{count} documents are still to be fetched again from the source"));
        }
        let missing = self.missing_indexes(accepted);
        if !missing.is_empty() {
            let names = shortened(&missing);
            reasons.push(format!("{names} could not be built; build again, or accept to do without"));
        }
        reasons
    }
}

/// `index shop.a / i1`, `index shop.a / i1 and 4 more`.
fn shortened(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("index {one}"),
        [first, rest @ ..] => format!("index {first} and {} more", rest.len()),
    }
}
