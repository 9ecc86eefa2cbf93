//! An application that writes until it is told to stop.

use bson::{Document, doc};
use mongodb::{Client, Collection};
use mongoferry::demo::ReplicaSet;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// What the application calls itself.
pub const NAME: &str = "checkout-api";

/// A client that says its name, connected for as long as it is kept.
pub async fn connected(set: &ReplicaSet, name: &str) -> Client {
    let mut options = mongodb::options::ClientOptions::parse(set.uri()).await.unwrap();
    options.app_name = Some(name.into());
    let client = Client::with_options(options).unwrap();
    client.database("admin").run_command(doc! { "ping": 1 }).await.unwrap();
    client
}

pub struct Application {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<i32>,
}

impl Application {
    /// Writes to `shop.orders` about 50 times a second.
    pub async fn start(set: &ReplicaSet, from: i32) -> Self {
        let client = connected(set, NAME).await;
        let orders: Collection<Document> = client.database("shop").collection("orders");
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let writing = tokio::spawn(async move {
            let mut n = from;
            while !ended.load(Ordering::Relaxed) {
                orders.insert_one(doc! { "_id": format!("live {n}"), "n": n }).await.unwrap();
                n += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            n - from
        });
        Self { stop, writing }
    }

    /// Stops and says how much it wrote.
    pub async fn stop(&mut self) -> i32 {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.writing).await.unwrap()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.writing.abort();
    }
}
