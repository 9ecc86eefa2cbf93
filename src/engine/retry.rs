//! Errors that pass are waited for, visibly and cancellably, never skipped.
//!
//! Transient ones (elections, outages) are retried with back-off for as long as it takes: nothing is at risk while the
//! spool keeps fetching, and the window of the source's oplog is shown. What an operator has to cure stands as a
//! hindrance, which pauses the migration with the reason until the same attempt succeeds.

use super::notices::Notices;
use crate::{
    model::{Problem, Severity, Side},
    mongo::{
        cluster::DriverError,
        errors::{command_problem, explain, is_curable, is_logged_out, is_transient},
    },
};
use std::{future::Future, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait between two attempts.
const SLOWEST: Duration = Duration::from_secs(5);

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

impl Halt {
    /// What should not be possible happened while doing `what`.
    pub fn bug(what: &str, why: &str) -> Self {
        Problem {
            side: Side::Bug,
            what: format!("{what} ended unexpectedly"),
            why: why.into(),
            fix: "Please report this with the log.".into(),
            retry_helps: false,
            written: "The source is untouched; the destination keeps what was written so far.".into(),
        }
        .into()
    }
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
    notices: &Notices,
    cancel: &CancellationToken,
    mut attempt: F,
) -> Result<T, Halt>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, DriverError>>,
{
    let mut wait = Wait::new(side, what, notices);
    loop {
        let outcome = tokio::select! {
            () = cancel.cancelled() => return Err(Halt::Cancelled),
            outcome = attempt() => outcome,
        };
        match outcome {
            Ok(value) => {
                wait.works();
                return Ok(value);
            }
            Err(error) => wait.after(&error, cancel).await?,
        }
    }
}

/// One work that is repeated until it succeeds. When it is dropped the work goes on, or was given up.
#[derive(Debug)]
pub struct Wait<'a> {
    side: Side,
    what: &'a str,
    notices: &'a Notices,
    began: Instant,
    delay: Duration,
    failures: u32,
    is_hindered: bool,
}

impl<'a> Wait<'a> {
    /// Nothing has failed yet.
    pub fn new(side: Side, what: &'a str, notices: &'a Notices) -> Self {
        let delay = Duration::from_millis(100);
        Self { side, what, notices, began: Instant::now(), delay, failures: 0, is_hindered: false }
    }

    /// Waits before the next attempt, when one makes sense after `error`.
    pub async fn after(&mut self, error: &DriverError, cancel: &CancellationToken) -> Result<(), Halt> {
        let problem = || command_problem(self.side, format!("{} failed", self.what), error);
        if is_logged_out(error) {
            self.notices.log_out(self.side);
        }
        if is_curable(error) {
            return self.cure(problem(), cancel).await;
        }
        if !is_transient(error) {
            return Err(problem().into());
        }
        if self.failures == 0 {
            let text = format!("{}: {} failed and is retried until it works: {}", self.side, self.what, explain(error));
            self.notices.record(Severity::Warn, "retry", text);
        }
        self.pause(cancel).await
    }

    /// Waits for the cure of `problem`, or for the next attempt.
    pub async fn cure(&mut self, problem: Problem, cancel: &CancellationToken) -> Result<(), Halt> {
        if !std::mem::replace(&mut self.is_hindered, true) {
            self.notices.hinder(&self.key(), problem);
        }
        self.pause(cancel).await
    }

    async fn pause(&mut self, cancel: &CancellationToken) -> Result<(), Halt> {
        if self.failures == 0 {
            self.began = Instant::now();
        }
        self.failures += 1;
        let mut again = self.notices.tried_again();
        tokio::select! {
            () = cancel.cancelled() => return Err(Halt::Cancelled),
            _ = again.changed() => {}
            () = tokio::time::sleep(self.delay) => {}
        }
        self.delay = (self.delay * 2).min(SLOWEST);
        Ok(())
    }

    /// It works; what fails from here on is a new failure.
    pub fn works(&mut self) {
        if self.failures == 0 {
            return;
        }
        let took = self.began.elapsed().as_secs_f64();
        let text = format!("{}: {} works again after {took:.1} s", self.side, self.what);
        self.notices.record(Severity::Info, "recovered", text);
        self.relieve();
        (self.failures, self.delay) = (0, Duration::from_millis(100));
    }

    fn relieve(&mut self) {
        if std::mem::take(&mut self.is_hindered) {
            self.notices.relieve(&self.key());
        }
    }

    fn key(&self) -> String {
        format!("{}: {}", self.side, self.what)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.relieve();
    }
}
