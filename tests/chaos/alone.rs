//! What the destination's primary confirmed alone and lost in an election is applied again, although a later command of
//! the same batch was confirmed by the majority of the next primary.

use crate::{
    common::compare,
    ferry::{Ferry, Home},
    kills::cut_over,
    rollback::{direct, primary_of},
};
use bson::{Document, doc};
use mongodb::{Client, options::ReadConcern};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const DOCUMENTS: i32 = 400;
/// How long the primary holds each write of ours.
const HELD: Duration = Duration::from_secs(4);

/// Documents of a collection that a member shows with these fields.
async fn shown(member: &Client, collection: &str, fields: Document) -> u64 {
    let collection = member.database("d").collection::<Document>(collection);
    collection.count_documents(fields).read_concern(ReadConcern::local()).await.unwrap()
}

async fn until_shown(member: &Client, collection: &str, fields: Document) {
    let began = Instant::now();
    while shown(member, collection, fields.clone()).await == 0 {
        assert!(began.elapsed() < crate::ferry::PATIENCE, "no {fields} in {collection}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn update_all(client: &Client, collection: &str) {
    let collection = client.database("d").collection::<Document>(collection);
    collection.update_many(doc! {}, doc! { "$set": { "n": 1 } }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_primary_confirmed_alone_is_applied_again() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let arguments = ["--setParameter", "enableTestCommands=1"].map(String::from).to_vec();
    let three = SetOptions { members: 3, cache_gb: 0.25, arguments, ..SetOptions::single("rsB") };
    let (a, b) = (SetOptions::single("rsA"), three);
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let (a, mut set) = (a.expect("source"), b.expect("destination"));
    let (source, destination) = (a.client().await.unwrap(), set.client().await.unwrap());
    for name in ["a", "b"] {
        let documents: Vec<_> = (0..DOCUMENTS).map(|id| doc! { "_id": id, "n": 0 }).collect();
        source.database("d").collection(name).insert_many(documents).await.unwrap();
    }
    let home = Home::new(&a.uri(), &set.uri(), "verify = \"off\"");
    let mut ferry = Ferry::start(&home);
    ferry.wait_for_phase(&["following", "ready"]);

    // While every lane is busy with an insert, updates of both collections queue up behind it: batches of two commands.
    let old = primary_of(&set).await;
    let primary = direct(set.ports()[old]).await;
    let others: Vec<usize> = (0..3).filter(|index| *index != old).collect();
    let milliseconds = i64::try_from(HELD.as_millis()).unwrap();
    let data = doc! { "failCommands": ["insert", "update"], "appName": "mongoferry",
    "blockConnection": true, "blockTimeMS": milliseconds };
    let hold = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    primary.database("admin").run_command(hold).await.unwrap();
    let inserted: Vec<_> = (0..64).map(|id| doc! { "_id": id }).collect();
    source.database("d").collection("x").insert_many(inserted).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    update_all(&source, "a").await;
    update_all(&source, "b").await;

    // The first command of the batches is carried out where nobody else gets it, the second is held.
    until_shown(&primary, "x", doc! {}).await;
    tokio::time::sleep(HELD / 4).await;
    let stop = |mode: &str| doc! { "configureFailPoint": "stopReplProducer", "mode": mode };
    for other in &others {
        direct(set.ports()[*other]).await.database("admin").run_command(stop("alwaysOn")).await.unwrap();
    }
    let changed = doc! { "n": 1 };
    let began = Instant::now();
    let (lost, held) = loop {
        let counts = [shown(&primary, "a", changed.clone()).await, shown(&primary, "b", changed.clone()).await];
        match counts {
            [0, 0] => assert!(began.elapsed() < crate::ferry::PATIENCE, "no update arrives"),
            [_, 0] => break ("a", "b"),
            _ => break ("b", "a"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::time::sleep(HELD / 4).await;
    let [first, second] = [shown(&primary, lost, changed.clone()).await, shown(&primary, held, changed.clone()).await];
    eprintln!("the primary alone has {first} updates of {lost} and {second} of {held}");
    for other in &others {
        let port =
            format!("mongodb://127.0.0.1:{}/?directConnection=true&readPreference=secondary", set.ports()[*other]);
        let member = Client::with_uri_str(port).await.unwrap();
        assert_eq!(shown(&member, lost, changed.clone()).await, 0, "a secondary has it too");
    }
    set.kill(old);
    for other in &others {
        direct(set.ports()[*other]).await.database("admin").run_command(stop("off")).await.unwrap();
    }
    primary_of(&set).await;
    set.restart(old).unwrap();

    ferry.wait("having applied everything", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 1_000));
    until_shown(&destination, held, changed.clone()).await;
    let began = Instant::now();
    for name in [lost, held] {
        while shown(&destination, name, changed.clone()).await < DOCUMENTS as u64 {
            assert!(began.elapsed() < Duration::from_secs(60), "updates of {name} are lost\n{}", ferry.story());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(ferry.kill());
    tokio::task::block_in_place(|| cut_over(&home, &[], &mut BTreeMap::new()));
    compare::assert_identical(&source, &destination).await;
}
