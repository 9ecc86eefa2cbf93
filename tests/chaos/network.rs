//! The network between mongoferry and both clusters: cut, stalled, slow.

use crate::{
    common::{self, compare},
    ferry::{Ferry, Home},
    kills::cut_over,
    load::{Load, fill},
    proxy::{Proxy, Weather},
    random, rounds, seed,
};
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_cuts_stalls_and_slows() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 25_000).await;
    let load = Load::start(&source);
    let proxies = [Proxy::start(pair.source.ports()[0]).await, Proxy::start(pair.destination.ports()[0]).await];
    // The copy lasts for half of the faults.
    let options = format!("throttle = \"{}kB/s\"\nverify = \"off\"", 12_000 / rounds(6));
    let home = Home::new(&proxies[0].uri(), &proxies[1].uri(), &options);
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
        let weather = match random(&mut seed, 3) {
            0 => Weather::Cut,
            1 => Weather::Stalled,
            _ => Weather::Slow(200_000),
        };
        let name = format!("{} {weather:?} in {}", ["source", "destination"][side], ferry.phase());
        eprintln!("{name}");
        proxies[side].set(weather);
        tokio::time::sleep(Duration::from_millis(500 + random(&mut seed, 4_000))).await;
        proxies[side].set(Weather::Clear);
        *survived.entry(name).or_default() += 1;
        tokio::time::sleep(Duration::from_millis(random(&mut seed, 2_000))).await;
        assert_ne!(ferry.phase(), "failed", "{}", ferry.story());
    }
    ferry.wait("following", |snapshot| {
        ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
            && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 10_000)
    });
    let written = load.stop().await;
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
    let cut: usize = proxies.iter().map(|proxy| proxy.cut.load(Ordering::Relaxed)).sum();
    eprintln!(
        "survived {} faults of the network: {survived:?}, {cut} connections cut, {written} rounds written; byte-equal",
        survived.values().sum::<u32>()
    );
}
