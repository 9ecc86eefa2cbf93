//! The report while it fills: which check runs, how each ended, published after every change.

use crate::{
    model::{Check, CheckId, CheckState, Problem, ValidationReport},
    mongo::probe::Rejection,
};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    state: CheckState,
    evidence: String,
    explanation: String,
    fix: String,
    fix_command: Option<String>,
}

impl Finding {
    /// Fine, with what was seen.
    pub fn ok(evidence: impl Into<String>) -> Self {
        Self::new(CheckState::Ok, evidence, "", "")
    }

    /// Can be accepted by the operator.
    pub fn warn(evidence: impl Into<String>, explanation: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(CheckState::Warn, evidence, explanation, fix)
    }

    /// Keeps Start Migration disabled.
    pub fn fail(evidence: impl Into<String>, explanation: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(CheckState::Fail, evidence, explanation, fix)
    }

    /// A failure that has its own sentences.
    pub fn problem(problem: &Problem) -> Self {
        Self::fail(&problem.what, &problem.why, &problem.fix)
    }

    /// A failure on the way to a server.
    pub fn rejection(rejection: &Rejection) -> Self {
        Self::problem(&rejection.problem).command(rejection.command.clone())
    }

    /// How it ended.
    #[cfg(test)]
    pub fn state(&self) -> CheckState {
        self.state
    }

    /// With a command to copy.
    pub fn command(mut self, command: Option<String>) -> Self {
        self.fix_command = command;
        self
    }

    fn new(
        state: CheckState,
        evidence: impl Into<String>,
        explanation: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { state, evidence: evidence.into(), explanation: explanation.into(), fix: fix.into(), fix_command: None }
    }
}

/// Owns the report of one validation.
pub(super) struct Board<P> {
    report: Mutex<ValidationReport>,
    due: BTreeSet<CheckId>,
    publish: P,
    began: Instant,
}

impl<P: Fn(&ValidationReport)> Board<P> {
    /// The checks in `due` wait, the others keep what `report` says of them.
    pub fn new(mut report: ValidationReport, due: BTreeSet<CheckId>, publish: P) -> Self {
        report.finished = false;
        report.summary.clear();
        for check in report.checks.iter_mut().filter(|check| due.contains(&check.id)) {
            *check = Check::waiting(check.id);
        }
        let board = Self { report: Mutex::new(report), due, publish, began: Instant::now() };
        board.edit(|_| {});
        board
    }

    /// True when the check runs in this validation; false when it keeps its earlier result.
    pub fn is_due(&self, id: CheckId) -> bool {
        self.due.contains(&id)
    }

    /// The check runs now.
    pub fn begin(&self, id: CheckId) {
        self.set(id, Finding::new(CheckState::Running, "", "", ""));
    }

    /// The check ended; true unless it failed.
    pub fn settle(&self, id: CheckId, finding: Finding) -> bool {
        let passed = finding.state != CheckState::Fail;
        self.set(id, finding);
        passed
    }

    /// Those of the checks that are due cannot run, because of `reason`.
    pub fn skip(&self, ids: &[CheckId], reason: &str) {
        for id in ids.iter().filter(|id| self.is_due(**id)) {
            self.set(*id, Finding::new(CheckState::Skip, reason, "", ""));
        }
    }

    /// Changes the report and publishes it.
    pub fn edit(&self, change: impl FnOnce(&mut ValidationReport)) {
        let mut report = self.lock();
        change(&mut report);
        report.took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.publish)(&report);
    }

    /// The finished report; what still waits is skipped because of `reason`.
    pub fn finish(self, reason: &str) -> ValidationReport {
        let open = |state| matches!(state, CheckState::Waiting | CheckState::Running);
        let left: Vec<CheckId> =
            self.lock().checks.iter().filter(|check| open(check.state)).map(|check| check.id).collect();
        for id in left {
            self.set(id, Finding::new(CheckState::Skip, reason, "", ""));
        }
        self.edit(|report| report.finished = true);
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when a check has failed or was skipped.
    pub fn has_failures(&self) -> bool {
        let report = self.lock();
        report.count(CheckState::Fail) + report.count(CheckState::Skip) > 0
    }

    fn set(&self, id: CheckId, finding: Finding) {
        self.edit(|report| {
            let Some(check) = report.checks.iter_mut().find(|check| check.id == id) else { return };
            check.state = finding.state;
            check.evidence = finding.evidence;
            check.explanation = finding.explanation;
            check.fix = finding.fix;
            check.fix_command = finding.fix_command;
        });
    }

    fn lock(&self) -> MutexGuard<'_, ValidationReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn every_change_is_published_and_nothing_stays_open() {
        let seen = RefCell::new(Vec::new());
        let publish = |report: &ValidationReport| seen.borrow_mut().push(report.clone());
        let board = Board::new(ValidationReport::waiting(), CheckId::ALL.into(), publish);
        board.begin(CheckId::SourceNetwork);
        assert!(board.settle(CheckId::SourceNetwork, Finding::ok("TCP in 1 ms")));
        assert!(!board.settle(CheckId::SourceTls, Finding::fail("no", "because", "do")));
        board.begin(CheckId::SourceSignIn);
        let report = board.finish("TLS failed");
        let states: Vec<_> = seen.borrow().iter().map(|report| report.checks[0].state).collect();
        assert_eq!(states[..3], [CheckState::Waiting, CheckState::Running, CheckState::Ok]);
        assert!(report.finished && !report.passed());
        assert_eq!(report.count(CheckState::Skip), 17);
        assert_eq!(report.checks[2].evidence, "TLS failed");
        assert_eq!(seen.borrow().last(), Some(&report));
    }
}
