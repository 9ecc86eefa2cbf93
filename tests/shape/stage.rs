//! Servers, an engine and the comparison for one row of the matrix.

use crate::common::{MATRIX, Pair, compare, drive};
use bson::{Document, doc};
use mongodb::Client;
use mongoferry::{
    demo::{
        ReplicaSet, SetOptions,
        releases::{self, Release},
    },
    engine::Engine,
    model::{NamespaceFilter, Phase, Plan, Snapshot, filter::Pattern},
    session,
};
use std::sync::Arc;

/// Two sets, their clients and versions.
pub struct Stage {
    pub pair: Pair,
    pub source: Client,
    pub destination: Client,
    pub from: Version,
    pub to: Version,
}

/// Major version, for what a release can do, and whether the other side is the same release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub bool);

fn version(release: Release, other: Release) -> Version {
    Version(release.text().split('.').next().unwrap().parse().unwrap(), release == other)
}

impl Stage {
    /// Row `row` of the matrix. Neither monitor deletes what has expired until a test says so; fail points are allowed.
    pub async fn start(row: usize) -> Self {
        let (from, to) = MATRIX[row];
        let start = async |release, name| {
            let mongod = releases::mongod(Some(release), &|line| eprintln!("{line}")).expect("a mongod");
            let arguments = ["ttlMonitorSleepSecs=1", "enableTestCommands=1"];
            let arguments = arguments.iter().flat_map(|value| ["--setParameter".into(), (*value).into()]).collect();
            let options = SetOptions { cache_gb: 1.0, arguments, ..SetOptions::single(name) };
            ReplicaSet::start(&mongod, &options).await.expect("a replica set")
        };
        let (source, destination) = tokio::join!(start(from, "rsA"), start(to, "rsB"));
        let pair = Pair { source, destination };
        let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
        run(&source, "admin", doc! { "setParameter": 1, "ttlMonitorEnabled": false }).await;
        Self { pair, source, destination, from: version(from, to), to: version(to, from) }
    }

    /// A plan for these databases and patterns (all when empty).
    pub fn plan(&self, include: &[&str], exclude: &[&str]) -> Plan {
        let patterns = |list: &[&str]| list.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        let mut plan = drive::plan(&self.pair.source.uri(), &self.pair.destination.uri());
        plan.options.filter = NamespaceFilter { include: patterns(include), exclude: patterns(exclude) };
        plan
    }

    /// Differences that no difference of the two releases explains.
    pub async fn differences(&self) -> Vec<String> {
        compare::differences(&self.source, &self.destination).await
    }
}

/// A running migration.
pub struct Migration {
    pub engine: Engine,
    pub client: session::Client,
    pub home: tempfile::TempDir,
}

impl Migration {
    pub fn new() -> Self {
        let (engine, home) = drive::engine();
        let client = engine.client("test@tty");
        Self { engine, client, home }
    }

    pub async fn reach(&mut self, phase: Phase) -> Arc<Snapshot> {
        drive::wait(&mut self.client, &format!("{phase}"), |snapshot| rank(snapshot.phase) >= rank(phase)).await
    }

    /// The text of every event of a kind.
    pub fn events(&self, kind: &str) -> Vec<String> {
        self.client
            .events()
            .since(0)
            .into_iter()
            .filter(|event| event.kind == kind)
            .map(|event| event.text.clone())
            .collect()
    }
}

fn rank(phase: Phase) -> usize {
    let order = [
        Phase::Idle,
        Phase::Validating,
        Phase::Clearing,
        Phase::Copying,
        Phase::Indexing,
        Phase::Following,
        Phase::Ready,
        Phase::Cutover,
        Phase::Finalizing,
        Phase::Cleanup,
        Phase::Completed,
    ];
    order.iter().position(|known| *known == phase).unwrap_or(0)
}

/// Runs a command that must succeed.
pub async fn run(client: &Client, db: &str, command: Document) -> Document {
    let text = command.to_string();
    let reply = client
        .database(db)
        .run_command(command)
        .await
        .unwrap_or_else(|error| panic!("{}\n{db}: {}", error.kind, text.chars().take(200).collect::<String>()));
    assert!(!reply.contains_key("writeErrors"), "{db}: {text}: {reply}");
    reply
}

/// Inserts documents whether or not a validator likes them.
pub async fn insert(client: &Client, db: &str, coll: &str, documents: Vec<Document>) {
    run(client, db, doc! { "insert": coll, "documents": documents, "bypassDocumentValidation": true }).await;
}

/// `{ _id: n, n, s }` for every number.
pub fn numbered(range: std::ops::Range<i32>) -> Vec<Document> {
    range.map(|n| doc! { "_id": n, "n": n, "s": format!("text {n}"), "a": [n % 3, n % 5] }).collect()
}

/// Indexes of a collection by name.
pub async fn indexes(client: &Client, db: &str, coll: &str) -> std::collections::BTreeMap<String, Document> {
    let reply = run(client, db, doc! { "listIndexes": coll, "cursor": { "batchSize": 1_000 } }).await;
    let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap().clone();
    batch
        .into_iter()
        .map(|index| index.as_document().unwrap().clone())
        .map(|index| (index.get_str("name").unwrap().to_string(), index))
        .collect()
}
