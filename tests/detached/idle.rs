//! An engine that nobody looks at, on a source that nobody writes, does next to nothing.

use crate::{common, home::Home};
use bson::{Document, doc};
use std::time::Duration;

fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_it_rests() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    let engine = home.engine();
    let seconds = std::env::var("MONGOFERRY_IDLE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let before = cpu_s(engine);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let share = (cpu_s(engine) - before) / seconds as f64 * 100.0;
    eprintln!("idle for {seconds} s: {share:.2} % of a core");
    // A debug build on a busy machine; a loop that does not wait would be at a hundred.
    assert!(share < 20.0, "{share} %");
    assert_eq!(home.status("orders")["phase"], "ready");
    home.ok(&["stop", "orders"]);
}
