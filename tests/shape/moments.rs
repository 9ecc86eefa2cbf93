//! Moments that are held: index builds that run when the migration starts, an index that the destination refuses, what
//! indexes are until the cutover.

use crate::{
    common::drive,
    stage::{Migration, Stage, indexes, insert, numbered, run},
    wide::cut_over,
};
use bson::{Document, doc};
use mongodb::Client;
use mongoferry::model::Phase;
use std::time::{Duration, Instant};

const DB: &str = "moments";
/// Where a time series is stored.
const BUCKETS: &str = "system.buckets.measured";

async fn hang_builds(source: &Client, mode: &str) {
    run(source, "admin", doc! { "configureFailPoint": "hangAfterStartingIndexBuild", "mode": mode }).await;
}

/// Waits until the oplog holds the beginnings of so many builds.
async fn started(source: &Client, builds: u64) {
    let oplog = source.database("local").collection::<Document>("oplog.rs");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let begun = oplog.count_documents(
            doc! { "o.startIndexBuild": { "$in": ["succeeds", "fails", BUCKETS] }, "ns": format!("{DB}.$cmd") },
        );
        let begun = begun.await.unwrap();
        if begun == builds {
            return;
        }
        assert!(Instant::now() < deadline, "{begun} of {builds} builds have begun");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn held(row: usize) {
    let stage = Stage::start(row).await;
    let source = &stage.source;
    for coll in ["succeeds", "fails", "neutral"] {
        insert(source, DB, coll, numbered(0..300)).await;
    }
    insert(source, DB, "fails", vec![doc! { "_id": "twice", "n": 7 }]).await;
    run(source, DB, doc! { "createIndexes": "neutral", "indexes": [
        { "key": { "seen": 1 }, "name": "ttl", "expireAfterSeconds": 60 }, { "key": { "n": 1 }, "name": "unique", "unique": true },
        { "key": { "s": 1 }, "name": "hidden", "hidden": true } ] }).await;
    // 6.0 has indexes on measurements, of whose build 6.0.5 cannot tell.
    let measured = (stage.from.0 >= 6).then_some("measured");
    if let Some(coll) = measured {
        let series = doc! { "timeField": "at", "metaField": "k" };
        run(source, DB, doc! { "create": coll, "timeseries": series }).await;
        insert(source, DB, coll, vec![doc! { "at": bson::DateTime::now(), "k": 1, "n": 2 }]).await;
    }
    let building = doc! { "key": { "n": 1 }, "name": "built", "unique": true };
    hang_builds(source, "alwaysOn").await;
    let build = |coll: &'static str| {
        let (db, mut index) = (source.database(DB), building.clone());
        if Some(coll) == measured {
            index.remove("unique");
        }
        tokio::spawn(async move { db.run_command(doc! { "createIndexes": coll, "indexes": [index] }).await })
    };
    let (succeeds, fails, series) = (build("succeeds"), build("fails"), measured.map(build));
    started(source, 2 + u64::from(series.is_some())).await;
    let mut migration = Migration::new();
    drive::start(&mut migration.client, stage.plan(&[], &[])).await;
    migration.reach(Phase::Following).await;
    // Both builds are still under way, and nothing of them is on the destination.
    assert!(!succeeds.is_finished() && !fails.is_finished());
    for coll in ["succeeds", "fails"] {
        insert(source, DB, coll, numbered(400..420)).await;
        assert!(!indexes(&stage.destination, DB, coll).await.contains_key("built"), "{coll}");
    }
    if let Some(coll) = measured {
        insert(source, DB, coll, vec![doc! { "at": bson::DateTime::now(), "k": 1, "n": 3 }]).await;
        assert!(!indexes(&stage.destination, DB, BUCKETS).await.contains_key("built"));
    }
    hang_builds(source, "off").await;
    succeeds.await.unwrap().unwrap();
    if let Some(series) = series {
        series.await.unwrap().unwrap();
    }
    assert!(fails.await.unwrap().is_err(), "duplicates must be refused");
    let neutral = indexes(&stage.destination, DB, "neutral").await;
    let ttl = neutral["ttl"].get("expireAfterSeconds").cloned().unwrap();
    let ttl = ttl.as_i64().unwrap_or_else(|| ttl.as_i32().unwrap().into());
    assert!(ttl > 1_000_000_000, "a TTL that deletes nothing until the cutover: {neutral:?}");
    assert!(neutral.values().all(|index| !index.get_bool("unique").unwrap_or(false)), "{neutral:?}");
    if stage.from < stage.to {
        refused(&stage, &mut migration).await;
    }
    let snapshot = cut_over(&stage, &mut migration, async || {}).await;
    let differences = stage.differences().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!((&snapshot.verification.metadata_differences, &snapshot.indexes.failed), (&Vec::new(), &Vec::new()));
    migration.engine.shut_down().await;
}

/// 4.4 has indexes that 6.0 does not know: named with the reason, in the way of the cutover until the source drops them.
async fn refused(stage: &Stage, migration: &mut Migration) {
    let refused = doc! { "key": { "place": "geoHaystack", "n": 1 }, "name": "haystack", "bucketSize": 1 };
    let other = doc! { "key": { "s": -1 }, "name": "beside it" };
    run(&stage.source, DB, doc! { "createIndexes": "neutral", "indexes": [refused, other] }).await;
    let snapshot = drive::wait(&mut migration.client, "an index that failed", |snapshot| {
        !snapshot.indexes.failed.is_empty() && !snapshot.can_cutover
    })
    .await;
    let failed = &snapshot.indexes.failed[0];
    assert_eq!((failed.namespace.as_str(), failed.index.as_str()), ("moments.neutral", "haystack"));
    assert!(failed.reason.contains("code "), "{failed:?}");
    let named = |text: &String| text.contains("haystack");
    assert!(snapshot.cutover_blocked_by.iter().any(named), "{:?}", snapshot.cutover_blocked_by);
    insert(&stage.source, DB, "neutral", numbered(500..510)).await;
    run(&stage.source, DB, doc! { "dropIndexes": "neutral", "index": "haystack" }).await;
    drive::wait(&mut migration.client, "no failed index", |snapshot| snapshot.indexes.failed.is_empty()).await;
    assert!(indexes(&stage.destination, DB, "neutral").await.contains_key("beside it"), "the others go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_moments_6_0_5() {
    held(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_moments_4_4_2_to_6_0_5() {
    held(1).await;
}

/// Nothing else is there in which something could be deleted, which 5.0 refuses of a time series.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_series_alone_5_0_4() {
    let stage = Stage::start(4).await;
    run(&stage.source, DB, doc! { "create": "measured", "timeseries": { "timeField": "at" } }).await;
    let measurements = (0..20).map(|n| doc! { "at": bson::DateTime::now(), "n": n });
    insert(&stage.source, DB, "measured", measurements.collect()).await;
    let mut migration = Migration::new();
    drive::start(&mut migration.client, stage.plan(&[], &[])).await;
    migration.reach(Phase::Following).await;
    cut_over(&stage, &mut migration, async || {}).await;
    let differences = stage.differences().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    migration.engine.shut_down().await;
}
