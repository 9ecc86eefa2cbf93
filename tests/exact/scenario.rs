//! What a scenario is, and the tasks that keep all of them writing.

use bson::{Document, RawDocumentBuf, doc};
use futures_util::future::BoxFuture;
use mongodb::{Client, Database};
use mongoferry::demo::{Release, ReplicaSet};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// The source and what it is.
#[derive(Clone)]
pub struct Source {
    pub client: Client,
    pub release: Release,
    /// Its feature compatibility was lowered to 4.4.
    pub old_format: bool,
}

/// `(major, minor)` of a release.
pub fn version(release: Release) -> (u32, u32) {
    let mut parts = release.text().split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

impl Source {
    pub async fn connect(set: &ReplicaSet, release: Release, old_format: bool) -> Self {
        let client = set.client().await.unwrap();
        if old_format {
            let command = doc! { "setFeatureCompatibilityVersion": "4.4" };
            client.database("admin").run_command(command).await.unwrap();
        }
        Self { client, release, old_format }
    }

    /// The source has what came with this version.
    pub fn has(&self, major: u32) -> bool {
        version(self.release).0 >= major && !(self.old_format && major >= 5)
    }

    pub fn db(&self, name: &str) -> Database {
        self.client.database(name)
    }

    /// Data that makes the copy last: so many MB.
    pub async fn ballast(&self, megabytes: i32) {
        let collection = self.db("ballast").collection::<Document>("c");
        for mb in 0..megabytes {
            let documents = (0..64).map(|n| doc! { "_id": mb * 64 + n, "pad": "x".repeat(15_800) });
            collection.insert_many(documents).await.unwrap();
        }
    }
}

/// Runs a command; the test fails with its text when the server refuses it.
pub async fn run(db: &Database, command: Document) {
    if let Err(error) = db.run_command(command.clone()).await {
        panic!("{}: {error}", command.to_string().chars().take(400).collect::<String>());
    }
}

/// The same for a raw command; write errors count as refused.
pub async fn run_raw(db: &Database, command: RawDocumentBuf) {
    match db.run_raw_command(command.clone()).await {
        Ok(reply) if !reply.contains_key("writeErrors") => {}
        other => {
            let text: String = format!("{command:?}").chars().take(400).collect();
            panic!("{text}: {other:?}")
        }
    }
}

/// One kind of content with its changes. Each has a database of its own, named after it.
pub trait Scenario: Send + Sync {
    fn name(&self) -> &'static str;
    /// Loads what exists before the start.
    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()>;
    /// One round of changes; `n` counts from 1.
    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()>;
    /// Once, while following.
    fn following<'a>(&'a self, _: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }
}

/// All scenarios, each writing in a task of its own.
pub struct Writers {
    source: Source,
    scenarios: Vec<Arc<dyn Scenario>>,
    rounds: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    pause_ms: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    pub async fn load(source: Source, scenarios: Vec<Box<dyn Scenario>>) -> Self {
        let scenarios: Vec<Arc<dyn Scenario>> = scenarios.into_iter().map(Arc::from).collect();
        for scenario in &scenarios {
            scenario.load(&source).await;
        }
        let rounds = scenarios.iter().map(|_| Arc::default()).collect();
        let pause_ms = Arc::new(AtomicU64::new(150));
        Self { source, scenarios, rounds, stop: Arc::default(), pause_ms, tasks: Vec::new() }
    }

    pub fn start(&mut self) {
        for (scenario, rounds) in self.scenarios.iter().zip(&self.rounds) {
            let (source, scenario, rounds) = (self.source.clone(), scenario.clone(), rounds.clone());
            let (stop, pause_ms) = (self.stop.clone(), self.pause_ms.clone());
            self.tasks.push(tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    scenario.round(&source, n).await;
                    rounds.store(u64::try_from(n).unwrap(), Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(pause_ms.load(Ordering::Relaxed))).await;
                }
            }));
        }
    }

    /// So that a busy machine catches up and gets to the cutover.
    pub fn slow_down(&self) {
        self.pause_ms.store(1_500, Ordering::Relaxed);
    }

    /// The fewest rounds that a scenario has made.
    pub fn slowest(&self) -> u64 {
        self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// Waits until every scenario has made so many rounds.
    pub async fn reach(&self, rounds: u64) {
        let deadline = Instant::now() + Duration::from_secs(180);
        while self.slowest() < rounds {
            for (task, scenario) in self.tasks.iter().zip(&self.scenarios) {
                assert!(!task.is_finished(), "{} ended early", scenario.name());
            }
            let counts: Vec<_> = self.scenarios.iter().zip(&self.rounds).map(|(s, r)| (s.name(), r)).collect();
            assert!(Instant::now() < deadline, "the writers are too slow: {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn following(&self) {
        for scenario in &self.scenarios {
            scenario.following(&self.source).await;
        }
    }

    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }
}
