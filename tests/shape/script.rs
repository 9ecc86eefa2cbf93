//! Commands of every kind on the objects of one database: run once in each phase of a migration.

use crate::{
    objects::{measurements, mixed, specs},
    stage::{Version, insert, numbered, run},
};
use bson::{Document, doc};
use mongodb::Client;

async fn rename(client: &Client, from: String, to: String, drop_target: bool) {
    run(client, "admin", doc! { "renameCollection": from, "to": to, "dropTarget": drop_target }).await;
}

async fn coll_mod(client: &Client, db: &str, coll: &str, change: Document) {
    let mut command = doc! { "collMod": coll };
    command.extend(change);
    run(client, db, command).await;
}

/// Everything, in an order in which later steps meet what earlier ones left.
pub async fn act(client: &Client, db: &str, from: Version) {
    names(client, db).await;
    databases(client, db).await;
    views(client, db).await;
    options(client, db, from).await;
    capped(client, db, from).await;
    indexes(client, db, from).await;
    if from.0 >= 5 {
        series(client, db, from).await;
    }
    outputs(client, db).await;
}

async fn names(client: &Client, db: &str) {
    let name = |coll: &str| format!("{db}.{coll}");
    run(client, db, doc! { "drop": "gone" }).await;
    run(client, db, doc! { "drop": "again" }).await;
    insert(client, db, "again", numbered(500..520)).await;
    run(client, db, doc! { "createIndexes": "again", "indexes": [{ "key": { "s": 1 }, "name": "s" }] }).await;
    insert(client, db, "rename_a", numbered(1_000..1_010)).await;
    rename(client, name("rename_a"), name("rename_b"), false).await;
    insert(client, db, "rename_b", numbered(1_010..1_020)).await;
    rename(client, name("over_a"), name("over_b"), true).await;
    insert(client, db, "over_b", numbered(1_000..1_010)).await;
    // A cycle through a third name.
    insert(client, db, "cycle_a", numbered(1_000..1_001)).await;
    rename(client, name("cycle_a"), name("cycle_t"), false).await;
    rename(client, name("cycle_b"), name("cycle_a"), false).await;
    rename(client, name("cycle_t"), name("cycle_b"), false).await;
    insert(client, db, "cycle_a", numbered(2_000..2_002)).await;
    insert(client, db, "cycle_b", numbered(3_000..3_003)).await;
    for n in 0..4 {
        let before = if n == 0 { "chain".to_string() } else { format!("chain{n}") };
        rename(client, name(&before), name(&format!("chain{}", n + 1)), false).await;
        insert(client, db, &format!("chain{}", n + 1), numbered(n * 10 + 5_000..n * 10 + 5_005)).await;
    }
    insert(client, db, "chain", numbered(0..3)).await;
    // Across databases, with and without a target.
    rename(client, name("away"), format!("{db}_x.away"), false).await;
    insert(client, &format!("{db}_x"), "away", numbered(900..905)).await;
    rename(client, format!("{db}_x.home"), name("home"), false).await;
    insert(client, db, "home", numbered(900..905)).await;
    rename(client, name("takes"), format!("{db}_x.taken"), true).await;
    insert(client, &format!("{db}_x"), "taken", numbered(900..905)).await;
    // An option of a collection under its new name.
    coll_mod(client, db, "rename_b", doc! { "validator": { "n": { "$gte": 0 } } }).await;
    run(client, db, doc! { "create": "brief" }).await;
    run(client, db, doc! { "drop": "brief" }).await;
    run(client, db, doc! { "create": "fresh", "collation": { "locale": "sv" }, "validator": { "n": 1 }, "validationAction": "warn" }).await;
    insert(client, db, "fresh", numbered(0..5)).await;
}

async fn databases(client: &Client, db: &str) {
    run(client, &format!("{db}_dropped"), doc! { "dropDatabase": 1 }).await;
    let reborn = format!("{db}_reborn");
    run(client, &reborn, doc! { "dropDatabase": 1 }).await;
    insert(client, &reborn, "c", numbered(50..60)).await;
    run(client, &reborn, doc! { "create": "d", "viewOn": "c", "pipeline": [{ "$limit": 3 }] }).await;
}

async fn views(client: &Client, db: &str) {
    coll_mod(client, db, "v1", doc! { "viewOn": "again", "pipeline": [{ "$match": { "n": { "$lt": 700 } } }] }).await;
    run(client, db, doc! { "drop": "v2" }).await;
    run(
        client,
        db,
        doc! { "create": "v2", "viewOn": "v1", "pipeline": [{ "$addFields": { "x": { "$literal": "$y" } } }] },
    )
    .await;
    coll_mod(client, db, "v_german", doc! { "viewOn": "plain", "pipeline": [{ "$sort": { "s": 1 } }] }).await;
    // The same names with objects of another kind.
    run(client, db, doc! { "drop": "became_coll" }).await;
    insert(client, db, "became_coll", numbered(0..7)).await;
    run(client, db, doc! { "drop": "became_view" }).await;
    run(client, db, doc! { "create": "became_view", "viewOn": "v2", "pipeline": [] }).await;
    run(client, db, doc! { "create": "v_nowhere", "viewOn": "does.not.exist", "pipeline": [] }).await;
}

async fn options(client: &Client, db: &str, from: Version) {
    coll_mod(
        client,
        db,
        "checked",
        doc! { "validator": { "n": { "$type": "string" } }, "validationLevel": "strict", "validationAction": "error" },
    )
    .await;
    coll_mod(client, db, "checked", doc! {}).await;
    coll_mod(client, db, "plain", doc! { "validator": { "s": { "$type": "string" } }, "validationLevel": "off" }).await;
    coll_mod(client, db, "plain", doc! { "validator": {} }).await;
    if from.0 >= 5 {
        coll_mod(client, db, "forgetful", doc! { "validationLevel": "moderate" }).await;
    }
    if from.0 < 6 {
        coll_mod(client, db, "pre_images", doc! { "recordPreImages": false }).await;
        coll_mod(client, db, "plain", doc! { "recordPreImages": true }).await;
    } else {
        coll_mod(client, db, "pre_images", doc! { "changeStreamPreAndPostImages": { "enabled": false } }).await;
        coll_mod(client, db, "plain", doc! { "changeStreamPreAndPostImages": { "enabled": true }, "validator": { "x": 1 }, "validationAction": "warn" }).await;
        coll_mod(client, db, "clustered", doc! { "expireAfterSeconds": 800_000_000_i64 }).await;
        run(client, db, doc! { "create": "clustered2", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
            .await;
        insert(client, db, "clustered2", numbered(0..9)).await;
        run(client, db, doc! { "delete": "clustered", "deletes": [{ "q": { "_id": 3 }, "limit": 1 }] }).await;
    }
    run(client, db, doc! { "update": "plain", "updates": [{ "q": {}, "u": { "$inc": { "n": 1 } }, "multi": true }] })
        .await;
}

async fn capped(client: &Client, db: &str, from: Version) {
    insert(client, db, "log", numbered(2_000..2_030)).await;
    insert(client, db, "log_small", (0..15).map(|n| doc! { "_id": format!("z{n}"), "pad": "y".repeat(350) }).collect())
        .await;
    insert(client, db, "log_order", vec![doc! { "_id": -5 }, doc! { "_id": 99 }, doc! { "_id": 50 }]).await;
    run(client, db, doc! { "convertToCapped": "to_cap", "size": 8_192 }).await;
    insert(client, db, "to_cap", numbered(3_000..3_010)).await;
    run(client, db, doc! { "cloneCollectionAsCapped": "plain", "toCollection": "cloned", "size": 16_384 }).await;
    run(client, db, doc! { "create": "log_new", "capped": true, "size": 4_096, "max": 5 }).await;
    insert(client, db, "log_new", numbered(0..12)).await;
    run(client, db, doc! { "drop": "log_grows" }).await;
    run(client, db, doc! { "create": "log_grows", "capped": true, "size": 8_192, "max": 4 }).await;
    insert(client, db, "log_grows", numbered(0..6)).await;
    if from.0 >= 6 {
        coll_mod(client, db, "log_grows", doc! { "cappedSize": 20_000, "cappedMax": 9 }).await;
        insert(client, db, "log_grows", numbered(10..20)).await;
        run(client, db, doc! { "delete": "log", "deletes": [{ "q": { "_id": 2_020 }, "limit": 1 }] }).await;
        run(client, db, doc! { "update": "log", "updates": [{ "q": { "_id": 2_025 }, "u": { "$set": { "longer": "than before" } } }] }).await;
    } else {
        run(
            client,
            db,
            doc! { "update": "log", "updates": [{ "q": { "_id": 2_025 }, "u": { "$inc": { "n": 100_000 } } }] },
        )
        .await;
    }
    rename(client, format!("{db}.log_order"), format!("{db}.log_moved"), false).await;
    insert(client, db, "log_moved", vec![doc! { "_id": 1_000 }]).await;
}

async fn indexes(client: &Client, db: &str, from: Version) {
    for name in ["hashed", "compound", "sparse"] {
        run(client, db, doc! { "dropIndexes": "indexed", "index": name }).await;
    }
    run(client, db, doc! { "dropIndexes": "indexed", "index": { "a": 1 } }).await;
    coll_mod(client, db, "indexed", doc! { "index": { "name": "hidden", "hidden": false } }).await;
    coll_mod(client, db, "indexed", doc! { "index": { "name": "partial", "hidden": true } }).await;
    coll_mod(client, db, "indexed", doc! { "index": { "name": "ttl", "expireAfterSeconds": 12_345_i64 } }).await;
    coll_mod(client, db, "indexed", doc! { "index": { "keyPattern": { "seen0": 1 }, "expireAfterSeconds": 5 }, "validator": { "n": { "$exists": true } } }).await;
    // Dropped and made again with other options.
    if from.0 >= 5 {
        for index in ["a", "b", "c", "d"] {
            coll_mod(client, db, "twins_hidden", doc! { "index": { "name": index, "hidden": true } }).await;
        }
        for index in ["a", "c"] {
            run(client, db, doc! { "dropIndexes": "twins_parted", "index": index }).await;
        }
        let plain = doc! { "key": { "n": 1, "s": 1 }, "name": "e" };
        let unique = doc! { "key": { "n": 1, "s": 1 }, "name": "f", "unique": true };
        run(client, db, doc! { "createIndexes": "twins", "indexes": [unique, plain] }).await;
    }
    run(client, db, doc! { "dropIndexes": "indexed", "index": "unique" }).await;
    run(client, db, doc! { "createIndexes": "indexed", "indexes": [{ "key": { "n": 1 }, "name": "unique" }] }).await;
    run(client, db, doc! { "createIndexes": "indexed", "indexes": [{ "key": { "_id": 1, "n": 1 }, "name": "late", "unique": true }, { "key": { "late": 1 }, "name": "late2", "sparse": true }] }).await;
    run(client, db, doc! { "createIndexes": "fresh_indexed", "indexes": specs(from) }).await;
    insert(client, db, "fresh_indexed", numbered(0..10)).await;
    run(client, db, doc! { "dropIndexes": "over_b", "index": "*" }).await;
    // Fails on duplicates: startIndexBuild and abortIndexBuild.
    run(client, db, doc! { "update": "dups", "updates": [{ "q": {}, "u": { "$set": { "n": 1 } }, "multi": true }] })
        .await;
    let refused = client
        .database(db)
        .run_command(doc! { "createIndexes": "dups", "indexes": [{ "key": { "n": 1 }, "name": "n", "unique": true }] })
        .await;
    assert!(refused.is_err(), "duplicates must be refused");
    if from.0 >= 6 {
        run(client, db, doc! { "createIndexes": "dups", "indexes": [{ "key": { "s": 1 }, "name": "s", "prepareUnique": true }, { "key": { "a": 1 }, "name": "a", "prepareUnique": true }, { "key": { "zz": 1 }, "name": "becomes_ttl" }] }).await;
        coll_mod(client, db, "dups", doc! { "index": { "name": "s", "unique": true } }).await;
        coll_mod(client, db, "dups", doc! { "index": { "name": "a", "prepareUnique": false } }).await;
        coll_mod(client, db, "dups", doc! { "index": { "name": "becomes_ttl", "expireAfterSeconds": 77 } }).await;
        coll_mod(client, db, "indexed", doc! { "index": { "name": "late", "hidden": true } }).await;
    }
}

async fn series(client: &Client, db: &str, from: Version) {
    insert(client, db, "series", measurements(60..120)).await;
    coll_mod(client, db, "series", doc! { "timeseries": { "granularity": "minutes" } }).await;
    coll_mod(client, db, "series", doc! { "expireAfterSeconds": 700_000_000_i64 }).await;
    insert(client, db, "series", measurements(120..150)).await;
    insert(client, db, "series", mixed(10)).await;
    run(client, db, doc! { "dropIndexes": "series", "index": "sensor" }).await;
    run(
        client,
        db,
        doc! { "createIndexes": "series", "indexes": [{ "key": { "m.sensor": -1 }, "name": "sensor_down" }] },
    )
    .await;
    if from.0 >= 6 {
        run(
            client,
            db,
            doc! { "createIndexes": "series", "indexes": [{ "key": { "v": 1, "at": -1 }, "name": "measured2" }] },
        )
        .await;
        coll_mod(client, db, "series", doc! { "index": { "name": "sensor_down", "hidden": true } }).await;
        run(client, db, doc! { "update": "series", "updates": [{ "q": { "m.sensor": 1 }, "u": { "$set": { "m.more": "meta" } }, "multi": true }] }).await;
        run(client, db, doc! { "delete": "series", "deletes": [{ "q": { "m.sensor": 2 }, "limit": 0 }] }).await;
    }
    halves(client, db).await;
    run(client, db, doc! { "drop": "series_gone" }).await;
    run(client, db, doc! { "create": "series_gone", "timeseries": { "timeField": "at" } }).await;
    insert(client, db, "series_gone", measurements(0..5)).await;
    run(client, db, doc! { "drop": "series_plain" }).await;
    insert(client, db, "series_plain", numbered(0..5)).await;
    run(client, db, doc! { "create": "series_new", "timeseries": { "timeField": "at", "metaField": "m", "granularity": "hours" }, "expireAfterSeconds": 600_000_000_i64 }).await;
    insert(client, db, "series_new", measurements(0..20)).await;
    insert(client, db, "series_new", mixed(0)).await;
    coll_mod(client, db, "series_new", doc! { "expireAfterSeconds": "off" }).await;
    // Known to 6.0.27 only.
    let allow = doc! { "collMod": "series_new", "timeseriesBucketsMayHaveMixedSchemaData": true };
    let _ = client.database(db).run_command(allow).await;
}

/// The server makes the buckets, then refuses the view of them; a later creation finds them there. Some stay as they are.
async fn halves(client: &Client, db: &str) {
    for name in ["half", "half_and_half"] {
        let view = format!("{name}_view");
        let german = doc! { "locale": "de", "strength": 2 };
        run(client, db, doc! { "create": &view, "viewOn": name, "pipeline": [], "collation": german }).await;
        let create =
            doc! { "create": name, "timeseries": { "timeField": "at", "metaField": "m", "granularity": "seconds" } };
        let refused = client.database(db).run_command(create.clone()).await;
        assert!(refused.is_err(), "a view of another collation is in the way");
        if name == "half_and_half" {
            run(client, db, doc! { "drop": &view }).await;
            let mut whole = create;
            whole.get_document_mut("timeseries").unwrap().insert("bucketMaxSpanSeconds", 3_600);
            run(client, db, whole).await;
            insert(client, db, name, measurements(0..5)).await;
        }
    }
    // A creation that is interrupted leaves as much; here a client makes the buckets itself.
    for name in ["only_buckets", "only_empty", "shown_later", "beside", "beside_empty"] {
        // With a plain collection of the name. A migration does not begin with such a pair.
        if name.starts_with("beside") {
            if db == "before" || db == "start" {
                continue;
            }
            insert(client, db, name, numbered(0..20)).await;
        }
        let buckets = format!("system.buckets.{name}");
        let mut bare = doc! { "create": &buckets };
        bare.extend(options_of(client, db, "system.buckets.series_plain").await);
        run(client, db, bare).await;
    }
    let any = client.database(db).collection::<Document>("system.buckets.series_gone");
    let any = any.find_one(doc! {}).await.unwrap().expect("measurements");
    insert(client, db, "system.buckets.only_buckets", vec![any.clone()]).await;
    if db != "before" && db != "start" {
        insert(client, db, "system.buckets.beside", vec![any]).await;
    }
    let as_made = doc! { "timeField": "at", "metaField": "m", "granularity": "seconds" };
    let show = doc! { "create": "shown_later", "timeseries": as_made, "expireAfterSeconds": 900_000_000_i64 };
    run(client, db, show).await;
    insert(client, db, "shown_later", measurements(0..5)).await;
}

/// What a collection was created with.
async fn options_of(client: &Client, db: &str, coll: &str) -> Document {
    let list = doc! { "listCollections": 1, "filter": { "name": coll } };
    let reply = run(client, db, list).await;
    let first = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
    first[0].as_document().unwrap().get_document("options").unwrap().clone()
}

async fn outputs(client: &Client, db: &str) {
    let aggregate = async |stage: Document| {
        run(client, db, doc! { "aggregate": "again", "pipeline": [{ "$match": {} }, stage], "cursor": {} }).await;
    };
    aggregate(doc! { "$out": "out" }).await;
    aggregate(doc! { "$out": "dups" }).await;
    aggregate(doc! { "$out": { "db": format!("{db}_x"), "coll": "out" } }).await;
    aggregate(doc! { "$merge": { "into": "merged" } }).await;
    aggregate(doc! { "$merge": { "into": "plain", "whenMatched": "replace" } }).await;
    run(client, db, doc! { "delete": "fs.chunks", "deletes": [{ "q": { "n": 0 }, "limit": 0 }] }).await;
}
