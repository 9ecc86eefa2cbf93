//! Drives an engine through the walk-through by the same commands as an operator.

use mongoferry::{
    engine::{Engine, EngineSettings},
    model::{
        Command, Endpoint, Options, Phase, Plan, Snapshot,
        command::Consent,
        snapshot::{CutoverStep, VerificationState},
    },
    session::Client,
};
use std::{sync::Arc, time::Duration};

/// Longest wait for anything; a failure prints what was seen.
const PATIENCE: Duration = Duration::from_secs(180);

/// A plan with short durations.
pub fn plan(source: &str, destination: &str) -> Plan {
    let options =
        Options { ready_for: Duration::from_secs(1), quiet_for: Duration::from_millis(1_500), ..Options::default() };
    Plan { name: "test".into(), source: Endpoint::plain(source), destination: Endpoint::plain(destination), options }
}

/// An engine with its state in a temporary folder.
pub fn engine() -> (Engine, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    (Engine::start(EngineSettings { state_root: home.path().join("state"), application: None }), home)
}

/// An engine with a migration that may be cut over.
pub async fn ready(pair: &super::Pair) -> (Engine, tempfile::TempDir, Client) {
    let (engine, home) = engine();
    let mut client = engine.client("ops@test");
    start(&mut client, plan(&pair.source.uri(), &pair.destination.uri())).await;
    wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    (engine, home, client)
}

/// Waits for a snapshot; panics with the state and the event log when it does not come.
pub async fn wait(client: &mut Client, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let waiting = async {
        loop {
            let snapshot = client.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            if snapshot.phase == Phase::Failed {
                panic!("failed while waiting for {what}: {:#?}, events:\n{}", snapshot.error, events(client));
            }
            client.changed().await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(snapshot) => snapshot,
        Err(_) => {
            let snapshot = client.snapshot();
            panic!(
                "no {what} after {PATIENCE:?}; phase {}, lag {:?}, blocked by {:?}, cutover {:?}, events:\n{}",
                snapshot.phase,
                snapshot.lag_ms,
                snapshot.cutover_blocked_by,
                snapshot.cutover,
                events(client)
            );
        }
    }
}

fn events(client: &Client) -> String {
    let lines = client.events().since(0).into_iter().map(|event| format!("{} {} {}", event.at, event.kind, event.text));
    lines.collect::<Vec<_>>().join("\n")
}

/// Validates and starts.
pub async fn start(client: &mut Client, plan: Plan) {
    start_after(client, plan, async || {}).await;
}

/// Validates, does something else, and starts.
pub async fn start_after(client: &mut Client, plan: Plan, something: impl AsyncFnOnce()) {
    let clear = plan.options.clear_destination;
    client.send(Command::Validate(Box::new(plan))).await.expect("validate");
    let snapshot =
        wait(client, "the validation", |snapshot| snapshot.validation.as_ref().is_some_and(|report| report.finished))
            .await;
    let report = snapshot.validation.clone().unwrap();
    assert!(report.passed(), "validation failed: {:#?}", report.checks);
    something().await;
    let consent = Consent { warnings: true, clear_destination: clear };
    // The machine hears of the result right after the report shows it.
    for _ in 0..50 {
        if client.send(Command::Start(consent)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    client.send(Command::Start(consent)).await.expect("start");
}

/// From ready to completed; `stop_writers` is called when the walk-through says "Stop your application".
pub async fn cut_over(client: &mut Client, stop_writers: impl AsyncFnOnce()) -> Arc<Snapshot> {
    wait(client, "ready", |snapshot| snapshot.can_cutover).await;
    insist(client, Command::PrepareCutover).await;
    stop_writers().await;
    wait(client, "a quiet source", |snapshot| {
        snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms)
    })
    .await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.expect("continue");
    let snapshot = wait(client, "the end of the cutover", |snapshot| {
        let stuck = snapshot.cutover.as_ref().is_some_and(|cutover| {
            cutover.step == CutoverStep::CheckData
                && snapshot.verification.state == VerificationState::Done
                && snapshot.verification.mismatches > 0
        });
        snapshot.phase == Phase::Completed || stuck
    })
    .await;
    assert_eq!(snapshot.phase, Phase::Completed, "documents differ: {:#?}", snapshot.verification);
    snapshot
}

/// Repairs what the check at the cutover found. The verdict of before is shown until the new one is there, and repairing
/// is refused until then.
pub async fn repair(client: &Client) {
    insist(client, Command::RepairMismatches).await;
}

/// Sends a command that is refused for a moment: the snapshot may be ahead of what the machine has heard, and on a busy
/// machine the lag rises again.
pub async fn insist(client: &Client, command: Command) {
    let began = std::time::Instant::now();
    while let Err(refusal) = client.send(command.clone()).await {
        assert!(began.elapsed() < PATIENCE, "{refusal}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
