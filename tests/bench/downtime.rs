//! How long writers have nowhere to write: from their last write on the source to "the destination accepts writes now".

use crate::{
    ferry::Ferry,
    follow::{DOCUMENTS, write_until},
    machine::Sets,
    shapes::{DATABASE, Shape},
    table::{self, median},
    wishes::Wishes,
};
use bson::{Document, doc};
use jiff::Timestamp;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The quiet that is asked for; it is taken off the figures.
const QUIET: Duration = Duration::from_secs(5);

/// One cutover, ms without [`QUIET`]: until the quiet was seen and the cutover timestamp fixed, until everything up to it
/// was applied, until what had changed was compared, until the destination was opened; and all of it.
type Parts = [f64; 5];

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let mut rows = Vec::new();
    for wanted in [0.0, 200.0, 1_000.0] {
        let (mut all, mut rate) = (Vec::new(), 0.0);
        for _ in 0..wishes.rounds {
            let (parts, measured) = cut_over(sets, wanted, wishes).await;
            all.push(parts);
            rate = measured;
        }
        let part = |n: usize| median(&all.iter().map(|parts| parts[n]).collect::<Vec<_>>());
        let totals = all.iter().map(|parts| parts[4]);
        let mut row = vec![format!("{wanted:.0}/s"), format!("{rate:.0}/s")];
        row.extend((0..5).map(|n| format!("{:.0} ms", part(n))));
        row.push(format!("{:.0} ms", totals.fold(0.0, f64::max)));
        rows.push(row);
    }
    sets.empty().await;
    let head =
        ["source is written at", "measured", "quiet seen", "drained", "compared", "finalized", "in all", "worst"];
    let title = format!(
        "Downtime: last write on the source to open, minus the {} s of quiet (median of {})",
        QUIET.as_secs(),
        wishes.rounds
    );
    table::print(&title, &head, &rows);
}

async fn cut_over(sets: &Sets, wanted: f64, wishes: &Wishes) -> (Parts, f64) {
    sets.empty().await;
    let documents = DOCUMENTS.max(wishes.scaled(DOCUMENTS, DOCUMENTS));
    Shape::Rising.load(&sets.from, documents).await;
    // Something to finalize.
    let unique = doc! { "key": { "a": 1, "_id": 1 }, "name": "unique", "unique": true };
    let ttl = doc! { "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 3_600 };
    let database = sets.from.database(DATABASE);
    database.run_command(doc! { "createIndexes": "c", "indexes": [unique, ttl] }).await.unwrap();
    let mut ferry = Ferry::start(sets, &format!("quiet_for = \"{}s\"", QUIET.as_secs()));
    tokio::task::block_in_place(|| ferry.reach(&["ready"]));
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_until(sets.from.clone(), Some(wanted), stop.clone()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    ferry.type_line("cutover");
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let (count, took) = writing.await.unwrap();
    database.collection::<Document>("last").insert_one(doc! {}).await.unwrap();
    let last_write = Timestamp::now();
    ferry.type_line("continue");
    let moments = tokio::task::block_in_place(|| ["drain", "drained", "verified", "open"].map(|kind| ferry.told(kind)));
    tokio::task::block_in_place(|| ferry.reach(&["completed"]));
    let between = |from: Timestamp, until: Timestamp| until.duration_since(from).as_secs_f64() * 1_000.0;
    let quiet = between(last_write, moments[0]) - QUIET.as_secs_f64() * 1_000.0;
    let [drained, compared, finalized] = [0, 1, 2].map(|n| between(moments[n], moments[n + 1]));
    ([quiet, drained, compared, finalized, quiet + drained + compared + finalized], count as f64 / took)
}
