//! The cutover window across restarts of the engine.

use crate::{
    common::{self, compare},
    home::{Home, signal},
};
use bson::{Document, doc};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_outlives_the_engine_and_so_does_the_end_of_the_window() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..500).map(|n| doc! { "_id": n })).await.unwrap();
    let home = Home::new();
    let times = "cutover_window = \"30s\"\nextend_by = \"10s\"";
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), times);
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let ready = home.wait("orders", "ready", |status| status["can_cutover"] == true);
    home.ok(&["extend", "orders"]);
    let extended = home.status("orders");
    let deadline = |status: &serde_json::Value| {
        status["cutover_deadline"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).expect("a deadline")
    };
    assert_eq!(deadline(&extended).as_second() - deadline(&ready).as_second(), 10);
    let said = home.ok(&["status", "orders"]);
    assert!(said.contains("left to cut over; the window ends") && said.contains(" here)"), "{said}");

    signal(home.engine(), "-KILL");
    home.wait_for_engines(0);
    home.ok(&["resume", "orders"]);
    let resumed = home.wait("orders", "ready again", |status| status["can_cutover"] == true);
    assert_eq!((&resumed["cutover_deadline"], &resumed["extensions"]), (&extended["cutover_deadline"], &1.into()));
    home.ok(&["extend", "orders"]);
    let twice = home.status("orders");
    assert_eq!(deadline(&twice).as_second() - deadline(&extended).as_second(), 10);

    // The window ends while no engine runs: it is absolute.
    signal(home.engine(), "-KILL");
    home.wait_for_engines(0);
    let left = deadline(&twice).as_millisecond() - jiff::Timestamp::now().as_millisecond() + 500;
    tokio::time::sleep(std::time::Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
    home.ok(&["resume", "orders"]);
    home.wait("orders", "expired", |status| status["phase"] == "expired");
    assert!(home.fails(&["cutover", "orders"], 4).contains("the cutover window passed; mongoferry resume orders"));
    orders.insert_one(doc! { "_id": "after expiry" }).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let copy = destination.database("shop").collection::<Document>("orders");
    assert_eq!(copy.count_documents(doc! { "_id": "after expiry" }).await.unwrap(), 0, "it synced after expiry");
    home.ok(&["resume", "orders"]);
    home.wait("orders", "ready after expiry", |status| status["can_cutover"] == true);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    let report: serde_json::Value = serde_json::from_str(&home.ok(&["report", "orders", "--json"])).unwrap();
    let extensions = report["extensions"].as_array().unwrap();
    assert_eq!(extensions.len(), 2, "{extensions:#?}");
    assert!(extensions.iter().all(|one| one["by"].as_str().unwrap().contains("@no-tty")), "{extensions:#?}");
    compare::assert_identical(&source, &destination).await;
}
