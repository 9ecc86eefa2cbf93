//! Validation against real servers: each cause has its own message, side and fix, and nothing is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod fit;
mod guarded;
mod logins;
mod network;
mod secrets;
mod srv;
mod tls;

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
