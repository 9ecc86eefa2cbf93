//! Comparison of everything that is not a document: namespaces, collection options, views, indexes.
//!
//! Only reads. A difference is one sentence that names the namespace and what differs.

use super::{
    context::Context,
    retry::{Halt, retry},
};
use crate::mongo::{Cluster, Namespace, cluster::DriverError, errors::code};
use bson::{Bson, Document, RawDocumentBuf, Uuid, rawdoc};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// One object of `listCollections`.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    kind: String,
    options: Document,
    uuid: Option<Uuid>,
}

/// Compares namespaces, options, views and indexes of both clusters; call it after finalizing. Empty: no difference.
pub async fn compare(context: &Context) -> Result<Vec<String>, Halt> {
    let (source, destination) = tokio::join!(list(context, &context.source), list(context, &context.destination));
    let (source, destination) = (source?, destination?);
    let mut differences = name_differences(&source, &destination);
    let newer_buckets = context.source.version < context.destination.version;
    for (namespace, there) in &source {
        let Some(here) = destination.get(namespace) else { continue };
        differences.extend(option_differences(namespace, there, here, newer_buckets));
        if there.kind == "view" || here.kind == "view" || there.kind != here.kind {
            continue;
        }
        let (left, right) = tokio::join!(
            indexes(context, &context.source, namespace),
            indexes(context, &context.destination, namespace),
        );
        differences.extend(index_differences(namespace, &left?, &right?));
    }
    Ok(differences)
}

/// The part of [`compare`] that can be said before finalizing: namespaces on one side only, and collections of the source
/// that are not among the `known` ones (their UUIDs), which nobody has compared.
pub async fn namespace_differences(context: &Context, known: &HashSet<Uuid>) -> Result<Vec<String>, Halt> {
    let (source, destination) = tokio::join!(list(context, &context.source), list(context, &context.destination));
    let (source, destination) = (source?, destination?);
    let mut differences = name_differences(&source, &destination);
    for (namespace, listed) in &source {
        let followed = listed.uuid.is_none_or(|uuid| known.contains(&uuid)) || listed.kind != "collection";
        if !followed && destination.contains_key(namespace) {
            differences.push(format!("{namespace}: this collection of the source was not followed or compared"));
        }
    }
    Ok(differences)
}

/// The UUID of the collection at `namespace`; `None` when there is none.
pub async fn uuid_at(context: &Context, cluster: &Cluster, namespace: &Namespace) -> Result<Option<Uuid>, Halt> {
    let what = format!("looking up {namespace}");
    let found = retry(cluster.side, &what, &context.events, &context.cancel, || {
        let filter = rawdoc! { "name": namespace.coll.as_str() };
        list_database(cluster, &namespace.db, filter)
    })
    .await?;
    Ok(found.into_iter().find(|(name, _)| name == namespace).and_then(|(_, listed)| listed.uuid))
}

async fn list(context: &Context, cluster: &Cluster) -> Result<BTreeMap<Namespace, Listed>, Halt> {
    let filter = &context.options.filter;
    retry(cluster.side, "reading the catalog", &context.events, &context.cancel, || async {
        let reply = cluster.run("admin", rawdoc! { "listDatabases": 1, "nameOnly": true }).await?;
        let mut all = BTreeMap::new();
        for database in reply.get_array("databases")? {
            let Some(database) = database?.as_document() else { continue };
            let name = database.get_str("name")?;
            if filter.may_select_in(name) {
                let listed = list_database(cluster, name, RawDocumentBuf::new()).await?;
                all.extend(listed.into_iter().filter(|(namespace, _)| is_compared(context, namespace)));
            }
        }
        Ok(all)
    })
    .await
}

/// `system.views` comes and goes with the views; other system collections are not migrated.
fn is_compared(context: &Context, namespace: &Namespace) -> bool {
    let system = namespace.coll.starts_with("system.");
    let migrated = namespace.coll.starts_with("system.buckets.") || namespace.coll == "system.js";
    (!system || migrated) && context.options.filter.selects(&namespace.db, &namespace.coll)
}

async fn list_database(
    cluster: &Cluster,
    db: &str,
    filter: RawDocumentBuf,
) -> Result<Vec<(Namespace, Listed)>, DriverError> {
    let command = rawdoc! { "listCollections": 1, "filter": filter };
    let mut cursor = cluster.login.database(db).run_raw_cursor_command(command).await?;
    let mut listed = Vec::new();
    while let Some(entry) = cursor.next().await {
        let mut entry = entry?;
        let name = entry.get_str("name").unwrap_or_default().to_string();
        let options = match entry.remove("options") {
            Some(Bson::Document(options)) => options,
            _ => Document::new(),
        };
        let uuid = match entry.get_document("info").ok().and_then(|info| info.get("uuid")) {
            Some(Bson::Binary(binary)) => binary.bytes.as_slice().try_into().ok().map(Uuid::from_bytes),
            _ => None,
        };
        let kind = entry.get_str("type").unwrap_or("collection").to_string();
        listed.push((Namespace::new(db, name), Listed { kind, options, uuid }));
    }
    Ok(listed)
}

async fn indexes(
    context: &Context,
    cluster: &Cluster,
    namespace: &Namespace,
) -> Result<BTreeMap<String, Document>, Halt> {
    let what = format!("reading the indexes of {namespace}");
    retry(cluster.side, &what, &context.events, &context.cancel, || async {
        let command = rawdoc! { "listIndexes": namespace.coll.as_str() };
        let cursor = cluster.login.database(&namespace.db).run_raw_cursor_command(command).await;
        let mut cursor = match cursor {
            Ok(cursor) => cursor,
            // 26: the collection is gone since it was listed; 166: a view.
            Err(error) if matches!(code(&error), Some(26 | 166)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut all = BTreeMap::new();
        while let Some(spec) = cursor.next().await {
            let spec = spec?;
            all.insert(spec.get_str("name").unwrap_or_default().to_string(), spec);
        }
        Ok(all)
    })
    .await
}

fn name_differences(source: &BTreeMap<Namespace, Listed>, destination: &BTreeMap<Namespace, Listed>) -> Vec<String> {
    let mut differences = Vec::new();
    for (namespace, listed) in source {
        if !destination.contains_key(namespace) {
            differences.push(format!("{namespace}: this {} is missing on the destination", listed.kind));
        }
    }
    for (namespace, listed) in destination {
        if !source.contains_key(namespace) {
            differences.push(format!("{namespace}: this {} is on the destination only", listed.kind));
        }
    }
    differences
}

/// Only newer servers have it: that buckets may hold several types of one field.
fn is_mixed_flag(option: &str, destination: &Listed) -> bool {
    option == "storageEngine"
        && destination.options.contains_key("timeseries")
        && destination.options.get(option).is_some_and(|value| value.to_string().contains("MayHaveMixedSchemaData"))
}

/// `newer_buckets`: the validator of time-series buckets belongs to the server version (OPLOG.md A.9).
fn option_differences(
    namespace: &Namespace,
    source: &Listed,
    destination: &Listed,
    newer_buckets: bool,
) -> Vec<String> {
    if source.kind != destination.kind {
        return vec![format!(
            "{namespace}: a {} on the source, a {} on the destination",
            source.kind, destination.kind
        )];
    }
    let buckets = namespace.coll.starts_with("system.buckets.");
    let names: BTreeSet<&String> = source.options.keys().chain(destination.options.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let of_release = newer_buckets && ((name == "validator" && buckets) || is_mixed_flag(name, destination));
        let ignored = matches!(name.as_str(), "uuid" | "temp") || of_release;
        let (left, right) = (source.options.get(name), destination.options.get(name));
        if !ignored && !same_option(name, left, right) {
            let what = if source.kind == "view" { "view" } else { "option" };
            differences.push(format!(
                "{namespace}: {what} {name} is {} on the source, {} on the destination",
                show(left),
                show(right)
            ));
        }
    }
    differences
}

fn same_option(name: &str, left: Option<&Bson>, right: Option<&Bson>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => match name {
            // The ICU version of a collation belongs to the server.
            "collation" => without(left, &["version"]) == without(right, &["version"]),
            // The order inside a validator or a pipeline can matter; the order of these does not.
            "timeseries"
            | "clusteredIndex"
            | "changeStreamPreAndPostImages"
            | "storageEngine"
            | "indexOptionDefaults" => unordered(left) == unordered(right),
            _ => ordered(left, right),
        },
        // What the server prints when the default was spelled out.
        (Some(Bson::Boolean(false)), None) | (None, Some(Bson::Boolean(false))) => true,
        (left, right) => left == right,
    }
}

fn index_differences(
    namespace: &Namespace,
    source: &BTreeMap<String, Document>,
    destination: &BTreeMap<String, Document>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, there) in source {
        let Some(here) = destination.get(name) else {
            differences.push(format!("{namespace}: index {name} is missing on the destination"));
            continue;
        };
        let fields: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for field in fields.into_iter().filter(|field| !matches!(field.as_str(), "ns" | "background" | "v")) {
            let (left, right) = (there.get(field), here.get(field));
            if !same_index_field(field, left, right) {
                differences.push(format!(
                    "{namespace}: index {name}: {field} is {} on the source, {} on the destination",
                    show(left),
                    show(right)
                ));
            }
        }
    }
    for name in destination.keys().filter(|name| !source.contains_key(*name)) {
        differences.push(format!("{namespace}: index {name} is on the destination only"));
    }
    differences
}

fn same_index_field(field: &str, left: Option<&Bson>, right: Option<&Bson>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) if field == "key" => {
            // The order of the key is the index.
            ordered(left, right)
        }
        (Some(left), Some(right)) if field == "collation" => {
            without(left, &["version"]) == without(right, &["version"])
        }
        (Some(left), Some(right)) if field == "partialFilterExpression" => ordered(left, right),
        (Some(left), Some(right)) => unordered(left) == unordered(right),
        (Some(Bson::Boolean(false)), None) | (None, Some(Bson::Boolean(false))) => true,
        (left, right) => left == right,
    }
}

/// Equal with the order of fields, which `Document` does not compare; numbers of any type are one.
fn ordered(left: &Bson, right: &Bson) -> bool {
    match (left, right) {
        (Bson::Document(left), Bson::Document(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|((a, x), (b, y))| a == b && ordered(x, y))
        }
        (Bson::Array(left), Bson::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(x, y)| ordered(x, y))
        }
        (left, right) => number(left) == number(right),
    }
}

/// Numbers of any type as one type: `expireAfterSeconds: 60` and `60.0` are the same setting.
fn number(value: &Bson) -> Bson {
    match value {
        Bson::Int32(value) => Bson::Double((*value).into()),
        Bson::Int64(value) => Bson::Double(*value as f64),
        other => other.clone(),
    }
}

/// The value with the fields of every document sorted, numbers as one type.
fn unordered(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => {
            let sorted: BTreeMap<_, _> = document.iter().collect();
            Bson::Document(sorted.into_iter().map(|(name, value)| (name.clone(), unordered(value))).collect())
        }
        Bson::Array(array) => Bson::Array(array.iter().map(unordered).collect()),
        other => number(other),
    }
}

fn without(value: &Bson, fields: &[&str]) -> Bson {
    match unordered(value) {
        Bson::Document(document) => {
            Bson::Document(document.into_iter().filter(|(name, _)| !fields.contains(&name.as_str())).collect())
        }
        other => other,
    }
}

fn show(value: Option<&Bson>) -> String {
    const SHOWN: usize = 120;
    let Some(value) = value else { return "absent".into() };
    let text = serde_json::to_string(value).unwrap_or_else(|_| value.to_string());
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
