//! One of several appliers that work in parallel. Changes of one document always go to the same lane, in order.

use super::{
    context::Context,
    dirty::DirtySet,
    repair::refetch,
    retry::{Halt, retry},
    view::ApplyView,
    watermark::Watermark,
};
use crate::{
    model::{Optime, Problem, Severity, Side},
    mongo::{Namespace, errors::command_problem},
    oplog::{
        Batch, DocumentId, Inner, OplogError, Traits,
        batch::{CollectionBatch, Pushed, WriteCommand, WriteKind, upsert_statement},
        entry::operation,
    },
};
use bson::{RawArrayBuf, RawDocumentBuf, Uuid, raw::cstr, rawdoc};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// Changes that a lane takes together.
const CHANGES: usize = 1_000;
/// Bytes of changes that a lane takes together.
const BYTES: usize = 8 << 20;
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
}

/// What all lanes and the dispatcher share.
#[derive(Debug)]
pub struct Board {
    /// Dispatched and completed positions. Held for a few instructions at a time.
    watermark: Mutex<Watermark>,
    /// The applier's view.
    pub view: watch::Sender<ApplyView>,
}

impl Board {
    /// A board for `lanes` lanes.
    pub fn new(watermark: Watermark, view: watch::Sender<ApplyView>) -> Self {
        Self { watermark: Mutex::new(watermark), view }
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
            if work.take(&item, dirty.is_some())? == Pushed::Full {
                left_over = Some(item);
                break;
            }
            next = if work.is_large() { None } else { items.try_recv().ok() };
        }
        let (count, ts, wall_ms) = (work.count, work.ts, work.wall_ms);
        let touched = std::mem::take(&mut work.touched);
        work.execute(&context, &board).await?;
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
    namespaces: HashMap<Uuid, Arc<Namespace>>,
    touched: Vec<(Uuid, Vec<u8>)>,
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
        Self { batch, namespaces: HashMap::new(), touched: Vec::new(), count: 0, ts: Optime::default(), wall_ms: 0 }
    }

    fn is_large(&self) -> bool {
        self.batch.len() >= CHANGES || self.batch.bytes() >= BYTES
    }

    fn take(&mut self, item: &Item, remember: bool) -> Result<Pushed, Halt> {
        let refused = |error: OplogError| oplog_problem(&error);
        let Inner::Change(change) = operation(&item.operation).map_err(refused)? else { return Ok(Pushed::Taken) };
        if self.batch.push(item.uuid, item.traits, &change).map_err(refused)? == Pushed::Full {
            return Ok(Pushed::Full);
        }
        if remember {
            self.touched.push((item.uuid, DocumentId::new(change.id().map_err(refused)?).bytes()));
        }
        self.namespaces.entry(item.uuid).or_insert_with(|| item.namespace.clone());
        self.count += 1;
        (self.ts, self.wall_ms) = (item.ts, item.wall_ms);
        Ok(Pushed::Taken)
    }

    async fn execute(self, context: &Context, board: &Board) -> Result<(), Halt> {
        for collection in self.batch.into_collections() {
            let Some(namespace) = self.namespaces.get(&collection.uuid) else { continue };
            apply_collection(context, board, &collection, namespace).await?;
        }
        Ok(())
    }
}

async fn apply_collection(
    context: &Context,
    board: &Board,
    collection: &CollectionBatch,
    namespace: &Namespace,
) -> Result<(), Halt> {
    let mut repairs = collection.refetch.clone();
    for command in collection.commands(&namespace.coll) {
        repairs.extend(apply_command(context, namespace, &command).await?);
    }
    if repairs.is_empty() {
        return Ok(());
    }
    let count = repairs.len() as u64;
    board.view.send_modify(|view| view.repair_pending += count);
    let text = format!("{count} documents of {namespace} are fetched again from the source");
    context.events.record(Severity::Info, "repair", text);
    for id in &repairs {
        refetch(context, collection.uuid, namespace, id).await?;
        board.view.send_modify(|view| view.repair_pending -= 1);
    }
    Ok(())
}

/// Runs one write command; returns the documents that have to be fetched again.
async fn apply_command(
    context: &Context,
    namespace: &Namespace,
    write: &WriteCommand,
) -> Result<Vec<DocumentId>, Halt> {
    let errors = send(context, namespace, &write.command).await?;
    let (mut existing, mut repairs) = (RawArrayBuf::new(), Vec::new());
    let mut existing_ids = Vec::new();
    for (index, code) in errors {
        let Some(id) = write.ids.get(index) else { continue };
        match write.documents.get(index).filter(|_| write.kind == WriteKind::Insert && code == DUPLICATE_KEY) {
            Some(document) => {
                existing.push(upsert_statement(id, document, context.dialect));
                existing_ids.push(id.clone());
            }
            None => repairs.push(id.clone()),
        }
    }
    if !existing_ids.is_empty() {
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("update"), namespace.coll.as_str());
        command.append(cstr!("updates"), existing);
        command.append(cstr!("ordered"), false);
        command.append(cstr!("bypassDocumentValidation"), true);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        for (index, _) in send(context, namespace, &command).await? {
            repairs.extend(existing_ids.get(index).cloned());
        }
    }
    Ok(repairs)
}

/// Sends a write command, as often as it takes (every statement may be repeated); returns index and code per failure.
async fn send(context: &Context, namespace: &Namespace, command: &RawDocumentBuf) -> Result<Vec<(usize, i32)>, Halt> {
    let destination = &context.destination;
    let what = format!("writing {namespace}");
    let reply = retry(Side::Destination, &what, &context.events, &context.cancel, || {
        destination.run(&namespace.db, command.clone())
    })
    .await?;
    // A write that the majority has not got is not applied.
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let message = concern.get_str("errmsg").unwrap_or("no message").to_string();
        let error = crate::mongo::cluster::DriverError::custom(message);
        return Err(command_problem(Side::Destination, format!("{what} with majority failed"), &error).into());
    }
    let Ok(errors) = reply.get_array("writeErrors") else { return Ok(Vec::new()) };
    let mut failures = Vec::new();
    for error in errors.into_iter().flatten() {
        let Some(error) = error.as_document() else { continue };
        let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        if let (Some(index), Ok(code)) = (index, error.get_i32("code")) {
            failures.push((index, code));
        }
    }
    Ok(failures)
}
