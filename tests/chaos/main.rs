//! Whatever dies, nothing is lost: the real binary against real servers, killed, cut off and starved, under live writes
//! with DDL and transactions. After each: byte-equal destination.
//!
//! The short form runs with the other tests. `MONGOFERRY_CHAOS_ROUNDS=50` makes every loop longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alone;
#[path = "../validate/certificates.rs"]
#[allow(dead_code)]
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod elections;
mod ferry;
mod foreign;
#[path = "../validate/guarded.rs"]
#[allow(dead_code)]
mod guarded;
mod kills;
mod load;
mod memory;
mod names;
mod network;
mod outages;
mod pauses;
mod proxy;
mod refusals;
mod rollback;
mod short_oplog;
mod wire;

use common::turn::{turn, turn_alone};

/// How many faults each loop makes: `short` in the short form.
fn rounds(short: u32) -> u32 {
    std::env::var("MONGOFERRY_CHAOS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// A pseudo-random number below `below`; the seed is printed by whoever chose it.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// A seed that is another one each time, or the one given to repeat a run.
fn seed() -> u64 {
    let given = std::env::var("MONGOFERRY_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 | 1
    });
    eprintln!("MONGOFERRY_CHAOS_SEED={seed}");
    seed
}
