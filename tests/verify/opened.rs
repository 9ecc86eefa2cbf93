//! Open first: the application writes on the destination while the data is checked.
#![allow(clippy::unwrap_used)]

use crate::{
    common::{self, compare, drive},
    kinds, named as examples, phases,
    sets::{Pair, key, literal},
};
use bson::{Document, RawDocumentBuf, doc, rawdoc};
use futures_util::FutureExt;
use mongodb::Client;
use mongoferry::{
    demo::Release,
    engine::{
        Engine, EngineSettings,
        dirty::DirtySet,
        registry::TrackedIndex,
        verify::{Since, Target, Verifier},
    },
    model::{
        CheckOrder, Command, Phase,
        snapshot::{CutoverStep, MismatchKind, Snapshot, Verification, VerificationState},
    },
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

const BIG: i32 = 8_000;

/// The application on the destination: updates, inserts, deletes and transactions, and what it sets up for itself.
/// `wrote` gets the identifiers that it wrote in `big`.
fn apply(destination: &Client, ends: &Arc<AtomicBool>, wrote: &Arc<Mutex<BTreeSet<i32>>>) -> JoinHandle<()> {
    let (client, ends, wrote) = (destination.clone(), ends.clone(), wrote.clone());
    tokio::spawn(async move {
        let shop = client.database("shop");
        let (big, own) = (shop.collection::<Document>("big"), shop.collection::<Document>("own"));
        let index = doc! { "key": { "x": 1 }, "name": "x_1" };
        shop.run_command(doc! { "createIndexes": "own", "indexes": [index.clone()] }).await.unwrap();
        shop.run_command(doc! { "createIndexes": "big", "indexes": [index] }).await.unwrap();
        let mut n = 0;
        while !ends.load(Ordering::Relaxed) {
            n += 1;
            let (updated, deleted, inserted) = (n * 37 % (BIG / 2), BIG / 2 + n * 31 % (BIG / 2), BIG + n);
            big.update_one(doc! { "_id": updated }, doc! { "$inc": { "n": 1 } }).await.unwrap();
            big.delete_one(doc! { "_id": deleted }).await.unwrap();
            big.insert_one(doc! { "_id": inserted, "x": n }).await.unwrap();
            own.insert_one(doc! { "x": n }).await.unwrap();
            wrote.lock().unwrap().extend([updated, deleted, inserted]);
            if n % 5 == 0 {
                let mut session = client.start_session().await.unwrap();
                let both = doc! { "_id": { "$in": [n, BIG - n] } };
                let whole = session.start_transaction().and_run((big.clone(), both), |session, (big, both)| {
                    let change = doc! { "$set": { "t": n } };
                    async move { big.update_many(both.clone(), change).session(session).await.map(drop) }.boxed()
                });
                whole.await.unwrap();
                wrote.lock().unwrap().extend([n, BIG - n]);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

fn is_checked(snapshot: &Snapshot) -> bool {
    snapshot.cutover.as_ref().is_some_and(|cutover| cutover.step == CutoverStep::CheckOpened)
        && snapshot.verification.state == VerificationState::Done
}

async fn read(client: &Client, name: &str, id: impl Into<bson::Bson>) -> Option<Document> {
    client.database("shop").collection::<Document>(name).find_one(doc! { "_id": id.into() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_writes_is_told_from_what_was_wrong_before_the_opening() {
    opened_first(common::pair().await, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_after_the_opening_knows_what_the_application_wrote() {
    opened_first(common::pair().await, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_servers_tell_what_the_application_wrote_too() {
    tokio::join!(
        async { opened_first(common::pair_between(Release::V4_4_2, Release::V4_4_2).await, true).await },
        async { opened_first(common::pair_between(Release::V4_4_2, Release::V5_0_4).await, false).await },
    );
}

async fn opened_first(pair: common::Pair, restarts: bool) {
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    phases::stage(&source, &["before"]).await;
    let big = source.database("shop").collection::<Document>("big");
    for from in (0..BIG).step_by(1_000) {
        big.insert_many((from..from + 1_000).map(|n| doc! { "_id": n, "pad": "x".repeat(2_000) })).await.unwrap();
    }
    let (mut engine, home) = drive::engine();
    let mut client = engine.client("test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    // Slow enough for the comparison to outlast the opening.
    plan.options.throttle = Some(1_500_000);
    plan.options.ready_for = Duration::from_millis(200);
    plan.options.quiet_for = Duration::from_millis(500);
    drive::start(&mut client, plan.clone()).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    kinds::corrupt(&destination, "before").await;
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ChooseCheck(CheckOrder::After)).await.expect("chosen");
    phases::to_the_check(&mut client).await;

    let opened = drive::wait(&mut client, "the opening", |snapshot| snapshot.can_write).await;
    assert_eq!(opened.verification.state, VerificationState::Running, "the check is still to come");
    assert_eq!(opened.verification.metadata_differences, Vec::<String>::new());
    let ends = Arc::new(AtomicBool::new(false));
    let wrote = Arc::default();
    let writing = apply(&destination, &ends, &wrote);
    if restarts {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(client);
        engine.shut_down().await;
        let settings = EngineSettings { state_root: home.path().join("state"), application: None };
        engine = Engine::resume(settings, &home.path().join("state/test"), plan).expect("taken up");
        client = engine.client("test");
    }
    let checked = drive::wait(&mut client, "the result", is_checked).await;
    assert_eq!(phases::named(&checked), kinds::wanted(&["before"]), "of documents that nobody wrote since");
    assert_eq!((checked.verification.mismatches, checked.can_write), (7, true));

    // However far it had come by then: everything that it has written now is looked at once more, and is its own.
    let count = || wrote.lock().unwrap().len() as u64;
    while count() < 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = count();
    // Before 5.0 a write is acknowledged before a majority has it, and verification reads what a majority has.
    tokio::time::sleep(Duration::from_secs(1)).await;
    drive::insist(&client, Command::Retry).await;
    let checked = drive::wait(&mut client, "the result of the recheck", is_checked).await;
    assert_eq!(phases::named(&checked), kinds::wanted(&["before"]));
    let of = |name: &str| {
        checked.verification.collections.iter().find(|row| row.namespace == format!("shop.{name}")).unwrap().clone()
    };
    let row = of("big");
    assert_eq!((row.missing, row.extra, row.different), (0, 0, 0));
    assert!((before..=count()).contains(&row.application), "{} of {before} to {}", row.application, count());
    assert_eq!(of("kinds").application, 0);
    assert_eq!(checked.verification.application, row.application);
    // The corruption was somebody else's work; what came after the opening is the application's.
    let others: Vec<_> =
        checked.foreign_writes.iter().map(|writes| (writes.namespace.as_str(), writes.writes)).collect();
    assert!(others.is_empty() || others == [("shop.kinds", 7)], "{others:?}");

    // One of them is the application's by now: it is left alone, and so is everything else that it wrote.
    let kinds_there = destination.database("shop").collection::<Document>("kinds");
    kinds_there.update_one(doc! { "_id": "before-type" }, doc! { "$set": { "mine": true } }).await.unwrap();
    drive::repair(&client).await;
    let done = drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    ends.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert_eq!(done.verification.mismatches, 0, "{:#?}", done.verification.examples);
    assert_eq!(done.verification.metadata_differences, Vec::<String>::new(), "what the application set up is its own");
    assert!(read(&destination, "kinds", "before-type").await.unwrap().contains_key("mine"));
    for (id, there) in [("before-value", true), ("before-missing", true), ("before-extra", false)] {
        let (a, b) = (read(&source, "kinds", id).await, read(&destination, "kinds", id).await);
        assert_eq!((a.is_some(), &a), (there, &b), "{id}");
    }
    // Everything that the application did not write is the source's.
    let theirs: Vec<i32> = wrote.lock().unwrap().iter().copied().collect();
    for client in [&source, &destination] {
        let shop = client.database("shop");
        shop.collection::<Document>("big").delete_many(doc! { "_id": { "$in": &theirs } }).await.unwrap();
        shop.collection::<Document>("kinds").delete_one(doc! { "_id": "before-type" }).await.unwrap();
    }
    let shop = destination.database("shop");
    shop.collection::<Document>("own").drop().await.unwrap();
    shop.run_command(doc! { "dropIndexes": "big", "index": "x_1" }).await.unwrap();
    compare::assert_identical(&source, &destination).await;
    let report = std::fs::read_to_string(done.report.as_ref().unwrap()).unwrap();
    assert!(report.contains("checked: after the destination was opened"), "{report}");
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_lets_expire_after_the_cutover_is_no_difference() {
    let pair = Pair::start().await;
    for name in ["sessions", "orders"] {
        pair.both("shop", rawdoc! { "insert": name, "documents": [{ "_id": 1 }, { "_id": 2 }] }).await;
    }
    let mut registry = pair.registry().await;
    let uuid = pair.uuid(&registry, "shop.sessions");
    let spec = rawdoc! { "key": { "at": 1 }, "name": "at_1", "expireAfterSeconds": 60 };
    let index = TrackedIndex::new(spec);
    registry.collections.get_mut(&uuid).unwrap().indexes.insert("at_1".into(), index);
    let source = &pair.context.source;
    let cutover = source.last_write().await.unwrap().optime;
    for name in ["sessions", "orders"] {
        let delete = rawdoc! { "delete": name, "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] };
        source.run("shop", delete).await.unwrap();
    }
    // Nobody deleted this one on the source.
    literal(&pair.context.destination, "shop", "sessions", &rawdoc! { "_id": 3 }).await;
    let mut verifier = Verifier::new(pair.context.clone(), Arc::default(), watch::Sender::new(Verification::default()));
    verifier.begin_check(Since { source: Some(cutover), ..Since::default() }, pair.context.cancel.clone());
    let verdict = verifier.final_pass(&registry).await.unwrap();
    let extra: Vec<_> = verdict.examples.iter().map(|one| (one.namespace.as_str(), one.id.as_str())).collect();
    assert_eq!(extra, [("shop.orders", "1"), ("shop.sessions", "3")], "{:#?}", verdict.examples);
}

/// 6.0 aborts when a pipeline changes a document from or to repeated field names.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_field_names_are_repaired_while_it_is_closed_and_left_alone_when_it_is_open() {
    let pair = Pair::start().await;
    let (source, destination) = (&pair.context.source, &pair.context.destination);
    let twice = |id: i32| rawdoc! { "_id": id, "x": 1, "x": 2 };
    source.run("shop", rawdoc! { "insert": "c", "documents": [twice(1), twice(2), { "_id": 3 }] }).await.unwrap();
    let wrong = rawdoc! { "_id": 1, "x": "wrong" };
    destination.run("shop", rawdoc! { "insert": "c", "documents": [wrong.clone(), twice(3)] }).await.unwrap();
    let registry = pair.registry().await;
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), Arc::default(), view);
    let opened = destination.last_write().await.unwrap().optime;
    verifier.begin_check(Since { destination: Some(opened), ..Since::default() }, pair.context.cancel.clone());
    assert_eq!(verifier.final_pass(&registry).await.unwrap().mismatches, 3);
    let (verdict, repaired) = verifier.repair(&registry).await.unwrap();
    let left: Vec<_> = verdict.examples.iter().map(|one| one.id.as_str()).collect();
    assert_eq!((left, repaired.documents), (vec!["1", "3"], 1), "one was missing, which is inserted");
    let texts: Vec<_> = pair.context.events.since(0).into_iter().map(|event| event.text).collect();
    let said = texts.iter().filter(|text| text.contains("a field name stands twice")).count();
    assert_eq!(said, 2, "{texts:#?}");

    verifier.begin_check(Since::default(), pair.context.cancel.clone());
    assert_eq!(verifier.final_pass(&registry).await.unwrap().mismatches, 2);
    let (verdict, repaired) = verifier.repair(&registry).await.unwrap();
    assert_eq!((verdict.mismatches, repaired.documents), (0, 2), "{:#?}", pair.context.events.since(0));
}

/// A straggler writes on the source after the repair: the document differs again, and not by the application.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_repair_wrote_is_not_the_applications() {
    let pair = Pair::start().await;
    let (source, destination) = (&pair.context.source, &pair.context.destination);
    for id in [1, 2] {
        literal(source, "shop", "c", &rawdoc! { "_id": id, "x": "right" }).await;
    }
    literal(destination, "shop", "c", &rawdoc! { "_id": 1, "x": "wrong" }).await;
    literal(destination, "shop", "c", &rawdoc! { "_id": 2_i64, "x": "wrong" }).await;
    let registry = pair.registry().await;
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), Arc::default(), view);
    let opened = destination.last_write().await.unwrap().optime;
    let since = Since { destination: Some(opened), ..Since::default() };
    verifier.begin_check(since, pair.context.cancel.clone());
    let verdict = verifier.final_pass(&registry).await.unwrap();
    assert_eq!((verdict.mismatches, verdict.application), (2, 0));
    // The application takes one of them, by its own kind of identifier.
    let mine = rawdoc! { "update": "c", "updates": [{ "q": { "_id": 2_i64 }, "u": { "$set": { "x": "mine" } } }] };
    destination.run("shop", mine).await.unwrap();
    for n in 0..2 {
        let (verdict, repaired) = verifier.repair(&registry).await.unwrap();
        assert_eq!((verdict.mismatches, repaired.documents), (0, 1), "{:#?}", pair.context.events.since(0));
        let late = rawdoc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$set": { "late": n } } }] };
        source.run("shop", late).await.unwrap();
        verifier.begin_check(since, pair.context.cancel.clone());
        let verdict = verifier.final_pass(&registry).await.unwrap();
        let named: Vec<_> = verdict.examples.iter().map(|one| one.id.as_str()).collect();
        assert_eq!((named, verdict.application), (vec!["1"], 1));
        let c = destination.login.database("shop").collection::<Document>("c");
        let theirs = c.find_one(doc! { "_id": 2 }).await.unwrap().unwrap();
        assert_eq!(theirs.get_str("x").unwrap(), "mine");
    }
    // And then it takes the other one.
    let mine = rawdoc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": { "$set": { "y": "mine" } } }] };
    destination.run("shop", mine).await.unwrap();
    verifier.begin_check(since, pair.context.cancel.clone());
    let verdict = verifier.final_pass(&registry).await.unwrap();
    assert_eq!((verdict.mismatches, verdict.application), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oplog_that_no_longer_reaches_back_accuses_rather_than_hides() {
    let pair = Pair::start().await;
    pair.both("shop", rawdoc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] }).await;
    let registry = pair.registry().await;
    let dirty: Arc<DirtySet> = Arc::default();
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view);
    verifier.base_pass(Target::all(&registry, |_| 2)).await.unwrap();
    let uuid = pair.uuid(&registry, "shop.c");
    let opened = pair.context.destination.last_write().await.unwrap().optime;
    literal(&pair.context.destination, "shop", "c", &rawdoc! { "_id": 2, "x": "the application's" }).await;
    dirty.touch(uuid, &key(2));
    verifier.begin_check(Since { destination: Some(opened), ..Since::default() }, pair.context.cancel.clone());
    let verdict = verifier.final_pass(&registry).await.unwrap();
    assert_eq!((verdict.mismatches, verdict.application), (0, 1));

    let mut before_everything = opened;
    before_everything.t = 1;
    dirty.touch(uuid, &key(2));
    verifier
        .begin_check(Since { destination: Some(before_everything), ..Since::default() }, pair.context.cancel.clone());
    let verdict = verifier.final_pass(&registry).await.unwrap();
    assert_eq!(examples(&verdict), [("2".into(), MismatchKind::Different, vec!["x".into()])]);
    let events = pair.context.events.since(0);
    assert!(events.iter().any(|event| event.text.contains("no longer reaches back to the cutover")), "{events:#?}");
    // Nothing is overwritten without knowing whose it is.
    verifier.repair(&registry).await.unwrap();
    let command = rawdoc! { "find": "c", "filter": { "_id": 2 } };
    let reply: RawDocumentBuf = pair.context.destination.run("shop", command).await.unwrap();
    let first = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().into_iter().next().unwrap();
    assert_eq!(first.unwrap().as_document().unwrap().get_str("x").unwrap(), "the application's");
}
