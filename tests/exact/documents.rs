//! Documents: every BSON type, every kind of `_id`, sizes, names, and what only a raw insert can store.

use crate::scenario::{Scenario, Source, run, run_raw};
use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawArrayBuf, RawDocumentBuf, Regex,
    Timestamp, doc, oid::ObjectId, raw::cstr, rawdoc, spec::BinarySubtype,
};
use futures_util::future::BoxFuture;

pub struct Documents;

const NAME: &str = "documents";

/// Every value that a document can hold.
fn values() -> Vec<Bson> {
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    vec![
        Bson::Double(1.5),
        Bson::Double(-0.0),
        Bson::Double(f64::NAN),
        Bson::Double(f64::INFINITY),
        Bson::String("text \0 with a zero, ü and 漢".into()),
        Bson::String(String::new()),
        Bson::Document(doc! {}),
        Bson::Document(doc! { "b": { "a": [] }, "a": doc! {} }),
        Bson::Array(vec![Bson::Array(vec![Bson::Array(vec![Bson::Int32(1)]), Bson::Array(Vec::new())])]),
        binary(BinarySubtype::Generic, &[]),
        binary(BinarySubtype::Uuid, &[7; 16]),
        binary(BinarySubtype::Md5, &[1; 16]),
        binary(BinarySubtype::UserDefined(0x85), b"own"),
        Bson::Undefined,
        Bson::ObjectId(ObjectId::from_bytes([9; 12])),
        Bson::Boolean(false),
        Bson::DateTime(DateTime::from_millis(-1)),
        Bson::DateTime(DateTime::from_millis(i64::MAX)),
        Bson::Null,
        Bson::RegularExpression(Regex { pattern: cstr!("^a.*").into(), options: cstr!("imx").into() }),
        Bson::JavaScriptCode("function() { return 1; }".into()),
        Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code: "x".into(), scope: doc! { "x": 1 } }),
        Bson::Symbol("symbol".into()),
        Bson::Int32(i32::MIN),
        Bson::Int64(i64::MAX),
        Bson::Timestamp(Timestamp { time: 5, increment: 6 }),
        decimal("1.10"),
        decimal("NaN"),
        decimal("-Infinity"),
        decimal("0E-6176"),
        Bson::MinKey,
        Bson::MaxKey,
    ]
}

/// Every kind of `_id`, all in one collection. `n` makes a second generation of most of them.
fn ids(n: i32) -> Vec<Bson> {
    let decimal = |text: String| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    let mut ids = vec![
        Bson::Double(f64::from(n) + 0.25),
        Bson::String(format!("id {n}")),
        Bson::Document(doc! { "a": n, "b": 1 }),
        Bson::Document(doc! { "b": 1, "a": n }),
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: n.to_be_bytes().to_vec() }),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: [n.to_be_bytes(); 4].concat() }),
        Bson::ObjectId(ObjectId::from_bytes([n.to_be_bytes(); 3].concat().try_into().unwrap())),
        Bson::DateTime(DateTime::from_millis(n.into())),
        Bson::Timestamp(Timestamp { time: n.unsigned_abs(), increment: 0 }),
        Bson::Int64(i64::from(n) << 33),
        Bson::Int32(n),
        decimal(format!("{n}.75")),
    ];
    if n == 0 {
        ids.extend([
            Bson::Double(f64::NAN),
            Bson::Double(f64::NEG_INFINITY),
            Bson::String(String::new()),
            Bson::Null,
            Bson::Boolean(true),
            Bson::Boolean(false),
            Bson::MinKey,
            Bson::MaxKey,
            Bson::Document(doc! {}),
            Bson::JavaScriptCode("code".into()),
            Bson::Symbol("symbol id".into()),
        ]);
    }
    ids
}

/// A document whose names no ordinary update can address. The server before 5.0 takes dollars only below the top.
fn odd_names(id: impl Into<Bson>, n: i32, dollars: bool) -> Document {
    let mut document =
        doc! { "_id": id.into(), "a.b": n, "": n, "0": n, "00": 1, "-1": 2, "s": 3, "u": 4, "d": 5, "i": 6, "l": 7 };
    document.insert("a", doc! { "b": "not a.b", "c.d": { "e.f": n }, "": { "": n }, "1": [{ "0": n }] });
    document.insert("deep", doc! { "$x": n, "y": { "$set": 1 } });
    if dollars {
        document.insert("$top", n);
        document.insert("$$ROOT", doc! { "$v": 2, "diff": { "u": { "a": n } } });
    }
    document
}

/// The same field name twice, which only a raw insert can store.
fn repeated(id: i32) -> RawDocumentBuf {
    let mut inner = rawdoc! { "x": 1 };
    inner.append(cstr!("x"), "again");
    let mut document = rawdoc! { "_id": id, "a": 1, "in": inner };
    document.append(cstr!("a"), id);
    document
}

fn zero() -> Timestamp {
    Timestamp { time: 0, increment: 0 }
}

/// Puts a document through a pipeline, which stores a top-level zero timestamp as it is.
async fn put(source: &Source, collection: &str, document: Document) {
    let id = document.get("_id").unwrap().clone();
    let update =
        doc! { "q": { "_id": { "$eq": id } }, "u": [{ "$replaceWith": { "$literal": document } }], "upsert": true };
    run(&source.db(NAME), doc! { "update": collection, "updates": [update] }).await;
}

async fn insert(source: &Source, collection: &str, documents: Vec<Document>) {
    let command = doc! { "insert": collection, "documents": documents, "bypassDocumentValidation": true };
    run(&source.db(NAME), command).await;
}

async fn large(source: &Source, id: i32, extra: usize) {
    // 16 MiB exactly, all of it counted.
    let empty = rawdoc! { "_id": id, "x": "" }.as_bytes().len();
    let document = rawdoc! { "_id": id, "x": "l".repeat((16 << 20) - empty - extra) };
    let mut documents = RawArrayBuf::new();
    documents.push(document);
    run_raw(&source.db(NAME), rawdoc! { "insert": "large", "documents": documents }).await;
}

impl Scenario for Documents {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            let validator =
                doc! { "$jsonSchema": { "required": ["must"], "properties": { "must": { "bsonType": "int" } } } };
            run(&db, doc! { "create": "guarded", "validator": validator }).await;
            insert(
                source,
                "guarded",
                vec![doc! { "_id": 1 }, doc! { "_id": 2, "must": "text" }, doc! { "_id": 3, "must": 1 }],
            )
            .await;
            let all = values()
                .into_iter()
                .zip(0..)
                .map(|(value, n)| doc! { "_id": n, "v": value.clone(), "a": [value.clone(), { "v": value }] });
            insert(source, "values", all.collect()).await;
            insert(source, "ids", ids(0).into_iter().map(|id| doc! { "_id": id, "n": 0 }).collect()).await;
            for n in 1..40 {
                insert(source, "ids", ids(n * 1_000).into_iter().map(|id| doc! { "_id": id, "n": 0 }).collect()).await;
            }
            insert(source, "names", (0..20).map(|n| odd_names(n, 0, source.has(5))).collect()).await;
            insert(source, "bare", vec![doc! {}, doc! { "_id": "only" }]).await;
            for n in 0..5 {
                put(source, "zeros", doc! { "_id": n, "a": zero(), "b": { "c": zero() }, "d": [zero()], "e": zero() })
                    .await;
            }
            let mut documents = RawArrayBuf::new();
            (0..10).for_each(|id| documents.push(repeated(id)));
            run_raw(&db, rawdoc! { "insert": "repeated", "documents": documents }).await;
            large(source, 1, 0).await;
            large(source, 2, 1).await;
        })
    }

    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let db = source.db(NAME);
            let guarded = vec![doc! { "_id": 1_000 + n }, doc! { "_id": 2_000 + n, "must": n }];
            insert(source, "guarded", guarded).await;
            let all = values().into_iter().zip(0..).map(|(value, at)| doc! { "_id": n * 100 + at, "v": value });
            insert(source, "values", all.collect()).await;
            let fresh = ids(n).into_iter().map(|id| doc! { "_id": id, "n": n });
            insert(source, "ids", fresh.collect()).await;
            let ids = db.collection::<Document>("ids");
            ids.update_many(doc! { "n": { "$lt": n + 3 } }, doc! { "$inc": { "n": 7 } }).await.unwrap();
            // The number stays, its type and with it the bytes change.
            for spelling in [Bson::Int64(1_000), Bson::Double(1_000.0), Bson::Int32(1_000)] {
                ids.delete_one(doc! { "_id": 1_000 }).await.unwrap();
                ids.insert_one(doc! { "_id": spelling, "n": n }).await.unwrap();
            }
            for spelling in [Bson::Decimal128("NaN".parse().unwrap()), Bson::Double(f64::NAN)] {
                ids.delete_one(doc! { "_id": f64::NAN }).await.unwrap();
                ids.insert_one(doc! { "_id": spelling, "n": n }).await.unwrap();
                // One of the two stays at the end.
                if n % 2 == 0 {
                    break;
                }
            }
            ids.delete_one(doc! { "_id": null }).await.unwrap();
            ids.insert_one(doc! { "_id": null, "again": n }).await.unwrap();
            insert(source, "names", vec![odd_names(1_000 + n, n, source.has(5))]).await;
            put_odd(source, n).await;
            put(source, "zeros", doc! { "_id": n % 5, "a": zero(), "n": n, "z": zero() }).await;
            put(source, "zeros", doc! { "_id": 100 + n, "a": zero() }).await;
            let mut documents = RawArrayBuf::new();
            documents.push(repeated(1_000 + n));
            run_raw(&db, rawdoc! { "insert": "repeated", "documents": documents }).await;
            // An update of a document that repeats names: the server keeps both.
            if n % 3 == 0 {
                let repeated = db.collection::<RawDocumentBuf>("repeated");
                repeated.update_one(doc! { "_id": n / 3 % 10 }, doc! { "$set": { "set": n } }).await.unwrap();
            }
            insert(source, "bare", vec![doc! {}]).await;
            if n % 10 == 0 {
                large(source, 100 + n, 0).await;
                let change = doc! { "$set": { "x": format!("short {n}") } };
                db.collection::<RawDocumentBuf>("large").update_one(doc! { "_id": 90 + n }, change).await.unwrap();
            }
            if n % 7 == 0 {
                let gone = db.collection::<RawDocumentBuf>("values");
                gone.delete_many(doc! { "_id": { "$gte": n * 50, "$lt": n * 60 } }).await.unwrap();
            }
        })
    }
}

/// Changes odd names the ways that the release knows: by whole replacement, from 5.0 by `$setField` and `$unsetField`.
async fn put_odd(source: &Source, n: i32) {
    let db = source.db(NAME);
    let replacement = odd_names(n % 20, n, false);
    let names = db.collection::<Document>("names");
    if !source.has(5) {
        names.replace_one(doc! { "_id": n % 20 }, replacement_without_dollars(replacement)).await.unwrap();
        return;
    }
    put(source, "names", odd_names(n % 20, n, true)).await;
    for field in ["a.b", "$top", "", "0", "new.dotted", "$new"] {
        let set = doc! { "$setField": { "field": { "$literal": field }, "input": "$$ROOT", "value": { "n": n, "was": "set" } } };
        names.update_one(doc! { "_id": (n + 1) % 20 }, vec![doc! { "$replaceWith": set }]).await.unwrap();
    }
    let unset = doc! { "$unsetField": { "field": { "$literal": "a.b" }, "input": "$$ROOT" } };
    names.update_one(doc! { "_id": (n + 2) % 20 }, vec![doc! { "$replaceWith": unset }]).await.unwrap();
    let inner = doc! { "$setField": { "field": { "$literal": "c.d" }, "input": "$a", "value": n } };
    names.update_one(doc! { "_id": (n + 3) % 20 }, vec![doc! { "$set": { "a": inner } }]).await.unwrap();
}

/// 4.4 refuses dollars in a replacement at any depth.
fn replacement_without_dollars(mut document: Document) -> Document {
    document.remove("deep");
    document
}
