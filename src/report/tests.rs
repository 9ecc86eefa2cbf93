//! Tests of the report.

use super::*;
use crate::model::{
    CheckId, CheckOrder, Optime, Severity, ValidationReport,
    snapshot::{
        ClusterView, CollectionRow, CollectionState, Cutover, CutoverStep, Extension, FailedIndex, Mismatch,
        MismatchKind, StepLine, VerifiedCollection,
    },
};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    format!("2026-11-23T{text}Z").parse().expect("timestamp")
}

fn cluster(label: &str, set: &str) -> ClusterView {
    let version = Some("6.0.27".into());
    ClusterView {
        label: label.into(),
        set: Some(set.into()),
        version,
        hosts: vec![label.into()],
        ..ClusterView::default()
    }
}

fn line(label: &str, state: StepState, detail: &str) -> StepLine {
    StepLine { label: label.into(), state, detail: detail.into() }
}

fn event(seq: u64, time: &str, severity: Severity, kind: &str, text: &str) -> Event {
    Event { seq, at: at(time), severity, kind: kind.into(), text: text.into() }
}

fn events() -> Vec<Event> {
    vec![
        event(1, "10:00:00", Severity::Info, "started", "migration started by ops@pts/0"),
        event(2, "10:20:00", Severity::Warn, "retry", "source: reading shop.orders failed and is retried: election"),
        event(3, "10:20:09", Severity::Info, "recovered", "source: reading shop.orders works again after 9.0 s"),
        event(4, "12:00:00", Severity::Info, "ready", "nearly in sync"),
        event(5, "12:31:00", Severity::Info, "open", "the destination accepts writes now"),
    ]
}

fn completed() -> Snapshot {
    let mut validation = ValidationReport::waiting();
    validation.finished = true;
    for check in &mut validation.checks {
        check.state = CheckState::Ok;
        if check.id == CheckId::SourceOplogWindow {
            check.state = CheckState::Warn;
            check.evidence = "window 2.0 h, predicted copy 1.9 h.".into();
            check.explanation = "The oplog may roll over during the copy.".into();
        }
    }
    let mut snapshot = Snapshot {
        name: "orders".into(),
        phase: Phase::Completed,
        started: Some(at("10:00:00")),
        finished: Some(at("12:32:00")),
        source: cluster("old-a:27017", "rs0"),
        destination: cluster("new-a:27017", "rs9"),
        validation: Some(validation),
        ops_applied: 2_115_340,
        extensions: 1,
        extension_log: vec![Extension { by: "ops@pts/0".into(), at: at("12:05:00"), new_deadline: at("23:00:00") }],
        incidents: vec!["source: reading shop.orders failed and is retried: election".into()],
        cleanup: vec![line("spool files on this host", StepState::Ok, "removed")],
        ..Snapshot::idle(at("09:00:00"))
    };
    snapshot.copy.collections_done = 2;
    snapshot.copy.collections_total = 2;
    snapshot.copy.documents = 107_124_552;
    snapshot.copy.bytes = 195_851_400_000;
    snapshot.indexes.built = 5;
    snapshot.indexes.total = 5;
    *snapshot.collections.change() = vec![CollectionRow {
        namespace: "shop.a|b".into(),
        state: CollectionState::Done,
        documents: 88_120_440,
        documents_total: 88_120_440,
        bytes: 150_000_000_000,
        bytes_total: 150_000_000_000,
        bytes_per_s: 0.0,
        indexes_built: 3,
        indexes_total: 3,
    }];
    snapshot.verification.state = VerificationState::Done;
    snapshot.verification.documents = 107_124_552;
    *snapshot.verification.collections.change() = vec![VerifiedCollection {
        namespace: "shop.a|b".into(),
        documents: 107_124_552,
        documents_total: 107_124_552,
        missing: 0,
        extra: 0,
        application: 0,
        different: 0,
        done: true,
    }];
    snapshot.cutover = Some(Cutover {
        check: CheckOrder::First,
        step: CutoverStep::Open,
        started: at("12:29:00"),
        cutover_ts: Some(Optime::new(1_795_457_229, 7)),
        last_source_write: Some(at("12:29:36")),
        waiting_by: None,
        source_blocked: false,
        assumed_stopped: false,
        assumed_by: None,
        late_write: None,
        opened: Some(at("12:31:00")),
        downtime_ms: Some(84_000),
        lines: vec![line("data checked", StepState::Ok, "0 documents differ")],
    });
    snapshot
}

#[test]
fn a_completed_migration_reads_like_this() {
    insta::assert_snapshot!("completed", Report::new(&completed(), &events()).markdown());
}

#[test]
fn a_destination_that_was_opened_first_says_what_the_application_wrote() {
    let mut snapshot = completed();
    let before = Report::new(&snapshot, &events()).markdown();
    assert!(!before.contains("written by the application"), "{before}");
    snapshot.cutover.as_mut().expect("cutover").check = CheckOrder::After;
    snapshot.verification.application = 211;
    let report = Report::new(&snapshot, &events());
    let text = report.markdown();
    for wanted in
        ["checked: after the destination was opened", "written by the application: 211 documents differ because"]
    {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert_eq!(
        (&report.json()["cutover"]["check"], &report.json()["verification"]["application"]),
        (&"after".into(), &211.into())
    );
}

#[test]
fn a_way_back_is_told_on_both_of_its_sides() {
    let mut snapshot = completed();
    snapshot.way_back = Some("kept open for 72 h: mongoferry attach shop-back".into());
    let report = Report::new(&snapshot, &events());
    let text = report.markdown();
    assert!(text.contains("- way back: kept open for 72 h: mongoferry attach shop-back"), "{text}");
    assert_eq!(report.json()["way_back"], "kept open for 72 h: mongoferry attach shop-back");

    snapshot.way_back = None;
    snapshot.way_back_of = Some("shop".into());
    let report = Report::new(&snapshot, &events());
    let text = report.markdown();
    assert!(text.contains("You have successfully gone back to") && text.contains("- the way back of: shop"), "{text}");
    assert_eq!(report.json()["way_back_of"], "shop");
    snapshot.phase = Phase::Stopped;
    let text = Report::new(&snapshot, &events()).markdown();
    assert!(text.contains("was not used."), "{text}");
}

#[test]
fn differences_are_named_and_left_to_do() {
    let mut snapshot = completed();
    snapshot.verification.mismatches = 3;
    snapshot.verification.collections.change()[0].missing = 2;
    snapshot.verification.collections.change()[0].different = 1;
    snapshot.verification.metadata_differences = vec!["shop.c: index a_1 is missing on the destination".into()];
    snapshot.verification.examples = vec![Mismatch {
        namespace: "shop.a|b".into(),
        id: "7".into(),
        kind: MismatchKind::Different,
        paths: vec!["a.b".into(), "c".into()],
    }];
    snapshot.indexes.failed =
        vec![FailedIndex { namespace: "shop.c".into(), index: "geo".into(), reason: "not supported".into() }];
    snapshot.cleanup.push(line("temporary databases", StepState::Failed, "left for you: drop them"));
    let mut events = events();
    events.push(event(6, "12:31:30", Severity::Error, "metadata", "shop.c: index a_1 is missing on the destination"));
    let report = Report::new(&snapshot, &events);
    assert_eq!(
        report.left_to_do()[..4],
        [
            "look at the 3 documents that differ",
            "look at the differences in metadata",
            "build index geo of shop.c on the destination: not supported",
            "temporary databases: left for you: drop them",
        ]
    );
    let text = report.markdown();
    for wanted in [
        "3 documents differ.",
        "- shop.a|b: 2 missing, 0 extra, 1 different",
        "| shop.a\\|b | 7 | different | a.b, c |",
        "- differs: shop.c: index a_1 is missing on the destination",
        "- not built: shop.c geo: not supported",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert_eq!(text.matches("index a_1 is missing").count(), 2, "once as a difference, once in the timeline");
}

#[test]
fn what_is_unknown_is_said_to_be_unknown() {
    let mut snapshot = Snapshot::idle(at("09:00:00"));
    snapshot.phase = Phase::Failed;
    snapshot.left_phase = Some(Phase::Copying);
    let report = Report::new(&snapshot, &[]);
    insta::assert_snapshot!("unknown", report.markdown());
    let json = report.json();
    for field in ["started", "finished", "took_ms", "downtime_ms", "cutover", "checks", "error"] {
        assert!(json[field].is_null(), "{field} is {}", json[field]);
    }
}

#[test]
fn verification_that_did_not_happen_is_not_praised() {
    let mut snapshot = completed();
    let mut events = events();
    events.push(event(6, "12:30:00", Severity::Warn, "skipped", "ops@pts/0 gave up the rest of the verification"));
    snapshot.verification.state = VerificationState::Skipped;
    let report = Report::new(&snapshot, &events);
    assert!(report.markdown().contains("Skipped: ops@pts/0 gave up the rest of the verification."));
    assert!(report.left_to_do()[0].contains("not verified completely"));
    for state in [VerificationState::Off, VerificationState::Waiting, VerificationState::Running] {
        snapshot.verification.state = state;
        assert!(!Report::new(&snapshot, &events).markdown().contains("0 documents differ."), "{state:?}");
    }
}

#[test]
fn json_holds_the_same_facts() {
    let json = Report::new(&completed(), &events()).json();
    assert_eq!(json["result"], "completed");
    assert_eq!(json["took_ms"], 9_120_000);
    assert_eq!(json["downtime_ms"], 84_000);
    assert_eq!(json["verification"]["mismatches"], 0);
    assert_eq!(json["accepted_warnings"][0]["id"], "source-oplog-window");
    assert_eq!(json["events"].as_array().map(Vec::len), Some(5));
    assert_eq!(json["started"], "2026-11-23T10:00:00Z");
}

#[test]
fn files_are_private_and_complete() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let report = Report::new(&completed(), &events());
    let path = report.write_into(folder.path()).expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), report.markdown());
    let json = folder.path().join("report.json");
    let text = std::fs::read_to_string(&json).expect("readable");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("json"), report.json());
    for path in [path, json] {
        assert_eq!(std::fs::metadata(path).expect("exists").permissions().mode() & 0o777, 0o600);
    }
}
