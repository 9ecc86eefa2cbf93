//! Follows the spool: distributes changes to lanes, replays commands between them, and knows up to where all is applied.

mod caught_up;

use super::{
    context::Context,
    ddl,
    dirty::DirtySet,
    fetch::is_selected,
    lane::{self, Board, Item, oplog_problem},
    record::{Collections, Position},
    registry::Registry,
    repair::refetch_noted,
    retry::{Halt, retry},
    spool::SpoolReader,
    view::ApplyView,
    watermark::Watermark,
};
use crate::{
    model::{Optime, Problem, Side},
    mongo::{Namespace, catalog::name_of},
    oplog::{
        Assembler, Body, Change, ChangeKind, DdlEntry, DocumentId, Entry, Inner, Traits, entry::operations, shortened,
        transactions::Assembled,
    },
};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc};
use caught_up::Mending;
use std::{collections::HashSet, sync::Arc};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

/// Changes that wait for one lane; a full lane holds the dispatcher, which holds nothing but the spool.
const LANE_CAPACITY: usize = 8_192;
/// KiB of changes on their way to or in the lanes.
const ROOM_KIB: u32 = 128 << 10;

/// Parallel appliers.
fn lanes() -> usize {
    std::thread::available_parallelism().map_or(4, |cores| (cores.get() * 2).clamp(2, 16))
}

/// Owns the registry, the reading end of the spool and open transactions while the oplog is applied.
#[derive(Debug)]
pub struct Follower {
    context: Context,
    registry: Registry,
    reader: SpoolReader,
    transactions: Assembler,
    /// Changes before this position are in the copy; only parts of transactions are taken from there.
    apply_from: Optime,
    /// Everything up to here was dispatched.
    dispatched: Optime,
    /// Wall time of that entry, ms.
    dispatched_wall_ms: i64,
    /// The source's newest position when applying began: before it, the copy is not consistent.
    replay_until: Option<Optime>,
    /// Collections that the source no longer has and that never were on the destination.
    gone: HashSet<Uuid>,
    /// Changes were taken from the spool and not applied.
    is_broken: bool,
    /// What is mended once every document is as it is on the source.
    mending: Mending,
    /// A command that an earlier engine began.
    intent: Option<Optime>,
    view: watch::Sender<ApplyView>,
    dirty: Option<Arc<DirtySet>>,
}

impl Follower {
    /// A follower that applies what stands after `apply_from` (the entry there is part of the copy).
    pub fn new(
        context: Context,
        registry: Registry,
        reader: SpoolReader,
        apply_from: Optime,
        view: watch::Sender<ApplyView>,
        dirty: Option<Arc<DirtySet>>,
    ) -> Self {
        Self {
            context,
            registry,
            reader,
            transactions: Assembler::default(),
            apply_from,
            dispatched: apply_from,
            dispatched_wall_ms: 0,
            replay_until: None,
            gone: HashSet::new(),
            is_broken: false,
            mending: Mending::default(),
            intent: None,
            view,
            dirty,
        }
    }

    /// Goes on where an earlier engine was; `intent` is the command that it began last.
    pub fn taking_up(mut self, position: Position, intent: Option<Optime>) -> Self {
        self.intent = intent;
        self.mending.taken_up();
        self.dispatched_wall_ms = position.wall_ms;
        self.view.send_modify(|view| {
            view.applied_ts = position.applied;
            view.applied_wall_ms = position.wall_ms;
            view.open_from = position.open_from;
        });
        self
    }

    /// Where each collection lives and what finalizing owes it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The collections, at the end.
    pub fn into_registry(self) -> Registry {
        self.registry
    }

    /// Applies without end. Once `until` is set, returns when everything up to and including it is applied with majority
    /// and nothing after it was touched. May be called again, but not after a failure: what the lanes held is lost.
    /// At every change of `again` the indexes that could not be built are tried once more.
    pub async fn run(
        &mut self,
        mut until: watch::Receiver<Option<Optime>>,
        mut again: watch::Receiver<u64>,
    ) -> Result<(), Halt> {
        if self.is_broken {
            return Err(broken("applying ended with an error before and cannot go on from there"));
        }
        refetch_noted(&self.context, &self.registry, self.dispatched).await?;
        let replay_until = self.replay_until().await?;
        let failed = self.registry.failed_indexes();
        self.view.send_modify(|view| view.failed_indexes = Some(failed));
        let mut lanes = Lanes::start(self, replay_until);
        self.is_broken = true;
        let outcome = tokio::select! {
            outcome = self.dispatch(&lanes.senders, &lanes.room, &lanes.board, (&mut until, &mut again)) => outcome,
            halt = first_failure(&mut lanes.tasks) => Err(halt),
        };
        // On success the lanes are idle.
        lanes.tasks.shutdown().await;
        self.is_broken = outcome.is_err();
        outcome
    }

    async fn replay_until(&mut self) -> Result<Optime, Halt> {
        if let Some(known) = self.replay_until {
            return Ok(known);
        }
        let Context { source, events, cancel, .. } = &self.context;
        let what = "reading the oplog's newest position";
        let newest = retry(Side::Source, what, events, cancel, || source.last_write()).await?.majority_optime;
        self.replay_until = Some(newest);
        Ok(newest)
    }

    async fn dispatch(
        &mut self,
        senders: &[mpsc::Sender<Item>],
        room: &Arc<Semaphore>,
        board: &Arc<Board>,
        (until, again): (&mut watch::Receiver<Option<Optime>>, &mut watch::Receiver<u64>),
    ) -> Result<(), Halt> {
        again.mark_unchanged();
        loop {
            self.context.gate.pass(&self.context.cancel).await?;
            self.mend_when_caught_up(board).await?;
            let target = *until.borrow_and_update();
            if target.is_some_and(|target| self.dispatched >= target) {
                return self.end(board).await;
            }
            let held = self.context.brake.is_on();
            let entry = tokio::select! {
                () = self.context.cancel.cancelled() => return Err(Halt::Cancelled),
                () = self.context.brake.released(), if held => continue,
                Ok(()) = until.changed() => continue,
                Ok(()) = again.changed() => {
                    self.build_failed_indexes(board).await?;
                    continue;
                }
                entry = self.reader.peek(), if !held => match entry? {
                    Some(entry) => entry.to_owned(),
                    // The fetcher is gone; it said why.
                    None => return Err(Halt::Cancelled),
                },
            };
            // It may have been closed while this waited for an entry.
            self.context.gate.pass(&self.context.cancel).await?;
            let parsed = Entry::parse(&entry).map_err(|error| oplog_problem(&error))?;
            if target.is_some_and(|target| parsed.ts > target) {
                return self.end(board).await;
            }
            let (ts, wall_ms) = (parsed.ts, parsed.wall_ms);
            board.note(|watermark| watermark.holds(wall_ms));
            let mut dispatcher = Dispatcher { follower: self, senders, room, board, ts, wall_ms };
            dispatcher.entry(&entry, &parsed).await?;
            self.reader.consume();
            // After a restart the parts of an open transaction come first, from before the position.
            if ts > self.dispatched {
                (self.dispatched, self.dispatched_wall_ms) = (ts, wall_ms);
            }
            board.update(0, |watermark| watermark.dispatched(ts, wall_ms));
        }
    }
}

/// The lanes of one run.
struct Lanes {
    senders: Vec<mpsc::Sender<Item>>,
    tasks: JoinSet<Result<(), Halt>>,
    board: Arc<Board>,
    /// KiB of changes that may be on their way.
    room: Arc<Semaphore>,
}

impl Lanes {
    fn start(follower: &Follower, replay_until: Optime) -> Self {
        let count = lanes();
        let watermark = Watermark::new(count, follower.dispatched, follower.dispatched_wall_ms);
        let board = Arc::new(Board::new(watermark, follower.view.clone(), replay_until));
        let (mut senders, mut tasks) = (Vec::new(), JoinSet::new());
        for number in 0..count {
            let (sender, items) = mpsc::channel(LANE_CAPACITY);
            senders.push(sender);
            tasks.spawn(lane::run(follower.context.clone(), number, items, board.clone(), follower.dirty.clone()));
        }
        Self { senders, tasks, board, room: Arc::new(Semaphore::new(ROOM_KIB as usize)) }
    }
}

/// Resolves when a lane fails; lanes that end well keep it waiting.
async fn first_failure(tasks: &mut JoinSet<Result<(), Halt>>) -> Halt {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(halt)) => return halt,
            Err(error) => return broken(&error.to_string()),
        }
    }
    std::future::pending().await
}

fn broken(why: &str) -> Halt {
    Halt::bug("applying the oplog", why)
}

/// Waits until every lane is idle.
async fn drained(board: &Board, context: &Context) -> Result<(), Halt> {
    let mut view = board.view.subscribe();
    while !board.is_idle() {
        tokio::select! {
            () = context.cancel.cancelled() => return Err(Halt::Cancelled),
            changed = view.changed() => if changed.is_err() { return Err(Halt::Cancelled) },
        }
    }
    Ok(())
}

/// Distributes one entry.
struct Dispatcher<'a> {
    follower: &'a mut Follower,
    senders: &'a [mpsc::Sender<Item>],
    room: &'a Arc<Semaphore>,
    board: &'a Arc<Board>,
    ts: Optime,
    wall_ms: i64,
}

impl Dispatcher<'_> {
    async fn entry(&mut self, raw: &RawDocumentBuf, entry: &Entry<'_>) -> Result<(), Halt> {
        let in_copy = entry.ts <= self.follower.apply_from;
        match &entry.body {
            Body::Noop | Body::System => Ok(()),
            Body::Transaction(part) => {
                let assembled = self.follower.transactions.push(entry.ts, part);
                match assembled.map_err(|error| oplog_problem(&error))? {
                    Assembled::Waiting => self.opened(),
                    Assembled::NeedsEarlier(_) if in_copy => {}
                    Assembled::NeedsEarlier(at) => self.earlier_parts(at, raw).await?,
                    Assembled::Committed(_) if in_copy => self.opened(),
                    Assembled::Committed(parts) => {
                        self.committed(&parts).await?;
                        self.closed(parts.len()).await?;
                    }
                }
                Ok(())
            }
            _ if in_copy => Ok(()),
            Body::Change(change) => self.change(change, raw).await,
            Body::Command(command) => {
                let touched = self.touched(command);
                self.command(&Inner::Command(command.clone())).await?;
                let applied = Position {
                    applied: self.ts,
                    wall_ms: self.wall_ms,
                    open_from: self.follower.transactions.oldest_open(),
                };
                self.replayed(&touched, Some(applied)).await
            }
            Body::ApplyOps(operations) => self.operations(operations).await,
        }
    }

    async fn committed(&mut self, parts: &[RawArrayBuf]) -> Result<(), Halt> {
        for part in parts {
            self.operations(part).await?;
        }
        Ok(())
    }

    async fn operations(&mut self, array: &bson::RawArray) -> Result<(), Halt> {
        let raws = array.into_iter().filter_map(|element| element.ok().and_then(RawBsonRef::as_document));
        for (inner, raw) in operations(array).zip(raws) {
            match inner.map_err(|error| oplog_problem(&error))? {
                Inner::Nothing => {}
                Inner::Change(change) => self.change(&change, raw).await?,
                command @ Inner::Command(_) => {
                    let touched =
                        if let Inner::Command(command) = &command { self.touched(command) } else { Vec::new() };
                    self.command(&command).await?;
                    self.replayed(&touched, None).await?;
                }
            }
        }
        Ok(())
    }

    /// Everything before a command is applied before it; it changes what collections are called and what they are.
    async fn command(&mut self, inner: &Inner<'_>) -> Result<(), Halt> {
        let Inner::Command(command) = inner else { return Ok(()) };
        drained(self.board, &self.follower.context).await?;
        let ts = self.ts;
        self.follower.registry.is_repeated = self.follower.intent == Some(ts);
        self.follower.context.journal("writing the journal", move |record| record.put_intent(ts)).await?;
        ddl::apply(&self.follower.context, &mut self.follower.registry, self.ts, command).await?;
        let failed = self.follower.registry.failed_indexes();
        self.board.view.send_modify(|view| view.failed_indexes = Some(failed));
        Ok(())
    }

    /// Writes what a command did to the collections before anything after it is applied, so that a restart never carries
    /// it out on what came later under the same name.
    async fn replayed(&mut self, touched: &[Uuid], applied: Option<Position>) -> Result<(), Halt> {
        let rows = Collections::of(&self.follower.registry, touched)?;
        let context = &self.follower.context;
        context.journal("writing the journal", move |record| record.put_replayed(&rows, applied)).await
    }

    /// The collections that a command may change.
    fn touched(&self, command: &DdlEntry<'_>) -> Vec<Uuid> {
        let mut touched: Vec<Uuid> = command.uuid.into_iter().collect();
        let dropped = command.o.get_binary("dropTarget").ok();
        touched.extend(dropped.and_then(|dropped| dropped.bytes.try_into().ok()).map(Uuid::from_bytes));
        if command.name == "dropDatabase" {
            let collections = self.follower.registry.collections.iter();
            touched
                .extend(collections.filter(|(_, tracked)| tracked.namespace.db == command.db).map(|(uuid, _)| *uuid));
        }
        touched
    }

    /// Parts of a transaction wait for its commit: a restart has to read them again.
    fn opened(&self) {
        let open_from = self.follower.transactions.oldest_open();
        self.board.view.send_modify(|view| view.open_from = open_from);
    }

    /// A transaction of several entries was dispatched; its first parts are needed until all of it is applied.
    async fn closed(&self, parts: usize) -> Result<(), Halt> {
        if parts > 1 {
            drained(self.board, &self.follower.context).await?;
            self.board.update(0, |watermark| watermark.dispatched(self.ts, self.wall_ms));
            self.opened();
        }
        Ok(())
    }

    async fn change(&mut self, change: &Change<'_>, raw: &RawDocument) -> Result<(), Halt> {
        let follower = &mut *self.follower;
        let Some(namespace) = Namespace::parse(change.ns) else {
            return Err(unknown_collection(change, raw));
        };
        if namespace.coll == "system.views" {
            drained(self.board, &follower.context).await?;
            return ddl::apply_view_change(&follower.context, &mut follower.registry, self.ts, change).await;
        }
        if let Some(uuid) = change.uuid
            && follower.registry.collections.get(&uuid).is_some_and(|tracked| tracked.unmade)
        {
            drained(self.board, &follower.context).await?;
            ddl::make(&follower.context, &mut follower.registry, uuid).await?;
        }
        let selected = is_selected(&follower.context.options.filter, change.ns);
        let Some((uuid, tracked)) =
            change.uuid.and_then(|uuid| Some((uuid, follower.registry.collections.get(&uuid)?)))
        else {
            // Not selected, or of a collection that was dropped before the catalog was read, or before it was copied
            // when a rename brought it in.
            let is_without = !selected
                || self.ts <= follower.registry.ddl_reflected_until(&namespace.db)
                || self.is_gone(&namespace.db, change.uuid).await?;
            if !is_without {
                return Err(unknown_collection(change, raw));
            }
            self.board.update(u64::from(selected), |_| {});
            return Ok(());
        };
        if follower.mending.is_watching {
            follower.mending.note(uuid, change);
        }
        if matches!(change.kind, ChangeKind::Delete(_)) && tracked.trims_itself(follower.context.destination.version) {
            self.board.update(1, |_| {});
            return Ok(());
        }
        let lane = if tracked.is_serial() {
            DocumentId::new(RawBsonRef::Null).lane(uuid, self.senders.len())
        } else {
            let id = change.id().map_err(|error| oplog_problem(&error))?;
            DocumentId::new(id).lane(uuid, self.senders.len())
        };
        let kib = u32::try_from(raw.as_bytes().len() / 1_024 + 1).unwrap_or(ROOM_KIB).min(ROOM_KIB);
        let Ok(room) = self.room.clone().acquire_many_owned(kib).await else {
            return Err(broken("the memory for changes is gone"));
        };
        let item = Item {
            room,
            ts: self.ts,
            wall_ms: self.wall_ms,
            uuid,
            traits: Traits { capped: tracked.is_capped(), collated: tracked.is_collated() },
            namespace: Arc::new(tracked.namespace.clone()),
            operation: raw.to_owned(),
        };
        let (ts, wall_ms) = (self.ts, self.wall_ms);
        self.board.note(|watermark| watermark.sent(lane, ts, wall_ms));
        let Some(sender) = self.senders.get(lane) else { return Err(broken("there is no such lane")) };
        if sender.send(item).await.is_err() {
            // The lane ended; its task says why.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// True when the source has no such collection any more: its drop is ahead, and nothing of it is on the destination.
    async fn is_gone(&mut self, db: &str, uuid: Option<Uuid>) -> Result<bool, Halt> {
        let Some(uuid) = uuid else { return Ok(false) };
        let Follower { context, gone, .. } = &mut *self.follower;
        if gone.contains(&uuid) {
            return Ok(true);
        }
        let find = || name_of(&context.source, db, uuid);
        let what = "looking for a collection";
        if retry(Side::Source, what, &context.events, &context.cancel, find).await?.is_some() {
            return Ok(false);
        }
        gone.insert(uuid);
        Ok(true)
    }

    /// The beginning of a transaction lies before the position where fetching began: read it from the source, part by
    /// part along `prevOpTime`, then take the commit again.
    async fn earlier_parts(&mut self, newest: Optime, commit: &RawDocumentBuf) -> Result<(), Halt> {
        let mut chain: Vec<RawDocumentBuf> = Vec::new();
        let mut at = newest;
        while at != Optime::default() {
            let part = self.read_entry(at).await?;
            at = match Entry::parse(&part).map_err(|error| oplog_problem(&error))?.body {
                Body::Transaction(transaction) => transaction.previous,
                _ => return Err(broken("a transaction's chain leads to another kind of entry")),
            };
            chain.push(part);
        }
        chain.reverse();
        chain.push(commit.clone());
        for raw in &chain {
            let entry = Entry::parse(raw).map_err(|error| oplog_problem(&error))?;
            let Body::Transaction(part) = &entry.body else { continue };
            match self.follower.transactions.push(entry.ts, part).map_err(|error| oplog_problem(&error))? {
                Assembled::Committed(parts) => {
                    self.committed(&parts).await?;
                    self.closed(parts.len()).await?;
                }
                Assembled::Waiting => self.opened(),
                Assembled::NeedsEarlier(at) => {
                    return Err(broken(&format!("a transaction's part at {at} does not fit its chain")));
                }
            }
        }
        Ok(())
    }

    async fn read_entry(&self, at: Optime) -> Result<RawDocumentBuf, Halt> {
        let context = &self.follower.context;
        let read = || async {
            let oplog = context.source.login.database("local").collection::<RawDocumentBuf>("oplog.rs");
            oplog.find_one(doc! { "ts": Timestamp { time: at.t, increment: at.i } }).await
        };
        let what = "reading the beginning of a transaction";
        retry(Side::Source, what, &context.events, &context.cancel, read).await?.ok_or_else(|| {
            Problem {
                side: Side::Source,
                what: "the beginning of a transaction is no longer in the source's oplog".into(),
                why: format!("its part at {at} rolled over before it was read"),
                fix: "Enlarge the source's oplog (replSetResizeOplog) and start again.".into(),
                retry_helps: false,
                written: "The source is untouched; the destination keeps what was applied so far.".into(),
            }
            .into()
        })
    }
}

fn unknown_collection(change: &Change<'_>, raw: &RawDocument) -> Halt {
    Problem {
        side: Side::Bug,
        what: format!("a change of {} belongs to a collection that mongoferry does not know", change.ns),
        why: shortened(raw),
        fix: "Please report the text above.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was applied before this entry.".into(),
    }
    .into()
}
