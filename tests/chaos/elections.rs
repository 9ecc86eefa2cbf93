//! Elections and outages of both sides in every phase: three-member sets, step-downs, members killed and started again,
//! all of them gone for a while.

use crate::{
    common::compare,
    ferry::{Ferry, Home},
    load::{Load, fill},
    random, rounds, seed,
};
use bson::doc;
use mongoferry::demo::{
    ReplicaSet, SetOptions,
    releases::{self, Mongod},
};
use std::{collections::BTreeMap, time::Duration};

pub async fn three(mongod: &Mongod, name: &str) -> ReplicaSet {
    let options = SetOptions { members: 3, cache_gb: 0.25, ..SetOptions::single(name) };
    ReplicaSet::start(mongod, &options).await.expect("a set of three")
}

/// One fault of one set; what it was.
async fn fault(set: &mut ReplicaSet, seed: &mut u64) -> &'static str {
    let primary = set.primary().await;
    match (random(seed, 4), primary) {
        (0, _) => {
            let client = set.client().await.unwrap();
            let step_down = doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 3, "force": true };
            // It ends the connection on the way, or there is no primary right now.
            let _ = client.database("admin").run_command(step_down).await;
            "step-down"
        }
        (1, Some(primary)) => {
            set.kill(primary);
            tokio::time::sleep(Duration::from_millis(500 + random(seed, 4_000))).await;
            set.restart(primary).unwrap();
            "primary killed"
        }
        (2, Some(primary)) => {
            set.freeze(primary, true).unwrap();
            tokio::time::sleep(Duration::from_millis(3_000 + random(seed, 3_000))).await;
            set.freeze(primary, false).unwrap();
            "primary silent"
        }
        _ => {
            (0..3).for_each(|index| set.kill(index));
            tokio::time::sleep(Duration::from_millis(1_000 + random(seed, 3_000))).await;
            (0..3).for_each(|index| set.restart(index).unwrap());
            "all killed"
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_and_outages_on_both_sides() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let (source, destination) = tokio::join!(three(&mongod, "rsA"), three(&mongod, "rsB"));
    let mut sets = [source, destination];
    let (source, destination) = (sets[0].client().await.unwrap(), sets[1].client().await.unwrap());
    fill(&source, 25_000).await;
    let load = Load::start(&source);
    // The copy lasts for half of the faults.
    let options = format!("throttle = \"{}kB/s\"\nverify = \"off\"", 12_000 / rounds(6));
    let home = Home::new(&sets[0].uri(), &sets[1].uri(), &options);
    let mut seed = seed();
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["copying"]);
    let mut survived: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..rounds(6) {
        if round == rounds(6) / 2 {
            // The other half of the faults behind the copy.
            ferry.wait_for_phase(&["following", "ready"]);
        }
        let side = (round % 2) as usize;
        let phase = ferry.phase();
        let what = fault(&mut sets[side], &mut seed).await;
        let name = format!("{} {what} in {phase}", ["source", "destination"][side]);
        eprintln!("{name}");
        *survived.entry(name).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random(&mut seed, 3_000))).await;
        assert_ne!(ferry.phase(), "failed", "{}", ferry.story());
    }
    ferry.wait("following", |snapshot| {
        ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
            && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 10_000)
    });
    let written = load.stop().await;
    let incidents = ferry.told("retry");
    assert!(ferry.kill());
    // In the cutover, too: before Continue, and while it waits for the quiet, drains and finalizes.
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["ready"]);
    ferry.say("cutover");
    ferry.wait("the cutover", |snapshot| snapshot["cutover"]["step"] == "stop-application");
    for (side, name) in [(0, "source"), (1, "destination")] {
        if side == 1 {
            ferry.say("continue");
        }
        let what = fault(&mut sets[side], &mut seed).await;
        eprintln!("{name} {what} in cutover");
        *survived.entry(format!("{name} {what} in cutover")).or_default() += 1;
    }
    ferry.wait_for_phase(&["completed"]);
    let status = ferry.end();
    assert!(status.success(), "{status}:\n{}", ferry.story());
    compare::assert_identical(&source, &destination).await;
    eprintln!(
        "survived {} faults of members: {survived:?}, {incidents} retries told, {written} rounds written; byte-equal",
        survived.values().sum::<u32>()
    );
}
