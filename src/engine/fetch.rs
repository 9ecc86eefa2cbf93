//! Fetches the source's oplog into the spool, from before the copy to the end of the migration, and notes who writes.

use super::{
    context::Context,
    retry::{Halt, Wait, retry},
    spool::{Mark, Piece, SpoolKeeper, SpoolWriter},
    view::FetchView,
    writers::Writers,
};
use crate::{
    model::{
        NamespaceFilter, Optime, Problem, Severity, Side,
        units::{show_bytes, show_duration},
    },
    mongo::{
        Cluster, OplogWindow,
        cluster::DriverError,
        errors::{code, explain},
    },
    oplog::{Body, Change, ChangeKind, Entry, Inner, entry::operations},
};
use bson::{RawDocument, Timestamp, Uuid, doc};
use futures_util::StreamExt;
use mongodb::options::{CursorType, ReadConcern};
use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// Distance between two updates of the view.
const PACE: Duration = Duration::from_millis(50);
/// An idle cursor answers every second; one that says nothing for so long has lost its server.
const SILENCE: Duration = Duration::from_secs(30);
/// Distance between two measurements of the oplog window.
const WINDOW_PACE: Duration = Duration::from_secs(10);
/// Measurements of which the busiest counts: five minutes.
const RATES: usize = 30;
/// Measurements before a forecast is said: half a minute.
const RATES_BEFORE: usize = 3;
/// Entries that are compressed together.
const PIECE_BYTES: usize = 4 << 20;
/// The growth of the spool is measured over about this time …
const FORECAST_OVER: Duration = Duration::from_secs(120);
/// … and not said before this much of it.
const FORECAST_AFTER: Duration = Duration::from_secs(20);
/// A cursor whose position was truncated, whose member restarted, or that was killed (OPLOG.md D).
const CURSOR_LOST: [i32; 4] = [43, 136, 175, 237];

/// Where fetching begins: the newest majority-committed position. Parts of a transaction that lie before it are read
/// when its commit asks for them.
pub async fn start_position(source: &Cluster) -> Result<Optime, DriverError> {
    Ok(source.last_write().await?.majority_optime)
}

/// Why fetching ended.
#[derive(Debug)]
pub enum FetchEnd {
    /// The position that is needed next is gone from the source's oplog.
    Lost(Problem),
    /// Cancelled, or it cannot go on.
    Halt(Halt),
}

impl From<Halt> for FetchEnd {
    fn from(halt: Halt) -> Self {
        FetchEnd::Halt(halt)
    }
}

/// What fetching takes over from the spool that it appends to.
#[derive(Debug)]
pub struct Sink {
    /// The writing end.
    pub writer: SpoolWriter,
    /// Knows how full it is.
    pub keeper: SpoolKeeper,
    /// Where the spool ends.
    pub mark: Option<Mark>,
    /// Collections with a TTL index, once they are known.
    pub expiring: watch::Receiver<HashSet<Uuid>>,
}

/// Fetches until cancelled or until the oplog cannot be followed any more.
pub async fn fetch(
    context: &Context,
    from: Optime,
    sink: Sink,
    view: watch::Sender<FetchView>,
) -> Result<Infallible, FetchEnd> {
    let Sink { writer, keeper, mark, expiring } = sink;
    let position = mark.map_or(from, |mark| mark.ts);
    let mut state = FetchView { fetched_ts: position, ..FetchView::default() };
    if let Some(mark) = mark {
        state.ops_fetched = mark.ops;
        state.fetched_wall_ms = mark.wall_ms;
        state.last_user_write = (mark.user_write.1 != 0).then_some(mark.user_write);
        state.last_active_write = state.last_user_write.map(|(_, wall_ms)| wall_ms);
    }
    view.send_modify(|view| *view = FetchView { oplog_window_ms: view.oplog_window_ms, ..state.clone() });
    let mut fetcher = Fetcher {
        context,
        spool: Some(writer),
        keeper,
        expiring,
        view,
        from,
        position,
        term: mark.map(|mark| mark.term),
        is_spooled: mark.is_some(),
        writers: Writers::default(),
        state,
        shown: Instant::now(),
        began: (Instant::now(), None),
    };
    let window = measure_window(context.clone(), fetcher.view.clone());
    let window = AbortOnDropHandle::new(tokio::spawn(window));
    let mut wait = Wait::new(Side::Source, "reading the oplog", &context.events);
    let end = loop {
        let stop = tokio::select! {
            () = context.cancel.cancelled() => break Halt::Cancelled.into(),
            stop = fetcher.follow(&mut wait) => stop,
        };
        let error = match stop {
            Stop::End(end) => break end,
            Stop::Driver(error) => error,
        };
        let is_lost = code(&error).is_some_and(|code| CURSOR_LOST.contains(&code));
        let error = if is_lost { DriverError::from(std::io::Error::other(explain(&error))) } else { error };
        if let Err(halt) = wait.after(&error, &context.cancel).await {
            break halt.into();
        }
    };
    drop(window);
    Err(end)
}

enum Stop {
    End(FetchEnd),
    Driver(DriverError),
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Stop::Driver(error)
    }
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Stop::End(halt.into())
    }
}

struct Fetcher<'a> {
    context: &'a Context,
    expiring: watch::Receiver<HashSet<Uuid>>,
    /// `None` only while a thread appends to it.
    spool: Option<SpoolWriter>,
    keeper: SpoolKeeper,
    view: watch::Sender<FetchView>,
    /// The entry there is part of the copy.
    from: Optime,
    position: Optime,
    /// Election term of the entry at `position`, once it was read.
    term: Option<i64>,
    /// The entry at `position` is in the spool already.
    is_spooled: bool,
    writers: Writers,
    state: FetchView,
    shown: Instant,
    /// Since when the growth of the spool is measured, and how large it was then.
    began: (Instant, Option<u64>),
}

impl Fetcher<'_> {
    async fn follow(&mut self, wait: &mut Wait<'_>) -> Stop {
        match self.follow_cursor(wait).await {
            Ok(()) => Stop::Driver(DriverError::from(std::io::Error::other("the oplog cursor ended"))),
            Err(stop) => stop,
        }
    }

    async fn follow_cursor(&mut self, wait: &mut Wait<'_>) -> Result<(), Stop> {
        let position = Timestamp { time: self.position.t, increment: self.position.i };
        let oplog = self.context.source.login.database("local").collection::<bson::RawDocumentBuf>("oplog.rs");
        let mut cursor = oplog
            .find(doc! { "ts": { "$gte": position } })
            .cursor_type(CursorType::TailableAwait)
            .max_await_time(Duration::from_secs(1))
            .read_concern(ReadConcern::majority())
            .batch()
            .await?;
        let mut is_first = true;
        loop {
            let Ok(batch) = timeout(SILENCE, cursor.next()).await else {
                let silence = format!("no answer for {} s", SILENCE.as_secs());
                return Err(DriverError::from(std::io::Error::other(silence)).into());
            };
            let Some(batch) = batch else { return Ok(()) };
            let batch = batch?;
            let mut pieces: Vec<Piece> = Vec::new();
            for entry in batch.doc_slices()? {
                let entry = entry.map_err(DriverError::from)?.as_document();
                let entry = entry.ok_or_else(|| DriverError::custom("an oplog entry is not a document"))?;
                if is_first {
                    is_first = false;
                    self.check_first(entry)?;
                    if self.is_spooled {
                        continue;
                    }
                }
                self.note(entry);
                self.state.bytes_fetched += entry.as_bytes().len() as u64;
                self.add(&mut pieces, entry);
            }
            self.append(pieces).await?;
            wait.works();
            self.show();
            if self.keeper.is_full() {
                return Ok(self.wait_for_room().await?);
            }
        }
    }

    fn add(&self, pieces: &mut Vec<Piece>, entry: &RawDocument) {
        if pieces.last().is_none_or(|piece| piece.entries.len() >= PIECE_BYTES) {
            pieces.push(Piece { first: self.position, ..Piece::default() });
        }
        if let Some(piece) = pieces.last_mut() {
            piece.entries.extend_from_slice(entry.as_bytes());
            piece.mark = Mark {
                ts: self.position,
                term: self.term.unwrap_or_default(),
                wall_ms: self.state.fetched_wall_ms,
                ops: self.state.ops_fetched,
                user_write: self.state.last_user_write.unwrap_or_default(),
            };
        }
    }

    /// Until they are on disk nothing goes on; a disk that is full is waited for with the entries in memory.
    async fn append(&mut self, pieces: Vec<Piece>) -> Result<(), Halt> {
        if pieces.is_empty() {
            return Ok(());
        }
        let pieces = Arc::new(pieces);
        let mut wait = Wait::new(Side::Host, "writing the spool", &self.context.events);
        loop {
            let Some(mut spool) = self.spool.take() else { return Err(Halt::Cancelled) };
            let work = pieces.clone();
            let appended = tokio::task::spawn_blocking(move || {
                let outcome = spool.append(&work);
                (spool, outcome)
            });
            // Only at the end of the runtime.
            let Ok((spool, outcome)) = appended.await else { return Err(Halt::Cancelled) };
            self.spool = Some(spool);
            match outcome {
                Ok(()) => break,
                Err(problem) => wait.cure(problem, &self.context.cancel).await?,
            }
        }
        wait.works();
        self.is_spooled = true;
        Ok(())
    }

    /// The bound of the spool is reached: the source's oplog keeps what is not fetched, as long as its window allows.
    async fn wait_for_room(&mut self) -> Result<(), Halt> {
        let left = self
            .view
            .borrow()
            .oplog_left_ms
            .map_or("an unknown time".into(), |ms| show_duration(Duration::from_millis(ms)));
        let limit = show_bytes(self.keeper.limit());
        let text = format!(
            "the spool holds {limit}, which is its limit; fetching waits until changes are applied. The source's oplog \
             keeps at least {left} of changes meanwhile"
        );
        self.context.events.record(Severity::Warn, "spool-full", text);
        self.view.send_modify(|view| view.is_waiting_for_room = true);
        tokio::select! {
            () = self.context.cancel.cancelled() => return Err(Halt::Cancelled),
            () = self.keeper.room() => {}
        }
        self.view.send_modify(|view| view.is_waiting_for_room = false);
        self.context.events.record(Severity::Info, "spool", "there is room in the spool again; fetching goes on");
        Ok(())
    }

    /// The server gives no error when a position is gone; it starts at a later one (OPLOG.md section 0, rule 1).
    fn check_first(&self, entry: &RawDocument) -> Result<(), Stop> {
        let found = entry.get_timestamp("ts").map(|stamp| Optime::new(stamp.time, stamp.increment)).ok();
        let term = entry.get_i64("t").unwrap_or(-1);
        if found == Some(self.position) && self.term.is_none_or(|known| known == term) {
            return Ok(());
        }
        let wanted = self.position;
        let why = match found {
            Some(found) if found == wanted => {
                format!(
                    "the entry at {wanted} was written in term {term} and not in the term that was read before: rolled back"
                )
            }
            Some(found) => {
                format!("position {wanted} is gone, rolled over or rolled back; the oplog continues at {found}")
            }
            None => format!("instead of position {wanted} there is an entry without ts"),
        };
        let problem = Problem {
            side: Side::Source,
            what: "the source's oplog no longer holds the position that is needed next".into(),
            why,
            fix: "Resume: what was copied is compared with the source and repaired where it differs. Enlarge the source's \
                  oplog first (replSetResizeOplog)."
                .into(),
            retry_helps: false,
            written: "The source is untouched; the destination keeps what was copied, but is out of date.".into(),
        };
        Err(Stop::End(FetchEnd::Lost(problem)))
    }

    fn note(&mut self, raw: &RawDocument) {
        // An entry that cannot be read stops the applier with its text; here it is only passed on.
        let Ok(entry) = Entry::parse(raw) else { return };
        self.position = entry.ts;
        self.term = Some(entry.term);
        self.state.fetched_ts = entry.ts;
        self.state.fetched_wall_ms = entry.wall_ms;
        let filter = &self.context.options.filter;
        match &entry.body {
            Body::Change(change) if self.may_expire(raw, change) => self.wrote(change.ns, entry.ts, entry.wall_ms),
            Body::Change(change) => {
                self.wrote(change.ns, entry.ts, entry.wall_ms);
                self.was_active(change.ns, entry.wall_ms);
            }
            Body::Command(command) if filter.may_select_in(command.db) => {
                self.state.last_user_write = Some((entry.ts, entry.wall_ms));
                self.state.last_active_write = Some(entry.wall_ms);
                self.writers.wrote(&format!("{}.$cmd", command.db), entry.wall_ms);
            }
            Body::Transaction(part) => self.inner(part.operations, entry.ts, entry.wall_ms),
            Body::ApplyOps(array) => self.inner(array, entry.ts, entry.wall_ms),
            Body::Noop | Body::System | Body::Command(_) => {}
        }
    }

    fn inner(&mut self, array: &bson::RawArray, ts: Optime, wall_ms: i64) {
        for inner in operations(array).flatten() {
            if let Inner::Change(change) = inner {
                self.wrote(change.ns, ts, wall_ms);
                self.was_active(change.ns, wall_ms);
            }
        }
    }

    fn wrote(&mut self, ns: &str, ts: Optime, wall_ms: i64) {
        if !is_selected(&self.context.options.filter, ns) {
            return;
        }
        // What the applier counts: not what the copy has, nor definitions of views.
        if ts > self.from && !ns.ends_with(".system.views") {
            self.state.ops_fetched += 1;
        }
        self.state.last_user_write = Some((ts, wall_ms));
        self.writers.wrote(ns, wall_ms);
    }

    fn was_active(&mut self, ns: &str, wall_ms: i64) {
        if is_selected(&self.context.options.filter, ns) {
            self.state.last_active_write = Some(wall_ms);
        }
    }

    /// True for a delete that the TTL monitor may have made: of a collection with a TTL index, and without the transaction
    /// number of a retryable write. (Measured on 4.4.2 and 6.0.5; a `deleteMany` looks the same.)
    fn may_expire(&self, raw: &RawDocument, change: &Change<'_>) -> bool {
        matches!(change.kind, ChangeKind::Delete(_))
            && !matches!(raw.get("txnNumber"), Ok(Some(_)))
            && change.uuid.is_some_and(|uuid| self.expiring.borrow().contains(&uuid))
    }

    fn show(&mut self) {
        let now = Instant::now();
        self.state.spool_bytes = self.keeper.waiting_bytes();
        self.state.spool_disk_bytes = self.keeper.disk_bytes();
        self.state.spool_full_in_ms = self.forecast(now);
        if now.duration_since(self.shown) >= PACE {
            self.shown = now;
            self.state.writers = self.writers.view(now, jiff::Timestamp::now().as_second());
        }
        let state = &self.state;
        self.view.send_modify(|view| {
            let (window, left) = (view.oplog_window_ms, view.oplog_left_ms);
            let is_waiting_for_room = view.is_waiting_for_room;
            *view = FetchView { oplog_window_ms: window, oplog_left_ms: left, is_waiting_for_room, ..state.clone() };
        });
    }
}

impl Fetcher<'_> {
    /// When the spool reaches its bound at the growth of the last minutes; `None` while it does not grow, or too early
    /// to tell.
    fn forecast(&mut self, now: Instant) -> Option<u64> {
        let (since, size_then) = (self.began.0, *self.began.1.get_or_insert(self.state.spool_disk_bytes));
        let elapsed = now.duration_since(since);
        if elapsed > FORECAST_OVER * 2 {
            self.began = (now, Some(self.state.spool_disk_bytes));
            return self.state.spool_full_in_ms;
        }
        if elapsed < FORECAST_AFTER {
            return self.state.spool_full_in_ms;
        }
        let grown = self.state.spool_disk_bytes.checked_sub(size_then).filter(|grown| *grown > 0)?;
        let left = self.keeper.limit().saturating_sub(self.state.spool_disk_bytes);
        Some((left as f64 / grown as f64 * elapsed.as_millis() as f64) as u64)
    }
}

/// Changes of selected namespaces in raw entries up to and including `until`, counted as the fetcher counts them.
pub fn count_until(entries: &[u8], until: Optime, from: Optime, filter: &NamespaceFilter) -> u64 {
    let (mut rest, mut count) = (entries, 0);
    while let Some(length) = rest.first_chunk().and_then(|length| usize::try_from(i32::from_le_bytes(*length)).ok()) {
        let Some((raw, after)) = rest.split_at_checked(length) else { break };
        rest = after;
        let Some(entry) = RawDocument::from_bytes(raw).ok().and_then(|raw| Entry::parse(raw).ok()) else { break };
        if entry.ts > until || length == 0 {
            break;
        }
        let counts = |ns: &str| entry.ts > from && is_selected(filter, ns) && !ns.ends_with(".system.views");
        count += match &entry.body {
            Body::Change(change) => u64::from(counts(change.ns)),
            Body::Transaction(part) => changes_in(part.operations, &counts),
            Body::ApplyOps(array) => changes_in(array, &counts),
            Body::Noop | Body::System | Body::Command(_) => 0,
        };
    }
    count
}

fn changes_in(array: &bson::RawArray, counts: &impl Fn(&str) -> bool) -> u64 {
    let counted = |inner: &Inner<'_>| matches!(inner, Inner::Change(change) if counts(change.ns));
    operations(array).flatten().filter(counted).count() as u64
}

/// True when a change of this namespace is migrated.
pub fn is_selected(filter: &NamespaceFilter, ns: &str) -> bool {
    ns.split_once('.').is_some_and(|(db, coll)| filter.selects(db, coll))
}

/// Keeps the oplog window in the view, and for how long at least the fetch position stays in it.
async fn measure_window(context: Context, view: watch::Sender<FetchView>) {
    let mut rates = Rates::default();
    loop {
        let read = || OplogWindow::read(&context.source);
        let what = "measuring the oplog window";
        if let Ok(oplog) = retry(Side::Source, what, &context.events, &context.cancel, read).await {
            let millis = |time: Duration| u64::try_from(time.as_millis()).ok();
            let highest = rates.observe(Instant::now(), oplog.size, view.borrow().bytes_fetched);
            view.send_modify(|view| {
                view.oplog_window_ms = millis(oplog.span());
                // A young oplog says nothing about itself: how fast it fills must have been seen for a while.
                let is_known = oplog.is_full() || rates.lately.len() >= RATES_BEFORE;
                view.oplog_left_ms = millis(oplog.left(view.fetched_ts.t, highest)).filter(|_| is_known);
            });
        }
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(WINDOW_PACE) => {}
        }
    }
}

/// How fast the oplog was written lately: the highest of the last measurements, so that a burst is not forgotten at once.
#[derive(Debug, Default)]
struct Rates {
    last: Option<(Instant, u64, u64)>,
    lately: VecDeque<f64>,
}

impl Rates {
    /// `size` is the oplog's, which stands still once it is full; `fetched` what was read of it, which stands still while
    /// fetching waits.
    fn observe(&mut self, now: Instant, size: u64, fetched: u64) -> f64 {
        if let Some((at, size_before, fetched_before)) = self.last.replace((now, size, fetched)) {
            let grown = size.saturating_sub(size_before).max(fetched.saturating_sub(fetched_before));
            self.lately.push_back(grown as f64 / now.duration_since(at).as_secs_f64().max(1.0));
            if self.lately.len() > RATES {
                self.lately.pop_front();
            }
        }
        self.lately.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_highest_lately() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut observe = |second, size, fetched| rates.observe(start + Duration::from_secs(second), size, fetched);
        assert_eq!(observe(0, 1_000, 0), 0.0);
        assert_eq!(observe(10, 6_000, 100), 500.0);
        // Full: only what is fetched tells.
        assert_eq!(observe(20, 6_000, 20_100), 2_000.0);
        assert_eq!(observe(30, 6_000, 20_100), 2_000.0);
        for tens in 4..40 {
            observe(tens * 10, 6_000, 20_100);
        }
        assert_eq!(observe(400, 6_000, 20_100), 0.0);
    }
}
