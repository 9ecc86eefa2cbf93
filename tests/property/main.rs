//! Random documents and random operations of every kind on a real source while a migration runs; after the cutover the
//! independent comparison finds both clusters equal.
//!
//! `MONGOFERRY_PROPERTY_SEED` repeats the operations of a run, `MONGOFERRY_PROPERTY_OPERATIONS` says how many there are at
//! least, `MONGOFERRY_PROPERTY_PAIRS=all` takes every pair of releases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod content;
mod operations;
#[path = "../oplog_on_server/random.rs"]
mod random;
mod writers;

use bson::{Document, doc};
use common::{MATRIX, Pair, compare, drive};
use futures_util::TryStreamExt;
use mongodb::{Client, IndexModel};
use mongoferry::{demo::releases::Release, model::snapshot::VerificationState};
use std::hash::{BuildHasher, Hasher, RandomState};
use writers::Writers;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

async fn arrives(row: usize) {
    let (from, to) = MATRIX[row];
    let seed = number("MONGOFERRY_PROPERTY_SEED")
        .unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000_007);
    let operations = number("MONGOFERRY_PROPERTY_OPERATIONS").unwrap_or(3_000);
    eprintln!("{} to {}: MONGOFERRY_PROPERTY_SEED={seed}, {operations} operations", from.text(), to.text());
    let pair = common::pair_between(from, to).await;
    migrate(&pair, from, seed, operations).await;
}

/// A quarter of the operations before the start, half of them until following begins, the others after that.
async fn migrate(pair: &Pair, from: Release, seed: u64, operations: u64) {
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    for client in [&source, &destination] {
        // What expires would go on one side at another moment than on the other.
        let command = doc! { "setParameter": 1, "ttlMonitorEnabled": false };
        client.database("admin").run_command(command).await.unwrap();
    }
    writers::ballast(&source).await;
    let mut writers = Writers::start(&source, from, seed);
    writers.make(operations / 4).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    // So that the copy takes a while and is written into.
    plan.options.throttle = Some(2 << 20);
    // The first operations after the start fall into validation, copy and index builds, however few are asked for.
    writers.go_on(operations / 2);
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "following", |snapshot| snapshot.lag_ms.is_some()).await;
    writers.make((operations / 4).max(operations.saturating_sub(writers.made()))).await;
    // Until the application is stopped there is always something to write.
    writers.linger();
    let done = drive::cut_over(&mut client, async || {
        writers.stop().await;
        drop_what_is_refused(&source).await;
    })
    .await;
    eprintln!("{}", writers.summary());
    let differences = compare::differences(&source, &destination).await;
    let events: Vec<String> =
        client.events().since(0).iter().map(|event| format!("{} {}: {}", event.at, event.kind, event.text)).collect();
    assert!(
        differences.is_empty(),
        "seed {seed}: {} differences:\n{}\n{}\n{}",
        differences.len(),
        differences.join("\n"),
        writers.history(&differences),
        events.join("\n")
    );
    assert_eq!(done.verification.state, VerificationState::Done);
    assert_eq!((done.verification.mismatches, &done.verification.metadata_differences), (0, &Vec::new()));
    writers.assert_all_kinds();
    engine.shut_down().await;
}

/// 4.4 takes TTL indexes on capped collections, where they do nothing; 6.0 refuses them (67), and the product says so.
async fn drop_what_is_refused(source: &Client) {
    for db in source.list_database_names().await.unwrap() {
        let database = source.database(&db);
        let capped = database.list_collections().filter(doc! { "options.capped": true, "type": "collection" });
        let names: Vec<String> = capped.await.unwrap().map_ok(|listed| listed.name).try_collect().await.unwrap();
        for name in names.iter().filter(|_| db != "local" && db != "config" && db != "admin") {
            let listed = database.collection::<Document>(name).list_indexes().await.unwrap();
            let indexes: Vec<IndexModel> = listed.try_collect().await.unwrap();
            for options in indexes.into_iter().filter_map(|index| index.options) {
                if let (Some(index), Some(_)) = (options.name, options.expire_after) {
                    let command = doc! { "dropIndexes": name, "index": index };
                    database.run_command(command).await.unwrap();
                }
            }
        }
    }
}

macro_rules! pairs {
    ($($name:ident: $row:expr, $always:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if $always || std::env::var("MONGOFERRY_PROPERTY_PAIRS").is_ok_and(|pairs| pairs == "all") {
                arrives($row).await;
            }
        }
    )*};
}

pairs! {
    from_6_0_5_to_6_0_5: 0, true;
    from_4_4_2_to_6_0_5: 1, true;
    from_5_0_4_to_6_0_27: 2, false;
    from_6_0_27_to_6_0_27: 3, false;
    from_5_0_4_to_5_0_4: 4, false;
    from_4_4_2_to_4_4_2: 5, false;
}
