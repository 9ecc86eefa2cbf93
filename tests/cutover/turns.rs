//! What applications and servers do while somebody cuts over.

use crate::{
    common::{self, Pair, compare, drive},
    writer::{Application, NAME},
};
use bson::{Document, doc};
use mongodb::Client;
use mongoferry::model::{
    Command, Phase, Snapshot, Verify,
    snapshot::{CutoverStep, StepState},
};
use std::time::Duration;

pub async fn loaded(documents: i32) -> (Pair, Client, Client) {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..documents).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
    (pair, source, destination)
}

fn is_at(snapshot: &Snapshot, step: CutoverStep) -> bool {
    snapshot.cutover.as_ref().is_some_and(|cutover| cutover.step == step)
}

fn is_quiet(snapshot: &Snapshot) -> bool {
    snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms)
}

fn failed_line(snapshot: &Snapshot) -> Option<String> {
    let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    let failed = lines.find(|line| line.state == StepState::Failed)?;
    Some(format!("{}: {}", failed.label, failed.detail))
}

/// Continue is pressed while the application still writes: it is shown who writes, and the step ends by itself when the
/// application has stopped, however late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_stops_late_is_waited_for() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(500).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    let mut application = Application::start(&pair.source, 0).await;
    drive::wait(&mut client, "a writer", |snapshot| !snapshot.writers.is_empty() && snapshot.can_cutover).await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let named = drive::wait(&mut client, "the application's name", |snapshot| {
        snapshot.writers.iter().any(|writer| writer.likely_client.is_some())
    })
    .await;
    let writer = &named.writers[0];
    assert_eq!(writer.namespace, "shop.orders");
    assert!(writer.ops_per_s > 0.0, "{writer:?}");
    assert_eq!(writer.likely_client.as_deref(), Some(format!("{NAME} (127.0.0.1)").as_str()));
    // Several times the quiet that is needed.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waits = client.snapshot();
    assert!(is_at(&waits, CutoverStep::StopApplication) && !waits.can_write, "{:#?}", waits.cutover);
    assert_eq!(waits.cutover.as_ref().unwrap().waiting_by.as_deref(), Some("ops@test"));
    let written = application.stop().await;
    assert!(written > 50, "only {written} writes");
    // Nobody presses anything again.
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    let cutover = done.cutover.as_ref().unwrap();
    let (last, opened) = (cutover.last_source_write.unwrap(), cutover.opened.unwrap());
    let between = u64::try_from(opened.as_millisecond() - last.as_millisecond()).unwrap();
    assert!(between >= 1_500, "it was open {between} ms after the last write, without the quiet that is needed");
    assert!(cutover.downtime_ms.unwrap().abs_diff(between) <= 1, "{cutover:#?}");
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// Quiet is measured some times a second: a write between the last measurement and Continue is a write all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_the_moment_of_continue_is_no_quiet() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(100).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    drive::insist(&client, Command::PrepareCutover).await;
    drive::wait(&mut client, "quiet", is_quiet).await;
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": "now", "n": -1 }).await.unwrap();
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    // Nobody presses anything again.
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    let cutover = done.cutover.as_ref().unwrap();
    let between = cutover.opened.unwrap().as_millisecond() - cutover.last_source_write.unwrap().as_millisecond();
    assert!(between >= 1_500, "opened {between} ms after a write: {cutover:#?}");
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// The application comes back while the last changes are still being applied: the step is reopened, in words, and nothing
/// that it wrote is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_comes_back_during_the_drain_reopens_the_step() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(500).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    drive::insist(&client, Command::PrepareCutover).await;
    // A destination that takes no writes holds the drain.
    let admin = destination.database("admin");
    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": true }).await.unwrap();
    let mut application = Application::start(&pair.source, 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    application.stop().await;
    drive::wait(&mut client, "quiet with changes that wait", |snapshot| is_quiet(snapshot) && snapshot.ops_waiting > 0)
        .await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let draining = drive::wait(&mut client, "the drain", |snapshot| {
        is_at(snapshot, CutoverStep::Drain) && snapshot.cutover.as_ref().unwrap().cutover_ts.is_some()
    })
    .await;
    assert!(!draining.can_write);
    let mut application = Application::start(&pair.source, 10_000).await;
    let reopened = drive::wait(&mut client, "the reopened step", |snapshot| {
        is_at(snapshot, CutoverStep::StopApplication) && snapshot.cutover.as_ref().unwrap().late_write.is_some()
    })
    .await;
    let said = reopened.cutover.as_ref().unwrap().late_write.clone().unwrap();
    assert!(said.contains("after it had been found quiet"), "{said}");
    assert!(!reopened.can_write);
    application.stop().await;
    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": false }).await.unwrap();
    drive::wait(&mut client, "quiet", |snapshot| is_quiet(snapshot) && snapshot.error.is_none()).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.verification.mismatches, 0);
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// A stranger's duplicate stands in the way of a unique index: it is named like the walk-through names it, nothing is
/// opened, and Retry works when the duplicate is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_that_cannot_be_enforced_keeps_the_destination_closed() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(500).await;
    let unique = doc! { "key": { "n": 1 }, "name": "one_n", "unique": true };
    // Cannot be told from the other one as long as that is not unique.
    let plain = doc! { "key": { "n": 1 }, "name": "plain_n" };
    let command = doc! { "createIndexes": "orders", "indexes": [unique, plain] };
    source.database("shop").run_command(command).await.unwrap();
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    // The comparison would find the duplicate before.
    plan.options.verify = Verify::Off;
    drive::start(&mut client, plan).await;
    let ready = drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    assert_eq!((ready.indexes.built, ready.indexes.total), (1, 2));
    let copy = destination.database("shop").collection::<Document>("orders");
    copy.insert_one(doc! { "_id": "stranger", "n": 7 }).await.unwrap();
    drive::insist(&client, Command::PrepareCutover).await;
    drive::wait(&mut client, "quiet", is_quiet).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let failed = drive::wait(&mut client, "the failure", |snapshot| failed_line(snapshot).is_some()).await;
    let said = failed_line(&failed).unwrap();
    assert!(said.contains("deferred unique indexes") && said.contains("shop.orders / one_n / "), "{said}");
    assert!(!failed.can_write && failed.phase == Phase::Finalizing, "{}", failed.phase);
    // Trying again without a cure changes nothing.
    let retries = || {
        client
            .events()
            .since(0)
            .iter()
            .filter(|event| event.kind == "finalize" && event.text.contains("/ one_n /"))
            .count()
    };
    let tried = async |wanted: usize| {
        // An event may come a moment after the snapshot.
        for _ in 0..600 {
            if retries() >= wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(retries(), wanted, "{:#?}", client.events().since(0));
    };
    tried(1).await;
    drive::insist(&client, Command::Retry).await;
    tried(2).await;
    assert!(!client.snapshot().can_write);
    copy.delete_one(doc! { "_id": "stranger" }).await.unwrap();
    drive::insist(&client, Command::Retry).await;
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(failed_line(&done), None);
    assert_eq!((done.indexes.built, done.collections[0].indexes_built), (2, 2));
    let refused = copy.insert_one(doc! { "_id": "again", "n": 7 }).await.unwrap_err();
    assert!(refused.to_string().contains("E11000"), "the index is not unique: {refused}");
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// An index that the source gets when the cutover has begun and that the destination refuses: nobody accepted that it is
/// missing, so nothing is opened without it, and Retry builds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_fails_after_the_cutover_began_keeps_the_destination_closed() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(500).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    let index = |name: &str| {
        let indexes = [doc! { "key": { "n": 1 }, "name": name }];
        doc! { "createIndexes": "orders", "indexes": indexes.to_vec() }
    };
    destination.database("shop").run_command(index("theirs")).await.unwrap();
    drive::insist(&client, Command::PrepareCutover).await;
    source.database("shop").run_command(index("ours")).await.unwrap();
    drive::wait(&mut client, "a failed index", |snapshot| !snapshot.indexes.failed.is_empty()).await;
    drive::wait(&mut client, "quiet", is_quiet).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    let failed = drive::wait(&mut client, "the failure", |snapshot| failed_line(snapshot).is_some()).await;
    let said = failed_line(&failed).unwrap();
    assert!(said.contains("shop.orders / ours / "), "{said}");
    assert!(!failed.can_write && failed.phase == Phase::Finalizing, "{}", failed.phase);
    destination.database("shop").run_command(doc! { "dropIndexes": "orders", "index": "theirs" }).await.unwrap();
    drive::insist(&client, Command::Retry).await;
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    assert_eq!(done.indexes.failed, []);
    compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}
