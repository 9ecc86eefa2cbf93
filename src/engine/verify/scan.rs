//! Both sides of a collection streamed beside each other; what is not byte-equal at the same place is a candidate.

use super::{
    Target, Verifier,
    id::Id,
    read::{Interrupted, Reader},
};
use crate::engine::{
    dirty::{DirtySet, Range},
    retry::Halt,
};
use std::cmp::Ordering;
use tokio_util::sync::CancellationToken;

/// Candidates are judged when this many have come together.
const JUDGE_AT: usize = 500;
/// A range that is remembered holds at least so many documents, and a collection has about so many ranges at most.
const RANGE_DOCUMENTS: u64 = 20_000;
const MAX_RANGES: u64 = 1_000;
/// Documents between two looks for a place where a range can end.
const SHORT_STEP: u64 = 100;
/// How far a document of a collated collection is looked for on the other side.
const LOOK_AHEAD: usize = 256;

/// Where candidates go.
#[derive(Debug)]
pub enum Sink<'a> {
    /// The base pass: only remembered, and how far it got.
    Base(&'a DirtySet),
    /// A range of it once more: only remembered.
    Remember(&'a DirtySet),
    /// The final pass: looked up by `_id` on both sides at once, and the verdict is recorded.
    Judge(Vec<Vec<u8>>),
    /// Repair: looked up, and copied again where they differ.
    Repair(Vec<Vec<u8>>),
}

impl Sink<'_> {
    fn push(&mut self, target: &Target, document: &[u8]) {
        // A stored document always has an _id; without one it could not be named, so everything is in doubt.
        let Some(key) = Id::of(document).map(Id::key) else {
            if let Sink::Base(dirty) | Sink::Remember(dirty) = self {
                dirty.touch_all(target.uuid);
            }
            return;
        };
        match self {
            Sink::Base(dirty) | Sink::Remember(dirty) => dirty.touch(target.uuid, &key),
            Sink::Judge(pending) | Sink::Repair(pending) => pending.push(key),
        }
    }

    fn pending(&self) -> usize {
        match self {
            Sink::Base(_) | Sink::Remember(_) => 0,
            Sink::Judge(pending) | Sink::Repair(pending) => pending.len(),
        }
    }
}

impl Verifier {
    /// Streams a range of a collection. Candidates go to `sink`; everything else was byte-equal.
    pub(super) async fn scan(
        &self,
        target: &Target,
        range: &Range,
        sink: &mut Sink<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        let context = &self.context;
        let (namespace, access) = (&target.namespace, target.shape.access);
        let (source, destination) = tokio::join!(
            Reader::open(context, (&context.source, Some(&context.throttle)), namespace, access, range),
            Reader::open(context, (&context.destination, None), namespace, access, range),
        );
        let (mut source, mut destination) = (source?, destination?);
        let step = (target.documents / MAX_RANGES).max(RANGE_DOCUMENTS);
        let mut in_range = 0;
        loop {
            context.gate.pass(stop).await?;
            let (left, right) = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Halt::Cancelled.into()),
                filled = async { tokio::join!(source.fill(), destination.fill()) } => filled,
            };
            left?;
            right?;
            if in_range >= step
                && let Sink::Base(dirty) = sink
                && let Some(key) = meeting_point(target, &source, &destination)
            {
                dirty.reached(target.uuid, key, target.shape.collated, self.progress.documents(target.uuid));
                in_range = 0;
            }
            let most = step.saturating_sub(in_range).max(SHORT_STEP);
            let compared = step_until_empty(target, &mut source, &mut destination, sink, most);
            self.progress.add(target.uuid, compared);
            in_range += compared;
            let ended = source.head().is_none()
                && destination.head().is_none()
                && !source.wants_more()
                && !destination.wants_more();
            if ended || sink.pending() >= JUDGE_AT {
                self.flush(target, sink).await?;
            }
            self.progress.publish_soon(self.dirty.count());
            if ended {
                return Ok(());
            }
        }
    }

    async fn flush(&self, target: &Target, sink: &mut Sink<'_>) -> Result<(), Halt> {
        match sink {
            Sink::Base(_) | Sink::Remember(_) => Ok(()),
            Sink::Judge(pending) => {
                let keys = std::mem::take(pending);
                let verdicts = self.judge(target, &keys).await?;
                self.accept(target, verdicts).await
            }
            Sink::Repair(pending) => {
                let keys = std::mem::take(pending);
                self.copy_again(target, &keys).await
            }
        }
    }
}

/// The key before which everything is compared on both sides, whatever their order: each side has handed out everything
/// before it. `None` where reading cannot begin there.
fn meeting_point(target: &Target, source: &Reader<'_>, destination: &Reader<'_>) -> Option<Vec<u8>> {
    let (a, b) = (Id::of(source.head()?)?, Id::of(destination.head()?)?);
    (a == b && target.shape.access.can_begin_at(a)).then(|| a.key())
}

/// Compares until one side needs another batch, enough candidates came together, or enough was compared. Returns the documents of the longer
/// side that were looked at.
fn step_until_empty(
    target: &Target,
    source: &mut Reader<'_>,
    destination: &mut Reader<'_>,
    sink: &mut Sink<'_>,
    most: u64,
) -> u64 {
    let mut compared = 0;
    while compared < most && !source.wants_more() && !destination.wants_more() && sink.pending() < JUDGE_AT {
        let order = match (source.head(), destination.head()) {
            (None, None) => break,
            (Some(document), None) => {
                sink.push(target, document);
                Ordering::Less
            }
            (None, Some(document)) => {
                sink.push(target, document);
                Ordering::Greater
            }
            (Some(a), Some(b)) if a == b => Ordering::Equal,
            (Some(a), Some(b)) => {
                let order = if target.shape.collated {
                    look_ahead(source, destination, a, b)
                } else {
                    match (Id::of(a), Id::of(b)) {
                        (Some(a), Some(b)) => a.compare(b),
                        _ => Ordering::Equal,
                    }
                };
                if order != Ordering::Greater {
                    sink.push(target, a);
                }
                if order != Ordering::Less {
                    sink.push(target, b);
                }
                order
            }
        };
        if order != Ordering::Greater {
            source.advance();
        }
        if order != Ordering::Less {
            destination.advance();
        }
        compared += 1;
    }
    compared
}

/// Which side to read on when the order of identifiers is a collation's: the one that finds the other's head sooner.
fn look_ahead(source: &Reader<'_>, destination: &Reader<'_>, a: &[u8], b: &[u8]) -> Ordering {
    let (Some(a), Some(b)) = (Id::of(a), Id::of(b)) else { return Ordering::Equal };
    if a == b {
        return Ordering::Equal;
    }
    let distance = |reader: &Reader<'_>, id: Id<'_>| {
        reader.ahead().take(LOOK_AHEAD).position(|document| Id::of(document) == Some(id)).unwrap_or(usize::MAX)
    };
    // The destination's head comes later on the source: the source's documents before it are missing there.
    distance(destination, a).cmp(&distance(source, b)).reverse()
}
