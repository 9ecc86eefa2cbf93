//! Two real single-member replica sets, and what the tests do to both.

use bson::{
    Binary, Bson, Decimal128, Document, RawDocument, RawDocumentBuf, Timestamp, Uuid, doc, oid::ObjectId, rawdoc,
    spec::BinarySubtype,
};
use futures_util::StreamExt;
use mongoferry::{
    demo::{ReplicaSet, SetOptions, releases},
    engine::{
        context::Context,
        gate::Gate,
        notices::Notices,
        record::Record,
        registry::{Registry, Tracked, TrackedIndex},
        throttle::Throttle,
        verify::id::Id,
    },
    model::{Endpoint, Optime, Options, Side},
    mongo::{Cluster, Namespace, catalog::Kind, connect::connect},
    oplog::Dialect,
    store::Journal,
};
use std::{collections::BTreeMap, sync::Arc};

/// A source and a destination.
pub struct Pair {
    pub context: Context,
    _servers: [ReplicaSet; 2],
    _folder: tempfile::TempDir,
}

impl Pair {
    pub async fn start() -> Self {
        let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
        let (a, b) = (SetOptions::single("rsA"), SetOptions::single("rsB"));
        let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
        let servers = [a.expect("source"), b.expect("destination")];
        let (source, destination) = (Endpoint::plain(servers[0].uri()), Endpoint::plain(servers[1].uri()));
        let source = connect(Side::Source, &source).await.expect("connected");
        let destination = connect(Side::Destination, &destination).await.expect("connected");
        let folder = tempfile::tempdir().expect("a folder");
        let context = Context {
            record: Arc::new(Record::new(Journal::open(folder.path()).expect("a journal")).expect("a record")),
            dialect: Dialect { major: destination.version.major, internal_stage: false },
            source,
            destination,
            options: Arc::new(Options::default()),
            gate: Gate::default(),
            throttle: Throttle::new(None),
            brake: Default::default(),
            cancel: tokio_util::sync::CancellationToken::new(),
            events: Notices::default(),
        };
        Self { context, _servers: servers, _folder: folder }
    }

    /// Runs a command on both clusters.
    pub async fn both(&self, db: &str, command: RawDocumentBuf) {
        for cluster in [&self.context.source, &self.context.destination] {
            let reply = cluster.run(db, command.clone()).await.expect("command");
            assert!(reply.get("writeErrors").expect("reply").is_none(), "{reply:?}");
        }
    }

    /// Copies a collection from the source as it is.
    pub async fn copy_raw(&self, db: &str, name: &str) {
        let (source, destination) = (&self.context.source, &self.context.destination);
        let mut cursor =
            source.login.client().database(db).collection::<RawDocumentBuf>(name).find(doc! {}).await.expect("cursor");
        while let Some(document) = cursor.next().await {
            let command = rawdoc! { "insert": name, "documents": [document.expect("document")] };
            destination.run(db, command).await.expect("inserted");
        }
    }

    /// What the copy would have tracked.
    pub async fn registry(&self) -> Registry {
        let source = &self.context.source;
        let mut registry = Registry { started_at: Optime::new(1, 1), ..Registry::default() };
        for db in source.login.client().list_database_names().await.expect("databases") {
            if !self.context.options.filter.may_select_in(&db) {
                continue;
            }
            let command = doc! { "listCollections": 1 };
            let mut cursor = source.login.client().database(&db).run_cursor_command(command).await.expect("cursor");
            while let Some(entry) = cursor.next().await {
                let entry: Document = entry.expect("entry");
                let name = entry.get_str("name").expect("name");
                if entry.get_str("type").unwrap_or_default() != "collection" || name == "system.views" {
                    continue;
                }
                let options = entry.get_document("options").expect("options");
                let Ok(Bson::Binary(uuid)) = entry.get_document("info").map(|info| info["uuid"].clone()) else {
                    panic!("{name} has no UUID");
                };
                let kind = if name.starts_with("system.buckets.") { Kind::Buckets } else { Kind::Collection };
                let tracked = Tracked {
                    namespace: Namespace::new(&db, name),
                    kind,
                    options: RawDocumentBuf::try_from(options).expect("options"),
                    indexes: BTreeMap::<String, TrackedIndex>::new(),
                    in_place: false,
                    unmade: false,
                    is_indexed: false,
                };
                registry.collections.insert(Uuid::from_bytes(uuid.bytes.try_into().expect("16 bytes")), tracked);
            }
        }
        registry
    }

    pub fn uuid(&self, registry: &Registry, namespace: &str) -> Uuid {
        registry.uuid_at(&Namespace::parse(namespace).expect("namespace")).expect("tracked")
    }
}

/// Stores a document exactly, a top-level zero timestamp included.
pub async fn literal(cluster: &Cluster, db: &str, name: &str, document: &RawDocumentBuf) {
    let id: bson::RawBson = document.get("_id").expect("document").expect("id").into();
    let pipeline = rawdoc! { "$replaceWith": { "$literal": document.clone() } };
    let command = rawdoc! { "update": name, "updates": [{ "q": { "_id": id }, "u": [pipeline], "upsert": true }] };
    let reply = cluster.run(db, command).await.expect("command");
    assert!(reply.get("writeErrors").expect("reply").is_none(), "{reply:?}");
}

/// The key of an integer `_id`.
pub fn key(id: i32) -> Vec<u8> {
    key_of(&rawdoc! { "_id": id })
}

/// The key of a document's `_id`.
pub fn key_of(document: &RawDocument) -> Vec<u8> {
    Id::of(document.as_bytes()).expect("an _id").key()
}

/// One `_id` of every type that a server stores, with the traps of each, in no order.
pub fn mixed_ids() -> Vec<Bson> {
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().expect("decimal"));
    vec![
        Bson::MaxKey,
        Bson::Boolean(true),
        Bson::String("b".into()),
        Bson::Double(f64::NAN),
        Bson::Int32(5),
        Bson::Int64(i64::MAX),
        Bson::Int64(9_007_199_254_740_993),
        Bson::Double(9_007_199_254_740_992.0),
        Bson::Double(0.5),
        Bson::Double(f64::INFINITY),
        Bson::Double(f64::NEG_INFINITY),
        decimal("0.25"),
        decimal("7"),
        decimal("1E6000"),
        decimal("-1E6000"),
        Bson::Int32(0),
        Bson::Int32(-7),
        Bson::String(String::new()),
        Bson::String("a\u{0}b".into()),
        Bson::String("B".into()),
        Bson::String("ä".into()),
        Bson::Symbol("sym".into()),
        Bson::Document(doc! { "b": 1, "a": 1 }),
        Bson::Document(doc! { "a": 1, "b": 1 }),
        Bson::Document(doc! { "a": "x" }),
        Bson::Document(doc! {}),
        Bson::Null,
        Bson::ObjectId(ObjectId::from_bytes([7; 12])),
        Bson::ObjectId(ObjectId::from_bytes([200; 12])),
        binary(BinarySubtype::Generic, b"zz"),
        binary(BinarySubtype::Uuid, &[3; 16]),
        binary(BinarySubtype::Generic, &[3; 16]),
        binary(BinarySubtype::Generic, b"y"),
        Bson::Boolean(false),
        Bson::DateTime(bson::DateTime::from_millis(-1)),
        Bson::DateTime(bson::DateTime::from_millis(1)),
        Bson::Timestamp(Timestamp { time: 3_000_000_000, increment: 0 }),
        Bson::Timestamp(Timestamp { time: 2, increment: 4_000_000_000 }),
        Bson::JavaScriptCode("return 1".into()),
        Bson::MinKey,
    ]
}
