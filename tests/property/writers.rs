//! Tasks that make random operations, each from a seed of its own, and remember what they did.

use crate::{
    commands::{self, Knows},
    content, operations,
    operations::Operation,
    random::Random,
};
use bson::{Document, RawDocumentBuf, doc, raw::cstr};
use mongodb::{Client, ClientSession, error::ErrorKind};
use mongoferry::demo::releases::Release;
use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

const WRITERS: u64 = 3;

/// What makes the copy last.
pub async fn ballast(client: &Client) {
    let documents = (0..12).map(|n| doc! { "_id": n, "pad": "b".repeat(1 << 20) });
    client.database("ballast").collection::<Document>("b").insert_many(documents).await.unwrap();
}

#[derive(Default)]
struct Shared {
    /// Operations made, and how many may be made.
    made: AtomicU64,
    allowed: AtomicU64,
    stop: AtomicBool,
    /// No faster than a busy machine's applier follows.
    is_slow: AtomicBool,
    /// By kind: accepted, refused.
    kinds: Mutex<BTreeMap<&'static str, (u64, u64)>>,
    /// What was accepted, in order.
    log: Mutex<Vec<String>>,
}

impl Shared {
    /// Also to the file that `MONGOFERRY_PROPERTY_LOG` names, for a failure that leaves no difference behind.
    fn remember(&self, line: String) {
        if let Ok(path) = std::env::var("MONGOFERRY_PROPERTY_LOG") {
            let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, format!("{line}\n").as_bytes()).unwrap();
        }
        self.log.lock().unwrap().push(line);
    }
}

/// The running tasks.
pub struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    major: u32,
}

impl Writers {
    pub fn start(client: &Client, release: Release, seed: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let major = release.text().split('.').next().unwrap().parse().unwrap();
        let source = Knows { major, clustered: major >= 6 && seed.is_multiple_of(2) };
        let writer = |number: u64| {
            let (client, shared) = (client.clone(), shared.clone());
            // Neighbouring seeds begin alike.
            let mut random = Random::new((seed * WRITERS + number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for _ in 0..20 {
                random.below(2);
            }
            tokio::spawn(async move {
                let session = client.start_session().await.unwrap();
                let mut writer = Writer { client, shared, random, session, retryable: 0, open: None, source };
                writer.run().await;
            })
        };
        let tasks = (0..WRITERS).map(writer).collect();
        Self { shared, tasks, major }
    }

    pub fn made(&self) -> u64 {
        self.shared.made.load(Ordering::Relaxed)
    }

    /// Allows so many more operations.
    pub fn go_on(&self, operations: u64) {
        self.shared.allowed.store(self.made() + operations, Ordering::Relaxed);
    }

    /// Goes on without end, slowly.
    pub fn linger(&self) {
        self.shared.is_slow.store(true, Ordering::Relaxed);
        self.go_on(1 << 40);
    }

    /// Makes so many more operations.
    pub async fn make(&self, operations: u64) {
        let goal = self.made() + operations;
        self.shared.allowed.fetch_max(goal, Ordering::Relaxed);
        let mut before = (self.made(), 0);
        while self.made() < goal {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a writer ended early");
            tokio::time::sleep(Duration::from_millis(20)).await;
            before = if before.0 == self.made() { (before.0, before.1 + 1) } else { (self.made(), 0) };
            assert!(before.1 < 9_000, "no operation for minutes, {} made", before.0);
        }
    }

    pub async fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
    }

    /// How many of each kind were accepted and refused.
    pub fn summary(&self) -> String {
        let kinds = self.shared.kinds.lock().unwrap();
        let list: Vec<String> =
            kinds.iter().map(|(kind, (taken, refused))| format!("{kind} {taken}-{refused}")).collect();
        format!("{} operations, accepted-refused: {}", self.made(), list.join(", "))
    }

    /// The last operations on the namespaces that `differences` begin with.
    pub fn history(&self, differences: &[String]) -> String {
        let log = self.shared.log.lock().unwrap();
        let mut history = String::new();
        for difference in differences.iter().take(3) {
            let namespace = difference.split(": ").next().unwrap_or_default();
            let (db, coll) = namespace.split_once('.').unwrap_or((namespace, ""));
            let coll = coll.strip_prefix("system.buckets.").unwrap_or(coll);
            let names = [format!("\"{coll}\""), format!("\"{db}.{coll}\"")];
            let about =
                |line: &&String| names.iter().any(|name| line.contains(name.as_str())) || line.contains("dropDatabase");
            let lines: Vec<&String> = log.iter().filter(about).collect();
            writeln!(history, "history of {namespace}:").unwrap();
            for line in lines.iter().rev().take(80).rev() {
                writeln!(history, "  {line}").unwrap();
            }
        }
        history
    }

    /// A test of everything in which something never happened shows less than it says.
    pub fn assert_all_kinds(&self) {
        let kinds = self.shared.kinds.lock().unwrap();
        let accepted = |kind: &str| kinds.get(kind).map_or(0, |(taken, _)| *taken);
        let newer = if self.major >= 5 { &["measurements"][..] } else { &[] };
        let usual = ["insert", "update", "bulk", "many", "findAndModify", "delete", "create", "drop", "rename"];
        let others = ["rename across", "createIndexes", "collMod", "$out", "$merge", "commit", "abort", "retryable"];
        let missing: Vec<_> = usual.iter().chain(&others).chain(newer).filter(|kind| accepted(kind) == 0).collect();
        assert!(missing.is_empty(), "never accepted: {missing:?}; {}", self.summary());
        assert!(accepted("insert") * 20 > self.made(), "{}", self.summary());
    }
}

struct Writer {
    client: Client,
    shared: Arc<Shared>,
    random: Random,
    /// For retryable writes.
    session: ClientSession,
    retryable: i64,
    /// A transaction that stays open for so many more operations.
    open: Option<(ClientSession, usize)>,
    source: Knows,
}

impl Writer {
    async fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.shared.made.load(Ordering::Relaxed) >= self.shared.allowed.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            self.shared.made.fetch_add(1, Ordering::Relaxed);
            self.operation().await;
            let pause = if self.shared.is_slow.load(Ordering::Relaxed) { 100 } else { 2 };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let commit = self.random_commit();
        self.end_open(commit).await;
    }

    fn random_commit(&mut self) -> bool {
        self.random.below(4) > 0
    }

    async fn operation(&mut self) {
        if let Some((session, left)) = self.open.take() {
            self.open = Some((session, left.saturating_sub(1)));
            if left == 0 {
                let commit = self.random_commit();
                self.end_open(commit).await;
            }
        }
        match self.random.below(100) {
            0..=18 => {
                for command in commands::commands(&mut self.random, self.source) {
                    self.plain(command).await;
                }
            }
            19 => {
                let operation = operations::repeated(&mut self.random);
                self.plain(operation).await;
            }
            20..=26 if self.open.is_none() => self.transaction().await,
            27..=45 => {
                let operation = self.write().await;
                self.retryable(operation).await;
            }
            _ => {
                let operation = self.write().await;
                self.plain(operation).await;
            }
        }
    }

    /// A write, made for a document that is there.
    async fn write(&mut self) -> Operation {
        let (db, coll) =
            (content::database(&mut self.random), content::collection(&mut self.random, self.source.major));
        let id = content::id(&mut self.random);
        let names = self.client.database(&db).collection::<Document>(&coll);
        let next = doc! { "_id": { "$gte": id.clone() } };
        let found = names.find_one(next).sort(doc! { "_id": 1 }).max_time(Duration::from_secs(1)).await;
        let current = found.ok().flatten().unwrap_or_else(|| doc! { "_id": id });
        operations::write(&mut self.random, (&db, &coll), &current, self.source.major >= 5)
    }

    /// Bounded: what this writer has open itself may hold it up.
    fn bounded(&self, command: &RawDocumentBuf) -> RawDocumentBuf {
        let mut command = command.clone();
        command.append(cstr!("maxTimeMS"), if self.open.is_some() { 100 } else { 2_000 });
        command
    }

    async fn plain(&mut self, operation: Operation) {
        let command = self.bounded(&operation.command);
        let outcome = self.client.database(&operation.db).run_raw_command(command).await;
        self.note(operation.kind, outcome.as_ref(), &operation);
    }

    async fn retryable(&mut self, operation: Operation) {
        let mut command = self.bounded(&operation.command);
        self.retryable += 1;
        command.append(cstr!("txnNumber"), self.retryable);
        let database = self.client.database(&operation.db);
        let outcome = database.run_raw_command(command.clone()).session(&mut self.session).await;
        self.note("retryable", outcome.as_ref(), &operation);
        self.note(operation.kind, outcome.as_ref(), &operation);
        if self.random.below(4) == 0 {
            // As a driver does that lost the reply: nothing happens twice.
            let _ = database.run_raw_command(command).session(&mut self.session).await;
        }
    }

    fn note(&self, kind: &'static str, outcome: Result<&Document, &mongodb::error::Error>, operation: &Operation) {
        if let Err(error) = outcome
            && matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ServerSelection { .. })
        {
            let last: Vec<String> = self.shared.log.lock().unwrap().iter().rev().take(4).cloned().collect();
            panic!("the source is gone; at {} {:?}, after {last:#?}", operation.db, show(&operation.command));
        }
        let taken = outcome.is_ok_and(|reply| !reply.contains_key("writeErrors"));
        let mut kinds = self.shared.kinds.lock().unwrap();
        let counts = kinds.entry(kind).or_default();
        *(if taken { &mut counts.0 } else { &mut counts.1 }) += 1;
        // Some statements of a command with errors may have been carried out.
        if outcome.is_ok() && kind != "retryable" {
            let text = show(&operation.command);
            let line = format!("{} {}", operation.db, text.chars().take(700).collect::<String>());
            self.shared.remember(line);
        }
    }

    fn ended(&self, commit: bool, is_done: bool) {
        let mut kinds = self.shared.kinds.lock().unwrap();
        let counts = kinds.entry(if commit { "commit" } else { "abort" }).or_default();
        *(if is_done { &mut counts.0 } else { &mut counts.1 }) += 1;
        self.shared.remember(format!("{} {is_done}", if commit { "commit" } else { "abort" }));
    }

    async fn end_open(&mut self, commit: bool) {
        let Some((mut session, _)) = self.open.take() else { return };
        let outcome = if commit { session.commit_transaction().await } else { session.abort_transaction().await };
        self.ended(commit, outcome.is_ok());
    }

    /// A few writes to several collections; committed, aborted, or left open for a while.
    async fn transaction(&mut self) {
        let mut session = self.client.start_session().await.unwrap();
        session.start_transaction().await.unwrap();
        for _ in 0..1 + self.random.below(6) {
            let mut operation = match self.random.below(12) {
                0 => {
                    let (db, coll) =
                        (content::database(&mut self.random), content::collection(&mut self.random, self.source.major));
                    Operation::new("create", db, &doc! { "create": coll })
                }
                // An error would end it, and most ids are taken.
                1..=3 => {
                    let (db, coll) =
                        (content::database(&mut self.random), content::collection(&mut self.random, self.source.major));
                    let mut document = content::document(&mut self.random, self.source.major >= 5);
                    document.insert("_id", format!("t{}", self.random.below(1_000_000)));
                    Operation::new("insert", db, &doc! { "insert": coll, "documents": [document] })
                }
                _ => self.write().await,
            };
            operation.kind = "in transaction";
            let database = self.client.database(&operation.db);
            let outcome = database.run_raw_command(operation.command.clone()).session(&mut session).await;
            self.note(operation.kind, outcome.as_ref(), &operation);
            // The server has aborted it.
            if outcome.is_err() || outcome.is_ok_and(|reply| reply.contains_key("writeErrors")) {
                let _ = session.abort_transaction().await;
                self.ended(true, false);
                return;
            }
        }
        if self.random.below(120) == 0 {
            self.large(&mut session).await;
        }
        let left = self.random.below(60);
        self.open = Some((session, left));
        if left < 45 {
            let commit = self.random_commit();
            self.end_open(commit).await;
        }
    }

    /// More than one oplog entry can hold.
    async fn large(&mut self, session: &mut ClientSession) {
        let large = self.client.database("ballast").collection::<Document>("large");
        for _ in 0..5 {
            let document = doc! { "pad": "l".repeat(4 << 20) };
            if large.insert_one(document).session(&mut *session).await.is_err() {
                return;
            }
        }
        self.shared.kinds.lock().unwrap().entry("large").or_default().0 += 1;
    }
}

fn show(command: &RawDocumentBuf) -> String {
    Document::try_from(command.as_ref()).map_or_else(|error| error.to_string(), |command| command.to_string())
}
