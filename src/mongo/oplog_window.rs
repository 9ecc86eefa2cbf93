//! How long an oplog keeps what is written now: its figures, and the forecast that validation and the running migration
//! share.

use super::{
    catalog::number,
    cluster::{Cluster, DriverError},
};
use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::bson::Document;
use std::time::Duration;

/// Nothing is promised for longer.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The figures of an oplog.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OplogWindow {
    /// Time of the oldest entry, seconds since the epoch.
    pub oldest: u32,
    /// Time of the newest entry.
    pub newest: u32,
    /// Bytes in it.
    pub size: u64,
    /// Bytes that it may hold; it is truncated lazily, so that it may hold more for a while.
    pub max_size: u64,
    /// `storage.oplogMinRetentionHours`, as a duration; zero when unknown.
    pub retention: Duration,
}

impl OplogWindow {
    /// Reads them.
    pub async fn read(cluster: &Cluster) -> Result<Self, DriverError> {
        let (size, max_size) = sizes(cluster).await?;
        let (oldest, newest) = (edge(cluster, 1).await?, edge(cluster, -1).await?);
        let status = cluster.run("admin", rawdoc! { "serverStatus": 1, "oplogTruncation": 1, "metrics": 0 }).await.ok();
        let hours = status.and_then(|status| {
            let truncation = status.get_document("oplogTruncation").ok()?;
            truncation.get("oplogMinRetentionHours").ok().flatten()?.as_f64()
        });
        let retention = Duration::try_from_secs_f64(hours.unwrap_or(0.0) * 3600.0).unwrap_or_default();
        Ok(Self { oldest, newest, size, max_size, retention })
    }

    /// Newest minus oldest entry.
    pub fn span(&self) -> Duration {
        Duration::from_secs(u64::from(self.newest.saturating_sub(self.oldest)))
    }

    /// It was filled at least once: its age says how long it lasts. The age of one that was not says nothing.
    pub fn is_full(&self) -> bool {
        self.size >= self.max_size / 10 * 9
    }

    /// Bytes per second over its whole age.
    fn past_rate(&self) -> f64 {
        self.size as f64 / self.span().as_secs_f64().max(1.0)
    }

    /// For how long an entry that is written now is kept at least, if not more than `rate` bytes per second are written
    /// from now on (nor more than in the past, where that is what it is full of).
    pub fn keeps(&self, rate: f64) -> Duration {
        let rate = if self.is_full() || rate < 1.0 { rate.max(self.past_rate()) } else { rate };
        let fills = Duration::try_from_secs_f64(self.max_size as f64 / rate.max(1.0)).unwrap_or(LONGEST);
        fills.max(self.retention).min(LONGEST)
    }

    /// For how long at least the entry at `position` (seconds since the epoch) stays; nothing when it is gone.
    pub fn left(&self, position: u32, rate: f64) -> Duration {
        if position < self.oldest {
            return Duration::ZERO;
        }
        let behind = Duration::from_secs(u64::from(self.newest.saturating_sub(position)));
        self.keeps(rate).saturating_sub(behind)
    }
}

/// Bytes in the oplog, and how many it may hold.
pub async fn sizes(cluster: &Cluster) -> Result<(u64, u64), DriverError> {
    let pipeline = [doc! { "$collStats": { "storageStats": {} } }];
    let oplog = cluster.login.database("local").collection::<Document>("oplog.rs");
    let mut cursor = oplog.aggregate(pipeline).with_type::<RawDocumentBuf>().await?;
    if !cursor.advance().await? {
        return Err(DriverError::custom("$collStats of local.oplog.rs returned nothing"));
    }
    let stats: &RawDocument = cursor.current().get_document("storageStats")?;
    let field = |name: &str| stats.get(name).ok().flatten().and_then(number).unwrap_or(0);
    Ok((field("size"), field("maxSize")))
}

/// Seconds of the oldest (1) or newest (-1) entry.
async fn edge(cluster: &Cluster, direction: i32) -> Result<u32, DriverError> {
    let oplog = cluster.login.database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": direction }).projection(doc! { "ts": 1 }).await?;
    let entry = entry.ok_or_else(|| DriverError::custom("local.oplog.rs is empty"))?;
    let stamp = entry.get_timestamp("ts").map_err(|_| DriverError::custom("an oplog entry has no ts"))?;
    Ok(stamp.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600;

    fn window(span_s: u32, size: u64) -> OplogWindow {
        let (oldest, newest) = (1_000_000, 1_000_000 + span_s);
        OplogWindow { oldest, newest, size, max_size: GB, retention: Duration::ZERO }
    }

    #[test]
    fn a_young_oplog_lasts_until_it_is_full() {
        let young = window(20, 1_000_000);
        assert_eq!(young.left(young.newest, 100_000.0).as_secs(), 10_000);
        // What is not fetched yet stands in front of what is written from now on.
        assert_eq!(young.left(young.newest - 15, 100_000.0).as_secs(), 9_985);
        assert_eq!(young.left(young.newest, 1.0), LONGEST);
        // At rest now: as if it went on like since its beginning.
        assert_eq!(young.left(young.newest, 0.0).as_secs(), 20_000);
    }

    #[test]
    fn a_full_one_lasts_as_long_as_it_reaches_back_and_never_longer_than_its_busiest_time() {
        let full = window(36_000, GB);
        assert_eq!(full.left(full.newest, 0.0).as_secs(), 10 * HOUR);
        assert_eq!(full.left(full.newest - 3_600, 0.0).as_secs(), 9 * HOUR);
        assert_eq!(full.left(full.newest, 277_777.8).as_secs(), HOUR - 1);
        // Truncation is lazy: what is beyond its size is not counted on.
        let late = window(36_000, 2 * GB);
        assert_eq!(late.left(late.newest, 0.0).as_secs(), 5 * HOUR);
        assert_eq!(full.left(full.oldest - 1, 0.0), Duration::ZERO);
        let kept = OplogWindow { retention: Duration::from_secs(48 * HOUR), ..full };
        assert_eq!(kept.left(kept.newest - 3_600, 0.0).as_secs(), 47 * HOUR);
    }
}
