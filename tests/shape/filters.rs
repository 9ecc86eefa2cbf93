//! Included and excluded namespaces, and renames across the filter's border in every phase.

use crate::{
    common::{compare, drive},
    stage::{Migration, Stage, Version, insert, numbered, run},
    wide::cut_over,
};
use bson::doc;
use mongodb::Client;
use mongoferry::model::Phase;
use std::collections::BTreeSet;

const PHASES: [&str; 6] = ["before", "start", "copy", "index", "follow", "cutover"];
const INCLUDE: [&str; 10] = [
    "in.*",
    "in.x_named",
    "part.a*",
    "one.only",
    "both",
    "gone_start.a",
    "gone_copy.a",
    "gone_index.a",
    "gone_follow.a",
    "gone_cutover.a",
];
/// Exclusion wins, also over what is included by its whole name.
const EXCLUDE: [&str; 3] = ["in.x*", "both.*", "part.aside"];

/// What the lists above mean, said once more.
fn is_meant(namespace: &str) -> bool {
    let (db, coll) = namespace.split_once('.').unwrap();
    let coll = coll.strip_prefix("system.buckets.").unwrap_or(coll);
    match db {
        "in" => !coll.starts_with('x'),
        "part" => coll.starts_with('a') && coll != "aside",
        "one" => coll == "only",
        db => db.starts_with("gone_") && db != "gone_before" && coll == "a",
    }
}

async fn rename(client: &Client, from: String, to: String, drop_target: bool) {
    run(client, "admin", doc! { "renameCollection": from, "to": to, "dropTarget": drop_target }).await;
}

/// A collection with indexes that need care; they come first, for an empty collection has them at once.
async fn create(client: &Client, db: &str, coll: String, first: i32) {
    run(client, db, doc! { "createIndexes": &coll, "indexes": [
        { "key": { "n": 1 }, "name": "n", "unique": true }, { "key": { "seen": 1 }, "name": "ttl", "expireAfterSeconds": 60 } ] }).await;
    insert(client, db, &coll, numbered(first..first + 30)).await;
}

async fn load(client: &Client, p: &str, from: Version) {
    let inside = ["leaves", "target", "over", "away", "taken", "taker", "c1", "there_and_back"];
    let beyond = ["enters", "over", "target", "c2", "back_and_there"];
    for (first, coll) in inside.iter().enumerate() {
        create(client, "in", format!("{p}_{coll}"), first as i32 * 100).await;
    }
    for (first, coll) in beyond.iter().enumerate() {
        create(client, "in", format!("x_{p}_{coll}"), first as i32 * 100 + 1_000).await;
    }
    for coll in ["home", "taker", "taken"] {
        create(client, "out", format!("{p}_{coll}"), 2_000).await;
    }
    for coll in ["a", "b"] {
        create(client, "part", format!("{coll}_{p}"), 3_000).await;
    }
    for coll in ["a", "b"] {
        create(client, &format!("gone_{p}"), coll.into(), 0).await;
    }
    run(client, "in", doc! { "create": format!("x_{p}_log"), "capped": true, "size": 4_096, "max": 9 }).await;
    insert(client, "in", &format!("x_{p}_log"), numbered(0..20)).await;
    run(client, "in", doc! { "create": format!("{p}_log"), "capped": true, "size": 4_096 }).await;
    for (view, on) in [("x_view", "leaves"), ("view", "leaves")] {
        run(client, "in", doc! { "create": format!("{view}_{p}"), "viewOn": format!("{p}_{on}"), "pipeline": [] })
            .await;
    }
    if from.0 >= 5 {
        for series in ["series", "x_series"] {
            run(client, "in", doc! { "create": format!("{series}_{p}"), "timeseries": { "timeField": "at" } }).await;
        }
    }
}

/// Everything that crosses the border, with writes before and after.
async fn cross(client: &Client, p: &str, from: Version) {
    let name = |db: &str, coll: &str| format!("{db}.{coll}");
    let inside = |coll: &str| format!("in.{p}_{coll}");
    let beyond = |coll: &str| format!("in.x_{p}_{coll}");
    let next = std::cell::Cell::new(5_000);
    let write = async |namespace: String| {
        let first = next.replace(next.get() + 10);
        let (db, coll) = namespace.split_once('.').unwrap();
        insert(client, db, coll, numbered(first..first + 10)).await;
        let change = doc! { "q": {}, "u": { "$set": { "changed": &namespace } }, "multi": true };
        run(client, db, doc! { "update": coll, "updates": [change] }).await;
        run(client, db, doc! { "delete": coll, "deletes": [{ "q": { "_id": first + 3 }, "limit": 1 }] }).await;
    };
    for (from, to, drop_target) in [
        (inside("leaves"), beyond("left"), false),
        (beyond("enters"), inside("entered"), false),
        (beyond("over"), inside("target"), true),
        (inside("over"), beyond("target"), true),
        (inside("away"), name("out", &format!("{p}_away")), false),
        (name("out", &format!("{p}_home")), inside("home"), false),
        (name("out", &format!("{p}_taker")), inside("taken"), true),
        (inside("taker"), name("out", &format!("{p}_taken")), true),
        (name("part", &format!("b_{p}")), name("part", &format!("a_{p}_new")), false),
        (name("part", &format!("a_{p}")), name("part", &format!("b_{p}")), false),
    ] {
        write(from.clone()).await;
        rename(client, from, to.clone(), drop_target).await;
        write(to).await;
    }
    // Two collections exchange their names across the border.
    rename(client, inside("c1"), beyond("t"), false).await;
    rename(client, beyond("c2"), inside("c1"), false).await;
    rename(client, beyond("t"), beyond("c2"), false).await;
    write(inside("c1")).await;
    write(beyond("c2")).await;
    // Out and in again, in and out again; each may lie within one batch of the applier.
    rename(client, inside("there_and_back"), beyond("there"), false).await;
    write(beyond("there")).await;
    rename(client, beyond("there"), inside("there_and_back"), false).await;
    rename(client, beyond("back_and_there"), inside("brief"), false).await;
    write(inside("brief")).await;
    rename(client, inside("brief"), beyond("back_and_there"), false).await;
    // In, and gone.
    create(client, "in", format!("x_{p}_short"), 0).await;
    rename(client, beyond("short"), inside("short"), false).await;
    run(client, "in", doc! { "drop": format!("{p}_short") }).await;
    insert(client, "in", &format!("{p}_short"), numbered(0..3)).await;
    // Indexes and options change on the way in.
    create(client, "in", format!("x_{p}_changes"), 0).await;
    rename(client, beyond("changes"), inside("changes"), false).await;
    run(client, "in", doc! { "dropIndexes": format!("{p}_changes"), "index": "ttl" }).await;
    run(
        client,
        "in",
        doc! { "createIndexes": format!("{p}_changes"), "indexes": [{ "key": { "s": -1 }, "name": "ttl" }] },
    )
    .await;
    run(client, "in", doc! { "collMod": format!("{p}_changes"), "validator": { "n": { "$gte": 0 } } }).await;
    // Capped collections cross it too; what is converted beyond it stays there.
    rename(client, beyond("log"), inside("log_entered"), false).await;
    insert(client, "in", &format!("{p}_log_entered"), numbered(100..104)).await;
    rename(client, inside("log"), beyond("log_left"), false).await;
    run(client, "in", doc! { "convertToCapped": format!("x_{p}_left"), "size": 9_000 }).await;
    run(client, "in", doc! { "convertToCapped": format!("{p}_entered"), "size": 9_000 }).await;
    for (on, out) in [("entered", "in_out"), ("entered", "x_out")] {
        let out = doc! { "db": "in", "coll": format!("{out}_{p}") };
        run(
            client,
            "in",
            doc! { "aggregate": format!("{p}_{on}"), "pipeline": [{ "$match": {} }, { "$out": out }], "cursor": {} },
        )
        .await;
    }
    views(client, p).await;
    if from.0 >= 5 {
        for series in ["series", "x_series"] {
            let measured = doc! { "at": bson::DateTime::from_millis(1_790_000_000_000), "v": 1 };
            insert(client, "in", &format!("{series}_{p}"), vec![measured]).await;
        }
    }
    let gone = format!("gone_{p}");
    run(client, &gone, doc! { "dropDatabase": 1 }).await;
    for coll in ["a", "b"] {
        insert(client, &gone, coll, numbered(50..55)).await;
    }
    for (db, coll) in
        [("in", "x_named"), ("one", "only"), ("one", "other"), ("both", "c"), ("part", "aside"), ("out", "c")]
    {
        insert(client, db, coll, vec![doc! { "by": p }]).await;
    }
}

async fn views(client: &Client, p: &str) {
    let on_excluded = format!("x_{p}_left");
    run(client, "in", doc! { "collMod": format!("view_{p}"), "viewOn": &on_excluded, "pipeline": [] }).await;
    run(client, "in", doc! { "collMod": format!("x_view_{p}"), "viewOn": &on_excluded, "pipeline": [] }).await;
    run(client, "in", doc! { "drop": format!("x_view_{p}") }).await;
    run(client, "in", doc! { "create": format!("x_view_{p}"), "viewOn": format!("{p}_entered"), "pipeline": [] }).await;
}

async fn keeps_to_the_filter(row: usize) {
    let stage = Stage::start(row).await;
    let (source, from) = (&stage.source, stage.from);
    // What the operator keeps on the destination lies beyond the filter.
    let kept = ["in.x_before_left", "in.x_copy_c2", "out.c", "part.b_copy", "one.other", "mine.c"];
    for namespace in kept {
        let (db, coll) = namespace.split_once('.').unwrap();
        insert(&stage.destination, db, coll, vec![doc! { "_id": "mine" }]).await;
    }
    for p in PHASES {
        load(source, p, from).await;
    }
    cross(source, "before", from).await;
    for n in 0..8 {
        insert(source, "in", "ballast", vec![doc! { "pad": "x".repeat(1 << 20), "n": n }]).await;
    }
    let mut migration = Migration::new();
    let mut plan = stage.plan(&INCLUDE, &EXCLUDE);
    plan.options.throttle = Some(2 << 20);
    drive::start(&mut migration.client, plan).await;
    // While the engine reads the catalog and creates what it found.
    cross(source, "start", from).await;
    migration.reach(Phase::Copying).await;
    cross(source, "copy", from).await;
    migration.reach(Phase::Indexing).await;
    cross(source, "index", from).await;
    migration.reach(Phase::Following).await;
    cross(source, "follow", from).await;
    let snapshot = cut_over(&stage, &mut migration, async || cross(source, "cutover", from).await).await;
    let differences = compare::differences_in(source, &stage.destination, is_meant).await;
    let failed = migration.events("index-failed");
    assert!(differences.is_empty(), "{}\nindexes: {failed:?}", differences.join("\n"));
    assert_eq!(snapshot.verification.metadata_differences, Vec::<String>::new());
    // Nothing came that was not meant, and what was there is as it was.
    let beyond: BTreeSet<String> =
        compare::namespaces(&stage.destination).await.into_iter().filter(|name| !is_meant(name)).collect();
    assert_eq!(beyond, kept.map(String::from).into_iter().collect());
    for namespace in kept {
        let (db, coll) = namespace.split_once('.').unwrap();
        let found = run(&stage.destination, db, doc! { "find": coll }).await;
        let documents = found.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
        assert_eq!(documents, &vec![doc! { "_id": "mine" }.into()], "{namespace}");
    }
    // Enough was on both sides of the border.
    let meant = compare::namespaces(source).await.into_iter().filter(|name| is_meant(name)).count();
    assert!(meant > 45, "{meant}");
    migration.engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_hold_through_renames_6_0_5() {
    keeps_to_the_filter(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_hold_through_renames_4_4_2_to_6_0_5() {
    keeps_to_the_filter(1).await;
}
