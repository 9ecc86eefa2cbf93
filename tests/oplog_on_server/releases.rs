//! The same on every release, on every path of writing that it has; and convergence from any later state.

use super::{INTERNAL, Life, OLD, PIPELINE, assert_same, change, find, live, random::Random, run, seed, text, uuid};
use bson::{Bson, Document, RawDocument, RawDocumentBuf, rawdoc};
use mongodb::Client;
use mongoferry::{
    demo::{
        ReplicaSet, SetOptions,
        releases::{self, Release},
    },
    oplog::{
        Batch, Change, ChangeKind, Dialect, Traits,
        batch::{WriteKind, upsert_statement},
    },
};

const DOCUMENTS: i32 = 90;

/// The ways of writing that a release takes.
fn dialects(release: Release) -> &'static [(&'static str, Dialect)] {
    match release {
        Release::V4_4_2 => &[("old", OLD)],
        Release::V5_0_4 => &[("old", OLD), ("pipeline", PIPELINE)],
        Release::V6_0_5 | Release::V6_0_27 => &[("old", OLD), ("pipeline", PIPELINE), ("internal", INTERNAL)],
    }
}

fn holds_dollars(document: &RawDocument) -> bool {
    text(document).contains("\"$")
}

/// One change as a lane writes it: an insert that meets a document replaces it.
async fn write(client: &Client, db: &str, dialect: Dialect, change: &Change<'_>) {
    let mut batch = Batch::new(dialect);
    batch.push(uuid(), Traits::default(), change).unwrap();
    for collection in batch.into_collections() {
        assert!(collection.refetch.is_empty(), "{change:?}");
        for write in collection.commands("c") {
            let reply = client.database(db).run_raw_command(write.command.clone()).await.unwrap();
            let Ok(errors) = reply.get_array("writeErrors") else { continue };
            let code = errors[0].as_document().unwrap().get_i32("code").unwrap();
            assert!(write.kind == WriteKind::Insert && code == 11000, "{reply}\n{}", text(&write.command));
            let statement = upsert_statement(&write.ids[0], &write.documents[0], dialect);
            run(client, db, &rawdoc! { "update": "c", "updates": [statement] }).await;
        }
    }
}

/// Puts a state in place, byte for byte.
async fn put(client: &Client, db: &str, state: &RawDocumentBuf, dialect: Dialect) {
    let insert = Change { ns: "source.c", uuid: None, kind: ChangeKind::Insert(state) };
    write(client, db, dialect, &insert).await;
}

/// In one order, whatever the order of the fields was.
fn sorted(value: Bson) -> Bson {
    match value {
        Bson::Document(document) => {
            let mut fields: Vec<(String, Bson)> =
                document.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Bson::Document(fields.into_iter().collect())
        }
        Bson::Array(array) => Bson::Array(array.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn without_order(document: &RawDocument) -> RawDocumentBuf {
    let document = Document::try_from(document).unwrap();
    RawDocumentBuf::try_from(sorted(Bson::Document(document)).as_document().unwrap()).unwrap()
}

/// Pre-image and entry make the post-image; the whole log replayed onto any state that it led to makes the last one.
/// `$v: 1` says nothing about the order of fields (OPLOG.md B.5): there, replayed documents have the same values.
async fn replays_on(release: Release) {
    let mongod = releases::mongod(Some(release), &|line| eprintln!("{line}")).expect("a mongod");
    let set = ReplicaSet::start(&mongod, &SetOptions::single("rsO")).await.expect("a set");
    let client = set.client().await.expect("a client");
    let seed = seed();
    let mut random = Random::new(seed);
    let is_old = release == Release::V4_4_2;
    let mut lives = live(&client, &mut random, if is_old { 4 * DOCUMENTS } else { DOCUMENTS }, is_old).await;
    // A 4.4 server takes them from inserts only, and a newer one refuses them in the form for 4.4.
    let is_plain =
        |life: &Life| !life.steps.iter().any(|(_, after)| holds_dollars(after)) && !holds_dollars(&life.first);
    if is_old {
        lives.retain(is_plain);
    }
    let entries: usize = lives.iter().map(|life| life.steps.len()).sum();
    assert!(entries > 60, "seed {seed}: {entries} entries");
    let mut other_order = 0;
    for &(name, dialect) in dialects(release) {
        for life in lives.iter().filter(|life| dialect != OLD || is_plain(life)) {
            let context = |step: &str| format!("{}, seed {seed}, {name}, document {}, {step}", release.text(), life.id);
            let at = client.database(name).collection::<RawDocumentBuf>("c");
            put(&client, name, &life.first, dialect).await;
            for (entry, after) in &life.steps {
                write(&client, name, dialect, &change(entry)).await;
                assert_same(&find(&at, life.id).await, after, &context(&text(entry)));
            }
            let Some((_, last)) = life.steps.last() else { continue };
            // Every state in its turn, and a document that is gone by then.
            let states = std::iter::once(&life.first).chain(life.steps.iter().map(|(_, after)| after)).map(Some);
            for (number, start) in states.chain([None]).enumerate() {
                let delete = rawdoc! { "delete": "c", "deletes": [{ "q": { "_id": life.id }, "limit": 1 }] };
                run(&client, name, &delete).await;
                if let Some(start) = start {
                    put(&client, name, start, dialect).await;
                }
                // With the insert, or from behind it; a document that is gone comes back by it only.
                if start.is_none() || random.below(2) == 0 {
                    put(&client, name, &life.first, dialect).await;
                }
                for (entry, _) in &life.steps {
                    write(&client, name, dialect, &change(entry)).await;
                }
                let found = find(&at, life.id).await;
                if is_old && found.as_bytes() != last.as_bytes() {
                    other_order += 1;
                    assert_same(
                        &without_order(&found),
                        &without_order(last),
                        &context(&format!("from state {number}")),
                    );
                } else {
                    assert_same(&found, last, &context(&format!("from state {number}")));
                }
            }
        }
    }
    eprintln!("{}: seed {seed}, {entries} entries, {other_order} replayed documents in another order", release.text());
}

macro_rules! releases {
    ($($name:ident $release:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            replays_on(Release::$release).await;
        }
    )*};
}

releases! {
    replays_on_4_4_2 V4_4_2;
    replays_on_5_0_4 V5_0_4;
    replays_on_6_0_5 V6_0_5;
    replays_on_6_0_27 V6_0_27;
}
