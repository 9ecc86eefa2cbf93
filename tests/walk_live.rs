//! The walk-through's turns on real servers: pause, expiry, going back, late writes, repair, clearing, filters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bson::{Document, doc};
use common::{Pair, compare, drive};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use mongoferry::model::{
    Command, NamespaceFilter, Phase, Refusal,
    filter::Pattern,
    snapshot::{CutoverStep, VerificationState},
};
use std::time::Duration;

async fn loaded(documents: i32) -> (Pair, mongodb::Client, mongodb::Client) {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..documents).map(|n| doc! { "_id": n, "pad": "x".repeat(500) })).await.unwrap();
    (pair, source, destination)
}

fn refused(outcome: Result<(), Refusal>) -> String {
    outcome.expect_err("it should be refused").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_copy_stands_still_and_goes_on() {
    let (pair, source, destination) = loaded(40_000).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.throttle = Some(8_000_000);
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "a copy", |snapshot| snapshot.phase == Phase::Copying && snapshot.copy.documents > 0)
        .await;
    client.send(Command::Pause).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let at_rest = client.snapshot();
    assert_eq!(at_rest.phase, Phase::Paused);
    assert!(at_rest.copy.documents < 40_000, "the copy was over before it could be paused");
    assert!(refused(client.send(Command::PrepareCutover).await).contains("paused"));
    source.database("shop").collection::<Document>("orders").delete_one(doc! { "_id": 39_999 }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(client.snapshot().copy.documents, at_rest.copy.documents, "it copied while paused");
    client.send(Command::Resume).await.unwrap();
    drive::cut_over(&mut client, async || {}).await;
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_window_keeps_everything_and_resumes() {
    let (pair, source, destination) = loaded(100).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.cutover_window = Duration::from_secs(2);
    plan.options.extend_by = Duration::from_secs(2);
    drive::start(&mut client, plan).await;
    let ready = drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    client.send(Command::Extend).await.unwrap();
    let extended = drive::wait(&mut client, "an extension", |snapshot| snapshot.extensions == 1).await;
    assert!(extended.cutover_deadline > ready.cutover_deadline);
    assert_eq!(extended.extension_log[0].by, "ops@test");
    drive::wait(&mut client, "expiry", |snapshot| snapshot.phase == Phase::Expired).await;
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! { "_id": "after expiry" }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let copied = destination.database("shop").collection::<Document>("orders");
    assert_eq!(copied.count_documents(doc! { "_id": "after expiry" }).await.unwrap(), 0, "it synced after expiry");
    client.send(Command::Resume).await.unwrap();
    drive::cut_over(&mut client, async || {}).await;
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_write_reopens_the_cutover_and_arrives() {
    let (pair, source, destination) = loaded(5_000).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;
    drive::wait(&mut client, "copied", |snapshot| snapshot.phase >= Phase::Following).await;
    let copy = destination.database("shop").collection::<Document>("orders");
    copy.update_one(doc! { "_id": 7 }, doc! { "$set": { "pad": "corrupted" } }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_one(doc! { "_id": "not quiet" }).await.unwrap();
    client.send(Command::Rehearse).await.unwrap();
    let rehearsed = drive::wait(&mut client, "a rehearsal", |snapshot| snapshot.rehearsal.is_some()).await;
    let rehearsal = rehearsed.rehearsal.as_ref().unwrap();
    assert_eq!((rehearsal.by.as_str(), rehearsal.least_ms), ("ops@test", rehearsal.drain_ms + 1_500));
    assert_eq!(
        copy.count_documents(doc! { "_id": "not quiet" }).await.unwrap(),
        1,
        "it ended before the write arrived"
    );
    assert!(rehearsed.cutover.is_none() && !rehearsed.can_write);
    let fresh = |snapshot: &mongoferry::model::Snapshot| snapshot.source_quiet_ms.is_some_and(|quiet| quiet < 1_000);
    drive::wait(&mut client, "a write", |snapshot| fresh(snapshot) && snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let waits = drive::wait(&mut client, "a step that waits", |snapshot| {
        snapshot.cutover.as_ref().is_some_and(|cutover| cutover.waiting_by.is_some())
    })
    .await;
    assert_eq!(waits.cutover.as_ref().unwrap().step, CutoverStep::StopApplication);
    client.send(Command::GoBack).await.unwrap();
    drive::wait(&mut client, "ready again", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    drive::wait(&mut client, "quiet", |snapshot| snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= 1_500)).await;
    // A document that differs holds the cutover between the drain and the opening; there the writer comes back.
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    drive::wait(&mut client, "the verdict", |snapshot| snapshot.verification.mismatches == 1).await;
    orders.insert_one(doc! { "_id": "late" }).await.unwrap();
    let snapshot = drive::wait(&mut client, "the reopened step", |snapshot| {
        snapshot.cutover.as_ref().is_some_and(|cutover| cutover.late_write.is_some())
    })
    .await;
    assert_eq!(snapshot.cutover.as_ref().unwrap().step, CutoverStep::StopApplication);
    assert!(!snapshot.can_write);
    drive::wait(&mut client, "quiet", |snapshot| snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= 1_500)).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    drive::repair(&client).await;
    drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_destination_is_found_and_repaired_before_it_is_opened() {
    let (pair, source, destination) = loaded(3_000).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;
    drive::wait(&mut client, "copied", |snapshot| snapshot.phase >= Phase::Following).await;
    let copy = destination.database("shop").collection::<Document>("orders");
    copy.delete_one(doc! { "_id": 17 }).await.unwrap();
    copy.update_one(doc! { "_id": 18 }, doc! { "$set": { "pad": 1 } }).await.unwrap();
    copy.insert_one(doc! { "_id": "stranger" }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    drive::wait(&mut client, "quiet", |snapshot| snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= 1_500)).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let snapshot = drive::wait(&mut client, "the verdict", |snapshot| {
        snapshot.verification.state == VerificationState::Done || snapshot.phase >= Phase::Finalizing
    })
    .await;
    assert_eq!(snapshot.phase, Phase::Cutover, "it went on although documents differ");
    assert_eq!(snapshot.verification.mismatches, 3, "{:#?}", snapshot.verification);
    drive::repair(&client).await;
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.verification.mismatches, 0);
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_drops_what_the_filter_selects_and_nothing_else() {
    let (pair, source, destination) = loaded(200).await;
    source.database("crm").collection::<Document>("left_out").insert_one(doc! { "_id": 1 }).await.unwrap();
    destination.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": "old" }).await.unwrap();
    destination.database("shop").collection::<Document>("old_only").insert_one(doc! { "_id": 1 }).await.unwrap();
    destination.database("mine").collection::<Document>("kept").insert_one(doc! { "_id": 1 }).await.unwrap();
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.filter = NamespaceFilter { include: vec![Pattern::parse("shop.*").unwrap()], exclude: Vec::new() };
    plan.options.clear_destination = true;
    drive::start(&mut client, plan).await;
    drive::cut_over(&mut client, async || {}).await;
    let differences = compare::differences(&source, &destination).await;
    assert_eq!(differences, ["crm.left_out: only on the source", "mine.kept: only on the destination"]);
    engine.shut_down().await;
}

/// A text index of the operator's own stands in the way of one of the source: the gate names what is missing, until it
/// is built or somebody agrees to do without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_cannot_be_built_keeps_the_cutover_closed() {
    let (pair, source, destination) = loaded(100).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    let text = async |client: &mongodb::Client, coll: &str, name: &str, field: &str| {
        let index = doc! { "key": { field: "text" }, "name": name };
        client.database("shop").run_command(doc! { "createIndexes": coll, "indexes": [index] }).await.unwrap();
    };
    for coll in ["orders", "notes"] {
        source.database("shop").collection::<Document>(coll).insert_one(doc! { "_id": "n" }).await.unwrap();
    }
    drive::wait(&mut client, "the documents", |snapshot| snapshot.can_cutover).await;
    while destination.database("shop").collection::<Document>("notes").count_documents(doc! {}).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for coll in ["orders", "notes"] {
        text(&destination, coll, "mine", "other").await;
        text(&source, coll, "words", "pad").await;
    }
    let failed = drive::wait(&mut client, "two failed indexes", |snapshot| snapshot.indexes.failed.len() == 2).await;
    let why = failed.cutover_blocked_by.join("; ");
    let first = &failed.indexes.failed[0];
    assert_eq!(first.index, "words");
    drive::wait(&mut client, "a closed gate", |snapshot| !snapshot.can_cutover).await;
    let refusal = refused(client.send(Command::PrepareCutover).await);
    assert!(refusal.contains("/ words and 1 more could not be built"), "{refusal}; {why}");

    // Out of the way on one of them.
    destination.database("shop").run_command(doc! { "dropIndexes": "orders", "index": "mine" }).await.unwrap();
    drive::insist(&client, Command::Retry).await;
    let failed = drive::wait(&mut client, "one failed index", |snapshot| snapshot.indexes.failed.len() == 1).await;
    assert_eq!(failed.indexes.failed[0].namespace, "shop.notes");
    drive::insist(&client, Command::AcceptFailedIndexes).await;
    drive::wait(&mut client, "ready again", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    // The missing one was accepted; the one that is there too many was not.
    let named = |snapshot: &mongoferry::model::Snapshot| snapshot.verification.metadata_differences.clone();
    let held = drive::wait(&mut client, "the comparison of metadata", |snapshot| named(snapshot).len() == 2).await;
    let extra = "shop.notes: index mine is on the destination only";
    assert_eq!(named(&held), [extra, "shop.notes: index words is missing on the destination"]);
    assert!(held.phase == Phase::Finalizing && !held.can_write, "{:#?}", held.cutover);
    drive::insist(&client, Command::ContinueCutover { assume_stopped: false }).await;
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.indexes.failed.len(), 1);
    let indexes = destination.database("shop").collection::<Document>("orders").list_index_names().await.unwrap();
    assert!(indexes.contains(&"words".to_string()), "{indexes:?}");
    let report = std::fs::read_to_string(done.report.as_ref().unwrap()).unwrap();
    assert!(report.contains("accepted that the destination lacks: shop.notes / words"), "{report}");
    assert!(
        report.contains(&format!("- differs: {extra}"))
            && report.contains("went on although not everything is as on the source (1 named"),
        "{report}"
    );
    engine.shut_down().await;
}

/// What an open transaction writes is nowhere yet: the cutover waits for its end, and what it committed arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cutover_waits_for_an_open_transaction() {
    let (pair, source, destination) = loaded(100).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    let orders = source.database("shop").collection::<Document>("orders");
    let mut session = source.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    orders.insert_one(doc! { "_id": "late" }).session(&mut session).await.unwrap();
    drive::insist(&client, Command::PrepareCutover).await;
    let quiet = drive::wait(&mut client, "quiet with an open transaction", |snapshot| {
        snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms)
            && !snapshot.open_transactions.is_empty()
    })
    .await;
    assert!(quiet.open_transactions[0].contains("(127.0.0.1), open for"), "{:?}", quiet.open_transactions);
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    // Longer than the quiet that is needed.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let waits = client.snapshot();
    assert_eq!(waits.cutover.as_ref().map(|cutover| cutover.step), Some(CutoverStep::StopApplication));
    session.commit_transaction().await.unwrap();
    // Nobody presses anything again.
    drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(
        destination
            .database("shop")
            .collection::<Document>("orders")
            .count_documents(doc! { "_id": "late" })
            .await
            .unwrap(),
        1
    );
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// The TTL monitor never stops deleting; the cutover does not wait for it to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_expire_do_not_keep_the_source_from_being_quiet() {
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).unwrap();
    let often = vec!["--setParameter".to_string(), "ttlMonitorSleepSecs=1".into()];
    let (a, b) = (SetOptions { arguments: often, ..SetOptions::single("rsA") }, SetOptions::single("rsB"));
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let pair = Pair { source: a.unwrap(), destination: b.unwrap() };
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let sessions = source.database("shop").collection::<Document>("sessions");
    let ttl = doc! { "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 1 };
    let create = doc! { "createIndexes": "sessions", "indexes": [ttl] };
    source.database("shop").run_command(create).await.unwrap();
    let now = bson::DateTime::now().timestamp_millis();
    let expire = (0..3_000_i64).map(|n| doc! { "_id": n, "at": bson::DateTime::from_millis(now + n * 40) });
    sessions.insert_many(expire).await.unwrap();
    let (engine, _home, mut client) = drive::ready(&pair).await;
    // The monitor deletes every second; without it the source is never quiet for the 1.5 s that are needed.
    let left = sessions.estimated_document_count().await.unwrap();
    while sessions.estimated_document_count().await.unwrap() == left {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drive::insist(&client, Command::PrepareCutover).await;
    // A pass of the monitor in the wrong moment reopens the step; then Continue is pressed again.
    let (mut pressed, deadline) = (0, std::time::Instant::now() + Duration::from_secs(90));
    loop {
        let snapshot = client.snapshot();
        let waits = snapshot
            .cutover
            .as_ref()
            .is_some_and(|cutover| cutover.step == CutoverStep::StopApplication && cutover.waiting_by.is_none());
        if waits && client.send(Command::ContinueCutover { assume_stopped: false }).await.is_ok() {
            pressed += 1;
        }
        if snapshot.phase == Phase::Completed {
            break;
        }
        assert!(pressed < 20 && std::time::Instant::now() < deadline, "{pressed} {:#?}", snapshot.cutover);
        let _ = tokio::time::timeout(Duration::from_secs(60), client.changed()).await.expect("something happens");
    }
    assert!(sessions.count_documents(doc! {}).await.unwrap() > 0, "everything expired before the cutover was over");
    let orders = destination.database("shop").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 100);
    let ttl = destination.database("shop").run_command(doc! { "listIndexes": "sessions" }).await.unwrap();
    assert!(ttl.to_string().contains("\"expireAfterSeconds\": 1"), "{ttl}");
    engine.shut_down().await;
}

/// With `block_source_writes` nobody has to be quiet: the source refuses writes from Continue on, until going back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continue_blocks_writes_on_the_source_and_going_back_lifts_it() {
    let (pair, source, destination) = loaded(100).await;
    let orders = source.database("shop").collection::<Document>("orders");
    let copy = destination.database("shop").collection::<Document>("orders");
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.block_source_writes = true;
    plan.options.quiet_for = Duration::from_secs(3_600);
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    // A document that differs holds the cutover behind the drain.
    copy.update_one(doc! { "_id": 7 }, doc! { "$set": { "pad": "corrupted" } }).await.unwrap();
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "other": 1 } }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    drive::wait(&mut client, "a block", |snapshot| {
        snapshot.cutover.as_ref().is_some_and(|cutover| cutover.source_blocked)
    })
    .await;
    let error = orders.insert_one(doc! { "_id": "blocked" }).await.unwrap_err();
    assert!(error.to_string().contains("371") || error.to_string().contains("UserWritesBlocked"), "{error}");
    drive::wait(&mut client, "the verdict", |snapshot| snapshot.verification.mismatches == 1).await;
    client.send(Command::GoBack).await.unwrap();
    let mut lifted = orders.insert_one(doc! { "_id": "lifted" }).await;
    for _ in 0..100 {
        if lifted.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        lifted = orders.insert_one(doc! { "_id": "lifted" }).await;
    }
    lifted.expect("the block is lifted");
    copy.update_one(doc! { "_id": 7 }, doc! { "$set": { "pad": "x".repeat(500) } }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    assert!(done.cutover.as_ref().unwrap().source_blocked);
    let report = std::fs::read_to_string(done.report.as_ref().unwrap()).unwrap();
    assert!(report.contains("db.adminCommand({setUserWriteBlockMode: 1, global: false})"), "{report}");
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// A stop in the middle of the cutover leaves no source that refuses writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_lifts_the_block_of_the_source() {
    let (pair, source, destination) = loaded(100).await;
    let orders = source.database("shop").collection::<Document>("orders");
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.block_source_writes = true;
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    // A document that differs holds the cutover behind the drain.
    let copy = destination.database("shop").collection::<Document>("orders");
    copy.update_one(doc! { "_id": 7 }, doc! { "$set": { "pad": "corrupted" } }).await.unwrap();
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "other": 1 } }).await.unwrap();
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    drive::wait(&mut client, "the verdict", |snapshot| snapshot.verification.mismatches == 1).await;
    orders.insert_one(doc! { "_id": "blocked" }).await.unwrap_err();
    client.send(Command::Stop).await.unwrap();
    engine.shut_down().await;
    orders.insert_one(doc! { "_id": "lifted" }).await.expect("the source takes writes again");
}
