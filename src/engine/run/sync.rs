//! The initial sync and the tail that goes with it: begun, gone on with, or begun again by comparing.

use super::{Copied, Outcome};
use crate::{
    engine::{
        again,
        context::Context,
        copy, fetch,
        record::{Position, Record, Start},
        retry::{Halt, retry},
        spool::{self, Resume, Spool, SpoolKeeper, SpoolReader},
        view::{ApplyView, FetchView, InitialSyncView},
        way_back,
    },
    model::{Optime, Problem, Side, snapshot::Verification},
    mongo::{SeenCatalog, catalog},
};
use bson::Uuid;
use std::{collections::HashSet, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, watch};

/// What fetching needs.
pub(super) struct Tail {
    pub(super) context: Context,
    pub(super) spool_folder: PathBuf,
    pub(super) view: watch::Sender<FetchView>,
    pub(super) keeper: watch::Sender<Option<SpoolKeeper>>,
    pub(super) apply: watch::Sender<ApplyView>,
    pub(super) outcomes: mpsc::Sender<Outcome>,
    pub(super) expiring: watch::Receiver<HashSet<Uuid>>,
}

impl Tail {
    /// Opens the spool, begins to fetch or goes on with it, and hands out the reading end.
    async fn begin(self, from: Optime, position: Option<Position>) -> Result<SpoolReader, Halt> {
        let (folder, limit) = (self.spool_folder.clone(), self.context.options.spool_limit);
        let resume = position.map(|position| Resume { read_from: position.read_from(), applied: position.applied });
        let open = move |_: &Record| match resume {
            None => spool::create(&folder, limit),
            Some(resume) => spool::open(&folder, limit, resume),
        };
        let Spool { writer, reader, keeper, mark, counted } = self.context.journal("opening the spool", open).await?;
        self.keeper.send_replace(Some(keeper.clone()));
        if let Some(position) = position {
            let (before, entries) = counted;
            let filter = &self.context.options.filter;
            let applied = before + fetch::count_until(&entries, position.applied, from, filter);
            self.apply.send_modify(|view| view.ops_applied = applied);
        }
        let (context, view, outcomes, expiring) = (self.context, self.view, self.outcomes, self.expiring);
        tokio::spawn(async move {
            let sink = fetch::Sink { writer, keeper, mark, expiring };
            let Err(end) = fetch::fetch(&context, from, sink, view).await;
            let _ = outcomes.send(Outcome::FetchEnded(end)).await;
        });
        Ok(reader)
    }
}

/// Copies everything, or goes on with the copy, with the oplog fetched from before it.
pub(super) async fn initial_sync(
    context: Context,
    (tail, seen): (Tail, Option<SeenCatalog>),
    view: watch::Sender<InitialSyncView>,
    comparing: watch::Sender<Verification>,
) -> Result<Copied, Halt> {
    let Context { source, events, cancel, options, .. } = &context;
    if context.journal("reading the journal", Record::is_again).await? {
        return compared(context, tail, view, comparing).await;
    }
    let known = context.journal("reading the journal", Record::start).await?;
    let position = known.as_ref().map(|_| Position::default());
    let Start { apply_from } = match known {
        Some(start) => start,
        None => {
            let what = "reading the oplog's newest position";
            let apply_from = retry(Side::Source, what, events, cancel, || fetch::start_position(source)).await?;
            let start = Start { apply_from };
            let kept = start.clone();
            context.journal("writing the journal", move |record| record.put_start(&kept)).await?;
            start
        }
    };
    let reader = tail.begin(apply_from, position).await?;
    let catalog = match context.journal("reading the journal", Record::catalog).await? {
        Some(catalog) => catalog,
        None => {
            let read = || async {
                let renewed = match &seen {
                    Some(seen) => seen.renewed(source).await?,
                    None => None,
                };
                match renewed {
                    Some(catalog) => Ok(catalog),
                    None => catalog::read_committed(source, &options.filter).await,
                }
            };
            let catalog = Arc::new(retry(Side::Source, "reading the catalog", events, cancel, read).await?);
            drop(seen);
            let kept = catalog.clone();
            context.journal("writing the catalog", move |record| record.put_catalog(&kept)).await?;
            Arc::unwrap_or_clone(catalog)
        }
    };
    let registry = copy::copy(&context, &catalog, &view).await?;
    let kept = registry.clone();
    context.journal("writing the collections", move |record| record.put_copied(&kept, apply_from)).await?;
    Ok(Copied { registry, reader, position: Position { applied: apply_from, ..Position::default() }, intent: None })
}

/// The copy when something is there that only has to be compared.
async fn compared(
    context: Context,
    tail: Tail,
    view: watch::Sender<InitialSyncView>,
    comparing: watch::Sender<Verification>,
) -> Result<Copied, Halt> {
    let Context { source, events, cancel, options, .. } = &context;
    let known = context.journal("reading the collections", Record::registry).await?.unwrap_or_default();
    let what = "reading the oplog's newest position";
    let apply_from = retry(Side::Source, what, events, cancel, || fetch::start_position(source)).await?;
    let reader = tail.begin(apply_from, None).await?;
    let read = || catalog::read_committed(source, &options.filter);
    let catalog = retry(Side::Source, "reading the catalog", events, cancel, read).await?;
    let registry = again::compare_and_repair(&context, (&known, &catalog), &view, &comparing).await?;
    let kept = registry.clone();
    context.journal("writing the collections", move |record| record.put_copied(&kept, apply_from)).await?;
    Ok(Copied { registry, reader, position: Position { applied: apply_from, ..Position::default() }, intent: None })
}

/// What the journal says about a copy that is complete, with the oplog fetched on.
pub(super) async fn taken_up(context: Context, tail: Tail, is_open: bool) -> Result<Copied, Halt> {
    let start = context.journal("reading the journal", Record::start).await?;
    let registry = context.journal("reading the collections", Record::registry).await?;
    let intent = context.journal("reading the journal", Record::intent).await?;
    let (Some(start), Some(registry)) = (start, registry) else {
        return Err(Problem {
            side: Side::Bug,
            what: "the journal does not hold the collections".into(),
            why: format!(
                "the copy never ended, and yet the migration in {} is past it",
                context.record.folder().display()
            ),
            fix: "Please report this with the log.".into(),
            retry_helps: false,
            written: "The source is untouched; the destination keeps what was copied so far.".into(),
        }
        .into());
    };
    let position = context.record.position();
    let reader = tail.begin(start.apply_from, Some(position)).await?;
    // Once the application writes there again nothing is held any more.
    if !is_open {
        way_back::prepare(&context, &registry).await?;
    }
    Ok(Copied { registry, reader, position, intent })
}
