//! Writes on the destination by somebody else are noticed; ours, the server's own and the application's after the cutover
//! are not taken for them.

use crate::{
    common::Pair,
    ferry::{Ferry, Home},
    load::{Load, fill},
};
use bson::{DateTime, Document, doc};
use mongodb::{Client, IndexModel, options::IndexOptions};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use serde_json::Value;
use std::time::Duration;

/// Longer than two looks.
const LOOKS: Duration = Duration::from_secs(13);

fn found<'a>(snapshot: &'a Value, namespace: &str) -> Option<&'a Value> {
    snapshot["foreign_writes"].as_array()?.iter().find(|row| row["namespace"] == namespace)
}

fn at_least(snapshot: &Value, namespace: &str, writes: u64) -> bool {
    found(snapshot, namespace).is_some_and(|row| row["writes"].as_u64().unwrap() >= writes)
}

/// What only the server removes: too old for a TTL index that is held back, too much for a capped collection.
async fn fleeting(source: &Client) {
    let keep = doc! { "setParameter": 1, "ttlMonitorEnabled": false };
    source.database("admin").run_command(keep).await.unwrap();
    let shop = source.database("shop");
    let ttl = IndexOptions::builder().expire_after(Duration::from_secs(60)).build();
    let old = shop.collection::<Document>("old");
    old.create_index(IndexModel::builder().keys(doc! { "at": 1 }).options(ttl).build()).await.unwrap();
    let long_ago = DateTime::from_millis(-2_500_000_000_000);
    old.insert_many((0..40).map(|n| doc! { "_id": n, "at": long_ago })).await.unwrap();
    shop.run_command(doc! { "create": "ring", "capped": true, "size": 8_192, "max": 20 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_writes_are_noticed_and_nobody_else_is_accused() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let arguments = ["--setParameter", "ttlMonitorSleepSecs=1"].map(String::from).to_vec();
    let (a, b) = (SetOptions::single("rsA"), SetOptions { arguments, ..SetOptions::single("rsB") });
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let pair = Pair { source: a.expect("source"), destination: b.expect("destination") };
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fleeting(&source).await;
    fill(&source, 20_000).await;
    let load = Load::start(&source);
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "verify = \"off\"");
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", |snapshot| {
        ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
            && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000)
    });
    let ring = source.database("shop").collection::<Document>("ring");
    ring.insert_many((0..200).map(|n| doc! { "_id": n })).await.unwrap();
    // Dropped by one name, logged by another.
    let shop = source.database("shop");
    shop.run_command(doc! { "create": "series", "timeseries": { "timeField": "at" } }).await.unwrap();
    shop.collection::<Document>("series").insert_one(doc! { "at": DateTime::now() }).await.unwrap();
    shop.run_command(doc! { "drop": "series" }).await.unwrap();
    tokio::time::sleep(LOOKS).await;
    assert_eq!(ferry.told("foreign-write") + ferry.told("foreign-unseen"), 0, "{}", ferry.story());
    let left = destination.database("shop").collection::<Document>("old").count_documents(doc! {}).await.unwrap();
    assert_eq!(left, 0, "the TTL monitor of the destination removed nothing: this shows nothing");

    // One that retries its writes, as drivers do, one that does not, one in a transaction, and a drop.
    let stranger = |app: &str, rest: &str| {
        Client::with_uri_str(format!("{}&appName={app}&retryWrites={rest}", pair.destination.uri()))
    };
    let (modern, old) = (stranger("intruder", "true").await.unwrap(), stranger("script", "false").await.unwrap());
    let of = |client: &Client, name: &str| client.database("shop").collection::<Document>(name);
    of(&modern, "small7").insert_one(doc! { "_id": "foreign" }).await.unwrap();
    of(&old, "small8").update_many(doc! {}, doc! { "$set": { "k": -1 } }).await.unwrap();
    of(&old, "small9").delete_many(doc! { "_id": { "$lt": 30 } }).await.unwrap();
    // The busiest of ours.
    let many = doc! { "_id": { "$gte": 18_000, "$lt": 20_000 } };
    of(&old, "big").update_many(many, doc! { "$set": { "foreign": true } }).await.unwrap();
    of(&old, "small15").drop().await.unwrap();
    let mut session = modern.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    of(&modern, "small10").insert_one(doc! { "_id": "foreign" }).session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
    ferry.wait("the foreign writes", |snapshot| {
        [("small7", 1), ("small8", 50), ("small9", 30), ("small10", 1), ("small15", 1), ("big", 800)]
            .iter()
            .all(|(name, writes)| at_least(snapshot, &format!("shop.{name}"), *writes))
    });
    let rows = ferry.snapshot()["foreign_writes"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 6, "{rows}");
    assert_eq!(ferry.told("foreign-write"), 6, "{}", ferry.story());

    // Who goes on is named, as far as the server says.
    let writing = tokio::spawn({
        let small7 = of(&modern, "small7");
        async move {
            for n in 0.. {
                if small7.insert_one(doc! { "_id": n + 1_000 }).await.is_err() {
                    return;
                }
            }
        }
    });
    ferry.wait("the writer's name", |snapshot| {
        found(snapshot, "shop.small7").is_some_and(|row| {
            row["likely_client"].as_str().is_some_and(|client| client.starts_with("intruder ("))
                && row["ops_per_s"].as_f64().unwrap() > 1.0
        })
    });
    writing.abort();
    load.stop().await;

    // From the moment at which the destination accepts writes it is the application.
    ferry.wait("ready", |snapshot| snapshot["can_cutover"] == true);
    ferry.say("cutover");
    ferry.wait("the quiet source", |snapshot| snapshot["source_quiet_ms"].as_u64().is_some_and(|quiet| quiet > 1_500));
    // What comes right behind a look is found by the last one, before the destination is opened.
    of(&modern, "small16").insert_one(doc! { "_id": "before a look" }).await.unwrap();
    ferry.wait("a look", |snapshot| found(snapshot, "shop.small16").is_some());
    of(&modern, "small17").insert_one(doc! { "_id": "behind a look" }).await.unwrap();
    of(&old, "small18").update_many(doc! {}, doc! { "$set": { "k": -2 } }).await.unwrap();
    ferry.say("continue");
    ferry.wait("open", |snapshot| snapshot["can_write"] == true);
    of(&modern, "small11").insert_one(doc! { "_id": "application" }).await.unwrap();
    ferry.wait_for_phase(&["completed"]);
    assert!(ferry.end().success());
    let report: Value = serde_json::from_slice(&std::fs::read(home.state().join("report.json")).unwrap()).unwrap();
    assert!(found(&report, "shop.small7").is_some() && found(&report, "shop.small11").is_none(), "{report}");
    assert!(at_least(&report, "shop.small17", 1) && at_least(&report, "shop.small18", 50), "{report}");
    assert_eq!(ferry.told("foreign-unseen"), 0, "{}", ferry.story());
    let page = std::fs::read_to_string(home.state().join("report.md")).unwrap();
    assert!(page.contains("somebody else writes to shop.small8"), "{page}");
}
