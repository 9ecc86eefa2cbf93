//! How fast a running migration may go: the limit that an operator sets, and what the destination's secondaries can take.

use crate::{
    common::{self, compare},
    home::{Home, PATIENCE, signal},
};
use bson::{Binary, Document, doc, spec::BinarySubtype};
use mongodb::Client;
use std::time::{Duration, Instant};

const DOCUMENT: usize = 10_000;

async fn fill(client: &Client, megabytes: usize) {
    let orders = client.database("shop").collection::<Document>("orders");
    let bytes: Vec<u8> = (0..DOCUMENT).map(|at| (at * 31) as u8).collect();
    let filling = Binary { subtype: BinarySubtype::Generic, bytes };
    for part in 0..megabytes {
        let one = |n: usize| doc! { "_id": (part * 100 + n) as i64, "x": filling.clone() };
        orders.insert_many((0..100).map(one)).await.unwrap();
    }
}

fn copied(status: &serde_json::Value) -> u64 {
    status["copy"]["bytes"].as_u64().unwrap_or_else(|| panic!("{status:#}"))
}

/// Bytes per second over so many seconds.
fn rate(home: &Home, seconds: u64) -> f64 {
    let (before, began) = (copied(&home.status("orders")), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let after = home.status("orders");
    assert_eq!(after["phase"], "copying", "the copy is too short for this test");
    (copied(&after) - before) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_source_reads_is_changed_while_it_copies() {
    let _turn = crate::turn_alone().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 140).await;
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "throttle = \"4MB/s\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "copying", |status| status["phase"] == "copying" && copied(status) > 0);
    // A loaded machine may be slower than the limit, and a batch more or less is seen in so short a time.
    let slow = rate(&home, 5);
    assert!(slow < 4.8e6, "{slow} bytes per second of 4,000,000");

    for bad in ["20", "0MB/s", "fast", ""] {
        let said = home.fails(&["throttle", "orders", bad], 1);
        assert!(said.contains("is not a rate"), "{said}");
    }
    let said = home.ok(&["throttle", "orders", "12MB/s"]);
    assert!(said.contains("orders: limit on source reads: 12 MB/s"), "{said}");
    let fast = rate(&home, 3);
    assert!(fast < 14e6 && fast > slow * 1.3, "{fast} bytes per second of 12,000,000, after {slow}");

    // It outlives the engine.
    signal(home.engine(), "-KILL");
    home.wait_for_engines(0);
    home.ok(&["resume", "orders"]);
    let resumed = home.wait("orders", "copying again", |status| status["phase"] == "copying" && copied(status) > 0);
    assert_eq!(resumed["throttle_bytes_per_s"], 12_000_000);
    home.ok(&["throttle", "orders", "1MB/s"]);
    let least = rate(&home, 4);
    assert!(least < 1.6e6, "{least} bytes per second of 1,000,000");
    let began = Instant::now();
    home.ok(&["throttle", "orders", "off"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    assert!(began.elapsed() < Duration::from_secs(40), "it went on slowly: {:?}", began.elapsed());
    assert_eq!(home.status("orders")["throttle_bytes_per_s"], serde_json::Value::Null);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    home.wait_for_engines(0);
    let refused = home.fails(&["throttle", "orders", "1MB/s"], 1);
    assert!(refused.contains("it has ended"), "{refused}");
    let report = home.ok(&["report", "orders"]);
    assert!(report.contains("from 4 MB/s to 12 MB/s") && report.contains("from 1 MB/s to off"), "{report}");
    compare::assert_identical(&source, &destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_waits_for_a_secondary_of_the_destination() {
    let _turn = crate::turn_alone().await;
    let pair = common::pair_of(3).await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 80).await;
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "throttle = \"2MB/s\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "copying", |status| status["phase"] == "copying" && copied(status) > 0);

    // It applies nothing any more, and votes on: the majority is the other two.
    let (port, secondary) = secondary(&pair.destination.ports()).await;
    let admin = secondary.database("admin");
    admin.run_command(doc! { "fsync": 1, "lock": true }).await.unwrap();
    let began = Instant::now();
    let held = home.wait("orders", "held back", |status| !status["holding_back"].is_null());
    let why = held["holding_back"].as_str().unwrap();
    assert!(why.contains(&format!(":{port} is ")) && why.ends_with(" behind"), "{why}");
    assert!(began.elapsed() > Duration::from_secs(4), "held back for nothing: {why}");
    assert!(home.ok(&["status", "orders"]).contains("holding back: "));
    let standing = standing(&home, "copying", copied);

    admin.run_command(doc! { "fsyncUnlock": 1 }).await.unwrap();
    home.wait("orders", "going on", |status| status["holding_back"].is_null() && copied(status) > standing);
    home.ok(&["throttle", "orders", "off"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    let report = home.ok(&["report", "orders"]);
    assert!(report.contains("writing holds back") && report.contains("writing goes on"), "{report}");
    compare::assert_identical(&source, &destination).await;
}

/// What was on its way arrives, at the pace of a limit; then nothing moves while it is held back. What stands then.
fn standing(home: &Home, phase: &str, count: impl Fn(&serde_json::Value) -> u64) -> u64 {
    let mut standing = count(&home.status("orders"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_secs(4));
        let now = home.status("orders");
        assert!(!now["holding_back"].is_null() && now["phase"] == phase, "{now:#}");
        if count(&now) == standing {
            return standing;
        }
        standing = count(&now);
        assert!(Instant::now() < deadline, "it goes on though it holds back: {now:#}");
    }
}

/// What has waited for more than a minute is much; a member that follows with pain has to bear it.
#[tokio::test(flavor = "multi_thread")]
async fn catching_up_waits_for_a_secondary_of_the_destination() {
    let _turn = crate::turn().await;
    let pair = common::pair_of(3).await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 1).await;
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    home.ok(&["pause", "orders"]);
    // The primary writes a no-op every ten seconds, which this one does not get.
    let (port, secondary) = secondary(&pair.destination.ports()).await;
    let admin = secondary.database("admin");
    admin.run_command(doc! { "fsync": 1, "lock": true }).await.unwrap();
    let began = Instant::now();
    let small = source.database("shop").collection::<Document>("small");
    for part in 0..40 {
        small.insert_many((0..10_000).map(|n| doc! { "_id": part * 10_000 + n })).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(63).saturating_sub(began.elapsed())).await;

    home.ok(&["resume", "orders"]);
    let held = home.wait("orders", "held back", |status| !status["holding_back"].is_null());
    assert!(held["holding_back"].as_str().unwrap().contains(&format!(":{port} is ")), "{held:#}");
    let waiting = standing(&home, "following", |status| status["ops_waiting"].as_u64().unwrap());
    assert!(waiting > 0, "everything was applied before it was held back: {held:#}");

    admin.run_command(doc! { "fsyncUnlock": 1 }).await.unwrap();
    home.wait("orders", "ready", |status| status["holding_back"].is_null() && status["can_cutover"] == true);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    compare::assert_identical(&source, &destination).await;
}

/// No member is behind but those that shall be; what slows writers down is that they are the majority.
#[tokio::test(flavor = "multi_thread")]
async fn the_copy_waits_for_the_flow_control_of_the_destination() {
    let _turn = crate::turn().await;
    let pair = common::pair_of(3).await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 60).await;
    delay_secondaries(&destination, 3).await;
    let sooner = doc! { "setParameter": 1, "flowControlTargetLagSeconds": 2 };
    destination.database("admin").run_command(sooner).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "throttle = \"2MB/s\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let held = home.wait("orders", "held back", |status| !status["holding_back"].is_null());
    assert_eq!(held["holding_back"], "its majority is behind, and its flow control slows writers down");
    home.wait("orders", "going on", |status| status["holding_back"].is_null());
    delay_secondaries(&destination, 0).await;
    home.ok(&["throttle", "orders", "off"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    compare::assert_identical(&source, &destination).await;
}

/// All members but the primary apply everything so many seconds late, on purpose.
async fn delay_secondaries(client: &Client, seconds: i64) {
    let admin = client.database("admin");
    let primary = admin.run_command(doc! { "hello": 1 }).await.unwrap().get_str("primary").unwrap().to_string();
    let reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
    let mut config = reply.get_document("config").unwrap().clone();
    config.insert("version", config.get_i32("version").unwrap() + 1);
    for member in config.get_array_mut("members").unwrap() {
        let member = member.as_document_mut().unwrap();
        if member.get_str("host").unwrap() != primary {
            member.insert("priority", 0);
            member.insert("secondaryDelaySecs", seconds);
        }
    }
    admin.run_command(doc! { "replSetReconfig": config }).await.unwrap();
}

/// A secondary of a set, and its port.
async fn secondary(ports: &[u16]) -> (u16, Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for port in ports {
            let client = Client::with_uri_str(format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await;
            let client = client.unwrap();
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
            if hello.get_bool("secondary").unwrap_or(false) {
                return (*port, client);
            }
        }
        assert!(Instant::now() < deadline, "no secondary at {ports:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
