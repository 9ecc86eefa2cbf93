//! One small document on the destination says who works on it, so that a second mongoferry on another host is refused
//! by name. Times are the destination's clock. Removed at cleanup; never migrated, never compared.

use super::{
    checkpoint::host_name,
    context::Context,
    retry::{Halt, retry},
};
use crate::{
    machine::Saved,
    model::{Phase, Problem, Severity, Side},
    mongo::{
        cluster::DriverError,
        errors::{code, explain},
        namespace::LEASE_DB,
    },
};
use bson::{DateTime, RawDocumentBuf, rawdoc};
use std::time::Duration;
use tokio::sync::watch;

/// A lease that was not renewed for so long is free to take.
const LASTS_MS: i64 = 60_000;
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A privilege is missing: the lease is given up, the migration is not.
const UNAUTHORIZED: i32 = 13;

/// Takes the lease, or says who has it.
pub async fn take(context: &Context, owner: &str, name: &str) -> Result<(), Halt> {
    let what = "taking the lease on the destination";
    let attempt = || async {
        match ask(context, owner, name).await {
            Err(error) if code(&error) == Some(UNAUTHORIZED) => Ok(Err(error)),
            outcome => outcome.map(Ok),
        }
    };
    match retry(Side::Destination, what, &context.events, &context.cancel, attempt).await? {
        Ok(None) => Ok(()),
        Ok(Some(other)) => Err(taken(&other).into()),
        Err(error) => {
            let text = format!(
                "the destination holds no sign that this migration works on it, because {LEASE_DB} may not be written: {}",
                explain(&error)
            );
            context.events.record(Severity::Warn, "lease", text);
            Ok(())
        }
    }
}

/// Renews the lease until cancelled; resolves with the problem when somebody else has it. A migration that was stopped
/// or failed gives it back: nobody goes on with it.
pub async fn keep(context: Context, owner: String, name: String, machine: watch::Receiver<Option<Saved>>) -> Halt {
    loop {
        tokio::select! {
            () = context.cancel.cancelled() => break,
            () = tokio::time::sleep(RENEW_EVERY) => {}
        }
        // Outages are told by the tasks that they stop; a renewal that fails is simply tried again.
        if let Ok(Some(other)) = ask(&context, &owner, &name).await {
            return taken(&other).into();
        }
    }
    let is_given_up =
        machine.borrow().as_ref().is_some_and(|saved| matches!(saved.phase, Phase::Stopped | Phase::Failed));
    if is_given_up {
        let _ = tokio::time::timeout(Duration::from_secs(3), give_back(&context, &owner)).await;
    }
    Halt::Cancelled
}

async fn give_back(context: &Context, owner: &str) -> Result<(), DriverError> {
    let find = rawdoc! { "find": "lease", "filter": { "_id": "lease", "owner": owner }, "limit": 1 };
    let reply = context.destination.run(LEASE_DB, find).await?;
    if !reply.get_document("cursor")?.get_array("firstBatch")?.is_empty() {
        context.destination.run(LEASE_DB, rawdoc! { "dropDatabase": 1 }).await?;
    }
    Ok(())
}

/// Takes or renews; `Some` is the document of another owner whose lease holds.
async fn ask(context: &Context, owner: &str, name: &str) -> Result<Option<RawDocumentBuf>, DriverError> {
    let literal = |text: &str| rawdoc! { "$literal": text };
    let mine = rawdoc! {
        "_id": "lease", "owner": literal(owner), "migration": literal(name), "host": literal(&host_name()),
        "pid": i64::from(std::process::id()), "renewed": "$$NOW"
    };
    let renewed = rawdoc! { "$ifNull": ["$renewed", DateTime::from_millis(0)] };
    let is_free = rawdoc! { "$or": [
        { "$eq": ["$owner", literal(owner)] },
        { "$lt": [renewed, { "$subtract": ["$$NOW", LASTS_MS] }] },
    ] };
    let command = rawdoc! {
        "findAndModify": "lease", "query": { "_id": "lease" }, "upsert": true, "new": true,
        "update": [{ "$replaceWith": { "$cond": [is_free, mine, "$$ROOT"] } }],
    };
    let reply = context.destination.run_with_majority(LEASE_DB, command).await?;
    let found = reply.get_document("value")?;
    Ok((found.get_str("owner")? != owner).then(|| found.to_owned()))
}

fn taken(other: &RawDocumentBuf) -> Problem {
    let text = |field: &str| other.get_str(field).unwrap_or("unknown").to_string();
    let pid = other.get_i64("pid").unwrap_or_default();
    Problem {
        side: Side::Destination,
        what: "another mongoferry works on this destination".into(),
        why: format!(
            "migration {:?} of process {pid} on host {} renewed its lease lately",
            text("migration"),
            text("host")
        ),
        fix: format!(
            "Stop that one, or wait a minute after its end; if its host is gone for good: \
             db.getSiblingDB('{LEASE_DB}').dropDatabase()"
        ),
        retry_helps: true,
        written: "This migration has written nothing since it found out.".into(),
    }
}
