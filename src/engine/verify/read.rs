//! Reading documents for comparison: whole collections as raw batches in `_id` order, and single documents by `_id`.
//!
//! Every read has read concern majority and goes to the primary. Never writes, never decides what is equal.

use super::id::{Id, in_filter};
use crate::{
    engine::{
        context::Context,
        dirty::Range,
        retry::{Halt, retry},
        throttle::Throttle,
    },
    model::{Severity, Side},
    mongo::{
        Cluster, Namespace,
        cluster::DriverError,
        errors::{code, command_problem, explain, may_pass},
        id_range::{last, read_between, stops_before_last},
    },
};
use bson::{RawDocumentBuf, raw::cstr, rawdoc};
use futures_util::StreamExt;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use sha2::{Digest, Sha256};

/// An operator or a session's end interrupted the read (killOp, killAllSessions). Reading on is safe.
const INTERRUPTED: i32 = 11601;
/// BSON's type byte.
const OBJECT_ID: u8 = 0x07;
/// A server's batch is not larger, save for one document.
const MOST_BATCH: u64 = 16 << 20;

/// How a collection can be read in order and taken up again after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Through the `_id` index, or the clustered one; taken up again with `min`, which crosses types (a filter would stop
    /// at its own type).
    Index,
    /// Storage order, which is `_id` order. There is no index on `_id`, and before 6.0 no hint that stands for one; a
    /// filter bounds the scan, and the server names every bucket by an ObjectId.
    Buckets,
}

impl Access {
    /// Reading can be taken up at this document.
    pub fn can_begin_at(self, id: Id<'_>) -> bool {
        self == Access::Index || id.kind() == OBJECT_ID
    }
}

/// Why reading ended early.
#[derive(Debug)]
pub enum Interrupted {
    /// A transient error; this access cannot be taken up in the middle, so the comparison starts over.
    StartOver(Side, DriverError),
    /// For good.
    Halt(Halt),
}

impl From<Halt> for Interrupted {
    fn from(halt: Halt) -> Self {
        Interrupted::Halt(halt)
    }
}

/// One side of a comparison: the documents of a collection, one batch (at most 16 MiB and one document) in memory.
pub struct Reader<'a> {
    context: &'a Context,
    cluster: &'a Cluster,
    throttle: Option<&'a Throttle>,
    namespace: Namespace,
    access: Access,
    range: Range,
    cursor: RawBatchCursor,
    /// Where that cursor began.
    from: Option<Vec<u8>>,
    /// Documents that the cursor is asked for at a time; `None`: the server's choice, up to 16 MiB.
    most: Option<u32>,
    batch: Batch,
    ended: bool,
    /// The last document handed out, to take up from.
    last: Option<Vec<u8>>,
}

/// A reply of the server and where its documents are.
#[derive(Debug, Default)]
struct Batch {
    reply: Option<RawBatch>,
    spans: Vec<(usize, usize)>,
    next: usize,
}

impl Batch {
    fn new(reply: RawBatch) -> Result<Self, DriverError> {
        let start = reply.as_raw_document().as_bytes().as_ptr().addr();
        let mut spans = Vec::new();
        for value in reply.doc_slices()? {
            if let Some(document) = value?.as_document() {
                let bytes = document.as_bytes();
                let from = bytes.as_ptr().addr() - start;
                spans.push((from, from + bytes.len()));
            }
        }
        Ok(Self { reply: Some(reply), spans, next: 0 })
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        let (from, to) = *self.spans.get(index)?;
        self.reply.as_ref()?.as_raw_document().as_bytes().get(from..to)
    }

    fn size(&self) -> u64 {
        self.reply.as_ref().map_or(0, |reply| reply.as_raw_document().as_bytes().len() as u64)
    }
}

impl<'a> Reader<'a> {
    /// Opens a range of a collection, between documents where [`Access::can_begin_at`]. A collection that does not exist
    /// reads as empty.
    pub async fn open(
        context: &'a Context,
        (cluster, throttle): (&'a Cluster, Option<&'a Throttle>),
        namespace: &Namespace,
        access: Access,
        range: &Range,
    ) -> Result<Self, Halt> {
        let cursor = open(context, cluster, namespace, access, (range, None)).await?;
        Ok(Self {
            context,
            cluster,
            throttle,
            namespace: namespace.clone(),
            access,
            range: range.clone(),
            cursor,
            from: range.from.clone(),
            most: None,
            batch: Batch::default(),
            ended: false,
            last: None,
        })
    }

    /// The document at the head, as BSON bytes; `None` at the end, and before [`Reader::fill`].
    pub fn head(&self) -> Option<&[u8]> {
        self.batch.at(self.batch.next)
    }

    /// The documents of the batch in memory behind the head, without the head.
    pub fn ahead(&self) -> impl Iterator<Item = &[u8]> {
        (self.batch.next + 1..self.batch.spans.len()).filter_map(|index| self.batch.at(index))
    }

    /// Goes to the next document.
    pub fn advance(&mut self) {
        self.batch.next += 1;
    }

    /// True when [`Reader::fill`] has something to do.
    pub fn wants_more(&self) -> bool {
        !self.ended && self.head().is_none()
    }

    /// Makes sure that a document is at the head unless the collection is at its end.
    pub async fn fill(&mut self) -> Result<(), Interrupted> {
        while self.wants_more() {
            self.remember_last();
            self.resize().await?;
            let next = tokio::select! {
                () = self.context.cancel.cancelled() => return Err(Halt::Cancelled.into()),
                next = self.cursor.next() => next,
            };
            match next.map(|reply| reply.and_then(Batch::new)) {
                None => self.end_or_last().await?,
                Some(Ok(batch)) => {
                    if let Some(throttle) = self.throttle {
                        tokio::select! {
                            () = self.context.cancel.cancelled() => return Err(Halt::Cancelled.into()),
                            () = throttle.take(batch.size()) => {}
                        }
                    }
                    self.batch = batch;
                    self.skip_what_was_handed_out();
                }
                Some(Err(error)) => self.take_up(error).await?,
            }
        }
        Ok(())
    }

    /// The end of the cursor is the end of the range, unless it left out the last identifier of all.
    async fn end_or_last(&mut self) -> Result<(), Halt> {
        let bound = |key: &Option<Vec<u8>>| key.as_deref().and_then(Id::from_key).map(Id::document);
        let (from, to) = (bound(&self.from), bound(&self.range.to));
        if self.access == Access::Index && stops_before_last(from.as_deref(), to.as_deref()) {
            let last = Id::of(last().as_bytes()).map(Id::key);
            self.go_on_from(last, self.most).await
        } else {
            self.ended = true;
            Ok(())
        }
    }

    /// Reads what is left of the range with a new cursor.
    async fn go_on_from(&mut self, from: Option<Vec<u8>>, most: Option<u32>) -> Result<(), Halt> {
        let rest = Range { from, to: self.range.to.clone() };
        self.cursor = open(self.context, self.cluster, &self.namespace, self.access, (&rest, most)).await?;
        (self.from, self.most) = (rest.from, most);
        Ok(())
    }

    fn remember_last(&mut self) {
        if let Some(last) = self.batch.spans.len().checked_sub(1).and_then(|index| self.batch.at(index)) {
            self.last = Id::of(last).map(Id::key);
        }
    }

    /// `min` is inclusive.
    fn skip_what_was_handed_out(&mut self) {
        if let (Some(last), Some(head)) = (&self.last, self.head())
            && Id::of(head).is_some_and(|id| id.key() == *last)
        {
            self.advance();
        }
    }

    /// Under a limit one batch shall not be a burst of seconds: reads on with a cursor whose batches suit the limit of now.
    async fn resize(&mut self) -> Result<(), Halt> {
        let (Some(throttle), Some(last)) = (self.throttle, &self.last) else { return Ok(()) };
        let Some(average) = self.batch.size().checked_div(self.batch.spans.len() as u64) else { return Ok(()) };
        let suits = |most: u64| u32::try_from((throttle.batch_bytes(most) / average.max(1)).max(2)).unwrap_or(u32::MAX);
        let wanted = throttle.limit().map(|_| suits(MOST_BATCH));
        let is_near = match (self.most, wanted) {
            (Some(most), Some(wanted)) => wanted / 2 <= most && most / 2 <= wanted,
            (None, None) => true,
            _ => false,
        };
        if is_near || !Id::from_key(last).is_some_and(|id| self.access.can_begin_at(id)) {
            return Ok(());
        }
        self.go_on_from(Some(last.clone()), wanted).await
    }

    async fn take_up(&mut self, error: DriverError) -> Result<(), Interrupted> {
        let side = self.cluster.side;
        if !may_pass(&error) && code(&error) != Some(INTERRUPTED) {
            let what = format!("reading {} for verification failed", self.namespace);
            return Err(Halt::from(command_problem(side, what, &error)).into());
        }
        let from = self.last.clone().or_else(|| self.range.from.clone());
        if from.as_deref().and_then(Id::from_key).is_some_and(|id| !self.access.can_begin_at(id)) {
            return Err(Interrupted::StartOver(side, error));
        }
        let text = format!(
            "{side}: reading {} for verification was interrupted and goes on: {}",
            self.namespace,
            explain(&error)
        );
        self.context.events.record(Severity::Warn, "retry", text);
        self.batch = Batch::default();
        Ok(self.go_on_from(from, self.most).await?)
    }
}

async fn open(
    context: &Context,
    cluster: &Cluster,
    namespace: &Namespace,
    access: Access,
    (range, most): (&Range, Option<u32>),
) -> Result<RawBatchCursor, Halt> {
    let what = format!("reading {namespace} for verification");
    retry(cluster.side, &what, &context.events, &context.cancel, || async {
        let mut command = rawdoc! { "find": namespace.coll.as_str() };
        let (from, to) = (range.from.as_deref().and_then(Id::from_key), range.to.as_deref().and_then(Id::from_key));
        match access {
            Access::Index => {
                let (from, to) = (from.map(Id::document), to.map(Id::document));
                read_between(&mut command, from.as_deref(), to.as_deref());
            }
            Access::Buckets => {
                command.append(cstr!("hint"), rawdoc! { "$natural": 1 });
                command.append(cstr!("filter"), between(from, to));
            }
        }
        command.append(cstr!("readConcern"), rawdoc! { "level": "majority" });
        if let Some(most) = most {
            command.append(cstr!("batchSize"), i64::from(most));
        }
        let database = cluster.login.database(&namespace.db);
        let run = database.run_raw_cursor_command(command);
        if let Some(most) = most { run.batch_size(most) } else { run }.batch().await
    })
    .await
}

/// Matches identifiers in `[from, to)`.
fn between(from: Option<Id<'_>>, to: Option<Id<'_>>) -> RawDocumentBuf {
    let mut bounds = RawDocumentBuf::new();
    for (operator, id) in [(cstr!("$gte"), from), (cstr!("$lt"), to)] {
        if let Some(bound) = id.and_then(|id| id.document().get("_id").ok().flatten().map(bson::RawBson::from)) {
            bounds.append(operator, bound);
        }
    }
    if bounds.is_empty() {
        RawDocumentBuf::new()
    } else {
        rawdoc! { "_id": bounds }
    }
}

/// A document as it was found: its `_id` key and the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Type byte, then value bytes of the `_id` as stored.
    pub key: Vec<u8>,
    /// SHA-256 of the whole document.
    pub digest: [u8; 32],
}

/// The documents that these identifiers find, in the server's order, as digests: memory holds one batch at a time.
/// `ids` should be at most a few hundred, so that the command stays small.
pub async fn find(
    context: &Context,
    cluster: &Cluster,
    namespace: &Namespace,
    ids: &[Id<'_>],
) -> Result<Vec<Found>, Halt> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let what = format!("reading documents of {namespace} for verification");
    retry(cluster.side, &what, &context.events, &context.cancel, || async {
        let mut cursor = by_id(cluster, namespace, ids).await?;
        let mut found = Vec::new();
        while let Some(batch) = cursor.next().await {
            let batch = Batch::new(batch?)?;
            for document in (0..batch.spans.len()).filter_map(|index| batch.at(index)) {
                let key = Id::of(document).map(Id::key).unwrap_or_default();
                found.push(Found { key, digest: Sha256::digest(document).into() });
            }
        }
        Ok(found)
    })
    .await
}

/// The one document that this identifier finds, as BSON bytes.
pub async fn find_one(
    context: &Context,
    cluster: &Cluster,
    namespace: &Namespace,
    id: Id<'_>,
) -> Result<Option<Vec<u8>>, Halt> {
    let what = format!("reading a document of {namespace} for verification");
    retry(cluster.side, &what, &context.events, &context.cancel, || try_one(cluster, namespace, id)).await
}

/// The same, tried once.
pub async fn try_one(cluster: &Cluster, namespace: &Namespace, id: Id<'_>) -> Result<Option<Vec<u8>>, DriverError> {
    let mut cursor = by_id(cluster, namespace, &[id]).await?;
    while let Some(batch) = cursor.next().await {
        if let Some(document) = Batch::new(batch?)?.at(0) {
            return Ok(Some(document.to_vec()));
        }
    }
    Ok(None)
}

async fn by_id(cluster: &Cluster, namespace: &Namespace, ids: &[Id<'_>]) -> Result<RawBatchCursor, DriverError> {
    let command = rawdoc! {
        "find": namespace.coll.as_str(),
        "filter": in_filter(ids.iter().copied()),
        "readConcern": { "level": "majority" },
    };
    cluster.login.database(&namespace.db).run_raw_cursor_command(command).batch().await
}
