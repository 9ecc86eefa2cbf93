//! Splits a large collection into `_id` ranges. Bounds go into `min`/`max` with a hint, which order every BSON type; a
//! `$gt` filter compares inside one type only and would lose documents.

use crate::mongo::{Cluster, Namespace, cluster::DriverError};
use bson::{RawDocumentBuf, doc, rawdoc};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};

/// Aim for ranges of this many bytes.
const RANGE_BYTES: u64 = 16 << 20;
/// At most this many ranges per collection.
const RANGES: u64 = 256;
/// Sampled ids per range.
const SAMPLES: u64 = 10;

/// One range: `from` inclusive, `until` exclusive, each `{ "_id": value }`; `None` is open. It shrinks from below while
/// it is copied, and a restart goes on with what is left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeRow {
    /// Lower bound; the majority of the destination has everything below.
    pub from: Option<RawDocumentBuf>,
    /// Upper bound.
    pub until: Option<RawDocumentBuf>,
    /// The document at `until` is part of it: the largest of the collection when the range was made.
    #[serde(default)]
    pub with_until: bool,
    /// Nothing of it is left.
    pub done: bool,
    /// Documents copied out of it.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl RangeRow {
    fn between(from: Option<RawDocumentBuf>, until: Option<RawDocumentBuf>) -> Self {
        Self { from, until, ..Self::default() }
    }

    /// Ends a range that is open above at the collection's largest `_id`: what is inserted behind it from now on is in
    /// the oplog, and a reader that chased it might never arrive.
    pub fn end_at(&mut self, largest: Option<RawDocumentBuf>) {
        if self.until.is_none() && largest.is_some() {
            self.until = largest;
            self.with_until = true;
        }
    }
}

/// How many ranges a collection of `bytes` gets.
pub fn count(bytes: u64) -> u64 {
    bytes.div_ceil(RANGE_BYTES).clamp(1, RANGES)
}

/// The ranges of a collection, by sampling. They cover every possible `_id`, sampled or not.
pub async fn split(source: &Cluster, namespace: &Namespace, bytes: u64) -> Result<Vec<RangeRow>, DriverError> {
    let wanted = count(bytes);
    if wanted == 1 {
        return Ok(vec![RangeRow::default()]);
    }
    let size = i64::try_from(wanted * SAMPLES).unwrap_or(i64::MAX);
    let pipeline =
        [doc! { "$sample": { "size": size } }, doc! { "$project": { "_id": 1 } }, doc! { "$sort": { "_id": 1 } }];
    let collection = source.login.database(&namespace.db).collection::<RawDocumentBuf>(&namespace.coll);
    let sampled: Vec<RawDocumentBuf> =
        collection.aggregate(pipeline).allow_disk_use(true).with_type::<RawDocumentBuf>().await?.try_collect().await?;
    Ok(between(&sampled, usize::try_from(wanted).unwrap_or(1)))
}

/// Evenly spaced bounds out of sorted samples.
fn between(sampled: &[RawDocumentBuf], wanted: usize) -> Vec<RangeRow> {
    let mut bounds: Vec<RawDocumentBuf> = Vec::new();
    for index in 1..wanted {
        let sample = sampled.get(index * sampled.len() / wanted).and_then(|sample| sample.get("_id").ok().flatten());
        if let Some(id) = sample {
            let bound = rawdoc! { "_id": bson::RawBson::from(id) };
            if bounds.last() != Some(&bound) {
                bounds.push(bound);
            }
        }
    }
    let mut ranges = Vec::new();
    let mut from = None;
    for bound in bounds {
        ranges.push(RangeRow::between(from.replace(bound.clone()), Some(bound)));
    }
    ranges.push(RangeRow::between(from, None));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_meet_and_are_open_at_both_ends() {
        let sampled: Vec<RawDocumentBuf> = (0..100).map(|id| rawdoc! { "_id": id }).collect();
        let ranges = between(&sampled, 4);
        assert_eq!(ranges.len(), 4);
        assert_eq!((&ranges[0].from, &ranges[3].until), (&None, &None));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
    }

    #[test]
    fn few_or_equal_samples_give_fewer_ranges() {
        assert_eq!(between(&[], 4), [RangeRow::default()]);
        let same: Vec<RawDocumentBuf> = (0..40).map(|_| rawdoc! { "_id": "x" }).collect();
        assert_eq!(between(&same, 4).len(), 2);
        assert_eq!((count(0), count(16 << 20), count((16 << 20) + 1)), (1, 1, 2));
    }
}
