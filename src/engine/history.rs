//! Samples for charts and ten-second rates. Pure bookkeeping; the publisher calls it once per tick.

use crate::model::snapshot::History;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Samples kept per series; when full, every second one is dropped and the step doubles.
const SAMPLES: usize = 360;
/// Window of a rate.
const WINDOW: Duration = Duration::from_secs(10);

/// Adds samples at a fixed step.
#[derive(Debug)]
pub struct Recorder {
    history: History,
    last: Option<Instant>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { history: History { step_ms: 1_000, ..History::default() }, last: None }
    }
}

impl Recorder {
    /// Takes a sample when a step has passed since the last one.
    pub fn sample(&mut self, now: Instant, lag_ms: Option<u64>, bytes_per_s: f64, ops_waiting: u64) {
        let step = Duration::from_millis(self.history.step_ms);
        if self.last.is_some_and(|last| now.duration_since(last) < step) {
            return;
        }
        self.last = Some(now);
        let history = &mut self.history;
        if let Some(lag_ms) = lag_ms {
            history.lag_ms.push(lag_ms);
        }
        history.bytes_per_s.push(bytes_per_s as u64);
        history.ops_waiting.push(ops_waiting);
        if history.bytes_per_s.len() > SAMPLES {
            history.step_ms *= 2;
            for series in [&mut history.lag_ms, &mut history.bytes_per_s, &mut history.ops_waiting] {
                thin(series);
            }
        }
    }

    /// Everything sampled so far.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// Keeps the larger of each two neighbours, so that a peak never disappears from a chart.
fn thin(series: &mut Vec<u64>) {
    *series = series.chunks(2).map(|pair| pair.iter().copied().max().unwrap_or(0)).collect();
}

/// The mean rate of a counter over the last ten seconds.
#[derive(Debug, Default)]
pub struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Takes the counter's value now and returns its rate per second.
    pub fn observe(&mut self, now: Instant, count: u64) -> f64 {
        self.seen.push_back((now, count));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
        let Some((since, before)) = self.seen.front() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds < 0.2 { 0.0 } else { count.saturating_sub(*before) as f64 / seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_stays_bounded_and_keeps_peaks() {
        let mut recorder = Recorder::default();
        let start = Instant::now();
        for second in 0..2_000 {
            let lag = if second == 700 { 99_000 } else { 100 };
            recorder.sample(start + Duration::from_secs(second), Some(lag), 1.0, 0);
        }
        let history = recorder.history();
        assert!(history.lag_ms.len() <= SAMPLES && history.lag_ms.len() > SAMPLES / 4);
        assert!(history.lag_ms.contains(&99_000), "the peak is gone");
        assert!(history.step_ms > 1_000);
    }

    #[test]
    fn a_rate_is_a_ten_second_mean() {
        let mut rate = Rate::default();
        let start = Instant::now();
        let mut last = 0.0;
        for second in 0..30 {
            last = rate.observe(start + Duration::from_secs(second), second * 200);
        }
        assert!((last - 200.0).abs() < 1.0, "{last}");
        for second in 30..60 {
            last = rate.observe(start + Duration::from_secs(second), 29 * 200);
        }
        assert!(last < 1.0, "{last}");
    }
}
