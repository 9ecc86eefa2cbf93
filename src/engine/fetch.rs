//! Fetches the source's oplog into the spool, from before the copy to the end of the migration, and notes who writes.

use super::{
    context::Context,
    retry::{Halt, retry},
    spool::SpoolWriter,
    view::FetchView,
    writers::Writers,
};
use crate::{
    model::{NamespaceFilter, Optime, Problem, Severity, Side},
    mongo::{
        Cluster,
        cluster::DriverError,
        errors::{code, command_problem, explain, is_transient},
    },
    oplog::{Body, Entry, Inner, entry::operations},
};
use bson::{RawDocument, Timestamp, doc, rawdoc};
use futures_util::StreamExt;
use mongodb::options::{CursorType, ReadConcern};
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// Distance between two updates of the view.
const PACE: Duration = Duration::from_millis(50);
/// An idle cursor answers every second; one that says nothing for so long has lost its server.
const SILENCE: Duration = Duration::from_secs(30);
/// Distance between two measurements of the oplog window.
const WINDOW_PACE: Duration = Duration::from_secs(10);
/// A cursor whose position was truncated, whose member restarted, or that was killed (OPLOG.md D).
const CURSOR_LOST: [i32; 4] = [43, 136, 175, 237];

/// Where fetching begins: the newest majority-committed position. Parts of a transaction that lie before it are read
/// when its commit asks for them.
pub async fn start_position(source: &Cluster) -> Result<Optime, DriverError> {
    Ok(source.last_write().await?.majority_optime)
}

/// Fetches until cancelled or until the oplog cannot be followed any more.
pub async fn fetch(
    context: &Context,
    from: Optime,
    spool: SpoolWriter,
    view: watch::Sender<FetchView>,
) -> Result<Infallible, Halt> {
    let mut fetcher = Fetcher {
        context,
        spool,
        view,
        from,
        position: from,
        term: None,
        is_spooled: false,
        interrupted: None,
        writers: Writers::default(),
        state: FetchView { fetched_ts: from, ..FetchView::default() },
        shown: Instant::now(),
    };
    let window = measure_window(context.clone(), fetcher.view.clone());
    let window = tokio::spawn(window);
    let mut delay = Duration::from_millis(100);
    let halt = loop {
        let before = fetcher.position;
        let stop = tokio::select! {
            () = context.cancel.cancelled() => break Halt::Cancelled,
            stop = fetcher.follow() => stop,
        };
        let error = match stop {
            Stop::Halt(halt) => break halt,
            Stop::Driver(error) => error,
        };
        let is_lost = code(&error).is_some_and(|code| CURSOR_LOST.contains(&code));
        if !is_lost && !is_transient(&error) {
            break command_problem(Side::Source, "reading the oplog failed", &error).into();
        }
        if fetcher.interrupted.is_none() {
            fetcher.interrupted = Some(Instant::now());
            let text = format!("reading the oplog was interrupted and is retried: {}", explain(&error));
            context.events.record(Severity::Warn, "retry", text);
        }
        delay = if fetcher.position > before {
            Duration::from_millis(100)
        } else {
            (delay * 2).min(Duration::from_secs(5))
        };
        tokio::select! {
            () = context.cancel.cancelled() => break Halt::Cancelled,
            () = tokio::time::sleep(delay) => {}
        }
    };
    window.abort();
    Err(halt)
}

enum Stop {
    Halt(Halt),
    Driver(DriverError),
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Stop::Driver(error)
    }
}

struct Fetcher<'a> {
    context: &'a Context,
    spool: SpoolWriter,
    view: watch::Sender<FetchView>,
    /// The entry there is part of the copy.
    from: Optime,
    position: Optime,
    /// Election term of the entry at `position`, once it was read.
    term: Option<i64>,
    /// The entry at `position` is in the spool already.
    is_spooled: bool,
    /// Since when reading fails.
    interrupted: Option<Instant>,
    writers: Writers,
    state: FetchView,
    shown: Instant,
}

impl Fetcher<'_> {
    async fn follow(&mut self) -> Stop {
        match self.follow_cursor().await {
            Ok(()) => Stop::Driver(DriverError::from(std::io::Error::other("the oplog cursor ended"))),
            Err(stop) => stop,
        }
    }

    async fn follow_cursor(&mut self) -> Result<(), Stop> {
        let position = Timestamp { time: self.position.t, increment: self.position.i };
        let oplog = self.context.source.client.database("local").collection::<bson::RawDocumentBuf>("oplog.rs");
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
            let mut entries = Vec::new();
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
                entries.extend_from_slice(entry.as_bytes());
            }
            self.spool.append(&entries).map_err(|problem| Stop::Halt(problem.into()))?;
            self.is_spooled |= !entries.is_empty();
            if let Some(since) = self.interrupted.take() {
                let took = since.elapsed().as_secs_f64();
                let text = format!("reading the oplog works again after {took:.1} s");
                self.context.events.record(Severity::Info, "recovered", text);
            }
            self.show();
        }
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
            fix: "Enlarge the source's oplog (replSetResizeOplog), then start again with the destination cleared."
                .into(),
            retry_helps: false,
            written: "The source is untouched; the destination keeps what was copied, but is out of date.".into(),
        };
        Err(Stop::Halt(problem.into()))
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
            Body::Change(change) => self.wrote(change.ns, entry.ts, entry.wall_ms),
            Body::Command(command) if filter.may_select_in(command.db) => {
                self.state.last_user_write = Some((entry.ts, entry.wall_ms));
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

    fn show(&mut self) {
        let now = Instant::now();
        self.state.spool_bytes = self.spool.waiting_bytes();
        if now.duration_since(self.shown) >= PACE {
            self.shown = now;
            self.state.writers = self.writers.view(now);
        }
        let state = &self.state;
        self.view.send_modify(|view| {
            let (window, left) = (view.oplog_window_ms, view.oplog_left_ms);
            *view = FetchView { oplog_window_ms: window, oplog_left_ms: left, ..state.clone() };
        });
    }
}

/// True when a change of this namespace is migrated.
pub fn is_selected(filter: &NamespaceFilter, ns: &str) -> bool {
    ns.split_once('.').is_some_and(|(db, coll)| filter.selects(db, coll))
}

/// Keeps the oplog window in the view: newest minus oldest entry, and how far the fetch position is from the oldest.
async fn measure_window(context: Context, view: watch::Sender<FetchView>) {
    loop {
        let read = || first_and_last(&context.source);
        let what = "measuring the oplog window";
        if let Ok((first_ms, last_ms)) = retry(Side::Source, what, &context.events, &context.cancel, read).await {
            let span = |from: i64, until: i64| u64::try_from(until - from).ok();
            view.send_modify(|view| {
                view.oplog_window_ms = span(first_ms, last_ms);
                let position_ms = i64::from(view.fetched_ts.t) * 1_000;
                view.oplog_left_ms = span(first_ms, position_ms.max(first_ms));
            });
        }
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(WINDOW_PACE) => {}
        }
    }
}

/// Times of the oldest and the newest entry, ms since the epoch.
async fn first_and_last(source: &Cluster) -> Result<(i64, i64), DriverError> {
    let mut times = [0_i64; 2];
    for (time, direction) in times.iter_mut().zip([1, -1]) {
        let command = rawdoc! {
            "find": "oplog.rs", "sort": { "$natural": direction }, "limit": 1, "projection": { "ts": 1 },
            "singleBatch": true
        };
        let reply = source.run("local", command).await?;
        let batch = reply.get_document("cursor")?.get_array("firstBatch")?;
        *time = i64::from(batch.get_document(0)?.get_timestamp("ts")?.time) * 1_000;
    }
    Ok((times[0], times[1]))
}
