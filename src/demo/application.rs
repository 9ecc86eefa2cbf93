//! "The application": keeps writing to the source like a shop would, until it is stopped.

use super::shop::{DATABASE, Numbers, order};
use anyhow::Context;
use bson::{DateTime, Document, doc};
use mongodb::{Client, options::ClientOptions};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

/// What the servers call it.
const APP_NAME: &str = "shop-checkout";
/// One round of writes this often; a round is about ten writes.
const PACE: Duration = Duration::from_millis(40);

/// A running application. Stops writing when dropped.
#[derive(Debug)]
pub struct Application {
    running: watch::Sender<bool>,
    writes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Application {
    /// Connects and starts to write. `orders` is how many orders the shop has.
    pub async fn start(uri: &str, orders: u64) -> anyhow::Result<Self> {
        let mut options = ClientOptions::parse(uri).await?;
        options.app_name = Some(APP_NAME.into());
        let client = Client::with_options(options).context("connecting the demo's application")?;
        let (running, mut stop) = watch::channel(true);
        let (count, writes) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut round = Round { client, numbers: Numbers::new(42), next_order: orders, orders };
            let mut tick = tokio::time::interval(PACE);
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    _ = stop.wait_for(|running| !running) => return,
                    _ = tick.tick() => {}
                }
                // A shop under load sees errors now and then (a write conflict, an election) and simply goes on.
                if let Ok(written) = round.write().await {
                    count.send_modify(|count| *count += written);
                }
            }
        });
        Ok(Self { running, writes, task })
    }

    /// Send `false` to stop it.
    pub fn running(&self) -> watch::Sender<bool> {
        self.running.clone()
    }

    /// Writes so far.
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.writes.clone()
    }
}

struct Round {
    client: Client,
    numbers: Numbers,
    next_order: u64,
    orders: u64,
}

impl Round {
    fn some_order(&mut self) -> i32 {
        i32::try_from(self.numbers.below(self.orders)).unwrap_or(0)
    }

    async fn write(&mut self) -> mongodb::error::Result<u64> {
        let shop = self.client.database(DATABASE);
        let orders = shop.collection::<Document>("orders");
        let new = order(self.next_order, &mut self.numbers);
        self.next_order += 1;
        orders.insert_one(new).await?;
        let total = self.numbers.below(10_000) as f64 / 100.0;
        let ids: Vec<i32> = (0..6).map(|_| self.some_order()).collect();
        let at = |index: usize| doc! { "_id": ids.get(index).copied().unwrap_or(0) };
        orders
            .update_one(at(0), doc! { "$set": { "status": "paid", "total": total }, "$inc": { "version": 1_i64 } })
            .await?;
        orders
            .update_one(at(1), doc! { "$set": { "ship.address.city": "fjord", "ship.tracking": { "code": total } } })
            .await?;
        orders.update_one(at(2), doc! { "$push": { "notes": { "at": DateTime::now(), "text": "called" } } }).await?;
        let shorter = doc! { "$set": { "lines": { "$slice": ["$lines", 1] }, "notes": { "$slice": ["$notes", -3] } } };
        orders.update_one(at(3), vec![shorter]).await?;
        orders
            .update_one(at(4), doc! { "$set": { "lines.0.quantity": 3, "status": "sent" }, "$unset": { "total": "" } })
            .await?;
        orders.delete_one(at(5)).await?;
        shop.collection::<Document>("audit").insert_one(doc! { "at": DateTime::now(), "order": ids[0] }).await?;
        let reading = doc! { "at": DateTime::now(), "sensor": { "id": 7 }, "celsius": total };
        shop.collection::<Document>("readings").insert_one(reading).await?;
        self.transfer().await?;
        Ok(11)
    }

    /// A transaction over two collections.
    async fn transfer(&mut self) -> mongodb::error::Result<()> {
        let shop = self.client.database(DATABASE);
        let customer = format!("customer-{}", self.numbers.below(1_000));
        let order = self.some_order();
        let mut session = self.client.start_session().await?;
        session.start_transaction().await?;
        let customers = shop.collection::<Document>("customers");
        let points = doc! { "$inc": { "points": 1 } };
        customers.update_one(doc! { "_id": customer }, points).session(&mut session).await?;
        let orders = shop.collection::<Document>("orders");
        orders.update_one(doc! { "_id": order }, doc! { "$inc": { "version": 1_i64 } }).session(&mut session).await?;
        session.commit_transaction().await
    }
}
