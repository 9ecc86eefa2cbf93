//! Real replica sets for the tests, started once per test process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

pub mod compare;
pub mod drive;
pub mod pty;

use mongoferry::demo::{ReplicaSet, SetOptions, releases};

/// Two one-member sets, `rsA` and `rsB`.
pub struct Pair {
    pub source: ReplicaSet,
    pub destination: ReplicaSet,
}

/// Starts a source and a destination.
pub async fn pair() -> Pair {
    pair_of(1).await
}

/// The same, with a destination of so many members.
pub async fn pair_of(members: usize) -> Pair {
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let (a, b) = (SetOptions::single("rsA"), SetOptions { members, ..SetOptions::single("rsB") });
    let (source, destination) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    Pair { source: source.expect("source"), destination: destination.expect("destination") }
}
