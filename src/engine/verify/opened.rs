//! Repair on a destination that the application writes to: a document is written only while it is what it was when
//! nobody had written it since the opening.

use super::{
    Target, Verifier,
    id::Id,
    judge::Verdict,
    read::find_one,
    repair::{equal, has_zero_timestamp, holds_repeated_names, insert},
};
use crate::{
    engine::{repair::repeats_names, retry::Halt},
    model::{Optime, Severity},
};
use bson::{RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

/// Documents looked at together; each is in memory twice (at most 16 MiB each).
const AT_ONCE: usize = 8;

/// One document on both sides, as BSON bytes.
struct Both {
    source: Option<Vec<u8>>,
    destination: Option<Vec<u8>>,
}

impl Both {
    /// 6.0 aborts when a pipeline changes a document from or to repeated field names. Nothing else is atomic.
    fn cannot_be_updated(&self) -> bool {
        let repeats = |document: &Option<Vec<u8>>| document.as_deref().is_some_and(holds_repeated_names);
        let is_inserted = self.destination.is_none() && !parsed(&self.source).is_some_and(has_zero_timestamp);
        self.source.is_some() && !is_inserted && (repeats(&self.source) || repeats(&self.destination))
    }

    /// Named by what finds it on either side: the destination's `_id` may be of another type or spelling.
    fn verdict(&self, id: Id<'_>) -> Verdict {
        let there = self.destination.as_deref().and_then(Id::of).map_or_else(|| id.key(), Id::key);
        Verdict::Different(id.key(), there)
    }
}

impl Verifier {
    /// The same as copying again while the destination is closed, without touching what the application wrote.
    pub(super) async fn copy_again_after(&self, opened: Optime, target: &Target, keys: &[Vec<u8>]) -> Result<(), Halt> {
        let context = &self.context;
        for chunk in keys.chunks(AT_ONCE) {
            let mut looks = Vec::new();
            for key in chunk {
                let Some(id) = Id::from_key(key) else { continue };
                let (source, destination) = tokio::join!(
                    find_one(context, &context.source, &target.namespace, id),
                    find_one(context, &context.destination, &target.namespace, id),
                );
                looks.push((id, Both { source: source?, destination: destination? }));
            }
            // Asked after they were read: what is not in the oplog now was not written before.
            let verdicts: Vec<Verdict> = looks.iter().map(|(id, both)| both.verdict(*id)).collect();
            let Some(written) = self.written_by_application(target, opened, &verdicts).await? else {
                let text = format!("{}: not repaired; it is not known what the application wrote", target.namespace);
                context.events.record(Severity::Warn, "repair", text);
                return Ok(());
            };
            for ((id, both), verdict) in looks.into_iter().zip(&verdicts) {
                if written.has(verdict) {
                    continue;
                }
                if both.cannot_be_updated() {
                    let what = format!("{} {}", target.namespace, id.show());
                    let text =
                        format!("{what}: not repaired; a field name stands twice in it, which no update can write");
                    context.events.record(Severity::Warn, "repair", text);
                    continue;
                }
                let Some(command) = command(target, id, &both) else { continue };
                match self.write(target, command).await? {
                    Ok(at) => self.note_own(target, id, at),
                    Err(refused) => {
                        let what = format!("{} {}", target.namespace, id.show());
                        let text = format!("{what}: the destination refused the repair: {refused}");
                        context.events.record(Severity::Warn, "repair", text);
                    }
                }
            }
        }
        Ok(())
    }
}

fn parsed(document: &Option<Vec<u8>>) -> Option<&RawDocument> {
    document.as_deref().and_then(|bytes| RawDocument::from_bytes(bytes).ok())
}

/// What makes the destination's document the source's, and nothing when it is another one by then.
fn command(target: &Target, id: Id<'_>, both: &Both) -> Option<RawDocumentBuf> {
    let coll = target.namespace.coll.as_str();
    let here = parsed(&both.destination);
    let mut filter = equal(id);
    match here {
        // Equality here takes 1 for 1.0, which is close enough to notice a write. 4.4 refuses `$eq` on `$$ROOT` ("FieldPath::tail()
        // called on single element path").
        Some(here) => {
            let same = rawdoc! { "$in": ["$$ROOT", { "$literal": [here.to_owned()] }] };
            filter.append(cstr!("$expr"), same);
        }
        // An upsert that finds nothing: a document that is there by then is refused as a duplicate.
        None => filter.append(cstr!("$alwaysFalse"), 1),
    }
    let wanted = parsed(&both.source);
    if let (None, Some(wanted)) = (here, wanted)
        && repeats_names(wanted)
    {
        // Refused as a duplicate when it is there by then.
        return Some(insert(target, wanted));
    }
    let Some(wanted) = wanted else {
        return here.is_some().then(|| rawdoc! { "delete": coll, "deletes": [{ "q": filter, "limit": 1 }] });
    };
    let literal = rawdoc! { "$replaceWith": { "$literal": wanted.to_owned() } };
    Some(rawdoc! {
        "update": coll,
        "updates": [{ "q": filter, "u": [literal], "upsert": here.is_none() }],
        "bypassDocumentValidation": true,
    })
}
