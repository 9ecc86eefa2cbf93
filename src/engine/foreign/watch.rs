//! Looks at the destination's oplog while the migration runs: counted on the server, seldom, and never for more than a
//! twentieth of the time. What an expensive look leaves out is not looked at later, except by the last look, which comes
//! before the destination is opened.

use super::{Ledger, Seen};
use crate::{
    engine::{context::Context, notices::Notices, operations::likely_clients},
    model::{Optime, Severity, snapshot::ForeignWrites},
    mongo::{
        Cluster, Namespace,
        cluster::DriverError,
        errors::{code, explain, is_logged_out, is_transient},
    },
};
use bson::{RawDocumentBuf, Timestamp, rawdoc};
use std::{collections::HashMap, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

/// Distance between two looks.
const PACE: Duration = Duration::from_secs(5);
/// A look costs the destination at most one part of so many.
const SHARE: u32 = 20;
/// Commands of an engine that was killed are over by then.
const SETTLED: Duration = Duration::from_secs(30);
/// Commands without an answer are over by then.
const GIVEN_UP: Duration = Duration::from_secs(600);
/// Distance between two attempts while the oplog cannot be read.
const UNSEEN: Duration = Duration::from_secs(60);
/// How long opening the destination waits for the last look.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
const SETTLE_STEP: Duration = Duration::from_millis(50);
/// Distance between two events about one namespace.
const AGAIN: Duration = Duration::from_secs(600);
/// Namespaces that events name.
const NAMED: usize = 20;
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// MaxTimeMSExpired.
const TOO_LONG: i32 = 50;

/// Somebody waits for a look; dropped, there is none.
pub type Asked = oneshot::Sender<()>;

/// The asking end of the last look.
#[derive(Debug, Clone)]
pub struct LastLook(mpsc::Sender<Asked>);

impl LastLook {
    /// The asking end, and what goes on the desk.
    pub fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (asking, asked) = mpsc::channel(1);
        (Self(asking), asked)
    }

    /// Returns when everything that is written now was looked at, or when that is not to be had, which is said.
    pub async fn take(&self, events: &Notices) {
        let looked = async {
            let (asking, answer) = oneshot::channel();
            self.0.send(asking).await.is_ok() && answer.await.is_ok()
        };
        if !timeout(LAST_PATIENCE, looked).await.unwrap_or(false) {
            let text = "nobody looked for writes of others to the destination right before it was opened: its oplog could \
                        not be read in time, or mongoferry had only just been started again";
            events.record(Severity::Warn, "foreign-unseen", text);
        }
    }
}

/// Who looks, and where it is shown.
#[derive(Debug)]
pub struct Desk {
    /// A login that may read the destination's oplog, if one of ours may.
    pub reader: Cluster,
    /// False after a restart: commands of the engine before may still be on their way.
    pub is_first: bool,
    /// What the snapshot shows.
    pub view: watch::Sender<Vec<ForeignWrites>>,
    /// Who waits for the last look.
    pub asked: mpsc::Receiver<Asked>,
}

/// Watches until cancelled, which is before anybody hears that the destination accepts writes. Says when it cannot.
pub async fn watch(context: Context, desk: Desk) {
    let cancel = context.cancel.clone();
    let watching = async {
        let ledger = Ledger::new(context.options.filter.clone());
        let mut watcher = Watcher { context: &context, desk, ledger, told: HashMap::new() };
        if !watcher.desk.is_first {
            while watcher.desk.reader.last_write().await.is_err() {
                watcher.rest(PACE).await;
            }
            watcher.rest(SETTLED).await;
        }
        let mut is_told = false;
        loop {
            let error = watcher.run().await;
            if !std::mem::replace(&mut is_told, true) {
                let text = format!(
                    "writes of others to the destination cannot be noticed, because its oplog cannot be read: {}. Make \
                     sure that nobody writes to it, or grant clusterMonitor to the destination's login",
                    explain(&error)
                );
                context.events.record(Severity::Warn, "foreign-unseen", text);
            }
            watcher.rest(UNSEEN).await;
            if is_logged_out(&error) {
                // What fails is told by the next attempt.
                let _ = watcher.desk.reader.login.renew();
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = watching => {}
    }
}

struct Watcher<'a> {
    context: &'a Context,
    desk: Desk,
    ledger: Ledger,
    told: HashMap<String, Instant>,
}

impl Watcher<'_> {
    /// Returns only when looking is impossible.
    async fn run(&mut self) -> DriverError {
        let tally = self.context.destination.tally.clone();
        loop {
            tally.forget_unanswered(GIVEN_UP);
            // Before the position is read: what is confirmed here is not behind it.
            let ours = tally.sums();
            let Ok(last) = self.desk.reader.last_write().await else {
                self.rest(PACE).await;
                continue;
            };
            self.ledger.rebase(ours);
            if let Err(error) = self.look_on(last.optime).await {
                return error;
            }
        }
    }

    /// Looks again and again from `from` on, until a look was impossible, or was expensive and the time that it cost is
    /// made up for, or what is known about our own commands changed.
    async fn look_on(&mut self, mut from: Optime) -> Result<(), DriverError> {
        let tally = self.context.destination.tally.clone();
        let mut distance = PACE;
        loop {
            let asked = self.asked_within(distance).await;
            if asked.is_none() && (distance > PACE || tally.forget_unanswered(GIVEN_UP)) {
                return Ok(());
            }
            let Ok(Ok(until)) = timeout(PATIENCE, confirmed(&self.desk.reader, asked.is_some())).await else {
                continue;
            };
            if until > from {
                // After the position was read: what stands before it is confirmed or possible here.
                let ours = tally.sums();
                let began = Instant::now();
                let seen = match timeout(PATIENCE, entries(&self.desk.reader, from, until)).await {
                    Ok(Ok(seen)) => Some(seen),
                    Ok(Err(error)) if code(&error) == Some(TOO_LONG) => None,
                    Ok(Err(error)) if is_transient(&error) => continue,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => None,
                };
                distance = (began.elapsed() * SHARE).max(PACE);
                let Some(seen) = seen else { continue };
                from = until;
                let grown = self.ledger.take(seen, &ours);
                self.tell(grown).await;
            }
            if let Some(asked) = asked {
                // Who asked may have given up waiting.
                let _ = asked.send(());
            }
        }
    }

    /// Waits that long, or until somebody asks for a look.
    async fn asked_within(&mut self, time: Duration) -> Option<Asked> {
        let asked = async {
            match self.desk.asked.recv().await {
                Some(asked) => asked,
                None => std::future::pending().await,
            }
        };
        timeout(time, asked).await.ok()
    }

    /// Waits that long; whoever asks meanwhile hears that nobody looks.
    async fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.asked_within(left).await.is_none() {
                return;
            }
        }
    }

    async fn tell(&mut self, grown: Vec<String>) {
        if !grown.is_empty() {
            for name in &grown {
                if self.ledger.has_unexplained_removals(name)
                    && server_removes(&self.desk.reader, name).await.unwrap_or(true)
                {
                    self.ledger.server_removes(name);
                }
            }
            if let Ok(clients) = timeout(PATIENCE, likely_clients(&self.desk.reader)).await {
                self.ledger.likely(&clients);
            }
        }
        let rows = self.ledger.view(Instant::now());
        for row in rows.iter().filter(|row| grown.contains(&row.namespace)) {
            self.event(row);
        }
        self.desk.view.send_if_modified(|shown| {
            let changed = *shown != rows;
            if changed {
                *shown = rows;
            }
            changed
        });
    }

    fn event(&mut self, row: &ForeignWrites) {
        let is_known = self.told.contains_key(&row.namespace);
        let is_recent = self.told.get(&row.namespace).is_some_and(|at| at.elapsed() < AGAIN);
        if is_recent || (!is_known && self.told.len() >= NAMED) {
            return;
        }
        self.told.insert(row.namespace.clone(), Instant::now());
        let rate = if row.ops_per_s > 0.0 { format!(", {:.1} per second", row.ops_per_s) } else { String::new() };
        let client = row.likely_client.as_ref().map_or_else(String::new, |client| format!("; likely {client}"));
        let text = format!(
            "destination: somebody else writes to {}: at least {} changes so far{rate}{client}. Stop it: until the cutover \
             only mongoferry may write there, what differs is overwritten or stays wrong. Then compare everything: \
             mongoferry verify",
            row.namespace, row.writes
        );
        self.context.events.record(Severity::Warn, "foreign-write", text);
    }
}

/// A position up to which the majority has everything; when it is for the last look, one that covers what is written now.
pub(super) async fn confirmed(cluster: &Cluster, is_last: bool) -> Result<Optime, DriverError> {
    let first = cluster.last_write().await?;
    let mut confirmed = first.majority_optime;
    while is_last && confirmed < first.optime {
        sleep(SETTLE_STEP).await;
        confirmed = cluster.last_write().await?.majority_optime;
    }
    Ok(confirmed)
}

/// What the oplog holds in `(from, until]`, counted by the server.
pub(super) async fn entries(cluster: &Cluster, from: Optime, until: Optime) -> Result<Vec<Seen>, DriverError> {
    let stamp = |at: Optime| Timestamp { time: at.t, increment: at.i };
    // Only of commands: a user's document may have a field of that name.
    let of_command = |field: &str| rawdoc! { "$cond": [{ "$eq": ["$op", "c"] }, field, null] };
    let command = rawdoc! {
        "aggregate": "oplog.rs",
        "pipeline": [
            { "$match": {
                "ts": { "$gt": stamp(from), "$lte": stamp(until) },
                "op": { "$in": ["i", "u", "d", "c"] },
                // The server's own copies of documents (OPLOG.md A.4).
                "fromMigrate": { "$exists": false },
            } },
            { "$group": {
                "_id": {
                    "op": "$op", "ns": "$ns", "marked": { "$gt": ["$lsid", null] },
                    "drop": of_command("$o.drop"), "rename": of_command("$o.renameCollection"),
                    "inner": { "$cond": [{ "$eq": ["$op", "c"] }, { "$setUnion": ["$o.applyOps.ns", []] }, null] },
                },
                "n": { "$sum": 1 }, "first": { "$min": "$wall" }, "last": { "$max": "$wall" },
            } },
            { "$limit": 20_000 },
        ],
        "cursor": { "batchSize": 20_000 },
        "readConcern": { "level": "majority" },
        "maxTimeMS": 10_000,
    };
    let reply = cluster.run("local", command).await?;
    let mut seen = Vec::new();
    for row in reply.get_document("cursor")?.get_array("firstBatch")? {
        let row = row?.as_document().ok_or_else(|| DriverError::custom("a group is not a document"))?;
        seen.extend(Seen::parse(row));
    }
    Ok(seen)
}

/// True when the server removes documents there by itself: capped, clustered with an end, or with a TTL index. Also when
/// it does not exist any more.
pub(super) async fn server_removes(cluster: &Cluster, name: &str) -> Result<bool, DriverError> {
    let Some(Namespace { db, coll }) = Namespace::parse(name) else { return Ok(true) };
    let list = rawdoc! { "listCollections": 1, "filter": { "name": coll.as_str() } };
    let reply = cluster.run(&db, list).await?;
    let found = first_batch(&reply)?;
    let Some(options) = found.first().map(|one| one.get_document("options")).transpose()? else { return Ok(true) };
    if options.get_bool("capped").unwrap_or(false) || options.get("expireAfterSeconds")?.is_some() {
        return Ok(true);
    }
    let reply = cluster.run(&db, rawdoc! { "listIndexes": coll.as_str() }).await?;
    Ok(first_batch(&reply)?.iter().any(|index| matches!(index.get("expireAfterSeconds"), Ok(Some(_)))))
}

fn first_batch(reply: &RawDocumentBuf) -> Result<Vec<&bson::RawDocument>, DriverError> {
    let batch = reply.get_document("cursor")?.get_array("firstBatch")?;
    Ok(batch.into_iter().filter_map(|one| one.ok()?.as_document()).collect())
}
