//! Whatever a replica set can hold and whatever its oplog can say arrives byte for byte, on every pair of releases.
//!
//! One migration per pair: every scenario loads its own database, then changes it during copy, index builds and
//! following; after the cutover the independent comparison finds both clusters equal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod documents;
mod gridfs;
mod scenario;
mod transactions;
mod unique;
mod updates;

use common::{MATRIX, Pair, compare, drive};
use mongoferry::model::snapshot::VerificationState;
use scenario::{Scenario, Source, Writers};
use std::time::Duration;

fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(documents::Documents),
        Box::new(updates::Updates),
        Box::<transactions::Transactions>::default(),
        Box::new(unique::Unique),
        Box::new(gridfs::GridFs),
    ]
}

/// Only the scenarios that are named in `MONGOFERRY_SCENARIOS` (comma separated), or all.
fn wanted() -> Vec<Box<dyn Scenario>> {
    let Ok(names) = std::env::var("MONGOFERRY_SCENARIOS") else { return scenarios() };
    scenarios().into_iter().filter(|scenario| names.split(',').any(|name| name == scenario.name())).collect()
}

async fn arrives(row: usize, old_format: bool) {
    let _turn = common::turn::turn_busy().await;
    let (from, to) = MATRIX[row];
    let pair = common::pair_between(from, to).await;
    let source = Source::connect(&pair.source, from, old_format).await;
    migrate(&pair, source).await;
}

async fn migrate(pair: &Pair, source: Source) {
    let source_client = source.client.clone();
    let destination = pair.destination.client().await.unwrap();
    source.ballast(40).await;
    let mut writers = Writers::load(source.clone(), wanted()).await;
    writers.start();
    writers.reach(2).await;
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    // So that the copy takes a while and is written into.
    plan.options.throttle = Some(20_000_000);
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "following", |snapshot| snapshot.lag_ms.is_some()).await;
    writers.following().await;
    let reached = writers.slowest();
    writers.reach(reached + 5).await;
    writers.slow_down();
    let done = drive::cut_over(&mut client, async || writers.stop().await).await;
    let events: Vec<String> =
        client.events().since(0).iter().map(|event| format!("{} {}: {}", event.at, event.kind, event.text)).collect();
    let differences = compare::differences(&source_client, &destination).await;
    assert!(
        differences.is_empty(),
        "{} differences:\n{}\n{}",
        differences.len(),
        differences.join("\n"),
        events.join("\n")
    );
    assert_eq!(done.verification.state, VerificationState::Done);
    assert_eq!((done.verification.mismatches, &done.verification.metadata_differences), (0, &Vec::new()));
    tokio::time::timeout(Duration::from_secs(20), engine.shut_down()).await.unwrap();
}

macro_rules! pairs {
    ($($name:ident: $row:expr, $old:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            arrives($row, $old).await;
        }
    )*};
}

pairs! {
    from_6_0_5_to_6_0_5: 0, false;
    from_4_4_2_to_6_0_5: 1, false;
    from_5_0_4_to_6_0_27: 2, false;
    from_6_0_27_to_6_0_27: 3, false;
    from_5_0_4_to_5_0_4: 4, false;
    from_4_4_2_to_4_4_2: 5, false;
    // A newer server under the older feature compatibility logs the older update format (OPLOG.md section 0, rule 4).
    from_5_0_4_that_logs_as_4_4_to_6_0_27: 2, true;
}
