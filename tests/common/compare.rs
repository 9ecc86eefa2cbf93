//! An independent comparison of two clusters: shares no code with the engine's copy, apply or verify paths.

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Client;
use std::collections::BTreeMap;

#[derive(Debug, PartialEq)]
struct Object {
    kind: String,
    options: String,
    indexes: Vec<String>,
    documents: Vec<Vec<u8>>,
    capped: bool,
}

async fn version(client: &Client) -> String {
    let reply = client.database("admin").run_command(doc! { "buildInfo": 1 }).await.expect("buildInfo");
    reply.get_str("version").expect("a version").to_string()
}

/// As text with types and in order: comparing documents would ignore the order of fields. Releases differ in the order
/// and in the types of numbers that they keep of one and the same setting; 4.4 differs from itself: its collMod turns a
/// TTL into a long and puts `hidden` at the end.
fn show(document: &Document, is_strict: bool) -> String {
    if is_strict {
        return format!("{document:?}");
    }
    let sorted: BTreeMap<_, _> = document.iter().map(|(name, value)| (name, value.to_string())).collect();
    format!("{sorted:?}")
}

/// Not strict: the validator of time-series buckets belongs to the release, not to the data.
async fn read(client: &Client, is_strict: bool) -> BTreeMap<String, Object> {
    let mut objects = BTreeMap::new();
    for name in client.list_database_names().await.expect("databases") {
        if ["admin", "config", "local"].contains(&name.as_str()) {
            continue;
        }
        let database = client.database(&name);
        let mut listed = database.list_collections().await.expect("collections");
        while let Some(collection) = listed.try_next().await.expect("collection") {
            if collection.name == "system.views" {
                continue;
            }
            let kind = format!("{:?}", collection.collection_type);
            let reply = database
                .run_command(doc! { "listCollections": 1, "filter": { "name": &collection.name } })
                .await
                .expect("options");
            let batch = reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
            let mut options = batch[0].as_document().unwrap().get_document("options").unwrap().clone();
            // What an interrupted command leaves until the server starts again; no client may set it.
            options.remove("temp");
            if !is_strict && options.contains_key("timeseries") {
                options.remove("validator");
                // Newer releases have to be told that buckets hold several types of one field, as older ones write them.
                let flag = "app_metadata=(timeseriesBucketsMayHaveMixedSchemaData=true)";
                if options.get("storageEngine") == Some(&doc! { "wiredTiger": { "configString": flag } }.into()) {
                    options.remove("storageEngine");
                }
            }
            let capped = options.get_bool("capped").unwrap_or(false);
            let options = show(&options, is_strict);
            let (mut indexes, mut documents) = (Vec::new(), Vec::new());
            if kind == "Collection" {
                let raw = database.collection::<RawDocumentBuf>(&collection.name);
                let mut cursor = raw.find(doc! {}).sort(doc! { "$natural": 1 }).await.expect("find");
                while let Some(document) = cursor.try_next().await.expect("document") {
                    documents.push(document.as_bytes().to_vec());
                }
                if !capped {
                    documents.sort();
                }
                let reply = database.run_command(doc! { "listIndexes": &collection.name }).await.expect("indexes");
                for index in reply.get_document("cursor").unwrap().get_array("firstBatch").unwrap() {
                    indexes.push(show(index.as_document().expect("a spec"), is_strict));
                }
                indexes.sort();
            }
            let full = format!("{name}.{}", collection.name);
            objects.insert(full, Object { kind, options, indexes, documents, capped });
        }
    }
    objects
}

/// Every difference between two clusters' user databases, one line each.
pub async fn differences(source: &Client, destination: &Client) -> Vec<String> {
    differences_in(source, destination, |_| true).await
}

/// The namespaces of a cluster's user databases.
pub async fn namespaces(client: &Client) -> Vec<String> {
    read(client, false).await.into_keys().collect()
}

/// The same for the namespaces that are meant to be migrated.
pub async fn differences_in(source: &Client, destination: &Client, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let (left, right) = (version(source).await, version(destination).await);
    let is_strict = left == right && !left.starts_with("4.");
    let (mut a, mut b) = (read(source, is_strict).await, read(destination, is_strict).await);
    a.retain(|name, _| is_meant(name));
    b.retain(|name, _| is_meant(name));
    let mut out = Vec::new();
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        match (a.get(name), b.get(name)) {
            (Some(left), Some(right)) => compare(name, left, right, &mut out),
            (Some(_), None) => out.push(format!("{name}: only on the source")),
            (None, _) => out.push(format!("{name}: only on the destination")),
        }
    }
    out
}

fn compare(name: &str, a: &Object, b: &Object, out: &mut Vec<String>) {
    if a.kind != b.kind {
        out.push(format!("{name}: {} on the source, {} on the destination", a.kind, b.kind));
    }
    if a.options != b.options {
        out.push(format!("{name}: options {} <> {}", a.options, b.options));
    }
    if a.indexes != b.indexes {
        let only = |left: &Object, right: &Object| {
            left.indexes.iter().filter(|index| !right.indexes.contains(index)).cloned().collect::<Vec<_>>()
        };
        out.push(format!("{name}: indexes, only source {:#?}; only destination {:#?}", only(a, b), only(b, a)));
    }
    if a.documents != b.documents {
        let text = |bytes: &Vec<u8>| {
            let text = bson::deserialize_from_slice::<Document>(bytes).map(|document| document.to_string());
            text.unwrap_or_else(|error| error.to_string()).chars().take(300).collect::<String>()
        };
        let only = |left: &Object, right: &Object| {
            let right: std::collections::HashSet<_> = right.documents.iter().collect();
            left.documents.iter().filter(|document| !right.contains(document)).map(text).take(3).collect::<Vec<_>>()
        };
        out.push(format!(
            "{name}: {} documents <> {}; only source {:#?}; only destination {:#?}{}",
            a.documents.len(),
            b.documents.len(),
            only(a, b),
            only(b, a),
            if a.capped { " (or their order)" } else { "" }
        ));
    }
}

/// Panics with every difference.
pub async fn assert_identical(source: &Client, destination: &Client) {
    let differences = differences(source, destination).await;
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
