//! When to hold back, and when that is no use.

use crate::mongo::secondaries::Secondaries;
use std::time::Duration;
use tokio::time::Instant;

/// A member that is further behind is waited for …
pub(super) const TOO_FAR: Duration = Duration::from_secs(5);
/// … until it is nearer than this.
const NEAR: Duration = Duration::from_secs(2);
/// A member that has not come nearer for so long does not because of what is written now.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long nothing is held back for it then.
pub(super) const REST: Duration = Duration::from_secs(300);

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody is held back, as before.
    Free,
    /// Hold back from now on.
    Hold,
    /// Everybody is held back, as before.
    Held,
    /// It has caught up; so long everybody was held back.
    Release(Duration),
    /// Holding back for so long has brought nothing.
    GiveUp(Duration),
}

/// Remembers what earlier looks showed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Judge {
    #[default]
    Free,
    /// Seen once. One look may fall between a first write after a quiet time and its arrival at the members.
    Suspected,
    Holding {
        since: Instant,
        /// The nearest that it came, and when.
        nearest: (Duration, Instant),
    },
    Resting {
        until: Instant,
    },
}

/// How far behind; flow control begins when the majority is half of `flowControlTargetLagSeconds` (10) behind.
pub(super) fn by(secondaries: &Secondaries) -> Duration {
    let member = secondaries.furthest.as_ref().map_or(Duration::ZERO, |(_, by)| *by);
    if secondaries.is_lagged { member.max(TOO_FAR) } else { member }
}

impl Judge {
    /// Judges a look that found a member so far behind.
    pub(super) fn observe(&mut self, now: Instant, by: Duration) -> Verdict {
        let is_far = by >= TOO_FAR;
        let (next, verdict) = match *self {
            Judge::Free if is_far => (Judge::Suspected, Verdict::Free),
            Judge::Suspected if is_far => (Judge::Holding { since: now, nearest: (by, now) }, Verdict::Hold),
            Judge::Free | Judge::Suspected => (Judge::Free, Verdict::Free),
            Judge::Holding { since, .. } if by <= NEAR => (Judge::Free, Verdict::Release(now - since)),
            Judge::Holding { since, nearest: (nearest, _) } if by < nearest => {
                (Judge::Holding { since, nearest: (by, now) }, Verdict::Held)
            }
            Judge::Holding { since, nearest: (_, at) } if now - at >= PATIENCE => {
                (Judge::Resting { until: now + REST }, Verdict::GiveUp(now - since))
            }
            Judge::Holding { .. } => (*self, Verdict::Held),
            Judge::Resting { until } if now >= until || by <= NEAR => (Judge::Free, Verdict::Free),
            Judge::Resting { .. } => (*self, Verdict::Free),
        };
        *self = next;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look per second at these distances.
    fn verdicts(seconds: &[u64]) -> Vec<Verdict> {
        let (mut judge, began) = (Judge::default(), Instant::now());
        let looks = seconds.iter().zip(0..);
        looks.map(|(by, at)| judge.observe(began + Duration::from_secs(at), Duration::from_secs(*by))).collect()
    }

    #[test]
    fn it_holds_from_five_seconds_until_two() {
        use Verdict::{Free, Held, Hold, Release};
        let seen = verdicts(&[0, 4, 5, 6, 5, 3, 2, 4, 4]);
        assert_eq!(seen, [Free, Free, Free, Hold, Held, Held, Release(Duration::from_secs(3)), Free, Free]);
    }

    #[test]
    fn one_look_alone_holds_nothing() {
        assert!(verdicts(&[9, 0, 10, 1, 10, 0, 8]).iter().all(|verdict| *verdict == Verdict::Free));
    }

    #[test]
    fn a_member_that_stands_still_is_not_waited_for() {
        let standing: Vec<u64> = (0..600).map(|second| 10 + second).collect();
        let seen = verdicts(&standing);
        let at = |wanted: fn(&Verdict) -> bool| -> Vec<usize> {
            seen.iter().enumerate().filter(|(_, verdict)| wanted(verdict)).map(|(at, _)| at).collect()
        };
        assert_eq!(at(|verdict| matches!(verdict, Verdict::Hold)), [1, 363]);
        assert_eq!(at(|verdict| matches!(verdict, Verdict::GiveUp(_))), [61, 423]);
    }

    #[test]
    fn one_that_comes_nearer_slowly_is_waited_for() {
        let slow: Vec<u64> = (0..1_200).map(|second| 30 - (second / 40).min(28)).collect();
        let seen = verdicts(&slow);
        assert!(!seen.iter().any(|verdict| matches!(verdict, Verdict::GiveUp(_))));
        assert!(seen.iter().any(|verdict| matches!(verdict, Verdict::Release(_))));
    }

    #[test]
    fn flow_control_counts_as_a_member_that_is_too_far_behind() {
        let member = |by| Some(("c:1".to_string(), Duration::from_secs(by)));
        assert_eq!(by(&Secondaries { furthest: None, is_lagged: true }), TOO_FAR);
        assert_eq!(by(&Secondaries { furthest: member(9), is_lagged: true }), Duration::from_secs(9));
        assert_eq!(by(&Secondaries { furthest: member(3), is_lagged: false }), Duration::from_secs(3));
        assert_eq!(by(&Secondaries::default()), Duration::ZERO);
    }
}
