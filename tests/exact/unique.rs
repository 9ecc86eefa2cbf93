//! Unique values that wander between documents: a replay meets them in an order in which the source never had them.

use crate::scenario::{Scenario, Source, run};
use bson::{Document, doc};
use futures_util::future::BoxFuture;

pub struct Unique;

const NAME: &str = "unique";
const DOCUMENTS: i32 = 50;

impl Scenario for Unique {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            for name in ["before", "after"] {
                let documents = (0..DOCUMENTS).map(|n| doc! { "_id": n, "seat": n, "e": format!("m{n}@x") });
                db.collection::<Document>(name).insert_many(documents).await.unwrap();
            }
            let indexes = doc! { "createIndexes": "before", "indexes": [
            { "key": { "seat": 1 }, "name": "seat", "unique": true },
            { "key": { "e": 1 }, "name": "e", "unique": true, "sparse": true },
            { "key": { "k": 1, "l": 1 }, "name": "partial", "unique": true, "partialFilterExpression": { "k": { "$exists": true } } } ] };
            run(&db, indexes).await;
        })
    }

    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            if n == 6 {
                let index = doc! { "key": { "seat": 1 }, "name": "seat", "unique": true };
                run(&db, doc! { "createIndexes": "after", "indexes": [index] }).await;
            }
            for name in ["before", "after"] {
                let seats = db.collection::<Document>(name);
                for at in 0..5 {
                    swap(&seats, (n * 3 + at) % DOCUMENTS, (n * 5 + at + 1) % DOCUMENTS).await;
                }
                // A value is released by one document and taken by a new one.
                let (old, new) = (n % DOCUMENTS, 1_000 + n);
                if let Some(found) = seats.find_one_and_delete(doc! { "_id": old }).await.unwrap() {
                    let seat = found.get("seat").cloned().unwrap();
                    seats.insert_one(doc! { "_id": new, "seat": seat.clone() }).await.unwrap();
                    seats.delete_one(doc! { "_id": new }).await.unwrap();
                    seats.insert_one(doc! { "_id": old, "seat": seat, "back": n }).await.unwrap();
                }
            }
        })
    }
}

/// Two documents exchange their seats by way of a third value.
async fn swap(seats: &mongodb::Collection<Document>, a: i32, b: i32) {
    if a == b {
        return;
    }
    let seat =
        async |id: i32| seats.find_one(doc! { "_id": id }).await.unwrap().and_then(|found| found.get("seat").cloned());
    let (Some(first), Some(second)) = (seat(a).await, seat(b).await) else { return };
    let set = async |id: i32, seat: bson::Bson| {
        seats.update_one(doc! { "_id": id }, doc! { "$set": { "seat": seat } }).await.unwrap()
    };
    set(a, bson::Bson::String("standing".into())).await;
    set(b, first).await;
    set(a, second).await;
}
