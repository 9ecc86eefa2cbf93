//! The verdict on single documents: read on both sides by `_id`, compared by digest of their bytes.

use super::{
    Target, Verifier,
    diff::differing_paths,
    id::Id,
    read::{Found, find, find_one},
};
use crate::{
    engine::retry::Halt,
    model::snapshot::{Mismatch, MismatchKind},
};
use std::{cmp::Ordering, collections::HashMap};

/// Identifiers asked for in one command, and their bytes.
const CHUNK_IDS: usize = 500;
const CHUNK_BYTES: usize = 1 << 20;

/// A document that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// On the source only; its key.
    Missing(Vec<u8>),
    /// On the destination only; its key.
    Extra(Vec<u8>),
    /// On both with other bytes; the key on the source, the key on the destination.
    Different(Vec<u8>, Vec<u8>),
}

impl Verdict {
    /// Every key that finds the document on either side.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let (first, second) = match self {
            Verdict::Missing(key) | Verdict::Extra(key) => (key, None),
            Verdict::Different(source, destination) => (source, (source != destination).then_some(destination)),
        };
        std::iter::once(first).chain(second).map(Vec::as_slice)
    }

    /// The key that names the document: the source's where there is one.
    pub fn key(&self) -> &[u8] {
        match self {
            Verdict::Missing(key) | Verdict::Extra(key) | Verdict::Different(key, _) => key,
        }
    }

    /// How it differs.
    pub fn kind(&self) -> MismatchKind {
        match self {
            Verdict::Missing(_) => MismatchKind::Missing,
            Verdict::Extra(_) => MismatchKind::Extra,
            Verdict::Different(..) => MismatchKind::Different,
        }
    }
}

/// A document that was not the same on both sides when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How it differs.
    pub verdict: Verdict,
    /// SHA-256 of what each side had: source, destination.
    pub seen: (Option<[u8; 32]>, Option<[u8; 32]>),
}

impl Verifier {
    /// Reads these documents on both sides and returns those that are not the same.
    pub(super) async fn judge(&self, target: &Target, keys: &[Vec<u8>]) -> Result<Vec<Verdict>, Halt> {
        Ok(self.look(target, keys).await?.into_iter().map(|judged| judged.verdict).collect())
    }

    /// The same, with what was seen.
    pub(super) async fn look(&self, target: &Target, keys: &[Vec<u8>]) -> Result<Vec<Judged>, Halt> {
        let mut ids: Vec<Id<'_>> = keys.iter().filter_map(|key| Id::from_key(key)).collect();
        // Identifiers that are one key for the server stand beside each other, so that one chunk sees them all.
        ids.sort_by(|a, b| a.compare(*b));
        ids.dedup();
        let mut judged = Vec::new();
        for chunk in chunks(&ids, target.shape.collated) {
            self.context.gate.pass(&self.context.cancel).await?;
            let context = &self.context;
            let (source, destination) = tokio::join!(
                find(context, &context.source, &target.namespace, chunk),
                find(context, &context.destination, &target.namespace, chunk),
            );
            judged.extend(compare(source?, destination?, target.shape.collated));
            self.progress.rechecked(chunk.len() as u64);
        }
        Ok(judged)
    }

    /// Records the verdicts that are the copy's; the first ones become examples with the paths that differ. The documents stay dirty, so that a
    /// later pass looks at them again.
    pub(super) async fn accept(&self, target: &Target, verdicts: Vec<Verdict>) -> Result<(), Halt> {
        for verdict in self.unexplained(target, verdicts).await? {
            verdict.keys().for_each(|key| self.dirty.touch(target.uuid, key));
            if self.progress.record(target, &verdict) {
                let example = self.describe(target, &verdict).await?;
                self.progress.add_example(target.uuid, example);
            }
        }
        Ok(())
    }

    async fn describe(&self, target: &Target, verdict: &Verdict) -> Result<Mismatch, Halt> {
        let mut paths = Vec::new();
        if let Verdict::Different(source, destination) = verdict
            && let (Some(a), Some(b)) = (Id::from_key(source), Id::from_key(destination))
        {
            let context = &self.context;
            let (a, b) = tokio::join!(
                find_one(context, &context.source, &target.namespace, a),
                find_one(context, &context.destination, &target.namespace, b),
            );
            if let (Some(a), Some(b)) = (a?, b?) {
                paths = differing_paths(&a, &b);
            }
        }
        Ok(Mismatch {
            namespace: target.namespace.to_string(),
            id: Id::from_key(verdict.key()).map(Id::show).unwrap_or_default(),
            kind: verdict.kind(),
            paths,
        })
    }
}

/// Slices of `ids` that fit one command each; one by one where the collection has a collation.
fn chunks<'a, 'b>(ids: &'b [Id<'a>], collated: bool) -> impl Iterator<Item = &'b [Id<'a>]> {
    let most = if collated { 1 } else { CHUNK_IDS };
    let mut rest = ids;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |id: &&Id<'a>| {
            bytes += id.value().len() + 16;
            bytes <= CHUNK_BYTES
        };
        let count = rest.iter().take(most).take_while(fits).count().max(1);
        let (chunk, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(chunk)
    })
}

fn compare(source: Vec<Found>, destination: Vec<Found>, collated: bool) -> Vec<Judged> {
    let mut there: HashMap<Vec<u8>, [u8; 32]> =
        destination.into_iter().map(|found| (found.key, found.digest)).collect();
    let mut judged = Vec::new();
    let mut alone = Vec::new();
    for found in source {
        match there.remove(&found.key) {
            Some(digest) if digest == found.digest => {}
            Some(digest) => judged.push(Judged {
                verdict: Verdict::Different(found.key.clone(), found.key),
                seen: (Some(found.digest), Some(digest)),
            }),
            None => alone.push(found),
        }
    }
    let mut extra: Vec<(Vec<u8>, [u8; 32])> = there.into_iter().collect();
    extra.sort();
    for Found { key, digest } in alone {
        let twin = extra.iter().position(|(other, _)| collated || is_one_key(&key, other));
        judged.push(match twin.map(|at| extra.swap_remove(at)) {
            Some((other, here)) => Judged { verdict: Verdict::Different(key, other), seen: (Some(digest), Some(here)) },
            None => Judged { verdict: Verdict::Missing(key), seen: (Some(digest), None) },
        });
    }
    let extra = extra.into_iter();
    judged.extend(extra.map(|(key, digest)| Judged { verdict: Verdict::Extra(key), seen: (None, Some(digest)) }));
    judged
}

fn is_one_key(a: &[u8], b: &[u8]) -> bool {
    match (Id::from_key(a), Id::from_key(b)) {
        (Some(a), Some(b)) => a.compare(b) == Ordering::Equal,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    fn key(document: &bson::RawDocumentBuf) -> Vec<u8> {
        Id::of(document.as_bytes()).expect("id").key()
    }

    fn found(document: &bson::RawDocumentBuf, digest: u8) -> Found {
        Found { key: key(document), digest: [digest; 32] }
    }

    fn compare(source: Vec<Found>, destination: Vec<Found>, collated: bool) -> Vec<Verdict> {
        super::compare(source, destination, collated).into_iter().map(|judged| judged.verdict).collect()
    }

    #[test]
    fn every_difference_gets_its_kind_whatever_the_order() {
        let (a, b, c, d) = (rawdoc! {"_id": 1}, rawdoc! {"_id": 2}, rawdoc! {"_id": 3}, rawdoc! {"_id": 4});
        let source = vec![found(&a, 1), found(&b, 1), found(&c, 1)];
        let destination = vec![found(&d, 1), found(&b, 9), found(&a, 1)];
        let verdicts = compare(source, destination, false);
        assert_eq!(
            verdicts,
            [Verdict::Different(key(&b), key(&b)), Verdict::Missing(key(&c)), Verdict::Extra(key(&d))]
        );
    }

    #[test]
    fn another_numeric_type_is_one_different_document() {
        let (int, long) = (rawdoc! {"_id": 1}, rawdoc! {"_id": 1_i64});
        let verdicts = compare(vec![found(&int, 1)], vec![found(&long, 1)], false);
        assert_eq!(verdicts, [Verdict::Different(key(&int), key(&long))]);
        assert_eq!(verdicts[0].keys().count(), 2);
    }

    #[test]
    fn another_spelling_is_one_different_document_under_a_collation() {
        let (lower, upper) = (rawdoc! {"_id": "abc"}, rawdoc! {"_id": "ABC"});
        let one = || (vec![found(&lower, 1)], vec![found(&upper, 1)]);
        assert_eq!(compare(one().0, one().1, true), [Verdict::Different(key(&lower), key(&upper))]);
        assert_eq!(compare(one().0, one().1, false), [Verdict::Missing(key(&lower)), Verdict::Extra(key(&upper))]);
    }

    #[test]
    fn chunks_hold_everything_once() {
        let keys: Vec<_> = (0..1234_i32).map(|n| key(&rawdoc! {"_id": n})).collect();
        let ids: Vec<_> = keys.iter().filter_map(|key| Id::from_key(key)).collect();
        let sizes: Vec<_> = chunks(&ids, false).map(<[_]>::len).collect();
        assert_eq!(sizes, [500, 500, 234]);
        assert_eq!(chunks(&ids, true).count(), 1234);
        assert_eq!(chunks(&[], false).count(), 0);
        let large = key(&rawdoc! {"_id": "x".repeat(700_000)});
        let large = [Id::from_key(&large).expect("id"); 3];
        assert_eq!(chunks(&large, false).map(<[_]>::len).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
