//! oplog window: how far the source's oplog reaches back, against the time that the copy is predicted to take.
//!
//! The spool takes in changes from the first second, so that a short window only hurts when fetching is interrupted.

use super::board::Finding;
use crate::{
    model::units::{show_bytes, show_duration},
    mongo::{Cluster, catalog::number, cluster::DriverError},
};
use bson::{RawDocument, RawDocumentBuf, doc, rawdoc};
use mongodb::bson::Document;
use std::time::Duration;

/// What is advised at least.
const ADVISED: Duration = Duration::from_secs(24 * 3600);
/// The copy speed that the prediction assumes; said beside every figure made from it.
const ASSUMED_BYTES_PER_S: u64 = 40_000_000;
/// How long the present write rate is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// The server accepts no smaller oplog by replSetResizeOplog (OPLOG.md D).
const SMALLEST_MB: u64 = 990;

/// The oplog's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Oplog {
    /// Newest minus oldest entry.
    span: Duration,
    /// Bytes in it.
    size: u64,
    /// Bytes that it may hold.
    max_size: u64,
    /// Bytes per second at present.
    rate: f64,
    /// `storage.oplogMinRetentionHours`, as a duration.
    retention: Duration,
}

/// Reads the oplog twice, two seconds apart, and judges it. `bytes` is the data that will be copied.
pub(super) async fn check(source: &Cluster, bytes: Option<u64>) -> Finding {
    match read(source).await {
        Ok(oplog) => judge(&oplog, bytes),
        Err(error) => Finding::fail(
            "the oplog cannot be measured",
            error.to_string(),
            "Grant clusterMonitor to the source user, then run the checks again.",
        ),
    }
}

async fn read(source: &Cluster) -> Result<Oplog, DriverError> {
    let (size_before, _) = sizes(source).await?;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(WATCHED).await;
    let (size, max_size) = sizes(source).await?;
    let rate = size.saturating_sub(size_before) as f64 / began.elapsed().as_secs_f64();
    let (oldest, newest) = (edge(source, 1).await?, edge(source, -1).await?);
    let status = source.run("admin", rawdoc! { "serverStatus": 1, "oplogTruncation": 1, "metrics": 0 }).await.ok();
    let hours = status.and_then(|status| {
        let truncation = status.get_document("oplogTruncation").ok()?;
        truncation.get("oplogMinRetentionHours").ok().flatten()?.as_f64()
    });
    Ok(Oplog {
        span: Duration::from_secs(u64::from(newest.saturating_sub(oldest))),
        size,
        max_size,
        rate,
        retention: Duration::from_secs_f64(hours.unwrap_or(0.0).max(0.0) * 3600.0),
    })
}

async fn sizes(source: &Cluster) -> Result<(u64, u64), DriverError> {
    let pipeline = [doc! { "$collStats": { "storageStats": {} } }];
    let oplog = source.client.database("local").collection::<Document>("oplog.rs");
    let mut cursor = oplog.aggregate(pipeline).with_type::<RawDocumentBuf>().await?;
    if !cursor.advance().await? {
        return Err(DriverError::custom("$collStats of local.oplog.rs returned nothing"));
    }
    let stats: &RawDocument = cursor.current().get_document("storageStats")?;
    let field = |name: &str| stats.get(name).ok().flatten().and_then(number).unwrap_or(0);
    Ok((field("size"), field("maxSize")))
}

/// Seconds of the oldest (1) or newest (-1) entry.
async fn edge(source: &Cluster, direction: i32) -> Result<u32, DriverError> {
    let oplog = source.client.database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": direction }).projection(doc! { "ts": 1 }).await?;
    let entry = entry.ok_or_else(|| DriverError::custom("local.oplog.rs is empty"))?;
    let stamp = entry.get_timestamp("ts").map_err(|_| DriverError::custom("an oplog entry has no ts"))?;
    Ok(stamp.time)
}

fn judge(oplog: &Oplog, bytes: Option<u64>) -> Finding {
    let full = oplog.size >= oplog.max_size / 10 * 9;
    // An oplog that was never full says nothing by its age: what counts is how long it takes to fill at this rate.
    let to_fill = (oplog.rate >= 1.0).then(|| Duration::try_from_secs_f64(oplog.max_size as f64 / oplog.rate).ok());
    let window = match to_fill.flatten() {
        _ if full => Some(oplog.span),
        Some(fills) => Some(fills.max(oplog.span)),
        None => None,
    };
    let window = window.map(|window| window.max(oplog.retention));
    let copy = bytes.map(|bytes| Duration::from_secs(bytes / ASSUMED_BYTES_PER_S));
    let copying = match copy {
        Some(copy) => format!("copy about {} (assuming 40 MB/s)", show_duration(copy)),
        None => "copy time not known".into(),
    };
    let Some(window) = window else {
        let evidence = format!("{} hardly written now; {copying}", show_bytes(oplog.max_size));
        return Finding::ok(evidence);
    };
    let how = if full { "full, its age" } else { "at the present write rate" };
    let evidence = format!("{} ({how}, {}); {copying}", show_duration(window), show_bytes(oplog.max_size));
    let needed = ADVISED.max(copy.unwrap_or_default() * 2);
    if window >= needed {
        return Finding::ok(evidence);
    }
    let rate = if full { oplog.size as f64 / oplog.span.as_secs_f64().max(1.0) } else { oplog.rate };
    let megabytes = ((needed.as_secs_f64() * rate / 1e6).ceil() as u64).max(SMALLEST_MB);
    Finding::warn(
        evidence,
        format!(
            "if fetching stops for longer than that, the copy has to start again; {} is advised",
            show_duration(needed)
        ),
        "Enlarge the oplog on every member of the source, or migrate when less is written.",
    )
    .command(Some(format!("db.adminCommand({{replSetResizeOplog: 1, size: Double({megabytes})}})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn oplog(span_s: u64, size: u64, rate: f64) -> Oplog {
        Oplog { span: Duration::from_secs(span_s), size, max_size: GB, rate, retention: Duration::ZERO }
    }

    fn is_warning(finding: &Finding) -> bool {
        format!("{finding:?}").contains("Warn")
    }

    #[test]
    fn a_new_oplog_is_judged_by_its_rate_and_not_by_its_age() {
        assert!(!is_warning(&judge(&oplog(20, 1_000_000, 0.0), Some(GB))));
        assert!(!is_warning(&judge(&oplog(20, 1_000_000, 1_000.0), Some(GB))));
        let busy = judge(&oplog(20, 1_000_000, 100_000.0), Some(GB));
        assert!(is_warning(&busy));
        // 24 h at 100 kB/s.
        assert!(format!("{busy:?}").contains("size: Double(8640)"), "{busy:?}");
    }

    #[test]
    fn a_full_oplog_is_judged_by_its_age_and_the_copy() {
        assert!(is_warning(&judge(&oplog(3_600, GB, 0.0), Some(GB))));
        assert!(!is_warning(&judge(&oplog(100_000, GB, 0.0), Some(GB))));
        // 4 TB take 100,000 s at the assumed speed.
        assert!(is_warning(&judge(&oplog(100_000, GB, 0.0), Some(4_000 * GB))));
        let kept = Oplog { retention: Duration::from_secs(48 * 3600), ..oplog(3_600, GB, 0.0) };
        assert!(!is_warning(&judge(&kept, Some(GB))));
    }
}
