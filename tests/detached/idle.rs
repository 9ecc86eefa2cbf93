//! An engine that nobody looks at, on a source that nobody writes, does next to nothing.

use crate::{common, home::Home};
use bson::{Document, doc};
use std::time::Duration;

fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn resident_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_it_rests() {
    let _turn = crate::turn_alone().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    let engine = home.engine();
    let seconds = std::env::var("MONGOFERRY_IDLE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(15);
    let (before, memory) = (cpu_s(engine), resident_kb(engine));
    for rest in (1..=seconds).rev() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if rest % 300 == 0 {
            eprintln!("{rest} s to go: {:.2} CPU seconds, {} KB", cpu_s(engine) - before, resident_kb(engine));
        }
    }
    let used = cpu_s(engine) - before;
    let share = used / seconds as f64 * 100.0;
    let after = resident_kb(engine);
    eprintln!(
        "idle for {seconds} s: {used:.2} CPU seconds, {share:.2} % of a core, {memory} KB before, {after} KB after"
    );
    assert!(after < memory + 32 * 1024, "{memory} KB before, {after} KB after");
    // A debug build on a busy machine; a loop that does not wait would be at a hundred.
    assert!(share < 20.0, "{share} %");
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    home.ok(&["stop", "orders"]);
}
