//! The checkpoint of every second: position, ranges and events go to the journal, then the spool gives back what is
//! applied. Never in the way of the tasks that it watches.

use super::{
    context::Context,
    record::{Position, Record},
    retry::Halt,
    run::Keepers,
    spool::SpoolKeeper,
    view::{ApplyView, FetchView},
};
use crate::{
    machine::Saved,
    model::{Event, Optime, Plan, Problem},
    store::{Owner, Summary},
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);

/// Writes checkpoints.
#[derive(Debug)]
pub struct Checkpointer {
    context: Context,
    plan: Plan,
    apply: watch::Receiver<ApplyView>,
    fetch: watch::Receiver<FetchView>,
    machine: watch::Receiver<Option<Saved>>,
    keeper: watch::Receiver<Option<SpoolKeeper>>,
    /// Events up to this number are in the journal.
    events: u64,
}

impl Checkpointer {
    /// A checkpointer; `events` are in the journal already.
    pub fn new(
        context: Context,
        plan: Plan,
        views: (watch::Receiver<ApplyView>, watch::Receiver<FetchView>),
        Keepers { machine, keeper }: Keepers,
        events: u64,
    ) -> Self {
        Self { context, plan, apply: views.0, fetch: views.1, machine, keeper, events }
    }

    /// Writes one every second until cancelled, and a last one then.
    pub async fn run(mut self) {
        while !self.context.cancel.is_cancelled() {
            tokio::select! {
                () = self.context.cancel.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            if self.write().await.is_err() {
                return;
            }
        }
    }

    async fn write(&mut self) -> Result<(), Halt> {
        let position = {
            let view = self.apply.borrow();
            Position { applied: view.applied_ts, wall_ms: view.applied_wall_ms, open_from: view.open_from }
        };
        let events = self.context.events.since(self.events);
        let newest = events.last().map_or(self.events, |event| event.seq);
        let (summary, keeper) = (self.summary(), self.keeper.borrow().clone());
        let work = Arc::new((position, events, summary, keeper));
        self.context.journal("writing the checkpoint", move |record| checkpoint(record, &work)).await?;
        self.events = newest;
        Ok(())
    }

    fn summary(&self) -> Option<Summary> {
        let saved = self.machine.borrow().clone()?;
        let fetched = self.fetch.borrow().fetched_ts;
        summary(&self.context.record, &self.plan, saved, fetched)
    }
}

/// What one checkpoint writes.
type Work = (Position, Vec<Event>, Option<Summary>, Option<SpoolKeeper>);

fn checkpoint(record: &Record, (position, events, summary, keeper): &Work) -> Result<(), Problem> {
    let written = record.checkpoint(*position, events)?;
    if let Some(summary) = summary {
        record.summarize(summary)?;
    }
    match keeper {
        Some(keeper) => keeper.release(written.read_from()),
        None => Ok(()),
    }
}

/// This host, as an operator knows it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What lists show of a migration that is at `saved`.
fn summary(record: &Record, plan: &Plan, saved: Saved, fetched: Optime) -> Option<Summary> {
    let known = |ts: Optime| (ts != Optime::default()).then_some(ts);
    Some(Summary {
        name: record.folder().file_name()?.to_string_lossy().into_owned(),
        phase: saved.phase,
        left_phase: saved.left_phase,
        since: saved.since,
        started: saved.started,
        cutover_deadline: saved.deadline,
        error: saved.error,
        fetched_ts: known(fetched),
        applied_ts: known(record.position().applied),
        at: Timestamp::now(),
        owner: Owner { pid: std::process::id(), host: host_name() },
        plan: plan.into(),
        is_running: true,
        folder: record.folder().to_path_buf(),
    })
}

/// Writes the machine's state now, and the summary by which it is found again: both must be there before what it asks
/// for is done.
pub fn keep_machine(record: &Record, plan: &Plan, saved: &Saved, fetched: Optime) -> Result<(), Problem> {
    record.put_machine(saved)?;
    match summary(record, plan, saved.clone(), fetched) {
        Some(summary) => record.summarize(&summary),
        None => Ok(()),
    }
}
