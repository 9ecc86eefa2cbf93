//! `kill -9` of mongoferry at random moments.

use crate::{
    common::{self, compare},
    ferry::{Ferry, Home},
    load::{DOCUMENTS, Load, fill},
    random, rounds, seed,
};
use std::{collections::BTreeMap, time::Duration};

/// Cuts over by commands, killing the process `kills` times on the way; returns when it completed.
pub fn cut_over(home: &Home, kills: u32, seed: &mut u64, killed: &mut BTreeMap<String, u32>) {
    let mut left = kills;
    loop {
        let mut ferry = Ferry::start(home);
        let moment = Duration::from_millis(300 + random(seed, 4_000));
        let began = std::time::Instant::now();
        loop {
            let snapshot = ferry.snapshot();
            let step = snapshot["cutover"]["step"].as_str().unwrap_or_default().to_string();
            match (snapshot["phase"].as_str().unwrap_or_default(), step.as_str()) {
                ("completed", _) => {
                    let status = ferry.end();
                    assert!(status.success(), "{status}:\n{}", ferry.story());
                    return;
                }
                ("ready", _) => ferry.say("cutover"),
                ("cutover", "stop-application") => ferry.say("continue"),
                ("failed", _) => panic!("{}", ferry.story()),
                _ => {}
            }
            if left > 0 && began.elapsed() > moment {
                break;
            }
            assert!(began.elapsed() < crate::ferry::PATIENCE, "{}", ferry.story());
            std::thread::sleep(Duration::from_millis(50));
        }
        left -= 1;
        let phase = ferry.phase();
        if ferry.kill() {
            *killed.entry(phase).or_default() += 1;
        } else {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_every_phase_and_byte_equal() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, DOCUMENTS).await;
    let load = Load::start(&source);
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "throttle = \"8MB/s\"");
    let mut seed = seed();
    let mut killed: BTreeMap<String, u32> = BTreeMap::new();
    let total = rounds(12);
    let mut in_following = 0;
    for _ in 0..total {
        let mut ferry = Ferry::start(&home);
        ferry.wait_for_phase(&["clearing", "copying", "indexing", "following", "ready", "paused"]);
        std::thread::sleep(Duration::from_millis(random(&mut seed, 3_000)));
        let phase = ferry.phase();
        in_following += u32::from(phase == "following");
        assert!(ferry.kill());
        *killed.entry(phase).or_default() += 1;
    }
    // Whatever is left of the copy is done now, then the loop goes on behind it.
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["following", "ready"]);
    assert!(ferry.kill());
    for _ in in_following..total / 3 {
        let mut ferry = Ferry::start(&home);
        ferry.wait("applying", |snapshot| snapshot["ops_out_per_s"].as_f64().unwrap_or(0.0) > 0.0);
        std::thread::sleep(Duration::from_millis(random(&mut seed, 2_000)));
        let phase = ferry.phase();
        assert!(ferry.kill());
        *killed.entry(phase).or_default() += 1;
    }
    let written = load.stop().await;
    tokio::task::block_in_place(|| cut_over(&home, total / 4, &mut seed, &mut killed));
    compare::assert_identical(&source, &destination).await;
    eprintln!("killed {killed:?} while the application wrote {written} rounds; byte-equal");
}
