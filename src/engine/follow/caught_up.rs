//! What is mended once applying has caught up with the copy, when every document is as it is on the source: indexes that
//! could not be built on documents that no moment of the source ever had, and the order of fields that no replay of
//! `$v:1` updates can restore (OPLOG.md B.5).

use super::{Board, Follower, drained};
use crate::{
    engine::{
        context::Context,
        ddl,
        record::Collections,
        repair::refetch,
        retry::{Halt, retry},
    },
    model::{Severity, Side, units::show_count},
    oplog::{Change, ChangeKind, DocumentId},
};
use bson::{RawDocument, Uuid};
use futures_util::FutureExt;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio::time::Instant;

/// Documents that are remembered; beyond that verification has to find what differs. (Each takes about 100 bytes.)
const REMEMBERED: usize = 500_000;
/// What changes while it is fetched again is fetched once more, so often without a pause.
const PASSES: u32 = 5;
/// Then, and when the load never ends, with this pause; what is left at the cutover is fetched there, when nothing changes
/// any more.
const PAUSE: Duration = Duration::from_secs(30);

/// A document, `{ "_id": … }`, of a collection.
type Known = (Uuid, Vec<u8>);

/// What waits for the end of the replay.
#[derive(Debug)]
pub(super) struct Mending {
    /// Changes replay on documents that may be newer.
    pub is_watching: bool,
    /// Which documents may be newer: those of the last pass; all of them while the copy is replayed.
    newer: Option<HashSet<Known>>,
    /// Documents whose fields may stand in another order.
    ids: HashSet<Known>,
    /// Some could not be remembered.
    is_overflowing: bool,
    /// The copy's replay is over.
    has_caught_up: bool,
    passes: u32,
    last_pass: Option<Instant>,
}

impl Default for Mending {
    fn default() -> Self {
        Self {
            is_watching: true,
            newer: None,
            ids: HashSet::new(),
            is_overflowing: false,
            has_caught_up: false,
            passes: 0,
            last_pass: None,
        }
    }
}

impl Mending {
    /// An earlier engine noted documents that this one does not know.
    pub fn taken_up(&mut self) {
        self.is_overflowing = true;
    }

    /// A change that replays.
    pub fn note(&mut self, uuid: Uuid, change: &Change<'_>) {
        let ChangeKind::Update { id, update } = &change.kind else { return };
        if !is_version_1(update) {
            return;
        }
        let known = (uuid, DocumentId::new(*id).wrapped().as_bytes().to_vec());
        if self.newer.as_ref().is_some_and(|newer| !newer.contains(&known)) {
            return;
        }
        if self.ids.len() >= REMEMBERED {
            self.is_overflowing = true;
            return;
        }
        self.ids.insert(known);
    }

    fn become_caught_up(&mut self) {
        self.has_caught_up = true;
        self.last_pass = Some(Instant::now());
    }

    /// The documents were fetched again, and are newer than the changes that follow.
    fn become_fetched(&mut self, ids: HashSet<Known>) {
        self.is_watching = true;
        self.newer = Some(ids);
        self.passes += 1;
        self.last_pass = Some(Instant::now());
    }

    /// Far behind, most of them would change again in what has yet to be replayed; but under a load that never ends
    /// they must not all be left to the cutover.
    fn is_due(&self, is_far_behind: impl FnOnce() -> bool) -> bool {
        let has_rested = self.last_pass.is_none_or(|last_pass| last_pass.elapsed() >= PAUSE);
        !self.ids.is_empty() && (has_rested || (self.passes < PASSES && !is_far_behind()))
    }
}

/// `$set` and `$unset` of paths; replacements restore the order by themselves, `$v:2` diffs do too.
fn is_version_1(update: &RawDocument) -> bool {
    !matches!(update.get("_id"), Ok(Some(_))) && !matches!(update.get("diff"), Ok(Some(_)))
}

impl Follower {
    /// Mends when applying has caught up; otherwise does nothing.
    pub(super) async fn mend_when_caught_up(&mut self, board: &Board) -> Result<(), Halt> {
        if self.replay_until.is_none_or(|end| self.dispatched < end) {
            return Ok(());
        }
        self.mending.is_watching = false;
        if !self.mending.has_caught_up {
            self.mending.become_caught_up();
            self.leave_to_verification();
            self.build_failed_indexes(board).await?;
        }
        let reader = &mut self.reader;
        if self.mending.is_due(|| reader.peek().now_or_never().is_some()) {
            self.fetch_in_order(board).await?;
        }
        Ok(())
    }

    /// Everything is dispatched that shall be: waits until it is applied, and mends what is left.
    pub(super) async fn end(&mut self, board: &Board) -> Result<(), Halt> {
        drained(board, &self.context).await?;
        if self.mending.ids.is_empty() { Ok(()) } else { self.fetch_in_order(board).await }
    }

    async fn fetch_in_order(&mut self, board: &Board) -> Result<(), Halt> {
        drained(board, &self.context).await?;
        let ids = std::mem::take(&mut self.mending.ids);
        let text =
            format!("{} documents are fetched again for the order of their fields", show_count(ids.len() as u64));
        self.context.events.record(Severity::Info, "order", text);
        board.view.send_modify(|view| view.repair_pending += ids.len() as u64);
        let mut by_collection: HashMap<Uuid, Vec<DocumentId>> = HashMap::new();
        for (uuid, id) in &ids {
            let id = RawDocument::from_bytes(id).ok().and_then(|wrapped| wrapped.get("_id").ok().flatten());
            by_collection.entry(*uuid).or_default().extend(id.map(DocumentId::new));
        }
        let done = |count| board.view.send_modify(|view| view.repair_pending -= count as u64);
        for (uuid, ids) in by_collection {
            let Some(tracked) = self.registry.collections.get(&uuid) else {
                done(ids.len());
                continue;
            };
            refetch(&self.context, uuid, &tracked.namespace, &ids, self.dispatched, done).await?;
            for id in ids {
                if let Some(dirty) = &self.dirty {
                    dirty.touch(uuid, &id.bytes());
                }
            }
        }
        // What changed meanwhile replays on the documents just fetched.
        let Context { source, events, cancel, .. } = &self.context;
        let what = "reading the oplog's newest position";
        let newest = retry(Side::Source, what, events, cancel, || source.last_write()).await?.majority_optime;
        self.replay_until = Some(newest);
        self.mending.become_fetched(ids);
        Ok(())
    }

    /// Says what may still stand in another order, when there is such a thing.
    fn leave_to_verification(&self) {
        if !self.mending.is_overflowing || self.context.source.version.major >= 5 {
            return;
        }
        let text = "fields of documents that were updated during the copy may stand in another order; the verification \
                    compares them byte for byte";
        self.context.events.record(Severity::Warn, "order", text);
    }

    /// Builds what could not be built once more, while nothing is being applied.
    pub(super) async fn build_failed_indexes(&mut self, board: &Board) -> Result<(), Halt> {
        if self.registry.failed_indexes().is_empty() {
            return Ok(());
        }
        drained(board, &self.context).await?;
        let mut touched = Vec::new();
        for (uuid, tracked) in &mut self.registry.collections {
            let failed = tracked.indexes.values().filter(|index| index.failed.is_some());
            let specs: Vec<_> = failed.map(|index| index.spec.clone()).collect();
            for spec in &specs {
                ddl::build_index(&self.context, tracked, spec).await?;
            }
            touched.extend((!specs.is_empty()).then_some(*uuid));
        }
        let rows = Collections::of(&self.registry, &touched)?;
        self.context.journal("writing the journal", move |record| record.put_replayed(&rows, None)).await?;
        let failed = self.registry.failed_indexes();
        board.view.send_modify(|view| view.failed_indexes = Some(failed));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{RawBsonRef, rawdoc};

    #[test]
    fn only_what_no_replay_can_restore_is_remembered() {
        let mut mending = Mending::default();
        let uuid = Uuid::from_bytes([7; 16]);
        let mut note = |update: &RawDocument, id: i32| {
            let kind = ChangeKind::Update { id: RawBsonRef::Int32(id), update };
            mending.note(uuid, &Change { ns: "a.b", uuid: Some(uuid), kind });
            mending.ids.len()
        };
        assert_eq!(note(&rawdoc! { "_id": 1, "$v": 1 }, 1), 0);
        assert_eq!(note(&rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } }, 1), 0);
        assert_eq!(note(&rawdoc! { "$v": 1, "$set": { "a": 1 } }, 1), 1);
        assert_eq!(note(&rawdoc! { "$set": { "b": 1 } }, 1), 1);
        assert_eq!(note(&rawdoc! { "$v": 1, "$unset": { "a": true } }, 2), 2);
    }

    #[test]
    fn after_a_pass_only_what_was_fetched_can_be_newer() {
        let mut mending = Mending::default();
        let uuid = Uuid::from_bytes([7; 16]);
        let update = rawdoc! { "$v": 1, "$set": { "a": 1 } };
        let note = |mending: &mut Mending, id: i32| {
            let kind = ChangeKind::Update { id: RawBsonRef::Int32(id), update: &update };
            mending.note(uuid, &Change { ns: "a.b", uuid: Some(uuid), kind });
            mending.ids.len()
        };
        assert_eq!((note(&mut mending, 1), note(&mut mending, 2)), (1, 2));
        let ids = std::mem::take(&mut mending.ids);
        mending.become_fetched(ids);
        assert_eq!((note(&mut mending, 3), note(&mut mending, 1)), (0, 1));
        assert!(mending.is_due(|| false) && !mending.is_due(|| true));
        mending.passes = PASSES;
        assert!(!mending.is_due(|| false), "a document that changes all the time would hold up everything else");
        mending.last_pass = Instant::now().checked_sub(PAUSE);
        assert!(mending.is_due(|| true), "a load that never ends would leave all of them to the cutover");
    }
}
