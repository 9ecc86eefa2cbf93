//! The catalog of a cluster: databases, collections with options and UUIDs, views, indexes.

use super::{
    cluster::{Cluster, DriverError, operation_time},
    errors::{PRIMARY_STEPPED_DOWN, code, from_code},
    namespace::Namespace,
    sizes,
};
use crate::model::{NamespaceFilter, Optime};
use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc, raw::cstr, rawdoc};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// Databases and collections that are read at the same time.
pub(super) const AT_ONCE: usize = 8;
const NAMESPACE_NOT_FOUND: i32 = 26;
/// NamespaceNotFound (40280 from `$collStats` of 4.4), CommandNotSupportedOnView: the name belongs to another object, or to
/// none.
pub(super) const MOVED_AWAY: [i32; 3] = [NAMESPACE_NOT_FOUND, 40_280, 166];
/// What 6.0.5 answers when it shall tell of a build on a bucket collection, whose spec it cannot print; 5.0.4 and 6.0.27 can.
const BUILD_NOT_TOLD: i32 = 5_254_501;
/// How long the majority may take to confirm what was just listed.
const CONFIRMING: Duration = Duration::from_secs(30);
/// How long a database that changes under every reading is read again before it is taken as the error it is.
const CHANGING: Duration = Duration::from_secs(60);

/// What kind of object a catalog entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// An ordinary, capped or clustered collection.
    Collection,
    /// `system.buckets.X`, the storage of time-series collection `X`.
    Buckets,
    /// The user-facing name of a time-series collection; no data of its own.
    Timeseries,
    /// A view.
    View,
}

/// One object of `listCollections`, with its indexes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Its name.
    pub namespace: Namespace,
    /// What it is.
    pub kind: Kind,
    /// `info.uuid`; absent for views.
    pub uuid: Option<Uuid>,
    /// `options`, as the server printed them.
    pub options: RawDocumentBuf,
    /// Index specs as `listIndexes` printed them, without the `_id` index, without clustered entries and without
    /// builds that are still running (their commit entry will be in the oplog).
    pub indexes: Vec<RawDocumentBuf>,
    /// The server's estimate of documents.
    pub documents: u64,
    /// Uncompressed size of the data in bytes.
    pub bytes: u64,
}

/// The selected objects of one database as they were at `as_of`.
#[derive(Debug, Clone)]
pub struct DatabaseCatalog {
    /// Database name.
    pub db: String,
    /// Every command entry (DDL) of this database up to and including this position is reflected, none after it is.
    pub as_of: Optime,
    /// Its selected objects.
    pub entries: Vec<CatalogEntry>,
}

/// Everything that is migrated.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// A position before the database list was read.
    pub started_at: Optime,
    /// One per database that holds something selected.
    pub databases: Vec<DatabaseCatalog>,
}

/// Names of the user databases of a cluster with their size on disk in bytes.
pub async fn user_databases(cluster: &Cluster) -> Result<Vec<(String, u64)>, DriverError> {
    let reply = cluster.run("admin", rawdoc! { "listDatabases": 1 }).await?;
    let mut databases = Vec::new();
    for database in reply.get_array("databases")? {
        let Some(database) = database?.as_document() else { continue };
        let name = database.get_str("name")?;
        if !matches!(name, "admin" | "local" | "config") {
            databases.push((name.to_string(), database.get("sizeOnDisk")?.and_then(number).unwrap_or(0)));
        }
    }
    Ok(databases)
}

/// A non-negative number of any numeric type.
pub fn number(value: RawBsonRef<'_>) -> Option<u64> {
    match value {
        RawBsonRef::Int32(value) => u64::try_from(value).ok(),
        RawBsonRef::Int64(value) => u64::try_from(value).ok(),
        RawBsonRef::Double(value) if value >= 0.0 => Some(value as u64),
        _ => None,
    }
}

/// Reads the selected part of a cluster's catalog; every database exactly as it was at its `as_of`. Reads only.
pub async fn read(cluster: &Cluster, filter: &NamespaceFilter) -> Result<Catalog, DriverError> {
    // What the majority has is complete. The newest position of all may stand behind commands that are still under way.
    let started_at = cluster.last_write().await?.majority_optime;
    let names: Vec<String> = user_databases(cluster)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|db| filter.may_select_in(db))
        .collect();
    let readings: Vec<_> = names.into_iter().map(|db| read_database(cluster, filter, db).boxed()).collect();
    let mut databases: Vec<DatabaseCatalog> = stream::iter(readings).buffer_unordered(AT_ONCE).try_collect().await?;
    databases.retain(|database| !database.entries.is_empty());
    databases.sort_by(|a, b| a.db.cmp(&b.db));
    Ok(Catalog { started_at, databases })
}

/// The same, once the majority has all that it shows. A primary that loses its majority may show collections that are
/// rolled back, of which no oplog tells; then the reading fails and is repeated.
pub async fn read_committed(cluster: &Cluster, filter: &NamespaceFilter) -> Result<Catalog, DriverError> {
    let before = cluster.last_write().await?;
    let catalog = read(cluster, filter).await?;
    not_deposed(cluster, before.term).await?;
    Ok(catalog)
}

/// Waits until the majority has all that the primary of `term` showed so far; fails when it was deposed instead.
async fn not_deposed(cluster: &Cluster, term: i64) -> Result<(), DriverError> {
    let shown = cluster.last_write().await?.optime;
    loop {
        let now = cluster.last_write().await?;
        if now.term != term {
            return Err(from_code(PRIMARY_STEPPED_DOWN, "another primary was elected while the catalog was read"));
        }
        if now.majority_optime >= shown {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads one database until no command of it fell between the beginning and the end of the reading.
async fn read_database(
    cluster: &Cluster,
    filter: &NamespaceFilter,
    db: String,
) -> Result<DatabaseCatalog, DriverError> {
    let began = Instant::now();
    loop {
        let before = cluster.last_write().await?.majority_optime;
        match read_entries(cluster, filter, &db).await {
            Ok((mut entries, after)) => {
                let as_of = after.max(before);
                confirmed(cluster, as_of).await?;
                if !changed_between(cluster, &db, before, as_of).await? {
                    // Estimates: read apart, so that nothing slow lies within the reading that must not be disturbed.
                    sizes::fill(cluster, &db, &mut entries).await?;
                    return Ok(DatabaseCatalog { db, as_of, entries });
                }
            }
            // Something was dropped, renamed or became a view between listing and looking at it.
            Err(error) if code(&error).is_some_and(|code| MOVED_AWAY.contains(&code)) => {}
            Err(error) => return Err(error),
        }
        if began.elapsed() > CHANGING {
            let message = format!("collections or indexes of {db} were made, dropped or changed during every reading");
            return Err(DriverError::custom(message));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the majority has everything up to a position: no command before it is still under way and invisible.
async fn confirmed(cluster: &Cluster, position: Optime) -> Result<(), DriverError> {
    let began = Instant::now();
    while cluster.last_write().await?.majority_optime < position {
        if began.elapsed() > CONFIRMING {
            return Err(from_code(PRIMARY_STEPPED_DOWN, &format!("the majority has not confirmed {position}")));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// True when the oplog holds a command on `db` in `(before, until]`. Commands inside transactions and changes of
/// `system.views` count; a transaction of several entries is taken for one that holds a command. Ordinary transactions
/// do not count: a busy application commits one during every reading.
async fn changed_between(cluster: &Cluster, db: &str, before: Optime, until: Optime) -> Result<bool, DriverError> {
    let views = Bson::String(format!("{db}.system.views"));
    let command = doc! { "op": "c", "ns": format!("{db}.$cmd") };
    oplog_holds(cluster, (before, until), vec![command, commands_of_admin(&views), doc! { "ns": views }]).await
}

/// Commands that stand under `admin`, which are those of transactions; `views` is what the names of changed views match.
pub(super) fn commands_of_admin(views: &Bson) -> Document {
    doc! { "op": "c", "ns": "admin.$cmd", "$or": [
        { "o.applyOps.op": "c" },
        { "o.applyOps.ns": views },
        { "o.count": { "$exists": true } },
        { "o.applyOps": { "$exists": false } },
    ] }
}

/// True when the oplog holds an entry like one of these in `(since, until]`.
pub(super) async fn oplog_holds(
    cluster: &Cluster,
    (since, until): (Optime, Optime),
    alternatives: Vec<Document>,
) -> Result<bool, DriverError> {
    let filter = doc! { "ts": { "$gt": stamp(since), "$lte": stamp(until) }, "$or": alternatives };
    Ok(oplog(cluster).find_one(filter).await?.is_some())
}

pub(super) fn oplog(cluster: &Cluster) -> mongodb::Collection<Document> {
    cluster.login.database("local").collection("oplog.rs")
}

pub(super) fn stamp(optime: Optime) -> Timestamp {
    Timestamp { time: optime.t, increment: optime.i }
}

async fn read_entries(
    cluster: &Cluster,
    filter: &NamespaceFilter,
    db: &str,
) -> Result<(Vec<CatalogEntry>, Optime), DriverError> {
    let listed = list_all(cluster, db, rawdoc! { "listCollections": 1, "cursor": { "batchSize": 1_000_000 } }).await?;
    let mut readings = Vec::new();
    for object in &listed.0 {
        let name = object.get_str("name")?;
        let hidden = name == "system.views" || name == "system.profile";
        if !hidden && filter.selects(db, name) {
            readings.push(read_entry(cluster, db, object).boxed());
        }
    }
    let entries: Vec<CatalogEntry> = stream::iter(readings).buffered(AT_ONCE).try_collect().await?;
    let reply = cluster.run("admin", rawdoc! { "hello": 1 }).await?;
    let after = operation_time(&reply).unwrap_or(listed.1);
    Ok((entries, after.max(listed.1)))
}

async fn read_entry(cluster: &Cluster, db: &str, object: &RawDocument) -> Result<CatalogEntry, DriverError> {
    let name = object.get_str("name")?;
    let kind = match object.get_str("type")? {
        "view" => Kind::View,
        "timeseries" => Kind::Timeseries,
        _ if name.starts_with("system.buckets.") => Kind::Buckets,
        _ => Kind::Collection,
    };
    let uuid = object.get_document("info").ok().and_then(|info| info.get_binary("uuid").ok());
    let uuid = uuid.and_then(|binary| binary.bytes.try_into().ok()).map(Uuid::from_bytes);
    let mut entry = CatalogEntry {
        namespace: Namespace::new(db, name),
        kind,
        uuid,
        options: object.get_document("options").map(ToOwned::to_owned).unwrap_or_default(),
        indexes: Vec::new(),
        documents: 0,
        bytes: 0,
    };
    if matches!(kind, Kind::Collection | Kind::Buckets) {
        entry.indexes = read_indexes(cluster, &entry.namespace).await?;
    }
    Ok(entry)
}

/// The finished secondary indexes of a collection.
pub async fn read_indexes(cluster: &Cluster, namespace: &Namespace) -> Result<Vec<RawDocumentBuf>, DriverError> {
    let (db, coll) = (&namespace.db, namespace.coll.as_str());
    let command = rawdoc! { "listIndexes": coll, "includeBuildUUIDs": true, "cursor": { "batchSize": 1_000 } };
    let (listed, builds) = match list_all(cluster, db, command).await {
        Err(error) if code(&error) == Some(BUILD_NOT_TOLD) => {
            let command = rawdoc! { "listIndexes": coll, "cursor": { "batchSize": 1_000 } };
            (list_all(cluster, db, command).await?.0, read_builds(cluster, namespace).await?)
        }
        listed => (listed?.0, HashSet::new()),
    };
    let mut indexes = Vec::new();
    for index in listed {
        let building = index.get("buildUUID")?.is_some();
        // A finished index may be wrapped as { spec: … } when builds are reported.
        let spec = index.get_document("spec").map(ToOwned::to_owned).unwrap_or(index);
        let clustered = spec.get_bool("clustered").unwrap_or(false);
        let name = spec.get_str("name")?;
        if !building && !builds.contains(name) && !clustered && name != "_id_" {
            indexes.push(spec);
        }
    }
    Ok(indexes)
}

/// The names of the indexes that are being built; without their specs, the server can tell of all of them.
async fn read_builds(cluster: &Cluster, namespace: &Namespace) -> Result<HashSet<String>, DriverError> {
    let stats = cluster.run(&namespace.db, rawdoc! { "collStats": namespace.coll.as_str() }).await?;
    let mut names = HashSet::new();
    // A collection that is there has the list, an empty one when nothing is built.
    let Ok(builds) = stats.get_array("indexBuilds") else {
        return Err(from_code(NAMESPACE_NOT_FOUND, &format!("{namespace} was dropped while its indexes were read")));
    };
    for name in builds {
        names.extend(name?.as_str().map(String::from));
    }
    Ok(names)
}

/// A spec as a client has to send it: an index without a collation on a collection with one would inherit it, silently.
pub fn with_own_collation(spec: &RawDocument, collection_options: &RawDocument) -> RawDocumentBuf {
    let mut spec = spec.to_owned();
    let inherits = collection_options.get_document("collation").is_ok() && spec.get_document("collation").is_err();
    if inherits {
        spec.append(cstr!("collation"), rawdoc! { "locale": "simple" });
    }
    spec
}

/// Everything that a listing command returns, and the operation time of its last batch.
pub(super) async fn list_all(
    cluster: &Cluster,
    db: &str,
    command: RawDocumentBuf,
) -> Result<(Vec<RawDocumentBuf>, Optime), DriverError> {
    let mut cursor = cluster.login.database(db).run_raw_cursor_command(command).batch().await?;
    let (mut objects, mut at) = (Vec::new(), Optime::default());
    while let Some(batch) = cursor.next().await {
        let batch = batch?;
        at = operation_time(batch.as_raw_document()).unwrap_or(at);
        for object in batch.doc_slices()? {
            if let Some(object) = object?.as_document() {
                objects.push(object.to_owned());
            }
        }
    }
    Ok((objects, at))
}

/// What a collection was created with and `collMod` made of it; `None`: there is no such collection.
pub async fn options_of(cluster: &Cluster, namespace: &Namespace) -> Result<Option<RawDocumentBuf>, DriverError> {
    let command = rawdoc! { "listCollections": 1, "filter": { "name": namespace.coll.as_str() } };
    let (found, _) = list_all(cluster, &namespace.db, command).await?;
    found.first().map(|found| Ok(found.get_document("options")?.to_owned())).transpose()
}

/// The present name of the collection with this UUID in `db`; `None` when it was dropped or moved away,
/// and the majority has that.
pub async fn name_of(cluster: &Cluster, db: &str, uuid: Uuid) -> Result<Option<String>, DriverError> {
    let name = listed_name_of(cluster, db, uuid).await?;
    if name.is_some() {
        return Ok(name);
    }
    let before = cluster.last_write().await?;
    let name = listed_name_of(cluster, db, uuid).await?;
    if name.is_none() {
        not_deposed(cluster, before.term).await?;
    }
    Ok(name)
}

async fn listed_name_of(cluster: &Cluster, db: &str, uuid: Uuid) -> Result<Option<String>, DriverError> {
    let uuid = Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: uuid.bytes().to_vec() });
    let command = doc! { "listCollections": 1, "filter": { "info.uuid": uuid }, "nameOnly": false };
    let (objects, _) = list_all(cluster, db, RawDocumentBuf::try_from(&command)?).await?;
    objects.first().map(|object| Ok(object.get_str("name")?.to_string())).transpose()
}
