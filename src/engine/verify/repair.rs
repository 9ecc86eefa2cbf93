//! Repair: documents that differ are fetched from the source again, written to the destination, and judged once more.

use super::{Target, Verifier, id::Id, judge::Verdict, progress::Mismatched, read::find_one, scan::Sink};
use crate::{
    engine::{
        dirty::Range,
        registry::Registry,
        repair::repeats_names,
        retry::{Halt, retry},
    },
    model::{Optime, Repaired, RepairedDocument, Severity, snapshot::Verification},
    mongo::{cluster::DriverError, errors::command_problem},
};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use std::collections::HashSet;

/// Documents that are copied again at the same time; each is in memory twice (at most 16 MiB each).
const CONCURRENT: usize = 8;

impl Verifier {
    /// Copies the mismatches of the last final pass again and compares them once more. The result is the new verdict, and
    /// what was repaired.
    pub async fn repair(&mut self, registry: &Registry) -> Result<(Verification, Repaired), Halt> {
        let targets = Target::all(registry, |_| 0);
        let mut repaired = Repaired::default();
        for target in &targets {
            match self.progress.mismatched(target.uuid) {
                None => {}
                Some(Mismatched::Ids(keys)) => {
                    let before = self.judge(target, &keys).await?;
                    self.copy_again(target, &keys).await?;
                    let verdicts = self.judge(target, &keys).await?;
                    add_repaired(&mut repaired, target, &before, &verdicts);
                    self.progress.clear_verdicts(target.uuid);
                    self.accept(target, verdicts).await?;
                }
                Some(Mismatched::Whole) => {
                    let before = self.progress.differing(target.uuid);
                    self.repair_whole(target).await?;
                    // Too many to be named.
                    repaired.documents += before.saturating_sub(self.progress.differing(target.uuid));
                }
            }
        }
        let differences = self.namespace_differences(&targets).await?;
        Ok((self.progress.complete(differences, self.dirty.count()), repaired))
    }

    /// Makes a collection on the destination what it is on the source, while both are in use. `false`: the source's
    /// collection went away or got another name meanwhile, and what was compared says nothing.
    pub async fn make_equal(&self, target: &Target) -> Result<bool, Halt> {
        for attempt in 1.. {
            if !self.is_there(target).await? {
                return Ok(false);
            }
            self.progress.restart(target.uuid, 0);
            match self.scan(target, &Range::default(), &mut Sink::Repair(Vec::new()), &self.context.cancel).await {
                Ok(()) => {
                    self.progress.finish(target.uuid);
                    return self.is_there(target).await;
                }
                Err(super::read::Interrupted::StartOver(side, error)) => {
                    self.pause_before(attempt.min(super::ATTEMPTS), target, side, &error, &self.context.cancel).await?;
                }
                Err(super::read::Interrupted::Halt(halt)) => return Err(halt),
            }
        }
        Ok(false)
    }

    /// Shows these collections as being compared.
    pub fn show(&self, targets: &[Target]) {
        self.progress.begin(targets);
    }

    async fn repair_whole(&self, target: &Target) -> Result<(), Halt> {
        match self.scan(target, &Range::default(), &mut Sink::Repair(Vec::new()), &self.context.cancel).await {
            Ok(()) | Err(super::read::Interrupted::StartOver(..)) => {}
            Err(super::read::Interrupted::Halt(halt)) => return Err(halt),
        }
        self.progress.clear_verdicts(target.uuid);
        self.final_whole(target).await?;
        self.progress.finish(target.uuid);
        Ok(())
    }

    /// Makes these documents on the destination what they are on the source. A write that the server refuses is an event
    /// and leaves the document as it is; the judgement after it says so.
    pub(super) async fn copy_again(&self, target: &Target, keys: &[Vec<u8>]) -> Result<(), Halt> {
        if let Some(opened) = self.since.destination {
            return self.copy_again_after(opened, target, keys).await;
        }
        let ids = keys.iter().filter_map(|key| Id::from_key(key));
        let copies: Vec<_> = ids.map(|id| self.copy_one_again(target, id).boxed()).collect();
        stream::iter(copies).buffer_unordered(CONCURRENT).try_for_each(|()| std::future::ready(Ok(()))).await
    }

    async fn copy_one_again(&self, target: &Target, id: Id<'_>) -> Result<(), Halt> {
        let context = &self.context;
        context.gate.pass(&context.cancel).await?;
        let wanted = find_one(context, &context.source, &target.namespace, id).await?;
        let refused = match &wanted {
            None => self.write(target, delete(target, id)).await?.err(),
            Some(document) => self.put(target, id, document).await?,
        };
        if let Some(refused) = refused {
            let text = format!("{} {}: the destination refused the repair: {refused}", target.namespace, id.show());
            context.events.record(Severity::Warn, "repair", text);
        }
        Ok(())
    }

    /// An upserting `$replaceWith` keeps a top-level zero timestamp, which inserts and replacements rewrite (OPLOG.md
    /// B.7). What it cannot store exactly (another `_id` type or spelling) is deleted and inserted, and so is a repeated
    /// field name: 6.0 aborts when a pipeline changes a document from or to one (document_diff_serialization.cpp).
    async fn put(&self, target: &Target, id: Id<'_>, document: &[u8]) -> Result<Option<String>, Halt> {
        let Ok(wanted) = RawDocument::from_bytes(document) else {
            return Ok(Some("the source's document is not valid BSON".into()));
        };
        let context = &self.context;
        let look = || find_one(context, &context.destination, &target.namespace, id);
        let stored = look().await?;
        if stored.as_deref() == Some(document) {
            return Ok(None);
        }
        let repeats = repeats_names(wanted) || stored.as_deref().is_some_and(holds_repeated_names);
        if !repeats {
            let upserted = self.write(target, upsert(target, id, wanted)).await?;
            if look().await?.as_deref() == Some(document) {
                return Ok(None);
            }
            if has_zero_timestamp(wanted) && upserted.is_ok() {
                return Ok(Some("the document cannot be stored byte for byte".into()));
            }
        } else if has_zero_timestamp(wanted) && repeats_names(wanted) {
            return Ok(Some("a zero timestamp beside a repeated field name cannot be stored byte for byte".into()));
        }
        // One command after the other: the destination is not in use yet, and the source keeps the document.
        if let Err(refused) = self.write(target, delete(target, id)).await? {
            return Ok(Some(refused));
        }
        Ok(self.write(target, insert(target, wanted)).await?.err())
    }

    /// Runs one write with majority write concern; what it did, or the server's reason when it refused the statement.
    pub(super) async fn write(
        &self,
        target: &Target,
        mut command: RawDocumentBuf,
    ) -> Result<Result<Wrote, String>, Halt> {
        command.append(bson::raw::cstr!("writeConcern"), rawdoc! { "w": "majority" });
        let context = &self.context;
        let cluster = &context.destination;
        let what = format!("repairing a document of {}", target.namespace);
        let reply = retry(cluster.side, &what, &context.events, &context.cancel, || {
            cluster.run(&target.namespace.db, command.clone())
        })
        .await?;
        match refusal(&reply) {
            Ok(None) => Ok(Ok(wrote(&reply))),
            Ok(Some(refused)) => Ok(Err(refused)),
            Err(error) => Err(command_problem(cluster.side, what, &error).into()),
        }
    }
}

/// Where a write of ours stands in the destination's oplog; `None` when it found nothing to write.
pub(super) type Wrote = Option<Optime>;

fn wrote(reply: &RawDocument) -> Wrote {
    let number = |field: &str| reply.get(field).ok().flatten().and_then(crate::mongo::catalog::number);
    let is_upserted = reply.get("upserted").is_ok_and(|upserted| upserted.is_some());
    // An update that changed nothing is not in the oplog.
    let written = number("nModified").or_else(|| number("n"))?;
    let own = reply.get_document("opTime").and_then(|position| position.get_timestamp("ts"));
    let at = own.or_else(|_| reply.get_timestamp("operationTime")).ok()?;
    (written > 0 || is_upserted).then(|| Optime::new(at.time, at.increment))
}

/// What differed before and does not any more.
fn add_repaired(repaired: &mut Repaired, target: &Target, before: &[Verdict], after: &[Verdict]) {
    let at = Timestamp::now();
    let left: HashSet<&[u8]> = after.iter().flat_map(Verdict::keys).collect();
    for verdict in before.iter().filter(|verdict| !verdict.keys().any(|key| left.contains(key))) {
        repaired.add(|| RepairedDocument {
            namespace: target.namespace.to_string(),
            id: Id::from_key(verdict.key()).map(Id::show).unwrap_or_default(),
            kind: verdict.kind(),
            at,
        });
    }
}

/// `ok` is 1 even when every statement failed (OPLOG.md section 0, rule 9).
fn refusal(reply: &RawDocument) -> Result<Option<String>, DriverError> {
    if let Some(RawBsonRef::Array(errors)) = reply.get("writeErrors")?
        && let Some(first) = errors.into_iter().next()
        && let RawBsonRef::Document(error) = first?
    {
        return Ok(Some(error.get_str("errmsg").unwrap_or("no reason given").into()));
    }
    if let Some(RawBsonRef::Document(error)) = reply.get("writeConcernError")? {
        return Ok(Some(error.get_str("errmsg").unwrap_or("no reason given").into()));
    }
    Ok(None)
}

fn upsert(target: &Target, id: Id<'_>, document: &RawDocument) -> RawDocumentBuf {
    let literal = rawdoc! { "$replaceWith": { "$literal": document.to_owned() } };
    rawdoc! {
        "update": target.namespace.coll.as_str(),
        "updates": [{ "q": equal(id), "u": [literal], "upsert": true }],
        "bypassDocumentValidation": true,
    }
}

fn delete(target: &Target, id: Id<'_>) -> RawDocumentBuf {
    rawdoc! { "delete": target.namespace.coll.as_str(), "deletes": [{ "q": equal(id), "limit": 1 }] }
}

pub(super) fn insert(target: &Target, document: &RawDocument) -> RawDocumentBuf {
    rawdoc! {
        "insert": target.namespace.coll.as_str(),
        "documents": [document.to_owned()],
        "bypassDocumentValidation": true,
    }
}

/// True when some field name stands twice in one of its documents.
pub(super) fn holds_repeated_names(document: &[u8]) -> bool {
    RawDocument::from_bytes(document).is_ok_and(repeats_names)
}

pub(super) fn equal(id: Id<'_>) -> RawDocumentBuf {
    super::id::in_filter(std::iter::once(id))
}

pub(super) fn has_zero_timestamp(document: &RawDocument) -> bool {
    super::id::elements(document.as_bytes())
        .any(|element| element.value.kind() == 0x11 && element.value.value() == [0; 8])
}
