//! Ended by a signal or by `stop` in the middle of an outage: at once, with everything kept.

use crate::{
    common,
    ferry::{Ferry, Home},
    load::fill,
    proxy::{Proxy, Weather},
    rounds,
};
use std::time::Duration;

/// How long the end of a process may take: five seconds, and what a loaded machine adds.
const AT_ONCE: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_the_middle_of_an_outage_comes_at_once() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    fill(&source, 5_000).await;
    let proxies = [Proxy::start(pair.source.ports()[0]).await, Proxy::start(pair.destination.ports()[0]).await];
    // The short form makes each outage once; a long one as many in each of two phases.
    let in_copying = if rounds(1) > 1 { rounds(1).div_ceil(2) } else { 3 };
    // The copy lasts for all of them.
    let options = format!("throttle = \"{}kB/s\"\nverify = \"off\"", 450 / in_copying);
    let home = Home::new(&proxies[0].uri(), &proxies[1].uri(), &options);
    let outages: [(&str, &[usize], Weather); 5] = [
        ("source down", &[0], Weather::Cut),
        ("destination down", &[1], Weather::Cut),
        ("source silent", &[0], Weather::Stalled),
        ("destination silent", &[1], Weather::Stalled),
        ("both silent", &[0, 1], Weather::Stalled),
    ];
    let (mut longest, mut count) = (Duration::ZERO, 0);
    for phase in ["copying", "following"] {
        let chosen: Vec<_> = match (rounds(1), phase) {
            (0 | 1, "copying") => outages.into_iter().step_by(2).collect(),
            (0 | 1, _) => outages.into_iter().skip(1).step_by(2).collect(),
            _ => outages.into_iter().cycle().take(in_copying as usize).collect(),
        };
        for (what, sides, weather) in chosen {
            let mut ferry = Ferry::start(&home);
            ferry.wait(phase, |snapshot| {
                let now = snapshot["phase"].as_str().unwrap_or_default();
                let is_there = now == phase || (phase == "following" && now == "ready");
                is_there && (phase == "copying" || !snapshot["lag_ms"].is_null())
            });
            sides.iter().for_each(|side| proxies[*side].set(weather));
            // Told, where it can be: a silent connection is not known to be an outage for a while.
            if weather == Weather::Cut {
                let began = std::time::Instant::now();
                while ferry.told("retry") == 0 {
                    assert!(began.elapsed() < crate::ferry::PATIENCE, "{what}: not told\n{}", ferry.story());
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            } else {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
            }
            let (status, took, story) = tokio::task::block_in_place(|| ferry.terminate());
            proxies.iter().for_each(|proxy| proxy.set(Weather::Clear));
            assert!(status.success(), "{what} in {phase}: {status}\n{story}");
            assert!(took < AT_ONCE, "{what} in {phase}: {took:?}\n{story}");
            assert!(story.contains("the migration is kept"), "{what} in {phase}\n{story}");
            (longest, count) = (longest.max(took), count + 1);
        }
    }
    // Taken up while nothing answers: it asks until it is told to end.
    proxies.iter().for_each(|proxy| proxy.set(Weather::Cut));
    let ferry = Ferry::start(&home);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (status, took, story) = tokio::task::block_in_place(|| ferry.terminate());
    assert!(status.success() && took < AT_ONCE, "{status} after {took:?}\n{story}");
    longest = longest.max(took);
    // The operator gives it up while both are away.
    proxies.iter().for_each(|proxy| proxy.set(Weather::Clear));
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", |snapshot| !snapshot["lag_ms"].is_null());
    proxies.iter().for_each(|proxy| proxy.set(Weather::Stalled));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = std::time::Instant::now();
    ferry.say("stop");
    let status = tokio::task::block_in_place(|| ferry.end());
    assert_eq!(ferry.phase(), "stopped", "{status}\n{}", ferry.story());
    assert!(began.elapsed() < AT_ONCE, "{:?}\n{}", began.elapsed(), ferry.story());
    eprintln!("ended in {count} outages and kept, after {longest:?} at most; stopped after {:?}", began.elapsed());
}
