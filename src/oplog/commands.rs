//! The statements and write commands that a batch becomes.

use super::{Dialect, DocumentId, batch::Statement};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

/// Statements in one command.
const STATEMENTS: usize = 1_000;
/// Bytes of statements in one command; a single larger statement is a command of its own. A document of 16 MiB inside
/// an upserting `$literal` is accepted (6.0.5): a command may be 16 KiB larger than the largest document.
const COMMAND_BYTES: usize = 12 << 20;

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

/// True when an insert would rewrite a top-level `Timestamp(0,0)` (OPLOG.md A.2, B.7).
pub fn holds_zero_timestamp(document: &RawDocument) -> bool {
    let is_one = |name: &str, value: RawBsonRef<'_>| {
        matches!(value, RawBsonRef::Timestamp(stamp) if stamp.time == 0 && stamp.increment == 0) && name != "_id"
    };
    // Hardly any document has one, and looking at every field of every document would be dear.
    holds_zeros(document.as_bytes())
        && document.iter().any(|element| element.is_ok_and(|(name, value)| is_one(name.as_str(), value)))
}

/// The zeros that a zero timestamp makes in a document: the end of its name, and its eight bytes.
const ZEROS: usize = 9;

/// True when so many zeros stand in a row somewhere. Looks at every ninth byte, one of which is inside.
fn holds_zeros(bytes: &[u8]) -> bool {
    let mut at = ZEROS - 1;
    while let Some(byte) = bytes.get(at) {
        if *byte == 0 {
            let (before, from_here) = bytes.split_at(at);
            let before = before.iter().rev().take_while(|byte| **byte == 0).take(ZEROS).count();
            let here = from_here.iter().take_while(|byte| **byte == 0).take(ZEROS).count();
            if before + here >= ZEROS {
                return true;
            }
            at += here;
        }
        at += ZEROS;
    }
    false
}

/// `{ $replaceWith: { $literal: document } }`: keeps zero timestamps and, from 5.0, names with dollars.
pub(super) fn whole(document: &RawDocument) -> RawDocumentBuf {
    rawdoc! { "$replaceWith": { "$literal": document.to_owned() } }
}

/// An update statement that puts `document` in place of whatever has its `_id`, or creates it.
pub fn upsert_statement(id: &DocumentId, document: &RawDocument, dialect: Dialect) -> RawDocumentBuf {
    replacing(id, document, dialect, true)
}

/// The commands that put every document in place of whatever has its `_id` in the collection called `name`.
pub fn upserts<'a>(
    documents: impl Iterator<Item = (&'a DocumentId, &'a RawDocument)>,
    name: &str,
    dialect: Dialect,
) -> Vec<WriteCommand> {
    let mut updates = Commands::new(WriteKind::Update, name);
    for (id, document) in documents {
        updates.push(id, &upsert_statement(id, document, dialect));
    }
    updates.finish()
}

/// The commands that insert these documents into the collection called `name`.
pub fn inserts<'a>(
    documents: impl Iterator<Item = (&'a DocumentId, &'a RawDocument)>,
    name: &str,
) -> Vec<WriteCommand> {
    let mut inserts = Commands::new(WriteKind::Insert, name);
    for (id, document) in documents {
        inserts.push(id, document);
    }
    inserts.finish()
}

/// The commands that delete these documents from the collection called `name`.
pub fn deletes<'a>(ids: impl Iterator<Item = &'a DocumentId>, name: &str) -> Vec<WriteCommand> {
    let mut deletes = Commands::new(WriteKind::Delete, name);
    for id in ids {
        deletes.push(id, &delete_statement(id));
    }
    deletes.finish()
}

/// Deletes the document, if it is there.
fn delete_statement(id: &DocumentId) -> RawDocumentBuf {
    rawdoc! { "q": id.filter().into_owned(), "limit": 1 }
}

fn replacing(id: &DocumentId, document: &RawDocument, dialect: Dialect, upsert: bool) -> RawDocumentBuf {
    // 4.4 refuses dollar names inside an aggregation literal, and its replacement keeps everything else.
    if dialect.major >= 5 || holds_zero_timestamp(document) {
        piped(id, [whole(document).as_ref()], upsert)
    } else {
        statement(id, document, upsert)
    }
}

fn piped<'a>(id: &DocumentId, stages: impl IntoIterator<Item = &'a RawDocument>, upsert: bool) -> RawDocumentBuf {
    let mut array = RawArrayBuf::new();
    for stage in stages {
        array.push(stage);
    }
    statement(id, array, upsert)
}

fn statement(id: &DocumentId, update: impl bson::raw::BindRawBsonRef, upsert: bool) -> RawDocumentBuf {
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), id.filter().as_ref());
    statement.append(cstr!("u"), update);
    if upsert {
        statement.append(cstr!("upsert"), true);
    }
    statement
}

/// The commands for the collection called `name`: inserts, updates, deletes, each in the order of the oplog.
pub(super) fn build<'a>(
    statements: impl Iterator<Item = &'a (DocumentId, Statement)>,
    name: &str,
    dialect: Dialect,
) -> Vec<WriteCommand> {
    let mut inserts = Commands::new(WriteKind::Insert, name);
    let mut updates = Commands::new(WriteKind::Update, name);
    let mut deletes = Commands::new(WriteKind::Delete, name);
    for (id, what) in statements {
        match what {
            Statement::Put(document) if holds_zero_timestamp(document) => {
                updates.push(id, &upsert_statement(id, document, dialect));
            }
            Statement::Put(document) => inserts.push(id, document),
            Statement::PutThen(document, stages) => {
                let first = whole(document);
                let stages = std::iter::once(&first).chain(stages).map(AsRef::as_ref);
                updates.push(id, &piped(id, stages, true));
            }
            Statement::Replace(document) => updates.push(id, &replacing(id, document, dialect, false)),
            Statement::Stages(stages) => updates.push(id, &piped(id, stages.iter().map(AsRef::as_ref), false)),
            Statement::Classic(update) => updates.push(id, &statement(id, update.as_ref(), false)),
            Statement::Delete => deletes.push(id, &delete_statement(id)),
            Statement::Refetch => {}
        }
    }
    [inserts, updates, deletes].into_iter().flat_map(Commands::finish).collect()
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

    fn push(&mut self, id: &DocumentId, statement: &RawDocument) {
        let size = statement.as_bytes().len();
        if !self.ids.is_empty() && (self.ids.len() >= STATEMENTS || self.bytes + size > COMMAND_BYTES) {
            self.flush();
        }
        self.bytes += size;
        self.ids.push(id.clone());
        if self.kind == WriteKind::Insert {
            self.documents.push(statement.to_owned());
        }
        self.statements.push(statement);
    }

    fn flush(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut command = RawDocumentBuf::new();
        let statements = std::mem::take(&mut self.statements);
        let (verb, list) = match self.kind {
            WriteKind::Insert => (cstr!("insert"), cstr!("documents")),
            WriteKind::Update => (cstr!("update"), cstr!("updates")),
            WriteKind::Delete => (cstr!("delete"), cstr!("deletes")),
        };
        command.append(verb, self.name);
        command.append(list, statements);
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
    use bson::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn a_zero_timestamp_is_seen_wherever_it_stands() {
        let zero = Timestamp { time: 0, increment: 0 };
        for length in 0..20 {
            let (text, name) = ("x".repeat(length), "n".repeat(length));
            let name = bson::raw::CString::try_from(name).unwrap();
            let mut document = rawdoc! { "_id": 1, "text": text, "zero": 0_i64 };
            assert!(!holds_zero_timestamp(&document));
            document.append(&name, zero);
            document.append(bson::raw::cstr!("more"), 5);
            assert!(holds_zero_timestamp(&document), "{length}");
        }
        assert!(!holds_zero_timestamp(&rawdoc! { "_id": zero, "deep": { "at": zero } }));
        assert!(!holds_zero_timestamp(&rawdoc! { "_id": 1, "at": Timestamp { time: 0, increment: 1 } }));
    }

    proptest! {
        #[test]
        fn runs_of_zeros_are_found(bytes in prop::collection::vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 0..200)) {
            let expected = bytes.windows(ZEROS).any(|window| window.iter().all(|byte| *byte == 0));
            prop_assert_eq!(holds_zeros(&bytes), expected);
        }
    }
}
