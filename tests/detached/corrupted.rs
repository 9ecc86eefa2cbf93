//! `kill -9` loses no verdict: what was corrupted before, while and after the engine was dead is found at the check.

use crate::{
    common,
    home::{Home, signal},
    kinds,
};
use bson::{Document, doc};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_corrupted_around_a_kill_is_named() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let phases = ["early", "before", "dead", "after"];
    for phase in phases {
        kinds::fill(&source, phase).await;
    }
    let bulk = source.database("shop").collection::<Document>("bulk");
    bulk.insert_many((0..3_000).map(|n| doc! { "_id": n, "pad": "x".repeat(200) })).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "following", |status| status["phase"] == "following" || status["phase"] == "ready");
    kinds::corrupt(&destination, "early").await;
    home.wait("orders", "compared once", |status| {
        status["can_cutover"] == true && status["verification"]["documents"].as_u64() >= Some(3_024)
    });
    kinds::corrupt(&destination, "before").await;
    // Time for a look at it, and for a checkpoint.
    std::thread::sleep(std::time::Duration::from_secs(8));
    signal(home.engine(), "-KILL");
    home.wait_for_engines(0);
    kinds::corrupt(&destination, "dead").await;
    bulk.update_many(doc! { "_id": { "$lt": 500 } }, doc! { "$set": { "x": 1 } }).await.unwrap();
    home.ok(&["resume", "orders"]);
    home.wait("orders", "ready again", |status| status["can_cutover"] == true);
    kinds::corrupt(&destination, "after").await;

    let said = home.fails(&["cutover", "orders"], 1);
    assert!(said.contains("differ"), "{said}");
    let output = home.run(&["verify", "orders", "--json"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let verified: Value = serde_json::from_slice(&output.stdout).unwrap();
    let one = |example: &Value| {
        let paths: Vec<&str> = example["paths"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let text = |name: &str| example[name].as_str().unwrap().to_string();
        assert_eq!(text("namespace"), "shop.kinds");
        format!("{} {} {}", text("id"), text("kind"), paths.join(","))
    };
    let examples = verified["verification"]["examples"].as_array().unwrap();
    let mut found: Vec<String> = examples.iter().map(one).collect();
    found.sort();
    assert_eq!(found, kinds::wanted(&phases));
    home.ok(&["stop", "orders"]);
}

/// `cutover --check`: the destination is opened although a document differs, and the check comes after it; or before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_the_check_is_chosen_at_the_cutover() {
    let _turn = crate::turn().await;
    for (plan_says, chosen) in [("check = \"first\"", "after"), ("check = \"after\"", "first")] {
        let pair = common::pair().await;
        let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
        let of = |client: &mongodb::Client| client.database("shop").collection::<Document>("people");
        of(&source).insert_many((0..50).map(|n| doc! { "_id": n })).await.unwrap();
        let home = Home::new();
        let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), plan_says);
        home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
        home.wait("orders", "ready", |status| status["can_cutover"] == true);
        of(&destination).delete_one(doc! { "_id": 7 }).await.unwrap();

        let said = home.fails(&["cutover", "orders", "--check", chosen], 1);
        let status = home.status("orders");
        assert_eq!(status["verification"]["mismatches"], 1, "{status:#}");
        let is_open = chosen == "after";
        assert_eq!(status["can_write"], is_open, "{status:#}");
        let wanted = if is_open { "accepts writes already" } else { "is not opened" };
        assert!(said.contains(wanted) && said.contains("--repair"), "{said}");
        let late = home.fails(&["cutover", "orders", "--check", "first"], 3);
        assert!(late.contains("the order is fixed"), "{late}");
        home.ok(&["cutover", "orders", "--repair"]);
        let report: Value = serde_json::from_str(&home.ok(&["report", "orders", "--json"])).unwrap();
        assert_eq!((&report["result"], &report["cutover"]["check"]), (&"completed".into(), &chosen.into()));
        assert_eq!(report["verification"]["repaired"]["documents"], 1, "{:#}", report["verification"]);
        common::compare::assert_identical(&source, &destination).await;
    }
}

/// Both values of a document that differs are for who asks, and on no disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_values_are_shown_to_who_asks_and_kept_nowhere() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let of = |client: &mongodb::Client| client.database("shop").collection::<Document>("people");
    let email = |at: &str| doc! { "_id": 7, "name": "Ada", "email": format!("ada@{at}.example") };
    of(&source).insert_many([email("hush-hush-source"), doc! { "_id": "only" }]).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    of(&destination).replace_one(doc! { "_id": 7 }, email("hush-hush-destination")).await.unwrap();
    of(&destination).delete_one(doc! { "_id": "only" }).await.unwrap();
    let said = home.fails(&["cutover", "orders"], 1);
    assert!(said.contains("differ"), "{said}");

    let show = |arguments: &[&str]| {
        let output = home.run(&[&["verify"], arguments].concat());
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = show(&["orders", "--show", "shop.people", "7"]);
    let wanted = r#"email
  source       "ada@hush-hush-source.example"
  destination  "ada@hush-hush-destination.example"
the whole document
  source       {"_id":{"$numberInt":"7"},"name":"Ada","email":"ada@hush-hush-source.example"}
  destination  {"_id":{"$numberInt":"7"},"name":"Ada","email":"ada@hush-hush-destination.example"}
"#;
    assert!(shown.starts_with("shop.people _id 7, read ") && shown.ends_with(wanted), "{shown}");
    let shown: Value = serde_json::from_str(&show(&["orders", "--json", "--show", "shop.people", "\"only\""])).unwrap();
    assert_eq!((&shown["source"], &shown["destination"]), (&Value::from(r#"{"_id":"only"}"#), &Value::Null));
    // Without a migration, too.
    let shown = show(&["--plan", plan.to_str().unwrap(), "--show", "shop.people", "7"]);
    assert!(shown.ends_with(wanted), "{shown}");
    let said = home.fails(&["verify", "orders", "--show", "people", "7"], 1);
    assert!(said.contains("database.collection"), "{said}");

    home.ok(&["stop", "orders"]);
    let events = home.ok(&["report", "orders", "--json"]);
    assert!(events.contains("people") && !events.contains("hush"), "{events}");
    let mut files = 0;
    let mut folders = vec![home.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            // The spool holds what the source's oplog does; nothing was written to the source while it was followed.
            let Ok(bytes) = std::fs::read(entry.path()) else { continue };
            files += 1;
            let found = bytes.windows(9).any(|window| window == b"hush-hush");
            assert!(!found, "a value is in {}", entry.path().display());
        }
    }
    assert!(files > 3, "{files} files");
}
