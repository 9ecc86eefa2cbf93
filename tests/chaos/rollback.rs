//! The source rolls back: a primary without its majority goes on taking writes, which are gone after the next election.
//! None of them may ever be on the destination.

use crate::{
    common::compare,
    elections::three,
    ferry::{Ferry, Home},
    kills::cut_over,
    load::fill,
};
use bson::{Bson, Document, doc};
use mongodb::Client;
use mongoferry::{
    demo::{ReplicaSet, SetOptions, releases},
    model::{Endpoint, NamespaceFilter, Side},
    mongo::{catalog, connect::connect},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub async fn direct(port: u16) -> Client {
    Client::with_uri_str(format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await.unwrap()
}

pub async fn primary_of(set: &ReplicaSet) -> usize {
    let began = Instant::now();
    loop {
        if let Some(primary) = set.primary().await {
            return primary;
        }
        assert!(began.elapsed() < crate::ferry::PATIENCE, "no primary");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn rollback_id(client: &Client) -> Option<i32> {
    let reply = client.database("admin").run_command(doc! { "replSetGetRBID": 1 }).await.ok()?;
    reply.get_i32("rbid").ok()
}

/// Writes that only the cut-off primary has, as many as it takes before it notices: a collection, changed, removed and new
/// documents, a drop.
async fn doomed_writes(primary: &Client) {
    let shop = primary.database("shop");
    let run = async |command: Document| {
        let mut command = command;
        command.insert("writeConcern", doc! { "w": 1 });
        shop.run_command(command).await
    };
    run(doc! { "create": "phantom" }).await.expect("a primary");
    let all = doc! { "q": {}, "u": { "$set": { "doomed": true } }, "multi": true };
    for command in [
        doc! { "insert": "small5", "documents": [{ "_id": "doomed" }] },
        doc! { "delete": "small4", "deletes": [{ "q": {}, "limit": 0 }] },
        doc! { "drop": "small6" },
        doc! { "update": "big", "updates": [all] },
    ] {
        if let Err(error) = run(command).await {
            eprintln!("the cut-off primary noticed: {error}");
            return;
        }
    }
}

/// Cuts the primary off, lets it write, and has it rejoin another history.
async fn roll_back(set: &mut ReplicaSet) {
    let old = primary_of(set).await;
    let others: Vec<usize> = (0..3).filter(|index| *index != old).collect();
    let port = set.ports()[old];
    let before = rollback_id(&direct(port).await).await.expect("a rollback id");
    // Killed, not silent: a member that wakes up would find the last of the doomed entries in its connection.
    others.iter().for_each(|other| set.kill(*other));
    doomed_writes(&direct(port).await).await;
    // Long enough for mongoferry to read what it should not.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    set.kill(old);
    others.iter().for_each(|other| set.restart(*other).unwrap());
    let new = primary_of(set).await;
    let survivor = direct(set.ports()[new]).await;
    let big = survivor.database("shop").collection::<Document>("big");
    big.update_many(doc! { "_id": { "$lt": 50 } }, doc! { "$inc": { "n": 1 } }).await.unwrap();
    set.restart(old).unwrap();
    let began = Instant::now();
    while rollback_id(&direct(port).await).await.is_none_or(|now| now == before) {
        assert!(began.elapsed() < crate::ferry::PATIENCE, "the member does not roll back");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_rolls_back_never_was() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let single = SetOptions::single("rsB");
    let (mut set, other) = tokio::join!(three(&mongod, "rsA"), async {
        ReplicaSet::start(&mongod, &single).await.expect("a destination")
    });
    let (source, destination) = (set.client().await.unwrap(), other.client().await.unwrap());
    fill(&source, 16_000).await;
    let home = Home::new(&set.uri(), &other.uri(), "throttle = \"400kB/s\"");
    let mut ferry = Ferry::start(&home);
    ferry.wait("the copy at work", |snapshot| {
        snapshot["phase"] == "copying" && snapshot["copy"]["bytes"].as_u64().unwrap_or(0) > 0
    });
    roll_back(&mut set).await;
    assert_eq!(ferry.phase(), "copying", "the copy was over too early to show anything\n{}", ferry.story());
    ferry.wait("following", |snapshot| {
        ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
            && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 10_000)
    });
    roll_back(&mut set).await;
    ferry.wait("following on", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 10_000));
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
    let doomed = destination.database("shop").collection::<Document>("big").find_one(doc! { "doomed": true }).await;
    assert_eq!(doomed.unwrap().map(Bson::from), None);

    // The catalog, which no server reads with majority: what a cut-off primary shows is not believed.
    let filter = NamespaceFilter::default();
    let cluster = connect(Side::Source, &Endpoint::plain(set.uri())).await.expect("the source");
    let old = primary_of(&set).await;
    let others: Vec<usize> = (0..3).filter(|index| *index != old).collect();
    // Killed, not silent: a member that wakes up would find the last of the doomed entries in its connection.
    others.iter().for_each(|other| set.kill(*other));
    doomed_writes(&direct(set.ports()[old]).await).await;
    let has_phantom = |catalog: &catalog::Catalog| {
        let mut entries = catalog.databases.iter().flat_map(|database| &database.entries);
        entries.any(|entry| entry.namespace.coll == "phantom")
    };
    let shown = direct(set.ports()[old]).await.database("shop").list_collection_names().await.unwrap();
    assert!(shown.iter().any(|name| name == "phantom"), "the primary does not show what is not confirmed: {shown:?}");
    let committed = tokio::time::timeout(Duration::from_secs(3), catalog::read_committed(&cluster, &filter)).await;
    assert!(!committed.is_ok_and(|read| read.is_ok()), "it believed a primary without its majority");
    set.kill(old);
    others.iter().for_each(|other| set.restart(*other).unwrap());
    primary_of(&set).await;
    let began = Instant::now();
    let committed = loop {
        match catalog::read_committed(&cluster, &filter).await {
            Ok(catalog) => break catalog,
            Err(error) => assert!(began.elapsed() < crate::ferry::PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert!(!has_phantom(&committed), "a collection that was rolled back");
}
