//! What verification has compared, and what was touched since: the one owner of both.
//!
//! By collection UUID of the source: the boundaries of the ranges that the base pass has compared, and the documents that
//! the applier wrote since. Touched documents go to files (`segments`); memory holds at most [`MAX_RECENT`] of them, to
//! spare files repetitions. When the files reach [`MAX_DISK_BYTES`] or cannot be written, a touch marks the range it
//! falls into; without ranges (collations, identifiers whose order is not exactly the server's) the whole collection.
//! A touch is never lost: [`DirtySet::take`] only lends, [`DirtySet::settle`] forgets, and what [`DirtySet::persist`]
//! wrote is found again after `kill -9`.
//!
//! For a resume: the applier's checkpoint must not be ahead of the last [`DirtySet::persist`]. Changes after the
//! checkpoint are applied, and therefore touched, again.

mod segments;
mod state;

pub use segments::Records;

use super::verify::id::Id;
use crate::model::Optime;
use bson::Uuid;
use segments::{Sealed, Segments};
use state::Tracked;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Identifiers in memory, for all collections together.
pub const MAX_RECENT: usize = 200_000;
/// Memory for them, bytes; each counts `ENTRY_OVERHEAD` more than its length.
pub const MAX_RECENT_BYTES: usize = 32 << 20;
/// What one identifier costs beside its own bytes: collection, pointer and length, hash slot, allocation header.
const ENTRY_OVERHEAD: usize = 64;
/// Seconds of the destination's oplog that may be looked through again after a restart.
const WATCHED_EVERY_S: u32 = 60;
/// Files of touched documents, bytes.
pub const MAX_DISK_BYTES: u64 = 2 << 30;

/// Up to where the base pass of a collection got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Nothing: tracking never began, or everything is in doubt.
    Nothing,
    /// Everything before this key, apart from what is dirty; so many documents.
    Until(Vec<u8>, u64),
    /// Everything, apart from what is dirty; so many documents.
    Everything(u64),
}

/// A range of a collection: from a key (included) to a key (excluded).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// `None`: from the first document.
    pub from: Option<Vec<u8>>,
    /// `None`: to the last document.
    pub to: Option<Vec<u8>>,
}

/// What is lent for comparison.
#[derive(Debug)]
pub struct Taken {
    /// Touched documents; some may come twice.
    pub ids: Records,
    /// Ranges in which something was touched.
    pub ranges: Vec<(Uuid, Range)>,
    sealed: Sealed,
}

/// Shared between the applier (touches) and verification (lends and settles).
#[derive(Debug)]
pub struct DirtySet {
    state: Mutex<State>,
    max_recent: usize,
    max_disk_bytes: u64,
}

#[derive(Debug)]
struct State {
    collections: HashMap<Uuid, Tracked>,
    /// Touched since the last [`DirtySet::take`] or the last time this was full.
    recent: HashSet<(Uuid, Box<[u8]>)>,
    recent_bytes: usize,
    segments: Segments,
    /// Why files cannot be written now; touches mark ranges meanwhile.
    broken: Option<String>,
    /// Up to where the destination's oplog was looked through, and what of that is written down.
    watched: Option<Optime>,
    watched_on_disk: Option<Optime>,
    /// Changes of `collections` that [`DirtySet::persist`] has not written.
    changed: bool,
}

impl Default for DirtySet {
    fn default() -> Self {
        Self::bounded(MAX_RECENT, MAX_DISK_BYTES)
    }
}

impl DirtySet {
    /// For comparisons that nobody resumes: its files are gone with the process. With other bounds than the default's.
    pub fn bounded(max_recent: usize, max_disk_bytes: u64) -> Self {
        Self::over(Segments::fleeting(), HashMap::new(), max_recent, max_disk_bytes)
    }

    /// In a folder of the migration, with what a former process left there. Of damaged files nothing is believed:
    /// everything is compared again.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let found = Segments::open(folder).and_then(|segments| Ok((segments, state::read(folder)?)));
        let (segments, (collections, watched)) = match found {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                delete(folder)?;
                (Segments::open(folder)?, Default::default())
            }
            found => found?,
        };
        let opened = Self::over(segments, collections, MAX_RECENT, MAX_DISK_BYTES);
        opened.state().watched = watched;
        Ok(opened)
    }

    fn over(segments: Segments, collections: HashMap<Uuid, Tracked>, max_recent: usize, max_disk_bytes: u64) -> Self {
        let state = State {
            collections,
            recent: HashSet::new(),
            recent_bytes: 0,
            segments,
            broken: None,
            watched: None,
            watched_on_disk: None,
            changed: false,
        };
        Self { state: Mutex::new(state), max_recent, max_disk_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the document with this `_id` (raw BSON element value: type byte, then value bytes) was written.
    /// Call it once the destination has acknowledged the write: a touch that only precedes its write could be compared,
    /// and forgotten, before the write lands. Does nothing for a collection whose tracking has not begun: it will be
    /// compared whole.
    pub fn touch(&self, collection: Uuid, id: &[u8]) {
        let mut state = self.state();
        let Some(tracked) = state.collections.get(&collection) else { return };
        if tracked.whole {
            return;
        }
        if state.broken.is_some() || state.segments.bytes() >= self.max_disk_bytes {
            state.mark(collection, id);
            return;
        }
        let cost = id.len() + ENTRY_OVERHEAD;
        if state.recent.len() >= self.max_recent || state.recent_bytes + cost > MAX_RECENT_BYTES {
            state.forget_recent();
        }
        if !state.recent.insert((collection, id.into())) {
            return;
        }
        state.recent_bytes += cost;
        if let Err(error) = state.segments.push(collection, id) {
            state.break_off(&error);
        }
    }

    /// Everything in a collection must be compared again. Does nothing before its tracking began.
    pub fn touch_all(&self, collection: Uuid) {
        let mut state = self.state();
        if let Some(tracked) = state.collections.get_mut(&collection) {
            tracked.become_whole();
            state.changed = true;
        }
    }

    /// The same of every collection.
    pub fn touch_everything(&self) {
        let mut state = self.state();
        state.collections.values_mut().for_each(Tracked::become_whole);
        state.changed = true;
    }

    /// Begins tracking a collection, with nothing compared and nothing dirty. Call before its comparison reads the first
    /// document.
    pub fn start(&self, collection: Uuid) {
        let mut state = self.state();
        state.collections.insert(collection, Tracked::default());
        state.changed = true;
    }

    /// The base pass has compared everything before `key`, so many documents; what differed was touched before this call.
    /// Where the order of identifiers is known to the server alone (`collated`, or a kind that is not exactly ordered here)
    /// the comparison can be taken up there, and no touch can be told to be before or behind it.
    pub fn reached(&self, collection: Uuid, key: Vec<u8>, collated: bool, documents: u64) {
        let mut state = self.state();
        let is_ordered = !collated && Id::from_key(&key).is_some_and(Id::is_exactly_ordered);
        let tracked = state.collections.get_mut(&collection).filter(|tracked| !tracked.whole);
        if let Some(tracked) = tracked
            && tracked.reached(key, is_ordered)
        {
            tracked.documents = documents;
            state.changed = true;
        }
    }

    /// The base pass has compared everything, so many documents.
    pub fn finish(&self, collection: Uuid, documents: u64) {
        let mut state = self.state();
        if let Some(tracked) = state.collections.get_mut(&collection).filter(|tracked| !tracked.whole) {
            tracked.complete = true;
            tracked.documents = documents;
            state.changed = true;
        }
    }

    /// Up to where the base pass of a collection got.
    pub fn compared(&self, collection: Uuid) -> Compared {
        match self.state().collections.get(&collection) {
            None => Compared::Nothing,
            Some(tracked) if tracked.whole => Compared::Nothing,
            Some(tracked) if tracked.complete => Compared::Everything(tracked.documents),
            Some(tracked) => match tracked.boundaries.last() {
                Some(key) => Compared::Until(key.clone(), tracked.documents),
                None => Compared::Nothing,
            },
        }
    }

    /// Everything in a collection is in doubt, for want of a range that its touches fall into.
    pub fn is_whole(&self, collection: Uuid) -> bool {
        self.state().collections.get(&collection).is_some_and(|tracked| tracked.whole)
    }

    /// Lends everything that is dirty and goes on tracking. It stays dirty until [`DirtySet::settle`]; without that the
    /// next call lends it again. Files that cannot be written are no error: ranges stand for what they would hold.
    pub fn take(&self) -> Taken {
        let mut state = self.state();
        let sealed = match state.segments.seal() {
            Ok(sealed) => sealed,
            Err(error) => {
                state.break_off(&error);
                state.segments.close()
            }
        };
        state.forget_recent();
        let mut ranges = Vec::new();
        for (uuid, tracked) in &mut state.collections {
            ranges.extend(tracked.lend().into_iter().map(|range| (*uuid, range)));
        }
        Taken { ids: state.segments.read(), ranges, sealed }
    }

    /// What was lent is compared, and what differed was touched again.
    pub fn settle(&self, taken: &Taken) -> io::Result<()> {
        let mut state = self.state();
        // The touches of what differed first: a crash in between must find them.
        if let Err(error) = state.segments.sync() {
            state.break_off(&error);
            return Err(error);
        }
        state.broken = None;
        let lent = state.collections.values_mut().filter(|tracked| !tracked.lent.is_empty());
        let settled = lent.map(|tracked| tracked.lent.clear()).count();
        state.changed |= settled > 0;
        state.segments.remove(taken.sealed)
    }

    /// Up to where the destination's oplog was looked through.
    pub fn watched(&self) -> Option<Optime> {
        self.state().watched
    }

    /// It was looked through up to here, and everything in it was touched.
    pub fn set_watched(&self, until: Optime) {
        let mut state = self.state();
        state.watched = Some(until);
        // Looking through a little of it once more does no harm.
        let written = state.watched_on_disk.map_or(0, |written| written.t);
        state.changed |= until.t > written.saturating_add(WATCHED_EVERY_S);
    }

    /// Documents that wait for their comparison, at most; those in ranges are not counted.
    pub fn count(&self) -> u64 {
        self.state().segments.records()
    }

    /// Writes down everything that a resume needs. Take the applier's position before, write the checkpoint after.
    pub fn persist(&self) -> io::Result<()> {
        let (file, folder, snapshot) = {
            let mut state = self.state();
            if let Err(error) = state.segments.flush() {
                state.break_off(&error);
            }
            let file = state.segments.take_for_sync();
            let Some(folder) = state.segments.folder().map(Path::to_path_buf) else { return Ok(()) };
            let snapshot = std::mem::take(&mut state.changed).then(|| (state.collections.clone(), state.watched));
            if snapshot.is_some() {
                state.watched_on_disk = state.watched;
            }
            (file, folder, snapshot)
        };
        // Not under the lock: whoever applies must not wait for the disk.
        let written = file.map_or(Ok(()), |file| file.sync_data()).and_then(|()| {
            snapshot.map_or(Ok(()), |(collections, watched)| state::write(&folder, &collections, watched))
        });
        if written.is_err() {
            let mut state = self.state();
            state.changed = true;
            state.segments.is_synced = false;
        }
        written
    }

    /// Forgets everything, on disk too.
    pub fn clear(&self) -> io::Result<()> {
        let mut state = self.state();
        state.collections.clear();
        state.watched = None;
        state.forget_recent();
        state.changed = true;
        state.segments.clear()
    }

    /// Forgets everything and deletes the folder; nothing is written there any more.
    pub fn end(&self) -> io::Result<()> {
        let mut state = self.state();
        let segments = std::mem::replace(&mut state.segments, Segments::fleeting());
        state.collections.clear();
        state.forget_recent();
        match segments.folder() {
            Some(folder) => delete(folder).and_then(|()| fs::remove_dir(folder)),
            None => Ok(()),
        }
    }
}

/// Deletes the files of a set, and nothing else.
fn delete(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if segments::is_segment(&path) || state::is_file(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl State {
    fn forget_recent(&mut self) {
        self.recent = HashSet::new();
        self.recent_bytes = 0;
    }

    fn mark(&mut self, collection: Uuid, id: &[u8]) {
        if let Some(tracked) = self.collections.get_mut(&collection) {
            self.changed |= tracked.mark(id);
        }
    }

    /// Files cannot be written: from now on touches mark ranges, beginning with those that were still in memory.
    fn break_off(&mut self, error: &io::Error) {
        self.broken = Some(error.to_string());
        for (collection, id) in self.segments.unwritten() {
            self.mark(collection, &id);
        }
        self.forget_recent();
    }
}

/// Where a key stands among ordered boundaries; `None` when the order of this kind of key is not exactly the server's.
fn place(boundaries: &[Vec<u8>], key: &[u8]) -> Option<usize> {
    let id = Id::from_key(key).filter(|id| id.is_exactly_ordered())?;
    let before = |boundary: &Vec<u8>| Id::from_key(boundary).is_some_and(|b| b.compare(id).is_le());
    Some(boundaries.partition_point(before))
}

fn bits(lent: &BTreeSet<usize>, dirty: &BTreeSet<usize>) -> BTreeSet<usize> {
    lent.union(dirty).copied().collect()
}

#[cfg(test)]
mod tests;
