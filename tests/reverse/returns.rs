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
    assert!(report.to_string().contains("that shared a unique value"), "{report:#}");
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
