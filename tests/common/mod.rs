//! Real replica sets for the tests, started once per test process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

pub mod compare;
pub mod drive;
pub mod picture;
pub mod pty;
pub mod turn;

use mongoferry::demo::{
    ReplicaSet, SetOptions,
    releases::{self, Release},
};

/// Source and destination releases that the exactness suites run on.
pub const MATRIX: [(Release, Release); 6] = [
    (Release::V6_0_5, Release::V6_0_5),
    (Release::V4_4_2, Release::V6_0_5),
    (Release::V5_0_4, Release::V6_0_27),
    (Release::V6_0_27, Release::V6_0_27),
    (Release::V5_0_4, Release::V5_0_4),
    (Release::V4_4_2, Release::V4_4_2),
];

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
    // Large transactions are refused, and hang on 4.4, in a small cache (OPLOG.md A.3).
    let single = |name| SetOptions { cache_gb: 1.0, ..SetOptions::single(name) };
    let (a, b) = (single("rsA"), SetOptions { members, ..single("rsB") });
    let (source, destination) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    Pair { source: source.expect("source"), destination: destination.expect("destination") }
}

/// One-member sets of these releases, whatever `MONGOFERRY_MONGOD` names.
pub async fn pair_between(source: Release, destination: Release) -> Pair {
    let start = async |release, name| {
        let mongod = releases::mongod(Some(release), &|line| eprintln!("{line}")).expect("a mongod");
        let options = SetOptions { cache_gb: 1.0, ..SetOptions::single(name) };
        ReplicaSet::start(&mongod, &options).await.expect("a replica set")
    };
    let (source, destination) = tokio::join!(start(source, "rsA"), start(destination, "rsB"));
    Pair { source, destination }
}
