//! What it costs to compare two clusters, beside reading both of them and comparing nothing.

use crate::{
    limits,
    machine::{Sets, cpu_s, peak_mib, resident_mib},
    shapes::Shape,
    table::{self, median, ratio, seconds},
    wishes::Wishes,
};
use bson::Uuid;
use mongodb::Client;
use mongoferry::engine::dirty::DirtySet;
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Seconds, own CPU seconds and the largest resident size in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Cost(pub f64, pub f64, pub f64);

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let mut rows = Vec::new();
    for (shape, most) in [(Shape::Rising, 300_000), (Shape::Small, 1_000_000), (Shape::Small, 3_000_000)] {
        sets.empty().await;
        let documents = wishes.scaled(most, 1_000);
        let bytes = shape.load(&sets.from, documents).await;
        shape.load(&sets.to, documents).await;
        let (mut scans, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..wishes.rounds {
            scans.push(scanned(sets, shape, documents).await);
            costs.push(tokio::task::block_in_place(|| compared(sets)));
        }
        let of = |which: fn(&Cost) -> f64| median(&costs.iter().map(which).collect::<Vec<_>>());
        let (took, scan) = (of(|cost| cost.0), median(&scans));
        rows.push(vec![
            format!("{documents} documents, {} ({} MB)", shape.label(), bytes / 1_000_000),
            seconds(scan),
            format!("{} ({})", seconds(took), ratio(took / scan)),
            format!("{:.0}", documents as f64 / took),
            format!("{:.0} MB/s", bytes as f64 / took / 1e6),
            seconds(of(|cost| cost.1)),
            format!("{:.0} MiB", of(|cost| cost.2)),
        ]);
    }
    sets.empty().await;
    let head =
        ["data on each side", "plain scan of both", "verify --plan", "documents/s", "MB/s", "own CPU", "peak memory"];
    table::print("Verification", &head, &rows);
}

/// What it takes to remember documents that were touched since they were compared: all of them, each once.
pub fn measure_touched(wishes: &Wishes) {
    let mut rows = Vec::new();
    for most in [1_000_000_u64, 4_000_000, 16_000_000] {
        let touched = wishes.scaled(most, 1_000);
        let folder = tempfile::tempdir().unwrap();
        let before = resident_mib();
        let dirty = DirtySet::open(&folder.path().join("verified")).unwrap();
        let collection = Uuid::new();
        dirty.start(collection);
        dirty.finish(collection, touched);
        let began = Instant::now();
        let mut largest = before;
        for n in 0..touched {
            // Scattered like random identifiers: type byte and 12 bytes.
            let scattered = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
            let mut key = [7_u8; 13];
            key[1..9].copy_from_slice(&scattered);
            dirty.touch(collection, &key);
            if n % 100_000 == 0 {
                largest = resident_mib().max(largest);
            }
        }
        let took = began.elapsed().as_secs_f64();
        let written: u64 = walk(folder.path());
        let mut taken = dirty.take();
        let mut read = 0;
        loop {
            let chunk = taken.ids.next_chunk(100_000, 16 << 20).unwrap();
            largest = resident_mib().max(largest);
            read += chunk.len() as u64;
            if chunk.is_empty() {
                break;
            }
        }
        assert!(read >= touched, "{read} of {touched} came back");
        rows.push(vec![
            format!("{touched}"),
            format!("{:.0} MiB", (largest - before).max(0.0)),
            format!("{} MB", written / 1_000_000),
            format!("{:.0}", touched as f64 / took),
        ]);
    }
    table::print("Touched documents", &["touched", "memory at most", "on disk", "touches/s"], &rows);
}

fn walk(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let size = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        of if of.is_dir() => walk(&entry.path()),
        of => of.len(),
    };
    entries.map(size).sum()
}

/// Seconds to read both sides and do nothing with it.
pub async fn scanned(sets: &Sets, shape: Shape, documents: u64) -> f64 {
    let began = Instant::now();
    tokio::join!(scan(&sets.from, shape, documents), scan(&sets.to, shape, documents));
    began.elapsed().as_secs_f64()
}

async fn scan(client: &Client, shape: Shape, documents: u64) {
    for (name, _) in shape.collections(documents) {
        limits::scan(client, &name).await;
    }
}

/// The real binary on both clusters, from its start to its end.
pub fn compared(sets: &Sets) -> Cost {
    let home = tempfile::tempdir().unwrap();
    let plan = home.path().join("plan.toml");
    let (source, destination) = (sets.source.uri(), sets.destination.uri());
    let text = format!("name = \"bench\"\n[source]\nuri = \"{source}\"\n[destination]\nuri = \"{destination}\"\n");
    std::fs::write(&plan, text).unwrap();
    let began = Instant::now();
    let mut child = Command::new(crate::ferry::binary())
        .args(["verify", "--plan"])
        .arg(&plan)
        .env("MONGOFERRY_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let (mut cpu, mut peak) = (0.0, 0.0);
    loop {
        let (now, size) = (cpu_s(&child.id().to_string()), peak_mib(child.id()));
        cpu = now.max(cpu);
        peak = size.max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the clusters are equal, and it ended with {status}");
            return Cost(began.elapsed().as_secs_f64(), cpu, peak);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
