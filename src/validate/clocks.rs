//! clocks: both primaries against this host, as exactly as a round trip allows.
//!
//! Lag, deadlines and the dates of certificates are read off these clocks.

use super::board::Finding;
use crate::mongo::{Cluster, cluster::DriverError};
use jiff::Timestamp;

/// A difference that misleads nobody.
const TOLERATED_MS: i64 = 5_000;

/// How far a server's clock is ahead of this host's (negative: behind), and how exactly that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Skew {
    ahead_ms: i64,
    within_ms: i64,
}

impl Skew {
    /// From the server's time and this host's before and after asking for it.
    fn new(server_ms: i64, before_ms: i64, after_ms: i64) -> Self {
        let within_ms = (after_ms - before_ms).abs() / 2 + 1;
        Self { ahead_ms: server_ms - (before_ms + (after_ms - before_ms) / 2), within_ms }
    }

    /// What is certain of the difference.
    fn at_least_ms(self) -> i64 {
        (self.ahead_ms.abs() - self.within_ms).max(0)
    }

    fn shown(self) -> String {
        let direction = if self.ahead_ms < 0 { "behind" } else { "ahead" };
        let amount = self.ahead_ms.abs();
        if amount <= self.within_ms.max(50) {
            return "agrees".into();
        }
        if amount < 10_000 { format!("{amount} ms {direction}") } else { format!("{} s {direction}", amount / 1000) }
    }
}

/// Compares the clocks.
pub(super) async fn check(source: &Cluster, destination: &Cluster) -> Finding {
    match tokio::try_join!(measure(source), measure(destination)) {
        Ok((source, destination)) => judge(source, destination),
        Err(error) => Finding::warn(
            "the clocks cannot be read",
            error.to_string(),
            "Check that the clocks of both clusters and of this host are set by NTP.",
        ),
    }
}

async fn measure(cluster: &Cluster) -> Result<Skew, DriverError> {
    let before = Timestamp::now().as_millisecond();
    let server = cluster.last_write().await?.local_time_ms;
    Ok(Skew::new(server, before, Timestamp::now().as_millisecond()))
}

fn judge(source: Skew, destination: Skew) -> Finding {
    let evidence = format!("against this host: source {}, destination {}", source.shown(), destination.shown());
    let far = |skew: Skew| skew.at_least_ms() > TOLERATED_MS;
    let apart =
        Skew { ahead_ms: source.ahead_ms - destination.ahead_ms, within_ms: source.within_ms + destination.within_ms };
    let wrong = match (far(source), far(destination), far(apart)) {
        (false, false, false) => return Finding::ok(evidence),
        (true, true, false) => "this host's clock differs from both clusters'",
        (true, true, true) => "the three clocks differ",
        (true, false, _) => "the source's clock is off",
        (false, true, _) => "the destination's clock is off",
        (false, false, true) => "the two clusters' clocks differ",
    };
    Finding::warn(
        evidence,
        format!("{wrong}: lag, TTL indexes and the cutover's deadline are judged by these clocks"),
        "Set the clocks by NTP, on this host and on every member, then run the checks again.",
    )
    .command(Some("timedatectl set-ntp true".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckState;

    #[test]
    fn a_slow_answer_is_no_difference() {
        let slow = Skew::new(4_000, 0, 8_000);
        assert_eq!((slow.ahead_ms, slow.at_least_ms()), (0, 0));
        let late = Skew::new(8_000, 0, 8_000);
        assert_eq!(late.at_least_ms(), 0);
        assert_eq!(Skew::new(-20_000, 0, 10).shown(), "20 s behind");
    }

    #[test]
    fn the_clock_that_is_off_is_named() {
        let (good, ahead) = (Skew::new(3, 0, 4), Skew::new(60_000, 0, 4));
        assert_eq!(judge(good, good).state(), CheckState::Ok);
        for (source, destination, named) in [
            (ahead, good, "the source's clock is off"),
            (good, ahead, "the destination's clock is off"),
            (ahead, ahead, "this host's clock differs"),
        ] {
            let finding = judge(source, destination);
            assert_eq!(finding.state(), CheckState::Warn);
            assert!(format!("{finding:?}").contains(named), "{finding:?}");
        }
    }
}
