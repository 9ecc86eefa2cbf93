//! Mixed operations that wait while the copy is paused, applied after it, beside the rate that put them into the source.

use crate::{
    ferry::Ferry,
    machine::Sets,
    shapes::{DATABASE, Shape, mixed},
    table::{self, median, ratio},
    wishes::Wishes,
};
use bson::{Document, doc};
use mongodb::Client;
use std::time::Instant;

const COLLECTIONS: u64 = 4;
const BULK: u64 = 1_000;

/// What one round showed.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Operations per second that unordered bulks put into the source.
    pub written: f64,
    /// Operations per second that were applied.
    pub applied: f64,
    /// Own CPU seconds.
    pub cpu: f64,
    /// Largest resident size, MiB.
    pub peak_mib: f64,
}

/// So many operations on so many documents wait, and are applied.
pub async fn round(sets: &Sets, operations: u64, documents: u64) -> Round {
    sets.empty().await;
    let documents = documents / COLLECTIONS;
    for n in 0..COLLECTIONS {
        load(&sets.from, n, documents).await;
    }
    let mut ferry = Ferry::start(sets, "verify = \"off\"");
    tokio::task::block_in_place(|| ferry.reach(&["ready"]));
    ferry.type_line("pause");
    tokio::task::block_in_place(|| ferry.reach(&["paused"]));
    let began = Instant::now();
    write(&sets.from, operations, documents).await;
    let written = operations as f64 / began.elapsed().as_secs_f64();
    let mark = doc! { "_id": "mark" };
    sets.from.database(DATABASE).collection::<Document>("c0").insert_one(mark.clone()).await.unwrap();
    let (before, began) = (ferry.so_far().0, Instant::now());
    ferry.type_line("resume");
    wait_for(&sets.to, mark).await;
    let applied = operations as f64 / began.elapsed().as_secs_f64();
    let (cpu, peak_mib) = ferry.so_far();
    tokio::task::block_in_place(|| ferry.stop());
    Round { written, applied, cpu: cpu - before, peak_mib }
}

/// Prints the table.
pub async fn measure(sets: &Sets, wishes: &Wishes) {
    let (operations, documents) = (wishes.scaled(300_000, 4_000), wishes.scaled(100_000, 2_000));
    let mut rounds = Vec::new();
    for _ in 0..wishes.rounds {
        rounds.push(round(sets, operations, documents).await);
    }
    let of = |pick: fn(&Round) -> f64| median(&rounds.iter().map(pick).collect::<Vec<_>>());
    let (written, applied) = (of(|round| round.written), of(|round| round.applied));
    let row = vec![
        operations.to_string(),
        format!("{written:.0}/s"),
        format!("{applied:.0}/s"),
        ratio(applied / written),
        format!("{:.2} s", of(|round| round.cpu)),
    ];
    let head = ["operations waiting", "written by bulks of 1,000", "applied", "applied to written", "own CPU"];
    table::print("Catch-up", &head, &[row]);
}

async fn load(client: &Client, collection: u64, documents: u64) {
    let mut next = 0;
    while next < documents {
        let until = (next + 2_000).min(documents);
        let mut batch = bson::RawArrayBuf::new();
        (next..until).for_each(|n| batch.push(Shape::Rising.document(n)));
        crate::shapes::insert(client, DATABASE, &format!("c{collection}"), batch).await;
        next = until;
    }
}

/// Unordered bulks of 1,000: two fifths updates, two fifths inserts, one fifth deletes, over the collections in turn.
async fn write(client: &Client, operations: u64, documents: u64) {
    let database = client.database(DATABASE);
    let mut done = 0;
    while done < operations {
        let name = format!("c{}", (done / BULK) % COLLECTIONS);
        let (mut updates, mut inserts, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
        for n in done..(done + BULK).min(operations) {
            let id = i64::try_from(mixed(n) % documents).unwrap();
            let fresh = i64::try_from(1_000_000 + n).unwrap();
            match n % 5 {
                0 | 1 => updates.push(doc! { "q": { "_id": id },
                "u": { "$set": { "a": fresh, "n.y": "changed" }, "$inc": { "count": 1 } } }),
                2 | 3 => inserts.push(doc! { "_id": fresh, "a": id, "b": "a new document", "n": { "x": id } }),
                _ => deletes.push(doc! { "q": { "_id": id }, "limit": 1 }),
            }
        }
        for command in [
            doc! { "update": &name, "updates": updates, "ordered": false },
            doc! { "insert": &name, "documents": inserts, "ordered": false },
            doc! { "delete": &name, "deletes": deletes, "ordered": false },
        ] {
            database.run_command(command).await.unwrap();
        }
        done += BULK;
    }
}

async fn wait_for(client: &Client, mark: Document) {
    let collection = client.database(DATABASE).collection::<Document>("c0");
    let deadline = Instant::now() + std::time::Duration::from_secs(600);
    while collection.find_one(mark.clone()).await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "the mark never arrived");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
