//! Tests of the plain lines and NDJSON.

use super::*;
use crate::model::{
    CheckOrder, Event, Problem, Severity, Side,
    snapshot::{Cutover, CutoverStep, VerificationState},
};
use jiff::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().expect("timestamp")
}

fn now() -> Timestamp {
    at("2026-11-23T11:19:14Z")
}

fn snapshot(phase: Phase) -> Snapshot {
    Snapshot { phase, ..Snapshot::idle(now()) }
}

fn progress(snapshot: &Snapshot) -> String {
    line::progress(snapshot, now())
}

#[test]
fn copying_says_how_far_how_fast_and_how_long() {
    let mut state = snapshot(Phase::Copying);
    assert_eq!(progress(&state), "[5/7 migrate] 11:19:14Z copy unknown 0.0 MB/s eta unknown");
    state.copy.bytes = 618;
    state.copy.bytes_total = 1000;
    state.copy.bytes_per_s = 64_600_000.0;
    state.copy.eta_ms = Some(44 * 60_000);
    state.oplog_left_ms = Some(31_320_000);
    assert_eq!(progress(&state), "[5/7 migrate] 11:19:14Z copy 61.8 % 64.6 MB/s eta 44m oplog-left 8.7h");
}

#[test]
fn ready_says_what_comes_next() {
    let mut state = snapshot(Phase::Ready);
    state.lag_ms = Some(812);
    state.cutover_deadline = Some(at("2026-11-28T11:19:14Z"));
    assert_eq!(progress(&state), "[5/7 migrate] 11:19:14Z READY lag 0.8s cutover-left 120h00m. Next: cutover");
    state.cutover_deadline = Some(at("2026-11-20T11:19:14Z"));
    assert!(progress(&state).contains("cutover-left 0h00m"));
}

#[test]
fn a_cutover_says_its_step() {
    let mut state = snapshot(Phase::Cutover);
    state.thresholds.quiet_for_ms = 60_000;
    state.source_quiet_ms = Some(12_000);
    let cutover = |step| Cutover {
        check: CheckOrder::First,
        step,
        started: now(),
        cutover_ts: None,
        last_source_write: None,
        waiting_by: None,
        source_blocked: false,
        assumed_stopped: false,
        assumed_by: None,
        late_write: None,
        opened: None,
        downtime_ms: Some(84_000),
        lines: Vec::new(),
    };
    state.cutover = Some(cutover(CutoverStep::StopApplication));
    assert_eq!(progress(&state), "[6/7 cutover] 11:19:14Z stop your application: source quiet for 12s of 60s");
    state.verification.state = VerificationState::Running;
    state.verification.documents = 1_500;
    state.verification.documents_total = 2_000;
    state.cutover = Some(cutover(CutoverStep::CheckData));
    assert_eq!(progress(&state), "[6/7 cutover] 11:19:14Z checking the data 1,500 of 2,000 documents");
}

#[test]
fn the_end_says_what_was_proven() {
    let mut state = snapshot(Phase::Completed);
    state.copy.collections_done = 48;
    state.copy.bytes = 182 << 30;
    state.ops_applied = 2_115_340;
    state.verification.state = VerificationState::Done;
    assert_eq!(
        progress(&state),
        "[7/7 done] 11:19:14Z DONE 48 collections 182.0 GiB 2,115,340 changes 0 documents differ downtime unknown"
    );
    state.verification.state = VerificationState::Skipped;
    assert!(progress(&state).contains("verification skipped"));
}

#[test]
fn a_halt_keeps_its_phase_and_reason() {
    let mut state = snapshot(Phase::Failed);
    state.left_phase = Some(Phase::Copying);
    state.error = Some(Problem::before_writing(Side::Source, "it broke", "line 1\nline 2", "Look."));
    let line = progress(&state);
    assert!(line.starts_with("[5/7 migrate] 11:19:14Z FAILED while copying: source: it broke: line 1 line 2. Look."));
    assert!(!line.contains('\n'));
}

#[test]
fn events_are_marked() {
    let event = |severity| Event { seq: 1, at: now(), severity, kind: "retry".into(), text: "again\u{1b}[31m".into() };
    assert_eq!(line::event(&event(Severity::Info), Phase::Copying), "[5/7 migrate] 11:19:14Z retry: again [31m");
    assert!(line::event(&event(Severity::Error), Phase::Cutover).starts_with("[6/7 cutover] 11:19:14Z ERROR retry"));
}

#[derive(Clone, Default)]
struct Paper(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("paper").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("paper").clone()).expect("text");
        text.lines().map(Into::into).collect()
    }
}

async fn walk(json: bool) -> (Phase, Vec<String>) {
    let (client, publish, _orders) = Client::detached(snapshot(Phase::Copying));
    client.events().record(Severity::Info, "started", "copying 1 collection");
    let paper = Paper::default();
    let following = tokio::spawn(follow(client.clone(), paper.clone(), json));
    for phase in [Phase::Following, Phase::Completed] {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.events().record(Severity::Warn, "moved", phase.word());
        publish.send_replace(Arc::new(snapshot(phase)));
    }
    let phase = following.await.expect("task").expect("printed");
    (phase, paper.lines())
}

#[tokio::test]
async fn follow_prints_every_event_and_every_phase_until_the_end() {
    let (phase, lines) = walk(false).await;
    assert_eq!(phase, Phase::Completed);
    let have = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((have("started: copying 1 collection"), have("WARN moved: following")), (1, 1));
    assert_eq!((have("WARN moved: completed"), have(" copy "), have("DONE")), (1, 1, 1), "{lines:#?}");
}

#[tokio::test]
async fn json_lines_are_events_and_snapshots() {
    let (_, lines) = walk(true).await;
    let values: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("one object per line")).collect();
    let events: Vec<_> = values.iter().filter_map(|value| value["event"]["seq"].as_u64()).collect();
    assert_eq!(events, [1, 2, 3], "lossless and in order");
    let phases: Vec<_> = values.iter().filter_map(|value| value["snapshot"]["phase"].as_str()).collect();
    assert_eq!(phases.first().copied(), Some("copying"));
    assert_eq!(values.last().expect("lines")["snapshot"]["phase"], "completed");
    let whole: Snapshot = serde_json::from_value(values.last().expect("lines")["snapshot"].clone()).expect("complete");
    assert_eq!(whole.phase, Phase::Completed);
}

#[tokio::test]
async fn an_engine_that_is_gone_ends_it() {
    let (client, publish, _orders) = Client::detached(snapshot(Phase::Copying));
    let paper = Paper::default();
    let following = tokio::spawn(follow(client, paper, false));
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(publish);
    let ended = tokio::time::timeout(Duration::from_secs(5), following).await.expect("ends").expect("task");
    assert_eq!(ended.expect("printed"), Phase::Copying);
}
