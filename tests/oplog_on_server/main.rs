//! The oplog module against a real server: pre-image + translated entries == post-image, byte for byte, for the server's
//! own stage and for the pipeline translations, entry by entry and folded into one statement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod random;
mod releases;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc, rawdoc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};
use mongoferry::{
    demo::{ReplicaSet, SetOptions, releases as servers},
    oplog::{
        Batch, Body, Change, ChangeKind, Dialect, DocumentId, Entry, Traits,
        batch::{Pushed, WriteKind, upsert_statement},
        update::{Form, form},
    },
};
use random::Random;
use std::hash::{BuildHasher, Hasher, RandomState};

const DOCUMENTS: i32 = 250;
const INTERNAL: Dialect = Dialect { major: 6, internal_stage: true };
const PIPELINE: Dialect = Dialect { major: 5, internal_stage: false };
/// The forms for 4.4 work on newer servers too.
const OLD: Dialect = Dialect { major: 4, internal_stage: false };

async fn server() -> (ReplicaSet, Client) {
    let mongod = servers::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let set = ReplicaSet::start(&mongod, &SetOptions::single("rsO")).await.expect("a set");
    let client = set.client().await.expect("a client");
    (set, client)
}

fn seed() -> u64 {
    let given = std::env::var("MONGOFERRY_SEED").ok().map(|text| text.parse().expect("MONGOFERRY_SEED is a number"));
    given.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

fn uuid() -> Uuid {
    Uuid::from_bytes([1; 16])
}

async fn find(collection: &Collection<RawDocumentBuf>, id: i32) -> RawDocumentBuf {
    collection.find_one(doc! { "_id": id }).await.unwrap().expect("the document")
}

async fn run(client: &Client, db: &str, command: &RawDocumentBuf) {
    let reply = client.database(db).run_raw_command(command.clone()).await.unwrap();
    assert!(reply.get("writeErrors").is_none(), "{reply}\n{}", text(command));
}

fn text(raw: &RawDocument) -> String {
    Document::try_from(raw).map_or_else(|error| error.to_string(), |document| document.to_string())
}

/// Applies the changes, batch by batch, as a lane does; returns the number of batches.
async fn apply(client: &Client, db: &str, dialect: Dialect, changes: &[Change<'_>]) -> usize {
    let (mut batches, mut batch) = (1, Batch::new(dialect));
    for change in changes {
        if batch.push(uuid(), Traits::default(), change).unwrap() == Pushed::Full {
            execute(client, db, std::mem::replace(&mut batch, Batch::new(dialect))).await;
            assert_eq!(batch.push(uuid(), Traits::default(), change), Ok(Pushed::Taken));
            batches += 1;
        }
    }
    execute(client, db, batch).await;
    batches
}

async fn execute(client: &Client, db: &str, batch: Batch) {
    for collection in batch.into_collections() {
        assert!(collection.refetch.is_empty());
        for write in collection.commands("c") {
            run(client, db, &write.command).await;
        }
    }
}

/// Asserts that both are the same bytes.
fn assert_same(actual: &RawDocument, expected: &RawDocument, context: &str) {
    assert!(
        actual.as_bytes() == expected.as_bytes(),
        "{context}\nexpected {}\nactual   {}",
        text(expected),
        text(actual)
    );
}

/// A document's life: its first state, then every entry with the state that it led to.
struct Life {
    id: i32,
    first: RawDocumentBuf,
    steps: Vec<(RawDocumentBuf, RawDocumentBuf)>,
}

async fn newest(client: &Client) -> Timestamp {
    let oplog = client.database("local").collection::<Document>("oplog.rs");
    let last = oplog.find_one(doc! {}).sort(doc! { "$natural": -1 }).await.unwrap().unwrap();
    last.get_timestamp("ts").unwrap()
}

/// So many documents, which hold no dollars in names where `plain`.
async fn live(client: &Client, random: &mut Random, documents: i32, plain: bool) -> Vec<Life> {
    let source = client.database("source").collection::<RawDocumentBuf>("c");
    let mut lives = Vec::new();
    for id in 0..documents {
        let mut document = doc! { "_id": id };
        let fields = random.document(4);
        document.extend(if plain { without_dollars(fields) } else { fields });
        // The shell's insert, not the driver's: `$`-names are data here.
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        run(client, "source", &rawdoc! { "insert": "c", "documents": [raw] }).await;
        let mut life = Life { id, first: find(&source, id).await, steps: Vec::new() };
        let mut before = newest(client).await;
        for _ in 0..1 + random.below(5) {
            let current = Document::try_from(find(&source, id).await.as_ref()).unwrap();
            let update = random.update(&current);
            let command = doc! { "update": "c", "updates": [{ "q": { "_id": id }, "u": update }] };
            // Updates that the server refuses leave no entry.
            let _ = client.database("source").run_command(command).await;
            let oplog = client.database("local").collection::<RawDocumentBuf>("oplog.rs");
            let entries = oplog.find(doc! { "ts": { "$gt": before }, "ns": "source.c", "op": "u" }).await.unwrap();
            let entries: Vec<RawDocumentBuf> = entries.try_collect().await.unwrap();
            assert!(entries.len() <= 1);
            for entry in entries {
                before = entry.get_timestamp("ts").unwrap();
                life.steps.push((entry, find(&source, id).await));
            }
        }
        lives.push(life);
    }
    lives
}

fn without_dollars(document: Document) -> Document {
    fn inside(value: Bson) -> Bson {
        match value {
            Bson::Document(inner) => Bson::Document(without_dollars(inner)),
            Bson::Array(array) => Bson::Array(array.into_iter().map(inside).collect()),
            other => other,
        }
    }
    let fields = document.into_iter().filter(|(name, _)| !name.starts_with('$'));
    fields.map(|(name, value)| (name, inside(value))).collect()
}

fn has_dollars(document: &RawDocument) -> bool {
    document.iter().any(|element| element.unwrap().0.as_str().starts_with('$'))
}

fn change(entry: &RawDocument) -> Change<'_> {
    match Entry::parse(entry).unwrap().body {
        Body::Change(change) => change,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn random_updates_lead_to_the_same_bytes_entry_by_entry_and_folded() {
    let (_set, client) = server().await;
    let seed = seed();
    let lives = live(&client, &mut Random::new(seed), DOCUMENTS, false).await;
    let entries: usize = lives.iter().map(|life| life.steps.len()).sum();
    let (mut diffs, mut truncations, mut odd, mut nested) = (0, 0, 0, 0);
    for (entry, _) in lives.iter().flat_map(|life| &life.steps) {
        let Ok(diff) = entry.get_document("o").unwrap().get_document("diff") else { continue };
        let text = text(diff);
        diffs += 1;
        truncations += usize::from(text.contains("\"a\": true, \"l\": "));
        odd += usize::from(["\"s\": {", "\"sa.b\"", "\"s$"].iter().any(|key| text.contains(key)));
        nested += usize::from(text.matches("\"a\": true").count() > 1);
    }
    let seen = format!(
        "seed {seed}: {entries} entries, {diffs} diffs, {truncations} truncations, {odd} odd names, {nested} arrays in arrays"
    );
    eprintln!("{seen}");
    assert!(diffs > 200 && entries > diffs && truncations > 3 && odd > 3 && nested > 3, "too few: {seen}");
    for (name, dialect) in [("internal", INTERNAL), ("pipeline", PIPELINE), ("old", OLD)] {
        let (single, folded) = (format!("{name}_single"), format!("{name}_folded"));
        let (mut batches, mut lives_with_steps) = (0, 0);
        for life in &lives {
            // A 4.4 server cannot hold them, and a newer one refuses them in the form for 4.4.
            if dialect == OLD && life.steps.iter().any(|(_, after)| has_dollars(after)) {
                continue;
            }
            let context = |step: &str| format!("seed {seed}, {name}, document {}, {step}", life.id);
            let changes: Vec<_> = life.steps.iter().map(|(entry, _)| change(entry)).collect();
            for db in [&single, &folded] {
                run(&client, db, &rawdoc! { "insert": "c", "documents": [life.first.clone()] }).await;
            }
            let at = client.database(&single).collection::<RawDocumentBuf>("c");
            for ((entry, after), change) in life.steps.iter().zip(&changes) {
                apply(&client, &single, dialect, std::slice::from_ref(change)).await;
                assert_same(&find(&at, life.id).await, after, &context(&text(entry)));
            }
            if let Some((_, last)) = life.steps.last() {
                let at = client.database(&folded).collection::<RawDocumentBuf>("c");
                batches += apply(&client, &folded, dialect, &changes).await;
                lives_with_steps += 1;
                assert_same(&find(&at, life.id).await, last, &context("folded"));
                // The same after an insert, on a document that is not there yet: one upsert.
                run(&client, &folded, &rawdoc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] }).await;
                let insert = Change { ns: "source.c", uuid: None, kind: ChangeKind::Insert(&life.first) };
                let all: Vec<_> = std::iter::once(insert).chain(changes).collect();
                apply(&client, &folded, dialect, &all).await;
                assert_same(&find(&at, life.id).await, last, &context("folded into the insert"));
            }
        }
        if dialect != OLD {
            assert_eq!(batches, lives_with_steps, "every life folds into one statement");
        }
    }
}

/// 6.0 logs `$v: 2` only; a 4.4 entry is what a classic update says. Classic updates on the one side, the tolerant
/// pipeline on the other.
#[tokio::test]
async fn dotted_updates_as_logged_by_old_servers_lead_to_the_same_bytes() {
    let (_set, client) = server().await;
    let seed = seed();
    let random = &mut Random::new(seed);
    let source = client.database("source").collection::<RawDocumentBuf>("c");
    let mut compared = 0;
    for id in 0..DOCUMENTS {
        let mut document = doc! { "_id": id, "a": [1, [2, { "b": 1 }], { "b": [1] }], "x": { "y": { "0": 1 } } };
        document.extend(random.document(3));
        let raw = RawDocumentBuf::try_from(&document).unwrap();
        run(&client, "source", &rawdoc! { "insert": "c", "documents": [raw] }).await;
        // An insert rewrites zero timestamps: what the server made of it is the pre-image.
        let first = find(&source, id).await;
        for db in ["pipeline", "internal"] {
            run(&client, db, &rawdoc! { "insert": "c", "documents": [first.clone()] }).await;
        }
        for _ in 0..3 {
            let paths = [
                "a.0",
                "a.1.1.b",
                "a.1.0",
                "a.2.b.3",
                "a.6",
                "a.6.z",
                "a.2.n.e.w",
                "x.y.0",
                "x.y.k",
                "x.n",
                "n.e.w",
                "z",
            ];
            let path = paths[random.below(paths.len())];
            let update = match random.below(3) {
                0 => doc! { "$unset": { path: true } },
                _ => doc! { "$set": { path: random.value(2) } },
            };
            let statement = doc! { "q": { "_id": id }, "u": update.clone() };
            let reply =
                client.database("source").run_command(doc! { "update": "c", "updates": [statement] }).await.unwrap();
            if reply.get("writeErrors").is_some() {
                continue;
            }
            let mut entry = doc! { "$v": 1 };
            entry.extend(update);
            let entry = RawDocumentBuf::try_from(&entry).unwrap();
            let kind = ChangeKind::Update { id: bson::RawBsonRef::Int32(id), update: &entry };
            let change = Change { ns: "source.c", uuid: None, kind };
            let after = find(&source, id).await;
            for (db, dialect) in [("pipeline", OLD), ("internal", INTERNAL)] {
                apply(&client, db, dialect, std::slice::from_ref(&change)).await;
                let at = client.database(db).collection::<RawDocumentBuf>("c");
                assert_same(&find(&at, id).await, &after, &format!("seed {seed}, {db}, {id}, {}", text(&entry)));
            }
            compared += 1;
        }
    }
    eprintln!("seed {seed}: {compared} updates compared");
    assert!(compared > 300, "seed {seed}: {compared}");
}

fn nested(levels: usize, leaf: Bson, key: &str) -> Document {
    (0..levels).fold(doc! { key: leaf }, |inner, _| doc! { key: inner })
}

/// Everything that the module calls expressible is taken by the server, up to the deepest.
#[tokio::test]
async fn the_deepest_and_largest_statements_are_accepted() {
    let (_set, client) = server().await;
    let document = client.database("deep").collection::<RawDocumentBuf>("c");
    let mut deepest = std::collections::BTreeMap::new();
    for (kind, key) in [("plain", "p"), ("odd", "o.d")] {
        for levels in 1..60 {
            let id = i32::try_from(levels).unwrap();
            let mut first = doc! { "_id": id };
            first.extend(nested(levels, Bson::Int32(1), key));
            let first = RawDocumentBuf::try_from(&first).unwrap();
            client.database("deep").collection::<Document>("c").delete_one(doc! { "_id": id }).await.unwrap();
            run(&client, "deep", &rawdoc! { "insert": "c", "documents": [first] }).await;
            let sub = format!("s{key}");
            let diff = (0..levels).fold(doc! { "u": { key: 2 } }, |inner, _| doc! { sub.clone(): inner });
            let update = RawDocumentBuf::try_from(&doc! { "$v": 2, "diff": diff }).unwrap();
            if matches!(form(&update, PIPELINE).unwrap(), Form::Refetch(_)) {
                continue;
            }
            deepest.insert(kind, levels);
            let kind = ChangeKind::Update { id: bson::RawBsonRef::Int32(id), update: &update };
            apply(&client, "deep", PIPELINE, &[Change { ns: "deep.c", uuid: None, kind }]).await;
            let mut after = doc! { "_id": id };
            after.extend(nested(levels, Bson::Int32(2), key));
            assert_same(&find(&document, id).await, &RawDocumentBuf::try_from(&after).unwrap(), &format!("{levels}"));
        }
    }
    eprintln!("deepest diffs as pipelines: {deepest:?}");
    assert!(deepest["plain"] > 20 && deepest["odd"] > 10, "{deepest:?}");

    // 16 MiB to the byte, with a zero timestamp that an insert would rewrite.
    let zero = Timestamp { time: 0, increment: 0 };
    let frame = rawdoc! { "_id": 0, "t": zero, "s": "" }.as_bytes().len();
    let large = rawdoc! { "_id": 0, "t": zero, "s": "x".repeat((16 << 20) - frame) };
    for dialect in [INTERNAL, PIPELINE] {
        let insert = Change { ns: "deep.c", uuid: None, kind: ChangeKind::Insert(&large) };
        apply(&client, "deep", dialect, &[insert]).await;
        assert_same(&find(&document, 0).await, &large, "16 MiB");
        let replaced = rawdoc! { "_id": 0, "t": zero, "s": "y".repeat((16 << 20) - frame) };
        let kind = ChangeKind::Update { id: bson::RawBsonRef::Int32(0), update: &replaced };
        apply(&client, "deep", dialect, &[Change { ns: "deep.c", uuid: None, kind }]).await;
        assert_same(&find(&document, 0).await, &replaced, "16 MiB replaced");
        let field = rawdoc! { "$v": 2, "diff": { "u": { "s": "z".repeat((16 << 20) - frame) } } };
        let kind = ChangeKind::Update { id: bson::RawBsonRef::Int32(0), update: &field };
        apply(&client, "deep", dialect, &[Change { ns: "deep.c", uuid: None, kind }]).await;
        let after = rawdoc! { "_id": 0, "t": zero, "s": "z".repeat((16 << 20) - frame) };
        assert_same(&find(&document, 0).await, &after, "16 MiB changed");
    }
}

/// The keys of ids against the server's own opinion: two ids are one exactly when a second insert is refused.
#[tokio::test]
async fn ids_are_one_document_exactly_when_the_server_says_so() {
    let (_set, client) = server().await;
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let two_to_53 = 9_007_199_254_740_992_i64;
    let ids = [
        Bson::Int32(1),
        Bson::Int64(1),
        Bson::Double(1.0),
        decimal("1"),
        decimal("1.00"),
        decimal("10E-1"),
        Bson::Int32(0),
        Bson::Double(-0.0),
        decimal("-0E+3"),
        Bson::Double(f64::NAN),
        decimal("NaN"),
        Bson::Double(f64::INFINITY),
        decimal("Infinity"),
        Bson::Double(0.1),
        decimal("0.1"),
        Bson::Double(0.5),
        decimal("0.50"),
        Bson::Int64(two_to_53),
        Bson::Int64(two_to_53 + 1),
        Bson::Double(two_to_53 as f64),
        decimal("9007199254740993"),
        Bson::Double(1e300),
        decimal("1E+300"),
        Bson::Double(9_223_372_036_854_775_808.0),
        decimal("9223372036854775808"),
        Bson::Int64(i64::MAX),
        decimal("9223372036854775807"),
        Bson::Int64(i64::MIN),
        Bson::String("1".into()),
        Bson::Symbol("1".into()),
        Bson::Null,
        Bson::Boolean(true),
        Bson::Document(doc! { "a": 1 }),
        Bson::Document(doc! { "a": 1.0 }),
        Bson::Document(doc! { "b": 1 }),
        Bson::Document(doc! { "a": 1, "b": 2 }),
        Bson::Document(doc! { "b": 2, "a": 1 }),
        Bson::Document(doc! { "a": [1, { "x": 2 }] }),
        Bson::Document(doc! { "a": [1_i64, { "x": 2.0 }] }),
        Bson::Document(doc! { "a": "s" }),
        Bson::Document(doc! { "a": Bson::Symbol("s".into()) }),
        Bson::DateTime(bson::DateTime::from_millis(1)),
        Bson::Timestamp(Timestamp { time: 0, increment: 1 }),
    ];
    let (mut equal, mut wider) = (0, Vec::new());
    for (i, a) in ids.iter().enumerate() {
        for b in &ids[i + 1..] {
            run(&client, "ids", &rawdoc! { "delete": "c", "deletes": [{ "q": {}, "limit": 0 }] }).await;
            let documents: Vec<_> = [a, b].map(|id| doc! { "_id": id.clone() }).to_vec();
            let insert = doc! { "insert": "c", "documents": documents, "ordered": false };
            let reply = client.database("ids").run_command(insert).await.unwrap();
            let errors = reply.get_array("writeErrors").map_or(&[][..], |errors| errors);
            let one = errors.iter().any(|error| error.as_document().unwrap().get_i32("code").unwrap() == 11000);
            assert!(one || errors.is_empty(), "{reply}");
            let [left, right] = [a, b].map(|id| {
                let raw = RawDocumentBuf::try_from(&doc! { "_id": id.clone() }).unwrap();
                DocumentId::new(raw.get("_id").unwrap().unwrap())
            });
            let same_key = left.key() == right.key();
            assert!(!one || same_key, "{a} and {b} are one document to the server");
            assert!(!one || left.lane(uuid(), 7) == right.lane(uuid(), 7));
            equal += usize::from(one);
            if same_key && !one {
                wider.push(format!("{a} and {b}"));
            }
        }
    }
    // A decimal that no double equals shares the key of its nearest double.
    eprintln!("{equal} pairs are one document; keys are wider for {wider:?}");
    assert!(equal > 15 && wider.len() <= 2, "{equal}, {wider:?}");
}

/// Inserts that meet a document, dollars in names, and what an update must never do: create.
#[tokio::test]
async fn inserts_replace_and_updates_never_create() {
    let (_set, client) = server().await;
    let at = client.database("d").collection::<RawDocumentBuf>("c");
    run(&client, "d", &rawdoc! { "insert": "c", "documents": [{ "_id": 1, "old": true }] }).await;
    let document = rawdoc! { "_id": 1, "n": { "$dollar": 1, "do.t": 2 } };
    let insert = Change { ns: "d.c", uuid: None, kind: ChangeKind::Insert(&document) };
    let mut batch = Batch::new(PIPELINE);
    batch.push(uuid(), Traits::default(), &insert).unwrap();
    let collections = batch.into_collections();
    let write = &collections[0].commands("c")[0];
    assert_eq!(write.kind, WriteKind::Insert);
    let reply = client.database("d").run_raw_command(write.command.clone()).await.unwrap();
    assert_eq!(reply.get_array("writeErrors").unwrap()[0].as_document().unwrap().get_i32("code").unwrap(), 11000);
    let statement = upsert_statement(&write.ids[0], &write.documents[0], PIPELINE);
    run(&client, "d", &rawdoc! { "update": "c", "updates": [statement] }).await;
    assert_same(&find(&at, 1).await, &document, "replaced");

    let missing = rawdoc! { "_id": 2, "x": 1 };
    for update in
        [missing.clone(), rawdoc! { "$v": 2, "diff": { "i": { "x": 1 } } }, rawdoc! { "$v": 1, "$set": { "x": 1 } }]
    {
        for dialect in [INTERNAL, PIPELINE, OLD] {
            let kind = ChangeKind::Update { id: bson::RawBsonRef::Int32(2), update: &update };
            apply(&client, "d", dialect, &[Change { ns: "d.c", uuid: None, kind }]).await;
            assert_eq!(at.count_documents(doc! {}).await.unwrap(), 1, "{update:?}");
        }
    }
}
