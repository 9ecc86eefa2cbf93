//! The oplog tail between two real replica sets: fetched, spooled, applied in parallel, and compared byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "follow/bench.rs"]
mod bench;
mod common;
#[path = "follow/writer.rs"]
mod writer;

use bench::{Bench, wait};
use bson::{Document, doc, rawdoc};
use mongoferry::{
    engine::{copy::RangeRow, fetch::FetchEnd, registry::Registry},
    model::{NamespaceFilter, Optime, Side, filter::Pattern},
    mongo::catalog,
};
use std::time::Duration;
use writer::Writer;

/// Copies under writes, drains, lets the writer go on, drains again.
async fn arrives_exactly(internal_stage: bool) {
    let mut bench = Bench::start(internal_stage, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    // A pipeline keeps one of repeated names (OPLOG.md B.3 (b)).
    let writing = Writer::start(&bench.source, 0, internal_stage);
    writing.reach(20).await;
    let mut follower = bench.copied().await;
    let tracked = follower.registry().collections.iter().find(|(_, tracked)| tracked.namespace.coll == "c");
    let uuid = *tracked.unwrap().0;
    bench.dirty.start(uuid);
    writing.reach(60).await;
    // The first drain ends in the middle of the writer's work; nothing after it may be touched.
    let middle = bench.newest().await;
    bench.until.send_replace(Some(middle));
    bench.run(&mut follower).await.unwrap();
    let applied = bench.applied.borrow().clone();
    assert_eq!(applied.applied_ts, middle, "exactly up to the target");
    let rounds = writing.stop().await;
    assert!(rounds > 60);
    let touched = bench.dirty.take().ids.next_chunk(1_000, 1 << 20).unwrap();
    assert!(touched.iter().filter(|(of, _)| *of == uuid).count() > 40, "touched documents are remembered");
    assert_eq!(bench.applied.borrow().ops_applied, applied.ops_applied, "nothing is applied between two runs");
    bench.drain(&mut follower).await;
    // Consistent from here on: nothing has to be repaired but what no pipeline can say.
    let before = bench.context.events.since(0).len();
    let writing = Writer::start(&bench.source, 10_000, internal_stage);
    writing.reach(40).await;
    writing.stop().await;
    bench.drain(&mut follower).await;
    let new: Vec<_> = bench.context.events.since(0).into_iter().skip(before).map(|event| event.text).collect();
    let unexpected: Vec<_> = new.iter().filter(|text| !text.contains("no update can express")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(new.is_empty(), internal_stage, "the internal stage has no limit of depth; a pipeline has");
    let (fetched, applied) = (bench.fetched.borrow().ops_fetched, bench.applied.borrow().ops_applied);
    assert_eq!(fetched, applied, "what is fetched and what is applied is counted alike");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_arrives_through_the_internal_stage() {
    arrives_exactly(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_arrives_through_pipelines() {
    arrives_exactly(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_is_zero_on_an_idle_source_and_grows_while_paused() {
    let mut bench = Bench::start(true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    let follower = bench.copied().await;
    let mut lag = bench.measure_lag();
    let running = bench.run_on(follower);
    wait(&mut lag, "lag 0", |lag| lag.is_some_and(|lag| lag.lag_ms == Some(0) && lag.fetch_lag_ms == Some(0))).await;
    wait(&mut bench.fetched.subscribe(), "an empty spool", |view| view.spool_bytes == 0).await;
    let c = bench.source.database("d").collection::<Document>("c");
    bench.context.gate.close();
    c.insert_one(doc! { "_id": "paused" }).await.unwrap();
    let at = bench.newest().await;
    let began = std::time::Instant::now();
    wait(&mut lag, "2 s of lag", |lag| lag.is_some_and(|lag| lag.lag_ms.is_some_and(|ms| ms >= 2_000))).await;
    assert!(began.elapsed() >= Duration::from_millis(1_500), "lag is time, not a count");
    let reading = lag.borrow().unwrap();
    assert!(reading.lag_ms.unwrap() < 30_000, "{reading:?}");
    assert_eq!(reading.fetch_lag_ms, Some(0), "fetching goes on");
    assert!(bench.applied.borrow().applied_ts < at);
    let writers = bench.fetched.borrow().writers.clone();
    assert_eq!(writers.first().map(|writer| writer.namespace.as_str()), Some("d.c"));
    let quiet = lag.borrow().unwrap().source_quiet_ms.unwrap();
    assert!((1_000..30_000).contains(&quiet), "{quiet}");
    bench.context.gate.open();
    wait(&mut lag, "lag 0", |lag| lag.is_some_and(|lag| lag.lag_ms == Some(0))).await;
    assert!(bench.applied.borrow().applied_ts >= at);
    let view = bench.fetched.borrow().clone();
    assert!(view.oplog_window_ms.is_some(), "{view:?}");
    // This oplog is nearly empty: how long it lasts is not said before its rate was measured for a while.
    assert!(view.oplog_left_ms.is_none_or(|left| left > 0), "{view:?}");
    bench.until.send_replace(Some(at));
    let (mut follower, ended) = running.await.unwrap();
    ended.unwrap();
    bench.drain(&mut follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_documents_and_transactions_pass() {
    let mut bench = Bench::start(true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    let mut follower = bench.copied().await;
    let large = bench.source.database("d").collection::<Document>("large");
    // The largest document that a server takes: 16 MiB. Its oplog entry is larger.
    let overhead = bson::serialize_to_vec(&doc! { "_id": 1, "pad": "" }).unwrap().len();
    large.insert_one(doc! { "_id": 1, "pad": "x".repeat((16 << 20) - overhead) }).await.unwrap();
    large.insert_one(doc! { "_id": 2, "a": "y".repeat(7 << 20) }).await.unwrap();
    for n in 0..3 {
        let field = format!("f{n}");
        large.update_one(doc! { "_id": 2 }, doc! { "$set": { &field: "z".repeat(2_900_000) } }).await.unwrap();
    }
    large.replace_one(doc! { "_id": 1 }, doc! { "pad": "w".repeat((16 << 20) - overhead) }).await.unwrap();
    five_parts(&bench.source).await;
    bench.drain(&mut follower).await;
    assert_eq!(bench.count("d", "large").await, 2 + 5);
}

/// A transaction whose entries are larger than 16 MB together.
async fn five_parts(client: &mongodb::Client) {
    let db = client.database("d");
    let large = db.collection::<Document>("large");
    let mut session = client.start_session().await.unwrap();
    let whole = session.start_transaction().and_run2(async |session| {
        for n in 0..5 {
            large.insert_one(doc! { "_id": 10 + n, "pad": "t".repeat(8 << 20) }).session(&mut *session).await?;
        }
        let change = doc! { "$set": { "committed": true } };
        db.collection::<Document>("c").update_one(doc! { "_id": 7 }, change).session(session).await.map(drop)
    });
    whole.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_began_before_the_start_is_read_back() {
    let mut bench = Bench::start(true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    bench.source.database("d").create_collection("large").await.unwrap();
    let registry = bench.copy().await;
    five_parts(&bench.source).await;
    let oplog = bench.source.database("local").collection::<Document>("oplog.rs");
    let parts = oplog.find(doc! { "o.partialTxn": true }).sort(doc! { "$natural": 1 }).await.unwrap();
    let parts: Vec<Document> = futures_util::TryStreamExt::try_collect(parts).await.unwrap();
    assert!(parts.len() >= 3, "{} parts", parts.len());
    let stamp = parts[1].get_timestamp("ts").unwrap();
    let mut follower = bench.follower(Optime::new(stamp.time, stamp.increment), registry);
    bench.drain(&mut follower).await;
    assert_eq!(bench.count("d", "large").await, 5);
}

async fn kill_the_tail(source: &mongodb::Client) {
    let ops = doc! { "$currentOp": { "allUsers": true, "idleCursors": true } };
    let tail = doc! { "$match": { "ns": "local.oplog.rs", "cursor.cursorId": { "$exists": true } } };
    for _ in 0..200 {
        let found = source.database("admin").aggregate([ops.clone(), tail.clone()]).await.unwrap();
        let found: Vec<Document> = futures_util::TryStreamExt::try_collect(found).await.unwrap();
        for op in found {
            let id = op.get_document("cursor").unwrap().get_i64("cursorId").unwrap();
            let kill = doc! { "killCursors": "oplog.rs", "cursors": [id] };
            let killed = source.database("local").run_command(kill).await.unwrap();
            if !killed.get_array("cursorsKilled").unwrap().is_empty() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the tail was not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_cursor_is_taken_up_again_and_a_lost_position_is_said() {
    let mut bench = Bench::start(true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    let mut follower = bench.copied().await;
    let writing = Writer::start(&bench.source, 0, false);
    for round in 1..4 {
        writing.reach(round * 10).await;
        kill_the_tail(&bench.source).await;
    }
    writing.reach(45).await;
    writing.stop().await;
    bench.drain(&mut follower).await;
    assert!(!bench.events("retry").is_empty() && !bench.events("recovered").is_empty(), "{:?}", bench.events("retry"));
    // A position that is not in the oplog.
    let absent = Optime::new(bench.newest().await.t - 1_000, 77);
    let _follower = bench.follower(absent, Registry::default());
    match bench.fetch_end.take().unwrap().await.unwrap() {
        FetchEnd::Lost(problem) => {
            assert_eq!(problem.side, Side::Source);
            assert!(problem.why.contains(&absent.to_string()), "{}", problem.why);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_applied_stops_with_its_reason() {
    let mut bench = Bench::start(true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    let mut follower = bench.copied().await;
    let (db, copy) = (bench.source.database("d"), bench.destination.database("d"));
    // Somebody put a view where the collection was: no write can succeed.
    copy.collection::<Document>("c").drop().await.unwrap();
    copy.run_command(doc! { "create": "c", "viewOn": "ids", "pipeline": [] }).await.unwrap();
    let many = (0..20_000).map(|n| doc! { "_id": format!("new {n}") });
    db.collection::<Document>("c").insert_many(many).await.unwrap();
    bench.until.send_replace(Some(bench.newest().await));
    let problem = bench.problem(&mut follower).await;
    assert_eq!(problem.side, Side::Destination);
    assert!(problem.why.contains("166"), "the lane's own reason: {problem:?}");
    let again = bench.problem(&mut follower).await;
    assert_eq!(again.side, Side::Bug, "what the lanes held is lost, so it never goes on: {again:?}");
    // A change of a collection that was never copied.
    let from = bench.newest().await;
    let unknowing = Registry { started_at: from, ..Registry::default() };
    db.collection::<Document>("ids").insert_one(doc! { "_id": "unknown" }).await.unwrap();
    let mut follower = bench.follower(from, unknowing);
    bench.until.send_replace(None);
    let problem = bench.problem(&mut follower).await;
    assert!(problem.what.contains("d.ids") && problem.why.contains("unknown"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_outside_the_filter_are_left_alone() {
    let filter = NamespaceFilter { include: vec![Pattern::parse("d.wanted").unwrap()], exclude: vec![] };
    let mut bench = Bench::start(true, filter).await;
    let db = bench.source.database("d");
    let (wanted, other) = (db.collection::<Document>("wanted"), db.collection::<Document>("other"));
    wanted.insert_one(doc! { "_id": 0 }).await.unwrap();
    other.insert_one(doc! { "_id": 0 }).await.unwrap();
    let mut follower = bench.copied().await;
    for n in 1..50 {
        wanted.insert_one(doc! { "_id": n }).await.unwrap();
        other.insert_one(doc! { "_id": n }).await.unwrap();
    }
    // Renamed in, written and gone before the rename is replayed.
    bench.source.database("admin").run_command(doc! { "renameCollection": "d.wanted", "to": "d.aside" }).await.unwrap();
    bench.source.database("admin").run_command(doc! { "renameCollection": "d.other", "to": "d.wanted" }).await.unwrap();
    wanted.insert_one(doc! { "_id": "late" }).await.unwrap();
    wanted.drop().await.unwrap();
    bench.source.database("admin").run_command(doc! { "renameCollection": "d.aside", "to": "d.wanted" }).await.unwrap();
    wanted.insert_one(doc! { "_id": "back" }).await.unwrap();
    bench.until.send_replace(Some(bench.newest().await));
    bench.run(&mut follower).await.unwrap();
    let names = bench.destination.database("d").list_collection_names().await.unwrap();
    assert_eq!(names, ["wanted"]);
    assert_eq!(bench.count("d", "wanted").await, 51);
    assert_eq!(bench.fetched.borrow().writers.iter().filter(|writer| writer.namespace == "d.other").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_on_the_destination_lose_nothing() {
    let mut bench = Bench::between(common::pair_of(3).await, true, NamespaceFilter::default()).await;
    writer::load(&bench.source).await;
    let follower = bench.copied().await;
    let writing = Writer::start(&bench.source, 0, false);
    let running = bench.run_on(follower);
    for round in 1..3 {
        writing.reach(round * 40).await;
        let down = doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 5, "force": true };
        // The server may close the connection before it answers.
        let _ = bench.destination.database("admin").run_command(down).await;
        wait_for_primary(&bench.destination).await;
    }
    writing.reach(120).await;
    writing.stop().await;
    bench.until.send_replace(Some(bench.newest().await));
    let (mut follower, ended) = running.await.unwrap();
    ended.unwrap();
    bench.drain(&mut follower).await;
    let retries = bench.events("retry");
    assert!(retries.iter().any(|text| text.starts_with("destination")), "{retries:?}");
}

async fn wait_for_primary(client: &mongodb::Client) {
    for _ in 0..600 {
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
        if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no primary");
}

/// A copy that ended between its largest document and its last note, or whose largest document was deleted while it was
/// split: nothing lies between the bounds, which servers call an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_with_nothing_left_between_its_bounds_is_done() {
    let bench = Bench::start(true, NamespaceFilter::default()).await;
    let shop = bench.source.database("shop").collection::<Document>("c");
    shop.insert_many((0..5).map(|n| doc! { "_id": n })).await.unwrap();
    let catalog = catalog::read(&bench.context.source, &NamespaceFilter::default()).await.unwrap();
    let uuid = catalog.databases[0].entries[0].uuid.unwrap();
    let at = |n: i32| Some(rawdoc! { "_id": n });
    let row = |from, until| RangeRow { from, until, with_until: true, ..RangeRow::default() };
    bench.context.record.put_ranges(uuid, &[row(at(4), at(4)), row(at(3), at(2))]).unwrap();
    bench.copy().await;
    let copied = bench.destination.database("shop").collection::<Document>("c");
    let ids = copied.distinct("_id", doc! {}).await.unwrap();
    assert_eq!(ids, [2, 4].map(bson::Bson::Int32));
}
