//! Copies one range: raw batches from `find` on the source to `insert` on the destination, without decoding.

use super::{
    RangeRow,
    early::Early,
    fences::Fences,
    seats::{Seat, Seats},
    writer::{STATEMENTS, Writer, Written},
};
use crate::{
    engine::{
        context::Context,
        registry::Tracked,
        retry::{Halt, Wait},
    },
    model::{Optime, Severity, Side},
    mongo::{
        catalog::{CatalogEntry, Kind, name_of, number},
        cluster::DriverError,
        errors::{PRIMARY_STEPPED_DOWN, code, from_code},
        id_range::{last, read_between, stops_before_last},
    },
};
use bson::{Binary, RawDocumentBuf, Timestamp, raw::cstr, rawdoc, spec::BinarySubtype};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::RawBatchCursor;
use std::time::{Duration, Instant};

/// The collection does not exist (any more).
const NAMESPACE_NOT_FOUND: i32 = 26;
/// The cursor died because its collection was renamed or dropped.
const QUERY_PLAN_KILLED: i32 = 175;
/// `min` is not below `max`.
const NOTHING_BETWEEN: i32 = 51175;
/// The cursor died because the capped collection went round; the copy of it begins anew.
const CAPPED_POSITION_LOST: i32 = 136;

/// How much is copied between two looks at whether the majority has it.
const FENCE_EVERY: Duration = Duration::from_secs(1);

/// A collection that is not read after so many batches is large enough to have an end set.
const LARGE: u32 = 3;

/// Who wants to know how the copy of a range goes.
pub trait Watcher {
    /// So many documents and bytes arrived.
    fn copied(&self, documents: u64, bytes: u64);
    /// So many of them have to be copied again.
    fn lost(&self, documents: u64, bytes: u64);
    /// The majority has everything that `range` does not hold any more.
    fn fenced(&self, range: &RangeRow) -> Result<(), Halt>;
}

/// Nobody watches.
pub struct Unseen;

impl Watcher for Unseen {
    fn copied(&self, _: u64, _: u64) {}
    fn lost(&self, _: u64, _: u64) {}
    fn fenced(&self, _: &RangeRow) -> Result<(), Halt> {
        Ok(())
    }
}

/// What all readers of one copy share.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'a> {
    /// How many read at a time.
    pub seats: &'a Seats,
    /// Waiting for the majority.
    pub fences: &'a Fences,
    /// Indexes that are there already; nothing may be done about them otherwise.
    pub early: Option<&'a Early>,
}

/// Copies one range, read as it was at or after the given position, until the majority has all of it. A collection that
/// was dropped on the source meanwhile is not an error: the replay drops it on the destination too.
pub async fn copy_range(
    context: &Context,
    entry: &CatalogEntry,
    (range, after): (RangeRow, Optime),
    Shared { seats, fences, early }: Shared<'_>,
    (watcher, seat): (&impl Watcher, Seat),
) -> Result<(), Halt> {
    let at = range.from.clone();
    let tracked = Tracked::new(entry);
    let capped_bytes = entry.options.get("size").ok().flatten().and_then(number).unwrap_or(0);
    let mut copier = Copier {
        context,
        entry,
        after,
        seats,
        fences,
        writer: Writer { context, entry, early },
        seat: Some(seat),
        watcher,
        range,
        at,
        unfenced: Unfenced::default(),
        fenced_at: Instant::now(),
        has_id_ranges: has_id_ranges(&tracked),
        is_capped: tracked.is_capped(),
        largest: None,
        expected: 2 * entry.bytes.max(capped_bytes) + (16 << 20),
    };
    let what = format!("reading {}", entry.namespace);
    let mut wait = Wait::new(Side::Source, &what, &context.events);
    loop {
        context.gate.pass(&context.cancel).await?;
        let outcome = tokio::select! {
            () = context.cancel.cancelled() => return Err(Halt::Cancelled),
            outcome = copier.copy_once() => outcome,
        };
        let error = match outcome {
            Ok(()) => return Ok(()),
            Err(Stop::Halt(halt)) => return Err(halt),
            Err(Stop::Elected | Stop::Outgrown) => {
                copier.go_back();
                continue;
            }
            Err(Stop::Resized) => continue,
            Err(Stop::Source(error)) => error,
        };
        if copier.at.is_none() {
            // A scan in natural order begins again.
            copier.go_back();
        }
        match code(&error) {
            Some(NAMESPACE_NOT_FOUND) => {
                let confirmed = tokio::select! {
                    () = context.cancel.cancelled() => return Err(Halt::Cancelled),
                    confirmed = confirm_dropped(context, entry) => confirmed,
                };
                if let Err(error) = confirmed {
                    wait.after(&error, &context.cancel).await?;
                    continue;
                }
                let text = format!("{} was dropped on the source while it was copied", entry.namespace);
                context.events.record(Severity::Info, "dropped", text);
                return copier.end();
            }
            Some(QUERY_PLAN_KILLED | CAPPED_POSITION_LOST) => {
                tokio::select! {
                    () = context.cancel.cancelled() => return Err(Halt::Cancelled),
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
            }
            _ => wait.after(&error, &context.cancel).await?,
        }
    }
}

/// Why a range is not copied to its end at once.
pub enum Stop {
    /// For good.
    Halt(Halt),
    /// The destination has another primary, which may lack what the last one confirmed alone.
    Elected,
    /// The scan in natural order became a range with an end.
    Outgrown,
    /// Another limit makes batches of another size better: what is read next comes from a new cursor.
    Resized,
    /// Reading failed.
    Source(DriverError),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Stop::Halt(halt)
    }
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Stop::Source(error)
    }
}

/// What was written since the majority was asked last.
#[derive(Debug, Default)]
struct Unfenced {
    documents: u64,
    bytes: u64,
    /// Term of the primary that took it.
    term: Option<i64>,
}

struct Copier<'a, W> {
    context: &'a Context,
    entry: &'a CatalogEntry,
    after: Optime,
    seats: &'a Seats,
    fences: &'a Fences,
    writer: Writer<'a>,
    /// Held while it reads; somebody else may read while this one waits for the majority at its end.
    seat: Option<Seat>,
    watcher: &'a W,
    /// What the majority does not have yet.
    range: RangeRow,
    /// Where reading goes on.
    at: Option<RawDocumentBuf>,
    unfenced: Unfenced,
    fenced_at: Instant,
    has_id_ranges: bool,
    is_capped: bool,
    /// The largest `_id` soon after a scan in natural order began: what comes behind it is in the oplog.
    largest: Option<RawDocumentBuf>,
    /// A scan in natural order that has read more bytes than this chases what the source inserts meanwhile.
    expected: u64,
}

impl<W: Watcher> Copier<'_, W> {
    async fn copy_once(&mut self) -> Result<(), Stop> {
        if self.seat.is_none() {
            self.seat = Some(self.seats.take().await);
        }
        let (from, until) = (self.at.clone(), self.range.until.clone());
        let bounds = Bounds { from: from.as_ref(), until: until.as_ref(), first_only: false };
        self.read(bounds).await?;
        if self.range.with_until {
            let bounds = Bounds { from: until.as_ref(), until: None, first_only: true };
            self.read(bounds).await?;
        } else if stops_before_last(from.as_deref(), until.as_deref()) {
            let last = last();
            self.read(Bounds { from: Some(&last), until: None, first_only: true }).await?;
        }
        self.seat = None;
        self.fence().await?;
        Ok(self.end()?)
    }

    /// Reads and writes overlap: while a batch is inserted, the next one is on its way.
    async fn read(&mut self, bounds: Bounds<'_>) -> Result<(), Stop> {
        let (context, entry) = (self.context, self.entry);
        let opened = self.batch_bytes();
        let mut cursor = match open(context, entry, bounds, (self.after, opened)).await {
            // All of the range but its largest document is copied, or its largest document went meanwhile.
            Err(error) if code(&error) == Some(NOTHING_BETWEEN) => return Ok(()),
            outcome => outcome?,
        };
        let ordered = bounds.from.is_some() || bounds.until.is_some();
        let (mut seen, mut batches) = (0, 0);
        let mut next = cursor.next().await;
        while let Some(batch) = next {
            let batch = batch?;
            context.gate.pass(&context.cancel).await?;
            let bytes = batch.as_raw_document().as_bytes().len() as u64;
            if self.is_capped {
                // It goes round while it is read: a reader that waits loses its place, perhaps every time.
                context.throttle.owe(bytes);
            } else {
                context.brake.pass(&context.cancel).await?;
                context.throttle.take(bytes).await;
            }
            // A scan in natural order could only begin again.
            if ordered && !bounds.first_only && self.is_resized(opened) {
                self.wrote(self.writer.write(&batch).await?, ordered)?;
                return Err(Stop::Resized);
            }
            let (written, following) = tokio::join!(self.writer.write(&batch), cursor.next());
            self.wrote(written?, ordered)?;
            if self.fenced_at.elapsed() >= FENCE_EVERY {
                self.fence().await?;
            }
            (seen, batches) = (seen + bytes, batches + 1);
            if !ordered && batches == LARGE && self.largest.is_none() && self.has_id_ranges {
                self.largest = largest(context, entry, self.after).await?;
            }
            if !ordered && seen > self.expected {
                if self.largest.is_some() {
                    self.range.end_at(self.largest.take());
                    return Err(Stop::Outgrown);
                }
                if self.is_capped {
                    // It has gone round: whatever there was at first is read or gone, and the rest is in the oplog.
                    return Ok(());
                }
            }
            next = following;
        }
        Ok(())
    }

    /// Bytes that are asked for at once.
    fn batch_bytes(&self) -> u64 {
        let most = self.seats.batch_bytes();
        // It goes round while it is read: it is not kept waiting, so small pieces would only cost.
        if self.is_capped { most } else { self.context.throttle.batch_bytes(most) }
    }

    /// The limit is so different from when the cursor was opened that its batches are bursts, or crumbs.
    fn is_resized(&self, opened: u64) -> bool {
        let now = self.batch_bytes();
        now < opened / 2 || now / 2 > opened
    }

    fn wrote(&mut self, written: Written, ordered: bool) -> Result<(), Stop> {
        self.unfenced.documents += written.documents;
        self.unfenced.bytes += written.bytes;
        self.watcher.copied(written.documents, written.bytes);
        if ordered && written.last.is_some() {
            self.at = written.last;
        }
        for term in written.terms {
            if *self.unfenced.term.get_or_insert(term) != term {
                return Err(Stop::Elected);
            }
        }
        Ok(())
    }

    async fn fence(&mut self) -> Result<(), Stop> {
        let term = self.fences.pass(&self.entry.namespace).await?;
        if self.unfenced.term.is_some() && term != self.unfenced.term {
            return Err(Stop::Elected);
        }
        self.fenced_at = Instant::now();
        // A scan in natural order cannot be taken up in the middle: nothing of it counts before its end.
        if self.at.is_some() {
            self.keep();
            self.range.from = self.at.clone();
            self.watcher.fenced(&self.range)?;
        } else {
            self.unfenced.term = None;
        }
        Ok(())
    }

    fn keep(&mut self) {
        let Unfenced { documents, bytes, .. } = std::mem::take(&mut self.unfenced);
        self.range.documents += documents;
        self.range.bytes += bytes;
    }

    fn end(&mut self) -> Result<(), Halt> {
        self.keep();
        self.range.done = true;
        self.watcher.fenced(&self.range)
    }

    fn go_back(&mut self) {
        let Unfenced { documents, bytes, .. } = std::mem::take(&mut self.unfenced);
        self.watcher.lost(documents, bytes);
        self.at = self.range.from.clone();
    }
}

/// What one reading of the source takes.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    from: Option<&'a RawDocumentBuf>,
    until: Option<&'a RawDocumentBuf>,
    /// Only the first document.
    first_only: bool,
}

/// True when `_id` order is the order of the `_id` index: capped collections keep their natural order; keys of a collated
/// or clustered `_id` are not the ids themselves.
pub fn has_id_ranges(tracked: &Tracked) -> bool {
    !tracked.is_serial() && !tracked.is_clustered() && tracked.kind == Kind::Collection
}

async fn open(
    context: &Context,
    entry: &CatalogEntry,
    Bounds { from, until, first_only }: Bounds<'_>,
    (after, bytes): (Optime, u64),
) -> Result<RawBatchCursor, DriverError> {
    let mut command = RawDocumentBuf::new();
    if from.is_some() || until.is_some() {
        read_between(&mut command, from.map(AsRef::as_ref), until.map(AsRef::as_ref));
    } else {
        command.append(cstr!("hint"), rawdoc! { "$natural": 1 });
    }
    if first_only {
        command.append(cstr!("limit"), 1);
        command.append(cstr!("singleBatch"), true);
    }
    let average = (entry.bytes / entry.documents.max(1)).max(1);
    let batch = (bytes / average).clamp(1, STATEMENTS);
    let batch = u32::try_from(batch).ok().filter(|_| !first_only);
    if let Some(batch) = batch {
        command.append(cstr!("batchSize"), i64::from(batch));
    }
    find(context, entry, command, (after, batch)).await
}

/// The largest `_id` that the collection has at or after a position, as `{ "_id": value }`; `None` when it is empty or gone.
pub async fn largest(
    context: &Context,
    entry: &CatalogEntry,
    after: Optime,
) -> Result<Option<RawDocumentBuf>, DriverError> {
    let mut command = RawDocumentBuf::new();
    command.append(cstr!("hint"), rawdoc! { "_id": 1 });
    command.append(cstr!("sort"), rawdoc! { "_id": -1 });
    command.append(cstr!("projection"), rawdoc! { "_id": 1 });
    command.append(cstr!("limit"), 1);
    command.append(cstr!("singleBatch"), true);
    let mut cursor = match find(context, entry, command, (after, None)).await {
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => {
            confirm_dropped(context, entry).await?;
            return Ok(None);
        }
        outcome => outcome?,
    };
    while let Some(batch) = cursor.next().await {
        for document in batch?.doc_slices()? {
            if let Some(document) = document.map_err(DriverError::from)?.as_document() {
                return Ok(Some(document.to_owned()));
            }
        }
    }
    Ok(None)
}

/// Succeeds when the majority has the drop of the collection. One that a cut-off primary shows alone is rolled back, and
/// nothing would bring its documents.
async fn confirm_dropped(context: &Context, entry: &CatalogEntry) -> Result<(), DriverError> {
    let Some(uuid) = entry.uuid else { return Ok(()) };
    match name_of(&context.source, &entry.namespace.db, uuid).await? {
        None => Ok(()),
        Some(_) => Err(from_code(PRIMARY_STEPPED_DOWN, "the drop of the collection was rolled back")),
    }
}

/// A `find` with these parameters on the collection that has the entry's UUID, whatever it is called by now.
async fn find(
    context: &Context,
    entry: &CatalogEntry,
    parameters: RawDocumentBuf,
    (after, batch): (Optime, Option<u32>),
) -> Result<RawBatchCursor, DriverError> {
    let source = context.source.login.database(&entry.namespace.db);
    let run = |collection: bson::RawBson| {
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("find"), collection);
        for (key, value) in parameters.iter().filter_map(Result::ok) {
            command.append(key, value);
        }
        // What the source has not committed could be rolled back, and its oplog would never tell.
        let after = Timestamp { time: after.t, increment: after.i };
        command.append(cstr!("readConcern"), rawdoc! { "level": "majority", "afterClusterTime": after });
        let run = source.run_raw_cursor_command(command);
        if let Some(batch) = batch { run.batch_size(batch) } else { run }
    };
    let Some(uuid) = entry.uuid else { return run(entry.namespace.coll.as_str().into()).batch().await };
    // By UUID, so that a rename in between can neither end the copy early nor read another collection.
    let by_uuid = Binary { subtype: BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() };
    match run(by_uuid.into()).batch().await {
        // Reading by UUID needs a privilege that the plain read roles lack.
        Err(error) if code(&error) == Some(13) => {
            let name = || name_of(&context.source, &entry.namespace.db, uuid);
            let Some(before) = name().await? else { return Err(gone()) };
            let opened = run(before.as_str().into()).batch().await;
            // A cursor stays with its collection; the name must have been this collection's when it was opened. What has it
            // now may refuse such a reading for good, a view for one: that says nothing of the collection.
            if name().await?.as_ref() == Some(&before) { opened } else { Err(renamed()) }
        }
        outcome => outcome,
    }
}

fn renamed() -> DriverError {
    from_code(QUERY_PLAN_KILLED, "the collection was renamed while it was opened")
}

fn gone() -> DriverError {
    from_code(NAMESPACE_NOT_FOUND, "the collection is gone")
}
