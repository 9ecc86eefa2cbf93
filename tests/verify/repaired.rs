//! What differed, was copied again and is equal since: by whom it was asked for, and where it is told.
#![allow(clippy::unwrap_used)]

use crate::{common, common::drive, kinds, phases};
use mongoferry::{
    engine::{Engine, EngineSettings},
    model::{CheckOrder, Command, Phase, Plan, RepairPolicy, Repaired, Snapshot, snapshot::StepState},
};

const KINDS: usize = 7;

/// Seven documents, each with its name and a time.
fn assert_named(repaired: &Repaired, began: jiff::Timestamp) {
    let mut names: Vec<_> = repaired.examples.iter().map(|one| one.id.clone()).collect();
    names.sort();
    let wanted: Vec<_> =
        kinds::wanted(&["only"]).iter().map(|line| line.split(' ').next().unwrap_or_default().to_string()).collect();
    assert_eq!((names, repaired.documents), (wanted, KINDS as u64));
    assert!(repaired.examples.iter().all(|one| one.at > began && one.at < jiff::Timestamp::now()));
}

fn assert_reported(done: &Snapshot) {
    let path = done.report.as_ref().unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("7 documents that differed: copied again, read again, and equal then"), "{page}");
    let json = std::fs::read_to_string(std::path::Path::new(path).with_extension("json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let repaired = &json["verification"]["repaired"];
    assert_eq!(repaired, &serde_json::to_value(&done.verification.repaired).unwrap());
    for one in repaired["examples"].as_array().unwrap() {
        assert!(page.contains(one["id"].as_str().unwrap()), "{one} is not in {page}");
    }
}

async fn corrupted(plan: impl FnOnce(&mut Plan)) -> (common::Pair, Engine, tempfile::TempDir, Plan) {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    phases::stage(&source, &["only"]).await;
    let (engine, home) = drive::engine();
    let mut client = engine.client("test");
    let mut of = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan(&mut of);
    drive::start(&mut client, of.clone()).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    kinds::corrupt(&destination, "only").await;
    drive::insist(&client, Command::PrepareCutover).await;
    phases::to_the_check(&mut client).await;
    (pair, engine, home, of)
}

#[tokio::test(flavor = "multi_thread")]
async fn by_policy_nobody_is_asked_and_everything_is_told() {
    for order in [CheckOrder::First, CheckOrder::After] {
        let began = jiff::Timestamp::now();
        let (pair, engine, _home, _) = corrupted(|plan| {
            plan.options.repair = RepairPolicy::Auto;
            plan.options.check = order;
        })
        .await;
        let mut client = engine.client("test");
        let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
        assert_eq!(done.verification.mismatches, 0, "{order:?}");
        assert_named(&done.verification.repaired, began);
        assert_reported(&done);
        let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
        common::compare::assert_identical(&source, &destination).await;
        engine.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_knows_what_was_repaired() {
    let began = jiff::Timestamp::now();
    let (pair, engine, home, plan) = corrupted(|_| ()).await;
    let destination = pair.destination.client().await.unwrap();
    // Holds the cutover after the repair.
    let change = bson::doc! { "collMod": "options_only", "validator": { "z": 1 } };
    destination.database("shop").run_command(change).await.unwrap();
    let mut client = engine.client("test");
    drive::repair(&client).await;
    let is_held = |snapshot: &Snapshot| {
        let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
        snapshot.phase == Phase::Finalizing && lines.any(|line| line.state == StepState::Failed)
    };
    let held = drive::wait(&mut client, "the comparison of metadata", is_held).await;
    assert_named(&held.verification.repaired, began);
    drop(client);
    engine.shut_down().await;

    let settings = EngineSettings { state_root: home.path().join("state"), application: None };
    let engine = Engine::resume(settings, &home.path().join("state/test"), plan).expect("taken up");
    let mut client = engine.client("test");
    // What a command decides by that comes at once.
    assert_eq!(client.snapshot().phase, Phase::Finalizing);
    drive::wait(&mut client, "the comparison of metadata", is_held).await;
    drive::insist(&client, Command::ContinueCutover { assume_stopped: false }).await;
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_named(&done.verification.repaired, began);
    assert_reported(&done);
    engine.shut_down().await;
}
