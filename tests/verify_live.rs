//! Verification against real servers: what was changed behind the migration's back is found and named, and nothing else.

#![allow(clippy::expect_used, clippy::panic)]

mod common;
#[path = "verify/kinds.rs"]
mod kinds;
#[path = "verify/opened.rs"]
mod opened;
#[path = "verify/phases.rs"]
mod phases;
#[path = "verify/repaired.rs"]
mod repaired;
#[path = "verify/resume.rs"]
mod resume;
#[path = "verify/sets.rs"]
mod sets;

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongoferry::{
    engine::{
        dirty::DirtySet,
        metadata,
        verify::{Target, Verifier},
    },
    model::snapshot::{MismatchKind, Verification, VerificationState},
};
use sets::{Pair, key, literal};
use std::sync::Arc;
use tokio::sync::watch;

type Case = (&'static str, RawDocumentBuf, Option<RawDocumentBuf>, MismatchKind, &'static [&'static str]);

/// `_id`, what the source has, what the destination has instead, and how that must be named.
fn corruptions() -> Vec<Case> {
    use MismatchKind::{Different, Missing};
    let at = |time| Timestamp { time, increment: time };
    vec![
        (
            "value",
            rawdoc! {"_id": "value", "a": {"b": [1, 2]}},
            Some(rawdoc! {"_id": "value", "a": {"b": [1, 3]}}),
            Different,
            &["a.b.1"],
        ),
        ("type", rawdoc! {"_id": "type", "n": 1}, Some(rawdoc! {"_id": "type", "n": 1_i64}), Different, &["n"]),
        (
            "order",
            rawdoc! {"_id": "order", "a": 1, "b": 2},
            Some(rawdoc! {"_id": "order", "b": 2, "a": 1}),
            Different,
            &["(field order)"],
        ),
        ("missing", rawdoc! {"_id": "missing"}, None, Missing, &[]),
        (
            "nan",
            rawdoc! {"_id": "nan", "x": f64::from_bits(0x7ff8_0000_0000_0000)},
            Some(rawdoc! {"_id": "nan", "x": f64::from_bits(0x7ff8_0000_0000_beef)}),
            Different,
            &["x"],
        ),
        ("zero", rawdoc! {"_id": "zero", "t": at(0)}, Some(rawdoc! {"_id": "zero", "t": at(5)}), Different, &["t"]),
        ("minus", rawdoc! {"_id": "minus", "x": 0.0}, Some(rawdoc! {"_id": "minus", "x": -0.0}), Different, &["x"]),
    ]
}

/// Inserts `count` documents with integer identifiers and a payload of `bytes`.
fn many(count: i32, bytes: usize) -> RawDocumentBuf {
    let documents: Vec<Document> = (0..count).map(|n| doc! { "_id": n, "x": "y".repeat(bytes) }).collect();
    RawDocumentBuf::try_from(&doc! { "insert": "c", "documents": documents }).expect("command")
}

async fn check(pair: &Pair, dirty: &Arc<DirtySet>, base: bool) -> (Verifier, Verification) {
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view.clone());
    let registry = pair.registry().await;
    if base {
        verifier.base_pass(Target::all(&registry, |_| 10)).await.expect("base pass");
        assert_eq!(view.borrow().mismatches, 0, "the base pass gives no verdict");
    }
    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(verdict, *view.borrow(), "the view shows the verdict");
    assert_eq!(verdict.state, VerificationState::Done);
    (verifier, verdict)
}

fn named(verdict: &Verification) -> Vec<(String, MismatchKind, Vec<String>)> {
    verdict.examples.iter().map(|one| (one.id.clone(), one.kind, one.paths.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_corruption_is_found_named_and_repaired() {
    let pair = Pair::start().await;
    for (_, wanted, instead, _, _) in corruptions() {
        literal(&pair.context.source, "shop", "c", &wanted).await;
        if let Some(instead) = instead {
            literal(&pair.context.destination, "shop", "c", &instead).await;
        }
    }
    pair.both("shop", many(3_000, 100)).await;
    literal(&pair.context.destination, "shop", "c", &rawdoc! {"_id": "zz extra", "a": 1}).await;
    literal(&pair.context.source, "shop", "c", &rawdoc! {"_id": 100_000, "a": 1}).await;
    literal(&pair.context.destination, "shop", "c", &rawdoc! {"_id": 100_000_i64, "a": 1}).await;

    for base in [true, false] {
        let (mut verifier, verdict) = check(&pair, &Arc::default(), base).await;
        let found = named(&verdict);
        for (id, _, _, kind, paths) in corruptions() {
            let wanted = (format!("{id:?}"), kind, paths.iter().map(ToString::to_string).collect());
            assert!(found.contains(&wanted), "{wanted:?} is not among {found:#?} (base pass: {base})");
        }
        assert!(found.contains(&("\"zz extra\"".into(), MismatchKind::Extra, Vec::new())), "{found:#?}");
        assert!(found.contains(&("100000".into(), MismatchKind::Different, vec!["_id".into()])), "{found:#?}");
        assert_eq!((verdict.mismatches, found.len()), (9, 9), "and nothing else");
        let row = &verdict.collections[0];
        assert_eq!((row.missing, row.extra, row.different, row.done), (1, 1, 7, true));
        assert!(verdict.documents >= 3_007, "{} documents", verdict.documents);
        if !base {
            let (now, repaired) = verifier.repair(&pair.registry().await).await.expect("repair");
            assert_eq!(now.mismatches, 0, "{:#?}", now.examples);
            assert!(now.examples.is_empty());
            let was: Vec<_> = repaired.examples.iter().map(|one| (one.id.clone(), one.kind)).collect();
            assert_eq!((repaired.documents, was.len()), (9, 9));
            assert!(found.iter().all(|(id, kind, _)| was.contains(&(id.clone(), *kind))), "{was:?}");
        }
    }
    let (_, verdict) = check(&pair, &Arc::default(), true).await;
    assert_eq!((verdict.mismatches, verdict.recheck), (0, 0), "{:#?}", verdict.examples);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_clusters_of_every_kind_have_no_difference() {
    let pair = Pair::start().await;
    pair.both("shop", rawdoc! { "create": "capped", "capped": true, "size": 100_000 }).await;
    pair.both("shop", rawdoc! { "create": "german", "collation": { "locale": "de", "strength": 1 } }).await;
    pair.both("shop", rawdoc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
        .await;
    pair.both("shop", rawdoc! { "create": "readings", "timeseries": { "timeField": "t", "metaField": "m" } }).await;
    pair.both("shop", rawdoc! { "create": "empty" }).await;
    pair.both("shop", rawdoc! { "create": "view", "viewOn": "mixed", "pipeline": [{ "$match": { "a": 1 } }] }).await;
    pair.both("shop", rawdoc! { "createIndexes": "mixed", "indexes": [{ "key": { "a": 1 }, "name": "a_1" }] }).await;
    let ids = sets::mixed_ids();
    for id in &ids {
        let document = RawDocumentBuf::try_from(&doc! { "_id": id.clone(), "a": 1 }).expect("document");
        for name in ["mixed", "clustered", "capped"] {
            pair.both("shop", rawdoc! { "insert": name, "documents": [document.clone()] }).await;
        }
    }
    let words = ["b", "Ärger", "a", "Zebra", "ähnlich", "c"];
    for word in words {
        pair.both("shop", rawdoc! { "insert": "german", "documents": [{ "_id": word }] }).await;
    }
    // Each server makes its own bucket identifiers: the migration copies buckets as they are.
    let readings: Vec<Document> = (0..50)
        .map(|second| doc! { "t": bson::DateTime::from_millis(second * 1000), "m": second % 3, "v": second, "_id": second })
        .collect();
    let readings = RawDocumentBuf::try_from(&doc! { "insert": "readings", "documents": readings }).expect("command");
    pair.context.source.run("shop", readings).await.expect("inserted");
    pair.copy_raw("shop", "system.buckets.readings").await;

    for base in [true, false] {
        let (_, verdict) = check(&pair, &Arc::default(), base).await;
        assert_eq!(verdict.mismatches, 0, "{:#?}", verdict.examples);
        assert_eq!(verdict.metadata_differences, Vec::<String>::new());
        assert_eq!(verdict.documents, 3 * ids.len() as u64 + words.len() as u64 + 3, "base pass: {base}");
        assert!(verdict.collections.iter().all(|row| row.done));
    }
    assert_eq!(metadata::compare(&pair.context).await.expect("compared"), Vec::<String>::new());

    // Another spelling that the collation takes for the same identifier.
    let source = &pair.context.source;
    source
        .run("shop", rawdoc! { "insert": "german", "documents": [{ "_id": "straße", "n": 1 }] })
        .await
        .expect("insert");
    let destination = &pair.context.destination;
    destination
        .run("shop", rawdoc! { "insert": "german", "documents": [{ "_id": "STRASSE", "n": 1 }] })
        .await
        .expect("insert");
    let (mut verifier, verdict) = check(&pair, &Arc::default(), true).await;
    let wanted = ("\"straße\"".to_string(), MismatchKind::Different, vec!["_id".to_string()]);
    assert_eq!(named(&verdict), [wanted]);
    let (now, repaired) = verifier.repair(&pair.registry().await).await.expect("repair");
    assert_eq!((now.mismatches, repaired.documents), (0, 1), "{:#?}", now.examples);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_touched_is_looked_at_again_and_metadata_is_named() {
    let pair = Pair::start().await;
    pair.both("shop", many(200, 1)).await;
    pair.both("shop", rawdoc! { "create": "log", "capped": true, "size": 8192 }).await;
    let registry = pair.registry().await;
    let dirty: Arc<DirtySet> = Arc::default();
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view);
    verifier.base_pass(Target::all(&registry, |_| 0)).await.expect("base pass");
    let uuid = pair.uuid(&registry, "shop.c");

    let update = |n: i32| rawdoc! { "update": "c", "updates": [{ "q": { "_id": n }, "u": { "$set": { "x": n } } }] };
    pair.both("shop", update(1)).await;
    dirty.touch(uuid, &key(1));
    pair.context.source.run("shop", update(2)).await.expect("update");
    dirty.touch(uuid, &key(2));
    assert_eq!(dirty.count(), 2);
    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(named(&verdict), [("2".into(), MismatchKind::Different, vec!["x".into()])]);

    // A mismatch stays in doubt: the next final pass looks again without being told.
    let again = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(named(&again), named(&verdict));
    pair.context.destination.run("shop", update(2)).await.expect("update");
    assert_eq!(verifier.final_pass(&registry).await.expect("final pass").mismatches, 0);

    pair.both("shop", rawdoc! { "createIndexes": "c", "indexes": [{ "key": { "x": 1 }, "name": "x_1" }] }).await;
    let destination = &pair.context.destination;
    destination.run("shop", rawdoc! { "dropIndexes": "c", "index": "x_1" }).await.expect("dropped");
    let change = rawdoc! { "collMod": "c", "validator": { "x": { "$gte": 0 } } };
    destination.run("shop", change).await.expect("changed");
    destination.run("shop", rawdoc! { "create": "surplus" }).await.expect("created");
    destination.run("shop", rawdoc! { "drop": "log" }).await.expect("dropped");
    let differences = metadata::compare(&pair.context).await.expect("compared");
    for wanted in [
        "shop.log: this collection is missing on the destination",
        "shop.surplus: this collection is on the destination only",
        "shop.c: index x_1 is missing on the destination",
        r#"shop.c: option validator is absent on the source, {"x":{"$gte":0}} on the destination"#,
    ] {
        assert!(differences.iter().any(|one| one == wanted), "{wanted} is not in {differences:#?}");
    }
    pair.context.source.run("shop", rawdoc! { "create": "unfollowed" }).await.expect("created");
    destination.run("shop", rawdoc! { "create": "unfollowed" }).await.expect("created");
    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    let unfollowed = "shop.unfollowed: this collection of the source was not followed or compared";
    assert!(verdict.metadata_differences.iter().any(|one| one == unfollowed), "{:#?}", verdict.metadata_differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_lost_a_collection_is_missing_every_document() {
    let pair = Pair::start().await;
    pair.both("shop", many(1_700, 50)).await;
    pair.context.destination.run("shop", rawdoc! { "drop": "c" }).await.expect("dropped");
    let (mut verifier, verdict) = check(&pair, &Arc::default(), true).await;
    assert_eq!((verdict.mismatches, verdict.collections[0].missing), (1_700, 1_700));
    assert_eq!(verdict.examples.len(), 100);
    assert_eq!(verdict.metadata_differences, ["shop.c: this collection is missing on the destination"]);
    let (now, repaired) = verifier.repair(&pair.registry().await).await.expect("repair");
    assert_eq!((now.mismatches, now.metadata_differences.len()), (0, 0));
    assert_eq!((repaired.documents, repaired.examples.len()), (1_700, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_raw_order_of_identifiers_is_the_servers() {
    let pair = Pair::start().await;
    let source = &pair.context.source;
    for id in sets::mixed_ids() {
        let command = doc! { "insert": "c", "documents": [{ "_id": id }] };
        source.run("shop", RawDocumentBuf::try_from(&command).expect("command")).await.expect("inserted");
    }
    let reply =
        source.run("shop", rawdoc! { "find": "c", "sort": { "_id": 1 }, "batchSize": 1000 }).await.expect("found");
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("batch");
    let keys: Vec<Vec<u8>> = batch
        .into_iter()
        .map(|document| sets::key_of(document.expect("element").as_document().expect("document")))
        .collect();
    assert_eq!(keys.len(), sets::mixed_ids().len());
    let id = |key: &'static [u8]| mongoferry::engine::verify::id::Id::from_key(key).expect("id");
    let keys: Vec<&'static [u8]> = keys.into_iter().map(|key| &*key.leak()).collect();
    for pair in keys.windows(2) {
        let order = id(pair[0]).compare(id(pair[1]));
        assert_eq!(order, std::cmp::Ordering::Less, "{} before {}", id(pair[0]).show(), id(pair[1]).show());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_cursors_are_taken_up_without_missing_or_doubling_a_document() {
    let pair = Pair::start().await;
    pair.context.throttle.set(Some(40_000_000));
    for _ in 0..40 {
        let documents: Vec<Document> = (0..100).map(|_| doc! { "x": "y".repeat(10_000) }).collect();
        let documents = documents.into_iter().map(|mut document| {
            document.insert("_id", bson::oid::ObjectId::new());
            document
        });
        let command = doc! { "insert": "c", "documents": documents.collect::<Vec<_>>() };
        pair.both("shop", RawDocumentBuf::try_from(&command).expect("command")).await;
    }
    let (source, destination) = (pair.context.source.clone(), pair.context.destination.clone());
    let killing = tokio::spawn(async move {
        for _ in 0..8 {
            tokio::time::sleep(std::time::Duration::from_millis(90)).await;
            for cluster in [&source, &destination] {
                // It may kill its own session too.
                let _ = cluster.run("admin", rawdoc! { "killAllSessions": bson::RawArrayBuf::new() }).await;
            }
        }
    });
    let began = std::time::Instant::now();
    let (_, verdict) = check(&pair, &Arc::default(), true).await;
    assert!(began.elapsed() > std::time::Duration::from_millis(900), "40 MB at 40 MB/s took {:?}", began.elapsed());
    killing.await.expect("killing");
    let events = pair.context.events.since(0);
    assert_eq!((verdict.mismatches, verdict.documents), (0, 4_000), "{events:#?}");
    let taken_up = events.iter().filter(|event| event.text.contains("was interrupted and goes on")).count();
    assert!(taken_up > 0, "no cursor was killed in time: {events:#?}");
}

/// Changes reach the destination late, as they do while following, and are touched when they are applied.
async fn write_and_follow(
    pair: &Pair,
    dirty: &DirtySet,
    uuid: bson::Uuid,
    seed: u64,
    until: std::time::Instant,
) -> u32 {
    let (mut random, mut writes) = (seed, 0);
    while std::time::Instant::now() < until {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Writers share no document, so that the order of two writes to one document is never in question.
        let id = i32::try_from((random >> 33) % 700).expect("small") * 2 + i32::try_from(seed % 2).expect("small");
        let command = if random >> 60 < 4 {
            rawdoc! { "delete": "c", "deletes": [{ "q": { "_id": id }, "limit": 1 }] }
        } else {
            let change = rawdoc! { "$set": { "x": (random >> 40) as i32 } };
            rawdoc! { "update": "c", "updates": [{ "q": { "_id": id }, "u": change, "upsert": true }] }
        };
        pair.context.source.run("shop", command.clone()).await.expect("written");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        dirty.touch(uuid, &key(id));
        pair.context.destination.run("shop", command).await.expect("applied");
        writes += 1;
    }
    writes
}

#[tokio::test(flavor = "multi_thread")]
async fn live_writes_never_make_a_false_mismatch_and_fresh_checks_leave_little() {
    let pair = Pair::start().await;
    pair.both("shop", many(1_000, 2_000)).await;
    let registry = pair.registry().await;
    let uuid = pair.uuid(&registry, "shop.c");
    let dirty: Arc<DirtySet> = Arc::default();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(4);
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), dirty.clone(), view.clone());
    let targets = Target::all(&registry, |_| 1_000);
    let (one, two, compared) = tokio::join!(
        write_and_follow(&pair, &dirty, uuid, 1, until),
        write_and_follow(&pair, &dirty, uuid, 2, until),
        async {
            // Again and again while changes are in flight.
            while std::time::Instant::now() < until {
                dirty.touch_everything();
                verifier.base_pass(targets.clone()).await.expect("base pass");
            }
        },
    );
    assert!(one + two > 100, "only {one} + {two} writes");
    let () = compared;

    let few = i32::try_from(dirty.count()).expect("few");
    dirty.touch(uuid, &key(1));
    assert!(dirty.count() > 0);
    let stop = verifier.stopper();
    let stopping = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        stop.cancel();
    });
    verifier.keep_fresh(targets).await.expect("kept fresh");
    stopping.await.expect("stopped");
    assert_eq!(dirty.count(), 0, "{few} documents were compared again and were equal");

    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(verdict.mismatches, 0, "{:#?}", verdict.examples);
    assert!(verdict.documents > 500, "{} documents", verdict.documents);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_the_base_pass_and_the_final_pass_compares_the_rest() {
    let pair = Pair::start().await;
    pair.both("shop", many(50, 10)).await;
    pair.context.source.run("shop", rawdoc! { "insert": "c", "documents": [{ "_id": -1 }] }).await.expect("inserted");
    let registry = pair.registry().await;
    let view = watch::Sender::new(Verification::default());
    let mut verifier = Verifier::new(pair.context.clone(), Arc::default(), view.clone());
    verifier.stopper().cancel();
    verifier.base_pass(Target::all(&registry, |_| 51)).await.expect("stopped");
    assert!(view.borrow().collections.iter().all(|row| !row.done), "nothing was finished");
    let verdict = verifier.final_pass(&registry).await.expect("final pass");
    assert_eq!(named(&verdict), [("-1".into(), MismatchKind::Missing, Vec::new())]);

    pair.context.cancel.cancel();
    assert_eq!(verifier.final_pass(&registry).await, Err(mongoferry::engine::retry::Halt::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connect_page_shows_who_is_there() {
    let pair = Pair::start().await;
    let uri = format!("mongodb://{}/?replicaSet=rsB&appName=checkout-api", pair.context.destination.hosts[0]);
    let application = mongodb::Client::with_uri_str(&uri).await.expect("client");
    application.list_database_names().await.expect("connected");
    let endpoint = mongoferry::model::Endpoint::plain("mongodb://ignored:1");
    let context = pair.context.clone();
    let filter = context.options.filter.clone();
    let arrivals = |cluster: &mongoferry::mongo::Cluster| {
        mongoferry::engine::foreign::Arrivals::new(cluster.clone(), cluster.tally.clone(), filter.clone())
    };
    let watched = mongoferry::engine::connect_info::Watched {
        namespaces: vec!["shop.orders".into(), "jobs.locks".into()],
        applications: ["checkout-api".to_string(), "cron".to_string()].into(),
        destination: arrivals(&context.destination),
        source: arrivals(&context.source),
    };
    let (view, mut shown) = tokio::sync::watch::channel(None);
    tokio::spawn(mongoferry::engine::connect_info::poll(context, endpoint, watched, view));
    let mut until = async |wanted: &dyn Fn(&mongoferry::model::snapshot::ConnectInfo) -> bool| {
        let waiting = shown.wait_for(|info: &Option<_>| info.as_ref().is_some_and(wanted));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(120), waiting).await;
        waited.expect("it never came").expect("the poll lives").clone().expect("info")
    };
    let info = until(&|info| info.applications.iter().any(|one| one.connections > 0)).await;
    assert!(!info.applications.iter().any(|one| one.name == "mongoferry"), "{info:?}");
    let of = |info: &mongoferry::model::snapshot::ConnectInfo, name: &str| {
        info.applications.iter().find(|one| one.name == name).cloned().expect("an application")
    };
    assert!(of(&info, "checkout-api").since.is_some(), "{info:?}");
    // It wrote to the source before and is not here: never left out, never counted as arrived.
    assert_eq!((of(&info, "cron").connections, of(&info, "cron").since), (0, None));
    let missing: Vec<_> = info.arrivals.iter().filter(|row| row.since.is_none()).map(|row| &row.namespace).collect();
    assert_eq!(missing, ["shop.orders", "jobs.locks"]);
    assert!(info.left_writing.is_empty(), "{info:?}");
    let host = pair.context.destination.hosts[0].clone();
    assert_eq!(info.driver_uri, format!("mongodb://{host}/?replicaSet=rsB"));
    assert_eq!(info.env_line, format!("MONGODB_URI={}", info.driver_uri));
    assert!(info.stragglers.iter().all(|one| !one.starts_with("checkout-api")), "{:?}", info.stragglers);

    // The application writes where it belongs; somebody else still writes to the source.
    let orders = application.database("shop").collection::<Document>("orders");
    for n in 0..7 {
        orders.insert_one(doc! { "_id": format!("new {n}") }).await.expect("insert");
    }
    let old = format!("mongodb://{}/?replicaSet=rsA&appName=cron", pair.context.source.hosts[0]);
    let straggler = mongodb::Client::with_uri_str(&old).await.expect("client");
    straggler.database("jobs").collection::<Document>("locks").insert_one(doc! { "_id": 1 }).await.expect("insert");
    let info = until(&|info| !info.left_writing.is_empty() && info.arrivals.iter().any(|row| row.writes == 7)).await;
    let written = info.arrivals.iter().find(|row| row.namespace == "shop.orders").expect("a row");
    assert!(written.since.is_some() && written.last_write >= written.since, "{written:?}");
    assert_eq!((info.left_writing[0].namespace.as_str(), info.left_writing[0].writes), ("jobs.locks", 1));
    assert!(info.stragglers.iter().any(|one| one.starts_with("cron (")), "{:?}", info.stragglers);
    pair.context.cancel.cancel();
}
