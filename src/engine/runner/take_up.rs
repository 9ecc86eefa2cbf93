//! Taking a migration up: after a restart from its journal, or anew when the source's oplog has lost what is needed.

use super::{AfterLease, Runner};
use crate::{
    engine::{
        restore,
        run::{Outcome, Reconnected, Run},
    },
    machine::Effect,
    model::{Phase, Severity, Side, snapshot::CutoverStep},
};
use tokio::sync::mpsc;

impl Runner {
    /// After a restart: asks both clusters until they answer.
    pub(super) fn reconnect(&mut self) {
        let old = self.run.take();
        let (Some(dialect), Some(plan)) = (self.dialect, self.desk.plan.clone()) else { return };
        let (events, cancel, outcomes) = (self.events.clone(), self.run_cancel.clone(), self.outcomes.0.clone());
        // Without them the temporary user may come from anywhere.
        let validation = self.record.as_ref().and_then(|record| record.validation().ok()?);
        let seen_as: Vec<String> =
            validation.iter().flat_map(|report| report.seen_by(Side::Destination)).map(String::from).collect();
        tokio::spawn(async move {
            if let Some(mut old) = old {
                old.ended().await;
            }
            let reconnected = restore::reconnect(&plan, dialect, &seen_as, &events, &cancel).await;
            let _ = outcomes.send(Outcome::Reconnected(reconnected.map(Box::new))).await;
        });
    }

    pub(super) fn reconnected(&mut self, reconnected: Reconnected) {
        let (Some(record), Some(plan)) = (self.record.clone(), self.desk.plan.clone()) else { return };
        let Reconnected { source, destination, dialect } = reconnected;
        self.events.record(Severity::Info, "user", destination.note);
        let run = Run::new(
            plan.clone(),
            self.context(&plan, (source, destination.destination), dialect, record),
            destination.user,
            self.outcomes.0.clone(),
            self.known_events,
        );
        let work = match self.machine.phase {
            Phase::Paused | Phase::Expired => self.machine.left_phase.unwrap_or(Phase::Copying),
            phase => phase,
        };
        run.machine.send_replace(Some(self.machine.saved()));
        self.run = Some(run);
        let is_checking = self.machine.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::CheckOpened);
        self.after_lease = match work {
            Phase::Clearing | Phase::Copying => AfterLease::Work,
            Phase::Cleanup if !is_checking => AfterLease::Work,
            _ => AfterLease::TakeUp,
        };
        self.take_lease();
    }

    /// Nothing is written to the destination before it is known that nobody else works on it.
    pub(super) fn take_lease(&mut self) {
        let (Some(run), Some(record)) = (&self.run, &self.record) else { return };
        match record.owner() {
            Ok(owner) => run.take_lease(owner.unwrap_or_default()),
            Err(problem) => self.failed(problem.into()),
        }
    }

    pub(super) fn leased(&mut self, owner: String) {
        if let Some(run) = &mut self.run {
            run.keep_lease(owner);
        }
        match (self.after_lease, &self.run) {
            (AfterLease::TakeUp, Some(run)) => run.take_up(),
            _ => self.take_up_work(),
        }
    }

    /// The oplog lost what is needed: every task ends, then the copy compares what is there.
    pub(super) fn compare_again(&mut self) {
        let Some(record) = &self.record else { return };
        if let Err(problem) = record.put_again() {
            self.failed(problem.into());
            return;
        }
        self.run_cancel.cancel();
        self.run_cancel = self.cancel.child_token();
        // What the old tasks still say is about what is over.
        self.outcomes = mpsc::channel(16);
        self.indexed = None;
        self.waiting = vec![Effect::Copy];
        self.reconnect();
    }

    pub(super) fn take_up_work(&mut self) {
        let effects = std::mem::take(&mut self.waiting);
        self.carry_out(effects);
    }
}
