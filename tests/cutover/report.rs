//! The report files of real migrations against `assets/report.schema.json`, which forbids every field that it does not
//! know: a change of the report has to change the schema.

use crate::{
    common::{compare, drive},
    schema,
    turns::loaded,
};
use bson::{Document, doc};
use mongoferry::model::{Command, Phase, Snapshot, snapshot::StepState};
use serde_json::Value;
use std::{path::Path, time::Duration};

const SCHEMA: &str = include_str!("../../assets/report.schema.json");

/// Reads both files, checks the JSON, and hands out both.
fn read(snapshot: &Snapshot) -> (Value, String) {
    let path = Path::new(snapshot.report.as_ref().expect("a report"));
    let json: Value = serde_json::from_str(&std::fs::read_to_string(path.with_extension("json")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let errors = schema::errors(&schema, &json);
    assert!(errors.is_empty(), "{}\n{json:#}", errors.join("\n"));
    every_field_counts(&schema, &json);
    (json, std::fs::read_to_string(path).unwrap())
}

/// One field more or one less, anywhere in a real report, is noticed.
fn every_field_counts(schema: &Value, json: &Value) {
    let mut objects = Vec::new();
    collect(json, String::new(), &mut objects);
    for place in objects {
        let mut more = json.clone();
        let object = more.pointer_mut(&place).and_then(Value::as_object_mut).unwrap();
        object.insert("unheard_of".into(), Value::Null);
        assert!(!schema::errors(schema, &more).is_empty(), "an unknown field in {place:?} is not noticed");
        let names: Vec<String> = json.pointer(&place).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            let mut less = json.clone();
            less.pointer_mut(&place).and_then(Value::as_object_mut).unwrap().remove(&name);
            assert!(!schema::errors(schema, &less).is_empty(), "{name} can be missing in {place:?}");
        }
    }
}

/// The places of all objects; of a list the first one stands for all.
fn collect(value: &Value, place: String, objects: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, format!("{place}/{name}"), objects);
            }
            objects.push(place);
        }
        Value::Array(values) => {
            if let Some(first) = values.first() {
                collect(first, format!("{place}/0"), objects);
            }
        }
        _ => {}
    }
}

fn texts(values: &Value) -> Vec<&str> {
    values.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// Warnings accepted, extended, rehearsed, an incident survived, a late write, an index that is done without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_completed_migration() {
    let _turn = crate::turn().await;
    let (pair, source, destination) = loaded(500).await;
    let (shop, copied) = (source.database("shop"), destination.database("shop"));
    // Written within the last minute, so that clearing gives a warning.
    copied.collection::<Document>("orders").insert_one(doc! { "_id": "old" }).await.unwrap();
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.clear_destination = true;
    drive::start(&mut client, plan).await;
    drive::wait(&mut client, "ready", |snapshot| snapshot.can_cutover).await;
    client.send(Command::Extend).await.unwrap();
    // A text index of somebody else stands in the way of one of the source.
    let text = |name: &str, field: &str| {
        doc! { "createIndexes": "notes", "indexes": [{ "key": { field: "text" }, "name": name }] }
    };
    shop.collection::<Document>("notes").insert_one(doc! { "_id": 1 }).await.unwrap();
    let notes = copied.collection::<Document>("notes");
    while notes.count_documents(doc! {}).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    copied.run_command(text("mine", "other")).await.unwrap();
    shop.run_command(text("words", "pad")).await.unwrap();
    drive::wait(&mut client, "a failed index", |snapshot| snapshot.indexes.failed.len() == 1).await;
    drive::insist(&client, Command::AcceptFailedIndexes).await;
    // A destination that takes no writes for a while.
    let block = |on: bool| doc! { "setUserWriteBlockMode": 1, "global": on };
    destination.database("admin").run_command(block(true)).await.unwrap();
    shop.collection::<Document>("orders").insert_one(doc! { "_id": "meanwhile" }).await.unwrap();
    drive::wait(&mut client, "a pause", |snapshot| snapshot.phase == Phase::Paused).await;
    destination.database("admin").run_command(block(false)).await.unwrap();
    drive::wait(&mut client, "ready again", |snapshot| snapshot.can_cutover).await;
    client.send(Command::Rehearse).await.unwrap();
    drive::wait(&mut client, "a rehearsal", |snapshot| snapshot.rehearsal.is_some()).await;
    let orders = copied.collection::<Document>("orders");
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "n": "corrupted" } }).await.unwrap();
    drive::wait(&mut client, "the stranger", |snapshot| !snapshot.foreign_writes.is_empty() && snapshot.can_cutover)
        .await;
    drive::insist(&client, Command::PrepareCutover).await;
    let is_quiet = |snapshot: &Snapshot| snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= 1_500);
    drive::wait(&mut client, "quiet", is_quiet).await;
    client.send(Command::ContinueCutover { assume_stopped: false }).await.unwrap();
    drive::wait(&mut client, "the verdict", |snapshot| snapshot.verification.mismatches == 1).await;
    drive::repair(&client).await;
    // The stranger's index is a difference that somebody has to agree to.
    let is_held = |snapshot: &Snapshot| {
        let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
        lines.any(|line| line.state == StepState::Failed && line.detail.contains("index mine"))
    };
    drive::wait(&mut client, "the held finalizing", is_held).await;
    drive::insist(&client, Command::ContinueCutover { assume_stopped: false }).await;
    let done = drive::wait(&mut client, "the end", |snapshot| snapshot.phase == Phase::Completed).await;
    let (json, page) = read(&done);
    assert_eq!(
        (&json["result"], &json["downtime_ms"]),
        (&"completed".into(), &done.cutover.clone().unwrap().downtime_ms.into())
    );
    let warned = json["accepted_warnings"].as_array().unwrap();
    assert!(warned.iter().any(|check| check["id"] == "destination-empty"), "{warned:#?}");
    assert_eq!(json["extensions"][0]["by"], "ops@test");
    assert_eq!(json["rehearsal"]["by"], "ops@test");
    assert_eq!(json["indexes"]["failed"][0]["index"], "words");
    let incidents = texts(&json["incidents"]);
    assert!(incidents.iter().any(|incident| incident.contains("User writes blocked")), "{incidents:?}");
    assert!(page.contains("## Incidents\n\n- "), "{page}");
    assert!(texts(&json["left_to_do"]).iter().any(|todo| todo.contains("words")), "{:#}", json["left_to_do"]);
    assert_eq!(json["collections"].as_array().unwrap().len(), done.collections.len());
    assert_eq!(json["foreign_writes"][0]["namespace"], "shop.orders", "{:#}", json["foreign_writes"]);
    for said in
        ["You have successfully migrated", "accepted warning", "extension: by ops@test", "- [ ] build index words"]
    {
        assert!(page.contains(said), "no {said:?}:\n{page}");
    }
    let differences = compare::differences(&source, &destination).await;
    assert!(differences.iter().all(|line| line.starts_with("shop.notes")), "{differences:#?}");
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_migration_that_was_stopped_while_documents_differed() {
    let _turn = crate::turn().await;
    let (pair, _source, destination) = loaded(500).await;
    let (engine, _home, mut client) = drive::ready(&pair).await;
    let orders = destination.database("shop").collection::<Document>("orders");
    orders.update_one(doc! { "_id": 7 }, doc! { "$set": { "n": "corrupted" } }).await.unwrap();
    drive::insist(&client, Command::PrepareCutover).await;
    client.send(Command::ContinueCutover { assume_stopped: true }).await.unwrap();
    drive::wait(&mut client, "the verdict", |snapshot| snapshot.verification.mismatches == 1).await;
    client.send(Command::Stop).await.unwrap();
    let stopped = drive::wait(&mut client, "a report", |snapshot| snapshot.report.is_some()).await;
    let (json, page) = read(&stopped);
    assert_eq!((&json["result"], &json["left_phase"]), (&"stopped".into(), &"cutover".into()));
    assert_eq!(json["verification"]["examples"][0]["paths"], serde_json::json!(["n"]));
    assert_eq!((&json["downtime_ms"], &json["cutover"]["opened"]), (&Value::Null, &Value::Null));
    assert!(page.contains("stopped by the operator") && page.contains("1 document differs"), "{page}");
    engine.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_migrations_that_ended_while_they_copied() {
    let _turn = crate::turn().await;
    for fails in [false, true] {
        let (pair, _source, destination) = loaded(30_000).await;
        let (engine, _home) = drive::engine();
        let mut client = engine.client("ops@test");
        let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
        plan.options.throttle = Some(200_000);
        drive::start(&mut client, plan).await;
        drive::wait(&mut client, "a copy", |snapshot| snapshot.copy.documents > 0).await;
        if fails {
            // No document can be written to a view.
            let shop = destination.database("shop");
            let began = std::time::Instant::now();
            loop {
                shop.collection::<Document>("orders").drop().await.unwrap();
                // What is copied between the two creates the collection again.
                let view = doc! { "create": "orders", "viewOn": "other", "pipeline": [] };
                let Err(error) = shop.run_command(view).await else { break };
                assert!(began.elapsed() < Duration::from_secs(30), "no view: {error}");
            }
        } else {
            client.send(Command::Stop).await.unwrap();
        }
        let began = std::time::Instant::now();
        while client.snapshot().report.is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "no report: {:#?}", client.snapshot());
            let _ = tokio::time::timeout(Duration::from_secs(1), client.changed()).await;
        }
        let ended = client.snapshot();
        let (json, page) = read(&ended);
        let result = if fails { "failed" } else { "stopped" };
        assert_eq!((&json["result"], &json["left_phase"]), (&result.into(), &"copying".into()));
        assert_eq!((&json["cutover"], &json["downtime_ms"]), (&Value::Null, &Value::Null));
        assert_eq!(json["error"].is_object(), fails, "{:#}", json["error"]);
        assert!(page.contains("It did not finish.") && page.contains("Nothing is known about the copy"), "{page}");
        engine.shut_down().await;
    }
}
