//! Folds consecutive changes of one lane into at most one statement per document.
//!
//! Within a batch the order of statements is free, because no document has two of them. Consecutive changes of one
//! document are folded into one; what cannot be folded says [`Pushed::Full`]: execute the batch, then push again.

use super::{
    Change, ChangeKind, Dialect, DocumentId, OplogError,
    commands::{self, whole},
    update::{self, Form},
};
use bson::{RawDocumentBuf, Uuid};
use std::collections::HashMap;

pub use super::commands::{WriteCommand, WriteKind, deletes, holds_zero_timestamp, inserts, upsert_statement, upserts};

/// Pipeline stages folded into one statement.
const STAGES: usize = 30;
/// Bytes folded into one statement; it must stay well below the 16 MiB of a command. A single change may be larger.
const STATEMENT_BYTES: usize = 4 << 20;

/// What to do to one document.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    /// It is new, or replaces whatever is there (upsert).
    Put(RawDocumentBuf),
    /// Put it, then run these stages (an insert followed by updates).
    PutThen(RawDocumentBuf, Vec<RawDocumentBuf>),
    /// Replace it if it is there; never create it.
    Replace(RawDocumentBuf),
    /// Run stages on it if it is there.
    Stages(Vec<RawDocumentBuf>),
    /// An ordinary `$set`/`$unset`.
    Classic(RawDocumentBuf),
    /// Remove it.
    Delete,
    /// Fetch it again from the source.
    Refetch,
}

/// What became of a pushed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the batch.
    Taken,
    /// Execute the batch first, then push again. An empty batch is never full.
    Full,
}

/// What a collection's order of changes means beyond each single document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// Documents keep the order in which they were inserted.
    pub capped: bool,
    /// A default collation: ids with other bytes can be one id (OPLOG.md B.7).
    pub collated: bool,
}

/// The changes that one lane executes together.
#[derive(Debug)]
pub struct Batch {
    dialect: Dialect,
    collections: HashMap<Uuid, Folded>,
    bytes: usize,
    changes: usize,
}

/// What a collection's changes amount to so far.
#[derive(Debug, Default)]
struct Folded {
    /// In the order of the oplog; `None` where a later insert took the document to the end.
    statements: Vec<Option<(DocumentId, Statement)>>,
    /// Place in `statements` by [`DocumentId::key`].
    places: HashMap<Vec<u8>, usize>,
    /// A delete was pushed.
    deleted: bool,
    /// Nothing more may be pushed.
    sealed: bool,
}

/// The statements of one collection, ready to become commands.
#[derive(Debug)]
pub struct CollectionBatch {
    /// The source's collection UUID.
    pub uuid: Uuid,
    dialect: Dialect,
    statements: Vec<(DocumentId, Statement)>,
    /// Documents that must be fetched again from the source.
    pub refetch: Vec<DocumentId>,
}

impl Batch {
    /// An empty batch.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, collections: HashMap::new(), bytes: 0, changes: 0 }
    }

    /// Changes in the batch.
    pub fn len(&self) -> usize {
        self.changes
    }

    /// True without changes.
    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Bytes of the changes in the batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a change of the collection `uuid` into the batch.
    pub fn push(&mut self, uuid: Uuid, traits: Traits, change: &Change<'_>) -> Result<Pushed, OplogError> {
        let id = DocumentId::new(change.id()?);
        let (what, bytes) = match &change.kind {
            ChangeKind::Insert(document) => (What::Put((*document).to_owned()), document.as_bytes().len()),
            ChangeKind::Delete(_) => (What::Delete, 64),
            ChangeKind::Update { update, .. } => {
                (What::Update(update::form(update, self.dialect)?), update.as_bytes().len())
            }
        };
        let pushed = self.collections.entry(uuid).or_default().push(id, what, traits, self.dialect);
        if pushed == Pushed::Taken {
            self.changes += 1;
            self.bytes += bytes;
        }
        Ok(pushed)
    }

    /// The batch, collection by collection.
    pub fn into_collections(self) -> Vec<CollectionBatch> {
        let dialect = self.dialect;
        let of_collection = |(uuid, folded): (Uuid, Folded)| {
            let (refetch, statements): (Vec<_>, Vec<_>) = folded
                .statements
                .into_iter()
                .flatten()
                .partition(|(_, statement)| matches!(statement, Statement::Refetch));
            let refetch = refetch.into_iter().map(|(id, _)| id).collect();
            CollectionBatch { uuid, dialect, statements, refetch }
        };
        self.collections.into_iter().map(of_collection).collect()
    }
}

impl CollectionBatch {
    /// The write commands for the collection that is called `name` on the destination, in an order that is right when
    /// each is finished before the next begins.
    pub fn commands(&self, name: &str) -> Vec<WriteCommand> {
        commands::build(self.statements.iter(), name, self.dialect)
    }
}

/// A change, ready to be folded.
enum What {
    Put(RawDocumentBuf),
    Update(Form),
    Delete,
}

impl Folded {
    fn push(&mut self, id: DocumentId, what: What, traits: Traits, dialect: Dialect) -> Pushed {
        if self.sealed {
            return Pushed::Full;
        }
        let is_first = self.statements.is_empty();
        let mut slot = match self.places.get(id.key()) {
            Some(place) => self.statements.get_mut(*place),
            None => None,
        };
        if let Some(Some((other, _))) = &slot
            && *other != id
        {
            // Perhaps the same document under another numeric type, perhaps another one: in sequence both are right.
            return Pushed::Full;
        }
        // A deleted id may be one with an id that comes after it. Ids that live side by side are never one.
        if traits.collated && self.deleted && slot.is_none() && !matches!(what, What::Delete) {
            return Pushed::Full;
        }
        // An upsert is executed after the inserts, so that it would come to stand behind them.
        let apart = traits.capped && matches!(&what, What::Put(document) if holds_zero_timestamp(document));
        if apart && !is_first {
            return Pushed::Full;
        }
        let (is_put, is_delete) = (matches!(what, What::Put(_)), matches!(what, What::Delete));
        let before = slot.as_mut().and_then(|slot| slot.take()).map(|(_, statement)| statement);
        let folded = match (traits.capped, before, what) {
            // Folded, it would keep the place of the deleted document, or come behind later inserts.
            (true, Some(before @ Statement::Delete), What::Put(_)) => Err(before),
            (true, Some(before @ Statement::Put(_)), What::Update(Form::Stages(_))) => Err(before),
            (_, before, what) => fold(before, what, dialect),
        };
        let statement = match folded {
            Ok(statement) => statement,
            Err(before) => {
                if let Some(slot) = slot {
                    *slot = Some((id, before));
                }
                return Pushed::Full;
            }
        };
        self.deleted |= is_delete;
        self.sealed = apart;
        match slot {
            Some(slot) if !is_put => *slot = Some((id, statement)),
            _ => {
                self.places.insert(id.key().to_vec(), self.statements.len());
                self.statements.push(Some((id, statement)));
            }
        }
        Pushed::Taken
    }
}

/// One statement for what was to be done before and what comes now; `Err` gives back what cannot be folded.
fn fold(before: Option<Statement>, what: What, dialect: Dialect) -> Result<Statement, Statement> {
    use Statement::{Classic, Delete, Put, PutThen, Refetch, Replace, Stages};
    Ok(match (before, what) {
        // The document as it is on the source later than any of these: what comes after replays onto it.
        (Some(Refetch), _) | (_, What::Update(Form::Refetch(_))) => Refetch,
        (_, What::Put(document)) => Put(document),
        (_, What::Delete) => Delete,
        // An update of a document that is gone changes nothing, and must not bring it back.
        (Some(Delete), What::Update(_)) => Delete,
        (Some(Put(_) | PutThen(..)), What::Update(Form::Replacement(document))) => Put(document),
        (_, What::Update(Form::Replacement(document))) => Replace(document),
        (None, What::Update(Form::Stages(stages))) => Stages(stages),
        (None, What::Update(Form::Classic(update))) => Classic(update),
        (Some(before @ Classic(_)), What::Update(_)) => return Err(before),
        (Some(before), What::Update(Form::Classic(_))) => return Err(before),
        (Some(before), What::Update(Form::Stages(mut stages))) => {
            let (count, bytes) = weight(&before);
            let more: usize = stages.iter().map(|stage| stage.as_bytes().len()).sum();
            if count + stages.len() > STAGES || bytes + more > STATEMENT_BYTES {
                return Err(before);
            }
            match before {
                Put(document) => PutThen(document, stages),
                PutThen(document, mut earlier) => {
                    earlier.append(&mut stages);
                    PutThen(document, earlier)
                }
                Stages(mut earlier) => {
                    earlier.append(&mut stages);
                    Stages(earlier)
                }
                Replace(document) if dialect.major >= 5 => {
                    stages.insert(0, whole(&document));
                    Stages(stages)
                }
                before => return Err(before),
            }
        }
    })
}

/// Stages and bytes of a statement.
fn weight(statement: &Statement) -> (usize, usize) {
    let bytes = |stages: &[RawDocumentBuf]| stages.iter().map(|stage| stage.as_bytes().len()).sum::<usize>();
    match statement {
        Statement::Put(document) | Statement::Replace(document) => (1, document.as_bytes().len()),
        Statement::PutThen(document, stages) => (1 + stages.len(), document.as_bytes().len() + bytes(stages)),
        Statement::Stages(stages) => (stages.len(), bytes(stages)),
        Statement::Classic(update) => (0, update.as_bytes().len()),
        Statement::Delete | Statement::Refetch => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::rawdoc;

    const INTERNAL: Dialect = Dialect { major: 6, internal_stage: true };

    fn uuid() -> Uuid {
        Uuid::from_bytes([3; 16])
    }

    fn insert(document: &RawDocumentBuf) -> Change<'_> {
        Change { ns: "d.c", uuid: Some(uuid()), kind: ChangeKind::Insert(document) }
    }

    fn update<'a>(id: &'a RawDocumentBuf, update: &'a RawDocumentBuf) -> Change<'a> {
        let id = id.get("_id").unwrap().unwrap();
        Change { ns: "d.c", uuid: Some(uuid()), kind: ChangeKind::Update { id, update } }
    }

    fn delete(id: &RawDocumentBuf) -> Change<'_> {
        let id = id.get("_id").unwrap().unwrap();
        Change { ns: "d.c", uuid: Some(uuid()), kind: ChangeKind::Delete(id) }
    }

    fn kinds(changes: &[Change<'_>]) -> Vec<(WriteKind, usize)> {
        let mut batch = Batch::new(INTERNAL);
        for change in changes {
            assert_eq!(batch.push(uuid(), Traits::default(), change), Ok(Pushed::Taken));
        }
        let collections = batch.into_collections();
        let commands = collections.iter().flat_map(|collection| collection.commands("c"));
        commands.map(|command| (command.kind, command.ids.len())).collect()
    }

    #[test]
    fn consecutive_changes_of_a_document_become_one_statement() {
        let (one, two) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 });
        let diff = rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } };
        assert_eq!(kinds(&[insert(&one), insert(&two)]), [(WriteKind::Insert, 2)]);
        assert_eq!(kinds(&[insert(&one), update(&one, &diff), update(&one, &diff)]), [(WriteKind::Update, 1)]);
        assert_eq!(kinds(&[insert(&one), update(&one, &diff), delete(&one)]), [(WriteKind::Delete, 1)]);
        assert_eq!(kinds(&[delete(&one), update(&one, &diff)]), [(WriteKind::Delete, 1)]);
        assert_eq!(kinds(&[delete(&one), insert(&one)]), [(WriteKind::Insert, 1)]);
    }

    #[test]
    fn an_update_never_creates_a_document_and_an_insert_always_does() {
        let one = rawdoc! { "_id": 1 };
        let replacement = rawdoc! { "_id": 1, "x": 1 };
        let mut batch = Batch::new(INTERNAL);
        batch.push(uuid(), Traits::default(), &update(&one, &replacement)).unwrap();
        let command = &batch.into_collections()[0].commands("c")[0];
        assert!(command.command.get_array("updates").unwrap().get_document(0).unwrap().get_bool("upsert").is_err());
        let zero = rawdoc! { "_id": 1, "t": bson::Timestamp { time: 0, increment: 0 } };
        let mut batch = Batch::new(INTERNAL);
        batch.push(uuid(), Traits::default(), &insert(&zero)).unwrap();
        let command = &batch.into_collections()[0].commands("c")[0];
        assert_eq!(command.kind, WriteKind::Update, "an insert would rewrite the zero timestamp");
        assert!(command.command.get_array("updates").unwrap().get_document(0).unwrap().get_bool("upsert").unwrap());
    }

    #[test]
    fn ids_that_may_be_one_document_are_never_folded() {
        let (int, long) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1_i64 });
        let (ab, ba) = (rawdoc! { "_id": { "a": 2, "b": 1 } }, rawdoc! { "_id": { "a": 2.0, "b": 1 } });
        for (first, second) in [(&int, &long), (&ab, &ba)] {
            let mut batch = Batch::new(INTERNAL);
            assert_eq!(batch.push(uuid(), Traits::default(), &insert(first)), Ok(Pushed::Taken));
            assert_eq!(batch.push(uuid(), Traits::default(), &insert(second)), Ok(Pushed::Full));
        }
    }

    #[test]
    fn many_stages_are_not_piled_up_for_ever() {
        let one = rawdoc! { "_id": 1 };
        let diff = rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } };
        let mut batch = Batch::new(INTERNAL);
        let taken = (0..100)
            .take_while(|_| batch.push(uuid(), Traits::default(), &update(&one, &diff)) == Ok(Pushed::Taken))
            .count();
        assert_eq!(taken, STAGES);
    }

    fn takes(traits: Traits, changes: &[Change<'_>]) -> Vec<Pushed> {
        let mut batch = Batch::new(INTERNAL);
        changes.iter().map(|change| batch.push(uuid(), traits, change).unwrap()).collect()
    }

    #[test]
    fn under_a_collation_nothing_follows_the_delete_of_another_id() {
        use Pushed::{Full, Taken};
        let collated = Traits { collated: true, ..Traits::default() };
        let (upper, lower, other) = (rawdoc! { "_id": "A" }, rawdoc! { "_id": "a" }, rawdoc! { "_id": "b" });
        assert_eq!(takes(collated, &[insert(&other), delete(&upper), insert(&lower)]), [Taken, Taken, Full]);
        assert_eq!(takes(collated, &[delete(&upper), delete(&other), insert(&upper)]), [Taken, Taken, Taken]);
        assert_eq!(takes(Traits::default(), &[delete(&upper), insert(&lower)]), [Taken, Taken]);
    }

    #[test]
    fn a_capped_collection_keeps_the_order_of_inserts() {
        use Pushed::{Full, Taken};
        let capped = Traits { capped: true, ..Traits::default() };
        let (one, two) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 });
        let zero = rawdoc! { "_id": 3, "t": bson::Timestamp { time: 0, increment: 0 } };
        let diff = rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } };
        assert_eq!(takes(capped, &[insert(&one), delete(&two), insert(&two)]), [Taken, Taken, Full]);
        assert_eq!(takes(capped, &[insert(&one), insert(&two), update(&one, &diff)]), [Taken, Taken, Full]);
        assert_eq!(takes(capped, &[insert(&one), insert(&zero)]), [Taken, Full]);
        assert_eq!(takes(capped, &[insert(&zero), insert(&one)]), [Taken, Full]);
    }

    #[test]
    fn inserts_stay_in_the_order_of_the_oplog() {
        let documents: Vec<_> = (0..50_i32).map(|n| rawdoc! { "_id": (n * 37) % 50 }).collect();
        let mut batch = Batch::new(INTERNAL);
        for document in &documents {
            batch.push(uuid(), Traits::default(), &insert(document)).unwrap();
        }
        assert_eq!(batch.into_collections()[0].commands("c")[0].documents, documents);
    }

    #[test]
    fn a_large_document_is_not_folded_with_more() {
        let large = rawdoc! { "_id": 1, "s": "x".repeat(15 << 20) };
        let diff = rawdoc! { "$v": 2, "diff": { "u": { "a": "y".repeat(2 << 20) } } };
        assert_eq!(takes(Traits::default(), &[insert(&large), update(&large, &diff)]), [Pushed::Taken, Pushed::Full]);
    }
}
