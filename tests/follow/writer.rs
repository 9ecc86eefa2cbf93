//! Writes of every kind on the source, while it is copied and followed.

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc, raw::cstr, rawdoc};
use futures_util::FutureExt;
use mongodb::Client;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

const DOCUMENTS: i32 = 1_500;

pub async fn load(client: &Client) {
    let db = client.database("d");
    db.run_command(doc! { "create": "german", "collation": { "locale": "de", "strength": 2 } }).await.unwrap();
    db.run_command(doc! { "create": "guarded", "validator": { "n": { "$type": "int" } } }).await.unwrap();
    let documents = (0..DOCUMENTS)
        .map(|n| doc! { "_id": n, "n": 0, "a": [1, 2, { "x": n }], "o": { "p": { "q": n } }, "pad": "x".repeat(300) });
    db.collection::<Document>("c").insert_many(documents).await.unwrap();
    let words = ["a", "B", "c", "Äpfel", "straße"];
    db.collection::<Document>("german").insert_many(words.map(|id| doc! { "_id": id, "n": 0 })).await.unwrap();
    let ids = [Bson::Int32(1), Bson::Double(2.5), Bson::Null, Bson::Document(doc! { "b": 1, "a": 2 })];
    db.collection::<Document>("ids").insert_many(ids.map(|id| doc! { "_id": id, "n": 0 })).await.unwrap();
}

/// A writer that goes on until it is stopped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    /// `doubles`: also documents with repeated field names.
    pub fn start(client: &Client, first: i32, doubles: bool) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = tokio::spawn(write(client.clone(), first, doubles, stop.clone(), rounds.clone()));
        Self { stop, rounds, task }
    }

    pub async fn reach(&self, rounds: u64) {
        while self.rounds.load(Ordering::Relaxed) < rounds {
            assert!(!self.task.is_finished(), "the writer ended early");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.rounds.load(Ordering::Relaxed)
    }
}

async fn write(client: Client, first: i32, doubles: bool, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    let mut n = first;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        plain(&client, n).await;
        odd(&client, n, doubles).await;
        transaction(&client, n).await;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

async fn plain(client: &Client, n: i32) {
    let db = client.database("d");
    let c = db.collection::<Document>("c");
    let at = |k: i32| doc! { "_id": (n * 37 + k) % DOCUMENTS };
    for k in 0..5 {
        c.update_one(at(k), doc! { "$inc": { "n": 1 }, "$push": { "a": n }, "$set": { "o.p.q": n } }).await.unwrap();
    }
    c.update_one(at(1), doc! { "$set": { "a.1": n, "o.new.deep": n }, "$unset": { "pad": "" } }).await.unwrap();
    c.update_one(at(2), vec![doc! { "$set": { "a": { "$slice": ["$a", 2] } } }]).await.unwrap();
    c.update_one(at(3), doc! { "$rename": { "o": "moved" }, "$pop": { "a": 1 } }).await.unwrap();
    c.replace_one(at(4), doc! { "replaced": n, "a": [] }).upsert(true).await.unwrap();
    c.delete_one(at(6)).await.unwrap();
    c.insert_one(doc! { "_id": 1_000_000 + n, "n": n, "a": [n] }).await.unwrap();
    c.update_one(doc! { "_id": 1_000_000 + n }, doc! { "$set": { "n": -n } }).await.unwrap();
    c.update_one(doc! { "_id": 2_000_000 + n % 50 }, doc! { "$set": { "n": n } }).upsert(true).await.unwrap();
    if n % 5 == 0 {
        c.delete_one(doc! { "_id": 2_000_000 + n % 50 }).await.unwrap();
        c.update_many(doc! { "n": { "$lt": 3 } }, doc! { "$set": { "many": n } }).await.unwrap();
    }
}

/// Ids of other types, other spellings under a collation, names and values that updates cannot address.
async fn odd(client: &Client, n: i32, doubles: bool) {
    let db = client.database("d");
    let ids = db.collection::<Document>("ids");
    ids.update_many(doc! {}, doc! { "$inc": { "n": 1 } }).await.unwrap();
    let spelling = [Bson::Int32(1), Bson::Int64(1), Bson::Double(1.0)][(n % 3) as usize].clone();
    ids.delete_one(doc! { "_id": 1 }).await.unwrap();
    ids.insert_one(doc! { "_id": spelling, "n": n }).await.unwrap();
    let german = db.collection::<Document>("german");
    german.delete_one(doc! { "_id": "a" }).await.unwrap();
    german.insert_one(doc! { "_id": if n % 2 == 0 { "a" } else { "A" }, "n": n }).await.unwrap();
    german.update_many(doc! {}, doc! { "$set": { "m": n } }).await.unwrap();
    let zero = Timestamp { time: 0, increment: 0 };
    let literal = doc! { "_id": "zero", "t": zero, "n": n };
    db.run_command(doc! { "update": "odd", "updates": [
    { "q": { "_id": "zero" }, "u": [{ "$replaceWith": { "$literal": literal } }], "upsert": true },
    { "q": { "_id": "names" }, "u": [{ "$replaceWith": { "$setField": { "field": { "$literal": "a.b" }, "input":
        { "$setField": { "field": { "$literal": "$x" }, "input": "$$ROOT", "value": n } }, "value": { "n": n } } } }],
      "upsert": true } ] })
        .await
        .unwrap();
    // Deeper than a pipeline can say.
    let deep = format!("{}n", "l.".repeat(40));
    db.collection::<Document>("odd")
        .update_one(doc! { "_id": "deep" }, doc! { "$set": { &deep: n, "n": n } })
        .upsert(true)
        .await
        .unwrap();
    db.run_command(doc! { "insert": "guarded", "documents": [{ "n": "no int" }], "bypassDocumentValidation": true })
        .await
        .unwrap();
    if doubles {
        let mut double = rawdoc! { "_id": n, "a": 1 };
        double.append(cstr!("a"), n);
        let insert = rawdoc! { "insert": "double", "documents": [double] };
        let reply = db.run_raw_command(insert).await.unwrap();
        assert_eq!(reply.get_i32("n").ok(), Some(1), "{reply}");
        let double: mongodb::Collection<RawDocumentBuf> = db.collection("double");
        double.update_one(doc! { "_id": n - n % 3 }, doc! { "$set": { "b": n } }).await.unwrap();
    }
    let admin = client.database("admin");
    admin
        .run_command(doc! { "applyOps": [{ "op": "i", "ns": "d.c", "o": { "_id": 3_000_000 + n, "by": "applyOps" } }] })
        .await
        .unwrap();
}

async fn transaction(client: &Client, n: i32) {
    let db = client.database("d");
    let mut session = client.start_session().await.unwrap();
    let whole = session.start_transaction().and_run(db, move |session, db| {
        async move {
            let c = db.collection::<Document>("c");
            c.insert_one(doc! { "_id": 4_000_000 + n, "txn": true }).session(&mut *session).await?;
            let change = doc! { "$set": { "txn": n }, "$unset": { "pad": "" } };
            let these = doc! { "_id": { "$gte": 4_000_000 + n - 3, "$lte": 4_000_000 + n } };
            c.update_many(these, change).session(&mut *session).await?;
            let ids = db.collection::<Document>("ids");
            ids.update_many(doc! {}, doc! { "$inc": { "t": 1 } }).session(&mut *session).await?;
            c.delete_one(doc! { "_id": 4_000_000 + n - 10 }).session(&mut *session).await?;
            if n % 4 == 0 { session.abort_transaction().await } else { Ok(()) }
        }
        .boxed()
    });
    whole.await.unwrap();
}
