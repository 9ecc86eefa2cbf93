//! Where there is no way back, it is said by name, before anything is written.

use crate::{
    common::{self, Pair, compare},
    home::Home,
    shop,
};
use bson::{Document, doc};
use mongoferry::demo::{
    ReplicaSet, SetOptions,
    releases::{self, Release},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_the_old_cluster_after_the_cutover_is_named() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let old = pair.source.client().await.unwrap();
    shop::fill(&old).await;
    let home = Home::new();
    let plan = home.plan("shop", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    assert!(home.fails(&["reverse", "shop"], 3).contains("there is a way back once the migration is completed"));
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    shop::cut_over(&home);
    let orders = old.database("shop").collection::<Document>("orders");
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "state": "straggler" } }).await.unwrap();
    orders.delete_one(doc! { "_id": 8 }).await.unwrap();
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    for named in ["written to after the cutover", "shop.orders: 1 updates", "shop.orders: 1 deletes"] {
        assert!(said.contains(named), "{named}: {said}");
    }
    assert!(!home.state().join("shop-back").exists(), "something was started");
    home.ok(&["cleanup", "shop"]);
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 3);
    assert!(said.contains("was cleaned up"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_that_forgot_its_first_writes_is_named() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    // Truncates at every checkpoint, and makes one every second (OPLOG.md D: truncation is lazy).
    let arguments = ["--oplogSize", "16", "--syncdelay", "1"].map(String::from).to_vec();
    let forgetful = SetOptions { arguments, ..SetOptions::single("rsB") };
    let (a, b) = (SetOptions::single("rsA"), forgetful);
    let (source, destination) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let pair = Pair { source: source.expect("old"), destination: destination.expect("new") };
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    let flooded = new.database("shop").collection::<Document>("flooded");
    let mut seed = 77_u64;
    let oldest = async || {
        let oplog = new.database("local").collection::<Document>("oplog.rs");
        oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).await.unwrap().unwrap().get_timestamp("ts").unwrap()
    };
    let began = oldest().await;
    let deadline = std::time::Instant::now() + crate::home::PATIENCE;
    // Twice: what was there before the first truncation may reach beyond the opening.
    let opened = new.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
    let opened = opened.get_document("lastWrite").unwrap().get_document("opTime").unwrap().get_timestamp("ts").unwrap();
    while oldest().await <= opened {
        assert!(
            std::time::Instant::now() < deadline,
            "the oplog still begins at {:?}, at first {began:?}",
            oldest().await
        );
        for n in 0..20 {
            let mut next = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'a' + u8::try_from((seed >> 33) % 26).unwrap())
            };
            let pad: String = (0..30_000).map(|_| next()).collect();
            flooded.update_one(doc! { "_id": n }, doc! { "$set": { "pad": pad } }).upsert(true).await.unwrap();
        }
    }
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    assert!(said.contains("the oplog no longer holds") && said.contains("a way back would lose it"), "{said}");
    assert!(!home.state().join("shop-back").exists(), "something was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_cluster_that_refuses_user_writes_is_named_with_the_command_that_lifts_it() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "block_source_writes = true");
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    assert!(said.contains("user writes are blocked since the cutover"), "{said}");
    assert!(said.contains("db.adminCommand({setUserWriteBlockMode: 1, global: false})"), "{said}");
    old.database("admin").run_command(doc! { "setUserWriteBlockMode": 1, "global": false }).await.unwrap();
    // As long as it was blocked nobody wrote.
    home.ok(&["reverse", "shop", "--accept-warnings"]);
    shop::write(&new, 0).await;
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_cluster_of_an_older_version_is_named() {
    let _turn = crate::turn().await;
    let pair = common::pair_between(Release::V4_4_2, Release::V6_0_5).await;
    let old = pair.source.client().await.unwrap();
    shop::fill(&old).await;
    let home = Home::new();
    shop::migrate(&home, &pair, "");
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    assert!(said.contains("4.4.2") && said.contains("the new cluster runs 6.0.5"), "{said}");
    assert!(said.contains("there is no way back that could promise to lose nothing"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_only_the_old_cluster_keeps_unique_is_named() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (old, new) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    shop::fill(&old).await;
    let home = Home::new();
    // The comparison would find the stranger before.
    let plan = home.plan("shop", &pair.source.uri(), &pair.destination.uri(), "verify = \"off\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    let users = new.database("shop").collection::<Document>("users");
    users.insert_one(doc! { "_id": "stranger", "mail": "m7" }).await.unwrap();
    let output = home.run(&["cutover", "shop"]);
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    home.ok(&["cutover", "shop", "--accept-failed"]);
    home.wait("shop", "completed", |status| status["phase"] == "completed");
    let before = shop::ttl(&old, "sessions", "seen_1").await;
    home.run(&["reverse", "shop", "--accept-warnings"]);
    let status = home.wait("shop-back", "refused", |status| status["phase"] == "failed");
    let error = &status["error"];
    assert_eq!(
        error["what"], "shop.users / mail_1 is unique on the old cluster and was not on the new one",
        "{error:#}"
    );
    assert!(error["fix"].as_str().unwrap().starts_with("Drop that index on the old cluster"), "{error:#}");
    assert_eq!(shop::ttl(&old, "sessions", "seen_1").await, before, "something is held on the old cluster");
    // The engine goes on showing it; the lease is given back.
    home.ok(&["cleanup", "shop-back"]);
    let names = old.list_database_names().await.unwrap();
    assert!(!names.iter().any(|name| name.starts_with("mongoferry")), "{names:?}");
}
