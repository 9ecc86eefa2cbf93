//! Updates: every operator, positions and filters, arrays that grow and shrink, pipelines, replacements, wide ones.

use crate::scenario::{Scenario, Source, run};
use bson::{Bson, Document, doc};
use futures_util::future::BoxFuture;

pub struct Updates;

const NAME: &str = "updates";
const DOCUMENTS: i32 = 60;

fn document(id: i32) -> Document {
    let elements: Vec<Document> =
        (0..6).map(|n| doc! { "v": n, "tags": ["a", "b"], "in": { "deep": [n, n] } }).collect();
    doc! { "_id": id, "a": 1, "b": "text", "x": { "y": { "z": 1 }, "w": [1, 2, 3, 4, 5] }, "arr": [5, 3, 8, 1],
    "ao": elements, "aa": [[1, [2, 3]], [4]], "n": 7, "when": bson::DateTime::from_millis(5), "last": true }
}

/// Updates that every release knows.
fn operators(n: i32) -> Vec<Document> {
    vec![
        doc! { "$set": { "a": n } },
        doc! { "$set": { "new1": n, "new2": { "k": n } } },
        doc! { "$set": { "x.y.z": n, "x.q.r.s": n } },
        doc! { "$unset": { "b": "", "x.y": "" } },
        doc! { "$inc": { "n": 3, "x.cnt": 1 } },
        doc! { "$mul": { "n": 1.5 } },
        doc! { "$min": { "n": -n }, "$max": { "a": n } },
        doc! { "$bit": { "n": { "xor": 5 } } },
        doc! { "$currentDate": { "when": true, "stamp": { "$type": "timestamp" } } },
        doc! { "$rename": { "b": "c", "x.w": "moved" } },
        doc! { "$rename": { "a": "n" } },
        doc! { "$push": { "arr": n } },
        doc! { "$push": { "arr": { "$each": [n, n + 1], "$position": 1, "$slice": -8, "$sort": 1 } } },
        doc! { "$push": { "ao": { "$each": [{ "v": n }], "$sort": { "v": -1 }, "$slice": 7 } } },
        doc! { "$addToSet": { "arr": { "$each": [n % 3, 100] } } },
        doc! { "$pop": { "arr": -1, "aa": 1 } },
        doc! { "$pull": { "arr": { "$gt": 100 }, "ao": { "v": 2 } } },
        doc! { "$pullAll": { "arr": [1, 5] } },
        doc! { "$set": { "arr.1": n, "arr.9": "past the end" } },
        doc! { "$set": { "ao.1.v": n, "ao.0.in.deep.1": n, "aa.0.1.0": n } },
        doc! { "$unset": { "arr.0": "", "ao.2.tags": "" } },
        doc! { "$set": { "x.w.7": n }, "$push": { "aa": [n] } },
        doc! { "$set": { "ao.$[].all": n } },
        doc! { "$set": { "ref": { "$ref": "c", "$id": n } } },
        doc! { "$set": { "ref.$id": n } },
        doc! { "$set": { "arr": [] , "x": "no longer a document" } },
        doc! { "$set": { "arr": "no longer an array", "x": { "y": [] } } },
        doc! { "$setOnInsert": { "never": 1 }, "$set": { "0": n, "00": n, "x.0": n } },
    ]
}

fn pipelines(n: i32) -> Vec<Vec<Document>> {
    vec![
        vec![doc! { "$set": { "arr": { "$slice": ["$arr", 2] } } }],
        vec![
            doc! { "$set": { "arr": { "$slice": ["$arr", 1] }, "ao": { "$concatArrays": [{ "$slice": ["$ao", 1] }, [{ "v": n }]] } } },
        ],
        vec![doc! { "$set": { "total": { "$sum": "$arr" } } }, doc! { "$unset": "b" }],
        vec![doc! { "$replaceWith": { "$mergeObjects": [{ "first": n }, "$$ROOT"] } }],
        vec![doc! { "$replaceWith": { "_id": "$_id", "last": "$last", "ao": "$ao", "a": n } }],
        vec![doc! { "$set": { "x": { "$arrayToObject": { "$map": { "input": { "$range": [0, 5] }, "as": "i",
        "in": { "k": { "$concat": ["k", { "$toString": "$$i" }] }, "v": { "$add": ["$$i", n] } } } } } } }],
    ]
}

impl Scenario for Updates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            for name in ["each", "mixed", "found"] {
                db.collection::<Document>(name).insert_many((0..DOCUMENTS).map(document)).await.unwrap();
            }
            let wide = |id: i32| {
                let mut wide = doc! { "_id": id };
                wide.extend((0..1_200).map(|n| (format!("f{n}"), Bson::Int32(n))));
                wide.insert("long", (0..4_000).collect::<Vec<i32>>());
                wide.insert("rows", (0..1_500).map(|n| doc! { "n": n }).collect::<Vec<_>>());
                wide
            };
            db.collection::<Document>("wide").insert_many((0..6).map(wide)).await.unwrap();
            let german = doc! { "create": "german", "collation": { "locale": "de", "strength": 1 } };
            run(&db, german).await;
            let words = ["Äpfel", "birne", "Straße", "zebra"];
            db.collection::<Document>("german").insert_many(words.map(|id| doc! { "_id": id, "n": 0 })).await.unwrap();
        })
    }

    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            let each = db.collection::<Document>("each");
            for (at, update) in (0..).zip(operators(n)) {
                // On a document of its own each time; some refuse what the document has become.
                let id = (at + n * 7) % DOCUMENTS;
                let _ = each.update_one(doc! { "_id": id }, update.clone()).await;
                let _ = db
                    .collection::<Document>("mixed")
                    .update_one(doc! { "_id": (n * n + at / 4) % DOCUMENTS }, update)
                    .await;
            }
            for (at, pipeline) in (0..).zip(pipelines(n)) {
                let id = (at + n * 5) % DOCUMENTS;
                let _ = each.update_one(doc! { "_id": id }, pipeline.clone()).await;
                let _ = db
                    .collection::<Document>("mixed")
                    .update_one(doc! { "_id": (n * n + at) % DOCUMENTS }, pipeline)
                    .await;
            }
            let _ = each
                .update_one(
                    doc! { "_id": (n * 3) % DOCUMENTS, "ao.v": { "$gte": 1 } },
                    doc! { "$set": { "ao.$.hit": n } },
                )
                .await;
            let filtered = doc! { "update": "each", "updates": [{ "q": { "_id": (n * 3 + 1) % DOCUMENTS }, "u": { "$set": { "ao.$[e].tags.1": n } },
            "arrayFilters": [{ "e.v": { "$gte": 3 } }] }] };
            let _ = db.run_command(filtered).await;
            each.replace_one(
                doc! { "_id": (n * 11) % DOCUMENTS },
                document(0).into_iter().filter(|(k, _)| k != "_id").collect::<Document>(),
            )
            .await
            .unwrap();
            each.update_one(
                doc! { "_id": 10_000 + n % 20 },
                doc! { "$set": { "up": n }, "$setOnInsert": { "born": n } },
            )
            .upsert(true)
            .await
            .unwrap();
            each.delete_one(doc! { "_id": 10_000 + (n + 7) % 20 }).await.unwrap();
            each.update_many(doc! { "a": { "$gt": 5 } }, doc! { "$inc": { "many": 1 } }).await.unwrap();
            let found = db.collection::<Document>("found");
            let _ = found
                .find_one_and_update(doc! { "_id": n % DOCUMENTS }, doc! { "$inc": { "n": 1 }, "$push": { "arr": n } })
                .await;
            found
                .find_one_and_replace(doc! { "_id": (n + 1) % DOCUMENTS }, doc! { "replaced": n, "arr": [n] })
                .await
                .unwrap();
            found.find_one_and_delete(doc! { "_id": (n + 2) % DOCUMENTS }).await.unwrap();
            found
                .update_one(doc! { "_id": (n + 2) % DOCUMENTS }, doc! { "$set": { "back": n } })
                .upsert(true)
                .await
                .unwrap();
            // Costly for the applier of a debug build: each is a large diff, or a document that is fetched again.
            match n % 4 {
                0 => wide(source, n / 4).await,
                2 => deep(source, n / 4).await,
                _ => {}
            }
            german(source, n).await;
        })
    }
}

/// A thousand fields at once; long arrays cut and rewritten in one update.
async fn wide(source: &Source, n: i32) {
    let wide = source.db(NAME).collection::<Document>("wide");
    let mut set = doc! {};
    set.extend((0..1_100).map(|at| (format!("f{at}"), Bson::Int32(n + at))));
    wide.update_one(doc! { "_id": n % 6 }, doc! { "$set": set, "$unset": { "f1150": "" } }).await.unwrap();
    let rewritten = doc! { "$map": { "input": { "$slice": ["$long", 2_500 + n % 1_000] }, "as": "v", "in": { "$cond": [{ "$eq": [{ "$mod": ["$$v", 2] }, 0] }, { "$add": ["$$v", n] }, "$$v"] } } };
    wide.update_one(doc! { "_id": (n + 1) % 6 }, vec![doc! { "$set": { "long": rewritten } }]).await.unwrap();
    let regrown = doc! { "$concatArrays": ["$long", { "$range": [0, 2_000] }] };
    let short = doc! { "_id": (n + 2) % 6, "long.3900": { "$exists": false } };
    wide.update_one(short, vec![doc! { "$set": { "long": regrown, "rows": { "$slice": ["$rows", 1_200] } } }])
        .await
        .unwrap();
    let mut rows = doc! {};
    rows.extend((0..1_000).step_by(3).map(|at| (format!("rows.{at}.n"), Bson::Int32(n))));
    wide.update_one(doc! { "_id": (n + 3) % 6 }, doc! { "$set": rows }).await.unwrap();
}

/// Deeper than a pipeline can say (OPLOG.md B.3).
async fn deep(source: &Source, n: i32) {
    let deep = source.db(NAME).collection::<Document>("deep");
    let path = format!("{}n", "l.".repeat(60));
    deep.update_one(doc! { "_id": n % 3 }, doc! { "$set": { &path: n, "top": n } }).upsert(true).await.unwrap();
    let sibling = format!("{}m{}", "l.".repeat(60), n % 4);
    deep.update_one(doc! { "_id": n % 3 }, doc! { "$set": { &sibling: n } }).await.unwrap();
}

/// An `_id` that is found under other spellings (OPLOG.md B.7).
async fn german(source: &Source, n: i32) {
    let german = source.db(NAME).collection::<Document>("german");
    let spelling = ["Birne", "BIRNE", "birne"][(n % 3) as usize];
    german.delete_one(doc! { "_id": "birne" }).await.unwrap();
    german.insert_one(doc! { "_id": spelling, "n": n }).await.unwrap();
    german.update_many(doc! {}, doc! { "$inc": { "n": 1 } }).await.unwrap();
    german.replace_one(doc! { "_id": "STRASSE" }, doc! { "n": n, "replaced": true }).await.unwrap();
}
