//! Validation against real servers: each cause has its own message, side and fix, and nothing is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "validate/guarded.rs"]
mod guarded;

use bson::{Document, doc};
use guarded::Guarded;
use mongoferry::{
    demo::{ReplicaSet, SetOptions, releases},
    model::{Check, CheckId, CheckState, Endpoint, Options, Plan, Side, Tls, ValidationReport, filter::Pattern},
    mongo::connect::connect,
    secret::Secret,
    validate::{self, Validated},
};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::sync::CancellationToken;

fn plan(source: Endpoint, destination: Endpoint) -> Plan {
    Plan { name: "t".into(), source, destination, options: Options::default() }
}

async fn validate(plan: &Plan) -> Validated {
    validate::run(plan, |_| {}, &CancellationToken::new()).await
}

fn check(report: &ValidationReport, id: CheckId) -> &Check {
    report.checks.iter().find(|check| check.id == id).unwrap()
}

/// The only failed check.
fn failure(report: &ValidationReport) -> &Check {
    let failed: Vec<&Check> = report.checks.iter().filter(|check| check.state == CheckState::Fail).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(!report.passed() && report.finished && report.summary.is_empty());
    assert!(!failed[0].explanation.is_empty() && !failed[0].fix.is_empty(), "{:#?}", failed[0]);
    failed[0]
}

async fn databases(client: &mongodb::Client) -> Vec<String> {
    let mut names = client.list_database_names().await.unwrap();
    names.retain(|name| !["admin", "config", "local"].contains(&name.as_str()));
    names
}

/// Everything but noops and the set's own bookkeeping that the oplog holds after `since`.
async fn written_since(set: &ReplicaSet, since: bson::Timestamp) -> Vec<Document> {
    let oplog = set.client().await.unwrap().database("local").collection::<Document>("oplog.rs");
    let filter =
        doc! { "ts": { "$gt": since }, "op": { "$ne": "n" }, "ns": { "$not": { "$regex": "^(config|admin)\\." } } };
    let mut cursor = oplog.find(filter).await.unwrap();
    let mut entries = Vec::new();
    while cursor.advance().await.unwrap() {
        entries.push(cursor.deserialize_current().unwrap());
    }
    entries
}

async fn newest(set: &ReplicaSet) -> bson::Timestamp {
    let oplog = set.client().await.unwrap().database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    entry.get_timestamp("ts").unwrap()
}

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

    let (at_source, at_destination) = (newest(&pair.source).await, newest(&pair.destination).await);
    let seen = Mutex::new(Vec::new());
    let plan = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let publish = |report: &ValidationReport| seen.lock().unwrap().push(report.clone());
    let validated = validate::run(&plan, publish, &CancellationToken::new()).await;
    let report = validated.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(report.count(CheckState::Ok) + report.count(CheckState::Warn), 18, "{report:#?}");
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
    assert_eq!(databases(&destination_cluster.client).await, Vec::<String>::new());
    assert_eq!(written_since(&pair.source, at_source).await, Vec::<Document>::new());
    let trial = written_since(&pair.destination, at_destination).await;
    assert!(!trial.is_empty());
    for entry in trial {
        assert!(entry.get_str("ns").unwrap().starts_with("mongoferry_check_"), "{entry}");
        // A time-series collection is a view with its buckets.
        let document = entry.get_str("op").unwrap() != "c" && !entry.get_str("ns").unwrap().ends_with(".system.views");
        assert!(!document, "a document was written: {entry}");
    }
}

#[tokio::test]
async fn addresses_that_lead_nowhere_have_their_own_causes_and_fail_soon() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web_at = web.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = web.accept().await.unwrap();
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    for (uri, within_s, what) in [
        (format!("mongodb://{closed}/"), 2, "refuses the connection"),
        ("mongodb://no-such-host.invalid/".to_string(), 8, "the host name no-such-host.invalid is not known"),
        (format!("mongodb://{silent_at}/?replicaSet=rs0"), 8, "accepts the connection but does not answer"),
        (format!("mongodb://{web_at}/"), 8, "is not a MongoDB server"),
        ("mongodb+srv://no-such-host.invalid/".to_string(), 8, "no-such-host.invalid"),
        ("mongodb://".to_string(), 1, "the address cannot be used"),
    ] {
        let began = Instant::now();
        let problem = connect(Side::Destination, &Endpoint::plain(&uri)).await.expect_err(&uri);
        assert!(began.elapsed() < Duration::from_secs(within_s), "{uri} took {:?}", began.elapsed());
        assert!(problem.what.contains(what), "{uri}: {problem}");
        assert_eq!(problem.side, Side::Destination);
        assert!(!problem.fix.is_empty() && problem.written == "Nothing has been written to either cluster.");
        let test = validate::test_destination(&Endpoint::plain(&uri)).await;
        assert_eq!(test.problem.expect("problem").what, problem.what);
    }
    drop(silent);
}

#[tokio::test]
async fn one_dead_side_does_not_hide_the_other() {
    let pair = common::pair().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = Endpoint::plain(format!("mongodb://{closed}/"));
    let report = validate(&plan(dead.clone(), Endpoint::plain(pair.destination.uri()))).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceNetwork, Side::Source));
    assert_eq!(check(&report, CheckId::SourceData).state, CheckState::Skip);
    assert!(check(&report, CheckId::SourceData).evidence.contains("source"));
    assert_eq!(check(&report, CheckId::DestinationReplicaSet).state, CheckState::Ok);
    assert_eq!(check(&report, CheckId::DestinationEmpty).state, CheckState::Ok);

    let validated = validate(&plan(Endpoint::plain(pair.source.uri()), dead)).await;
    assert!(validated.clusters.is_none() && validated.dialect.is_none());
    let failed = failure(&validated.report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationNetwork, Side::Destination));
    assert_eq!(check(&validated.report, CheckId::SourceData).state, CheckState::Ok);
    assert_eq!(check(&validated.report, CheckId::DestinationFeatures).state, CheckState::Skip);
}

#[tokio::test]
async fn servers_that_are_no_replica_set_or_another_one_are_named() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { name: None, ..SetOptions::single("x") };
    let (standalone, pair) = (ReplicaSet::start(&mongod, &options).await.unwrap(), common::pair().await);
    let destination = Endpoint::plain(pair.destination.uri());
    for uri in [
        format!("mongodb://127.0.0.1:{}/", standalone.ports()[0]),
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", standalone.ports()[0]),
    ] {
        let report = validate(&plan(Endpoint::plain(uri), destination.clone())).await.report;
        let failed = failure(&report);
        assert_eq!((failed.id, failed.side), (CheckId::SourceReplicaSet, Side::Source));
        assert!(failed.evidence.contains("standalone") && failed.fix.contains("rs.initiate()"), "{failed:#?}");
    }
    let wrong = format!("mongodb://127.0.0.1:{}/?replicaSet=rsX", pair.source.ports()[0]);
    let report = validate(&plan(Endpoint::plain(wrong), destination)).await.report;
    let failed = failure(&report);
    assert!(failed.evidence.contains("rsA, not rsX") && failed.fix.contains("replicaSet=rsA"), "{failed:#?}");
    assert_eq!(databases(&pair.destination.client().await.unwrap()).await, Vec::<String>::new());
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
async fn logins_and_permissions_fail_by_name_and_the_printed_grant_repairs_them() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let destination = Endpoint::plain(pair.destination.uri());
    let sign_in = |endpoint: Endpoint| {
        let destination = destination.clone();
        async move {
            let report = validate(&plan(endpoint, destination)).await.report;
            let failed = failure(&report);
            assert_eq!((failed.id, failed.side), (CheckId::SourceSignIn, Side::Source), "{failed:#?}");
            assert!(!format!("{report:?}").contains("not-the-password"));
            failed.evidence.clone()
        }
    };
    let wrong =
        |user: &str| Endpoint { password: Some(Secret::new("not-the-password".into())), ..guarded.endpoint(user) };
    assert!(sign_in(wrong("root")).await.contains("refused the login of root@admin"));
    assert!(sign_in(wrong("nobody")).await.contains("refused the login of nobody@admin"));
    let elsewhere = Endpoint { auth_source: Some("shop".into()), ..guarded.endpoint("root") };
    assert!(sign_in(elsewhere).await.contains("refused the login of root@shop"));
    let without = Endpoint::plain(guarded.endpoint("root").uri);
    assert!(sign_in(without).await.contains("requires a login, and no user is given"));
    let needless = Endpoint { uri: pair.source.uri(), ..guarded.endpoint("root") };
    assert!(sign_in(needless).await.contains("runs without authentication"));

    // A source user who may read data, but not the oplog.
    guarded.create_user("reader", &["readAnyDatabase"]).await;
    let reader = plan(guarded.endpoint("reader"), destination.clone());
    let report = validate(&reader).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourcePermissions, Side::Source));
    assert!(failed.evidence.contains("find on local.oplog.rs"), "{failed:#?}");
    assert_eq!(
        failed.fix_command.as_deref(),
        Some("db.getSiblingDB('admin').grantRolesToUser('reader', [{role: 'clusterMonitor', db: 'admin'}])")
    );
    guarded.grant("reader", &["clusterMonitor"]).await;
    let report = validate(&reader).await.report;
    assert!(report.passed(), "{report:#?}");

    // One database only: the others would silently stay behind.
    guarded.create_user("narrow", &["clusterMonitor"]).await;
    guarded.grant_on("narrow", "read", "shop").await;
    let mut narrow = plan(guarded.endpoint("narrow"), destination.clone());
    let report = validate(&narrow).await.report;
    assert_eq!(failure(&report).evidence, "missing: find, listCollections, listIndexes");
    narrow.options.filter.include = vec![Pattern::parse("shop").unwrap()];
    assert!(validate(&narrow).await.report.passed());

    // A destination user who may write, but not administer.
    guarded.create_user("writer", &["readWriteAnyDatabase"]).await;
    let writer = plan(Endpoint::plain(pair.source.uri()), guarded.endpoint("writer"));
    let report = validate(&writer).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationPermissions, Side::Destination));
    assert!(failed.evidence.contains("collMod"), "{failed:#?}");
    assert!(failed.fix_command.as_ref().unwrap().contains("dbAdminAnyDatabase"), "{failed:#?}");
    guarded.grant("writer", &["dbAdminAnyDatabase"]).await;
    let report = validate(&writer).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(databases(&guarded.client().await).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_tls_mistake_has_its_own_message() {
    let (tls, pair) = (guarded::TlsSet::start().await, common::pair().await);
    let destination = Endpoint::plain(pair.destination.uri());
    let uri = |host: &str| format!("mongodb://{host}:{}/", tls.port);
    let right = Tls::PrivateCa { pem: tls.ca.clone() };
    let wrong = Tls::PrivateCa { pem: include_str!("fixtures/tls/other-ca.pem").to_string() };
    let of = |host: &str, tls: &Tls| Endpoint { tls: tls.clone(), ..Endpoint::plain(uri(host)) };
    for (endpoint, what, fix) in [
        (of("localhost", &Tls::Off), "requires TLS, and TLS is off", "Switch TLS on"),
        (of("localhost", &Tls::PublicCa), "was not signed by a public authority", "private CA"),
        (of("localhost", &wrong), "was not signed by the given CA", "CA certificate"),
        (of("127.0.0.1", &right), "was made for another name", "name that the certificate holds"),
        (
            Endpoint { tls: right.clone(), ..Endpoint::plain(pair.source.uri()) },
            "does not use TLS, and TLS is on",
            "Switch TLS off",
        ),
    ] {
        let began = Instant::now();
        let report = validate(&plan(endpoint, destination.clone())).await.report;
        assert!(began.elapsed() < Duration::from_secs(8), "{what} took {:?}", began.elapsed());
        let failed = failure(&report);
        assert_eq!((failed.id, failed.side), (CheckId::SourceTls, Side::Source), "{failed:#?}");
        assert!(failed.evidence.contains(what) && failed.fix.contains(fix), "{failed:#?}");
    }
    // The member's own name does not fit the certificate: the given name is used alone, and that is said.
    let report = validate(&plan(of("localhost", &right), destination.clone())).await.report;
    assert!(report.passed(), "{report:#?}");
    let set = check(&report, CheckId::SourceReplicaSet);
    assert_eq!(set.state, CheckState::Warn, "{set:#?}");
    assert!(set.explanation.contains("127.0.0.1") && set.explanation.contains("without failover"), "{set:#?}");

    tls.rename_member().await;
    let validated = validate(&plan(of("localhost", &right), destination)).await;
    assert_eq!(check(&validated.report, CheckId::SourceReplicaSet).state, CheckState::Ok, "{:#?}", validated.report);
    let seen = check(&validated.report, CheckId::SourceTls);
    assert!(validated.report.passed(), "{:#?}", validated.report);
    assert!(seen.evidence.contains("TLS 1.3, CN=localhost, trusted by your CA"), "{seen:#?}");
    // The CA file that the driver reads lives as long as the cluster.
    let (source, _) = validated.clusters.unwrap();
    let path = source.ca_file.as_ref().unwrap().to_path_buf();
    assert!(path.exists());
    source.last_write().await.unwrap();
    drop(source);
    assert!(!path.exists(), "the CA file stayed");
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

    let asked = plan(Endpoint::plain(pair.source.uri()), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let features = check(&report, CheckId::DestinationFeatures);
    assert_eq!((features.state, features.side), (CheckState::Fail, Side::Destination), "{features:#?}");
    assert!(features.evidence.starts_with("1 collection cannot be created here: shop.audited: "), "{features:#?}");
    assert!(features.fix.starts_with("Exclude them"), "{features:#?}");
    assert_eq!(report.left_behind.len(), 1, "{:?}", report.left_behind);
    assert!(!report.passed() && report.summary.is_empty());
    assert_eq!(databases(&destination).await, Vec::<String>::new());
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
async fn a_secondary_leads_to_the_primary_unless_the_connection_is_direct() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { members: 3, cache_gb: 0.25, ..SetOptions::single("rs3") };
    let set = ReplicaSet::start(&mongod, &options).await.unwrap();
    let client = set.client().await.unwrap();
    let primary = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = primary.get_str("primary").unwrap().to_string();
    let secondary =
        set.ports().into_iter().map(|port| format!("127.0.0.1:{port}")).find(|host| *host != primary).unwrap();
    // Another member than the primary may still be syncing; it must know its state before it is asked.
    let alone = mongodb::Client::with_uri_str(format!("mongodb://{secondary}/?directConnection=true")).await.unwrap();
    let ready = async {
        loop {
            let hello = alone.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
            if hello.get_bool("secondary").unwrap_or(false) && hello.get_str("primary").is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("no secondary");

    let seed = Endpoint::plain(format!("mongodb://{secondary}/"));
    let cluster = connect(Side::Destination, &seed).await.unwrap();
    assert_eq!(cluster.primary.as_deref(), Some(primary.as_str()));
    assert_eq!((cluster.set.as_str(), cluster.hosts.len()), ("rs3", 3));
    // A write finds the primary.
    cluster.run("t", bson::rawdoc! { "create": "c" }).await.unwrap();

    let direct = Endpoint { direct: true, ..seed };
    let problem = connect(Side::Destination, &direct).await.unwrap_err();
    assert!(problem.what.contains("is secondary, and direct = true"), "{problem}");
    let source = connect(Side::Source, &direct).await.unwrap();
    source.run("local", bson::rawdoc! { "find": "oplog.rs", "limit": 1 }).await.unwrap();

    // A connection string can say the same.
    let direct = Endpoint::plain(format!("mongodb://{secondary}/?directConnection=true"));
    let problem = connect(Side::Destination, &direct).await.unwrap_err();
    assert!(problem.what.contains("is secondary, and direct = true"), "{problem}");

    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let half = Endpoint::plain(format!("mongodb://{dead},{secondary}/?replicaSet=rs3"));
    let report = validate(&plan(half, Endpoint::plain(set.uri()))).await.report;
    let network = check(&report, CheckId::SourceNetwork);
    assert_eq!(network.state, CheckState::Warn, "{network:#?}");
    assert!(network.evidence.ends_with("1 of 2 given hosts reachable"), "{network:#?}");
    assert!(network.explanation.contains(&dead.to_string()), "{network:#?}");
    assert_eq!(failure(&report).id, CheckId::DestinationIdentity);
}
