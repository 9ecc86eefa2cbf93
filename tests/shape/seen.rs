//! What validation saw of the source is what is copied, as long as it holds.

use crate::{
    common::drive,
    stage::{Migration, Stage, indexes, insert, numbered, run},
    wide::cut_over,
};
use bson::{Document, doc};
use mongodb::{Client, options::WriteConcern};
use mongoferry::{
    demo::{Release, ReplicaSet, SetOptions, releases},
    model::{Endpoint, NamespaceFilter, Phase, Side},
    mongo::{Cluster, SeenCatalog, connect::connect},
};

const DB: &str = "seen";

async fn see(cluster: &Cluster) -> SeenCatalog {
    SeenCatalog::read(cluster, &NamespaceFilter::default()).await.unwrap()
}

/// Two inserts by one transaction; the second collection may have to be made by it.
async fn transaction(client: &Client, second: &str) {
    let collection = |name: &str| client.database(DB).collection::<Document>(name);
    let mut session = client.start_session().await.unwrap();
    let changes = async |session: &mut mongodb::ClientSession| {
        collection("kept").insert_one(doc! { "in": "a transaction" }).session(&mut *session).await?;
        collection(second).insert_one(doc! { "in": "a transaction" }).session(&mut *session).await?;
        Ok(())
    };
    session.start_transaction().write_concern(WriteConcern::majority()).and_run2(changes).await.unwrap();
}

async fn holds_until_a_command(release: Release) {
    let mongod = releases::mongod(Some(release), &|line| eprintln!("{line}")).expect("a mongod");
    let set = ReplicaSet::start(&mongod, &SetOptions::single("rsA")).await.expect("a replica set");
    let client = set.client().await.unwrap();
    let majority = |mut command: Document| {
        command.insert("writeConcern", doc! { "w": "majority" });
        command
    };
    for coll in ["kept", "goes", "moves", "also kept"] {
        run(&client, DB, majority(doc! { "insert": coll, "documents": numbered(0..3) })).await;
    }
    let cluster = connect(Side::Source, &Endpoint::plain(set.uri())).await.unwrap();
    let seen = see(&cluster).await;
    insert(&client, DB, "kept", numbered(10..20)).await;
    run(&client, DB, doc! { "update": "kept", "updates": [{ "q": {}, "u": { "$set": { "x": 1 } }, "multi": true }] })
        .await;
    transaction(&client, "also kept").await;
    let one = doc! { "delete": "kept", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] };
    run(&client, DB, majority(one)).await;
    let renewed = seen.renewed(&cluster).await.unwrap().expect("documents change no catalog");
    assert!(renewed.started_at > seen.catalog.started_at);
    let names = |catalog: &mongoferry::mongo::catalog::Catalog| -> Vec<String> {
        catalog.databases.iter().flat_map(|db| &db.entries).map(|entry| entry.namespace.to_string()).collect()
    };
    assert_eq!(names(&renewed), names(&seen.catalog));
    assert!(renewed.databases.iter().all(|database| database.as_of >= renewed.started_at));
    let index = doc! { "key": { "n": 1 }, "name": "n_1" };
    let commands = [
        ("an index", DB, doc! { "createIndexes": "kept", "indexes": [index] }),
        ("an option", DB, doc! { "collMod": "kept", "validationLevel": "moderate" }),
        ("no index", DB, doc! { "dropIndexes": "kept", "index": "n_1" }),
        ("a view", DB, doc! { "create": "view", "viewOn": "kept", "pipeline": [] }),
        ("another view", DB, doc! { "collMod": "view", "viewOn": "goes", "pipeline": [] }),
        ("no view", DB, doc! { "drop": "view" }),
        ("no collection", DB, doc! { "drop": "goes" }),
        ("another name", "admin", doc! { "renameCollection": "seen.moves", "to": "seen.moved" }),
        ("another database", "new", doc! { "insert": "made", "documents": [{}] }),
        ("no database", "new", doc! { "dropDatabase": 1 }),
    ];
    for (what, db, command) in commands {
        let seen = see(&cluster).await;
        assert!(seen.renewed(&cluster).await.unwrap().is_some(), "nothing happened before {what}");
        run(&client, db, majority(command)).await;
        assert!(seen.renewed(&cluster).await.unwrap().is_none(), "{what}");
    }
    let seen = see(&cluster).await;
    transaction(&client, "made by a transaction").await;
    assert!(seen.renewed(&cluster).await.unwrap().is_none(), "a collection of a transaction");
    let seen = see(&cluster).await;
    let _ = client.database("admin").run_command(doc! { "replSetStepDown": 1, "force": true }).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let again = loop {
        match seen.renewed(&cluster).await {
            Ok(again) => break again,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    };
    assert!(again.is_none(), "another term");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_until_a_command_6_0_5() {
    holds_until_a_command(Release::V6_0_5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_until_a_command_4_4_2() {
    holds_until_a_command(Release::V4_4_2).await;
}

/// How often the source was asked for indexes.
async fn listings(source: &Client) -> i64 {
    let status = run(source, "admin", doc! { "serverStatus": 1 }).await;
    let commands = status.get_document("metrics").unwrap().get_document("commands").unwrap();
    commands.get_document("listIndexes").unwrap().get_i64("total").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_between_validation_and_start_arrives() {
    const COLLECTIONS: i64 = 20;
    for changes in [false, true] {
        let stage = Stage::start(0).await;
        let source = &stage.source;
        for n in 0..COLLECTIONS {
            insert(source, DB, &format!("c{n}"), numbered(0..10)).await;
        }
        let mut migration = Migration::new();
        let mut before = 0;
        drive::start_after(&mut migration.client, stage.plan(&[], &[]), async || {
            insert(source, DB, "c0", numbered(20..30)).await;
            if changes {
                let index = doc! { "key": { "n": 1 }, "name": "late" };
                run(source, DB, doc! { "createIndexes": "c0", "indexes": [index] }).await;
                run(source, DB, doc! { "drop": "c1" }).await;
                insert(source, DB, "new", numbered(0..5)).await;
            }
            before = listings(source).await;
        })
        .await;
        migration.reach(Phase::Following).await;
        let listed = listings(source).await - before;
        assert_eq!(listed < COLLECTIONS, !changes, "{listed} listings of indexes, changes: {changes}");
        assert_eq!(indexes(&stage.destination, DB, "c0").await.contains_key("late"), changes);
        cut_over(&stage, &mut migration, async || {}).await;
        let differences = stage.differences().await;
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        migration.engine.shut_down().await;
    }
}
