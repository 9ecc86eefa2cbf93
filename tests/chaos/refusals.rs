//! A destination that is there and refuses: a quota, a full disk; and logins that are taken away on either side. Paused
//! with the reason, on by itself when it is gone, nothing skipped.

use crate::{
    common::compare,
    ferry::{Ferry, Home},
    guarded::{Guarded, PASSWORD},
    kills::cut_over,
    load::{Load, fill},
};
use bson::doc;
use mongodb::Client;
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::{collections::BTreeMap, time::Duration};

/// AtlasError, which is also the answer of a hosted cluster that is over its quota.
const QUOTA: i32 = 8000;
const OUT_OF_DISK_SPACE: i32 = 14031;
const WRITES: [&str; 4] = ["insert", "update", "delete", "findAndModify"];

/// These commands of mongoferry fail with that code until [`accept`].
async fn refuse(destination: &Client, code: i32, commands: &[&str]) {
    let data = doc! { "errorCode": code, "failCommands": commands, "appName": "mongoferry" };
    let fail = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    destination.database("admin").run_command(fail).await.unwrap();
}

async fn accept(destination: &Client) {
    let pass = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    destination.database("admin").run_command(pass).await.unwrap();
}

fn is_keeping_up(snapshot: &serde_json::Value) -> bool {
    ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
        && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000)
}

fn is_told(snapshot: &serde_json::Value, code: i32) -> bool {
    snapshot["error"]["why"].as_str().is_some_and(|why| why.contains(&format!("code {code} ")))
}

/// Paused for that code, in that phase, and still so after a while; then goes on.
async fn refused_for_a_while(ferry: &mut Ferry, destination: &Client, (code, phase): (i32, &[&str])) {
    ferry.wait(&format!("the pause for code {code}"), |snapshot| {
        let left = snapshot["left_phase"].as_str().unwrap_or_default();
        snapshot["phase"] == "paused" && phase.contains(&left) && is_told(snapshot, code)
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ferry.phase() == "paused" && is_told(&ferry.snapshot(), code), "{}", ferry.story());
    accept(destination).await;
    ferry.wait("going on by itself", |snapshot| snapshot["phase"] != "paused" && snapshot["error"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_and_a_full_disk_on_the_destination() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let arguments = ["--setParameter", "enableTestCommands=1"].map(String::from).to_vec();
    let (a, b) = (SetOptions::single("rsA"), SetOptions { arguments, ..SetOptions::single("rsB") });
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let (a, b) = (a.expect("source"), b.expect("destination"));
    let (source, destination) = (a.client().await.unwrap(), b.client().await.unwrap());
    fill(&source, 12_000).await;
    let load = Load::start(&source);
    let home = Home::new(&a.uri(), &b.uri(), "throttle = \"1500kB/s\"");
    let mut ferry = Ferry::start(&home);
    ferry.wait("the copy at work", |snapshot| {
        snapshot["phase"] == "copying" && snapshot["copy"]["bytes"].as_u64().unwrap_or(0) > 0
    });
    refuse(&destination, QUOTA, &WRITES).await;
    refused_for_a_while(&mut ferry, &destination, (QUOTA, &["copying"])).await;
    assert_eq!(ferry.phase(), "copying", "the copy was over too early to show anything\n{}", ferry.story());

    // The indexes find no room.
    refuse(&destination, OUT_OF_DISK_SPACE, &["createIndexes"]).await;
    refused_for_a_while(&mut ferry, &destination, (OUT_OF_DISK_SPACE, &["copying", "indexing"])).await;
    ferry.wait("following", is_keeping_up);

    refuse(&destination, OUT_OF_DISK_SPACE, &WRITES).await;
    refused_for_a_while(&mut ferry, &destination, (OUT_OF_DISK_SPACE, &["following", "ready"])).await;
    ferry.wait("following on", is_keeping_up);

    // Killed while it waits; the next one waits for the same.
    refuse(&destination, QUOTA, &WRITES).await;
    ferry.wait("the pause", |snapshot| snapshot["phase"] == "paused" && is_told(snapshot, QUOTA));
    assert!(ferry.kill());
    let mut ferry = Ferry::start(&home);
    ferry.wait("the same reason after a restart", |snapshot| is_told(snapshot, QUOTA));
    accept(&destination).await;
    ferry.wait("following after a restart", is_keeping_up);
    load.stop().await;

    // In the cutover too.
    ferry.wait("ready", |snapshot| snapshot["can_cutover"] == true);
    ferry.say("cutover");
    ferry.wait("the quiet source", |snapshot| snapshot["source_quiet_ms"].as_u64().is_some_and(|quiet| quiet > 1_500));
    refuse(&destination, QUOTA, &["collMod"]).await;
    ferry.say("continue");
    ferry.wait("the reason while finalizing", |snapshot| snapshot["phase"] == "finalizing" && is_told(snapshot, QUOTA));
    assert_eq!(ferry.snapshot()["can_write"], false);
    accept(&destination).await;
    ferry.wait_for_phase(&["completed"]);
    assert!(ferry.end().success(), "{}", ferry.story());
    compare::assert_identical(&source, &destination).await;
}

/// A set with a login, a user for mongoferry with these roles, and the lines of a plan for it.
async fn with_login(name: &str, roles: &[&str], secret: &std::path::Path) -> (Guarded, String) {
    let guarded = Guarded::start_with(name, None, None).await;
    guarded.create_user("ferry", roles).await;
    let login = format!("username = \"ferry\"\npassword_file = \"{}\"\n", secret.display());
    (guarded, login)
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_taken_away_on_both_sides() {
    let _turn = crate::turn().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), PASSWORD).unwrap();
    let reads = ["readAnyDatabase", "clusterMonitor"];
    let writes = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"];
    let ((a, reader), (b, writer)) =
        tokio::join!(with_login("rsA", &reads, secret.path()), with_login("rsB", &writes, secret.path()));
    let (source, destination) = (a.client().await, b.client().await);
    fill(&source, 12_000).await;
    let load = Load::start(&source);
    let home = Home::new(&a.uri(), &b.uri(), "throttle = \"1500kB/s\"");
    let plan = std::fs::read_to_string(&home.plan).unwrap();
    let plan = plan.replace("[destination]", &format!("{reader}[destination]"));
    std::fs::write(&home.plan, plan.replace("[options]", &format!("{writer}[options]"))).unwrap();
    let mut ferry = Ferry::start(&home);
    ferry.wait("the copy at work", |snapshot| {
        snapshot["phase"] == "copying" && snapshot["copy"]["bytes"].as_u64().unwrap_or(0) > 0
    });
    let paused = |snapshot: &serde_json::Value| {
        // A sign-in that is refused has words of its own, without a code.
        let signed_out = snapshot["error"]["why"].as_str().is_some_and(|why| why.contains("Authentication failed"));
        snapshot["phase"] == "paused" && (signed_out || is_told(snapshot, 13) || is_told(snapshot, 391))
    };
    let users: [(&Guarded, &str, &[&str]); 2] = [(&a, "source", &reads), (&b, "destination", &writes)];
    for (phase, users) in [("copying", &users[..1]), ("following", &users[..])] {
        for (guarded, side, roles) in users {
            if phase == "following" {
                ferry.wait("following", is_keeping_up);
            }
            let what = format!("{side} in {phase}");
            guarded.run(doc! { "revokeRolesFromUser": "ferry", "roles": *roles }).await;
            ferry.wait(&format!("the pause without rights, {what}"), paused);
            assert_eq!(ferry.snapshot()["error"]["side"], *side, "{}", ferry.story());
            guarded.run(doc! { "grantRolesToUser": "ferry", "roles": *roles }).await;
            ferry.wait(&format!("going on, {what}"), |snapshot| snapshot["phase"] != "paused");
            // Connections that were logged in as somebody who is gone stay without a login.
            guarded.run(doc! { "dropUser": "ferry" }).await;
            ferry.wait(&format!("the pause without a login, {what}"), paused);
            guarded.create_user("ferry", roles).await;
            ferry.wait(&format!("going on with a login, {what}"), |snapshot| snapshot["phase"] != "paused");
        }
    }
    ferry.wait("following", is_keeping_up);
    load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
}
