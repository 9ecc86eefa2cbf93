//! What the servers alone cost on the same data: reading, inserting from memory, a bare loop of raw batches, indexes.

use crate::{
    machine::{Sets, cpu_s},
    shapes::{DATABASE, Shape, insert},
};
use bson::{Document, RawArrayBuf, RawDocumentBuf, doc, raw::cstr, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::{Client, raw_batch_cursor::RawBatch};
use std::time::Instant;

/// Streams that the bare loop is tried with.
pub const STREAMS: [usize; 3] = [1, 2, 4];

/// Seconds of each.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub scan: f64,
    pub insert: f64,
    /// The bare loop by streams: seconds, and its own CPU seconds.
    pub bare: [(f64, f64); STREAMS.len()],
    /// Both of the indexes.
    pub indexes: (f64, f64),
}

/// Part of a collection.
#[derive(Debug, Clone)]
struct Part {
    collection: String,
    from: Option<RawDocumentBuf>,
    until: Option<RawDocumentBuf>,
}

/// Measures all limits; the destination is empty before and after.
pub async fn measure(sets: &Sets, shape: Shape, documents: u64) -> Limits {
    let names = shape.collections(documents);
    let began = Instant::now();
    for (name, _) in &names {
        scan(&sets.from, name).await;
    }
    let scan = began.elapsed().as_secs_f64();
    let insert = inserted(sets, &whole(&names)).await;
    let mut bare = [(0.0, 0.0); STREAMS.len()];
    for (streams, row) in STREAMS.into_iter().zip(&mut bare) {
        *row = bare_loop(sets, &names, streams).await;
    }
    let indexes = indexed(sets, shape, &names).await;
    sets.empty_destination().await;
    Limits { scan, insert, bare, indexes }
}

/// Seconds of the bare loop with so many streams and of the indexes after it; the destination is empty before and after.
pub async fn copied_and_indexed(sets: &Sets, shape: Shape, documents: u64, streams: usize) -> f64 {
    let names = shape.collections(documents);
    let took = bare_loop(sets, &names, streams).await.0 + indexed(sets, shape, &names).await.0;
    sets.empty_destination().await;
    took
}

/// Seconds and own CPU seconds of the bare loop with so many streams.
async fn bare_loop(sets: &Sets, names: &[(String, u64)], streams: usize) -> (f64, f64) {
    let parts = if let [(name, _)] = names { split(&sets.from, name, streams).await } else { whole(names) };
    sets.empty_destination().await;
    let (began, cpu) = (Instant::now(), cpu_s("self"));
    create(&sets.to, names).await;
    copied(sets, parts, streams).await;
    (began.elapsed().as_secs_f64(), cpu_s("self") - cpu)
}

fn whole(names: &[(String, u64)]) -> Vec<Part> {
    names.iter().map(|(name, _)| Part { collection: name.clone(), from: None, until: None }).collect()
}

/// Reads a collection and does nothing with it.
pub async fn scan(from: &Client, name: &str) {
    let whole = Part { collection: name.into(), from: None, until: None };
    let mut batches = read(from, &whole).await;
    while let Some(batch) = batches.next().await {
        std::hint::black_box(batch.unwrap().as_raw_document().as_bytes().len());
    }
}

async fn create(to: &Client, names: &[(String, u64)]) {
    for (name, _) in names {
        to.database(DATABASE).run_command(doc! { "create": name }).await.unwrap();
    }
}

async fn read(from: &Client, part: &Part) -> mongodb::raw_batch_cursor::RawBatchCursor {
    let mut command = rawdoc! { "find": part.collection.as_str() };
    if part.from.is_some() || part.until.is_some() {
        command.append(cstr!("hint"), rawdoc! { "_id": 1 });
    }
    if let Some(from) = &part.from {
        command.append(cstr!("min"), from);
    }
    if let Some(until) = &part.until {
        command.append(cstr!("max"), until);
    }
    from.database(DATABASE).run_raw_cursor_command(command).batch().await.unwrap()
}

fn array(batch: &RawBatch) -> RawArrayBuf {
    let mut documents = RawArrayBuf::new();
    for document in batch.doc_slices().unwrap() {
        documents.push(document.unwrap().as_document().unwrap());
    }
    documents
}

/// The same batches from memory, two writers; collections are created first, as in the bare loop.
async fn inserted(sets: &Sets, parts: &[Part]) -> f64 {
    let mut batches = Vec::new();
    for part in parts {
        let mut read = read(&sets.from, part).await;
        while let Some(batch) = read.next().await {
            let documents = array(&batch.unwrap());
            if documents.into_iter().next().is_some() {
                batches.push((part.collection.clone(), documents));
            }
        }
    }
    sets.empty_destination().await;
    create(&sets.to, &parts.iter().map(|part| (part.collection.clone(), 0)).collect::<Vec<_>>()).await;
    let began = Instant::now();
    stream::iter(batches)
        .map(|(collection, documents)| async move { insert(&sets.to, DATABASE, &collection, documents).await })
        .buffer_unordered(2)
        .collect::<Vec<()>>()
        .await;
    began.elapsed().as_secs_f64()
}

/// The bare loop, on collections that were created: each stream reads a batch, inserts it, reads the next one.
async fn copied(sets: &Sets, parts: Vec<Part>, streams: usize) {
    let tasks = parts.into_iter().map(|part| {
        let (from, to) = (sets.from.clone(), sets.to.clone());
        async move {
            tokio::spawn(async move {
                let mut batches = read(&from, &part).await;
                while let Some(batch) = batches.next().await {
                    let documents = array(&batch.unwrap());
                    if documents.into_iter().next().is_some() {
                        insert(&to, DATABASE, &part.collection, documents).await;
                    }
                }
            })
            .await
            .unwrap();
        }
    });
    stream::iter(tasks).buffer_unordered(streams).collect::<Vec<()>>().await;
}

/// All specs of a collection in one command, two collections at a time.
async fn indexed(sets: &Sets, shape: Shape, names: &[(String, u64)]) -> (f64, f64) {
    let specs = shape.indexes();
    if specs.is_empty() {
        return (0.0, 0.0);
    }
    let (began, cpu) = (Instant::now(), cpu_s("self"));
    stream::iter(names)
        .map(|(name, _)| {
            let command = doc! { "createIndexes": name, "indexes": &specs };
            async move { drop(sets.to.database(DATABASE).run_command(command).await.unwrap()) }
        })
        .buffer_unordered(2)
        .collect::<Vec<()>>()
        .await;
    (began.elapsed().as_secs_f64(), cpu_s("self") - cpu)
}

/// A collection in equal parts by sampled ids.
async fn split(from: &Client, collection: &str, parts: usize) -> Vec<Part> {
    let pipeline = [
        doc! { "$sample": { "size": i64::try_from(parts * 20).unwrap() } },
        doc! { "$project": { "_id": 1 } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let ids: Vec<Document> = from
        .database(DATABASE)
        .collection::<Document>(collection)
        .aggregate(pipeline)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let bounds: Vec<RawDocumentBuf> =
        (1..parts).map(|n| RawDocumentBuf::try_from(&ids[n * ids.len() / parts]).unwrap()).collect();
    let part = |n: usize| Part {
        collection: collection.into(),
        from: n.checked_sub(1).map(|before| bounds[before].clone()),
        until: bounds.get(n).cloned(),
    };
    (0..parts).map(part).collect()
}
