//! An application that never stops writing: every kind of write, transactions, renames, drops and recreations. It bears
//! errors of its cluster and goes on.

use bson::{Document, doc};
use mongodb::{Client, IndexModel};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI32, Ordering},
};

/// Documents of the large collection.
pub const DOCUMENTS: i32 = 120_000;

/// Loads what the copy will take a while for.
pub async fn fill(client: &Client, documents: i32) {
    let shop = client.database("shop");
    let big = shop.collection::<Document>("big");
    let pad = "abcdefghij".repeat(100);
    for chunk in (0..documents).collect::<Vec<_>>().chunks(5_000) {
        let batch = chunk.iter().map(|n| doc! { "_id": n, "n": 0, "a": [1, 2], "pad": &pad[..(*n as usize % 1000)] });
        big.insert_many(batch).await.unwrap();
    }
    for n in 0..20 {
        let small = shop.collection::<Document>(&format!("small{n}"));
        small.insert_many((0..50).map(|k| doc! { "_id": k, "k": k, "s": format!("v{k}") })).await.unwrap();
        small.create_index(IndexModel::builder().keys(doc! { "k": 1 }).build()).await.unwrap();
    }
    let unique = mongodb::options::IndexOptions::builder().unique(true).build();
    let keyed = IndexModel::builder().keys(doc! { "key": 1 }).options(unique).build();
    shop.collection::<Document>("keyed").create_index(keyed).await.unwrap();
    big.create_index(IndexModel::builder().keys(doc! { "n": 1 }).build()).await.unwrap();
    let ttl = mongodb::options::IndexOptions::builder().expire_after(std::time::Duration::from_secs(90_000)).build();
    big.create_index(IndexModel::builder().keys(doc! { "at": 1 }).options(ttl).build()).await.unwrap();
    shop.run_command(doc! { "create": "v", "viewOn": "big", "pipeline": [{ "$match": { "n": 1 } }] }).await.unwrap();
}

/// The writer. Ends with `stop`.
pub struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicI32>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    pub fn start(client: &Client) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(0)));
        let (client, ended, count) = (client.clone(), stop.clone(), rounds.clone());
        let task = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let n = count.fetch_add(1, Ordering::Relaxed) + 1;
                // An election takes the rest of a round; the next one goes on.
                if round(&client, n).await.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        Self { stop, rounds, task }
    }

    pub async fn stop(self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.rounds.load(Ordering::Relaxed)
    }
}

async fn round(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let shop = client.database("shop");
    let big = shop.collection::<Document>("big");
    for k in 0..10 {
        let at = doc! { "_id": (n * 7919 + k * 104_729).rem_euclid(DOCUMENTS) };
        big.update_one(at, doc! { "$inc": { "n": 1 }, "$push": { "a": n }, "$set": { format!("f{k}"): n } }).await?;
    }
    big.insert_one(doc! { "_id": 10_000_000 + n, "n": n }).await?;
    big.delete_one(doc! { "_id": (n * 31).rem_euclid(DOCUMENTS) }).await?;
    big.delete_one(doc! { "_id": 10_000_000 + n - 20 }).await?;
    big.replace_one(doc! { "_id": (n * 17).rem_euclid(DOCUMENTS) }, doc! { "replaced": n }).await?;
    keyed(client, n).await?;
    if n % 3 == 0 {
        transaction(client, n).await?;
    }
    match n % 40 {
        5 => swap(client, n).await?,
        15 => recycle(client, n).await?,
        25 => indexes(client, n).await?,
        35 => chain(client, n).await?,
        _ => {}
    }
    Ok(())
}

/// Unique values move from one document to another.
async fn keyed(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let keyed = client.database("shop").collection::<Document>("keyed");
    let (a, b) = (n % 30, (n + 11) % 30);
    keyed.update_one(doc! { "_id": a }, doc! { "$set": { "key": format!("tmp{n}") } }).upsert(true).await?;
    keyed.update_one(doc! { "_id": b }, doc! { "$set": { "key": format!("k{a}-{}", n % 2) } }).upsert(true).await.ok();
    Ok(())
}

async fn transaction(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let shop = client.database("shop");
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    let (big, small) = (shop.collection::<Document>("big"), shop.collection::<Document>("small1"));
    big.insert_one(doc! { "_id": 20_000_000 + n, "txn": true }).session(&mut session).await?;
    small.update_one(doc! { "_id": n % 50 }, doc! { "$inc": { "k": 1 } }).session(&mut session).await?;
    big.delete_one(doc! { "_id": 20_000_000 + n - 9 }).session(&mut session).await?;
    if n % 150 == 0 {
        // Several oplog entries of 16 MB.
        let pad = "z".repeat(1 << 20);
        for k in 0..17 {
            let document = doc! { "_id": 30_000_000 + n * 100 + k, "pad": &pad };
            shop.collection::<Document>("large").insert_one(document).session(&mut session).await?;
        }
        shop.collection::<Document>("large")
            .delete_many(doc! { "_id": { "$lt": 30_000_000 + (n - 150) * 100 } })
            .session(&mut session)
            .await?;
    }
    if n % 12 == 0 { session.abort_transaction().await } else { session.commit_transaction().await }
}

/// A new collection replaces the present one by rename.
async fn swap(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let shop = client.database("shop");
    let next = shop.collection::<Document>("next");
    next.drop().await?;
    next.insert_many((0..20).map(|k| doc! { "_id": k, "generation": n })).await?;
    next.create_index(IndexModel::builder().keys(doc! { "generation": 1 }).build()).await?;
    let rename = doc! { "renameCollection": "shop.next", "to": "shop.current", "dropTarget": true };
    client.database("admin").run_command(rename).await?;
    shop.collection::<Document>("current").insert_one(doc! { "_id": "after", "generation": n }).await?;
    Ok(())
}

/// Dropped and created again under the same name.
async fn recycle(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let recycled = client.database("shop").collection::<Document>("recycled");
    recycled.insert_one(doc! { "_id": n, "old": true }).await?;
    recycled.drop().await?;
    recycled.insert_many((0..30).map(|k| doc! { "_id": k, "n": n })).await?;
    recycled.update_many(doc! { "_id": { "$lt": 10 } }, doc! { "$set": { "touched": n } }).await?;
    Ok(())
}

async fn indexes(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let shop = client.database("shop");
    let small = shop.collection::<Document>("small2");
    small.create_index(IndexModel::builder().keys(doc! { format!("i{}", n % 80): 1 }).build()).await?;
    if n % 80 == 65 {
        small.drop_indexes().await?;
    }
    shop.run_command(doc! { "collMod": "small3", "validator": { "k": { "$lt": 1_000 + n } } }).await?;
    shop.run_command(doc! { "collMod": "v", "viewOn": "big", "pipeline": [{ "$match": { "n": n } }] }).await?;
    Ok(())
}

/// A name goes from hand to hand: what replays twice is found here.
async fn chain(client: &Client, n: i32) -> mongodb::error::Result<()> {
    let (shop, admin) = (client.database("shop"), client.database("admin"));
    for (from, to) in [("small5", "spare"), ("small6", "small5"), ("spare", "small6")] {
        let (from, to) = (format!("shop.{from}"), format!("shop.{to}"));
        admin.run_command(doc! { "renameCollection": from, "to": to }).await?;
    }
    shop.collection::<Document>("small5").update_one(doc! { "_id": 1 }, doc! { "$set": { "chain": n } }).await?;
    Ok(())
}
