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
mod skew;
mod srv;
mod tls;

use bson::{Document, doc};
use guarded::Guarded;
use mongoferry::{
    demo::ports::Port,
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
async fn written_since(client: &mongodb::Client, since: bson::Timestamp) -> Vec<Document> {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let filter =
        doc! { "ts": { "$gt": since }, "op": { "$ne": "n" }, "ns": { "$not": { "$regex": "^(config|admin)\\." } } };
    let mut cursor = oplog.find(filter).await.unwrap();
    let mut entries = Vec::new();
    while cursor.advance().await.unwrap() {
        entries.push(cursor.deserialize_current().unwrap());
    }
    entries
}

async fn newest(client: &mongodb::Client) -> bson::Timestamp {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let entry = oplog.find_one(doc! {}).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    entry.get_timestamp("ts").unwrap()
}

/// Clusters as they are before a test validates.
struct Untouched(Vec<(mongodb::Client, bson::Timestamp)>);

impl Untouched {
    async fn from_now(clients: impl IntoIterator<Item = mongodb::Client>) -> Self {
        let mut sides = Vec::new();
        for client in clients {
            let since = newest(&client).await;
            sides.push((client, since));
        }
        Self(sides)
    }

    /// Nothing was written since, but for the trial's temporary database, which is gone again and never held a document.
    async fn holds(self) {
        for (client, since) in self.0 {
            for entry in written_since(&client, since).await {
                let namespace = entry.get_str("ns").unwrap();
                let is_document = entry.get_str("op").unwrap() != "c" && !namespace.ends_with(".system.views");
                assert!(namespace.starts_with("mongoferry_check_") && !is_document, "{entry}");
            }
            let left = client.list_database_names().await.unwrap();
            assert!(!left.iter().any(|name| name.starts_with("mongoferry")), "{left:?}");
        }
    }
}
