//! What an operator has to cure: the migration is paused with the reason, and goes on by itself when it is gone.

use crate::{
    common::{self, compare},
    ferry::{Ferry, Home},
    guarded::{Guarded, PASSWORD},
    kills::cut_over,
    load::{Load, fill},
};
use bson::doc;
use std::{collections::BTreeMap, process::Command, time::Duration};

fn is_keeping_up(snapshot: &serde_json::Value) -> bool {
    ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
        && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000)
}

/// Paused for a reason that names `word`.
fn is_paused_for(snapshot: &serde_json::Value, word: &str) -> bool {
    snapshot["phase"] == "paused" && snapshot["error"]["why"].as_str().is_some_and(|why| why.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_taken_away_and_writes_blocked() {
    let _turn = crate::turn().await;
    let (pair, guarded) = (common::pair().await, Guarded::start().await);
    let (source, destination) = (pair.source.client().await.unwrap(), guarded.client().await);
    let admin = destination.database("admin");
    // Without clusterMonitor it may not read the oplog.
    let roles = || doc! { "roles": ["readWriteAnyDatabase", "dbAdminAnyDatabase"] };
    let mut create = doc! { "createUser": "ferry", "pwd": PASSWORD };
    create.extend(roles());
    admin.run_command(create).await.unwrap();
    fill(&source, 12_000).await;
    let load = Load::start(&source);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), PASSWORD).unwrap();
    let login = format!("username = \"ferry\"\npassword_file = \"{}\"\n", secret.path().display());
    let home = Home::new(&pair.source.uri(), &guarded.endpoint("ferry").uri, "");
    let plan = std::fs::read_to_string(&home.plan).unwrap().replace("[options]", &format!("{login}[options]"));
    std::fs::write(&home.plan, plan).unwrap();
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", is_keeping_up);

    admin.run_command(doc! { "revokeRolesFromUser": "ferry", "roles": ["readWriteAnyDatabase"] }).await.unwrap();
    ferry.wait("the pause for the missing right", |snapshot| is_paused_for(snapshot, "code 13"));
    let mut grant = doc! { "grantRolesToUser": "ferry" };
    grant.extend(roles());
    admin.run_command(grant).await.unwrap();
    ferry.wait("going on by itself", is_keeping_up);

    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": true }).await.unwrap();
    ferry.wait("the pause for the write block", |snapshot| is_paused_for(snapshot, "code 371"));
    // Who pauses it meanwhile keeps it paused.
    ferry.say("pause");
    tokio::time::sleep(Duration::from_millis(500)).await;
    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": false }).await.unwrap();
    ferry.wait("the operator's pause alone", |snapshot| snapshot["phase"] == "paused" && snapshot["error"].is_null());
    ferry.say("resume");
    ferry.wait("going on", is_keeping_up);
    load.stop().await;
    // What it cannot notice is said.
    let began = std::time::Instant::now();
    while ferry.told("foreign-unseen") == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", ferry.story());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // The journal and the log hold no password.
    let found = Command::new("grep").args(["-rlaF", PASSWORD]).arg(home.folder.path()).output().unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_keep_everything_and_a_second_mongoferry_is_refused() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 12_000).await;
    let load = Load::start(&source);
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "throttle = \"2MB/s\"\nverify = \"off\"");
    for phase in ["copying", "following"] {
        let mut ferry = Ferry::start(&home);
        ferry.wait_for_phase(&[phase]);
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (status, took, story) = ferry.terminate();
        assert!(status.success(), "{status}\n{story}");
        assert!(took < Duration::from_secs(6), "{took:?}\n{story}");
        assert!(story.contains("the migration is kept"), "{story}");
    }
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", is_keeping_up);
    // The same state folder.
    let mut same = Ferry::start(&home);
    assert!(!same.end().success());
    assert!(same.story().contains("is running already"), "{}", same.story());
    // Another host, as far as the destination can tell; it would even clear the destination.
    let other = Home::new(&pair.source.uri(), &pair.destination.uri(), "clear_destination = true");
    let mut second = Ferry::start(&other);
    assert!(!second.end().success());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let story = second.story();
    assert!(story.contains("another mongoferry works on this destination") && story.contains(&host), "{story}");
    assert!(!destination.database("shop").list_collection_names().await.unwrap().is_empty(), "it cleared");
    ferry.wait("following", is_keeping_up);
    load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
    let left = destination.list_database_names().await.unwrap();
    assert!(!left.iter().any(|name| name.starts_with("mongoferry")), "{left:?}");
    assert!(!home.state().join("spool").exists(), "the spool is not wiped");
}

/// A small disk of its own; unmounted when dropped. Needs root, which CI is.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_path_buf()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_this_host_pauses_and_nothing_is_skipped() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 12_000).await;
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "throttle = \"400kB/s\"\nverify = \"off\"");
    let Some(disk) = SmallDisk::mount(&home.folder.path().join("home/state"), "12m") else {
        eprintln!("NOT SHOWN: a small disk needs the right to mount one");
        return;
    };
    let load = Load::start(&source);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flooding = crate::short_oplog::flood(&source, stop.clone());
    let mut ferry = Ferry::start(&home);
    ferry.wait("the pause", |snapshot| is_paused_for(snapshot, "No space left"));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ferry.phase(), "paused", "{}", ferry.story());
    disk.grow("400m");
    ferry.wait("going on", |snapshot| snapshot["phase"] != "paused" && snapshot["error"].is_null());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flooding.await.unwrap();
    ferry.wait("following", is_keeping_up);
    load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
}
