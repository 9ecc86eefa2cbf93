//! Every way in which a document can be wrong on the destination: written behind the migration's back.
#![allow(clippy::unwrap_used)]

use bson::{Document, RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::Client;

type Kind = (&'static str, RawDocumentBuf, Option<RawDocumentBuf>, &'static str);

/// Fields on the source, what the destination gets instead, and how that is named.
fn kinds() -> Vec<Kind> {
    let at = |time| Timestamp { time, increment: time };
    let nan = |payload: u64| f64::from_bits(0x7ff8_0000_0000_0000 | payload);
    vec![
        ("value", rawdoc! { "a": { "b": [1, 2] } }, Some(rawdoc! { "a": { "b": [1, 3] } }), "different a.b.1"),
        ("type", rawdoc! { "n": 1 }, Some(rawdoc! { "n": 1_i64 }), "different n"),
        ("order", rawdoc! { "a": 1, "b": 2 }, Some(rawdoc! { "b": 2, "a": 1 }), "different (field order)"),
        ("missing", rawdoc! { "a": 1 }, None, "missing "),
        ("nan", rawdoc! { "x": nan(0) }, Some(rawdoc! { "x": nan(0xbeef) }), "different x"),
        ("zero", rawdoc! { "t": at(0) }, Some(rawdoc! { "t": at(5) }), "different t"),
    ]
}

fn document(id: &str, fields: &RawDocumentBuf) -> RawDocumentBuf {
    let mut document = rawdoc! { "_id": id };
    for field in fields.iter() {
        let (name, value) = field.unwrap();
        document.append(name, value.to_owned());
    }
    document
}

/// Stores a document exactly, a top-level zero timestamp included.
async fn put(client: &Client, id: &str, fields: &RawDocumentBuf) {
    let pipeline = rawdoc! { "$replaceWith": { "$literal": document(id, fields) } };
    let command = rawdoc! { "update": "kinds", "updates": [{ "q": { "_id": id }, "u": [pipeline], "upsert": true }] };
    let reply = client.database("shop").run_raw_command(command).await.unwrap();
    assert!(reply.get_array("writeErrors").is_err(), "{reply:?}");
}

/// The documents of a phase, as they shall be.
pub async fn fill(source: &Client, phase: &str) {
    for (name, fields, _, _) in kinds() {
        put(source, &format!("{phase}-{name}"), &fields).await;
    }
}

/// Makes them wrong.
pub async fn corrupt(destination: &Client, phase: &str) {
    for (name, _, instead, _) in kinds() {
        let id = format!("{phase}-{name}");
        match instead {
            Some(fields) => put(destination, &id, &fields).await,
            None => {
                let kinds = destination.database("shop").collection::<Document>("kinds");
                assert_eq!(kinds.delete_one(doc! { "_id": id }).await.unwrap().deleted_count, 1, "copied already");
            }
        }
    }
    put(destination, &format!("{phase}-extra"), &rawdoc! { "a": 1 }).await;
}

/// `id kind paths` of everything that [`corrupt`] did, in order.
pub fn wanted(phases: &[&str]) -> Vec<String> {
    let of = |phase: &&str| {
        let named = kinds().into_iter().map(|(name, _, _, found)| format!("\"{phase}-{name}\" {found}"));
        named.chain([format!("\"{phase}-extra\" extra ")]).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = phases.iter().flat_map(of).collect();
    all.sort();
    all
}
