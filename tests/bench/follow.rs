//! How long a write takes from the source to being visible on the destination, under half of the source's write rate.

use crate::{
    ferry::Ferry,
    machine::Sets,
    shapes::{DATABASE, Shape, mixed},
    table::{self, percentile},
    wishes::Wishes,
};
use bson::{Document, doc};
use mongodb::{Client, options::ReadConcern};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const WRITERS: u64 = 4;
/// Documents that are written to.
pub const DOCUMENTS: u64 = 20_000;

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    sets.empty().await;
    Shape::Rising.load(&sets.from, DOCUMENTS).await;
    let window = Duration::from_secs(wishes.scaled(10, 2));
    let most = rate(&sets.from, None, window).await;
    let mut ferry = Ferry::start(sets, "verify = \"off\"");
    tokio::task::block_in_place(|| ferry.reach(&["ready"]));
    let mut rows = Vec::new();
    for (label, wanted) in [("idle", Some(0.0)), ("1,000/s", Some(1_000.0)), ("half of the most", Some(most / 2.0))] {
        let stop = Arc::new(AtomicBool::new(false));
        let writing = tokio::spawn(write_until(sets.from.clone(), wanted, stop.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let delays = markers(sets, window).await;
        stop.store(true, Ordering::Relaxed);
        let (count, took) = writing.await.unwrap();
        rows.push(vec![
            label.to_string(),
            format!("{:.0}/s", count as f64 / took),
            format!("{:.1} ms", percentile(&delays, 0.5)),
            format!("{:.1} ms", percentile(&delays, 0.99)),
            delays.len().to_string(),
        ]);
    }
    let (cpu, began) = (ferry.so_far().0, Instant::now());
    tokio::time::sleep(window).await;
    let idle = (ferry.so_far().0 - cpu) / began.elapsed().as_secs_f64() * 100.0;
    let peak = ferry.so_far().1;
    tokio::task::block_in_place(|| ferry.stop());
    let head = ["source is written at", "measured", "p50", "p99", "markers"];
    table::print(&format!("Follow: source to visible (the source takes {most:.0} updates/s at most)"), &head, &rows);
    println!("Idle: {idle:.1} % of a core; peak memory {peak:.0} MiB\n");
}

async fn rate(client: &Client, wanted: Option<f64>, window: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_until(client.clone(), wanted, stop.clone()));
    tokio::time::sleep(window).await;
    stop.store(true, Ordering::Relaxed);
    let (count, took) = writing.await.unwrap();
    count as f64 / took
}

/// Single updates from several writers, at `wanted` per second all together or as fast as they go.
pub async fn write_until(client: Client, wanted: Option<f64>, stop: Arc<AtomicBool>) -> (u64, f64) {
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let writers = (0..WRITERS).map(|_| {
        let (client, count, stop) = (client.clone(), count.clone(), stop.clone());
        tokio::spawn(async move {
            let collection = client.database(DATABASE).collection::<Document>("c");
            while !stop.load(Ordering::Relaxed) {
                if wanted.is_some_and(|wanted| {
                    count.load(Ordering::Relaxed) as f64 >= wanted * began.elapsed().as_secs_f64()
                }) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let n = count.fetch_add(1, Ordering::Relaxed);
                let id = i64::try_from(mixed(n) % DOCUMENTS).unwrap();
                collection
                    .update_one(doc! { "_id": id }, doc! { "$set": { "a": i64::try_from(n).unwrap() } })
                    .await
                    .unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    (count.load(Ordering::Relaxed), began.elapsed().as_secs_f64())
}

/// Delays in ms of markers that are inserted one after the other.
async fn markers(sets: &Sets, window: Duration) -> Vec<f64> {
    let source = sets.from.database(DATABASE).collection::<Document>("markers");
    let destination = sets.to.database(DATABASE).collection::<Document>("markers");
    let (mut delays, began, mut n) = (Vec::new(), Instant::now(), 0_i64);
    source.drop().await.unwrap();
    while began.elapsed() < window {
        n += 1;
        let mark = doc! { "_id": n };
        let written = Instant::now();
        source.insert_one(mark.clone()).await.unwrap();
        while destination.find_one(mark.clone()).read_concern(ReadConcern::local()).await.unwrap().is_none() {
            assert!(written.elapsed() < Duration::from_secs(60), "a marker never arrived");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        delays.push(written.elapsed().as_secs_f64() * 1_000.0);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    delays
}
