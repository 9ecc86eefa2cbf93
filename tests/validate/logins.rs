use super::*;
use mongoferry::{
    demo::releases::Release,
    model::{
        CheckOrder, Command, Phase, Verify,
        snapshot::{CutoverStep, VerificationState},
    },
};

#[tokio::test]
async fn logins_and_permissions_fail_by_name_and_the_printed_grant_repairs_them() {
    logins_and_permissions(Release::V6_0_5).await;
}

#[tokio::test]
async fn logins_and_permissions_fail_by_name_on_5_0_4() {
    logins_and_permissions(Release::V5_0_4).await;
}

#[tokio::test]
async fn logins_and_permissions_fail_by_name_on_4_4_2() {
    logins_and_permissions(Release::V4_4_2).await;
}

async fn logins_and_permissions(release: Release) {
    let pair = common::pair_between(release, release).await;
    let guarded = Guarded::start_with("rsG", Some(release), None).await;
    let untouched = Untouched::from_now([
        guarded.client().await,
        pair.source.client().await.unwrap(),
        pair.destination.client().await.unwrap(),
    ])
    .await;
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
    guarded.run_printed(failed.fix_command.as_ref().unwrap()).await;
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
    guarded.run_printed(failed.fix_command.as_ref().unwrap()).await;
    let report = validate(&writer).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(databases(&guarded.client().await).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn both_scram_mechanisms_sign_in_and_are_named() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let untouched = Untouched::from_now([
        guarded.client().await,
        pair.source.client().await.unwrap(),
        pair.destination.client().await.unwrap(),
    ])
    .await;
    let roles = vec!["readAnyDatabase", "clusterMonitor"];
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let user = mechanism.to_lowercase();
        guarded
            .run(doc! { "createUser": &user, "pwd": guarded::PASSWORD, "roles": roles.clone(), "mechanisms": [mechanism] })
            .await;
        let asked = plan(guarded.endpoint(&user), Endpoint::plain(pair.destination.uri()));
        let report = validate(&asked).await.report;
        assert!(report.passed(), "{report:#?}");
        assert_eq!(check(&report, CheckId::SourceSignIn).evidence, format!("{user}@admin, {mechanism}"));
        assert!(!format!("{report:?}").contains(guarded::PASSWORD));
        let seen: Vec<&str> = report.seen_by(Side::Source).collect();
        assert_eq!(seen, ["127.0.0.1"]);
    }
    untouched.holds().await;
}

#[tokio::test]
async fn a_user_who_may_sign_in_from_elsewhere_only_is_told_from_where_this_host_comes() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let untouched = Untouched::from_now([
        guarded.client().await,
        pair.source.client().await.unwrap(),
        pair.destination.client().await.unwrap(),
    ])
    .await;
    let restricted = vec![doc! { "clientSource": ["192.0.2.7"] }];
    let create = doc! { "createUser": "away", "pwd": guarded::PASSWORD, "roles": ["readAnyDatabase", "clusterMonitor"],
    "authenticationRestrictions": restricted };
    guarded.run(create).await;
    let report = validate(&plan(guarded.endpoint("away"), Endpoint::plain(pair.destination.uri()))).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceSignIn, Side::Source));
    assert!(failed.fix.contains("authenticationRestrictions allow 127.0.0.1"), "{failed:#?}");
    untouched.holds().await;
}

/// The smallest grant for a selection of one database is of that database.
#[tokio::test]
async fn a_selection_needs_roles_of_its_databases_only() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let source = pair.source.client().await.unwrap();
    source.database("shop").collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let untouched = Untouched::from_now([
        guarded.client().await,
        pair.source.client().await.unwrap(),
        pair.destination.client().await.unwrap(),
    ])
    .await;
    guarded.create_user("small", &["clusterMonitor"]).await;

    let mut asked = plan(guarded.endpoint("small"), Endpoint::plain(pair.destination.uri()));
    asked.options.filter.include = vec![Pattern::parse("shop.orders").unwrap()];
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!(failed.id, CheckId::SourcePermissions);
    assert!(failed.evidence.starts_with("missing: find on shop, listCollections on shop"), "{failed:#?}");
    let grant = "db.getSiblingDB('admin').grantRolesToUser('small', [{role: 'read', db: 'shop'}])";
    assert_eq!(failed.fix_command.as_deref(), Some(grant));
    guarded.run_printed(grant).await;
    assert!(validate(&asked).await.report.passed());

    asked.source = Endpoint::plain(pair.source.uri());
    asked.destination = guarded.endpoint("small");
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationPermissions, Side::Destination));
    let grant = "db.getSiblingDB('admin').grantRolesToUser('small', \
                 [{role: 'readWrite', db: 'shop'}, {role: 'dbAdmin', db: 'shop'}])";
    assert_eq!(failed.fix_command.as_deref(), Some(grant));
    guarded.run_printed(grant).await;
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    assert_eq!(databases(&guarded.client().await).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn a_user_who_lacks_the_oplog_alone_gets_the_oplog_alone() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let untouched = Untouched::from_now([
        guarded.client().await,
        pair.source.client().await.unwrap(),
        pair.destination.client().await.unwrap(),
    ])
    .await;
    // Everything that clusterMonitor gives but the oplog.
    let state = doc! { "resource": { "cluster": true }, "actions": ["replSetGetStatus", "serverStatus"] };
    guarded.run(doc! { "createRole": "watcher", "privileges": [state], "roles": [] }).await;
    guarded.create_user("deaf", &["readAnyDatabase", "watcher"]).await;
    let asked = plan(guarded.endpoint("deaf"), Endpoint::plain(pair.destination.uri()));
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!(failed.evidence, "missing: find on local.oplog.rs");
    let grant = "db.getSiblingDB('admin').grantRolesToUser('deaf', [{role: 'read', db: 'local'}])";
    assert_eq!(failed.fix_command.as_deref(), Some(grant));
    guarded.run_printed(grant).await;
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    untouched.holds().await;
}

/// What the application writes after an early opening is told from a difference by the destination's oplog alone.
#[tokio::test]
async fn opening_first_needs_the_destinations_oplog_and_says_so_early() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    guarded.create_user("writer", &["readWriteAnyDatabase", "dbAdminAnyDatabase"]).await;
    let mut asked = plan(Endpoint::plain(pair.source.uri()), guarded.endpoint("writer"));
    let report = validate(&asked).await.report;
    assert!(report.passed(), "check first can do without: {report:#?}");
    asked.options.check = CheckOrder::After;
    let report = validate(&asked).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationPermissions, Side::Destination));
    assert!(failed.evidence.contains("find on local.oplog.rs (for check = \"after\")"), "{failed:#?}");
    guarded.run_printed(failed.fix_command.as_deref().unwrap()).await;
    let report = validate(&asked).await.report;
    assert!(report.passed(), "{report:#?}");
    guarded.create_user("unchecked", &["readWriteAnyDatabase", "dbAdminAnyDatabase"]).await;
    let mut unchecked = plan(Endpoint::plain(pair.source.uri()), guarded.endpoint("unchecked"));
    (unchecked.options.check, unchecked.options.verify) = (CheckOrder::After, Verify::Off);
    assert!(validate(&unchecked).await.report.passed(), "nothing is told from anything");
}

/// Chosen in the cutover itself there is no validation any more: what cannot be told apart is accused, and why is said.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_opening_without_the_destinations_oplog_accuses_and_says_why() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    guarded.create_user("writer", &["readWriteAnyDatabase", "dbAdminAnyDatabase"]).await;
    let source = pair.source.client().await.unwrap();
    // Compared last, so that the application writes before.
    let of = |client: &mongodb::Client| client.database("shop").collection::<Document>("zz");
    of(&source).insert_many((0..20).map(|n| doc! { "_id": n })).await.unwrap();
    for name in ["a1", "a2"] {
        let ballast = source.database("shop").collection::<Document>(name);
        ballast.insert_many((0..3_000).map(|n| doc! { "_id": n, "pad": "x".repeat(2_000) })).await.unwrap();
    }
    let (engine, _home) = common::drive::engine();
    let mut client = engine.client("test");
    let mut asked = common::drive::plan(&pair.source.uri(), "mongodb://unused:1");
    asked.destination = guarded.endpoint("writer");
    asked.options.throttle = Some(1_000_000);
    asked.options.ready_for = Duration::from_millis(200);
    asked.options.quiet_for = Duration::from_millis(500);
    common::drive::start(&mut client, asked).await;
    common::drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    common::drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ChooseCheck(CheckOrder::After)).await.unwrap();
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    common::drive::wait(&mut client, "the opening", |snapshot| snapshot.can_write).await;
    of(&guarded.client().await).insert_one(doc! { "_id": "the application's" }).await.unwrap();
    let is_checked = |snapshot: &mongoferry::model::Snapshot| {
        let step = snapshot.cutover.as_ref().map(|cutover| cutover.step);
        step == Some(CutoverStep::CheckOpened) && snapshot.verification.state == VerificationState::Done
    };
    let checked = common::drive::wait(&mut client, "the result", is_checked).await;
    assert_eq!(checked.verification.mismatches, 1);
    // A repair must not touch what may be the application's.
    common::drive::repair(&client).await;
    let checked = common::drive::wait(&mut client, "the result of the repair", is_checked).await;
    let verification = &checked.verification;
    let named: Vec<_> = verification.examples.iter().map(|one| one.id.as_str()).collect();
    assert_eq!((named, verification.application), (vec!["\"the application's\""], 0));
    let there = of(&guarded.client().await);
    assert_eq!(there.count_documents(doc! { "_id": "the application's" }).await.unwrap(), 1);
    let texts: Vec<_> = client.events().since(0).into_iter().map(|event| event.text).collect();
    for said in ["it may not be read by this login", "not repaired; it is not known what the application wrote"] {
        assert!(texts.iter().any(|text| text.contains(said)), "nobody said {said:?}: {texts:#?}");
    }
    common::drive::insist(&client, Command::SkipVerification).await;
    common::drive::wait(&mut client, "completed", |snapshot| snapshot.phase == Phase::Completed).await;
    engine.shut_down().await;
}

/// The script that the validation prints makes the same users and roles on the destination.
#[tokio::test]
async fn users_and_roles_are_named_with_a_script_that_creates_them() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    let source = guarded.client().await;
    let run = |db: &str, command: Document| {
        let db = source.database(db);
        async move { db.run_command(command).await.unwrap() }
    };
    let find = doc! { "resource": { "db": "shop", "collection": "orders" }, "actions": ["find", "insert"] };
    run("shop", doc! { "createRole": "reads", "privileges": [find], "roles": [] }).await;
    let inherits = vec![doc! { "role": "reads", "db": "shop" }, doc! { "role": "read", "db": "crm" }];
    // Listed before what it inherits.
    run("admin", doc! { "createRole": "a'clerk", "privileges": [], "roles": inherits }).await;
    let note = doc! { "since": 2019, "at": bson::DateTime::from_millis(7) };
    let clerk = vec![doc! { "role": "a'clerk", "db": "admin" }];
    run("shop", doc! { "createUser": "o'brien", "pwd": "x", "roles": clerk, "customData": note }).await;

    let report = validate(&plan(guarded.endpoint("root"), Endpoint::plain(pair.destination.uri()))).await.report;
    let data = check(&report, CheckId::SourceData);
    assert_eq!(data.state, CheckState::Warn, "{data:#?}");
    assert!(data.evidence.contains("2 roles (reads@shop, a'clerk@admin), 1 user (o'brien@shop)"), "{data:#?}");
    assert_eq!(
        report.left_behind,
        ["role reads@shop", "role a'clerk@admin", "user o'brien@shop"]
            .map(|name| format!("{name}: create it on the destination"))
    );
    let script = data.fix_command.clone().unwrap();
    assert!(!script.contains("root"), "{script}");
    let destination = pair.destination.client().await.unwrap();
    for line in script.lines() {
        let date = "{'$date': {'$numberLong': '7'}}";
        let line = line.replace("passwordPrompt()", "'chosen'").replace(&format!("EJSON.deserialize({date})"), date);
        guarded::run_printed(&destination, &line).await;
    }
    let listed = async |client: &mongodb::Client| {
        let users = doc! { "usersInfo": { "user": "o'brien", "db": "shop" }, "showPrivileges": true };
        let reply = client.database("shop").run_command(users).await.unwrap();
        let user = reply.get_array("users").unwrap()[0].as_document().unwrap().clone();
        ["roles", "inheritedRoles", "inheritedPrivileges", "mechanisms", "customData"].map(|field| {
            match user.get(field).cloned() {
                // The server lists them in any order.
                Some(bson::Bson::Array(mut list)) => {
                    list.sort_by_key(bson::Bson::to_string);
                    Some(bson::Bson::Array(list))
                }
                value => value,
            }
        })
    };
    assert_eq!(listed(&destination).await, listed(&source).await);
}
