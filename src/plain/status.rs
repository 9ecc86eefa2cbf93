//! `status`: one JSON object with stable names, or a few lines for people. Pure.

use super::line;
use crate::model::{Phase, Snapshot, units::show_clock};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use std::time::Duration;

/// Who works on the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// An engine, reached just now.
    Running,
    /// Nobody, and nobody has to: the migration is over.
    Ended,
    /// Nobody, although the migration is not over: it waits to be resumed.
    Gone,
}

impl Engine {
    /// The word in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Engine::Running => "running",
            Engine::Ended => "ended",
            Engine::Gone => "gone",
        }
    }
}

/// The object of `status --json`: times UTC RFC 3339, sizes bytes, durations ms, unknown is null. While no engine runs
/// everything that only one can measure is unknown.
pub fn json(snapshot: &Snapshot, engine: Engine) -> Value {
    let is_measured = engine == Engine::Running;
    let measured = |value: Option<u64>| value.filter(|_| is_measured);
    let copy = &snapshot.copy;
    let cluster = |view: &crate::model::snapshot::ClusterView| json!({ "set": view.set, "version": view.version });
    let blocked_by = match engine {
        Engine::Running => snapshot.cutover_blocked_by.clone(),
        Engine::Ended => vec![format!("the migration is over ({})", snapshot.phase)],
        Engine::Gone => vec![format!("no engine works on it; mongoferry resume {}", snapshot.name)],
    };
    json!({
        "name": snapshot.name,
        "phase": snapshot.phase,
        "left_phase": snapshot.left_phase,
        "since": snapshot.since,
        "way_back_of": snapshot.way_back_of,
        "way_back": snapshot.way_back,
        "engine": engine.word(),
        "source": cluster(&snapshot.source),
        "destination": cluster(&snapshot.destination),
        "copy": {
            "collections_done": copy.collections_done,
            "collections_total": copy.collections_total,
            "documents": copy.documents,
            "bytes": copy.bytes,
            "bytes_total": copy.bytes_total,
            "eta_ms": measured(copy.eta_ms),
        },
        "indexes": {
            "built": snapshot.indexes.built,
            "total": snapshot.indexes.total,
            "failed": snapshot.indexes.failed,
        },
        "lag_ms": measured(snapshot.lag_ms),
        "fetch_lag_ms": measured(snapshot.fetch_lag_ms),
        "applied_ts": snapshot.applied_ts,
        "ops_applied": snapshot.ops_applied,
        "ops_waiting": snapshot.ops_waiting,
        "spool_bytes": snapshot.spool_bytes,
        "oplog_window_ms": measured(snapshot.oplog_window_ms),
        "oplog_left_ms": measured(snapshot.oplog_left_ms),
        "throttle_bytes_per_s": snapshot.throttle,
        "holding_back": snapshot.holding_back.as_ref().filter(|_| is_measured),
        "can_cutover": is_measured && snapshot.can_cutover,
        "can_write": snapshot.can_write,
        "cutover_blocked_by": blocked_by,
        "cutover_deadline": snapshot.cutover_deadline,
        "extensions": snapshot.extensions,
        "source_quiet_ms": measured(snapshot.source_quiet_ms),
        "foreign_writes": snapshot.foreign_writes,
        "cutover": snapshot.cutover.as_ref().map(|cutover| json!({
            "step": cutover.step,
            "check": cutover.check,
            "downtime_ms": cutover.downtime_ms,
        })),
        "verification": {
            "state": snapshot.verification.state,
            "documents": snapshot.verification.documents,
            "mismatches": snapshot.verification.mismatches,
            "repaired": snapshot.verification.repaired.documents,
            "application": snapshot.verification.application,
            "metadata_differences": snapshot.verification.metadata_differences.len(),
        },
        "error": snapshot.error,
        "report": snapshot.report,
    })
}

/// `119:41:08 left to cut over; the window ends 2026-11-28 13:08 UTC (2026-11-28 14:08 here)`
fn window(deadline: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let minutes = |zone: &TimeZone| deadline.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string();
    let here = format!("{} UTC ({} here)", minutes(&TimeZone::UTC), minutes(zone));
    match Duration::try_from(deadline.duration_since(now)) {
        Ok(left) if !left.is_zero() => format!("{} left to cut over; the window ends {here}\n", show_clock(left)),
        _ => format!("the cutover window ended {here}\n"),
    }
}

/// The same for people; the end of the cutover window in their `zone` too.
pub fn lines(snapshot: &Snapshot, engine: Engine, now: Timestamp, zone: &TimeZone) -> String {
    let side = |view: &crate::model::snapshot::ClusterView| {
        let set = view.set.as_deref().unwrap_or(&view.label);
        view.version.as_ref().map_or_else(|| set.to_string(), |version| format!("{set} ({version})"))
    };
    let mut text = format!("{}: {} -> {}\n", snapshot.name, side(&snapshot.source), side(&snapshot.destination));
    if let Some(of) = &snapshot.way_back_of {
        text += &format!("THE WAY BACK of {of}, to {}\n", side(&snapshot.destination));
    }
    if let Some(way_back) = &snapshot.way_back {
        text += &format!("way back: {way_back}\n");
    }
    text += &line::progress(snapshot, now);
    text.push('\n');
    match engine {
        Engine::Running => {}
        Engine::Ended => text += "no engine runs; none is needed\n",
        Engine::Gone => {
            text += &format!(
                "NO ENGINE WORKS ON IT: these are the last values known. The source's oplog keeps ageing.\n\
                 Next: mongoferry resume {}\n",
                snapshot.name
            );
        }
    }
    if let Some(deadline) = snapshot.cutover_deadline
        && !snapshot.phase.is_over()
    {
        text += &window(deadline, now, zone);
    }
    if engine == Engine::Running && !snapshot.can_cutover && snapshot.phase == Phase::Following {
        text += &format!("no cutover yet: {}\n", snapshot.cutover_blocked_by.join("; "));
    }
    for foreign in &snapshot.foreign_writes {
        let client = foreign.likely_client.as_ref().map_or_else(String::new, |client| format!("; likely {client}"));
        text += &format!(
            "SOMEBODY ELSE WROTE TO THE DESTINATION: {} ({} changes, {:.1} per second{client})\n",
            foreign.namespace, foreign.writes, foreign.ops_per_s
        );
    }
    if let Some(report) = &snapshot.report {
        text += &format!("report  {report}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            name: "orders".into(),
            phase: Phase::Following,
            lag_ms: Some(812),
            can_cutover: true,
            ..Snapshot::idle("2026-11-25T10:00:00Z".parse().unwrap())
        }
    }

    #[test]
    fn the_object_has_the_names_that_scripts_know() {
        let object = json(&snapshot(), Engine::Running);
        for name in [
            "name",
            "phase",
            "since",
            "source",
            "destination",
            "copy",
            "indexes",
            "lag_ms",
            "fetch_lag_ms",
            "applied_ts",
            "ops_applied",
            "ops_waiting",
            "spool_bytes",
            "oplog_window_ms",
            "oplog_left_ms",
            "throttle_bytes_per_s",
            "holding_back",
            "can_cutover",
            "can_write",
            "cutover_blocked_by",
            "cutover_deadline",
            "extensions",
            "source_quiet_ms",
            "foreign_writes",
            "verification",
            "error",
            "report",
        ] {
            assert!(object.get(name).is_some(), "no {name} in {object}");
        }
        assert_eq!(object["phase"], "following");
        assert_eq!(object["since"], "2026-11-25T10:00:00Z");
        assert_eq!((&object["lag_ms"], &object["fetch_lag_ms"]), (&json!(812), &Value::Null));
        assert_eq!(object["can_cutover"], true);
    }

    #[test]
    fn without_an_engine_nothing_is_claimed_that_only_one_can_know() {
        let object = json(&snapshot(), Engine::Gone);
        assert_eq!((&object["lag_ms"], &object["can_cutover"]), (&Value::Null, &json!(false)));
        assert!(object["cutover_blocked_by"][0].as_str().unwrap().contains("mongoferry resume orders"));
        assert!(lines(&snapshot(), Engine::Gone, Timestamp::now(), &TimeZone::UTC).contains("NO ENGINE WORKS ON IT"));
    }

    #[test]
    fn people_read_how_long_the_window_is_open_and_when_it_ends_where_they_are() {
        let deadline = Some("2026-11-28T13:08:00Z".parse().unwrap());
        let ready = Snapshot { cutover_deadline: deadline, ..snapshot() };
        let there = TimeZone::fixed(jiff::tz::offset(2));
        let said = |at: &str| lines(&ready, Engine::Running, at.parse().unwrap(), &there);
        let window = "119:41:08 left to cut over; the window ends 2026-11-28 13:08 UTC (2026-11-28 15:08 here)";
        assert!(said("2026-11-23T13:26:52Z").contains(window), "{}", said("2026-11-23T13:26:52Z"));
        assert!(said("2026-11-28T13:09:00Z").contains("the cutover window ended 2026-11-28 13:08 UTC"));
    }
}
