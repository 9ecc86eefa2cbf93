//! A source whose oplog is far too small: the spool makes up for it, and when it is too late there is a way back.

use crate::{
    common::compare,
    ferry::{Ferry, Home},
    kills::cut_over,
    load::{Load, fill},
};
use bson::{Document, doc};
use mongodb::Client;
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Truncates at every checkpoint, and makes one every second (OPLOG.md D: truncation is lazy).
async fn forgetful() -> (ReplicaSet, ReplicaSet) {
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let arguments = ["--oplogSize", "16", "--syncdelay", "1"].map(String::from).to_vec();
    let source = SetOptions { arguments, ..SetOptions::single("rsA") };
    let destination = SetOptions::single("rsB");
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &source), ReplicaSet::start(&mongod, &destination));
    (a.expect("source"), b.expect("destination"))
}

/// Writes that fill the oplog and the spool: about 3 MB/s of what hardly compresses.
pub fn flood(client: &Client, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let flooded = client.database("shop").collection::<Document>("flooded");
    tokio::spawn(async move {
        let (mut n, mut seed) = (0_i64, 77);
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let pad: String = (0..30_000).map(|_| char::from(b'a' + crate::random(&mut seed, 26) as u8)).collect();
            let change = doc! { "$set": { "pad": pad, "n": n } };
            flooded.update_one(doc! { "_id": n % 40 }, change).upsert(true).await.unwrap();
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_a_tenth_of_the_copy_is_enough() {
    let _turn = crate::turn_alone().await;
    let (a, b) = forgetful().await;
    let (source, destination) = (a.client().await.unwrap(), b.client().await.unwrap());
    fill(&source, 70_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (load, flooding) = (Load::start(&source), flood(&source, stop.clone()));
    let home = Home::new(&a.uri(), &b.uri(), "throttle = \"1MB/s\"\nverify = \"off\"");
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["copying"]);
    let (began, mut windows) = (Instant::now(), Vec::new());
    while ferry.phase() == "copying" {
        windows.extend(ferry.snapshot()["oplog_window_ms"].as_u64());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(400), "{}", ferry.story());
    }
    let copied = began.elapsed();
    // The first measurements see what the oplog held before it was flooded.
    let late = &windows[windows.len() / 2..];
    let window = Duration::from_millis(late.iter().sum::<u64>() / late.len().max(1) as u64);
    ferry.wait("following", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000));
    stop.store(true, Ordering::Relaxed);
    flooding.await.unwrap();
    load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
    eprintln!("copied in {copied:?} with an oplog window of {window:?}; byte-equal");
    // The short form leaves room for a machine that cannot flood the oplog as fast as a quiet one. What counts is that the
    // oplog forgot what the end of the copy needs.
    let enough = if crate::rounds(1) > 1 { window * 10 <= copied } else { window * 3 <= copied * 2 };
    assert!(enough, "the window was {window:?} of a copy of {copied:?}: not short enough to show anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_over_while_away_is_said_and_repaired() {
    let _turn = crate::turn().await;
    let (a, b) = forgetful().await;
    let (source, destination) = (a.client().await.unwrap(), b.client().await.unwrap());
    fill(&source, 20_000).await;
    let load = Load::start(&source);
    let home = Home::new(&a.uri(), &b.uri(), "");
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000));
    // What only a comparison can find: nothing of it is in any oplog that is left.
    assert!(ferry.kill());
    let shop = source.database("shop");
    shop.collection::<Document>("small10").update_many(doc! {}, doc! { "$set": { "away": true } }).await.unwrap();
    shop.collection::<Document>("small11").delete_many(doc! { "_id": { "$lt": 25 } }).await.unwrap();
    shop.collection::<Document>("small12").drop().await.unwrap();
    shop.collection::<Document>("small13").drop_indexes().await.unwrap();
    shop.collection::<Document>("appeared").insert_one(doc! { "_id": 1 }).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = flood(&source, stop.clone());
    let oplog = source.database("local").collection::<Document>("oplog.rs");
    let newest = oplog.find_one(doc! {}).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    let newest = newest.get_timestamp("ts").unwrap();
    let began = Instant::now();
    loop {
        let oldest = oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).await.unwrap().unwrap();
        if oldest.get_timestamp("ts").unwrap() > newest {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(100), "the oplog does not roll over: {oldest} and {newest}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    stop.store(true, Ordering::Relaxed);
    flooding.await.unwrap();
    eprintln!("rolled over after {:?}", began.elapsed());
    let mut ferry = Ferry::start(&home);
    ferry.wait("the pause", |snapshot| snapshot["phase"] == "paused" && !snapshot["error"].is_null());
    let why = ferry.snapshot()["error"]["what"].to_string();
    assert!(why.contains("no longer holds the position"), "{why}");
    ferry.say("resume");
    ferry.wait("following again", |snapshot| {
        ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
            && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000)
    });
    assert!(ferry.told("compared") == 1, "{}", ferry.story());
    load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
}
