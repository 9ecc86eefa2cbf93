//! Initial sync: creates the collections on the destination and copies every document, raw, in `_id` ranges.

mod progress;
mod ranges;
mod reader;

pub use reader::write_batch;

use super::{
    context::Context,
    create::create_command,
    index::add_index,
    registry::{Registry, Tracked},
    retry::{Halt, retry},
    throttle::Throttle,
    view::InitialSyncView,
};
use crate::{
    model::{
        NamespaceFilter, Severity, Side,
        snapshot::{CollectionRow, CollectionState},
        units::{show_bytes, show_count, show_duration},
    },
    mongo::{
        Namespace,
        catalog::{self, Catalog, CatalogEntry, Kind, name_of},
        errors::{code, command_problem},
    },
};
use bson::{Uuid, oid::ObjectId, rawdoc};
use futures_util::{FutureExt, StreamExt, stream, stream::FuturesUnordered};
use progress::Progress;
use ranges::Range;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tokio::sync::watch;

/// Collections created at the same time.
const CREATE_AT_ONCE: usize = 8;

/// One range of one collection.
#[derive(Debug)]
struct Job {
    entry: Arc<CatalogEntry>,
    row: usize,
    range: Range,
    /// Ranges of the collection that are not finished; the last one out fences and reports.
    left: Arc<AtomicUsize>,
    began: Instant,
}

/// Concurrent range readers: enough to keep both servers busy, few enough for bounded memory (each holds at most two
/// batches of 16 MB).
fn readers() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| (cores.get() * 2).clamp(2, 8))
}

/// Copies everything in the catalog and returns where each collection lives. Views are created last.
pub async fn copy(
    context: &Context,
    catalog: &Catalog,
    view: &watch::Sender<InitialSyncView>,
) -> Result<Registry, Halt> {
    let mut entries: Vec<Arc<CatalogEntry>> = catalog
        .databases
        .iter()
        .flat_map(|database| &database.entries)
        .filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Buckets))
        .cloned()
        .map(Arc::new)
        .collect();
    entries.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.namespace.cmp(&b.namespace)));
    let progress = Progress::new(view.clone(), entries.iter().map(|entry| row(entry)).collect());
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    let text = format!("{} collections, {}", show_count(entries.len() as u64), show_bytes(bytes));
    context.events.record(Severity::Info, "copying", text);
    create_collections(context, catalog).await?;
    let throttle = Throttle::new(context.options.throttle);
    let splits: Vec<_> =
        entries.iter().enumerate().map(|(row, entry)| split(context, row, entry.clone()).boxed()).collect();
    let mut splits = stream::iter(splits).buffered(2);
    let mut running = FuturesUnordered::new();
    // Largest first; a collection is split only when its turn comes near, so that the first reader starts at once.
    while let Some(jobs) = splits.next().await {
        for job in jobs? {
            if running.len() >= readers()
                && let Some(copied) = running.next().await
            {
                copied?;
            }
            running.push(copy_range(context, job, &progress, &throttle).boxed());
        }
    }
    while let Some(copied) = running.next().await {
        copied?;
    }
    drop((running, splits));
    create_views(context, catalog).await?;
    progress.finish();
    let mut registry = Registry { started_at: catalog.started_at, ..Registry::default() };
    for database in &catalog.databases {
        registry.catalog_as_of.insert(database.db.clone(), database.as_of);
    }
    for entry in &entries {
        if let Some(uuid) = entry.uuid {
            registry.collections.insert(uuid, Tracked::new(entry));
        }
    }
    Ok(registry)
}

/// Copies one collection as it is now, for a rename that brought it into the filter. `None`: it is gone already, and the
/// drop that took it is still ahead in the oplog.
pub async fn copy_one(context: &Context, uuid: Uuid, to: &Namespace) -> Result<Option<Tracked>, Halt> {
    let source = &context.source;
    let read = || async {
        let Some(name) = name_of(source, &to.db, uuid).await? else { return Ok(None) };
        let filter = NamespaceFilter::only(&to.db, &name);
        let catalog = catalog::read(source, &filter).await?;
        let mut entries = catalog.databases.into_iter().flat_map(|database| database.entries);
        Ok(entries.find(|entry| entry.uuid == Some(uuid)))
    };
    let what = format!("reading the catalog of {to}");
    let Some(mut entry) = retry(Side::Source, &what, &context.events, &context.cancel, read).await? else {
        return Ok(None);
    };
    entry.namespace = to.clone();
    create(context, &entry).await?;
    copy_documents(context, &entry).await?;
    let mut tracked = Tracked::new(&entry);
    for spec in &entry.indexes {
        add_index(context, &mut tracked, spec).await?;
    }
    Ok(Some(tracked))
}

/// Copies the documents of one collection in natural order.
pub async fn copy_documents(context: &Context, entry: &CatalogEntry) -> Result<(), Halt> {
    let throttle = Throttle::new(context.options.throttle);
    reader::copy_range(context, entry, &Range::default(), &throttle, |_, _| {}).await?;
    fence(context, entry).await
}

fn row(entry: &CatalogEntry) -> CollectionRow {
    CollectionRow {
        namespace: entry.namespace.to_string(),
        state: CollectionState::Queued,
        documents: 0,
        documents_total: entry.documents,
        bytes: 0,
        bytes_total: entry.bytes,
        bytes_per_s: 0.0,
        indexes_built: 0,
        indexes_total: u32::try_from(entry.indexes.len()).unwrap_or(u32::MAX),
    }
}

async fn create_collections(context: &Context, catalog: &Catalog) -> Result<(), Halt> {
    let entries = catalog.databases.iter().flat_map(|database| &database.entries);
    // The user's time-series name first: its buckets come with it.
    let creatable = entries.filter(|entry| matches!(entry.kind, Kind::Collection | Kind::Timeseries));
    let creating: Vec<_> = creatable.map(|entry| create(context, entry).boxed()).collect();
    let mut creating = stream::iter(creating).buffer_unordered(CREATE_AT_ONCE);
    while let Some(created) = creating.next().await {
        created?;
    }
    Ok(())
}

async fn create(context: &Context, entry: &CatalogEntry) -> Result<(), Halt> {
    let destination = &context.destination;
    let namespace = &entry.namespace;
    let Some(command) = create_command(namespace, entry.kind, &entry.options, destination.version) else {
        return Ok(());
    };
    let what = format!("creating {namespace}");
    retry(Side::Destination, &what, &context.events, &context.cancel, || async {
        match destination.run(&namespace.db, command.clone()).await {
            // An attempt whose reply was lost; anything else that is there was ruled out by validation.
            Err(error) if code(&error) == Some(48) => {
                let found = destination.run(&namespace.db, rawdoc! { "find": namespace.coll.as_str(), "limit": 1 });
                let is_empty = found.await?.get_document("cursor")?.get_array("firstBatch")?.is_empty();
                if is_empty { Ok(()) } else { Err(error) }
            }
            outcome => outcome.map(|_| ()),
        }
    })
    .await
}

/// Views, as often as it takes until those they stand on are there.
async fn create_views(context: &Context, catalog: &Catalog) -> Result<(), Halt> {
    let entries = catalog.databases.iter().flat_map(|database| &database.entries);
    let mut waiting: Vec<&CatalogEntry> = entries.filter(|entry| entry.kind == Kind::View).collect();
    while !waiting.is_empty() {
        let (mut failed, mut last) = (Vec::new(), None);
        for entry in &waiting {
            match create(context, entry).await {
                Ok(()) => {}
                Err(Halt::Problem(problem)) => {
                    last = Some(problem);
                    failed.push(*entry);
                }
                Err(Halt::Cancelled) => return Err(Halt::Cancelled),
            }
        }
        if let Some(problem) = last
            && failed.len() == waiting.len()
        {
            return Err(Halt::Problem(problem));
        }
        waiting = failed;
    }
    Ok(())
}

async fn split(context: &Context, row: usize, entry: Arc<CatalogEntry>) -> Result<Vec<Job>, Halt> {
    let tracked = Tracked::new(&entry);
    let source = &context.source;
    // Capped collections keep their natural order; keys of a collated or clustered `_id` are not the ids themselves.
    let whole = tracked.is_serial() || tracked.is_clustered() || entry.kind == Kind::Buckets;
    let ranges = if whole {
        vec![Range::default()]
    } else {
        let what = format!("sampling {}", entry.namespace);
        let namespace = &entry.namespace;
        retry(Side::Source, &what, &context.events, &context.cancel, || ranges::split(source, namespace, entry.bytes))
            .await?
    };
    let left = Arc::new(AtomicUsize::new(ranges.len()));
    let began = Instant::now();
    let job = |range| Job { entry: entry.clone(), row, range, left: left.clone(), began };
    Ok(ranges.into_iter().map(job).collect())
}

async fn copy_range(context: &Context, job: Job, progress: &Progress, throttle: &Throttle) -> Result<(), Halt> {
    progress.begin(job.row);
    let copied = reader::copy_range(context, &job.entry, &job.range, throttle, |documents, bytes| {
        progress.add(job.row, documents, bytes);
    })
    .await;
    progress.end();
    copied?;
    if job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        fence(context, &job.entry).await?;
        progress.copied(job.row);
        let took = show_duration(job.began.elapsed());
        let documents = show_count(job.entry.documents);
        let text = format!("{}  about {documents} documents in {took}", job.entry.namespace);
        context.events.record(Severity::Info, "copied", text);
    }
    Ok(())
}

/// The copy writes with w:1; a delete of nothing with majority waits until everything before it is majority-committed.
async fn fence(context: &Context, entry: &CatalogEntry) -> Result<(), Halt> {
    let (destination, coll) = (&context.destination, entry.namespace.coll.as_str());
    let what = format!("waiting for the majority to have {}", entry.namespace);
    retry(Side::Destination, &what, &context.events, &context.cancel, || {
        destination.run(
            &entry.namespace.db,
            rawdoc! {
                "delete": coll,
                "deletes": [{ "q": { "_id": ObjectId::new() }, "limit": 1 }],
                "writeConcern": { "w": "majority" },
            },
        )
    })
    .await
    .map(|_| ())
}

/// The problem of a document that the destination refused.
fn refused(entry: &CatalogEntry, code: i32, message: &str) -> Halt {
    let error = crate::mongo::cluster::DriverError::custom(format!("code {code}: {message}"));
    command_problem(Side::Destination, format!("a document of {} was refused", entry.namespace), &error).into()
}
