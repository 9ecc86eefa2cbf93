//! What was compared survives the process, and a list of touched documents that is full becomes ranges.

#![allow(clippy::unwrap_used)]

use super::{check, named, sets::Pair};
use crate::sets::{key, literal};
use bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc, rawdoc};
use futures_util::StreamExt;
use mongoferry::{
    engine::{
        dirty::{Compared, DirtySet},
        verify::{Target, Verifier},
    },
    model::snapshot::{MismatchKind, Verification},
    mongo::Cluster,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

const COUNT: i32 = 65_000;

async fn fill(pair: &Pair) {
    for from in (0..COUNT).step_by(13_000) {
        let documents: Vec<Document> = (from..from + 13_000).map(|n| doc! { "_id": n, "x": "y".repeat(400) }).collect();
        let command = doc! { "insert": "c", "documents": documents };
        pair.both("shop", RawDocumentBuf::try_from(&command).expect("command")).await;
    }
}

/// Documents that the server has handed out since it was started.
async fn returned(cluster: &Cluster) -> i64 {
    let reply = cluster.run("admin", rawdoc! { "serverStatus": 1 }).await.expect("status");
    let metrics = reply.get_document("metrics").and_then(|metrics| metrics.get_document("document")).expect("metrics");
    match metrics.get("returned").expect("returned") {
        Some(RawBsonRef::Int64(count)) => count,
        other => panic!("{other:?}"),
    }
}

/// The identifiers of a collection in natural order, which is that of `_id` where these tests ask for it.
async fn ids(cluster: &Cluster, name: &str) -> Vec<Bson> {
    let order = if name == "german" {
        doc! { "_id": 1 }
    } else {
        doc! { "$natural": 1 }
    };
    let collection = cluster.login.database("shop").collection::<Document>(name);
    let mut cursor = collection.find(doc! {}).sort(order).projection(doc! { "_id": 1 }).await.unwrap();
    let mut ids = Vec::new();
    while let Some(document) = cursor.next().await {
        ids.push(document.unwrap().get("_id").unwrap().clone());
    }
    ids
}

/// Copies a collection from the source as it is, many documents at once.
async fn copy(pair: &Pair, name: &str) {
    let collection = |cluster: &Cluster| cluster.login.database("shop").collection::<RawDocumentBuf>(name);
    let mut cursor = collection(&pair.context.source).find(doc! {}).await.unwrap().chunks(10_000);
    while let Some(documents) = cursor.next().await {
        let documents: Vec<RawDocumentBuf> = documents.into_iter().map(Result::unwrap).collect();
        collection(&pair.context.destination).insert_many(documents).await.unwrap();
    }
}

/// Waits until a range was compared; how many documents that are.
async fn reached(dirty: &DirtySet, uuid: bson::Uuid) -> u64 {
    let reached = tokio::time::timeout(Duration::from_secs(120), async {
        loop {
            if let Compared::Until(_, documents) = dirty.compared(uuid) {
                return documents;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    reached.await.expect("a range was compared")
}

/// Collections without an index on `_id` go on where they stood, too: clustered ones (with identifiers of several types)
/// and the buckets of time-series collections. And collections whose order is a collation's, which only the server knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_any_collection_goes_on_where_it_stood() {
    let pair = Pair::start().await;
    let clustered = rawdoc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } };
    pair.both("shop", clustered).await;
    pair.both("shop", rawdoc! { "create": "german", "collation": { "locale": "de", "strength": 1 } }).await;
    pair.both("shop", rawdoc! { "create": "series", "timeseries": { "timeField": "t", "metaField": "m" } }).await;
    let shop = pair.context.source.login.database("shop");
    let id = |n: i32| if n < 20_000 { Bson::Int32(n) } else { Bson::String(format!("{n}")) };
    let documents = |from: i32| (from..from + 15_000).map(|n| doc! { "_id": id(n), "x": "y".repeat(700) });
    for from in [0, 15_000, 30_000] {
        shop.collection::<Document>("clustered").insert_many(documents(from)).await.unwrap();
    }
    // By bytes it is another order: every second one begins with a letter that comes last there.
    let spelt = |n: i32| format!("{}{n:05}", if n % 2 == 0 { "ä" } else { "A" });
    for from in [0, 15_000, 30_000] {
        let documents = (from..from + 15_000).map(|n| doc! { "_id": spelt(n), "x": "y".repeat(700) });
        shop.collection::<Document>("german").insert_many(documents).await.unwrap();
    }
    let at = |n: i32| bson::DateTime::from_millis(1_790_000_000_000 + i64::from(n) * 1_000);
    // One bucket each.
    let readings = (0..45_000).map(|n| doc! { "t": at(n), "m": n, "v": "y".repeat(150) });
    shop.collection::<Document>("series").insert_many(readings).await.unwrap();
    let names = ["clustered", "system.buckets.series", "german"];
    for name in names {
        copy(&pair, name).await;
    }
    let registry = pair.registry().await;
    for name in names {
        let uuid = pair.uuid(&registry, &format!("shop.{name}"));
        let ids = ids(&pair.context.source, name).await;
        let targets: Vec<_> =
            Target::all(&registry, |_| 45_000).into_iter().filter(|target| target.uuid == uuid).collect();
        assert_eq!((targets.len(), ids.len()), (1, 45_000));
        pair.context.throttle.set(Some(2_000_000));
        let dirty: Arc<DirtySet> = Arc::default();
        let view = || watch::Sender::new(Verification::default());
        let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view());
        let stop = verifier.stopper();
        let first = targets.clone();
        let comparing = tokio::spawn(async move { verifier.base_pass(first).await });
        let reached = reached(&dirty, uuid).await;
        stop.cancel();
        comparing.await.expect("ended").expect("stopped");

        pair.context.throttle.set(None);
        let late = ids[44_000].clone();
        let gone = pair.context.destination.login.database("shop").collection::<Document>(name);
        assert_eq!(gone.delete_one(doc! { "_id": late }).await.unwrap().deleted_count, 1);
        let before = returned(&pair.context.destination).await;
        let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view());
        verifier.base_pass(targets).await.expect("base pass");
        let read = returned(&pair.context.destination).await - before;
        let rest = 45_000 - i64::try_from(reached).expect("count");
        assert!((rest - 1..rest + 1_000).contains(&read), "{name}: {read} documents were read, {rest} were left");
        let verdict = verifier.final_pass(&registry).await.expect("final pass");
        let row = verdict.collections.iter().find(|row| row.namespace == format!("shop.{name}")).expect("a row");
        assert_eq!((row.missing, row.extra, row.different, row.documents), (1, 0, 0, 45_000), "{name}");
    }
}

/// The name of a collection goes to a time series while the collection is compared: it cannot be taken up there with
/// `min`, and that is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_goes_to_a_time_series_meanwhile_is_a_collection_that_is_gone() {
    let pair = Pair::start().await;
    fill(&pair).await;
    let registry = pair.registry().await;
    let uuid = pair.uuid(&registry, "shop.c");
    pair.context.throttle.set(Some(2_000_000));
    let dirty: Arc<DirtySet> = Arc::default();
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view);
    let targets = Target::all(&registry, |_| u64::try_from(COUNT).expect("count"));
    let comparing = tokio::spawn(async move { verifier.base_pass(targets).await });
    reached(&dirty, uuid).await;
    pair.both("shop", rawdoc! { "drop": "c" }).await;
    pair.both("shop", rawdoc! { "create": "c", "timeseries": { "timeField": "t" } }).await;
    pair.context.throttle.set(None);
    let ended = tokio::time::timeout(Duration::from_secs(60), comparing).await.expect("an end");
    ended.expect("ended").expect("no failure");
    assert!(matches!(dirty.compared(uuid), Compared::Nothing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_goes_on_where_it_stood() {
    let pair = Pair::start().await;
    fill(&pair).await;
    // Late in the order, so that the first process does not get there.
    literal(&pair.context.destination, "shop", "c", &rawdoc! { "_id": 64_000, "x": "late" }).await;
    literal(&pair.context.destination, "shop", "c", &rawdoc! { "_id": 7, "x": "early" }).await;
    let registry = pair.registry().await;
    let uuid = pair.uuid(&registry, "shop.c");
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path().join("verified");

    // A process that dies in the middle.
    pair.context.throttle.set(Some(1_000_000));
    let dirty = Arc::new(DirtySet::open(&folder).expect("opened"));
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), watch::Sender::new(Verification::default()));
    let stop = verifier.stopper();
    let targets = Target::all(&registry, |_| u64::try_from(COUNT).expect("count"));
    let comparing = tokio::spawn(async move { verifier.base_pass(targets).await });
    let reached = reached(&dirty, uuid).await;
    dirty.touch(uuid, &key(9));
    dirty.persist().expect("persisted");
    dirty.touch(uuid, &key(10));
    stop.cancel();
    comparing.await.expect("ended").expect("stopped");
    drop(dirty);

    // The next one.
    pair.context.throttle.set(None);
    let dirty = Arc::new(DirtySet::open(&folder).expect("opened"));
    assert!(matches!(dirty.compared(uuid), Compared::Until(_, documents) if documents == reached));
    assert_eq!(dirty.count(), 2, "what differed and what was touched; the rest is applied again");
    let before = returned(&pair.context.destination).await;
    let (_, verdict) = check(&pair, &dirty, true).await;
    let read = returned(&pair.context.destination).await - before;
    let rest = i64::from(COUNT) - i64::try_from(reached).expect("count");
    assert!((rest..rest + 1_000).contains(&read), "{read} documents were read, {rest} were left");
    let wanted = |id: &str| (id.to_string(), MismatchKind::Different, vec!["x".to_string()]);
    assert_eq!(named(&verdict), [wanted("64000"), wanted("7")]);
    assert_eq!(verdict.documents, u64::try_from(COUNT).expect("count"));

    // And a third one has nothing left to compare but what differs.
    dirty.persist().expect("persisted");
    drop(dirty);
    let dirty = Arc::new(DirtySet::open(&folder).expect("opened"));
    let before = returned(&pair.context.destination).await;
    let (_, again) = check(&pair, &dirty, true).await;
    assert_eq!((named(&again), again.documents), (named(&verdict), verdict.documents));
    let read = returned(&pair.context.destination).await - before;
    assert!(read < 1_000, "{read} documents were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_touched_documents_their_ranges_are_compared() {
    let pair = Pair::start().await;
    fill(&pair).await;
    let registry = pair.registry().await;
    let uuid = pair.uuid(&registry, "shop.c");
    let dirty = Arc::new(DirtySet::bounded(10, 0));
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), watch::Sender::new(Verification::default()));
    verifier.base_pass(Target::all(&registry, |_| 0)).await.expect("base pass");
    assert!(matches!(dirty.compared(uuid), Compared::Everything(_)));

    literal(&pair.context.destination, "shop", "c", &rawdoc! { "_id": 30_000, "x": "wrong" }).await;
    literal(&pair.context.source, "shop", "c", &rawdoc! { "_id": 90_000 }).await;
    for touched in [30_000, 30_001, 90_000] {
        dirty.touch(uuid, &key(touched));
    }
    assert_eq!(dirty.count(), 0, "no room");
    let before = returned(&pair.context.source).await;
    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    let read = returned(&pair.context.source).await - before;
    let wanted = [
        ("30000".to_string(), MismatchKind::Different, vec!["x".to_string()]),
        ("90000".to_string(), MismatchKind::Missing, Vec::new()),
    ];
    assert_eq!(named(&verdict), wanted);
    assert!((20_000..i64::from(COUNT) - 10_000).contains(&read), "{read} documents were read");
    // What differs stays in doubt: its ranges are looked at again.
    let again = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(named(&again), wanted);
}
