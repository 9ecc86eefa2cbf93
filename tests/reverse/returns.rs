//! Going back.

use crate::{
    common::{self, compare},
    home::Home,
    shop,
};
use bson::doc;
use mongoferry::demo::releases::Release;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_to_the_new_cluster_is_on_the_old_one_when_the_application_returns() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    // The application is on the new cluster for a while before anybody thinks of a way back.
    shop::write(&new, 0).await;
    shop::command(&new).await;
    let said = home.ok(&["reverse", "shop", "--for", "1h", "--accept-warnings"]);
    assert_eq!(said.trim(), "shop-back");
    assert!(home.fails(&["reverse", "shop"], 3).contains("is under way already"));
    // What piles up is applied in large pieces: values that went from one document to the next come out of order.
    home.wait("shop-back", "following", |status| status["lag_ms"].is_u64());
    home.ok(&["pause", "shop-back"]);
    for round in 1..12 {
        shop::write(&new, round).await;
    }
    home.ok(&["resume", "shop-back"]);
    for round in 12..14 {
        shop::write(&new, round).await;
    }
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
    let report: serde_json::Value = serde_json::from_str(&home.ok(&["report", "shop-back", "--json"])).unwrap();
    assert_eq!(report["verification"]["mismatches"], 0, "{report:#}");
    // In the way of one another they were: how depends on where the batches ended.
    let said = report.to_string();
    assert!(said.contains("that shared a unique value") || said.contains("did not take a change"), "{report:#}");
    // The old cluster refuses equal values, as before.
    let users = old.database("shop").collection::<bson::Document>("users");
    let taken = users.find_one(doc! {}).await.unwrap().unwrap();
    let twin = doc! { "_id": "twin", "mail": taken.get_str("mail").unwrap() };
    assert!(users.insert_one(twin).await.unwrap_err().to_string().contains("E11000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_on_the_way_back_goes_on_with_it() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    let mut writing = tokio::spawn({
        let new = new.clone();
        async move {
            for round in 0..12 {
                shop::write(&new, round).await;
                if round == 4 {
                    shop::command(&new).await;
                }
            }
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        shop::kill_engine(&home, "shop-back");
        home.ok(&["resume", "shop-back"]);
    }
    (&mut writing).await.unwrap();
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_can_be_asked_for_at_the_start() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    let plan = home.plan("shop", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings", "--reverse", "2h"]);
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    assert!(home.ok(&["cutover", "shop"]).contains("DONE"));
    let status =
        home.wait("shop", "told", |status| status["way_back"].as_str().is_some_and(|told| told.contains("attach")));
    assert_eq!(status["way_back"], "kept open for 2.0 h: mongoferry attach shop-back", "{status:#}");
    // Written once more when that was known.
    let report = home.ok(&["report", "shop"]);
    assert!(report.contains("- way back: kept open for 2.0 h: mongoferry attach shop-back"), "{report}");
    shop::write(&new, 0).await;
    let status = home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    assert_eq!(status["way_back_of"], "shop", "{status:#}");
    let said = home.ok(&["status", "shop-back"]);
    assert!(said.contains("shop-back: rsB (6.0.5) -> rsA (6.0.5)\nTHE WAY BACK of shop, to rsA (6.0.5)"), "{said}");
    assert!(home.ok(&["list"]).contains("; the way back of shop"));
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}

/// Old releases that stay on their version: their servers write other oplogs and take other commands.
async fn goes_back_on(release: Release) {
    let _turn = crate::turn().await;
    let pair = common::pair_between(release, release).await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    home.wait("shop-back", "following", |status| status["lag_ms"].is_u64());
    home.ok(&["pause", "shop-back"]);
    for round in 0..4 {
        shop::write(&new, round).await;
    }
    shop::command(&new).await;
    home.ok(&["resume", "shop-back"]);
    shop::write(&new, 4).await;
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_returns_to_5_0() {
    goes_back_on(Release::V5_0_4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_returns_to_4_4() {
    goes_back_on(Release::V4_4_2).await;
}

/// What has another shape inside: buckets behind a view, and documents that are their own index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measurements_and_clustered_documents_come_back() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let series = doc! { "timeField": "at", "metaField": "m", "granularity": "seconds" };
    shop::run(&old, doc! { "create": "readings", "timeseries": series, "expireAfterSeconds": 900_000_000_i64 }).await;
    let clustered = doc! { "key": { "_id": 1 }, "unique": true };
    shop::run(&old, doc! { "create": "events", "clusteredIndex": clustered, "expireAfterSeconds": 900_000_000_i64 })
        .await;
    let write = async |client: &mongodb::Client, from: i64| {
        let shop = client.database("shop");
        let at = |n: i64| bson::DateTime::from_millis(1_795_000_000_000 + n * 1_000);
        let readings = (from..from + 300).map(|n| doc! { "at": at(n), "m": n % 7, "value": n });
        shop.collection("readings").insert_many(readings).await.unwrap();
        let events = (from..from + 300).map(|n| doc! { "_id": at(n), "n": n });
        shop.collection("events").insert_many(events).await.unwrap();
        let events = shop.collection::<bson::Document>("events");
        events.update_many(doc! { "n": { "$mod": [3, 0] } }, doc! { "$inc": { "seen": 1 } }).await.unwrap();
        events.delete_many(doc! { "n": { "$mod": [50, 1] } }).await.unwrap();
    };
    write(&old, 0).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    write(&new, 300).await;
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    write(&new, 600).await;
    shop::run(&new, doc! { "collMod": "readings", "expireAfterSeconds": 800_000_000_i64 }).await;
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}

/// Killed again and again while the old cluster gets its own settings back and is opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_killed_while_the_application_returns_goes_on_with_it() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    shop::write(&new, 0).await;
    shop::command(&new).await;
    home.wait("shop-back", "nearly in sync", |status| status["can_cutover"] == true);
    let summary = home.state().join("shop-back").join("summary.json");
    let phase = || {
        let text = std::fs::read_to_string(&summary).unwrap_or_default();
        let summary = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        summary["phase"].as_str().unwrap_or_default().to_string()
    };
    let mut phases = Vec::new();
    for wanted in [["cutover"; 3], ["finalizing", "cleanup", "completed"], ["cleanup", "completed", "completed"]] {
        let mut cutting = home.command(&["cutover", "shop-back"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + crate::home::PATIENCE;
        while !wanted.contains(&phase().as_str()) {
            assert!(std::time::Instant::now() < deadline, "{} instead of {wanted:?}", phase());
        }
        phases.push(phase());
        shop::kill_engine(&home, "shop-back");
        // Without an engine it ends by itself, or is ended.
        let _ = cutting.kill();
        cutting.wait().unwrap();
        if phase() == "completed" {
            break;
        }
        home.ok(&["resume", "shop-back"]);
    }
    eprintln!("killed in {phases:?}");
    let deadline = std::time::Instant::now() + crate::home::PATIENCE;
    while home.status("shop-back")["phase"] != "completed" {
        let output = home.run(&["cutover", "shop-back"]);
        assert!(std::time::Instant::now() < deadline, "{}", String::from_utf8_lossy(&output.stderr));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    compare::assert_identical(&new, &old).await;
}
