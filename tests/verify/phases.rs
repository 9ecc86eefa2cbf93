//! The destination corrupted behind the engine's back in every phase of a real migration, under heavy writes and TTL
//! deletions on the source: all of it is found and named, and nothing else.
#![allow(clippy::unwrap_used)]

use crate::{
    common::{self, compare, drive},
    kinds,
};
use bson::{DateTime, Document, doc};
use mongodb::{Client, ClientSession};
use mongoferry::{
    demo::Release,
    model::{
        Command, Phase,
        snapshot::{CutoverStep, Snapshot, StepLine, StepState, VerificationState},
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
    for phase in phases {
        shop.run_command(doc! { "createIndexes": "kinds", "indexes": [index(phase)] }).await.unwrap();
        shop.run_command(doc! { "create": options_of(phase) }).await.unwrap();
        shop.run_command(doc! { "collMod": options_of(phase), "validator": validator() }).await.unwrap();
    }
}

fn index(phase: &str) -> Document {
    doc! { "key": { phase: 1 }, "name": format!("{phase}_1") }
}

/// A collection of its own, so that the option of every phase is told apart.
fn options_of(phase: &str) -> String {
    format!("options_{phase}")
}

fn validator() -> Document {
    doc! { "a": { "$ne": "never" } }
}

/// Everything that can be wrong, one of each kind.
async fn corrupt(destination: &Client, phase: &str) {
    let shop = destination.database("shop");
    kinds::corrupt(destination, phase).await;
    // It may be listed before it is finished.
    let drop = doc! { "dropIndexes": "kinds", "index": format!("{phase}_1") };
    until("dropped", async || shop.run_command(drop.clone()).await.is_ok()).await;
    let change = doc! { "collMod": options_of(phase), "validator": { "z": { "$exists": false } } };
    shop.run_command(change).await.unwrap();
}

async fn mend_metadata(destination: &Client, phase: &str) {
    let shop = destination.database("shop");
    shop.run_command(doc! { "createIndexes": "kinds", "indexes": [index(phase)] }).await.unwrap();
    shop.run_command(doc! { "collMod": options_of(phase), "validator": validator() }).await.unwrap();
}

/// What [`corrupt`] did besides documents.
fn wanted_differences(phases: &[&str]) -> Vec<String> {
    let of = |phase: &&str| {
        let change = r#"{"a":{"$ne":"never"}} on the source, {"z":{"$exists":false}} on the destination"#;
        let index = format!("shop.kinds: index {phase}_1 is missing on the destination");
        [index, format!("shop.{}: option validator is {change}", options_of(phase))]
    };
    let mut all: Vec<String> = phases.iter().flat_map(of).collect();
    all.sort();
    all
}

/// While the transaction is open, no index of the collection is built there and no option of it is changed.
async fn hold(destination: &Client, name: &str) -> ClientSession {
    // Longer than the server's minute: a monitor that sleeps for one is waited for.
    let lifetime = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 600 };
    destination.database("admin").run_command(lifetime).await.unwrap();
    let mut session = destination.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let collection = destination.database("shop").collection::<Document>(name);
    collection.insert_one(doc! { "_id": "never committed" }).session(&mut session).await.unwrap();
    session
}

/// Tries until it is true; panics with `what` when it does not become so.
async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_true().await {
        assert!(began.elapsed() < Duration::from_secs(120), "not {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    let phases = ["copying", "indexing", "following", "ready", "cutover"];
    let all = [&phases[..], &["finalizing"]].concat();
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    stage(&source, &all).await;
    // The copy takes a while, throttled.
    let ballast = source.database("shop").collection::<Document>("ballast");
    ballast.insert_many((0..3_000).map(|n| doc! { "_id": n, "pad": "x".repeat(4_000) })).await.unwrap();
    // So many that they are built after the documents.
    let indexes: Vec<_> = (0..4).map(|n| doc! { "key": { format!("i{n}"): 1 }, "name": format!("i{n}") }).collect();
    source.database("shop").run_command(doc! { "createIndexes": "ballast", "indexes": indexes }).await.unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let writing = write(&source, &ends);
    let (engine, _home) = drive::engine();
    let mut client = engine.client("test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.throttle = Some(2_000_000);
    drive::start(&mut client, plan).await;

    let shop = destination.database("shop");
    let (kinds_there, fleeting_there) = (shop.collection::<Document>("kinds"), shop.collection::<Document>("fleeting"));
    let count = source.database("shop").collection::<Document>("kinds").count_documents(doc! {}).await.unwrap();
    until("copied", async || kinds_there.count_documents(doc! {}).await.unwrap() == count).await;
    corrupt(&destination, "copying").await;
    let mut held = hold(&destination, "ballast").await;
    assert_eq!(client.snapshot().phase, Phase::Copying, "it was corrupted while data was copied");

    drive::wait(&mut client, "indexing", |snapshot| snapshot.phase == Phase::Indexing).await;
    until("indexed", async || {
        let names = kinds_there.list_index_names().await.unwrap();
        // That of "copying" was dropped there.
        all[1..].iter().all(|phase| names.contains(&format!("{phase}_1")))
    })
    .await;
    corrupt(&destination, "indexing").await;
    assert_eq!(client.snapshot().phase, Phase::Indexing, "it was corrupted while indexes were built");
    held.abort_transaction().await.unwrap();

    drive::wait(&mut client, "following", |snapshot| matches!(snapshot.phase, Phase::Following | Phase::Ready)).await;
    corrupt(&destination, "following").await;
    let collections = 4 + all.len();
    drive::wait(&mut client, "the base pass", |snapshot| {
        let rows = &snapshot.verification.collections;
        snapshot.can_cutover && rows.len() == collections && rows.iter().all(|row| row.done)
    })
    .await;
    // Compared already, and never touched by the applier.
    corrupt(&destination, "ready").await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    ends.store(true, Ordering::Relaxed);
    let rounds = writing.await.unwrap();
    // The last ones expire while the application is stopped already.
    let fleeting = source.database("shop").collection::<Document>("fleeting");
    until("expired", async || fleeting.count_documents(doc! {}).await.unwrap() == 0).await;
    corrupt(&destination, "cutover").await;
    to_the_check(&mut client).await;
    // Not the verdict of before, which is shown until the check at the cutover is over.
    let is_over = |line: &StepLine| line.label == "data checked" && line.detail.ends_with("documents differ");
    let differs = move |snapshot: &Snapshot, count: u64| {
        snapshot.verification.mismatches == count
            && snapshot
                .cutover
                .as_ref()
                .is_some_and(|cutover| cutover.step == CutoverStep::CheckData && cutover.lines.iter().any(is_over))
    };
    let checked = drive::wait(&mut client, "the verdict", |snapshot| {
        snapshot.verification.state == VerificationState::Done && differs(snapshot, snapshot.verification.mismatches)
    })
    .await;
    assert_eq!(named(&checked), kinds::wanted(&phases), "after {rounds} rounds of writes");
    assert_eq!(checked.verification.mismatches, 35);

    // Repaired, and corrupted once more while finalizing.
    until("expired there", async || fleeting_there.count_documents(doc! {}).await.unwrap() == 0).await;
    let mut held = hold(&destination, "fleeting").await;
    drive::repair(&client).await;
    drive::wait(&mut client, "finalizing", |snapshot| snapshot.phase == Phase::Finalizing).await;
    corrupt(&destination, "finalizing").await;
    let finalizing = client.snapshot();
    assert_eq!((finalizing.phase, finalizing.verification.mismatches), (Phase::Finalizing, 0));
    held.abort_transaction().await.unwrap();
    let changed = drive::wait(&mut client, "the verdict of the last look", |snapshot| differs(snapshot, 7)).await;
    assert_eq!(named(&changed), kinds::wanted(&["finalizing"]));
    assert!(!changed.can_write);

    // Repaired, rechecked, and what differs besides documents is named before anything is opened.
    drive::repair(&client).await;
    let is_held = |snapshot: &Snapshot| {
        let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
        snapshot.phase == Phase::Finalizing && lines.any(|line| line.state == StepState::Failed)
    };
    let named = |snapshot: &Snapshot| {
        let mut named = snapshot.verification.metadata_differences.clone();
        named.sort();
        named
    };
    let wanted = wanted_differences(&all);
    let held = drive::wait(&mut client, "the names", |snapshot| is_held(snapshot) && !named(snapshot).is_empty()).await;
    assert_eq!((held.verification.mismatches, held.verification.examples.len()), (0, 0));
    assert_eq!(named(&held), wanted);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = client.snapshot();
    assert!(!held.can_write && held.phase == Phase::Finalizing, "{:#?}", held.cutover);

    // Mended by hand.
    for phase in &all {
        mend_metadata(&destination, phase).await;
    }
    drive::insist(&client, Command::Retry).await;
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.verification.metadata_differences, Vec::<String>::new());
    compare::assert_identical(&source, &destination).await;
}

/// Finalizing lets the destination's TTL monitor loose before the destination is looked at for the last time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_destination_lets_expire_while_it_is_finalized_is_no_difference() {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let (here, there) = (source.database("shop"), destination.database("shop"));
    let set = |name: &str, value: bson::Bson| doc! { "setParameter": 1, name: value };
    source.database("admin").run_command(set("ttlMonitorEnabled", false.into())).await.unwrap();
    destination.database("admin").run_command(set("ttlMonitorSleepSecs", 1.into())).await.unwrap();
    let long_ago = DateTime::from_millis(1_700_000_000_000);
    let far_away = DateTime::from_millis(4_000_000_000_000);
    for (name, at) in [("fleeting", long_ago), ("kept", far_away)] {
        let documents = (0..50).map(|n| doc! { "_id": n, "at": at });
        // The source's monitor is off: it does not delete them.
        let ttl = doc! { "key": { "at": 1 }, "name": "at_1", "expireAfterSeconds": 1 };
        here.run_command(doc! { "createIndexes": name, "indexes": [ttl] }).await.unwrap();
        here.collection::<Document>(name).insert_many(documents).await.unwrap();
    }
    // Without a TTL: the monitor would wait for the transaction too, and delete nothing behind it.
    let unique = doc! { "key": { "n": 1 }, "name": "n_1", "unique": true };
    here.run_command(doc! { "createIndexes": "held", "indexes": [unique] }).await.unwrap();
    here.collection::<Document>("held").insert_many((0..50).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
    let (engine, _home) = drive::engine();
    let mut client = engine.client("test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    let mut held = hold(&destination, "held").await;
    to_the_check(&mut client).await;
    let fleeting = there.collection::<Document>("fleeting");
    until("expired there", async || fleeting.count_documents(doc! {}).await.unwrap() == 0).await;
    assert_eq!(client.snapshot().phase, Phase::Finalizing);
    // This one went by hand, and is a difference.
    let by_hand = there.collection::<Document>("kept").delete_one(doc! { "_id": 7 }).await.unwrap();
    assert_eq!(by_hand.deleted_count, 1);
    assert_eq!(here.collection::<Document>("fleeting").count_documents(doc! {}).await.unwrap(), 50);
    held.abort_transaction().await.unwrap();
    let changed = drive::wait(&mut client, "the verdict of the last look", |snapshot| {
        snapshot.phase == Phase::Completed || snapshot.verification.mismatches > 0
    })
    .await;
    let named: Vec<_> = changed.verification.examples.iter().map(|one| (&*one.namespace, &*one.id)).collect();
    assert_eq!((named, changed.verification.mismatches), (vec![("shop.kept", "7")], 1));
    engine.shut_down().await;
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
        snapshot.can_cutover && rows.len() == 4 && rows.iter().all(|row| row.done)
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
