//! Back-off: the copy, and the catching up after it, hold back while the destination's secondaries are behind, so that none
//! of them falls off its oplog. What is nearly in sync is not held: those secondaries have to bear what the source writes.

mod judge;

use self::judge::{Judge, Verdict};
use super::{context::Context, lag::LagReading, operations::pause, retry::Halt};
use crate::{
    machine::Saved,
    model::{Phase, Severity, units::show_duration},
    mongo::{
        cluster::DriverError,
        errors::{code, explain},
        secondaries::Secondaries,
    },
};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// Distance between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer says nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// A migration that lags less has caught up.
const CAUGHT_UP: Duration = Duration::from_secs(60);
/// The server's `Unauthorized`.
const UNAUTHORIZED: i32 = 13;

/// Holds back who would write much, and says why. Cheap to clone; all clones are one brake.
#[derive(Debug, Clone, Default)]
pub struct Brake {
    why: watch::Sender<Option<String>>,
}

impl Brake {
    /// Why everybody is held back; `None`: nobody is.
    pub fn why(&self) -> Option<String> {
        self.why.borrow().clone()
    }

    /// True while everybody is held back.
    pub fn is_on(&self) -> bool {
        self.why.borrow().is_some()
    }

    /// Returns when nobody is held back.
    pub async fn released(&self) {
        // The sender lives as long as this.
        let _ = self.why.subscribe().wait_for(Option::is_none).await;
    }

    /// Returns at once while nobody is held back; otherwise waits for that or for `cancel`.
    pub async fn pass(&self, cancel: &CancellationToken) -> Result<(), Halt> {
        if !self.is_on() {
            return Ok(());
        }
        tokio::select! {
            () = cancel.cancelled() => Err(Halt::Cancelled),
            () = self.released() => Ok(()),
        }
    }

    fn set(&self, why: Option<String>) {
        self.why.send_if_modified(|shown| {
            let changed = *shown != why;
            *shown = why;
            changed
        });
    }
}

/// Looks at the destination's members and holds back for them, until cancelled.
pub async fn watch(
    context: Context,
    machine: watch::Receiver<Option<Saved>>,
    lag: watch::Receiver<Option<LagReading>>,
) {
    let mut judge = Judge::default();
    loop {
        let behind = match may_hold(&machine, &lag) {
            false => None,
            true => match timeout(PATIENCE, Secondaries::read(&context.destination)).await {
                Ok(Err(error)) if code(&error) == Some(UNAUTHORIZED) => return cannot(&context, &error),
                // Whoever writes meets the same trouble and says so.
                Ok(Err(_)) | Err(_) => None,
                Ok(Ok(secondaries)) => Some(secondaries),
            },
        };
        let by = behind.as_ref().map_or(Duration::ZERO, judge::by);
        let verdict = judge.observe(Instant::now(), by);
        act(&context, verdict, behind.as_ref().map_or_else(String::new, sentence));
        if pause(EVERY, &context.cancel).await {
            return;
        }
    }
}

fn cannot(context: &Context, error: &DriverError) {
    let text = format!(
        "destination: its user may not see how far its secondaries are behind, so nothing is held back for them; \
         grant clusterMonitor ({})",
        explain(error)
    );
    context.events.record(Severity::Info, "back-off", text);
}

/// While much is written: copying, and applying what has waited for long.
fn may_hold(machine: &watch::Receiver<Option<Saved>>, lag: &watch::Receiver<Option<LagReading>>) -> bool {
    let phase = machine.borrow().as_ref().map(|saved| saved.phase);
    match phase {
        Some(Phase::Copying) => true,
        Some(Phase::Following) => {
            let lag = lag.borrow().and_then(|reading| reading.lag_ms);
            lag.is_none_or(|ms| Duration::from_millis(ms) > CAUGHT_UP)
        }
        _ => false,
    }
}

fn act(context: &Context, verdict: Verdict, why: String) {
    let (severity, text) = match verdict {
        Verdict::Free => return context.brake.set(None),
        Verdict::Held => return context.brake.set(Some(why)),
        Verdict::Hold => {
            context.brake.set(Some(why.clone()));
            (Severity::Warn, format!("destination: {why}; writing holds back until it has caught up"))
        }
        Verdict::Release(held) => {
            context.brake.set(None);
            (Severity::Info, format!("destination: writing goes on, after {}", show_duration(held)))
        }
        Verdict::GiveUp(held) => {
            context.brake.set(None);
            let (held, rest) = (show_duration(held), show_duration(judge::REST));
            let text = format!(
                "destination: {why} and has not come nearer while writing held back for {held}; writing \
                 goes on, and holds back again in {rest} at the earliest. rs.status() there says what that member does"
            );
            (Severity::Warn, text)
        }
    };
    context.events.record(severity, "back-off", text);
}

/// `new-c:27017 is 12 s behind`.
fn sentence(secondaries: &Secondaries) -> String {
    match &secondaries.furthest {
        Some((member, by)) if *by >= judge::TOO_FAR || !secondaries.is_lagged => {
            format!("{member} is {} behind", show_duration(*by))
        }
        _ => "its majority is behind, and its flow control slows writers down".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_held_back_goes_on_when_released_or_cancelled() {
        let (brake, cancel) = (Brake::default(), CancellationToken::new());
        assert!(brake.pass(&cancel).await.is_ok() && !brake.is_on());
        brake.set(Some("c:1 is 9 s behind".into()));
        let held = |cancel: CancellationToken| {
            let brake = brake.clone();
            tokio::spawn(async move { brake.pass(&cancel).await.is_ok() })
        };
        let (first, second) = (held(cancel.clone()), held(CancellationToken::new()));
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(!first.is_finished() && !second.is_finished());
        cancel.cancel();
        assert!(!first.await.unwrap());
        brake.set(Some("c:1 is 8 s behind".into()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished(), "another reason is no release");
        brake.set(None);
        assert!(second.await.unwrap());
    }

    #[test]
    fn it_is_said_who_is_behind() {
        let of = |by, is_lagged| {
            sentence(&Secondaries { furthest: Some(("c:1".into(), Duration::from_secs(by))), is_lagged })
        };
        assert_eq!(of(12, false), "c:1 is 12 s behind");
        assert_eq!(of(12, true), "c:1 is 12 s behind");
        assert!(of(0, true).contains("flow control"));
    }
}
