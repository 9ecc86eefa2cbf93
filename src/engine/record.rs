//! What is written into the journal, and how it is read back: which row means what.
//!
//! Positions only ever go forward, whoever writes them. Rows are BSON (collections, ranges) or JSON (everything small).

use super::{
    copy::RangeRow,
    dirty::DirtySet,
    registry::{Registry, Tracked},
};
use crate::{
    machine::Saved,
    model::{Event, Optime, Plan, Problem, Side, ValidationReport},
    mongo::catalog::{Catalog, DatabaseCatalog},
    oplog::Dialect,
    store::{Changes, Journal, StoredPlan, Summary, Table},
};
use bson::{RawDocumentBuf, Uuid};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Up to where everything is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Everything up to and including this position is applied with majority.
    pub applied: Optime,
    /// Wall time of about that position, ms.
    pub wall_ms: i64,
    /// The first part of the oldest transaction whose commit is not applied; parts from here on are read again.
    pub open_from: Option<Optime>,
}

impl Position {
    /// From where the spool has to be read after a restart.
    pub fn read_from(&self) -> Optime {
        self.open_from.map_or(self.applied, |open| open.min(self.applied))
    }
}

/// How the migration began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The entry there and everything before it is part of the copy.
    pub apply_from: Optime,
}

/// What the catalog reflects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Reflected {
    started_at: Optime,
    as_of: BTreeMap<String, Optime>,
}

/// The names of single values.
mod fact {
    pub const PLAN: &str = "plan";
    pub const DIALECT: &str = "dialect";
    pub const VALIDATION: &str = "validation";
    pub const MACHINE: &str = "machine";
    pub const START: &str = "start";
    pub const CATALOG: &str = "catalog";
    pub const CREATED: &str = "created";
    pub const AGAIN: &str = "again";
    pub const COPIED: &str = "copied";
    pub const POSITION: &str = "position";
    pub const INTENT: &str = "intent";
    pub const OWNER: &str = "owner";
    pub const HELD: &str = "held";
}

/// The journal of this migration, by meaning.
#[derive(Debug)]
pub struct Record {
    journal: Journal,
    position: Mutex<Position>,
    /// Ranges that moved since the last checkpoint.
    ranges: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Written down before every position.
    touched: Arc<DirtySet>,
}

/// Where it is, in the migration's folder.
const TOUCHED: &str = "verified";

/// Rows of the collections that a command touched.
#[derive(Debug, Default)]
pub struct Collections(Changes);

impl Collections {
    /// Those of `touched`, as they are in the registry now, or gone.
    pub fn of(registry: &Registry, touched: &[Uuid]) -> Result<Self, Problem> {
        let mut changes = Changes::default();
        for uuid in touched {
            match registry.collections.get(uuid) {
                Some(tracked) => changes.put(Table::Collections, uuid.bytes(), bytes(tracked)?),
                None => changes.remove(Table::Collections, uuid.bytes()),
            };
        }
        Ok(Self(changes))
    }
}

fn broken(what: &str, why: impl ToString) -> Problem {
    Problem {
        side: Side::Host,
        what: format!("the journal's {what} cannot be understood"),
        why: why.to_string(),
        fix: "It was written by another version, or is damaged; use the version that wrote it.".into(),
        retry_helps: false,
        written: "The source is untouched; the destination keeps what was written so far.".into(),
    }
}

fn untouchable(folder: &Path, error: &std::io::Error) -> Problem {
    Problem {
        side: Side::Host,
        what: "what the verification has compared cannot be written down".into(),
        why: error.to_string(),
        fix: format!("Make room on the disk of {}, or make it writable.", folder.display()),
        retry_helps: true,
        written: "The source is untouched; the destination keeps what was written so far.".into(),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Plain data always has a JSON form.
    serde_json::to_vec(value).unwrap_or_default()
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    bson::serialize_to_vec(value).map_err(|error| broken("row", error))
}

fn parse<T: DeserializeOwned>(what: &str, value: &[u8]) -> Result<T, Problem> {
    bson::deserialize_from_slice(value).map_err(|error| broken(what, error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// The record in a journal that this process holds.
    pub fn new(journal: Journal) -> Result<Self, Problem> {
        let touched = match journal.folder() {
            none if none.as_os_str().is_empty() => DirtySet::default(),
            folder => DirtySet::open(&folder.join(TOUCHED)).map_err(|error| untouchable(folder, &error))?,
        };
        let touched = Arc::new(touched);
        let record = Self { journal, position: Mutex::default(), ranges: Mutex::default(), touched };
        let known: Option<Position> = record.fact(fact::POSITION)?;
        *lock(&record.position) = known.unwrap_or_default();
        Ok(record)
    }

    /// The migration's folder.
    pub fn folder(&self) -> &Path {
        self.journal.folder()
    }

    fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.journal.get(Table::Facts, name.as_bytes())? else { return Ok(None) };
        serde_json::from_slice(&value).map(Some).map_err(|error| broken(name, error))
    }

    fn put_fact(&self, name: &str, value: &impl Serialize) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.put(Table::Facts, name, json(value));
        self.journal.commit(&changes)
    }

    /// Writes the plan without its passwords, what validation found out, and who this runner is.
    pub fn put_plan(
        &self,
        plan: &Plan,
        dialect: Dialect,
        owner: &Uuid,
        validation: &ValidationReport,
    ) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.put(Table::Facts, fact::PLAN, json(&StoredPlan::from(plan)));
        changes.put(Table::Facts, fact::OWNER, json(&owner.to_string()));
        changes.put(Table::Facts, fact::VALIDATION, json(validation));
        changes.put(Table::Facts, fact::DIALECT, json(&(dialect.major, dialect.internal_stage)));
        self.journal.commit(&changes)
    }

    /// How updates are written on the destination.
    pub fn dialect(&self) -> Result<Option<Dialect>, Problem> {
        let known: Option<(u32, bool)> = self.fact(fact::DIALECT)?;
        Ok(known.map(|(major, internal_stage)| Dialect { major, internal_stage }))
    }

    /// What this migration is called in its lease on the destination.
    pub fn owner(&self) -> Result<Option<String>, Problem> {
        self.fact(fact::OWNER)
    }

    /// The validation that the start relied on.
    pub fn validation(&self) -> Result<Option<ValidationReport>, Problem> {
        self.fact(fact::VALIDATION)
    }

    /// Writes where the state machine is.
    pub fn put_machine(&self, saved: &Saved) -> Result<(), Problem> {
        self.put_fact(fact::MACHINE, saved)
    }

    /// Where the state machine was.
    pub fn machine(&self) -> Result<Option<Saved>, Problem> {
        self.fact(fact::MACHINE)
    }

    /// Writes how it began.
    pub fn put_start(&self, start: &Start) -> Result<(), Problem> {
        self.put_fact(fact::START, start)
    }

    /// How it began; `None` before it did.
    pub fn start(&self) -> Result<Option<Start>, Problem> {
        self.fact(fact::START)
    }

    /// Writes the catalog that is copied.
    pub fn put_catalog(&self, catalog: &Catalog) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.empty(Table::Catalog).empty(Table::Ranges);
        let mut reflected = Reflected { started_at: catalog.started_at, ..Reflected::default() };
        for (number, database) in (0_u32..).zip(&catalog.databases) {
            reflected.as_of.insert(database.db.clone(), database.as_of);
            for (index, entry) in (0_u32..).zip(&database.entries) {
                let key = [number.to_be_bytes(), index.to_be_bytes()].concat();
                changes.put(Table::Catalog, key, bytes(entry)?);
            }
        }
        changes.put(Table::Facts, fact::CATALOG, json(&reflected));
        self.journal.commit(&changes)
    }

    /// The catalog that is copied; `None` when it was not read to its end.
    pub fn catalog(&self) -> Result<Option<Catalog>, Problem> {
        let Some(reflected) = self.fact::<Reflected>(fact::CATALOG)? else { return Ok(None) };
        let mut databases: BTreeMap<String, DatabaseCatalog> = BTreeMap::new();
        for (db, as_of) in reflected.as_of {
            databases.insert(db.clone(), DatabaseCatalog { db, as_of, entries: Vec::new() });
        }
        for (_, row) in self.journal.rows(Table::Catalog)? {
            let entry: crate::mongo::catalog::CatalogEntry = parse("catalog", &row)?;
            if let Some(database) = databases.get_mut(&entry.namespace.db) {
                database.entries.push(entry);
            }
        }
        Ok(Some(Catalog { started_at: reflected.started_at, databases: databases.into_values().collect() }))
    }

    /// The oplog lost what is needed: what the destination has is kept to be compared, the rest begins anew. What was
    /// not copied to its end does not count.
    pub fn put_again(&self) -> Result<(), Problem> {
        let known = match self.registry()? {
            Some(registry) => registry,
            None => self.half_copied()?,
        };
        let mut changes = Changes::default();
        changes.empty(Table::Catalog).empty(Table::Ranges).empty(Table::Collections).empty(Table::Repairs);
        for fact in [fact::START, fact::CATALOG, fact::CREATED, fact::INTENT] {
            changes.remove(Table::Facts, fact);
        }
        changes.put(Table::Facts, fact::AGAIN, json(&true));
        changes.put(Table::Facts, fact::COPIED, json(&Reflected::default()));
        for (uuid, tracked) in &known.collections {
            changes.put(Table::Collections, uuid.bytes(), bytes(tracked)?);
        }
        self.journal.commit(&changes)
    }

    /// The collections that a copy which did not end has copied whole.
    fn half_copied(&self) -> Result<Registry, Problem> {
        let mut registry = Registry::default();
        let Some(catalog) = self.catalog()? else { return Ok(registry) };
        let ranges = self.ranges()?;
        for entry in catalog.databases.iter().flat_map(|database| &database.entries) {
            let is_whole = |uuid: &Uuid| ranges.get(uuid).is_some_and(|rows| rows.iter().all(|row| row.done));
            if let Some(uuid) = entry.uuid.filter(is_whole) {
                registry.collections.insert(uuid, Tracked::new(entry));
            }
        }
        Ok(registry)
    }

    /// True while everything is compared again.
    pub fn is_again(&self) -> Result<bool, Problem> {
        Ok(self.fact(fact::AGAIN)?.unwrap_or(false))
    }

    /// A comparison begins: ranges of one before it say nothing.
    pub fn begin_again(&self) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.empty(Table::Ranges).remove(Table::Facts, fact::CREATED);
        lock(&self.ranges).clear();
        self.journal.commit(&changes)
    }

    /// Notes that settings of the old cluster are being held (`false`), or are (`true`), for the way back.
    pub fn put_held(&self, is_held: bool) -> Result<(), Problem> {
        self.put_fact(fact::HELD, &is_held)
    }

    /// Whether they are; `None` before anything was held.
    pub fn held(&self) -> Result<Option<bool>, Problem> {
        self.fact(fact::HELD)
    }

    /// Notes that every collection of the catalog was created.
    pub fn put_created(&self) -> Result<(), Problem> {
        self.put_fact(fact::CREATED, &true)
    }

    /// True when every collection of the catalog was created.
    pub fn is_created(&self) -> Result<bool, Problem> {
        Ok(self.fact(fact::CREATED)?.unwrap_or(false))
    }

    /// Writes the ranges of a collection.
    pub fn put_ranges(&self, uuid: Uuid, rows: &[RangeRow]) -> Result<(), Problem> {
        let mut changes = Changes::default();
        for (index, row) in (0_u16..).zip(rows) {
            changes.put(Table::Ranges, range_key(uuid, index), bytes(row)?);
        }
        self.journal.commit(&changes)
    }

    /// The ranges of every collection that was split.
    pub fn ranges(&self) -> Result<HashMap<Uuid, Vec<RangeRow>>, Problem> {
        let mut ranges: HashMap<Uuid, Vec<RangeRow>> = HashMap::new();
        for (key, row) in self.journal.rows(Table::Ranges)? {
            let uuid = key.first_chunk::<16>().ok_or_else(|| broken("range", "its key is short"))?;
            ranges.entry(Uuid::from_bytes(*uuid)).or_default().push(parse("range", &row)?);
        }
        Ok(ranges)
    }

    /// A range moved on, and the majority has what it wrote; the next checkpoint writes it.
    pub fn range_moved(&self, uuid: Uuid, index: u16, row: &RangeRow) -> Result<(), Problem> {
        let row = bytes(row)?;
        lock(&self.ranges).insert(range_key(uuid, index), row);
        Ok(())
    }

    /// Ends the copy: the collections as they are now, and where applying begins.
    pub fn put_copied(&self, registry: &Registry, apply_from: Optime) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.empty(Table::Catalog).empty(Table::Ranges).empty(Table::Collections);
        let as_of = registry.catalog_as_of.iter().map(|(db, as_of)| (db.clone(), *as_of)).collect();
        let reflected = Reflected { started_at: registry.started_at, as_of };
        changes.put(Table::Facts, fact::COPIED, json(&reflected));
        changes.put(Table::Facts, fact::START, json(&Start { apply_from }));
        changes.remove(Table::Facts, fact::AGAIN);
        for (uuid, tracked) in &registry.collections {
            changes.put(Table::Collections, uuid.bytes(), bytes(tracked)?);
        }
        lock(&self.ranges).clear();
        self.advance(changes, Position { applied: apply_from, ..Position::default() })
    }

    /// Writes every collection.
    pub fn put_registry(&self, registry: &Registry) -> Result<(), Problem> {
        let mut changes = Changes::default();
        changes.empty(Table::Collections);
        for (uuid, tracked) in &registry.collections {
            changes.put(Table::Collections, uuid.bytes(), bytes(tracked)?);
        }
        self.journal.commit(&changes)
    }

    /// The collections; `None` before the copy ended.
    pub fn registry(&self) -> Result<Option<Registry>, Problem> {
        let Some(reflected) = self.fact::<Reflected>(fact::COPIED)? else { return Ok(None) };
        let mut registry = Registry { started_at: reflected.started_at, ..Registry::default() };
        registry.catalog_as_of.extend(reflected.as_of);
        for (key, row) in self.journal.rows(Table::Collections)? {
            let uuid = key.first_chunk::<16>().ok_or_else(|| broken("collection", "its key is short"))?;
            registry.collections.insert(Uuid::from_bytes(*uuid), parse::<Tracked>("collection", &row)?);
        }
        Ok(Some(registry))
    }

    /// Notes that the command at `ts` is about to be carried out; everything before it is applied.
    pub fn put_intent(&self, ts: Optime) -> Result<(), Problem> {
        self.put_fact(fact::INTENT, &ts)
    }

    /// The command that was carried out last, or is half carried out.
    pub fn intent(&self) -> Result<Option<Optime>, Problem> {
        self.fact(fact::INTENT)
    }

    /// Notes that a command was carried out: what became of the collections that it touched, and, when nothing else of
    /// its entry is left, that it is applied.
    pub fn put_replayed(&self, collections: &Collections, applied: Option<Position>) -> Result<(), Problem> {
        let changes = collections.0.clone();
        match applied {
            Some(position) => self.advance(changes, position),
            None => self.journal.commit(&changes),
        }
    }

    /// Notes documents, `{ "_id": … }`, that are about to be deleted on the destination and inserted anew.
    pub fn put_repairs(&self, uuid: Uuid, ids: &[RawDocumentBuf]) -> Result<(), Problem> {
        let mut changes = Changes::default();
        for id in ids {
            changes.put(Table::Repairs, repair_key(uuid, id), []);
        }
        self.journal.commit(&changes)
    }

    /// Notes that they are in place.
    pub fn remove_repairs(&self, uuid: Uuid, ids: &[RawDocumentBuf]) -> Result<(), Problem> {
        let mut changes = Changes::default();
        for id in ids {
            changes.remove(Table::Repairs, repair_key(uuid, id));
        }
        self.journal.commit(&changes)
    }

    /// Documents that may have been deleted and not inserted anew, by collection.
    pub fn repairs(&self) -> Result<HashMap<Uuid, Vec<RawDocumentBuf>>, Problem> {
        let mut repairs: HashMap<Uuid, Vec<RawDocumentBuf>> = HashMap::new();
        for (key, _) in self.journal.rows(Table::Repairs)? {
            let (uuid, id) = key.split_first_chunk::<16>().ok_or_else(|| broken("repair", "its key is short"))?;
            let id = RawDocumentBuf::from_bytes(id.to_vec()).map_err(|error| broken("repair", error))?;
            repairs.entry(Uuid::from_bytes(*uuid)).or_default().push(id);
        }
        Ok(repairs)
    }

    /// Where applying goes on.
    pub fn position(&self) -> Position {
        *lock(&self.position)
    }

    /// The checkpoint of every second: position, ranges that moved, new events. Returns the position that is on disk.
    pub fn checkpoint(&self, position: Position, events: &[Event]) -> Result<Position, Problem> {
        let mut changes = Changes::default();
        for event in events {
            changes.put(Table::Events, event.seq.to_be_bytes(), json(event));
        }
        let moved = std::mem::take(&mut *lock(&self.ranges));
        for (key, row) in &moved {
            changes.put(Table::Ranges, key.as_slice(), row.as_slice());
        }
        let written = self.advance(changes, position);
        if written.is_err() {
            let mut ranges = lock(&self.ranges);
            for (key, row) in moved {
                ranges.entry(key).or_insert(row);
            }
        }
        written.map(|()| self.position())
    }

    /// What verification has compared, and what was touched since; no position is written before it.
    pub fn touched(&self) -> &Arc<DirtySet> {
        &self.touched
    }

    /// Commits together with a position, unless a newer one is there already.
    fn advance(&self, mut changes: Changes, position: Position) -> Result<(), Problem> {
        self.touched.persist().map_err(|error| untouchable(self.folder(), &error))?;
        let mut known = lock(&self.position);
        let is_newer = position.applied > known.applied
            || (position.applied == known.applied && position.open_from != known.open_from);
        if is_newer {
            changes.put(Table::Facts, fact::POSITION, json(&position));
        }
        self.journal.commit(&changes)?;
        if is_newer {
            *known = position;
        }
        Ok(())
    }

    /// Every event so far.
    pub fn events(&self) -> Result<Vec<Event>, Problem> {
        let rows = self.journal.rows(Table::Events)?;
        rows.iter().map(|(_, row)| serde_json::from_slice(row).map_err(|error| broken("event", error))).collect()
    }

    /// Replaces the summary beside the journal.
    pub fn summarize(&self, summary: &Summary) -> Result<(), Problem> {
        self.journal.summarize(summary)
    }
}

fn repair_key(uuid: Uuid, id: &RawDocumentBuf) -> Vec<u8> {
    [uuid.bytes().as_slice(), id.as_bytes()].concat()
}

fn range_key(uuid: Uuid, index: u16) -> Vec<u8> {
    [uuid.bytes().as_slice(), &index.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::registry::TrackedIndex,
        mongo::{Namespace, catalog::Kind},
    };
    use bson::{Timestamp, raw::cstr, rawdoc};

    fn record(folder: &Path) -> Record {
        Record::new(Journal::open(folder).unwrap()).unwrap()
    }

    fn odd() -> RawDocumentBuf {
        let mut odd = rawdoc! { "_id": f64::NAN, "t": Timestamp { time: 0, increment: 0 }, "$x.y": { "": 1_i64 } };
        odd.append(cstr!("t"), -0.0);
        odd
    }

    #[test]
    fn collections_ranges_and_events_come_back_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let uuid = Uuid::new();
        let index = TrackedIndex { failed: Some("why".into()), late: true, ..TrackedIndex::new(odd()) };
        let tracked = Tracked {
            namespace: Namespace::new("d", "c.$x"),
            kind: Kind::Buckets,
            options: odd(),
            indexes: [("a.b_1".to_string(), index)].into(),
            in_place: true,
            unmade: true,
            is_indexed: true,
        };
        let mut registry = Registry { started_at: Optime::new(3, 4), ..Registry::default() };
        registry.collections.insert(uuid, tracked.clone());
        registry.catalog_as_of.insert("d".into(), Optime::new(5, 6));
        let row =
            RangeRow { from: Some(odd()), until: None, with_until: false, done: true, documents: 7, bytes: 1 << 40 };
        {
            let record = record(folder.path());
            assert!(record.registry().unwrap().is_none());
            record.put_copied(&registry, Optime::new(2, 0)).unwrap();
            record.put_ranges(uuid, &[RangeRow::default(), RangeRow::default()]).unwrap();
            record.range_moved(uuid, 1, &row).unwrap();
            record.checkpoint(Position::default(), &[]).unwrap();
        }
        let record = record(folder.path());
        let again = record.registry().unwrap().unwrap();
        let found = &again.collections[&uuid];
        assert_eq!(found.options.as_bytes(), tracked.options.as_bytes());
        assert_eq!(found.indexes["a.b_1"].spec.as_bytes(), odd().as_bytes());
        assert_eq!((found.namespace.clone(), found.kind), (tracked.namespace, tracked.kind));
        assert_eq!(again.ddl_reflected_until("d"), Optime::new(5, 6));
        assert_eq!(again.started_at, Optime::new(3, 4));
        let ranges = record.ranges().unwrap();
        assert_eq!(ranges[&uuid].len(), 2);
        assert_eq!(ranges[&uuid][1].from.as_ref().unwrap().as_bytes(), odd().as_bytes());
        assert_eq!((ranges[&uuid][1].done, ranges[&uuid][1].bytes), (true, 1 << 40));
        assert_eq!(record.position().applied, Optime::new(2, 0));
    }

    #[test]
    fn what_was_deleted_to_be_inserted_anew_is_known_to_the_next_engine() {
        let folder = tempfile::tempdir().unwrap();
        let (uuid, other) = (Uuid::new(), Uuid::new());
        let ids = [rawdoc! { "_id": f64::NAN }, rawdoc! { "_id": { "a": 1_i64 } }];
        {
            let record = record(folder.path());
            record.put_repairs(uuid, &ids).unwrap();
            record.put_repairs(other, &ids).unwrap();
            record.remove_repairs(uuid, &ids[..1]).unwrap();
        }
        let record = record(folder.path());
        let repairs = record.repairs().unwrap();
        assert_eq!(repairs[&uuid], [ids[1].clone()]);
        assert_eq!(repairs[&other].len(), 2);
        record.remove_repairs(other, &ids).unwrap();
        assert!(!record.repairs().unwrap().contains_key(&other));
    }

    #[test]
    fn a_position_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |t| Position { applied: Optime::new(t, 0), wall_ms: 0, open_from: None };
        let first = record(folder.path());
        first.put_replayed(&Collections::default(), Some(at(9))).unwrap();
        // A checkpoint that was computed before the command.
        assert_eq!(first.checkpoint(at(7), &[]).unwrap(), at(9));
        drop(first);
        assert_eq!(record(folder.path()).position(), at(9));
    }
}
