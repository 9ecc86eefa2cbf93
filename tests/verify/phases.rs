//! The destination corrupted behind the engine's back in every phase of a real migration, under heavy writes and TTL
//! deletions on the source: all of it is found and named, and nothing else.
#![allow(clippy::unwrap_used)]

use crate::{
    common::{self, compare, drive},
    kinds,
};
use bson::{DateTime, Document, doc};
use mongodb::Client;
use mongoferry::{
    demo::Release,
    model::{
        Command, Phase,
        snapshot::{CutoverStep, Snapshot, StepLine, StepState},
    },
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// Inserts, updates and deletes, and documents that the TTL monitor deletes, until told to end.
fn write(source: &Client, ends: &Arc<AtomicBool>) -> JoinHandle<i32> {
    let (shop, ends) = (source.database("shop"), ends.clone());
    tokio::spawn(async move {
        let (bulk, fleeting) = (shop.collection::<Document>("bulk"), shop.collection::<Document>("fleeting"));
        let mut n = 0;
        while !ends.load(Ordering::Relaxed) {
            n += 1;
            let batch = (0..20).map(|k| doc! { "_id": 10_000 + n * 20 + k, "x": n });
            bulk.insert_many(batch).await.unwrap();
            let many = doc! { "_id": { "$gte": n % 900, "$lt": n % 900 + 20 } };
            bulk.update_many(many, doc! { "$inc": { "n": 1 }, "$set": { "s.t": n } }).await.unwrap();
            bulk.delete_one(doc! { "_id": 10_000 + n * 20 - 7 }).await.unwrap();
            let batch = (0..5).map(|k| doc! { "_id": n * 5 + k, "at": DateTime::now() });
            fleeting.insert_many(batch).await.unwrap();
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        n
    })
}

pub async fn stage(source: &Client, phases: &[&str]) {
    let shop = source.database("shop");
    source.database("admin").run_command(doc! { "setParameter": 1, "ttlMonitorSleepSecs": 1 }).await.unwrap();
    let bulk = shop.collection::<Document>("bulk");
    bulk.insert_many((0..1_000).map(|n| doc! { "_id": n, "pad": "x".repeat(200) })).await.unwrap();
    let ttl = doc! { "key": { "at": 1 }, "name": "at_1", "expireAfterSeconds": 1 };
    shop.run_command(doc! { "createIndexes": "fleeting", "indexes": [ttl] }).await.unwrap();
    for phase in phases {
        kinds::fill(source, phase).await;
    }
    let index = doc! { "key": { "a": 1 }, "name": "a_1" };
    shop.run_command(doc! { "createIndexes": "kinds", "indexes": [index] }).await.unwrap();
    shop.run_command(doc! { "collMod": "kinds", "validator": validator() }).await.unwrap();
}

fn validator() -> Document {
    doc! { "a": { "$ne": "never" } }
}

pub fn named(snapshot: &Snapshot) -> Vec<String> {
    let one = |example: &mongoferry::model::snapshot::Mismatch| {
        let kind = format!("{:?}", example.kind).to_lowercase();
        assert_eq!(example.namespace, "shop.kinds", "{example:?}");
        format!("{} {kind} {}", example.id, example.paths.join(","))
    };
    let mut all: Vec<String> = snapshot.verification.examples.iter().map(one).collect();
    all.sort();
    all
}

/// Through "Stop your application" to the check.
pub async fn to_the_check(client: &mut mongoferry::session::Client) {
    drive::wait(client, "a quiet source", |snapshot| {
        snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms)
    })
    .await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.expect("continue");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_corrupted_in_any_phase_is_named_and_nothing_else() {
    corrupted_in_any_phase(common::pair().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_corrupted_in_any_phase_is_named_on_old_servers_too() {
    tokio::join!(
        async { corrupted_in_any_phase(common::pair_between(Release::V4_4_2, Release::V4_4_2).await).await },
        async { corrupted_in_any_phase(common::pair_between(Release::V5_0_4, Release::V5_0_4).await).await },
    );
}

async fn corrupted_in_any_phase(pair: common::Pair) {
    let phases = ["following", "ready", "cutover"];
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    stage(&source, &phases).await;
    let ends = Arc::new(AtomicBool::new(false));
    let writing = write(&source, &ends);
    let (engine, _home) = drive::engine();
    let mut client = engine.client("test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;

    drive::wait(&mut client, "following", |snapshot| matches!(snapshot.phase, Phase::Following | Phase::Ready)).await;
    kinds::corrupt(&destination, "following").await;
    drive::wait(&mut client, "the base pass", |snapshot| {
        let rows = &snapshot.verification.collections;
        snapshot.can_cutover && rows.len() == 3 && rows.iter().all(|row| row.done)
    })
    .await;
    // Compared already, and never touched by the applier.
    kinds::corrupt(&destination, "ready").await;
    let shop = destination.database("shop");
    shop.run_command(doc! { "dropIndexes": "kinds", "index": "a_1" }).await.unwrap();
    shop.run_command(doc! { "collMod": "kinds", "validator": { "z": { "$exists": false } } }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    client.send(Command::PrepareCutover).await.expect("prepare cutover");
    ends.store(true, Ordering::Relaxed);
    let rounds = writing.await.unwrap();
    // The last ones expire while the application is stopped already.
    let fleeting = source.database("shop").collection::<Document>("fleeting");
    while fleeting.count_documents(doc! {}).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    kinds::corrupt(&destination, "cutover").await;
    to_the_check(&mut client).await;
    let checked = drive::wait(&mut client, "the verdict", |snapshot| {
        // Not the verdict of before, which is shown until the check at the cutover is over.
        snapshot.cutover.as_ref().is_some_and(|cutover| {
            let is_over = |line: &StepLine| line.label == "data checked" && line.detail.ends_with("documents differ");
            cutover.step == CutoverStep::CheckData && cutover.lines.iter().any(is_over)
        })
    })
    .await;
    assert_eq!(named(&checked), kinds::wanted(&phases), "after {rounds} rounds of writes");
    assert_eq!(checked.verification.mismatches, 21);

    // Repaired, rechecked, and what differs besides documents is named before anything is opened.
    drive::repair(&client).await;
    let is_held = |snapshot: &Snapshot| {
        let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
        snapshot.phase == Phase::Finalizing && lines.any(|line| line.state == StepState::Failed)
    };
    let held = drive::wait(&mut client, "the comparison of metadata", is_held).await;
    assert_eq!((held.verification.mismatches, held.verification.examples.len()), (0, 0));
    let named = |snapshot: &Snapshot| {
        let mut named = snapshot.verification.metadata_differences.clone();
        named.sort();
        named
    };
    let held = drive::wait(&mut client, "the names", |snapshot| is_held(snapshot) && named(snapshot).len() == 2).await;
    assert_eq!(
        named(&held),
        [
            "shop.kinds: index a_1 is missing on the destination",
            r#"shop.kinds: option validator is {"a":{"$ne":"never"}} on the source, {"z":{"$exists":false}} on the destination"#,
        ]
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = client.snapshot();
    assert!(!held.can_write && held.phase == Phase::Finalizing, "{:#?}", held.cutover);

    // Mended by hand.
    shop.run_command(doc! { "collMod": "kinds", "validator": validator() }).await.unwrap();
    let index = doc! { "key": { "a": 1 }, "name": "a_1" };
    shop.run_command(doc! { "createIndexes": "kinds", "indexes": [index] }).await.unwrap();
    client.send(Command::Retry).await.expect("retry");
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.verification.metadata_differences, Vec::<String>::new());
    compare::assert_identical(&source, &destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_differs_nothing_is_reported() {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    stage(&source, &["only"]).await;
    let ends = Arc::new(AtomicBool::new(false));
    let writing = write(&source, &ends);
    let (engine, _home) = drive::engine();
    let mut client = engine.client("test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;
    drive::wait(&mut client, "the base pass", |snapshot| {
        let rows = &snapshot.verification.collections;
        snapshot.can_cutover && rows.len() == 3 && rows.iter().all(|row| row.done)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let done = drive::cut_over(&mut client, async || {
        ends.store(true, Ordering::Relaxed);
    })
    .await;
    assert!(writing.await.unwrap() > 100);
    assert_eq!(done.verification.mismatches, 0, "{:#?}", done.verification);
    assert_eq!(done.verification.metadata_differences, Vec::<String>::new());
    drop(destination);
}
