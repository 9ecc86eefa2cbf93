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
