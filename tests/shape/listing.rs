//! The catalog is read while collections come and go.

use crate::stage::run;
use bson::doc;
use mongoferry::{
    demo::{Release, ReplicaSet, SetOptions, releases},
    model::{Endpoint, NamespaceFilter, Side},
    mongo::{catalog, connect::connect},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// During some of them something is dropped that had been listed.
const READINGS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_while_it_is_listed_ends_no_reading() {
    for release in [Release::V4_4_2, Release::V6_0_5] {
        let mongod = releases::mongod(Some(release), &|line| eprintln!("{line}")).expect("a mongod");
        let set = ReplicaSet::start(&mongod, &SetOptions::single("rsA")).await.expect("a replica set");
        let client = set.client().await.unwrap();
        run(&client, "kept", doc! { "create": "always" }).await;
        let ends = Arc::new(AtomicBool::new(false));
        let (coming_and_going, ended) = (client.clone(), ends.clone());
        let busy = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                for n in 0..40 {
                    run(&coming_and_going, "fleeting", doc! { "create": format!("c{n}") }).await;
                }
                // Time for a listing; sizes are read after it.
                tokio::time::sleep(Duration::from_millis(200)).await;
                run(&coming_and_going, "fleeting", doc! { "dropDatabase": 1 }).await;
            }
        });
        let cluster = connect(Side::Source, &Endpoint::plain(set.uri())).await.unwrap();
        for _ in 0..READINGS {
            let read = catalog::read(&cluster, &NamespaceFilter::default()).await;
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", release.text()));
            assert!(read.databases.iter().any(|database| database.db == "kept"), "{read:?}");
        }
        ends.store(true, Ordering::Relaxed);
        busy.await.unwrap();
    }
}
