//! Objects of every kind that a database can hold.

use crate::stage::{Version, insert, numbered, run};
use bson::{Bson, Document, doc};
use mongodb::Client;

fn at(n: i64) -> bson::DateTime {
    bson::DateTime::from_millis(1_790_000_000_000 + n * 1_000)
}

/// Measurements of a time-series collection.
pub fn measurements(range: std::ops::Range<i32>) -> Vec<Document> {
    range.map(|n| doc! { "at": at(n.into()), "m": { "sensor": n % 3 }, "v": f64::from(n) }).collect()
}

/// Several types of one field, which old releases put into one bucket and newer ones take only when they are told to.
pub fn mixed(first: i64) -> Vec<Document> {
    let values = [Bson::Int32(1), Bson::String("text".into()), Bson::Document(doc! { "a": 1 }), Bson::Boolean(true)];
    (first..).zip(values).map(|(n, value)| doc! { "at": at(n), "m": { "sensor": "mixed" }, "v": value }).collect()
}

/// Collections and views that the script works on, in database `db`.
pub async fn create(client: &Client, db: &str, from: Version) {
    for coll in [
        "plain",
        "gone",
        "again",
        "rename_a",
        "over_a",
        "over_b",
        "cycle_a",
        "cycle_b",
        "chain",
        "to_cap",
        "became_view",
        "dups",
    ] {
        insert(client, db, coll, numbered(0..40)).await;
    }
    insert(client, db, "away", numbered(0..20)).await;
    insert(client, &format!("{db}_x"), "home", numbered(100..120)).await;
    insert(client, &format!("{db}_x"), "taken", numbered(100..110)).await;
    insert(client, db, "takes", numbered(0..15)).await;
    run(client, db, doc! { "createIndexes": "takes", "indexes": [{ "key": { "n": -1 }, "name": "n" }] }).await;
    for gone in ["dropped", "reborn"] {
        let gone = format!("{db}_{gone}");
        insert(client, &gone, "c", numbered(0..10)).await;
        insert(client, &gone, "d", numbered(0..10)).await;
        run(client, &gone, doc! { "create": "v", "viewOn": "c", "pipeline": [] }).await;
    }
    capped(client, db).await;
    run(client, db, doc! { "create": "v1", "viewOn": "plain", "pipeline": [{ "$match": { "n": { "$gt": 3 } } }] })
        .await;
    run(client, db, doc! { "create": "v2", "viewOn": "v1", "pipeline": [{ "$project": { "s": 1, "n": 1 } }] }).await;
    let german = doc! { "locale": "de", "strength": 2 };
    run(client, db, doc! { "create": "v_german", "viewOn": "plain", "pipeline": [], "collation": &german }).await;
    run(client, db, doc! { "create": "v_german2", "viewOn": "v_german", "pipeline": [], "collation": &german }).await;
    run(client, db, doc! { "create": "became_coll", "viewOn": "plain", "pipeline": [] }).await;
    run(client, db, doc! { "create": "german", "collation": &german }).await;
    insert(client, db, "german", vec![doc! { "_id": "Ä", "n": 1 }, doc! { "_id": "b", "n": 2 }]).await;
    run(client, db, doc! { "createIndexes": "german", "indexes": [
        { "key": { "n": 1 }, "name": "n" }, { "key": { "s": 1 }, "name": "simple", "collation": { "locale": "simple" } } ] }).await;
    run(client, db, doc! { "create": "checked", "validator": { "$and": [{ "n": { "$type": "int" } }, { "s": { "$exists": true } }] },
        "validationLevel": "moderate", "validationAction": "warn" }).await;
    insert(client, db, "checked", vec![doc! { "_id": 1, "n": "not a number" }, doc! { "_id": 2, "n": 1, "s": "" }])
        .await;
    run(
        client,
        db,
        doc! { "create": "squeezed", "storageEngine": { "wiredTiger": { "configString": "block_compressor=zlib" } },
        "indexOptionDefaults": { "storageEngine": { "wiredTiger": { "configString": "" } } } },
    )
    .await;
    insert(client, db, "squeezed", numbered(0..5)).await;
    if from.0 < 6 {
        run(client, db, doc! { "create": "pre_images", "recordPreImages": true }).await;
        run(client, db, doc! { "create": "pre_images_kept", "recordPreImages": true }).await;
        insert(client, db, "pre_images_kept", numbered(0..5)).await;
        run(
            client,
            db,
            doc! { "createIndexes": "pre_images_kept", "indexes": [
            { "key": { "n": 1 }, "name": "unique", "unique": true },
            { "key": { "at": 1 }, "name": "old", "expireAfterSeconds": 900_000_000 } ] },
        )
        .await;
    } else {
        run(client, db, doc! { "create": "pre_images", "changeStreamPreAndPostImages": { "enabled": true } }).await;
        run(client, db, doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true, "name": "by id" }, "expireAfterSeconds": 900_000_000_i64 }).await;
        insert(client, db, "clustered", numbered(0..30)).await;
    }
    insert(client, db, "pre_images", numbered(0..5)).await;
    if from.0 >= 5 {
        run(client, db, doc! { "create": "forgetful", "recordPreImages": true }).await;
        // The same keys twice: being unique is all that tells them apart.
        for name in ["twins", "twins_hidden", "twins_parted"] {
            insert(client, db, name, numbered(0..20)).await;
            let twins =
                [doc! { "key": { "n": 1 }, "name": "a" }, doc! { "key": { "n": 1 }, "name": "b", "unique": true }];
            let first_unique = doc! { "key": { "s": 1, "n": 1 }, "name": "c", "unique": true };
            let then_plain = doc! { "key": { "s": 1, "n": 1 }, "name": "d" };
            let indexes: Vec<_> = twins.into_iter().chain([first_unique, then_plain]).collect();
            run(client, db, doc! { "createIndexes": name, "indexes": indexes }).await;
        }
        for name in ["series", "series_gone", "series_plain"] {
            run(
                client,
                db,
                doc! { "create": name, "timeseries": { "timeField": "at", "metaField": "m", "granularity": "seconds" },
                "expireAfterSeconds": 900_000_000_i64 },
            )
            .await;
            insert(client, db, name, measurements(0..60)).await;
            insert(client, db, name, mixed(0)).await;
            run(
                client,
                db,
                doc! { "createIndexes": name, "indexes": [{ "key": { "m.sensor": 1, "at": 1 }, "name": "sensor" }] },
            )
            .await;
        }
        if from.0 >= 6 {
            run(client, db, doc! { "createIndexes": "series", "indexes": [{ "key": { "v": 1 }, "name": "measured" },
                { "key": { "v": -1, "m.sensor": 1 }, "name": "measured_partial", "partialFilterExpression": { "m.sensor": { "$gt": 1 } } }] }).await;
        }
    }
    grid(client, db).await;
    indexes(client, db, from).await;
}

/// Capped collections that have gone round, with and without an index; `log` keeps being written.
async fn capped(client: &Client, db: &str) {
    run(client, db, doc! { "create": "log", "capped": true, "size": 65_536, "max": 50 }).await;
    insert(client, db, "log", numbered(0..80)).await;
    run(client, db, doc! { "createIndexes": "log", "indexes": [{ "key": { "n": 1 }, "name": "n", "unique": true }] })
        .await;
    run(client, db, doc! { "create": "log_small", "capped": true, "size": 4_096 }).await;
    for start in 0..20 {
        insert(client, db, "log_small", vec![doc! { "_id": format!("k{start}"), "pad": "x".repeat(400) }]).await;
    }
    run(client, db, doc! { "create": "log_grows", "capped": true, "size": 8_192, "max": 10, "validator": { "n": { "$exists": true } } }).await;
    insert(client, db, "log_grows", numbered(0..15)).await;
    // The order of insertion is not the order of `_id`.
    run(client, db, doc! { "create": "log_order", "capped": true, "size": 65_536 }).await;
    insert(client, db, "log_order", (0..30).map(|n| doc! { "_id": (n * 7) % 31, "n": n }).collect()).await;
}

async fn grid(client: &Client, db: &str) {
    let bytes = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7; 1_000] };
    insert(
        client,
        db,
        "fs.files",
        vec![doc! { "_id": 1, "length": 2_000_i64, "chunkSize": 1_000, "uploadDate": at(0), "filename": "a" }],
    )
    .await;
    insert(client, db, "fs.chunks", (0..2).map(|n| doc! { "_id": n, "files_id": 1, "n": n, "data": &bytes }).collect())
        .await;
    run(client, db, doc! { "createIndexes": "fs.files", "indexes": [{ "key": { "filename": 1, "uploadDate": 1 }, "name": "filename_1_uploadDate_1" }] }).await;
    run(client, db, doc! { "createIndexes": "fs.chunks", "indexes": [{ "key": { "files_id": 1, "n": 1 }, "name": "files_id_1_n_1", "unique": true }] }).await;
}

/// Specs of every kind of index that the release knows.
pub fn specs(from: Version) -> Vec<Document> {
    let mut specs = vec![
        doc! { "key": { "n": 1 }, "name": "unique", "unique": true },
        doc! { "key": { "sparse": 1 }, "name": "sparse", "sparse": true, "unique": true },
        doc! { "key": { "n": 1, "s": -1 }, "name": "partial", "partialFilterExpression": { "n": { "$gt": 5 }, "s": { "$exists": true } } },
        doc! { "key": { "s": 1 }, "name": "hidden", "hidden": true },
        doc! { "key": { "seen": 1 }, "name": "ttl", "expireAfterSeconds": 60 },
        doc! { "key": { "seen0": 1 }, "name": "ttl_0", "expireAfterSeconds": 0 },
        doc! { "key": { "seen1": 1 }, "name": "ttl_long", "expireAfterSeconds": 90_i64 },
        doc! { "key": { "seen4": 1 }, "name": "ttl_unique", "expireAfterSeconds": 77, "unique": true, "sparse": true },
        doc! { "key": { "n": -1, "s": 1, "a": -1 }, "name": "compound" },
        doc! { "key": { "a": 1 }, "name": "multikey" },
        doc! { "key": { "s": "hashed" }, "name": "hashed" },
        doc! { "key": { "n": 1, "s": "hashed" }, "name": "compound_hashed" },
        doc! { "key": { "s": "text", "t.u": "text" }, "name": "words", "weights": { "s": 3, "t.u": 10 }, "default_language": "german", "language_override": "lang" },
        doc! { "key": { "flat": "2d" }, "name": "flat", "bits": 20, "min": -500.0, "max": 500.0 },
        doc! { "key": { "place": "2dsphere", "n": 1 }, "name": "sphere" },
        doc! { "key": { "$**": 1 }, "name": "wild", "wildcardProjection": { "t": 1, "u.v": 1 } },
        doc! { "key": { "w.$**": 1 }, "name": "wild_path" },
        doc! { "key": { "s": 1, "n": 1 }, "name": "collated", "collation": { "locale": "fr", "strength": 2, "backwards": true } },
        doc! { "key": { "long": 1 }, "name": "x".repeat(300) },
        doc! { "key": { "engine": 1 }, "name": "engine", "storageEngine": { "wiredTiger": { "configString": "block_compressor=zlib" } } },
        doc! { "key": { "zz": 1.0, "b": -1.5, "a": 1_i64 }, "name": "odd numbers" },
    ];
    // What a TTL that is no whole number means is each release's own business: 1.5 becomes 1 from 6.0 on, and NaN is 0 for
    // 5.0.4 and "never" for 6.0.27.
    if from.1 {
        specs.push(doc! { "key": { "seen2": 1 }, "name": "ttl_float", "expireAfterSeconds": 1.5 });
    }
    if from.0 >= 5 && from.1 {
        specs.push(doc! { "key": { "seen3": 1 }, "name": "ttl_nan", "expireAfterSeconds": f64::NAN });
    }
    if from.0 >= 6 {
        specs.push(doc! { "key": { "n": 1, "prepared": 1 }, "name": "prepared", "prepareUnique": true });
    }
    specs
}

async fn indexes(client: &Client, db: &str, from: Version) {
    let mut documents = numbered(0..40);
    for (n, document) in documents.iter_mut().enumerate() {
        document.insert("place", doc! { "type": "Point", "coordinates": [n as f64, 1.0] });
        document.insert("flat", vec![n as f64, 2.0]);
    }
    insert(client, db, "indexed", documents).await;
    run(client, db, doc! { "createIndexes": "indexed", "indexes": specs(from) }).await;
    run(client, db, doc! { "create": "words", "collation": { "locale": "simple" } }).await;
    run(client, db, doc! { "createIndexes": "words", "indexes": [{ "key": { "$**": "text" }, "name": "all" }] }).await;
    insert(client, db, "words", vec![doc! { "_id": Bson::Null, "x": "eins zwei" }]).await;
}
