//! One of several appliers that work in parallel. Changes of one document always go to the same lane, in order.

use super::{
    context::Context,
    dirty::DirtySet,
    repair::{refetch, repeats_names},
    retry::Halt,
    view::ApplyView,
    watermark::Watermark,
    write::{Sent, deliver, fence, unconfirmed},
};
use crate::{
    model::{Optime, Problem, Severity, Side},
    mongo::Namespace,
    oplog::{
        Batch, DocumentId, Inner, OplogError, Traits,
        batch::{Pushed, WriteCommand, WriteKind, upsert_statement},
        entry::operation,
    },
};
use bson::{RawArrayBuf, RawDocumentBuf, Uuid, raw::cstr, rawdoc};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Changes that a lane takes together.
const CHANGES: usize = 4_000;
/// Bytes of changes that a lane takes together.
const BYTES: usize = 4 << 20;
const DUPLICATE_KEY: i32 = 11000;

/// One change on its way to a lane.
#[derive(Debug)]
pub struct Item {
    /// Position of its entry.
    pub ts: Optime,
    /// Wall time of its entry, ms.
    pub wall_ms: i64,
    /// The source's collection.
    pub uuid: Uuid,
    /// What the order of that collection's changes means.
    pub traits: Traits,
    /// Where that collection lives on the destination now; a rename is a barrier, so it holds until the item is applied.
    pub namespace: Arc<Namespace>,
    /// The operation: a whole entry, or an element of `applyOps`.
    pub operation: RawDocumentBuf,
    /// Its share of the memory for changes on their way; given back once it is applied.
    pub room: OwnedSemaphorePermit,
}

/// What all lanes and the dispatcher share.
#[derive(Debug)]
pub struct Board {
    /// Dispatched and completed positions. Held for a few instructions at a time.
    watermark: Mutex<Watermark>,
    /// The applier's view.
    pub view: watch::Sender<ApplyView>,
    /// Up to here changes replay onto documents that were copied while they changed, and some are bound to fail.
    replay_until: Optime,
}

impl Board {
    /// A board for the lanes of `watermark`; from `replay_until` on the data is consistent.
    pub fn new(watermark: Watermark, view: watch::Sender<ApplyView>, replay_until: Optime) -> Self {
        Self { watermark: Mutex::new(watermark), view, replay_until }
    }

    /// Changes the watermark and shows it; `applied` changes count as applied.
    pub fn update(&self, applied: u64, change: impl FnOnce(&mut Watermark)) {
        let mut watermark = self.watermark.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut watermark);
        self.view.send_modify(|view| {
            view.ops_applied += applied;
            view.applied_ts = watermark.applied();
            view.applied_wall_ms = watermark.applied_wall_ms();
            view.oldest_waiting_wall_ms = watermark.oldest_waiting_wall_ms();
        });
    }

    /// Notes without waking anybody: for the dispatcher, once per change.
    pub fn note(&self, change: impl FnOnce(&mut Watermark)) {
        change(&mut self.watermark.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// True when no lane has work.
    pub fn is_idle(&self) -> bool {
        self.watermark.lock().unwrap_or_else(PoisonError::into_inner).is_idle()
    }
}

/// Applies items until the sender is dropped. `lane` is its number on the board.
pub async fn run(
    context: Context,
    lane: usize,
    mut items: mpsc::Receiver<Item>,
    board: Arc<Board>,
    dirty: Option<Arc<DirtySet>>,
) -> Result<(), Halt> {
    let mut left_over: Option<Item> = None;
    loop {
        let first = match left_over.take() {
            Some(item) => Some(item),
            None => tokio::select! {
                () = context.cancel.cancelled() => return Err(Halt::Cancelled),
                item = items.recv() => item,
            },
        };
        let Some(first) = first else { return Ok(()) };
        let mut work = Work::new(&context);
        let mut next = Some(first);
        while let Some(item) = next {
            if let Some(item) = work.take(item, dirty.is_some())? {
                left_over = Some(item);
                break;
            }
            next = if work.is_large() { None } else { items.try_recv().ok() };
        }
        let (count, ts, wall_ms) = (work.count, work.ts, work.wall_ms);
        let (touched, room) = (std::mem::take(&mut work.touched), std::mem::take(&mut work.room));
        work.execute(&context, &board).await?;
        drop(room);
        // After the destination has them: verification may forget an id only when it compared the written document.
        for (uuid, id) in touched {
            if let Some(dirty) = &dirty {
                dirty.touch(uuid, &id);
            }
        }
        board.update(count, |watermark| watermark.completed(lane, count, ts, wall_ms));
    }
}

struct Work {
    batch: Batch,
    /// Where each collection is, and what the order of its changes means.
    places: HashMap<Uuid, (Arc<Namespace>, Traits)>,
    touched: Vec<(Uuid, Vec<u8>)>,
    room: Vec<OwnedSemaphorePermit>,
    count: u64,
    ts: Optime,
    wall_ms: i64,
}

/// An entry that the oplog module refuses stops the migration.
pub fn oplog_problem(error: &OplogError) -> Halt {
    Problem {
        side: Side::Source,
        what: "an oplog entry cannot be applied".into(),
        why: error.to_string(),
        fix: "Please report the text above; excluding the collection avoids it.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied before this entry.".into(),
    }
    .into()
}

impl Work {
    fn new(context: &Context) -> Self {
        let batch = Batch::new(context.dialect);
        let (touched, room) = (Vec::new(), Vec::new());
        Self { batch, places: HashMap::new(), touched, room, count: 0, ts: Optime::default(), wall_ms: 0 }
    }

    fn is_large(&self) -> bool {
        self.batch.len() >= CHANGES || self.batch.bytes() >= BYTES
    }

    /// Takes a change; gives it back when the work must be executed first.
    fn take(&mut self, item: Item, remember: bool) -> Result<Option<Item>, Halt> {
        let refused = |error: OplogError| oplog_problem(&error);
        let Inner::Change(change) = operation(&item.operation).map_err(refused)? else {
            return Err(oplog_problem(&OplogError::Corrupt));
        };
        if self.batch.push(item.uuid, item.traits, &change).map_err(refused)? == Pushed::Full {
            return Ok(Some(item));
        }
        if remember {
            self.touched.push((item.uuid, DocumentId::new(change.id().map_err(refused)?).bytes()));
        }
        self.count += 1;
        (self.ts, self.wall_ms) = (item.ts, item.wall_ms);
        self.places.entry(item.uuid).or_insert((item.namespace, item.traits));
        self.room.push(item.room);
        Ok(None)
    }

    async fn execute(self, context: &Context, board: &Board) -> Result<(), Halt> {
        let collections = self.batch.into_collections();
        let (mut apart, mut together) = (Vec::new(), Vec::new());
        for collection in &collections {
            let Some((namespace, traits)) = self.places.get(&collection.uuid) else { continue };
            let executed = Executed { context, board, namespace, uuid: collection.uuid, ts: self.ts };
            let (commands, refetch) = (collection.commands(&namespace.coll), &collection.refetch);
            // Repeated, a document of theirs could come behind one that was inserted later.
            let is_ordered = traits.capped || traits.collated;
            let applied = Applied { executed, commands, refetch };
            if is_ordered { apart.push(applied) } else { together.push(applied) }
        }
        for Applied { executed, commands, refetch } in &apart {
            let mut failed = Vec::new();
            for command in commands {
                failed.extend(executed.run(command, true).await?.failed);
            }
            executed.mend(failed, refetch).await?;
        }
        let failed = run_together(context, &together).await?;
        for (Applied { executed, refetch, .. }, failed) in together.iter().zip(failed) {
            executed.mend(failed, refetch).await?;
        }
        Ok(())
    }
}

/// Runs the commands of several collections, one after the other; only the last one waits for the majority, which then
/// has the others too. Every document has one statement at most, so that all of it may be repeated. Returns, for each
/// collection, the documents that have to be fetched again.
async fn run_together(context: &Context, all: &[Applied<'_>]) -> Result<Vec<Vec<DocumentId>>, Halt> {
    loop {
        let mut left: usize = all.iter().map(|applied| applied.commands.len()).sum();
        let (mut terms, mut failed, mut is_confirmed) = (Vec::new(), Vec::new(), false);
        for Applied { executed, commands, .. } in all {
            let mut of_collection = Vec::new();
            for command in commands {
                left -= 1;
                let ran = executed.run(command, left == 0).await?;
                of_collection.extend(ran.failed);
                // What was refused as a whole waited for nobody.
                is_confirmed = left == 0 && !ran.terms.is_empty();
                terms.extend(ran.terms);
            }
            failed.push(of_collection);
        }
        if let (false, [_, ..], Some(last)) = (is_confirmed, terms.as_slice(), all.last()) {
            terms.extend(fence(context, last.executed.namespace).await?);
        }
        if terms.windows(2).all(|pair| matches!(pair, [a, b] if a == b)) {
            return Ok(failed);
        }
        // Another primary was elected in between, which may lack what the one before confirmed alone.
    }
}

/// What a batch holds of one collection.
struct Applied<'a> {
    executed: Executed<'a>,
    commands: Vec<WriteCommand>,
    /// Documents that have to be fetched again whatever happens.
    refetch: &'a [DocumentId],
}

/// What became of one command.
#[derive(Default)]
struct Ran {
    /// Documents that have to be fetched again.
    failed: Vec<DocumentId>,
    /// Terms of the primaries that took it.
    terms: Vec<i64>,
}

/// One collection's share of a batch, whose newest change stands at `ts`.
struct Executed<'a> {
    context: &'a Context,
    board: &'a Board,
    namespace: &'a Namespace,
    uuid: Uuid,
    ts: Optime,
}

impl Executed<'_> {
    async fn mend(&self, mut failed: Vec<DocumentId>, again: &[DocumentId]) -> Result<(), Halt> {
        let namespace = self.namespace;
        if !again.is_empty() {
            let count = again.len();
            let text = format!("{count} documents of {namespace}: no update can express the change; fetched again");
            self.context.events.record(Severity::Info, "repair", text);
        }
        if !failed.is_empty() {
            let is_expected = self.ts <= self.board.replay_until;
            let severity = if is_expected { Severity::Info } else { Severity::Warn };
            let why = if is_expected { "were copied while they changed" } else { "did not take a change" };
            let text = format!("{} documents of {namespace} {why}; fetched again", failed.len());
            self.context.events.record(severity, "repair", text);
        }
        failed.extend_from_slice(again);
        if failed.is_empty() {
            return Ok(());
        }
        let view = &self.board.view;
        view.send_modify(|view| view.repair_pending += failed.len() as u64);
        let done = |count| view.send_modify(|view| view.repair_pending -= count as u64);
        refetch(self.context, self.uuid, namespace, &failed, self.ts, done).await
    }

    /// Runs one write command, and waits until the majority has it when it shall be `confirmed`.
    async fn run(&self, write: &WriteCommand, confirmed: bool) -> Result<Ran, Halt> {
        let what = format!("writing {}", self.namespace);
        let sent = self.deliver(&what, &write.command, confirmed).await?;
        let (failed, mut terms) = match sent {
            (Sent::Executed(failed), term) => (failed, Vec::from_iter(term)),
            (Sent::Refused(_), _) => return Ok(Ran { failed: write.ids.clone(), terms: Vec::new() }),
        };
        let (mut existing, mut existing_ids, mut repairs) = (RawArrayBuf::new(), Vec::new(), Vec::new());
        for (index, code) in failed {
            let Some(id) = write.ids.get(index) else { continue };
            let is_there = write.kind == WriteKind::Insert && code == DUPLICATE_KEY;
            match write.documents.get(index).filter(|document| is_there && !repeats_names(document)) {
                Some(document) => {
                    existing.push(upsert_statement(id, document, self.context.dialect));
                    existing_ids.push(id.clone());
                }
                None => repairs.push(id.clone()),
            }
        }
        if existing_ids.is_empty() {
            return Ok(Ran { failed: repairs, terms });
        }
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("update"), self.namespace.coll.as_str());
        command.append(cstr!("updates"), existing);
        command.append(cstr!("ordered"), false);
        command.append(cstr!("bypassDocumentValidation"), true);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        match self.deliver(&what, &command, confirmed).await? {
            (Sent::Executed(failed), term) => {
                repairs.extend(failed.iter().filter_map(|(index, _)| existing_ids.get(*index).cloned()));
                terms.extend(term);
            }
            (Sent::Refused(_), _) => repairs.extend(existing_ids),
        }
        Ok(Ran { failed: repairs, terms })
    }

    async fn deliver(
        &self,
        what: &str,
        command: &RawDocumentBuf,
        is_confirmed: bool,
    ) -> Result<(Sent, Option<i64>), Halt> {
        if is_confirmed {
            return deliver(self.context, self.namespace, what, command).await;
        }
        deliver(self.context, self.namespace, what, &unconfirmed(command)).await
    }
}
