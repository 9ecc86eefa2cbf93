//! The embedded database of one migration. One process at a time; a commit is on disk when it returns.

use super::{Summary, problem, summary};
use crate::model::{Problem, Side};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FILE: &str = "journal.redb";
/// Memory that the database may use.
const CACHE_BYTES: usize = 8 << 20;

/// Key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The tables. Keys and values are bytes; what they hold is the writer's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Single values by name.
    Facts,
    /// Collections that are migrated, by UUID.
    Collections,
    /// What the catalog said, by position.
    Catalog,
    /// Ranges of the copy.
    Ranges,
    /// Documents that have to be fetched again.
    Repairs,
    /// The event log, by number.
    Events,
}

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Table::Facts => "facts",
            Table::Collections => "collections",
            Table::Catalog => "catalog",
            Table::Ranges => "ranges",
            Table::Repairs => "repairs",
            Table::Events => "events",
        })
    }
}

/// Rows to write together: all of them or none.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    rows: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    emptied: Vec<Table>,
}

impl Changes {
    /// Sets a row.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.rows.push((table, key.into(), Some(value.into())));
        self
    }

    /// Removes a row.
    pub fn remove(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.rows.push((table, key.into(), None));
        self
    }

    /// Removes every row of a table, before anything is set.
    pub fn empty(&mut self, table: Table) -> &mut Self {
        self.emptied.push(table);
        self
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.emptied.is_empty()
    }
}

/// The journal of one migration, held by this process alone.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// `None` only while it is being opened again after an error of the disk.
    database: Mutex<Option<Database>>,
    /// One writer of the summary at a time.
    summary: Mutex<()>,
}

/// Creates a new folder for a migration called `name` under `state_root`, 0700: `name`, else `name-2` and so on.
pub fn create_folder(state_root: &Path, name: &str) -> Result<PathBuf, Problem> {
    let failed = |path: &Path, error: std::io::Error| {
        Problem::before_writing(
            Side::Host,
            format!("cannot create the state folder {}", path.display()),
            error.to_string(),
            "Make the folder writable, or set MONGOFERRY_HOME to one that is.",
        )
    };
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder.recursive(true).create(state_root).map_err(|error| failed(state_root, error))?;
    builder.recursive(false);
    for attempt in 1..1000 {
        let folder = if attempt == 1 { name.to_string() } else { format!("{name}-{attempt}") };
        let path = state_root.join(folder);
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Err(Problem::before_writing(
        Side::Host,
        format!("{} holds a thousand migrations named {name}", state_root.display()),
        "no free folder name is left",
        "Remove old folders, or give the plan another name.",
    ))
}

/// True while a process holds the journal in `folder`.
pub(super) fn is_locked(folder: &Path) -> bool {
    // Asked with a lock of its own, held for an instant; `open` is patient enough for that.
    File::open(folder.join(FILE)).is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create(path)
}

impl Journal {
    /// Opens the journal in `folder`, creating it when there is none (0600). Refused while another process has it.
    pub fn open(folder: &Path) -> Result<Self, Problem> {
        let path = folder.join(FILE);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| problem(&path, "opened", error))?;
        let mut patience = 20;
        loop {
            match open_database(&path) {
                Ok(database) => {
                    return Ok(Self {
                        folder: folder.to_path_buf(),
                        database: Mutex::new(Some(database)),
                        summary: Mutex::default(),
                    });
                }
                Err(DatabaseError::DatabaseAlreadyOpen) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => return Err(held(folder)),
                Err(error) => return Err(problem(&path, "opened", error)),
            }
        }
    }

    /// In memory, gone with this value: for work that leaves nothing behind. It has no folder.
    pub fn fleeting() -> Result<Self, Problem> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend);
        let database = database.map_err(|error| problem(Path::new("a journal in memory"), "opened", error))?;
        Ok(Self { folder: PathBuf::new(), database: Mutex::new(Some(database)), summary: Mutex::default() })
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `changes`; they are on disk when this returns. Blocks.
    pub fn commit(&self, changes: &Changes) -> Result<(), Problem> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with("written", |database| {
            let transaction = database.begin_write().map_err(redb::Error::from)?;
            for table in &changes.emptied {
                transaction.delete_table(table.definition()).map_err(redb::Error::from)?;
            }
            for (table, key, value) in &changes.rows {
                let mut rows = transaction.open_table(table.definition()).map_err(redb::Error::from)?;
                match value {
                    Some(value) => drop(rows.insert(key.as_slice(), value.as_slice()).map_err(redb::Error::from)?),
                    None => drop(rows.remove(key.as_slice()).map_err(redb::Error::from)?),
                }
            }
            transaction.commit().map_err(redb::Error::from)
        })
    }

    /// Every row of a table, by key.
    pub fn rows(&self, table: Table) -> Result<Vec<Row>, Problem> {
        self.with("read", |database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let rows = match transaction.open_table(table.definition()) {
                Ok(rows) => rows,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let mut found = Vec::new();
            for row in rows.iter().map_err(redb::Error::from)? {
                let (key, value) = row.map_err(redb::Error::from)?;
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    /// One row.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
        self.with("read", |database| {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            match transaction.open_table(table.definition()) {
                Ok(rows) => Ok(rows.get(key).map_err(redb::Error::from)?.map(|value| value.value().to_vec())),
                Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Replaces the summary beside the journal.
    pub fn summarize(&self, of: &Summary) -> Result<(), Problem> {
        let _turn = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary::write(&self.folder, of)
    }

    /// After an error of the disk the database refuses everything until it is opened again.
    fn with<T>(&self, what: &str, run: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Problem> {
        let path = self.folder.join(FILE);
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() && !self.folder.as_os_str().is_empty() {
            *database = Some(open_database(&path).map_err(|error| problem(&path, "opened", error))?);
        }
        let Some(open) = database.as_ref() else {
            return Err(problem(&path, what, "it is closed"));
        };
        let outcome = run(open);
        if outcome.is_err() {
            *database = None;
        }
        outcome.map_err(|error| problem(&path, what, error))
    }
}

fn held(folder: &Path) -> Problem {
    let owner = match summary::summary(folder) {
        Ok(Some(summary)) => format!("process {} on {} works on it", summary.owner.pid, summary.owner.host),
        _ => "another process works on it".into(),
    };
    Problem::before_writing(
        Side::Host,
        format!("the migration in {} is running already", folder.display()),
        owner,
        "Attach to it, or end that process first.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn rows_survive_and_a_second_runner_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = create_folder(root.path(), "orders").unwrap();
        let journal = Journal::open(&folder).unwrap();
        let mut changes = Changes::default();
        changes.put(Table::Facts, "a", "1").put(Table::Facts, "b", "2").put(Table::Ranges, [1], "r");
        journal.commit(&changes).unwrap();
        let mut changes = Changes::default();
        changes.remove(Table::Facts, "a").empty(Table::Ranges).put(Table::Ranges, [2], "s");
        journal.commit(&changes).unwrap();
        assert!(is_locked(&folder));
        let refused = Journal::open(&folder).unwrap_err();
        assert!(refused.what.contains("running already"), "{refused}");
        drop(journal);
        assert!(!is_locked(&folder));
        let journal = Journal::open(&folder).unwrap();
        assert_eq!(journal.rows(Table::Facts).unwrap(), [(b"b".to_vec(), b"2".to_vec())]);
        assert_eq!(journal.rows(Table::Ranges).unwrap(), [(vec![2], b"s".to_vec())]);
        assert_eq!(journal.get(Table::Facts, b"b").unwrap(), Some(b"2".to_vec()));
        assert_eq!(journal.get(Table::Events, b"b").unwrap(), None);
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = create_folder(root.path(), "orders").unwrap();
        let _journal = Journal::open(&folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
        assert_eq!(create_folder(root.path(), "orders").unwrap(), root.path().join("orders-2"));
    }
}
