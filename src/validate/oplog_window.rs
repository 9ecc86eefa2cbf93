//! oplog window: how far the source's oplog reaches back, against the time that the copy is predicted to take.
//!
//! The spool takes in changes from the first second, so that a short window only hurts when fetching is interrupted.

use super::board::Finding;
use crate::{
    model::units::{show_bytes, show_duration},
    mongo::{Cluster, OplogWindow, cluster::DriverError, oplog_window::sizes},
};
use std::time::Duration;

/// What is advised at least.
const ADVISED: Duration = Duration::from_secs(24 * 3600);
/// The copy speed that the prediction assumes; said beside every figure made from it.
const ASSUMED_BYTES_PER_S: u64 = 40_000_000;
/// How long the present write rate is watched.
const WATCHED: Duration = Duration::from_secs(2);
/// The server accepts no smaller oplog by replSetResizeOplog (OPLOG.md D).
const SMALLEST_MB: u64 = 990;

/// Reads the oplog twice, two seconds apart, and judges it. `bytes` is the data that will be copied.
pub(super) async fn check(source: &Cluster, bytes: Option<u64>) -> Finding {
    match read(source).await {
        Ok((oplog, rate)) => judge(&oplog, rate, bytes),
        Err(error) => Finding::fail(
            "the oplog cannot be measured",
            error.to_string(),
            "Grant clusterMonitor to the source user, then run the checks again.",
        ),
    }
}

async fn read(source: &Cluster) -> Result<(OplogWindow, f64), DriverError> {
    let (size_before, _) = sizes(source).await?;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(WATCHED).await;
    let oplog = OplogWindow::read(source).await?;
    Ok((oplog, oplog.size.saturating_sub(size_before) as f64 / began.elapsed().as_secs_f64()))
}

fn judge(oplog: &OplogWindow, rate: f64, bytes: Option<u64>) -> Finding {
    let full = oplog.is_full();
    let copy = bytes.map(|bytes| Duration::from_secs(bytes / ASSUMED_BYTES_PER_S));
    let copying = match copy {
        Some(copy) => format!("copy about {} (assuming 40 MB/s)", show_duration(copy)),
        None => "copy time not known".into(),
    };
    if !full && rate < 1.0 {
        let evidence = format!("{} hardly written now; {copying}", show_bytes(oplog.max_size));
        return Finding::ok(evidence);
    }
    let window = oplog.keeps(rate);
    let how = if full { "full, its age" } else { "at the present write rate" };
    let evidence = format!("{} ({how}, {}); {copying}", show_duration(window), show_bytes(oplog.max_size));
    let needed = ADVISED.max(copy.unwrap_or_default() * 2);
    if window >= needed {
        return Finding::ok(evidence);
    }
    let rate = if full { oplog.size as f64 / oplog.span().as_secs_f64().max(1.0) } else { rate };
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

    fn oplog(span_s: u32, size: u64) -> OplogWindow {
        OplogWindow { oldest: 1_000, newest: 1_000 + span_s, size, max_size: GB, retention: Duration::ZERO }
    }

    fn is_warning(finding: &Finding) -> bool {
        format!("{finding:?}").contains("Warn")
    }

    #[test]
    fn a_new_oplog_is_judged_by_its_rate_and_not_by_its_age() {
        assert!(!is_warning(&judge(&oplog(20, 1_000_000), 0.0, Some(GB))));
        assert!(!is_warning(&judge(&oplog(20, 1_000_000), 1_000.0, Some(GB))));
        let busy = judge(&oplog(20, 1_000_000), 100_000.0, Some(GB));
        assert!(is_warning(&busy));
        // 24 h at 100 kB/s.
        assert!(format!("{busy:?}").contains("size: Double(8640)"), "{busy:?}");
    }

    #[test]
    fn a_full_oplog_is_judged_by_its_age_and_the_copy() {
        assert!(is_warning(&judge(&oplog(3_600, GB), 0.0, Some(GB))));
        assert!(!is_warning(&judge(&oplog(100_000, GB), 0.0, Some(GB))));
        // 4 TB take 100,000 s at the assumed speed.
        assert!(is_warning(&judge(&oplog(100_000, GB), 0.0, Some(4_000 * GB))));
        let kept = OplogWindow { retention: Duration::from_secs(48 * 3600), ..oplog(3_600, GB) };
        assert!(!is_warning(&judge(&kept, 0.0, Some(GB))));
    }
}
