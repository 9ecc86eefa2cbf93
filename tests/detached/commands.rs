//! A whole migration driven by nothing but commands.

use crate::{
    common::{self, compare},
    home::{Home, signal},
};
use bson::{Document, doc};
use mongodb::Collection;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

async fn fill(collection: &Collection<Document>, count: i32) {
    collection.insert_many((0..count).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_status_cutover_report() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    fill(&orders, 2_000).await;
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    let plan = plan.to_str().unwrap();

    // Before the start nothing is known, and everything says so.
    assert_eq!(home.ok(&["list"]), "no migrations on this host\n");
    assert!(home.fails(&["status"], 1).contains("no migration on this host"));

    let name = home.ok(&["start", "--plan", plan, "--accept-warnings"]);
    assert_eq!(name, "orders\n");
    let engine = home.engine();
    detached(engine);
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = home.state().join("orders");
    assert_eq!((mode(folder.clone()), mode(folder.join("socket"))), (0o700, 0o600));

    let listed: Value = serde_json::from_str(&home.ok(&["list", "--json"])).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["engine"]), (&"orders".into(), &"running".into()), "{listed:#}");
    assert_eq!(listed[0]["pid"], engine);
    assert!(home.ok(&["list"]).contains("running, process"));

    home.wait("orders", "following", |status| status["phase"] == "following" || status["phase"] == "ready");
    assert!(home.ok(&["pause"]).contains("orders: paused"), "the only migration needs no name");
    assert!(home.fails(&["pause", "orders"], 3).contains("paused already"));
    let refused = home.fails(&["cutover", "orders"], 3);
    assert!(refused.contains("refused"), "{refused}");
    orders.insert_one(doc! { "_id": "while paused" }).await.unwrap();
    assert!(home.ok(&["resume", "orders"]).contains("orders: following"));
    let ready = home.wait("orders", "ready", |status| status["can_cutover"] == true);
    assert_eq!(ready["source"]["set"], "rsA");
    assert!(ready["lag_ms"].is_u64() && ready["cutover_deadline"].is_string(), "{ready:#}");

    assert!(home.ok(&["extend", "orders"]).contains("cutover window ends"));
    let extended = home.status("orders");
    assert_eq!(extended["extensions"], 1);
    assert!(extended["cutover_deadline"].as_str() > ready["cutover_deadline"].as_str(), "{extended:#}");

    // Begun, left, begun again and followed to the end.
    home.ok(&["cutover", "orders", "--no-wait"]);
    assert_eq!(
        home.wait("orders", "cutover", |status| status["phase"] == "cutover")["cutover"]["step"],
        "stop-application"
    );
    home.ok(&["cutover", "orders", "--back"]);
    home.wait("orders", "ready again", |status| status["can_cutover"] == true);
    let printed = home.ok(&["cutover", "orders"]);
    assert!(printed.contains("DONE"), "{printed}");
    let done = home.status("orders");
    assert_eq!((&done["phase"], &done["can_write"]), (&"completed".into(), &true.into()), "{done:#}");
    assert_eq!(done["verification"]["mismatches"], 0);
    // The rows of the collections cross the socket by themselves.
    let lines = home.ok(&["attach", "orders", "--plain", "--json"]);
    let mut lines = lines.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.find(|line| line["snapshot"].is_object()).expect("a snapshot");
    let rows = [&last["snapshot"]["collections"], &last["snapshot"]["verification"]["collections"]];
    assert_eq!(rows.map(|rows| &rows[0]["namespace"]), ["shop.orders", "shop.orders"], "{last:#}");

    let report = home.ok(&["report", "orders"]);
    assert!(report.contains("You have successfully migrated") && report.contains("0 documents differ"), "{report}");
    let report: Value = serde_json::from_str(&home.ok(&["report", "orders", "--json"])).unwrap();
    let started = report["events"].as_array().unwrap().iter().find(|event| event["kind"] == "started").unwrap();
    assert!(started["text"].as_str().unwrap().contains("@no-tty"), "{started}");
    assert!(home.ok(&["verify", "orders"]).contains("0 differ"));
    compare::assert_identical(&source, &destination).await;

    // What an engine leaves behind is shown without it.
    signal(engine, "-TERM");
    home.wait_for_engines(0);
    assert!(!folder.join("socket").exists());
    let ended = home.status("orders");
    assert_eq!((&ended["phase"], &ended["engine"]), (&"completed".into(), &"ended".into()), "{ended:#}");
    assert!(home.fails(&["pause", "orders"], 1).contains("it has ended"));
    assert!(home.ok(&["attach", "orders", "--plain"]).contains("DONE"));
    assert!(home.ok(&["cleanup", "orders"]).contains("the report stays"));
    assert!(!folder.join("journal.redb").exists());
    assert!(home.ok(&["report", "orders"]).contains("You have successfully migrated"));
    assert!(home.ok(&["cleanup", "orders", "--forget"]).contains("removed"));
    assert_eq!(home.ok(&["list"]), "no migrations on this host\n");
}

/// Own session, no terminal, nothing of the launcher's open, no secret or plan in its arguments.
fn detached(pid: u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (session, terminal) = (fields[3], fields[4]);
    assert_eq!((session, terminal), (pid.to_string().as_str(), "0"), "{stat}");
    for standard in 0..3 {
        let target = fs::read_link(format!("/proc/{pid}/fd/{standard}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(arguments.ends_with(b"\0engine\0") && arguments.iter().filter(|byte| **byte == 0).count() == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_start_says_so_and_leaves_no_engine() {
    let _turn = crate::turn().await;
    let home = Home::new();
    let nowhere = home.plan("lost", "mongodb://127.0.0.1:1/?directConnection=true", "mongodb://127.0.0.1:2/", "");
    let said = home.fails(&["start", "--plan", nowhere.to_str().unwrap()], 2);
    assert!(said.contains("validation failed"), "{said}");
    home.wait_for_engines(0);
    assert_eq!(home.ok(&["list"]), "no migrations on this host\n");
    // The folder for the state cannot be made.
    fs::write(home.path().join("state-file"), "").unwrap();
    let mut command = home.command(&["start", "--plan", nowhere.to_str().unwrap()]);
    let output = command.env("MONGOFERRY_HOME", home.path().join("state-file")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("this host") && said.contains("MONGOFERRY_HOME"), "{said}");
}
