//! Small collections get their indexes before their documents, and lose them again when a document does not fit.

use crate::{
    common::drive,
    stage::{Migration, Stage, indexes, insert, numbered, run},
    wide::cut_over,
};
use bson::doc;
use mongoferry::model::Phase;
use std::time::{Duration, Instant};

const DB: &str = "early";

/// Makes the destination take its time for every `createIndexes`.
async fn slow_down(stage: &Stage, mode: &str) {
    let slow = doc! { "failCommands": ["createIndexes"], "blockConnection": true, "blockTimeMS": 3_000 };
    run(&stage.destination, "admin", doc! { "configureFailPoint": "failCommand", "mode": mode, "data": slow }).await;
}

/// After the catalog was read and before the documents are: the index goes, and what it could not hold comes.
async fn a_document_that_does_not_fit(row: usize) {
    let stage = Stage::start(row).await;
    let source = &stage.source;
    for coll in ["misfit", "fits", "ahead"] {
        insert(source, DB, coll, numbered(0..50)).await;
    }
    let both = doc! { "key": { "a": 1, "n": 1 }, "name": "both", "unique": true };
    let ttl = doc! { "key": { "s": 1 }, "name": "ttl", "expireAfterSeconds": 60 };
    run(source, DB, doc! { "createIndexes": "misfit", "indexes": [both.clone(), ttl.clone()] }).await;
    run(source, DB, doc! { "createIndexes": "fits", "indexes": [both, ttl] }).await;
    slow_down(&stage, "alwaysOn").await;
    let mut migration = Migration::new();
    drive::start(&mut migration.client, stage.plan(&[], &[])).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !stage.destination.database(DB).list_collection_names().await.unwrap().contains(&"ahead".to_string()) {
        assert!(Instant::now() < deadline, "no collection was created");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run(source, DB, doc! { "dropIndexes": "misfit", "index": "both" }).await;
    insert(source, DB, "misfit", vec![doc! { "_id": "two lists", "a": [1], "n": [2] }]).await;
    // They wait for their indexes, and there is nothing in them: the indexes are first.
    for coll in ["misfit", "fits"] {
        let found = stage.destination.database(DB).collection::<bson::Document>(coll).estimated_document_count().await;
        assert_eq!(found.unwrap(), 0, "{coll}");
    }
    slow_down(&stage, "off").await;
    migration.reach(Phase::Following).await;
    assert_eq!(indexes(&stage.destination, DB, "fits").await.len(), 3);
    let snapshot = cut_over(&stage, &mut migration, async || {}).await;
    let differences = stage.differences().await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // The fourth went on the source.
    assert_eq!((snapshot.indexes.built, &snapshot.indexes.failed), (3, &Vec::new()));
    migration.engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_does_not_fit_6_0_5() {
    a_document_that_does_not_fit(0).await;
}

/// Where unique indexes have a stand-in of another name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_does_not_fit_5_0_4() {
    a_document_that_does_not_fit(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_does_not_fit_4_4_2() {
    a_document_that_does_not_fit(5).await;
}
