//! One line of text for an event or for the state of a migration. Pure.

use crate::model::{
    Event, Phase, Severity, Snapshot,
    snapshot::{CutoverStep, Verification, VerificationState},
    units::{show_bytes, show_count, show_duration, show_rate},
};
use jiff::Timestamp;
use std::time::Duration;

/// `[5/7 migrate] 11:19:14Z copied: shop.orders is copied`; warnings and errors say so.
pub fn event(event: &Event, phase: Phase) -> String {
    let mark = match event.severity {
        Severity::Info => "",
        Severity::Warn => "WARN ",
        Severity::Error => "ERROR ",
    };
    format!("{} {} {mark}{}: {}", step(phase), clock(event.at), event.kind, one_line(&event.text))
}

/// `[5/7 migrate] 11:19:14Z copy 61.8 % 64.6 MB/s eta 44m oplog-left 8.7h`: the state in one line.
pub fn progress(snapshot: &Snapshot, now: Timestamp) -> String {
    let phase = snapshot.phase;
    format!("{} {} {}", step(snapshot.left_phase.unwrap_or(phase)), clock(now), one_line(&state(snapshot, now)))
}

/// `[5/7 migrate]`: the step of the wizard that a phase belongs to.
pub fn step(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "[3/7 connect]",
        Phase::Validating => "[4/7 validate]",
        Phase::Clearing | Phase::Copying | Phase::Indexing | Phase::Following | Phase::Ready => "[5/7 migrate]",
        Phase::Paused | Phase::Expired | Phase::Stopped | Phase::Failed => "[5/7 migrate]",
        Phase::Cutover | Phase::Finalizing | Phase::Cleanup => "[6/7 cutover]",
        Phase::Completed => "[7/7 done]",
    }
}

fn state(snapshot: &Snapshot, now: Timestamp) -> String {
    match snapshot.phase {
        Phase::Idle => "waiting".into(),
        Phase::Validating => "checking both clusters".into(),
        Phase::Clearing => "clearing the destination".into(),
        Phase::Copying => copying(snapshot),
        Phase::Indexing => {
            let indexes = &snapshot.indexes;
            let mut line = format!("indexes {} of {}", show_count(indexes.built), show_count(indexes.total));
            if !indexes.failed.is_empty() {
                line += &format!(" failed {}", indexes.failed.len());
            }
            line + &oplog_left(snapshot)
        }
        Phase::Following => {
            format!("following lag {}{}{}", lag(snapshot), waiting(snapshot), oplog_left(snapshot))
                + &verifying(snapshot)
                + &holding_back(snapshot)
        }
        Phase::Ready => format!(
            "READY lag {} cutover-left {}. Next: cutover",
            lag(snapshot),
            snapshot.cutover_deadline.map_or("unknown".into(), |deadline| hours_minutes(left(deadline, now)))
        ),
        Phase::Cutover => cutover(snapshot),
        Phase::Finalizing => "finalizing the destination".into(),
        Phase::Cleanup if is_checking(snapshot) => cutover(snapshot),
        Phase::Cleanup if !snapshot.can_write => "the way back was not used; giving back what was held".into(),
        Phase::Cleanup => "the destination accepts writes; cleaning up".into(),
        Phase::Completed => completed(snapshot),
        Phase::Paused => halted(snapshot, "PAUSED"),
        Phase::Expired => halted(snapshot, "EXPIRED: the cutover window passed, syncing stopped, nothing is lost"),
        Phase::Stopped if snapshot.way_back_of.is_some() => halted(snapshot, "ENDED: the way back was not used"),
        Phase::Stopped => halted(snapshot, "STOPPED by the operator"),
        Phase::Failed => halted(snapshot, "FAILED"),
    }
}

fn is_checking(snapshot: &Snapshot) -> bool {
    snapshot.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::CheckOpened)
}

fn copying(snapshot: &Snapshot) -> String {
    let copy = &snapshot.copy;
    let percent = if copy.bytes_total == 0 { None } else { Some(copy.bytes as f64 * 100.0 / copy.bytes_total as f64) };
    let percent = percent.map_or("unknown".into(), |percent| format!("{:.1} %", percent.min(100.0)));
    let eta = copy.eta_ms.map_or("unknown".into(), |ms| compact(Duration::from_millis(ms)));
    let limit =
        snapshot.throttle.map(|rate| format!(" of at most {}", show_rate(rate).replace(' ', ""))).unwrap_or_default();
    let speed = format!("{:.1} MB/s{limit}", copy.bytes_per_s / 1e6);
    format!("copy {percent} {speed} eta {eta}{}{}", oplog_left(snapshot), holding_back(snapshot))
}

fn holding_back(snapshot: &Snapshot) -> String {
    snapshot.holding_back.as_ref().map(|why| format!(" holding back: {why}")).unwrap_or_default()
}

fn cutover(snapshot: &Snapshot) -> String {
    let Some(cutover) = &snapshot.cutover else { return "cutting over".into() };
    match cutover.step {
        CutoverStep::StopApplication => {
            let quiet = snapshot.source_quiet_ms.map_or("unknown".into(), |ms| compact(Duration::from_millis(ms)));
            let needed = compact(Duration::from_millis(snapshot.thresholds.quiet_for_ms));
            format!("stop your application: source quiet for {quiet} of {needed}")
        }
        CutoverStep::Drain => format!("applying the last changes lag {}{}", lag(snapshot), waiting(snapshot)),
        CutoverStep::CheckData => format!("checking the data {}", verification(&snapshot.verification)),
        CutoverStep::Finalize => "finalizing the destination".into(),
        CutoverStep::CheckOpened => {
            format!("the destination accepts writes now; checking the data {}", verification(&snapshot.verification))
        }
        CutoverStep::Open => "the destination accepts writes now".into(),
    }
}

fn completed(snapshot: &Snapshot) -> String {
    let copy = &snapshot.copy;
    let downtime = snapshot.cutover.as_ref().and_then(|cutover| cutover.downtime_ms);
    format!(
        "DONE {} collections {} {} changes {} downtime {}",
        show_count(copy.collections_done),
        show_bytes(copy.bytes),
        show_count(snapshot.ops_applied),
        verification(&snapshot.verification),
        downtime.map_or("unknown".into(), |ms| show_duration(Duration::from_millis(ms))),
    )
}

fn halted(snapshot: &Snapshot, word: &str) -> String {
    let during = snapshot.left_phase.map(|phase| format!(" while {phase}")).unwrap_or_default();
    let why = snapshot.error.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    format!("{word}{during}{why}")
}

fn verification(verification: &Verification) -> String {
    match verification.state {
        VerificationState::Waiting => "not verified yet".into(),
        VerificationState::Running => {
            format!("{} of {} documents", show_count(verification.documents), show_count(verification.documents_total))
        }
        VerificationState::Done => match (verification.mismatches, verification.metadata_differences.len()) {
            (mismatches, 0) => format!("{} documents differ", show_count(mismatches)),
            (mismatches, metadata) => {
                format!("{} documents differ, {metadata} differences in metadata", show_count(mismatches))
            }
        },
        VerificationState::Skipped => "verification skipped".into(),
        VerificationState::Off => "not verified".into(),
    }
}

fn verifying(snapshot: &Snapshot) -> String {
    match snapshot.verification.state {
        VerificationState::Running => format!(" checked {}", verification(&snapshot.verification)),
        _ => String::new(),
    }
}

fn lag(snapshot: &Snapshot) -> String {
    snapshot.lag_ms.map_or("unknown".into(), |ms| compact(Duration::from_millis(ms)))
}

fn waiting(snapshot: &Snapshot) -> String {
    format!(" waiting {}", show_count(snapshot.ops_waiting))
}

fn oplog_left(snapshot: &Snapshot) -> String {
    snapshot.oplog_left_ms.map(|ms| format!(" oplog-left {}", compact(Duration::from_millis(ms)))).unwrap_or_default()
}

fn left(deadline: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(deadline.as_millisecond() - now.as_millisecond()).unwrap_or(0))
}

/// `120h00m`.
fn hours_minutes(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    format!("{}h{:02}m", minutes / 60, minutes % 60)
}

/// `0.8s`, `44m`, `8.7h`: one word.
fn compact(duration: Duration) -> String {
    show_duration(duration).replace(" min", "m").replace(' ', "")
}

/// `11:19:14Z`.
fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// A server's message may hold line breaks and control characters; a line is a line.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
