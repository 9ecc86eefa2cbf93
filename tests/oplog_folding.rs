//! Folding against a model of a collection: a batch, whatever the order of its statements, leaves what the changes leave
//! one by one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bson::{Bson, Document, RawDocumentBuf, Uuid, doc, rawdoc};
use mongoferry::oplog::{
    Batch, Change, ChangeKind, Dialect, Traits,
    batch::{Pushed, WriteKind},
};
use proptest::prelude::*;

const DIALECT: Dialect = Dialect { major: 6, internal_stage: true };

fn uuid() -> Uuid {
    Uuid::from_bytes([5; 16])
}

/// A collection whose ids are numbers: 1, 1.0 and Long(1) are one document, as on the server.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model(std::collections::BTreeMap<i64, Vec<u8>>);

fn number(id: &Bson) -> i64 {
    match id {
        Bson::Int32(id) => i64::from(*id),
        Bson::Int64(id) => *id,
        Bson::Double(id) => *id as i64,
        other => panic!("{other}"),
    }
}

fn bytes(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

fn read(bytes: &[u8]) -> Document {
    bson::deserialize_from_slice(bytes).unwrap()
}

fn set(document: &mut Document, diff: &Document) {
    for (name, value) in diff.get_document("u").unwrap() {
        document.insert(name, value.clone());
    }
}

impl Model {
    fn put(&mut self, document: &Document) {
        self.0.insert(number(document.get("_id").unwrap()), bytes(document));
    }

    /// One change, as the server that logged it would apply it again.
    fn apply(&mut self, step: &Step) {
        let key = number(&step.id());
        match &step.what {
            What::Insert(value) => self.put(&doc! { "_id": step.id(), "v": value }),
            What::Delete => drop(self.0.remove(&key)),
            What::Replace(value) => {
                if self.0.contains_key(&key) {
                    self.put(&doc! { "_id": step.id(), "v": value, "replaced": true });
                }
            }
            What::Set(name, value) => {
                if let Some(old) = self.0.get(&key) {
                    let mut document = read(old);
                    set(&mut document, &doc! { "u": { name: value } });
                    self.put(&document);
                }
            }
        }
    }

    fn execute(&mut self, batch: Batch, backwards: bool) {
        for collection in batch.into_collections() {
            assert!(collection.refetch.is_empty());
            let mut statements = Vec::new();
            for write in collection.commands("c") {
                let list = match write.kind {
                    WriteKind::Insert => "documents",
                    WriteKind::Update => "updates",
                    WriteKind::Delete => "deletes",
                };
                let command = Document::try_from(write.command.as_ref()).unwrap();
                let array = command.get_array(list).unwrap();
                assert_eq!(array.len(), write.ids.len());
                for (statement, id) in array.iter().zip(&write.ids) {
                    let wrapped = Document::try_from(id.wrapped()).unwrap();
                    let statement = statement.as_document().unwrap().clone();
                    statements.push((write.kind, number(wrapped.get("_id").unwrap()), statement));
                }
            }
            let mut seen: Vec<i64> = statements.iter().map(|(_, key, _)| *key).collect();
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "two statements for one document: {statements:?}");
            if backwards {
                statements.reverse();
            }
            for (kind, key, statement) in statements {
                self.statement(kind, key, &statement);
            }
        }
    }

    fn statement(&mut self, kind: WriteKind, key: i64, statement: &Document) {
        if kind == WriteKind::Insert {
            // Where it exists already, error 11000 and an upserting replacement: the same outcome.
            return self.put(statement);
        }
        let id = statement.get_document("q").unwrap().get("_id").unwrap();
        assert_eq!(number(id), key);
        if kind == WriteKind::Delete {
            return drop(self.0.remove(&key));
        }
        let upsert = statement.get_bool("upsert").unwrap_or(false);
        let mut document = match self.0.get(&key) {
            Some(old) => read(old),
            None if upsert => doc! { "_id": id.clone() },
            None => return,
        };
        for stage in statement.get_array("u").unwrap() {
            let stage = stage.as_document().unwrap();
            if let Ok(whole) = stage.get_document("$replaceWith") {
                document = whole.get_document("$literal").unwrap().clone();
            } else {
                let update = stage.get_document("$_internalApplyOplogUpdate").unwrap();
                set(&mut document, update.get_document("oplogUpdate").unwrap().get_document("diff").unwrap());
            }
        }
        self.put(&document);
    }
}

#[derive(Debug, Clone)]
enum What {
    Insert(i32),
    Replace(i32),
    Set(String, i32),
    Delete,
}

#[derive(Debug, Clone)]
struct Step {
    number: i32,
    numeric_type: u8,
    what: What,
}

impl Step {
    fn id(&self) -> Bson {
        match self.numeric_type {
            0 => Bson::Int64(i64::from(self.number)),
            1 => Bson::Double(f64::from(self.number)),
            _ => Bson::Int32(self.number),
        }
    }

    fn push(&self, batch: &mut Batch) -> Pushed {
        let id = rawdoc! { "_id": bson::RawBson::try_from(self.id()).unwrap() };
        let value = id.get("_id").unwrap().unwrap();
        let with = |extra: Document| {
            let mut document = doc! { "_id": self.id() };
            document.extend(extra);
            RawDocumentBuf::try_from(&document).unwrap()
        };
        let raw = match &self.what {
            What::Insert(v) => with(doc! { "v": *v }),
            What::Replace(v) => with(doc! { "v": *v, "replaced": true }),
            What::Set(name, v) => RawDocumentBuf::try_from(&doc! { "$v": 2, "diff": { "u": { name: *v } } }).unwrap(),
            What::Delete => RawDocumentBuf::new(),
        };
        let kind = match &self.what {
            What::Insert(_) => ChangeKind::Insert(&raw),
            What::Delete => ChangeKind::Delete(value),
            What::Replace(_) | What::Set(..) => ChangeKind::Update { id: value, update: &raw },
        };
        batch.push(uuid(), Traits::default(), &Change { ns: "d.c", uuid: Some(uuid()), kind }).unwrap()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        2 => (0..9_i32).prop_map(What::Insert),
        1 => (0..9_i32).prop_map(What::Replace),
        4 => ("[a-d]", 0..9_i32).prop_map(|(name, value)| What::Set(name, value)),
        1 => Just(What::Delete),
    ];
    (0..4_i32, 0..12_u8, what).prop_map(|(number, numeric_type, what)| Step { number, numeric_type, what })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folded_changes_leave_what_single_changes_leave(
        before in prop::collection::vec(0..4_i32, 0..4),
        steps in prop::collection::vec(step(), 1..60),
        backwards: bool,
    ) {
        let mut singly = Model::default();
        for number in before {
            singly.put(&doc! { "_id": number, "before": true });
        }
        let mut folded = singly.clone();
        let mut batch = Batch::new(DIALECT);
        for step in &steps {
            singly.apply(step);
            if step.push(&mut batch) == Pushed::Full {
                folded.execute(std::mem::replace(&mut batch, Batch::new(DIALECT)), backwards);
                prop_assert_eq!(step.push(&mut batch), Pushed::Taken, "an empty batch is never full");
            }
        }
        folded.execute(batch, backwards);
        prop_assert_eq!(singly, folded);
    }
}
