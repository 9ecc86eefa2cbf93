//! What deletes by itself is held on the old cluster while it is followed into, and given back whether the application
//! returns or not.

use crate::{
    common::{self, Pair, compare},
    home::Home,
    shop,
};
use bson::{DateTime, Document, doc};
use mongodb::Client;
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::time::Duration;

/// A pair whose old cluster looks for what is expired every second, and whose new one never does.
async fn expiring() -> Pair {
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let often = ["--setParameter", "ttlMonitorSleepSecs=1"].map(String::from).to_vec();
    let never = ["--setParameter", "ttlMonitorEnabled=false"].map(String::from).to_vec();
    let old = SetOptions { arguments: often, ..SetOptions::single("rsA") };
    let new = SetOptions { arguments: never, ..SetOptions::single("rsB") };
    let (source, destination) = tokio::join!(ReplicaSet::start(&mongod, &old), ReplicaSet::start(&mongod, &new));
    Pair { source: source.expect("old"), destination: destination.expect("new") }
}

fn at(hours: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + hours * 3_600_000)
}

async fn leases(client: &Client) {
    let leases = client.database("shop").collection::<Document>("leases");
    leases.insert_many((0..20).map(|n| doc! { "_id": n, "until": at(2) })).await.unwrap();
    let index = doc! { "key": { "until": 1 }, "name": "until_1", "expireAfterSeconds": 0 };
    shop::run(client, doc! { "createIndexes": "leases", "indexes": [index] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_on_the_old_cluster_comes_back_and_nothing_expires_there_meanwhile() {
    let _turn = crate::turn().await;
    let pair = expiring().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    leases(&old).await;
    let ended = old.database("shop").collection::<Document>("leases");
    ended
        .insert_one(
            doc! { "_id": "ends soon", "until": DateTime::from_millis(DateTime::now().timestamp_millis() + 60_000) },
        )
        .await
        .unwrap();
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    let kept = new.database("shop").collection::<Document>("leases");
    // Prolonged on the new cluster, expired on the old one.
    kept.update_one(doc! { "_id": 3 }, doc! { "$set": { "until": at(5) } }).await.unwrap();
    kept.update_one(doc! { "_id": "ends soon" }, doc! { "$set": { "until": at(5) } }).await.unwrap();
    // As the server itself would: its oplog shows no difference.
    ended.delete_many(doc! { "_id": { "$in": [3, 4] } }).await.unwrap();
    wait_until(|| async { ended.count_documents(doc! { "_id": "ends soon" }).await.unwrap() == 0 }).await;
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    assert_eq!(shop::ttl(&old, "leases", "until_1").await, i64::from(i32::MAX));
    // Over for the new cluster's application only later: the old one must not decide.
    kept.insert_one(doc! { "_id": "past", "until": at(-1) }).await.unwrap();
    wait_until(|| async { ended.count_documents(doc! { "_id": "past" }).await.unwrap() == 1 }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ended.count_documents(doc! { "_id": "past" }).await.unwrap(), 1, "it expired on the old cluster");
    kept.update_one(doc! { "_id": "past" }, doc! { "$set": { "until": at(3) } }).await.unwrap();
    shop::go_back(&home);
    assert_eq!(shop::ttl(&old, "leases", "until_1").await, 0);
    compare::assert_identical(&new, &old).await;
    assert_eq!(ended.count_documents(doc! {}).await.unwrap(), 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_that_nobody_uses_ends_with_the_chosen_time_and_gives_everything_back() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    leases(&old).await;
    let before = compare::differences(&old, &new).await.len();
    assert!(before > 0);
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    home.ok(&["reverse", "shop", "--for", "15s", "--accept-warnings"]);
    home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    assert_eq!(shop::ttl(&old, "leases", "until_1").await, i64::from(i32::MAX));
    let status = home.wait("shop-back", "over", |status| status["phase"] == "stopped");
    assert_eq!(status["can_write"], false, "{status:#}");
    // Everything is as it was, and stays so.
    compare::assert_identical(&new, &old).await;
    new.database("shop").collection("orders").insert_one(doc! { "_id": "late", "state": "x" }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let orders = old.database("shop").collection::<Document>("orders");
    assert_eq!(orders.count_documents(doc! { "_id": "late" }).await.unwrap(), 0, "it was followed after the end");
    let names = old.list_database_names().await.unwrap();
    assert!(!names.iter().any(|name| name.starts_with("mongoferry")), "{names:?}");
    let report = home.ok(&["report", "shop-back"]);
    assert!(report.contains("the way back was not used: the chosen time has passed"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_gives_everything_back_also_when_the_engine_is_killed_meanwhile() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    leases(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    shop::kill_engine(&home, "shop-back");
    home.ok(&["resume", "shop-back"]);
    home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    home.ok(&["pause", "shop-back"]);
    home.ok(&["stop", "shop-back"]);
    home.wait("shop-back", "over", |status| status["phase"] == "stopped");
    assert_eq!(shop::ttl(&old, "leases", "until_1").await, 0);
    compare::assert_identical(&new, &old).await;
    // It may have been written to.
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    assert!(said.contains("written to after the cutover") && said.contains(" collMod"), "{said}");
}

async fn wait_until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + crate::home::PATIENCE;
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "it never came to pass");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
