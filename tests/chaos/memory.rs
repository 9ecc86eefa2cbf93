//! Resident memory of the engine where it could grow: the largest documents, a long tail that nobody applies, thousands
//! of collections. Meant for a release build, whose path is in `MONGOFERRY_CHAOS_BINARY`.

use crate::{
    common,
    ferry::{Ferry, Home},
};
use bson::{Document, doc, spec::BinarySubtype};
use futures_util::{StreamExt, stream};
use mongodb::{Client, IndexModel};
use std::time::{Duration, Instant};

/// What no scenario may exceed; the README states what was measured.
const BOUND: u64 = 900_000_000;

fn following(snapshot: &serde_json::Value) -> bool {
    ["following", "ready"].contains(&snapshot["phase"].as_str().unwrap_or_default())
        && snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000)
}

fn measured(what: &str, ferry: &Ferry) -> u64 {
    let peak = ferry.peak_memory();
    eprintln!("{what}: at most {} MB resident", peak / 1_000_000);
    assert!(peak < BOUND, "{what}: {peak} bytes");
    peak
}

/// So many bytes that do not compress.
fn noise(bytes: usize, seed: u64) -> bson::Binary {
    let mut state = seed | 1;
    let bytes = std::iter::repeat_with(|| crate::random(&mut state, 256) as u8).take(bytes).collect();
    bson::Binary { subtype: BinarySubtype::Generic, bytes }
}

async fn write_block(client: &Client, on: bool) {
    client.database("admin").run_command(doc! { "setUserWriteBlockMode": 1, "global": on }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; by command"]
async fn memory_is_bounded_with_large_documents_and_a_long_tail() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let shop = source.database("shop");
    for name in ["large1", "large2", "large3", "large4"] {
        for n in 0..12_i32 {
            let document = doc! { "_id": n, "pad": noise((16 << 20) - 1_000, 77 + n as u64) };
            shop.collection::<Document>(name).insert_one(document).await.unwrap();
        }
    }
    for chunk in (0..400_000).collect::<Vec<i32>>().chunks(20_000) {
        let small = chunk.iter().map(|n| doc! { "_id": n, "k": n % 100, "s": format!("value {n}") });
        shop.collection::<Document>("small").insert_many(small).await.unwrap();
    }
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "");
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", following);
    ferry.wait("the comparison", |snapshot| snapshot["verification"]["documents"].as_u64().unwrap_or(0) >= 400_000);
    let copied = measured("a copy of 48 documents of 16 MB and 400,000 small ones, compared", &ferry);

    write_block(&destination, true).await;
    let began = Instant::now();
    let mut written = 0_u64;
    for n in 0_u64.. {
        if written > 1_500_000_000 || began.elapsed() > Duration::from_secs(240) {
            break;
        }
        let (bytes, many) = if n % 10 == 0 { (15 << 20, 1) } else { (2_000, 2_000) };
        let pad = noise(bytes, n);
        let batch = (0..many).map(|k| doc! { "_id": format!("{n}-{k}"), "pad": pad.clone() });
        shop.collection::<Document>("tail").insert_many(batch).await.unwrap();
        written += (bytes * many) as u64;
    }
    ferry.wait("the whole tail in the spool", |snapshot| {
        snapshot["spool_bytes"].as_u64().is_some_and(|waiting| waiting > written / 10 * 9)
    });
    let tail = measured(&format!("a tail of {} MB that waits for the destination", written / 1_000_000), &ferry);
    write_block(&destination, false).await;
    ferry.wait("the tail applied", |snapshot| following(snapshot) && snapshot["ops_waiting"] == 0);
    let applied = measured("the same tail applied", &ferry);
    eprintln!("{copied} {tail} {applied}");
    assert!(ferry.kill());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; by command"]
async fn memory_is_bounded_with_thousands_of_collections() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    let count = 2_000;
    let create = async |n: i32| {
        let one = source.database(&format!("tenant{}", n % 30)).collection::<Document>(&format!("c{n}"));
        one.insert_many((0..20).map(|k| doc! { "_id": k, "k": k })).await.unwrap();
        one.create_index(IndexModel::builder().keys(doc! { "k": 1 }).build()).await.unwrap();
    };
    stream::iter(0..count).for_each_concurrent(8, create).await;
    let home = Home::new(&pair.source.uri(), &pair.destination.uri(), "");
    let mut ferry = Ferry::start(&home);
    ferry.wait("following", following);
    for round in 0..20 {
        for n in 0..count / 10 {
            let one = source.database(&format!("tenant{}", n % 30)).collection::<Document>(&format!("c{n}"));
            one.insert_one(doc! { "round": round, "n": n }).await.unwrap();
        }
    }
    ferry.wait("following", |snapshot| following(snapshot) && snapshot["ops_waiting"] == 0);
    measured("2,000 collections with an index each", &ferry);
    assert!(ferry.kill());
}
