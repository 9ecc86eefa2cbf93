//! Replays commands (DDL) of the oplog on the destination and keeps the registry current (OPLOG.md A.4).
//!
//! Entries that the catalog already reflects are skipped; every other one is carried out, and each step may be repeated.
//! An unknown command stops the engine with its text.

mod buckets;
mod collections;
mod indexes;
mod views;

pub use buckets::{make, make_all};
pub use indexes::build_index;
pub use views::{apply_view_change, drop_all as drop_views};

use super::{
    context::Context,
    registry::Registry,
    retry::{Halt, retry},
};
use crate::{
    model::{Optime, Problem, Side},
    mongo::{
        cluster::DriverError,
        errors::{code, command_problem, may_pass},
    },
    oplog::{DdlEntry, shortened},
};
use bson::RawDocumentBuf;

/// Replays one command entry that stands at `ts`.
pub async fn apply(context: &Context, registry: &mut Registry, ts: Optime, entry: &DdlEntry<'_>) -> Result<(), Halt> {
    if ts <= registry.ddl_reflected_until(entry.db) || !context.options.filter.may_select_in(entry.db) {
        return Ok(());
    }
    if let ("collMod" | "createIndexes" | "commitIndexBuild", Some(uuid)) = (entry.name, entry.uuid) {
        make(context, registry, uuid).await?;
    }
    match entry.name {
        "create" => collections::create(context, registry, entry).await,
        "drop" => collections::drop(context, registry, entry).await,
        "renameCollection" => collections::rename(context, registry, entry).await,
        "collMod" => collections::modify(context, registry, entry).await,
        // Its collections were dropped by entries of their own; views are dropped with it.
        "dropDatabase" => collections::drop_database(context, registry, entry).await,
        "createIndexes" => indexes::create(context, registry, entry).await,
        "commitIndexBuild" => indexes::commit(context, registry, entry).await,
        "dropIndexes" | "deleteIndexes" | "deleteIndex" | "dropIndex" => indexes::drop(context, registry, entry).await,
        // An index exists from its commit entry on; a build that was aborted never was.
        "startIndexBuild" | "abortIndexBuild" => Ok(()),
        _ => Err(unknown(entry)),
    }
}

fn unknown(entry: &DdlEntry<'_>) -> Halt {
    stop(entry, format!("the oplog holds a command that mongoferry does not know: {}", entry.name))
}

/// The engine stops at an entry that it cannot replay; nothing is skipped.
fn stop(entry: &DdlEntry<'_>, what: String) -> Halt {
    Problem {
        side: Side::Source,
        what,
        why: format!("entry of database {}: {}", entry.db, shortened(entry.o)),
        fix: "Start again without such commands, or exclude the collection; please report the text above.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied before this entry.".into(),
    }
    .into()
}

/// Runs a command on the destination; codes in `fine` mean that it was carried out before.
pub async fn run(context: &Context, db: &str, command: RawDocumentBuf, fine: &[i32]) -> Result<(), Halt> {
    let destination = &context.destination;
    let what = format!("replaying on {db}: {}", shortened(&command));
    let outcome: Result<(), DriverError> =
        retry(Side::Destination, "replaying a command", &context.events, &context.cancel, || async {
            match destination.run_with_majority(db, command.clone()).await {
                Err(error) if code(&error).is_some_and(|code| fine.contains(&code)) => Ok(Ok(())),
                Err(error) if !may_pass(&error) => Ok(Err(error)),
                outcome => outcome.map(|_| Ok(())),
            }
        })
        .await?;
    outcome.map_err(|error| command_problem(Side::Destination, what, &error).into())
}
