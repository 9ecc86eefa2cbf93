//! Differences that are no mistakes of the copy, because something was written after the cutover: by the application on
//! the destination that was opened, or by the TTL monitor on the source. Both oplogs say so. Only reads.
//!
//! A document that was wrong when the destination was opened and that the application has written since counts as the
//! application's: what it was before is nowhere any more.

use super::{
    Target, Verifier,
    id::{Id, in_filter},
    judge::Verdict,
    others::{Change, changes},
};
use crate::{
    engine::retry::{Halt, retry},
    model::{Optime, Severity, Side, snapshot::MismatchKind},
    mongo::{Cluster, cluster::DriverError, errors::code},
};
use bson::{RawDocument, RawDocumentBuf, Timestamp, Uuid, raw::cstr, rawdoc};
use futures_util::StreamExt;
use std::{
    collections::{HashMap, HashSet},
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};
use tokio_util::sync::CancellationToken;

const UNAUTHORIZED: i32 = 13;
/// Documents whose repair is remembered; of more one may count as the application's.
const MOST_OWN: usize = 100_000;
/// Identifiers asked for in one command.
const CHUNK_IDS: usize = 1_000;

/// From when on writes are not the copy's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// The cutover timestamp on the source.
    pub source: Option<Optime>,
    /// The destination's position before it was opened; `None` while it is closed.
    pub destination: Option<Optime>,
    /// Finalizing has let the destination's own TTL monitor loose.
    pub is_finalized: bool,
}

/// Whose writes an oplog is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// Anybody's.
    Anybody,
    /// Deletes of the server itself (TTL), which carry no session.
    Server,
}

/// What an oplog holds about some documents of one collection.
#[derive(Debug, Default)]
pub(super) struct Written {
    keys: HashSet<Vec<u8>>,
    /// The collection was dropped, renamed or emptied.
    whole: bool,
}

impl Written {
    /// True when one of these is among what was written.
    pub fn has(&self, verdict: &Verdict) -> bool {
        self.whole || verdict.keys().any(|key| self.keys.contains(key))
    }
}

impl Verifier {
    /// The check at the cutover begins: what was written later is told apart. `cancel` ends it.
    pub fn begin_check(&mut self, since: Since, cancel: CancellationToken) {
        self.begin_last_look(since, cancel);
        self.progress.begin_check(self.dirty.count());
    }

    /// The same for [`Verifier::last_look`], while the verdict of before still counts.
    pub fn begin_last_look(&mut self, since: Since, cancel: CancellationToken) {
        self.since = since;
        self.context.cancel = cancel;
    }

    /// The verdicts that are the copy's. What the application wrote is counted.
    pub(super) async fn unexplained(&self, target: &Target, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, Halt> {
        let verdicts = self.without_expired(target, verdicts).await?;
        let Some(opened) = self.since.destination.filter(|_| !verdicts.is_empty()) else { return Ok(verdicts) };
        let Some(written) = self.written_by_application(target, opened, &verdicts).await? else { return Ok(verdicts) };
        let trims = target.shape.capped
            && verdicts.iter().any(|verdict| verdict.kind() == MismatchKind::Missing)
            && self.is_inserted_since(target, opened).await?;
        let is_theirs = |verdict: &Verdict| {
            // A capped collection removes its oldest documents for every new one, which 4.4 does not log.
            written.has(verdict) || (trims && verdict.kind() == MismatchKind::Missing)
        };
        let (theirs, ours): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(is_theirs);
        // They stay in doubt, so that another check counts them again.
        theirs.iter().flat_map(Verdict::keys).for_each(|key| self.dirty.touch(target.uuid, key));
        self.progress.written_by_others(target, &theirs);
        Ok(ours)
    }

    /// Without what the source's TTL monitor deleted after the cutover timestamp: nobody applies that any more, and the
    /// destination's own will do the same. And without what the destination's deleted after finalizing let it loose: the
    /// source's will do the same.
    async fn without_expired(&self, target: &Target, verdicts: Vec<Verdict>) -> Result<Vec<Verdict>, Halt> {
        if !target.shape.expires {
            return Ok(verdicts);
        }
        let (source, destination) = (&self.context.source, &self.context.destination);
        let loose = self.looked_from.filter(|_| self.since.is_finalized && self.since.destination.is_none());
        let verdicts = self.without_deleted(source, self.since.source, target, MismatchKind::Extra, verdicts).await?;
        self.without_deleted(destination, loose, target, MismatchKind::Missing, verdicts).await
    }

    async fn without_deleted(
        &self,
        cluster: &Cluster,
        from: Option<Optime>,
        target: &Target,
        kind: MismatchKind,
        mut verdicts: Vec<Verdict>,
    ) -> Result<Vec<Verdict>, Halt> {
        let is_asked = |verdict: &Verdict| verdict.kind() == kind;
        let Some(from) = from.filter(|_| verdicts.iter().any(is_asked)) else { return Ok(verdicts) };
        if let Some(deleted) = self.written_since(cluster, Writer::Server, target, from, &verdicts).await? {
            verdicts.retain(|verdict| !(is_asked(verdict) && deleted.has(verdict)));
        }
        Ok(verdicts)
    }

    /// Which of these documents the application wrote since the opening: what a repair wrote is not its work.
    pub(super) async fn written_by_application(
        &self,
        target: &Target,
        opened: Optime,
        verdicts: &[Verdict],
    ) -> Result<Option<Written>, Halt> {
        let destination = &self.context.destination;
        let written = self.written_since(destination, Writer::Anybody, target, opened, verdicts).await?;
        let Some(mut written) = written else { return Ok(None) };
        for verdict in verdicts.iter().filter(|_| !written.whole) {
            let Some(own) = self.own_at(target, verdict) else { continue };
            let one = std::slice::from_ref(verdict);
            let later = self.written_since(destination, Writer::Anybody, target, own, one).await?;
            if later.is_some_and(|later| !later.has(verdict)) {
                for key in verdict.keys() {
                    written.keys.remove(key);
                }
            }
        }
        Ok(Some(written))
    }

    /// A repair wrote this document there.
    pub(super) fn note_own(&self, target: &Target, id: Id<'_>, at: Option<Optime>) {
        let mut own = self.own();
        if let Some(at) = at.filter(|_| own.len() < MOST_OWN) {
            own.insert((target.uuid, id.key()), at);
        }
    }

    fn own_at(&self, target: &Target, verdict: &Verdict) -> Option<Optime> {
        let own = self.own();
        verdict.keys().filter_map(|key| own.get(&(target.uuid, key.to_vec()))).max().copied()
    }

    fn own(&self) -> MutexGuard<'_, HashMap<(Uuid, Vec<u8>), Optime>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of these documents were written after `from` by `writer`; `None` when the oplog does not tell.
    pub(super) async fn written_since(
        &self,
        cluster: &Cluster,
        writer: Writer,
        target: &Target,
        from: Optime,
        verdicts: &[Verdict],
    ) -> Result<Option<Written>, Halt> {
        let context = &self.context;
        let keys: Vec<&[u8]> = verdicts.iter().flat_map(Verdict::keys).collect();
        let mut written = Written::default();
        for chunk in keys.chunks(CHUNK_IDS) {
            let command = command(writer, target, from, chunk);
            let read =
                retry(cluster.side, "reading the oplog for verification", &context.events, &context.cancel, || async {
                    match read(cluster, writer, target, command.clone()).await {
                        Err(error) if code(&error) == Some(UNAUTHORIZED) => Ok(Err("it may not be read by this login")),
                        Err(error) => Err(error),
                        // Looked at afterwards, so that nothing can have been lost in between.
                        Ok(_) if oldest(cluster).await?.is_none_or(|oldest| oldest > from) => {
                            Ok(Err("it no longer reaches back to the cutover"))
                        }
                        Ok(found) => Ok(Ok(found)),
                    }
                });
            match read.await? {
                Ok(found) => {
                    written.keys.extend(found.keys);
                    written.whole |= found.whole;
                }
                Err(why) => {
                    self.say_untold(cluster.side, why);
                    return Ok(None);
                }
            }
        }
        Ok(Some(written))
    }

    fn say_untold(&self, side: Side, why: &str) {
        if !self.cannot_tell.swap(true, Ordering::Relaxed) {
            let text = format!(
                "{side}: what was written after the cutover cannot be told from a difference of the copy, because the \
                 oplog says nothing: {why}"
            );
            self.context.events.record(Severity::Warn, "verify", text);
        }
    }

    async fn is_inserted_since(&self, target: &Target, from: Optime) -> Result<bool, Halt> {
        let (context, cluster) = (&self.context, &self.context.destination);
        let command = rawdoc! {
            "find": "oplog.rs", "limit": 1, "singleBatch": true, "projection": { "ts": 1 },
            "filter": { "ts": { "$gt": stamp(from) }, "op": "i", "ns": target.namespace.to_string() },
        };
        retry(cluster.side, "reading the oplog for verification", &context.events, &context.cancel, || async {
            let reply = cluster.run("local", command.clone()).await?;
            Ok(reply.get_document("cursor")?.get_array("firstBatch")?.into_iter().next().is_some())
        })
        .await
    }
}

fn stamp(at: Optime) -> Timestamp {
    Timestamp { time: at.t, increment: at.i }
}

fn command(writer: Writer, target: &Target, from: Optime, keys: &[&[u8]]) -> RawDocumentBuf {
    let ids = in_filter(keys.iter().filter_map(|key| Id::from_key(key)));
    let ids: RawDocumentBuf = ids.get_document("_id").map(ToOwned::to_owned).unwrap_or_default();
    let mut filter = rawdoc! {
        "ts": { "$gt": stamp(from) },
        "$or": [
            { "ns": target.namespace.to_string(), "$or": [{ "o._id": ids.clone() }, { "o2._id": ids }] },
            { "op": "c" },
        ],
    };
    if writer == Writer::Server {
        // Of what a user deletes there after the cutover somebody has to hear.
        filter.append(cstr!("lsid"), rawdoc! { "$exists": false });
        filter.append(cstr!("op"), rawdoc! { "$in": ["d", "c"] });
    }
    let mut command = super::others::projected();
    command.append(cstr!("filter"), filter);
    command
}

async fn read(
    cluster: &Cluster,
    writer: Writer,
    target: &Target,
    command: RawDocumentBuf,
) -> Result<Written, DriverError> {
    let mut cursor = cluster.login.database("local").run_raw_cursor_command(command).batch().await?;
    let (mut written, wanted) = (Written::default(), target.namespace.to_string());
    while let Some(batch) = cursor.next().await {
        for entry in batch?.doc_slices()? {
            let Some(entry) = entry?.as_document() else { continue };
            changes(entry, &mut |namespace, change| match change {
                _ if namespace != wanted => {}
                Change::Document(key) if writer == Writer::Anybody || is_delete(entry) => {
                    written.keys.insert(key);
                }
                Change::Document(_) => {}
                Change::Collection => written.whole |= writer == Writer::Anybody,
            });
        }
    }
    Ok(written)
}

/// Deletions that a server batches are commands.
fn is_delete(entry: &RawDocument) -> bool {
    matches!(entry.get_str("op"), Ok("d" | "c"))
}

async fn oldest(cluster: &Cluster) -> Result<Option<Optime>, DriverError> {
    let command = rawdoc! {
        "find": "oplog.rs", "sort": { "$natural": 1 }, "limit": 1, "singleBatch": true, "projection": { "ts": 1 },
    };
    let reply = cluster.run("local", command).await?;
    let first = reply.get_document("cursor")?.get_array("firstBatch")?.into_iter().next().transpose()?;
    let Some(first) = first.and_then(|first| first.as_document()) else { return Ok(None) };
    let ts = first.get_timestamp("ts")?;
    Ok(Some(Optime::new(ts.time, ts.increment)))
}
