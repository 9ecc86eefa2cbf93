//! Folds consecutive changes of one lane into at most one statement per document, and builds the write commands.
//!
//! Within a batch the order of statements is free, because no document has two of them. Consecutive changes of one
//! document are folded into one; what cannot be folded says [`Pushed::Full`]: execute the batch, then push again.

use super::{Change, ChangeKind, Dialect, DocumentId, OplogError, update};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, Uuid, raw::cstr, rawdoc};
use std::collections::HashMap;

/// Statements in one command.
const STATEMENTS: usize = 1_000;
/// Bytes of statements in one command; a single larger statement is a command of its own.
const COMMAND_BYTES: usize = 12 << 20;
/// Pipeline stages folded into one statement.
const STAGES: usize = 30;
/// Documents near the 16 MB limit do not fit into an update command beside its other parts.
const LARGE: usize = (16 << 20) - 65_536;

/// What to do to one document.
#[derive(Debug, Clone)]
enum Statement {
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
    /// Execute the batch first, then push again.
    Full,
}

/// The changes that one lane executes together.
#[derive(Debug)]
pub struct Batch {
    dialect: Dialect,
    /// By collection, then by [`DocumentId::key`].
    collections: HashMap<Uuid, HashMap<Vec<u8>, (DocumentId, Statement)>>,
    bytes: usize,
    changes: usize,
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

/// What kind of command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// `insert`: error 11000 means that the document is there already and has to be replaced.
    Insert,
    /// `update`.
    Update,
    /// `delete`.
    Delete,
}

/// One write command; `ids[i]` is the document of statement `i`, for `writeErrors`.
#[derive(Debug)]
pub struct WriteCommand {
    /// What kind.
    pub kind: WriteKind,
    /// `insert`, `update` or `delete`, unordered.
    pub command: RawDocumentBuf,
    /// The documents, by statement.
    pub ids: Vec<DocumentId>,
    /// For inserts: the documents themselves, by statement, to replace those that exist already.
    pub documents: Vec<RawDocumentBuf>,
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
    pub fn push(&mut self, uuid: Uuid, change: &Change<'_>) -> Result<Pushed, OplogError> {
        let id = DocumentId::new(change.id()?);
        let statements = self.collections.entry(uuid).or_default();
        let before = match statements.get(id.key()) {
            // Perhaps the same document under another numeric type, perhaps another one: in sequence both are right.
            Some((other, _)) if *other != id => return Ok(Pushed::Full),
            before => before.map(|(_, statement)| statement),
        };
        let folded = match &change.kind {
            ChangeKind::Insert(document) => fold_whole(before, |_| Statement::Put((*document).to_owned())),
            ChangeKind::Delete(_) => fold_whole(before, |_| Statement::Delete),
            ChangeKind::Update { update, .. } => fold_update(before, update::form(update, self.dialect)?),
        };
        let Some(statement) = folded else { return Ok(Pushed::Full) };
        statements.insert(id.key().to_vec(), (id, statement));
        self.changes += 1;
        self.bytes += match &change.kind {
            ChangeKind::Insert(document) | ChangeKind::Update { update: document, .. } => document.as_bytes().len(),
            ChangeKind::Delete(_) => 64,
        };
        Ok(Pushed::Taken)
    }

    /// The batch, collection by collection.
    pub fn into_collections(self) -> Vec<CollectionBatch> {
        let dialect = self.dialect;
        let of_collection = |(uuid, statements): (Uuid, HashMap<Vec<u8>, (DocumentId, Statement)>)| {
            let (refetch, statements): (Vec<_>, Vec<_>) =
                statements.into_values().partition(|(_, statement)| matches!(statement, Statement::Refetch));
            let refetch = refetch.into_iter().map(|(id, _)| id).collect();
            CollectionBatch { uuid, dialect, statements, refetch }
        };
        self.collections.into_iter().map(of_collection).collect()
    }
}

/// A change that says the whole outcome replaces what was there, except that a pending refetch already promises more.
fn fold_whole(before: Option<&Statement>, outcome: impl Fn(()) -> Statement) -> Option<Statement> {
    match before {
        Some(Statement::Refetch) => Some(Statement::Refetch),
        _ => Some(outcome(())),
    }
}

/// `None`: cannot be folded into `before`.
fn fold_update(before: Option<&Statement>, form: update::Form) -> Option<Statement> {
    use update::Form;
    Some(match (before, form) {
        (Some(Statement::Refetch), _) | (_, Form::Refetch(_)) => Statement::Refetch,
        // An update of a document that is gone changes nothing, and must not bring it back.
        (Some(Statement::Delete), _) => Statement::Delete,
        (Some(Statement::Put(_) | Statement::PutThen(..)), Form::Replacement(document)) => Statement::Put(document),
        (_, Form::Replacement(document)) => Statement::Replace(document),
        (None, Form::Stages(stages)) => Statement::Stages(stages),
        (None, Form::Classic(update)) => Statement::Classic(update),
        (Some(Statement::Stages(earlier)), Form::Stages(stages)) if earlier.len() + stages.len() <= STAGES => {
            Statement::Stages([earlier.clone(), stages].concat())
        }
        (Some(Statement::Put(document)), Form::Stages(stages)) => Statement::PutThen(document.clone(), stages),
        (Some(Statement::PutThen(document, earlier)), Form::Stages(stages))
            if earlier.len() + stages.len() <= STAGES =>
        {
            Statement::PutThen(document.clone(), [earlier.clone(), stages].concat())
        }
        _ => return None,
    })
}

/// True when an insert would rewrite a top-level `Timestamp(0,0)` (OPLOG.md A.2, B.7).
pub fn holds_zero_timestamp(document: &RawDocument) -> bool {
    document.iter().any(|element| {
        matches!(element, Ok((name, bson::RawBsonRef::Timestamp(stamp)))
            if stamp.time == 0 && stamp.increment == 0 && name.as_str() != "_id")
    })
}

/// `[{ $replaceWith: { $literal: document } }]`: keeps zero timestamps and names with dollars (5.0+).
fn whole(document: &RawDocument) -> RawDocumentBuf {
    rawdoc! { "$replaceWith": { "$literal": document.to_owned() } }
}

/// An update statement that puts `document` in place of whatever has its `_id`, or creates it.
pub fn upsert_statement(id: &DocumentId, document: &RawDocument, dialect: Dialect) -> RawDocumentBuf {
    update_statement(id, replacement(document, dialect), true)
}

fn replacement(document: &RawDocument, dialect: Dialect) -> Update {
    // 4.4 refuses dollar names inside an aggregation literal, and its replacement keeps everything else.
    if dialect.major >= 5 || holds_zero_timestamp(document) {
        Update::Pipeline(vec![whole(document)])
    } else {
        Update::Document(document.to_owned())
    }
}

enum Update {
    Pipeline(Vec<RawDocumentBuf>),
    Document(RawDocumentBuf),
}

fn update_statement(id: &DocumentId, update: Update, upsert: bool) -> RawDocumentBuf {
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), id.filter());
    match update {
        Update::Document(document) => statement.append(cstr!("u"), document),
        Update::Pipeline(stages) => {
            let mut array = RawArrayBuf::new();
            for stage in stages {
                array.push(stage);
            }
            statement.append(cstr!("u"), array);
        }
    }
    if upsert {
        statement.append(cstr!("upsert"), true);
    }
    statement
}

impl CollectionBatch {
    /// The write commands for the collection that is called `name` on the destination.
    pub fn commands(&self, name: &str) -> Vec<WriteCommand> {
        let mut inserts = Commands::new(WriteKind::Insert, name);
        let mut updates = Commands::new(WriteKind::Update, name);
        let mut deletes = Commands::new(WriteKind::Delete, name);
        for (id, statement) in &self.statements {
            match statement {
                Statement::Put(document) if document.as_bytes().len() < LARGE && holds_zero_timestamp(document) => {
                    updates.push(id, upsert_statement(id, document, self.dialect));
                }
                Statement::Put(document) => inserts.push(id, document.clone()),
                Statement::PutThen(document, stages) => {
                    let stages = [vec![whole(document)], stages.clone()].concat();
                    updates.push(id, update_statement(id, Update::Pipeline(stages), true));
                }
                Statement::Replace(document) => {
                    updates.push(id, update_statement(id, replacement(document, self.dialect), false));
                }
                Statement::Stages(stages) => {
                    updates.push(id, update_statement(id, Update::Pipeline(stages.clone()), false));
                }
                Statement::Classic(update) => {
                    updates.push(id, update_statement(id, Update::Document(update.clone()), false));
                }
                Statement::Delete => {
                    deletes.push(id, rawdoc! { "q": id.filter(), "limit": 1 });
                }
                Statement::Refetch => {}
            }
        }
        [inserts, updates, deletes].into_iter().flat_map(Commands::finish).collect()
    }
}

/// The commands of one kind; a new one is begun when the limits are reached.
struct Commands<'a> {
    kind: WriteKind,
    name: &'a str,
    done: Vec<WriteCommand>,
    statements: RawArrayBuf,
    ids: Vec<DocumentId>,
    documents: Vec<RawDocumentBuf>,
    bytes: usize,
}

impl<'a> Commands<'a> {
    fn new(kind: WriteKind, name: &'a str) -> Self {
        let (done, ids, documents) = (Vec::new(), Vec::new(), Vec::new());
        Self { kind, name, done, statements: RawArrayBuf::new(), ids, documents, bytes: 0 }
    }

    fn push(&mut self, id: &DocumentId, statement: RawDocumentBuf) {
        let size = statement.as_bytes().len();
        if !self.ids.is_empty() && (self.ids.len() >= STATEMENTS || self.bytes + size > COMMAND_BYTES) {
            self.flush();
        }
        self.bytes += size;
        self.ids.push(id.clone());
        if self.kind == WriteKind::Insert {
            self.documents.push(statement.clone());
        }
        self.statements.push(statement);
    }

    fn flush(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut command = RawDocumentBuf::new();
        let statements = std::mem::take(&mut self.statements);
        match self.kind {
            WriteKind::Insert => {
                command.append(cstr!("insert"), self.name);
                command.append(cstr!("documents"), statements);
            }
            WriteKind::Update => {
                command.append(cstr!("update"), self.name);
                command.append(cstr!("updates"), statements);
            }
            WriteKind::Delete => {
                command.append(cstr!("delete"), self.name);
                command.append(cstr!("deletes"), statements);
            }
        }
        command.append(cstr!("ordered"), false);
        if self.kind != WriteKind::Delete {
            command.append(cstr!("bypassDocumentValidation"), true);
        }
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        let (ids, documents) = (std::mem::take(&mut self.ids), std::mem::take(&mut self.documents));
        self.done.push(WriteCommand { kind: self.kind, command, ids, documents });
        self.bytes = 0;
    }

    fn finish(mut self) -> Vec<WriteCommand> {
        self.flush();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(batch.push(uuid(), change), Ok(Pushed::Taken));
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
        batch.push(uuid(), &update(&one, &replacement)).unwrap();
        let command = &batch.into_collections()[0].commands("c")[0];
        assert!(command.command.get_array("updates").unwrap().get_document(0).unwrap().get_bool("upsert").is_err());
        let zero = rawdoc! { "_id": 1, "t": bson::Timestamp { time: 0, increment: 0 } };
        let mut batch = Batch::new(INTERNAL);
        batch.push(uuid(), &insert(&zero)).unwrap();
        let command = &batch.into_collections()[0].commands("c")[0];
        assert_eq!(command.kind, WriteKind::Update, "an insert would rewrite the zero timestamp");
        assert!(command.command.get_array("updates").unwrap().get_document(0).unwrap().get_bool("upsert").unwrap());
    }

    #[test]
    fn ids_that_may_be_one_document_are_never_folded() {
        let (int, long) = (rawdoc! { "_id": 1 }, rawdoc! { "_id": 1_i64 });
        let (ab, ba) = (rawdoc! { "_id": { "a": 2, "b": 1 } }, rawdoc! { "_id": { "b": 1, "a": 2 } });
        for (first, second) in [(&int, &long), (&ab, &ba)] {
            let mut batch = Batch::new(INTERNAL);
            assert_eq!(batch.push(uuid(), &insert(first)), Ok(Pushed::Taken));
            assert_eq!(batch.push(uuid(), &insert(second)), Ok(Pushed::Full));
        }
    }

    #[test]
    fn many_stages_are_not_piled_up_for_ever() {
        let one = rawdoc! { "_id": 1 };
        let diff = rawdoc! { "$v": 2, "diff": { "u": { "a": 1 } } };
        let mut batch = Batch::new(INTERNAL);
        let taken = (0..100).take_while(|_| batch.push(uuid(), &update(&one, &diff)) == Ok(Pushed::Taken)).count();
        assert_eq!(taken, STAGES);
    }
}
