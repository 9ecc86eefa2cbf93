//! Every kind of object and command in every phase, for every pair of releases.

use crate::{
    common::drive,
    objects, script,
    stage::{Migration, Stage, insert, run},
};
use bson::doc;
use mongoferry::model::{Phase, Snapshot};
use std::sync::Arc;

/// Bytes of ballast that hold the copy open, and the rate at which they are read.
const BALLAST: usize = 6 << 20;
const RATE: u64 = 2 << 20;

pub async fn migrate(row: usize) {
    let stage = Stage::start(row).await;
    let (source, from) = (&stage.source, stage.from);
    for phase in ["before", "start", "copy", "index", "follow", "cutover"] {
        objects::create(source, phase, from).await;
    }
    objects::create(source, "untouched", from).await;
    script::act(source, "before", from).await;
    for n in 0..BALLAST >> 20 {
        insert(source, "ballast", "b", vec![doc! { "pad": "x".repeat(1 << 20), "n": n as i64 }]).await;
    }
    let mut migration = Migration::new();
    let mut plan = stage.plan(&[], &[]);
    plan.options.throttle = Some(RATE);
    drive::start(&mut migration.client, plan).await;
    script::act(source, "start", from).await;
    migration.reach(Phase::Copying).await;
    script::act(source, "copy", from).await;
    migration.reach(Phase::Indexing).await;
    script::act(source, "index", from).await;
    migration.reach(Phase::Following).await;
    script::act(source, "follow", from).await;
    let snapshot = cut_over(&stage, &mut migration, async || {
        script::act(source, "cutover", from).await;
    })
    .await;
    let differences = stage.differences().await;
    let events = migration.events("index-failed");
    assert!(
        differences.is_empty(),
        "{} differences:\n{}\nindexes: {events:?}",
        differences.len(),
        differences.join("\n")
    );
    assert_eq!(snapshot.verification.metadata_differences, Vec::<String>::new());
    assert_eq!(snapshot.indexes.failed, Vec::new());
    // 5.0.4 mixes types in a bucket, and of these destinations only 6.0.27 has to be told.
    let told = !migration.events("buckets").is_empty();
    assert_eq!(told, stage.from.0 == 5 && stage.from < stage.to, "mixed buckets");
    migration.engine.shut_down().await;
}

/// From ready to completed; the destination's monitor is stopped before TTL values become real.
pub async fn cut_over(stage: &Stage, migration: &mut Migration, last: impl AsyncFnOnce()) -> Arc<Snapshot> {
    drive::cut_over(&mut migration.client, async || {
        last().await;
        run(&stage.destination, "admin", doc! { "setParameter": 1, "ttlMonitorEnabled": false }).await;
    })
    .await
}

macro_rules! rows {
    ($($name:ident $row:literal),*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            migrate($row).await;
        }
    )* };
}
rows!(wide_6_0_5 0, wide_4_4_2_to_6_0_5 1, wide_5_0_4_to_6_0_27 2, wide_6_0_27 3, wide_5_0_4 4, wide_4_4_2 5);
