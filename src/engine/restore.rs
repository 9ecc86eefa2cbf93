//! A migration from its journal: what is needed to go on after the process that ran it is gone.

use super::{
    migration_user,
    notices::Notices,
    record::Record,
    retry::{Halt, Wait},
    run::Reconnected,
};
use crate::{
    machine::Saved,
    model::{Plan, Problem, Side, ValidationReport},
    oplog::Dialect,
    session::EventLog,
    store::Journal,
    validate,
};
use std::{path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// What the journal holds.
#[derive(Debug)]
pub struct Restored {
    /// The journal, held by this process now.
    pub record: Arc<Record>,
    /// Where the state machine was.
    pub saved: Saved,
    /// How updates are written on the destination, as validation found out.
    pub dialect: Dialect,
    /// The plan, with its passwords.
    pub plan: Plan,
    /// The validation that the start relied on.
    pub validation: Option<ValidationReport>,
    /// Number of the newest event in it.
    pub events: u64,
}

/// Opens the journal in `folder`; refused while another process has it, and when nothing can go on there.
pub fn open(folder: &Path, plan: Plan) -> Result<(Restored, EventLog), Problem> {
    if !folder.is_dir() {
        let what = format!("there is no migration in {}", folder.display());
        return Err(Problem::before_writing(
            Side::Host,
            what,
            "the folder does not exist",
            "Look at the list of migrations.",
        ));
    }
    let record = Record::new(Journal::open(folder)?)?;
    let nothing = |why: String| {
        let what = format!("the migration in {} cannot be resumed", folder.display());
        Problem::before_writing(Side::Host, what, why, "Start a new migration.")
    };
    let saved = record.machine()?.ok_or_else(|| nothing("it was never started".into()))?;
    if !saved.can_go_on() {
        return Err(nothing(format!("it is {}", saved.phase)));
    }
    let dialect = record.dialect()?.ok_or_else(|| nothing("its journal is not complete".into()))?;
    let validation = record.validation()?;
    let events = EventLog::going_on(record.events()?);
    let newest = *events.watch().borrow();
    Ok((Restored { record: Arc::new(record), saved, dialect, plan, validation, events: newest }, events))
}

/// Connects to both clusters, as often as it takes, and makes the temporary user anew. `seen_as` are the addresses that
/// the destination sees this host under.
pub async fn reconnect(
    plan: &Plan,
    dialect: Dialect,
    seen_as: &[String],
    events: &Notices,
    cancel: &CancellationToken,
) -> Result<Reconnected, Halt> {
    let mut wait = Wait::new(Side::Host, "connecting to the clusters", events);
    loop {
        let attempt = tokio::select! {
            () = cancel.cancelled() => return Err(Halt::Cancelled),
            attempt = validate::reconnect(plan) => attempt,
        };
        match attempt {
            Ok((source, destination)) => {
                wait.works();
                let destination = migration_user::open(&plan.name, &destination, &plan.destination, seen_as).await;
                return Ok(Reconnected { source, destination, dialect });
            }
            Err(problem) => wait.cure(problem, cancel).await?,
        }
    }
}
