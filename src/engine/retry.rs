//! Transient errors are retried with back-off, visibly and cancellably, never silently skipped.

use crate::{
    model::{Problem, Severity, Side},
    mongo::{
        cluster::DriverError,
        errors::{command_problem, explain, is_transient},
    },
    session::EventLog,
};
use std::{future::Future, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long transient errors are retried before the migration halts with the reason.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Why an effect ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The operator or the engine cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// It cannot go on.
    #[error("{0}")]
    Problem(Box<Problem>),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Halt::Problem(Box::new(problem))
    }
}

/// Runs `attempt` until it succeeds, fails for good, or `cancel` fires. The first retry and the recovery are events.
/// `attempt` must be safe to repeat.
pub async fn retry<T, F, Fut>(
    side: Side,
    what: &str,
    events: &EventLog,
    cancel: &CancellationToken,
    mut attempt: F,
) -> Result<T, Halt>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, DriverError>>,
{
    let began = Instant::now();
    let mut delay = Duration::from_millis(100);
    let mut retries = 0_u32;
    loop {
        let outcome = tokio::select! {
            () = cancel.cancelled() => return Err(Halt::Cancelled),
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(value) => {
                if retries > 0 {
                    let took = began.elapsed().as_secs_f64();
                    events.record(Severity::Info, "recovered", format!("{side}: {what} works again after {took:.1} s"));
                }
                return Ok(value);
            }
            Err(error) if is_transient(&error) && began.elapsed() < PATIENCE => {
                if retries == 0 {
                    events.record(
                        Severity::Warn,
                        "retry",
                        format!("{side}: {what} failed and is retried: {}", explain(&error)),
                    );
                }
                retries += 1;
                tokio::select! {
                    () = cancel.cancelled() => return Err(Halt::Cancelled),
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(command_problem(side, format!("{what} failed"), &error).into()),
        }
    }
}
