//! A regression check on ratios to the servers' own limits, measured in the same run on a small part of the benchmark's
//! data: a copy that waits for something, or a lane that sends one statement at a time, is several times slower. The limits
//! are loose, because neither this build is optimised nor the machine quiet; `cargo bench` measures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "bench/catchup.rs"]
mod catchup;
#[path = "bench/ferry.rs"]
mod ferry;
#[path = "bench/limits.rs"]
mod limits;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/shapes.rs"]
mod shapes;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/wishes.rs"]
mod wishes;

use ferry::Ferry;
use machine::Sets;
use shapes::Shape;

/// Attempts of which one has to be good enough: a machine may be busy for a moment, a regression stays.
const ATTEMPTS: usize = 3;
/// Time of a copy to that of the limit. Without optimisation and beside two other builds it was 1.3.
const COPY_AT_MOST: f64 = 3.0;
/// Rate of applying to that of writing. Without optimisation and beside two other builds it was 0.4 to 0.5 (1.6 with it).
const CATCH_UP_AT_LEAST: f64 = 0.15;

#[tokio::test(flavor = "multi_thread")]
async fn copying_and_catching_up_stay_near_the_servers_own_limits() {
    let sets = Sets::start().await;
    let mut seen = Vec::new();
    while !seen.last().is_some_and(|ratio| *ratio <= COPY_AT_MOST) {
        assert!(seen.len() < ATTEMPTS, "copying took so many times as long as the bare loop and its indexes: {seen:?}");
        seen.push(copy(&sets, 60_000).await);
    }
    eprintln!("copying: {seen:?} times the bare loop and its indexes");
    seen.clear();
    while !seen.last().is_some_and(|ratio| *ratio >= CATCH_UP_AT_LEAST) {
        assert!(seen.len() < ATTEMPTS, "catching up, as a part of the source's own write rate: {seen:?}");
        let round = catchup::round(&sets, 10_000, 8_000).await;
        seen.push(round.applied / round.written);
    }
    eprintln!("catching up: {seen:?} of the source's own write rate");
}

/// Start to caught up, to the bare loop at its best and the index builds after it.
async fn copy(sets: &Sets, documents: u64) -> f64 {
    sets.empty().await;
    Shape::Rising.load(&sets.from, documents).await;
    let limits = limits::measure(sets, Shape::Rising, documents).await;
    let bare = limits.bare.iter().map(|bare| bare.0).fold(f64::INFINITY, f64::min);
    let mut ferry = Ferry::start(sets, "verify = \"off\"");
    let cost = tokio::task::block_in_place(|| ferry.reach(&["following", "ready"]));
    tokio::task::block_in_place(|| ferry.stop());
    cost.seconds / (bare + limits.indexes.0)
}
