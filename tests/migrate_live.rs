//! Whole migrations between two real replica sets under live writes, compared by a tool of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use common::drive;
use futures_util::FutureExt;
use mongodb::Client;
use mongoferry::{
    demo::Release,
    model::{Phase, Verify},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

async fn load(client: &Client) {
    let shop = client.database("shop");
    let orders = shop.collection::<Document>("orders");
    let batch: Vec<Document> = (0..20_000)
        .map(|n| {
            doc! { "_id": n, "sku": format!("s{}", n % 97), "lines": [{ "q": n % 5, "p": 1.5 }, { "q": 2_i64 }], "o": { "a": { "b": n } },
                   "pad": "x".repeat(200) }
        })
        .collect();
    orders.insert_many(batch).await.unwrap();
    let ids: Vec<Bson> = vec![
        Bson::Null,
        Bson::Boolean(true),
        Bson::String(String::new()),
        Bson::String("a".into()),
        Bson::Double(f64::NAN),
        Bson::Double(1.5),
        Bson::Int64(7),
        Bson::MinKey,
        Bson::MaxKey,
        Bson::ObjectId(ObjectId::new()),
        Bson::Document(doc! { "b": 1, "a": 2 }),
        Bson::Document(doc! { "a": 2, "b": 1 }),
        Bson::DateTime(bson::DateTime::from_millis(5)),
        Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 }),
    ];
    let mixed = shop.collection::<Document>("mixed");
    mixed.insert_many(ids.into_iter().map(|id| doc! { "_id": id, "v": 1 })).await.unwrap();
    // Stored zero timestamp: an insert would rewrite it.
    shop.run_command(doc! { "update": "mixed", "updates": [
        { "q": { "_id": "zero" }, "u": [{ "$replaceWith": { "$literal": { "_id": "zero", "t": bson::Timestamp { time: 0, increment: 0 } } } }], "upsert": true } ] }).await.unwrap();
    shop.run_command(doc! { "create": "log", "capped": true, "size": 1_000_000, "max": 500 }).await.unwrap();
    shop.collection::<Document>("log").insert_many((0..400).map(|n| doc! { "n": n })).await.unwrap();
    shop.run_command(doc! { "create": "readings", "timeseries": { "timeField": "at", "metaField": "m", "granularity": "minutes" }, "expireAfterSeconds": 360_000_000_i64 })
        .await
        .unwrap();
    let at = |n: i64| bson::DateTime::from_millis(1_790_000_000_000 + n * 1_000);
    shop.collection::<Document>("readings")
        .insert_many((0..500).map(|n| doc! { "at": at(n), "m": n % 3, "v": n }))
        .await
        .unwrap();
    shop.run_command(
        doc! { "create": "big_spenders", "viewOn": "orders", "pipeline": [{ "$match": { "o.a.b": { "$gt": 100 } } }] },
    )
    .await
    .unwrap();
    shop.run_command(doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
        .await
        .unwrap();
    shop.collection::<Document>("clustered").insert_many((0..300).map(|n| doc! { "_id": n, "x": n })).await.unwrap();
    shop.run_command(doc! { "create": "german", "collation": { "locale": "de", "strength": 2 }, "validator": { "n": { "$type": "int" } } }).await.unwrap();
    shop.run_command(
        doc! { "insert": "german", "documents": [{ "_id": "Ä" }, { "_id": "b" }], "bypassDocumentValidation": true },
    )
    .await
    .unwrap();
    shop.run_command(doc! { "createIndexes": "orders", "indexes": [
    { "key": { "sku": 1, "o.a.b": -1 }, "name": "sku_b" },
    { "key": { "o.a.b": 1 }, "name": "unique_b", "unique": true, "sparse": true },
    { "key": { "seen": 1 }, "name": "ttl", "expireAfterSeconds": 3_600 },
    { "key": { "pad": "text" }, "name": "words", "weights": { "pad": 3 } },
    { "key": { "lines.q": 1 }, "name": "partial", "partialFilterExpression": { "sku": "s1" } },
    { "key": { "$**": 1 }, "name": "wild", "wildcardProjection": { "lines": 1 } },
    { "key": { "o": "hashed" }, "name": "hashed", "hidden": true } ] })
        .await
        .unwrap();
    client
        .database("crm")
        .collection::<Document>("notes")
        .insert_many((0..2_000).map(|n| doc! { "n": n }))
        .await
        .unwrap();
    client.database("empty").create_collection("nothing").await.unwrap();
}

/// Mutates everything until told to stop; returns how many rounds it made.
async fn mutate(client: Client, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let shop = client.database("shop");
    let orders = shop.collection::<Document>("orders");
    let crm = client.database("crm");
    let mut n: i32 = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        rounds.store(u64::try_from(n).unwrap(), Ordering::Relaxed);
        let id = (n * 7919) % 20_000;
        orders
            .update_one(
                doc! { "_id": id },
                doc! { "$set": { "o.a.c": n, "seen": bson::DateTime::now() }, "$push": { "lines": { "q": n } } },
            )
            .await
            .unwrap();
        orders
            .update_one(
                doc! { "_id": (id + 1) % 20_000 },
                vec![doc! { "$set": { "lines": { "$slice": ["$lines", 1] }, "a.b": { "$literal": 1 } } }],
            )
            .await
            .unwrap();
        orders.update_one(doc! { "_id": (id + 2) % 20_000 }, vec![doc! { "$replaceWith": { "$setField": { "field": { "$literal": "d.o.t" }, "input": "$$ROOT", "value": n } } }]).await.unwrap();
        orders
            .replace_one(
                doc! { "_id": (id + 3) % 20_000 },
                doc! { "sku": "new", "n": n, "o": { "a": { "b": 100_000 + n } } },
            )
            .await
            .unwrap();
        orders.delete_one(doc! { "_id": (id + 4) % 20_000 }).await.unwrap();
        orders.insert_one(doc! { "_id": 30_000 + n, "o": { "a": { "b": 200_000 + n } }, "sku": "ins" }).await.unwrap();
        shop.collection::<Document>("log").insert_one(doc! { "n": n, "live": true }).await.unwrap();
        shop.collection::<Document>("readings")
            .insert_one(doc! { "at": bson::DateTime::now(), "m": n % 3, "v": n })
            .await
            .unwrap();
        shop.collection::<Document>("clustered")
            .update_one(doc! { "_id": n % 300 }, doc! { "$inc": { "x": 1 } })
            .await
            .unwrap();
        shop.collection::<Document>("mixed").update_many(doc! {}, doc! { "$inc": { "v": 1 } }).await.unwrap();
        let mut session = client.start_session().await.unwrap();
        let context = (crm.collection::<Document>("notes"), orders.clone());
        let whole = session.start_transaction().and_run(context, move |session, (notes, orders)| {
            async move {
                notes.insert_one(doc! { "txn": n }).session(&mut *session).await?;
                orders.update_one(doc! { "_id": id }, doc! { "$unset": { "pad": "" } }).session(&mut *session).await?;
                if n % 3 == 0 { session.abort_transaction().await } else { Ok(()) }
            }
            .boxed()
        });
        whole.await.unwrap();
        if n % 20 == 0 {
            ddl(&client, n / 20).await;
        }
    }
}

/// One round of commands: rename with and without a target, drop and recreate, indexes, collMod, views.
async fn ddl(client: &Client, round: i32) {
    let db = client.database("crm");
    let run = |command: Document| {
        let db = db.clone();
        async move { db.run_command(command.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}")) }
    };
    let admin = client.database("admin");
    let (a, b) = (format!("a{round}"), format!("b{round}"));
    db.collection::<Document>(&a).insert_one(doc! { "_id": 1, "round": round }).await.unwrap();
    db.collection::<Document>(&b).insert_one(doc! { "_id": 2 }).await.unwrap();
    run(doc! { "createIndexes": &a, "indexes": [{ "key": { "round": 1 }, "name": "r", "unique": true }] }).await;
    admin
        .run_command(doc! { "renameCollection": format!("crm.{a}"), "to": format!("crm.{b}"), "dropTarget": true })
        .await
        .unwrap();
    db.collection::<Document>(&b).update_one(doc! { "_id": 1 }, doc! { "$set": { "renamed": true } }).await.unwrap();
    db.collection::<Document>(&a).insert_one(doc! { "_id": 1, "again": round }).await.unwrap();
    run(doc! { "collMod": &b, "index": { "name": "r", "hidden": true } }).await;
    run(doc! { "collMod": &b, "validator": { "round": { "$exists": true } }, "validationLevel": "off" }).await;
    run(doc! { "create": format!("v{round}"), "viewOn": &b, "pipeline": [] }).await;
    run(doc! { "createIndexes": "notes", "indexes": [{ "key": { "n": 1 }, "name": format!("n{round}"), "expireAfterSeconds": 999_999, "partialFilterExpression": { "n": { "$gt": round } } }] }).await;
    if round > 1 {
        run(doc! { "dropIndexes": "notes", "index": format!("n{}", round - 1) }).await;
        run(doc! { "drop": format!("v{}", round - 1) }).await;
        run(doc! { "drop": format!("a{}", round - 1) }).await;
    }
    if round % 3 == 0 {
        client.database("scratch").collection::<Document>("x").insert_one(doc! { "round": round }).await.unwrap();
        client.database("scratch").drop().await.unwrap();
    }
    if round % 2 == 0 {
        run(doc! { "aggregate": "notes", "pipeline": [{ "$match": { "n": { "$lt": 5 } } }, { "$out": "few" }], "cursor": {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_replica_set_arrives_whole() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    load(&source).await;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn(mutate(source.clone(), stop.clone(), rounds.clone()));
    while rounds.load(Ordering::Relaxed) < 25 {
        assert!(!writer.is_finished(), "the writer ended early");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    drive::start(&mut client, drive::plan(&pair.source.uri(), &pair.destination.uri())).await;
    let before = rounds.load(Ordering::Relaxed);
    let following = drive::wait(&mut client, "following", |snapshot| snapshot.lag_ms.is_some()).await;
    assert!(rounds.load(Ordering::Relaxed) > before + 5, "the writer hardly wrote during copy and index builds");
    assert!(following.ops_waiting > 0 || following.ops_applied > 0);
    let done = drive::cut_over(&mut client, async || {
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
    })
    .await;
    for event in client.events().since(0) {
        eprintln!("{} {:<10} {}", event.at, event.kind, event.text);
    }
    assert_eq!(done.verification.mismatches, 0);
    assert_eq!(done.verification.metadata_differences, Vec::<String>::new());
    assert!(done.verification.documents > 20_000, "{:?}", done.verification);
    assert!(done.cutover.as_ref().unwrap().downtime_ms.is_some());
    assert!(done.report.is_some());
    let destination = pair.destination.client().await.unwrap();
    common::compare::assert_identical(&source, &destination).await;
    let _: RawDocumentBuf = RawDocumentBuf::new();
    engine.shut_down().await;
}

/// Documents come in behind the copy faster than it may read: it ends all the same, and loses none of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_grows_faster_than_it_is_read_is_copied_to_an_end() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    let shop = source.database("shop");
    shop.run_command(doc! { "create": "ring", "capped": true, "size": 4_000_000 }).await.unwrap();
    for name in ["grows", "ring"] {
        let first = (-60..0).map(|n| doc! { "_id": n, "pad": "p".repeat(100_000) });
        shop.collection::<Document>(name).insert_many(first).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (written, ended) = (Arc::new(AtomicU64::new(0)), stop.clone());
    let (count, (go, gone)) = (written.clone(), tokio::sync::oneshot::channel());
    let writer = tokio::spawn(async move {
        let pad = "p".repeat(100_000);
        let mut n = 0;
        gone.await.unwrap();
        while !ended.load(Ordering::Relaxed) {
            for name in ["grows", "ring"] {
                let batch = (0..5).map(|k| doc! { "_id": n * 5 + k, "pad": &pad });
                shop.collection::<Document>(name).insert_many(batch).await.unwrap();
                count.fetch_add(500_000, Ordering::Relaxed);
            }
            n += 1;
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        }
    });
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.throttle = Some(5_000_000);
    drive::start(&mut client, plan).await;
    go.send(()).unwrap();
    let began = std::time::Instant::now();
    drive::wait(&mut client, "the end of the copy", |snapshot| snapshot.phase == Phase::Following).await;
    let rate = written.load(Ordering::Relaxed) / began.elapsed().as_secs().max(1);
    assert!(rate > 5_000_000, "the writer made only {rate} bytes per second, which proves nothing");
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let done = drive::cut_over(&mut client, async || {}).await;
    assert_eq!(done.verification.mismatches, 0);
    let destination = pair.destination.client().await.unwrap();
    common::compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// No replay of `$v:1` updates on documents that were copied later restores the order of their fields; without the
/// verification nothing else would mend it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_fields_survives_updates_of_the_old_format() {
    let pair = common::pair_between(Release::V4_4_2, Release::V6_0_5).await;
    let source = pair.source.client().await.unwrap();
    let orders = source.database("shop").collection::<Document>("orders");
    let documents =
        (0..600).map(|n| doc! { "_id": n, "o": { "a": 1, "b": 2 }, "x": 1, "y": 2, "pad": "p".repeat(9_000) });
    orders.insert_many(documents).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let ended = stop.clone();
    let writer = tokio::spawn(async move {
        let mut seed: u64 = 7;
        let mut random = move |below: i32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i32::try_from(seed >> 33).unwrap() % below
        };
        let fields = ["x", "y", "z", "o", "o.a", "o.b", "o.c", "o.d.e"];
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) {
            let field = fields[usize::try_from(random(8)).unwrap()];
            let other = fields[usize::try_from(random(4)).unwrap()];
            let change = match random(5) {
                0 | 1 => doc! { "$unset": { field: "" } },
                2 => doc! { "$rename": { field: format!("{other}r") } },
                3 => doc! { "$set": { other: { "k": count, "j": 1 } } },
                _ => doc! { "$set": { field: count } },
            };
            // Some paths cross a number; the server refuses those.
            let _ = orders.update_one(doc! { "_id": random(600) }, change).await;
            count += 1;
        }
        count
    });
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.throttle = Some(1_000_000);
    plan.options.verify = Verify::Off;
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "following", |snapshot| snapshot.lag_ms.is_some()).await;
    stop.store(true, Ordering::Relaxed);
    let count = writer.await.unwrap();
    assert!(count > 1_000, "only {count} updates");
    drive::cut_over(&mut client, async || {}).await;
    let events = client.events().since(0);
    assert!(events.iter().any(|event| event.kind == "order"), "nothing was fetched again");
    let destination = pair.destination.client().await.unwrap();
    common::compare::assert_identical(&source, &destination).await;
    engine.shut_down().await;
}

/// MinKey and MaxKey are the ends of the order in which ranges are read, and may be identifiers too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_and_last_identifiers_of_all_arrive() {
    for release in [Release::V4_4_2, Release::V6_0_5] {
        let pair = common::pair_between(release, Release::V6_0_5).await;
        let source = pair.source.client().await.unwrap();
        let large = source.database("shop").collection::<Document>("large");
        // Large enough for several ranges, and under a limit: verification then reads in pieces, and takes up after each.
        let ids = [Bson::MinKey, Bson::MaxKey].into_iter().chain((0..200).map(Bson::Int32));
        large.insert_many(ids.map(|id| doc! { "_id": id, "pad": "p".repeat(100_000) })).await.unwrap();
        let ends = source.database("shop").collection::<Document>("ends");
        ends.insert_many([doc! { "_id": Bson::MaxKey }, doc! { "_id": Bson::MinKey }]).await.unwrap();
        let (engine, _home) = drive::engine();
        let mut client = engine.client("ops@test");
        let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
        plan.options.throttle = Some(8_000_000);
        drive::start(&mut client, plan).await;
        let done = drive::cut_over(&mut client, async || {}).await;
        assert_eq!(done.verification.mismatches, 0, "{release:?}");
        assert_eq!(done.verification.repaired.documents, 0, "{release:?}");
        assert_eq!(done.verification.documents, 204, "{release:?}");
        let destination = pair.destination.client().await.unwrap();
        common::compare::assert_identical(&source, &destination).await;
        engine.shut_down().await;
    }
}
