//! Sample data that looks like a shop: nested documents, arrays, several `_id` types, GridFS, capped, view, time-series,
//! and every kind of index. The same number always gives the same shop.

use anyhow::Context;
use bson::{Binary, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype};
use mongodb::{Client, Database};

/// Database of the shop.
pub const DATABASE: &str = "shop";
/// Documents per insert.
const BATCH: u64 = 2_000;

/// A small generator that always gives the same numbers (xorshift).
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// From a seed other than 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    fn word(&mut self) -> &'static str {
        self.pick([
            "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "juniper", "knoll",
            "larch",
        ])
    }

    fn pick<const N: usize>(&mut self, words: [&'static str; N]) -> &'static str {
        words[usize::try_from(self.below(N as u64)).unwrap_or(0)]
    }
}

fn int(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn day(numbers: &mut Numbers) -> DateTime {
    DateTime::from_millis(1_760_000_000_000 + i64::try_from(numbers.below(30_000_000_000)).unwrap_or(0))
}

/// An order; the application inserts them too.
pub fn order(number: u64, numbers: &mut Numbers) -> Document {
    let lines: Vec<Document> = (0..1 + numbers.below(5))
        .map(|_| {
            doc! { "sku": format!("sku-{}", numbers.below(5_000)), "quantity": int(1 + numbers.below(9)),
            "price": numbers.below(20_000) as f64 / 100.0, "options": [numbers.word(), numbers.word()] }
        })
        .collect();
    doc! {
        "_id": int(number), "customer": format!("customer-{}", numbers.below(20_000)), "placed": day(numbers),
        "status": numbers.pick(["new", "paid", "sent", "returned"]),
        "ship": { "address": { "street": format!("{} {}", numbers.word(), numbers.below(200)), "city": numbers.word() },
                  "location": { "type": "Point", "coordinates": [numbers.below(360) as f64 - 180.0, numbers.below(160) as f64 - 80.0] } },
        "lines": lines, "total": numbers.below(100_000) as f64 / 100.0, "notes": [], "version": 1_i64,
    }
}

fn event(number: u64, numbers: &mut Numbers) -> Document {
    let body = doc! { "kind": numbers.pick(["view", "cart", "search"]), "at": day(numbers), "tags": [numbers.word(), numbers.word()], "weight": numbers.below(100) as f64 };
    // Several kinds of `_id` in one collection.
    let mut document = match number % 6 {
        0 => doc! { "_id": ObjectId::from_bytes(wide(number)) },
        1 => doc! { "_id": i64::try_from(number).unwrap_or(0) << 20 },
        2 => doc! { "_id": format!("event-{number}") },
        3 => doc! { "_id": { "shard": numbers.word(), "n": int(number) } },
        4 => doc! { "_id": number as f64 + 0.5 },
        _ => doc! { "_id": Binary { subtype: BinarySubtype::Generic, bytes: number.to_be_bytes().to_vec() } },
    };
    document.extend(body);
    document
}

fn wide(number: u64) -> [u8; 12] {
    let mut bytes = [0x65; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Loads about `documents` documents. `say` gets a line when a part is done.
pub async fn load(client: &Client, documents: u64, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    let shop = client.database(DATABASE);
    create(&shop).await?;
    let (orders, customers, events) = (documents / 2, documents / 10, documents * 3 / 10);
    let mut numbers = Numbers::new(20_260_101);
    insert(&shop, "orders", orders, |n| order(n, &mut numbers)).await?;
    say(&format!("loaded {orders} orders"));
    insert(&shop, "customers", customers, |n| {
        doc! { "_id": format!("customer-{n}"), "email": format!("{}{n}@example.net", numbers.word()), "name": { "first": numbers.word(), "last": numbers.word() },
               "points": int(numbers.below(1_000)), "seen": day(&mut numbers), "tags": [numbers.word()] }
    })
    .await?;
    insert(&shop, "events", events, |n| event(n, &mut numbers)).await?;
    say(&format!("loaded {customers} customers and {events} events"));
    insert(&shop, "readings", documents / 10, |n| {
        doc! { "at": DateTime::from_millis(1_780_000_000_000 + i64::try_from(n).unwrap_or(0) * 5_000), "sensor": { "id": int(n % 40) }, "celsius": numbers.below(400) as f64 / 10.0 }
    })
    .await?;
    insert(&shop, "audit", 2_000, |n| doc! { "n": i64::try_from(n).unwrap_or(0), "what": numbers.word() }).await?;
    picture(&shop, &mut numbers).await?;
    let crm = client.database("crm");
    insert(&crm, "contacts", documents / 50, |n| doc! { "n": int(n), "notes": numbers.word() }).await?;
    say("loaded time-series, a capped log, a GridFS file and a second database");
    indexes(&shop).await
}

async fn create(shop: &Database) -> anyhow::Result<()> {
    let commands = [
        doc! { "create": "orders", "validator": { "$jsonSchema": { "required": ["status"] } }, "validationLevel": "moderate" },
        doc! { "create": "audit", "capped": true, "size": 4_000_000_i64, "max": 5_000_i64 },
        doc! { "create": "readings", "timeseries": { "timeField": "at", "metaField": "sensor", "granularity": "minutes" } },
        doc! { "create": "open_orders", "viewOn": "orders", "pipeline": [{ "$match": { "status": { "$in": ["new", "paid"] } } }] },
    ];
    for command in commands {
        shop.run_command(command).await.context("creating the shop's collections")?;
    }
    Ok(())
}

async fn insert(
    database: &Database,
    collection: &str,
    count: u64,
    mut document: impl FnMut(u64) -> Document,
) -> anyhow::Result<()> {
    let collection = database.collection::<Document>(collection);
    let mut next = 0;
    while next < count {
        let until = (next + BATCH).min(count);
        let batch: Vec<Document> = (next..until).map(&mut document).collect();
        collection.insert_many(batch).ordered(false).await.context("loading the shop")?;
        next = until;
    }
    Ok(())
}

/// A file as GridFS stores it: 1 MB in chunks of 255 kB.
async fn picture(shop: &Database, numbers: &mut Numbers) -> anyhow::Result<()> {
    const CHUNK: usize = 255 * 1024;
    let bytes: Vec<u8> = (0..1_000_000).map(|_| numbers.below(256).to_le_bytes()[0]).collect();
    let file = ObjectId::from_bytes(*b"demo-picture");
    for (n, data) in bytes.chunks(CHUNK).enumerate() {
        let data = Binary { subtype: BinarySubtype::Generic, bytes: data.to_vec() };
        let chunk = doc! { "files_id": file, "n": int(n as u64), "data": data };
        shop.collection::<Document>("fs.chunks").insert_one(chunk).await?;
    }
    let length = i64::try_from(bytes.len())?;
    let entry = doc! { "_id": file, "length": length, "chunkSize": int(CHUNK as u64), "uploadDate": day(numbers), "filename": "picture.png" };
    shop.collection::<Document>("fs.files").insert_one(entry).await?;
    Ok(())
}

async fn indexes(shop: &Database) -> anyhow::Result<()> {
    let commands = [
        doc! { "createIndexes": "orders", "indexes": [
        { "key": { "customer": 1, "placed": -1 }, "name": "customer_placed" },
        { "key": { "ship.location": "2dsphere" }, "name": "where" },
        { "key": { "status": 1 }, "name": "unpaid", "partialFilterExpression": { "status": "new" } },
        { "key": { "lines.sku": 1 }, "name": "skus" } ] },
        doc! { "createIndexes": "customers", "indexes": [
        { "key": { "email": 1 }, "name": "email", "unique": true },
        { "key": { "seen": 1 }, "name": "forget", "expireAfterSeconds": 315_360_000_i64 },
        { "key": { "name.first": "text", "tags": "text" }, "name": "words", "weights": { "name.first": 3 } } ] },
        doc! { "createIndexes": "events", "indexes": [{ "key": { "$**": 1 }, "name": "anything" }] },
        doc! { "createIndexes": "fs.chunks", "indexes": [{ "key": { "files_id": 1, "n": 1 }, "name": "files_id_1_n_1", "unique": true }] },
        doc! { "createIndexes": "fs.files", "indexes": [{ "key": { "filename": 1, "uploadDate": 1 }, "name": "filename_1_uploadDate_1" }] },
        doc! { "createIndexes": "readings", "indexes": [{ "key": { "sensor.id": 1, "at": 1 }, "name": "by_sensor" }] },
    ];
    for command in commands {
        shop.run_command(command).await.context("creating the shop's indexes")?;
    }
    Ok(())
}
