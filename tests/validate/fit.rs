use super::*;
use mongoferry::demo::releases::Release;

#[tokio::test]
async fn a_good_pair_passes_in_order_and_leaves_no_trace() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    let orders = source.database("shop").collection::<Document>("orders");
    orders
        .insert_many((0..100).map(|n| doc! { "_id": n, "name": "x".repeat(100), "at": bson::DateTime::now() }))
        .await
        .unwrap();
    let many = doc! { "createIndexes": "orders", "indexes": [
        { "key": { "name": 1 }, "name": "name", "collation": { "locale": "de" } },
        { "key": { "n": 1 }, "name": "n", "unique": true, "partialFilterExpression": { "n": { "$exists": true } } },
        { "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 86400 },
        { "key": { "$**": "text" }, "name": "text" },
        { "key": { "place": "2dsphere" }, "name": "place" },
        { "key": { "w.$**": 1 }, "name": "wild" },
        { "key": { "h": "hashed" }, "name": "hashed", "hidden": true },
    ] };
    source.database("shop").run_command(many).await.unwrap();
    let series = doc! { "create": "readings", "timeseries": { "timeField": "t", "metaField": "m" } };
    source.database("iot").run_command(series).await.unwrap();
    source
        .database("iot")
        .run_command(doc! { "createIndexes": "readings", "indexes": [
            { "key": { "m.id": 1, "t": 1 }, "name": "by_id" }, { "key": { "m.place": "2dsphere" }, "name": "place" },
        ] })
        .await
        .unwrap();
    source.database("shop").run_command(doc! { "create": "log", "capped": true, "size": 4096 }).await.unwrap();
    source.database("shop").run_command(doc! { "create": "v", "viewOn": "orders", "pipeline": [] }).await.unwrap();

    let (at_source, at_destination) = (newest(&source).await, newest(&pair.destination.client().await.unwrap()).await);
    let seen = Mutex::new(Vec::new());
    let plan = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let publish = |report: &ValidationReport| seen.lock().unwrap().push(report.clone());
    let validated = validate::run(&plan, publish, &CancellationToken::new()).await;
    let report = validated.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.count(CheckState::Ok) + report.count(CheckState::Warn), 19, "{report:#?}");
    assert_eq!(report.checks.iter().map(|check| check.id).collect::<Vec<_>>(), CheckId::ALL);
    assert_eq!(check(&report, CheckId::SourceOplogWindow).state, CheckState::Ok, "{report:#?}");
    let data = &check(&report, CheckId::SourceData).evidence;
    assert!(data.contains("2 collections, 1 time-series collection, 1 view"), "{data}");
    assert!(data.contains("about 100 documents, 9 indexes"), "{data}");
    let features = &check(&report, CheckId::DestinationFeatures);
    assert_eq!(features.state, CheckState::Ok, "{features:#?}");
    assert!(features.evidence.contains("all 9 indexes accepted"), "{features:#?}");
    // 6.0.5 takes the server's own stage (OPLOG.md B.4).
    let dialect = validated.dialect.unwrap();
    assert!(dialect.internal_stage && dialect.major == 6, "{dialect:?}");
    assert!(report.summary.iter().any(|line| line.contains("all user databases")), "{:?}", report.summary);
    assert_eq!(report.left_behind, Vec::<String>::new());
    let (source_cluster, destination_cluster) = validated.clusters.unwrap();
    assert_eq!((source_cluster.set.as_str(), destination_cluster.set.as_str()), ("rsA", "rsB"));

    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().any(|report| report.checks[0].state == CheckState::Running));
    assert_eq!(seen.last(), Some(&report));
    assert_eq!(databases(&destination_cluster.login.client()).await, Vec::<String>::new());
    assert_eq!(written_since(&source, at_source).await, Vec::<Document>::new());
    let trial = written_since(&destination_cluster.login.client(), at_destination).await;
    assert!(!trial.is_empty());
    for entry in trial {
        assert!(entry.get_str("ns").unwrap().starts_with("mongoferry_check_"), "{entry}");
        // A time-series collection is a view with its buckets.
        let document = entry.get_str("op").unwrap() != "c" && !entry.get_str("ns").unwrap().ends_with(".system.views");
        assert!(!document, "a document was written: {entry}");
    }
}

#[tokio::test]
async fn a_full_destination_is_refused_until_clearing_is_agreed_and_the_source_always() {
    let pair = common::pair().await;
    let client = pair.destination.client().await.unwrap();
    client.database("shop").collection("old").insert_one(doc! { "_id": 1 }).await.unwrap();
    let source = Endpoint::plain(pair.source.uri());
    let mut asked = plan(source.clone(), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationEmpty, Side::Destination));
    assert!(failed.evidence.contains("shop (1 collection") && failed.fix.contains("clear_destination"), "{failed:#?}");
    assert_eq!(report.would_drop.len(), 1);

    asked.options.filter.exclude = vec![Pattern::parse("shop.old").unwrap()];
    assert!(validate(&asked).await.report.passed(), "what is not selected does not count");
    asked.options.filter.exclude.clear();
    asked.options.clear_destination = true;
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    assert!(report.summary[0].starts_with("DROP 1 collection (") && report.summary[0].contains("shop"));
    assert_eq!(databases(&client).await, ["shop"], "validation dropped something");

    // The same server under another name, with consent to clear: never.
    asked.destination = Endpoint::plain(format!("mongodb://localhost:{}/", pair.source.ports()[0]));
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!(failed.id, CheckId::DestinationIdentity);
    for address in [source.hosts(), asked.destination.hosts()] {
        assert!(failed.evidence.contains(address), "{failed:#?}");
    }
}

#[tokio::test]
async fn a_cancelled_validation_still_drops_its_temporary_database() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    for n in 0..40 {
        let name = format!("c{n}");
        let indexes: Vec<Document> =
            (0..20).map(|i| doc! { "key": { format!("f{n}_{i}"): 1 }, "name": format!("i{i}") }).collect();
        source.database("shop").run_command(doc! { "createIndexes": name, "indexes": indexes }).await.unwrap();
    }
    let asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let client = pair.destination.client().await.unwrap();
    let (trial_begun, began) = tokio::sync::oneshot::channel();
    let trial_begun = Mutex::new(Some(trial_begun));
    let running = tokio::spawn(async move {
        let publish = |report: &ValidationReport| {
            if check(report, CheckId::DestinationFeatures).state == CheckState::Running
                && let Some(sender) = trial_begun.lock().unwrap().take()
            {
                sender.send(()).unwrap();
            }
        };
        validate::run(&asked, publish, &CancellationToken::new()).await
    });
    began.await.unwrap();
    let appeared = async {
        while !databases(&client).await.iter().any(|name| name.starts_with("mongoferry_check_")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), appeared).await.expect("the trial never began");
    // The engine abandons the future, it does not wait for it.
    running.abort();
    let gone = async {
        while !databases(&client).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the temporary database stayed");
}

#[tokio::test]
async fn an_index_that_the_destination_cannot_build_is_named() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap().database("iot");
    let series = doc! { "create": "readings", "timeseries": { "timeField": "t", "metaField": "m" } };
    source.run_command(series).await.unwrap();
    // Partial indexes on time series came with feature compatibility 6.0.
    source
        .run_command(doc! { "createIndexes": "readings", "indexes": [
            { "key": { "m.id": 1 }, "name": "by_id" },
            { "key": { "m.at": 1 }, "name": "warm", "partialFilterExpression": { "m.warm": true } },
        ] })
        .await
        .unwrap();
    let destination = pair.destination.client().await.unwrap();
    let older = doc! { "setFeatureCompatibilityVersion": "5.0" };
    destination.database("admin").run_command(older).await.unwrap();
    let clients = [pair.source.client().await.unwrap(), destination.clone()];
    let untouched = Untouched::from_now(clients).await;

    let asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let features = check(&report, CheckId::DestinationFeatures);
    assert_eq!(features.state, CheckState::Warn, "{features:#?}");
    assert!(features.evidence.contains("iot.readings index warm"), "{features:#?}");
    assert!(!features.evidence.contains("by_id"), "{features:#?}");
    assert_eq!(report.left_behind.len(), 1, "{:?}", report.left_behind);
    let failed = failure(&report);
    assert_eq!(failed.id, CheckId::DestinationVersion);
    assert_eq!(failed.fix_command.as_deref(), Some("db.adminCommand({setFeatureCompatibilityVersion: '6.0'})"));
    assert_eq!(databases(&destination).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn a_collection_that_the_destination_cannot_create_forbids_the_start() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap().database("shop");
    // Pre-images of a single collection came with feature compatibility 6.0.
    let images = doc! { "create": "audited", "changeStreamPreAndPostImages": { "enabled": true } };
    source.run_command(images).await.unwrap();
    source.run_command(doc! { "create": "plain" }).await.unwrap();
    let destination = pair.destination.client().await.unwrap();
    let older = doc! { "setFeatureCompatibilityVersion": "5.0" };
    destination.database("admin").run_command(older).await.unwrap();
    let clients = [pair.source.client().await.unwrap(), destination.clone()];
    let untouched = Untouched::from_now(clients).await;

    let asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let features = check(&report, CheckId::DestinationFeatures);
    assert_eq!((features.state, features.side), (CheckState::Fail, Side::Destination), "{features:#?}");
    assert!(features.evidence.starts_with("1 collection cannot be created here: shop.audited: "), "{features:#?}");
    assert!(features.fix.starts_with("Exclude them"), "{features:#?}");
    assert_eq!(report.left_behind.len(), 1, "{:?}", report.left_behind);
    assert!(!report.passed() && report.summary.is_empty());
    assert_eq!(databases(&destination).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn only_what_is_selected_needs_room_and_a_left_over_trial_is_no_data() {
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap().database("shop");
    let noise = |seed: u64| -> String {
        // Incompressible enough that the files differ in size.
        let mut state = seed + 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (state >> 57) as u8 % 90)
        };
        std::iter::repeat_with(next).take(10_000).collect()
    };
    let large = (0..400).map(|n| doc! { "_id": n, "text": noise(n as u64) });
    source.collection("large").insert_many(large).await.unwrap();
    source.collection("small").insert_one(doc! { "_id": 1 }).await.unwrap();
    // Sizes are told after a checkpoint.
    let fsync = doc! { "fsync": 1 };
    pair.source.client().await.unwrap().database("admin").run_command(fsync).await.unwrap();
    let destination = pair.destination.client().await.unwrap();
    let left_over = doc! { "create": "trial" };
    destination.database("mongoferry_check_0123456789abcdef").run_command(left_over).await.unwrap();

    let mut asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(check(&report, CheckId::DestinationEmpty).evidence, "no user databases");
    let all = check(&report, CheckId::DestinationFreeSpace).evidence.clone();
    assert!(all.contains("MiB (data + indexes on the source's disk + 10 %)"), "{all}");
    asked.options.filter.include = vec![Pattern::parse("shop.small").unwrap()];
    let report = validate(&asked).await.report;
    let some = check(&report, CheckId::DestinationFreeSpace).evidence.clone();
    assert!(some.contains("KiB (the selected data + indexes on the source's disk + 10 %)"), "{some}");
    assert_eq!(databases(&destination).await, ["mongoferry_check_0123456789abcdef"]);
}

#[tokio::test]
async fn somebody_who_writes_on_the_destination_is_noticed() {
    let pair = common::pair().await;
    let client = pair.destination.client().await.unwrap();
    let scratch = client.database("scratch").collection::<Document>("notes");
    for n in 0..3 {
        scratch.insert_one(doc! { "_id": n }).await.unwrap();
    }
    let mut asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert!(failed.evidence.contains("written to: scratch.notes (3 writes in 60 s)"), "{failed:#?}");
    // What is not selected may stay, but it may also be somebody who goes on.
    asked.options.filter.exclude = vec![Pattern::parse("scratch").unwrap()];
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    let empty = check(&report, CheckId::DestinationEmpty);
    assert_eq!((empty.state, empty.side), (CheckState::Warn, Side::Destination), "{empty:#?}");
    assert!(empty.evidence.contains("scratch.notes") && empty.fix.contains("Stop what writes there"), "{empty:#?}");
    assert!(empty.fix_command.as_ref().unwrap().contains("$currentOp"), "{empty:#?}");
}

/// Validates, runs the printed command on the source, and validates again.
async fn named_and_mended(pair: &common::Pair, client: &mongodb::Client, what: &str) {
    let plan = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&plan).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceData, Side::Source), "{report:#?}");
    assert!(failed.evidence.contains(what), "{failed:#?}");
    let command = failed.fix_command.clone().unwrap();
    let mut names = command.split('"').filter(|part| part.starts_with("d."));
    let rename = doc! { "renameCollection": names.next().unwrap(), "to": names.next().unwrap() };
    client.database("admin").run_command(rename).await.unwrap_or_else(|error| panic!("{command}: {error}"));
    let report = validate(&plan).await.report;
    assert!(report.passed(), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_and_a_collection_of_one_name_are_named_and_mended() {
    let pair = common::pair_between(Release::V4_4_2, Release::V6_0_5).await;
    let client = pair.source.client().await.unwrap();
    let db = client.database("d");
    db.run_command(doc! { "create": "base" }).await.unwrap();
    // A race that 4.4 loses nearly always.
    for n in 0..500 {
        let name = format!("c{n}");
        let create = |command: Document| {
            let db = db.clone();
            tokio::spawn(async move { db.run_command(command).await.is_ok() })
        };
        let (collection, view) =
            (create(doc! { "create": &name }), create(doc! { "create": &name, "viewOn": "base", "pipeline": [] }));
        if collection.await.unwrap() && view.await.unwrap() {
            return named_and_mended(&pair, &client, "a collection and a view have this name").await;
        }
        db.run_command(doc! { "drop": &name }).await.unwrap();
    }
    panic!("no view and collection of one name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_beside_buckets_of_its_name_is_named_and_mended() {
    let pair = common::pair().await;
    let client = pair.source.client().await.unwrap();
    let db = client.database("d");
    let view = doc! { "create": "v", "viewOn": "s", "pipeline": [], "collation": { "locale": "de" } };
    db.run_command(view).await.unwrap();
    // The view of another collation refuses it, and the buckets stay.
    db.run_command(doc! { "create": "s", "timeseries": { "timeField": "at" } }).await.unwrap_err();
    db.run_command(doc! { "drop": "v" }).await.unwrap();
    db.run_command(doc! { "create": "s" }).await.unwrap();
    named_and_mended(&pair, &client, "the buckets of a time series").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clustered_collection_turned_capped_is_refused_in_advance() {
    let pair = common::pair().await;
    let db = pair.source.client().await.unwrap().database("d");
    let clustered = doc! { "create": "c", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } };
    db.run_command(clustered).await.unwrap();
    db.run_command(doc! { "insert": "c", "documents": [{ "_id": 1 }] }).await.unwrap();
    db.run_command(doc! { "convertToCapped": "c", "size": 4_096 }).await.unwrap();
    let plan = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&plan).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationFeatures, Side::Destination), "{report:#?}");
    assert!(failed.evidence.contains("1 collection cannot be created here: d.c"), "{failed:#?}");
}
