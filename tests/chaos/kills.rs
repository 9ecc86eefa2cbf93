//! `kill -9` of mongoferry at random moments.

use crate::{
    common::{self, compare},
    ferry::{Ferry, Home},
    load::{DOCUMENTS, Load, fill},
    random, rounds, seed,
};
use bson::{Document, doc, rawdoc};
use mongoferry::{engine::record::Record, store::Journal};
use std::{collections::BTreeMap, time::Duration};

/// Moments of the cutover at which to kill, in the order in which they come.
const MOMENTS: [&str; 6] = ["ready", "stop-application", "drain", "check-data", "finalize", "open"];

/// Cuts over by commands, killing the process at each of `moments` once; returns when it completed.
pub fn cut_over(home: &Home, moments: &[&str], killed: &mut BTreeMap<String, u32>) {
    let mut left = moments.iter().peekable();
    loop {
        let mut ferry = Ferry::start(home);
        let began = std::time::Instant::now();
        let moment = loop {
            let snapshot = ferry.snapshot();
            let phase = snapshot["phase"].as_str().unwrap_or_default().to_string();
            let step = snapshot["cutover"]["step"].as_str().unwrap_or_default().to_string();
            let now = if step.is_empty() { phase.clone() } else { step.clone() };
            if phase == "completed" {
                let status = ferry.end();
                assert!(status.success(), "{status}:\n{}", ferry.story());
                // Whatever happened before, nobody else wrote to the destination.
                let page = std::fs::read_to_string(home.state().join("report.md")).unwrap();
                assert!(!page.contains("somebody else writes"), "{page}");
                return;
            }
            // A moment that was too short to be seen is passed over.
            let place = |moment: &str| MOMENTS.iter().position(|known| *known == moment);
            while left.peek().is_some_and(|next| place(&now) > place(next)) {
                left.next();
            }
            if left.peek().is_some_and(|next| **next == now) {
                left.next();
                break now;
            }
            match (phase.as_str(), step.as_str()) {
                ("ready", _) => ferry.say("cutover"),
                ("cutover", "stop-application") => ferry.say("continue"),
                ("failed", _) => panic!("{}", ferry.story()),
                _ => {}
            }
            assert!(began.elapsed() < crate::ferry::PATIENCE, "{}", ferry.story());
            std::thread::sleep(Duration::from_millis(5));
        };
        if !ferry.kill() {
            return;
        }
        *killed.entry(moment).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_phase_and_byte_equal() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, DOCUMENTS / 2).await;
    // So small that a batch of the source holds more of them than a write command may.
    let tiny = source.database("shop").collection::<Document>("tiny");
    tiny.insert_many((0..130_000).map(|n| doc! { "_id": n })).await.unwrap();
    let load = Load::start(&source);
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "throttle = \"8MB/s\"");
    let mut seed = seed();
    let mut killed: BTreeMap<String, u32> = BTreeMap::new();
    let total = rounds(9);
    let (mut in_following, mut largest) = (0, 0);
    for round in 0..total {
        let mut ferry = Ferry::start(&home);
        ferry.wait_for_phase(&["clearing", "copying", "indexing", "following", "ready", "paused"]);
        // The first one right after the start: what has written is found again.
        let longest = if round == 0 { 300 } else { 3_000 };
        std::thread::sleep(Duration::from_millis(random(&mut seed, longest)));
        let phase = ferry.phase();
        in_following += u32::from(phase == "following");
        assert!(ferry.kill());
        *killed.entry(phase).or_default() += 1;
    }
    // Whatever is left of the copy is done now, then the loop goes on behind it.
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["indexing", "following", "ready"]);
    let phase = ferry.phase();
    assert!(ferry.kill());
    *killed.entry(phase).or_default() += 1;
    for _ in in_following..total / 3 {
        let mut ferry = Ferry::start(&home);
        ferry.wait("applying", |snapshot| snapshot["ops_out_per_s"].as_f64().unwrap_or(0.0) > 0.0);
        std::thread::sleep(Duration::from_millis(random(&mut seed, 2_000)));
        largest = largest.max(ferry.peak_memory());
        let phase = ferry.phase();
        assert!(ferry.kill());
        *killed.entry(phase).or_default() += 1;
    }
    let written = load.stop().await;
    tokio::task::block_in_place(|| cut_over(&home, &MOMENTS, &mut killed));
    compare::assert_identical(&source, &destination).await;
    eprintln!(
        "killed {killed:?} while the application wrote {written} rounds; resident {} MB at most; byte-equal",
        largest / 1_000_000
    );
}

/// The application writes to the destination already, and the verdict is still to come.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_an_opened_destination_is_checked() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, DOCUMENTS / 4).await;
    let options = "check = \"after\"\nthrottle = \"2MB/s\"";
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), options);
    let there = destination.database("shop").collection::<Document>("big");
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["ready"]);
    // Wrong before the opening: found in spite of the kills, which keeps the step waiting; repaired, and told.
    let wrong = doc! { "$set": { "pad": "wrong" } };
    assert_eq!(there.update_one(doc! { "_id": 29_001 }, wrong).await.unwrap().modified_count, 1);
    assert_eq!(there.delete_one(doc! { "_id": 29_002 }).await.unwrap().deleted_count, 1);
    ferry.say("cutover");
    ferry.wait("the first step", |snapshot| snapshot["cutover"]["step"] == "stop-application");
    ferry.say("continue");
    let mut seed = seed();
    let total = rounds(3);
    for n in 0..i32::try_from(total).unwrap() {
        ferry.wait("the check of an opened destination", |snapshot| snapshot["cutover"]["step"] == "check-opened");
        // The application, at home there now.
        there.update_one(doc! { "_id": n }, doc! { "$set": { "mine": n } }).await.unwrap();
        there.insert_one(doc! { "_id": 20_000_000 + n }).await.unwrap();
        there.delete_one(doc! { "_id": 1_000 + n }).await.unwrap();
        std::thread::sleep(Duration::from_millis(random(&mut seed, 3_000)));
        assert!(ferry.kill(), "it completed too early");
        ferry = Ferry::start(&home);
    }
    ferry.wait("the verdict", |snapshot| {
        let verification = &snapshot["verification"];
        snapshot["cutover"]["step"] == "check-opened"
            && verification["state"] == "done"
            && verification["mismatches"] == 2
            && verification["application"].as_u64() >= Some(u64::from(total))
    });
    ferry.say("repair");
    ferry.wait_for_phase(&["completed"]);
    let status = ferry.end();
    assert!(status.success(), "{status}:\n{}", ferry.story());
    let json = std::fs::read_to_string(home.state().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let verification = &report["verification"];
    assert_eq!((&verification["state"], &verification["mismatches"]), (&"done".into(), &0.into()), "{verification:#}");
    let mut repaired: Vec<_> = verification["repaired"]["examples"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["kind"].as_str().unwrap()))
        .collect();
    repaired.sort_unstable();
    assert_eq!(repaired, [("29001", "different"), ("29002", "missing")]);
    // What the application did is its own.
    for n in 0..i32::try_from(total).unwrap() {
        let own = doc! { "_id": n };
        assert_eq!(there.find_one(own.clone()).await.unwrap().unwrap().get_i32("mine").unwrap(), n);
        assert_eq!(there.count_documents(doc! { "_id": 20_000_000 + n }).await.unwrap(), 1);
        assert_eq!(there.count_documents(doc! { "_id": 1_000 + n }).await.unwrap(), 0);
        let here = source.database("shop").collection::<Document>("big");
        for other in [own, doc! { "_id": 1_000 + n }] {
            here.delete_one(other.clone()).await.unwrap();
            there.delete_one(other).await.unwrap();
        }
        there.delete_one(doc! { "_id": 20_000_000 + n }).await.unwrap();
    }
    compare::assert_identical(&source, &destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_to_be_inserted_anew_comes_back() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    source.database("shop").collection("orders").insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "");
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["ready"]);
    assert!(ferry.kill());
    // As an engine leaves it that was killed between the two commands.
    {
        let record = Record::new(Journal::open(&home.state()).unwrap()).unwrap();
        let registry = record.registry().unwrap().unwrap();
        let uuid = *registry.collections.keys().next().unwrap();
        record.put_repairs(uuid, &[rawdoc! { "_id": 7 }]).unwrap();
    }
    let orders = destination.database("shop").collection::<Document>("orders");
    orders.delete_one(doc! { "_id": 7 }).await.unwrap();
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["ready"]);
    assert_eq!(orders.count_documents(doc! { "_id": 7 }).await.unwrap(), 1, "{}", ferry.story());
    assert!(ferry.kill());
}
