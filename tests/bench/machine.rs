//! The machine and the two servers of a run.

use mongodb::{Client, bson::doc};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::time::Duration;

/// Files that an emptied server may still hold open.
const MOST_FILES: i32 = 2_000;

/// A source and a destination of one member each, the default release.
pub struct Sets {
    pub source: ReplicaSet,
    pub destination: ReplicaSet,
    pub from: Client,
    pub to: Client,
}

impl Sets {
    pub async fn start() -> Self {
        let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
        let options = |name| SetOptions { cache_gb: 2.0, ..SetOptions::single(name) };
        let (a, b) = (options("benchA"), options("benchB"));
        let (source, destination) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
        let (source, destination) = (source.expect("a source"), destination.expect("a destination"));
        let (from, to) = (source.client().await.unwrap(), destination.client().await.unwrap());
        let info = from.database("admin").run_command(doc! { "buildInfo": 1 }).await.unwrap();
        for client in [&from, &to] {
            // Files of what was dropped are closed at once, not minutes later: thousands of collections, created again for
            // each measurement, end in a server that may not open another one.
            let command = doc! { "setParameter": 1, "minSnapshotHistoryWindowInSeconds": 0 };
            client.database("admin").run_command(command).await.unwrap();
        }
        println!("mongod {} on both sides, one member each, cache 2 GB\n", info.get_str("version").unwrap());
        Self { source, destination, from, to }
    }

    /// Drops every user database on both sides.
    pub async fn empty(&self) {
        self.empty_side(&self.from).await;
        self.empty_side(&self.to).await;
    }

    /// Drops every user database of the destination, and waits until the memory that this freed is as cold as it will
    /// be: a virtual machine that gives free memory back pays for touching it again, and whoever is measured sooner
    /// would pay less.
    pub async fn empty_destination(&self) {
        self.empty_side(&self.to).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    async fn empty_side(&self, client: &Client) {
        for name in client.list_database_names().await.unwrap() {
            if !["admin", "config", "local"].contains(&name.as_str()) {
                client.database(&name).drop().await.unwrap();
            }
        }
        // So that no checkpoint of what was dropped falls into the next measurement.
        let admin = client.database("admin");
        for _ in 0..60 {
            admin.run_command(doc! { "fsync": 1 }).await.unwrap();
            let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
            let open = status.get_document("wiredTiger").unwrap().get_document("connection").unwrap();
            if open.get_i32("files currently open").unwrap() < MOST_FILES {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("a server did not close the files of what was dropped");
    }
}

/// Cores, processor and memory.
pub fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_string()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_string();
    format!("{cores} cores ({model}), memory {memory}, load {load} at the start")
}

/// CPU seconds that a process has used, all threads.
pub fn cpu_s(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may hold spaces.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The largest resident size that a process has had, MiB.
pub fn peak_mib(process: u32) -> f64 {
    status_mib(process, "VmHWM")
}

/// The resident size of this process now, MiB.
pub fn resident_mib() -> f64 {
    status_mib(std::process::id(), "VmRSS")
}

fn status_mib(process: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1_024.0
}
