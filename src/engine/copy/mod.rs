//! Initial sync: creates the collections on the destination and copies every document, raw, in `_id` ranges.

mod early;
mod fences;
mod progress;
mod ranges;
mod reader;
mod seats;
mod writer;

pub use ranges::RangeRow;
pub use writer::write_batch;

use super::{
    context::Context,
    create::{bare_buckets_command, create_command},
    index::add_index,
    record::Record,
    registry::{Registry, Tracked},
    retry::{Halt, retry},
    view::InitialSyncView,
};
use crate::{
    model::{
        NamespaceFilter, Optime, Severity, Side,
        snapshot::{CollectionRow, CollectionState},
        units::{plural, show_bytes, show_duration, show_namespace},
    },
    mongo::{
        Cluster, Namespace,
        catalog::{self, Catalog, CatalogEntry, Kind, name_of},
        cluster::DriverError,
        errors::{code, command_problem},
    },
};
use bson::{Uuid, raw::cstr, rawdoc};
use early::Early;
use fences::Fences;
use futures_util::{FutureExt, StreamExt, stream};
use progress::Progress;
use reader::Shared;
use seats::{Search, Seat, Seats};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

/// Distance between two looks at how fast it goes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ranges that are made before somebody is free to read them.
const AHEAD: usize = 4;

/// Collections created at the same time.
const CREATE_AT_ONCE: usize = 8;

/// One range of one collection.
#[derive(Debug)]
struct Job {
    entry: Arc<CatalogEntry>,
    row: usize,
    /// Which range of the collection.
    number: u16,
    range: RangeRow,
    /// Ranges of the collection that are not finished; the last one out fences and reports.
    left: Arc<AtomicUsize>,
    began: Instant,
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
    let known = context.journal("reading the ranges", Record::ranges).await?;
    let seats = Seats::new(Search::new(Instant::now()).readers());
    let progress = Progress::new(view.clone(), seats.clone(), entries.iter().map(|entry| row(entry, &known)).collect());
    let bytes = entries.iter().map(|entry| entry.bytes).sum();
    let text = format!("{}, {}", plural(entries.len() as u64, "collection"), show_bytes(bytes));
    context.events.record(Severity::Info, "copying", text);
    context.gate.pass(&context.cancel).await?;
    let (fences, early) = (Fences::new(context), Early::default());
    if !context.journal("reading the journal", Record::is_created).await? {
        create_collections(context, catalog, &fences, &early).await?;
        context.journal("writing the journal", Record::put_created).await?;
    }
    let copying =
        Copying { context: context.clone(), progress, after: catalog.started_at, known, seats, fences, early };
    let copying = Arc::new(copying);
    copying.copy_all(&entries).await?;
    create_views(context, catalog).await?;
    let Copying { progress, early, .. } = &*copying;
    progress.finish();
    let mut registry = Registry { started_at: catalog.started_at, ..Registry::default() };
    for database in &catalog.databases {
        registry.catalog_as_of.insert(database.db.clone(), database.as_of);
    }
    for entry in &entries {
        if let Some(uuid) = entry.uuid {
            let tracked = Tracked { is_indexed: early.has(uuid), ..Tracked::new(entry) };
            registry.collections.insert(uuid, tracked);
        }
    }
    Ok(registry)
}

/// Copies one collection as it is now, for a rename that brought it into the filter. `None`: it is gone already, and the
/// drop that took it is still ahead in the oplog.
pub async fn copy_one(context: &Context, uuid: Uuid, to: &Namespace) -> Result<Option<Tracked>, Halt> {
    let source = &context.source;
    let read = || async {
        loop {
            let Some(name) = name_of(source, &to.db, uuid).await? else { return Ok(None) };
            let filter = NamespaceFilter::only(&to.db, &name);
            let Catalog { started_at, databases } = catalog::read_committed(source, &filter).await?;
            let mut entries = databases.into_iter().flat_map(|database| database.entries);
            if let Some(entry) = entries.find(|entry| entry.uuid == Some(uuid)) {
                return Ok(Some((entry, started_at)));
            }
            // It was renamed in between, or dropped.
        }
    };
    let what = format!("reading the catalog of {to}");
    let Some((mut entry, after)) = retry(Side::Source, &what, &context.events, &context.cancel, read).await? else {
        return Ok(None);
    };
    entry.namespace = to.clone();
    create(context, &entry, Confirmed::AtOnce).await?;
    copy_documents(context, &entry, after).await?;
    let mut tracked = Tracked::new(&entry);
    for spec in &entry.indexes {
        add_index(context, &mut tracked, spec).await?;
    }
    Ok(Some(tracked))
}

/// Copies the documents of one collection in natural order, as they are at or after `after`.
pub async fn copy_documents(context: &Context, entry: &CatalogEntry, after: Optime) -> Result<(), Halt> {
    let (seats, fences) = (Seats::new(1), Fences::new(context));
    let shared = Shared { seats: &seats, fences: &fences, early: None };
    let seat = seats.take().await;
    reader::copy_range(context, entry, (RangeRow::default(), after), shared, (&reader::Unseen, seat)).await
}

fn row(entry: &CatalogEntry, known: &HashMap<Uuid, Vec<RangeRow>>) -> CollectionRow {
    let ranges = entry.uuid.and_then(|uuid| known.get(&uuid)).map(Vec::as_slice).unwrap_or_default();
    CollectionRow {
        namespace: entry.namespace.to_string(),
        state: CollectionState::Queued,
        documents: ranges.iter().map(|range| range.documents).sum(),
        documents_total: entry.documents,
        bytes: ranges.iter().map(|range| range.bytes).sum(),
        bytes_total: entry.bytes,
        bytes_per_s: 0.0,
        indexes_built: 0,
        indexes_total: u32::try_from(entry.indexes.len()).unwrap_or(u32::MAX),
    }
}

/// Creates them on one primary and waits for the majority once. When another one was elected meanwhile, it may lack some.
async fn create_collections(context: &Context, catalog: &Catalog, fences: &Fences, early: &Early) -> Result<(), Halt> {
    let entries = catalog.databases.iter().flat_map(|database| &database.entries);
    // The user's time-series name first: its buckets come with it.
    let creatable = entries.filter(|entry| match entry.kind {
        Kind::Collection | Kind::Timeseries => true,
        Kind::Buckets => is_bare(catalog, entry),
        Kind::View => false,
    });
    let creatable: Vec<_> = creatable.collect();
    let Some(first) = creatable.first() else { return Ok(()) };
    // 5.0 takes no deletes from a time series, not even of nothing (72).
    let namespace = &match first.kind {
        Kind::Timeseries => Namespace::new(&first.namespace.db, format!("system.buckets.{}", first.namespace.coll)),
        _ => first.namespace.clone(),
    };
    let mut term = fences.pass(namespace).await?;
    loop {
        let create = |entry| async move {
            match early.create(context, entry).await? {
                true => Ok(()),
                false => create(context, entry, Confirmed::Later).await,
            }
        };
        let creating: Vec<_> = creatable.iter().map(|entry| create(entry).boxed()).collect();
        let mut creating = stream::iter(creating).buffer_unordered(CREATE_AT_ONCE);
        while let Some(created) = creating.next().await {
            created?;
        }
        let now = fences.pass(namespace).await?;
        if now == term {
            return Ok(());
        }
        term = now;
    }
}

/// Buckets without a time-series collection, which would bring them along.
fn is_bare(catalog: &Catalog, buckets: &CatalogEntry) -> bool {
    let name = buckets.namespace.coll.strip_prefix("system.buckets.");
    let mut entries = catalog.databases.iter().flat_map(|database| &database.entries);
    !entries.any(|entry| {
        entry.kind == Kind::Timeseries
            && entry.namespace.db == buckets.namespace.db
            && Some(entry.namespace.coll.as_str()) == name
    })
}

/// Who waits until the majority has a new collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmed {
    /// The command itself.
    AtOnce,
    /// The caller.
    Later,
}

async fn create(context: &Context, entry: &CatalogEntry, confirmed: Confirmed) -> Result<(), Halt> {
    let destination = &context.destination;
    let namespace = &entry.namespace;
    let command = match entry.kind {
        Kind::Buckets => Some(bare_buckets_command(namespace, &entry.options)),
        _ => create_command(namespace, entry.kind, &entry.options, destination.version),
    };
    let Some(mut command) = command else { return Ok(()) };
    let concern = match confirmed {
        Confirmed::AtOnce => rawdoc! { "w": "majority" },
        Confirmed::Later => rawdoc! { "w": 1 },
    };
    command.append(cstr!("writeConcern"), concern);
    let what = format!("creating {namespace}");
    retry(Side::Destination, &what, &context.events, &context.cancel, || async {
        match destination.run_concerned(&namespace.db, command.clone()).await {
            // An attempt whose reply was lost; anything else that is there was ruled out by validation.
            Err(error) if code(&error) == Some(48) => match is_empty(destination, namespace).await? {
                true => Ok(()),
                false => Err(error),
            },
            outcome => outcome.map(|_| ()),
        }
    })
    .await
}

async fn is_empty(cluster: &Cluster, namespace: &Namespace) -> Result<bool, DriverError> {
    let reply = cluster.run(&namespace.db, rawdoc! { "find": namespace.coll.as_str(), "limit": 1 }).await?;
    Ok(reply.get_document("cursor")?.get_array("firstBatch")?.is_empty())
}

/// Views, as often as it takes until those they stand on are there.
async fn create_views(context: &Context, catalog: &Catalog) -> Result<(), Halt> {
    let entries = catalog.databases.iter().flat_map(|database| &database.entries);
    let mut waiting: Vec<&CatalogEntry> = entries.filter(|entry| entry.kind == Kind::View).collect();
    while !waiting.is_empty() {
        let (mut failed, mut last) = (Vec::new(), None);
        for entry in &waiting {
            match create(context, entry, Confirmed::AtOnce).await {
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

/// What every range of one copy needs.
struct Copying {
    context: Context,
    progress: Progress,
    /// Documents are read as they were at or after this position.
    after: Optime,
    /// The ranges of an earlier engine.
    known: HashMap<Uuid, Vec<RangeRow>>,
    seats: Seats,
    fences: Fences,
    early: Early,
}

impl Copying {
    /// Largest first. A collection is split only when its turn comes near, so that the first reader starts at once. Every
    /// range has a task of its own, so that all cores of the host take part.
    async fn copy_all(self: &Arc<Self>, entries: &[Arc<CatalogEntry>]) -> Result<(), Halt> {
        let mut running = JoinSet::new();
        let copied = self.copy_in_tasks(entries, &mut running).await;
        // After a failure nobody writes any more, neither here nor there.
        running.shutdown().await;
        copied
    }

    async fn copy_in_tasks(
        self: &Arc<Self>,
        entries: &[Arc<CatalogEntry>],
        running: &mut JoinSet<Result<(), Halt>>,
    ) -> Result<(), Halt> {
        let seats = &self.seats;
        let splits = entries.iter().enumerate().map(|(row, entry)| self.split(row, entry.clone()).boxed());
        let mut splits = stream::iter(splits.collect::<Vec<_>>()).buffered(2).fuse();
        let mut waiting = VecDeque::new();
        let mut search = Search::new(Instant::now());
        loop {
            tokio::select! {
                biased;
                Some(copied) = running.join_next(), if !running.is_empty() => match copied {
                    Ok(copied) => copied?,
                    Err(error) => return Err(Halt::bug("copying", &error.to_string())),
                },
                seat = seats.take(), if !waiting.is_empty() => {
                    if let Some(job) = waiting.pop_front() {
                        running.spawn(self.clone().copy_range(job, seat));
                    }
                }
                jobs = splits.next(), if waiting.len() < AHEAD && !splits.is_done() => {
                    waiting.extend(jobs.transpose()?.into_iter().flatten());
                }
                () = tokio::time::sleep(LOOK_EVERY) => self.progress.show(),
            }
            if self.context.brake.is_on() {
                search.again(Instant::now(), self.progress.bytes());
            } else if !waiting.is_empty() {
                seats.set(search.observe(Instant::now(), self.progress.bytes()));
            } else if running.is_empty() && splits.is_done() {
                return Ok(());
            }
        }
    }

    /// The ranges of a collection that are left.
    async fn split(&self, row: usize, entry: Arc<CatalogEntry>) -> Result<Vec<Job>, Halt> {
        let ranges = match entry.uuid.and_then(|uuid| self.known.get(&uuid)) {
            Some(known) => known.clone(),
            None => self.new_ranges(&entry).await?,
        };
        let left: Vec<_> = (0..).zip(ranges).filter(|(_, range)| !range.done).collect();
        if left.is_empty() {
            self.progress.copied(row);
        }
        let (count, began) = (Arc::new(AtomicUsize::new(left.len())), Instant::now());
        let job = |(number, range)| Job { entry: entry.clone(), row, number, range, left: count.clone(), began };
        Ok(left.into_iter().map(job).collect())
    }

    async fn new_ranges(&self, entry: &CatalogEntry) -> Result<Vec<RangeRow>, Halt> {
        let context = &self.context;
        if !reader::has_id_ranges(&Tracked::new(entry)) {
            return Ok(vec![RangeRow::default()]);
        }
        let (source, namespace) = (&context.source, &entry.namespace);
        let what = format!("sampling {namespace}");
        let split = || async {
            let mut ranges = ranges::split(source, namespace, entry.bytes).await?;
            if let [_, .., last] = ranges.as_mut_slice() {
                last.end_at(reader::largest(context, entry, self.after).await?);
            }
            Ok(ranges)
        };
        let ranges = retry(Side::Source, &what, &context.events, &context.cancel, split).await?;
        // A single range is found again from the size alone.
        if let (Some(uuid), 2..) = (entry.uuid, ranges.len()) {
            let rows = ranges.clone();
            context.journal("writing the ranges", move |record| record.put_ranges(uuid, &rows)).await?;
        }
        Ok(ranges)
    }

    async fn copy_range(self: Arc<Self>, job: Job, seat: Seat) -> Result<(), Halt> {
        let Self { context, progress, seats, fences, early, .. } = &*self;
        progress.begin(job.row);
        let watched = Watched { context, progress, job: &job };
        let range = (job.range.clone(), self.after);
        let shared = Shared { seats, fences, early: Some(early) };
        reader::copy_range(context, &job.entry, range, shared, (&watched, seat)).await?;
        if job.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.progress.copied(job.row);
            let took = show_duration(job.began.elapsed());
            let namespace = job.entry.namespace.to_string();
            // The storage of a time series holds buckets of measurements.
            let unit = if namespace.contains(".system.buckets.") { "bucket" } else { "document" };
            let amount = plural(job.entry.documents, unit);
            let text = format!("{}  about {amount} in {took}", show_namespace(&namespace));
            self.context.events.record(Severity::Info, "copied", text);
        }
        Ok(())
    }
}

/// Shows what a range of the copy does, and keeps its place.
struct Watched<'a> {
    context: &'a Context,
    progress: &'a Progress,
    job: &'a Job,
}

impl reader::Watcher for Watched<'_> {
    fn copied(&self, documents: u64, bytes: u64) {
        self.progress.add(self.job.row, documents, bytes);
    }

    fn lost(&self, documents: u64, bytes: u64) {
        self.progress.take_back(self.job.row, documents, bytes);
    }

    fn fenced(&self, range: &RangeRow) -> Result<(), Halt> {
        let Some(uuid) = self.job.entry.uuid else { return Ok(()) };
        Ok(self.context.record.range_moved(uuid, self.job.number, range)?)
    }
}

/// The problem of a document that the destination refused.
fn refused(entry: &CatalogEntry, code: i32, message: &str) -> Halt {
    let error = DriverError::custom(format!("code {code}: {message}"));
    command_problem(Side::Destination, format!("a document of {} was refused", entry.namespace), &error).into()
}
