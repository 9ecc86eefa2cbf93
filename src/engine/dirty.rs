//! Documents that the applier touched since verification last looked at them.
//!
//! Owns the identifiers of documents whose comparison is out of date, by collection UUID of the source. Bounded: at most
//! [`MAX_IDS`] identifiers in [`MAX_BYTES`] of memory for all collections together; beyond that the largest collection
//! is remembered as a whole ("everything is dirty") and its identifiers are dropped. Never loses a touch silently.

use bson::Uuid;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Identifiers kept for all collections together.
pub const MAX_IDS: usize = 1_000_000;
/// Memory for them, bytes; each identifier counts `ENTRY_OVERHEAD` more than its length.
pub const MAX_BYTES: usize = 64 << 20;
/// What one identifier costs beside its own bytes: pointer and length, hash slot, allocation header.
const ENTRY_OVERHEAD: usize = 48;

/// What has to be compared again in one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dirty {
    /// These documents: BSON type byte, then value bytes of each `_id`. May be empty.
    Ids(Vec<Vec<u8>>),
    /// Everything: tracking never began, or too much was touched to remember.
    Whole,
}

/// Shared between the applier (touches) and verification (drains).
#[derive(Debug)]
pub struct DirtySet {
    state: Mutex<State>,
    max_ids: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    collections: HashMap<Uuid, Touched>,
    ids: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Touched {
    ids: HashSet<Box<[u8]>>,
    bytes: usize,
    whole: bool,
}

impl Default for DirtySet {
    fn default() -> Self {
        Self::bounded(MAX_IDS, MAX_BYTES)
    }
}

impl DirtySet {
    /// An empty set with other bounds than the default's.
    pub fn bounded(max_ids: usize, max_bytes: usize) -> Self {
        Self { state: Mutex::default(), max_ids, max_bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the document with this `_id` (raw BSON element value: type byte, then value bytes) was written.
    /// Call it once the destination has acknowledged the write: a touch that only precedes its write could be compared,
    /// and forgotten, before the write lands. Does nothing for a collection whose tracking has not begun: it will be compared whole.
    pub fn touch(&self, collection: Uuid, id: &[u8]) {
        let mut state = self.state();
        let Some(touched) = state.collections.get_mut(&collection) else { return };
        if touched.whole || touched.ids.contains(id) {
            return;
        }
        let cost = id.len() + ENTRY_OVERHEAD;
        touched.ids.insert(id.into());
        touched.bytes += cost;
        state.ids += 1;
        state.bytes += cost;
        while state.ids > self.max_ids || state.bytes > self.max_bytes {
            let largest = state.collections.values_mut().max_by_key(|touched| touched.bytes);
            let Some(largest) = largest.filter(|touched| touched.bytes > 0) else { return };
            let (ids, bytes) = (largest.ids.len(), largest.bytes);
            *largest = Touched { whole: true, ..Touched::default() };
            state.ids -= ids;
            state.bytes -= bytes;
        }
    }

    /// Notes that everything in a collection must be compared again. Does nothing before its tracking began.
    pub fn touch_all(&self, collection: Uuid) {
        let mut state = self.state();
        if let Some(touched) = state.collections.get_mut(&collection) {
            let (ids, bytes) = (touched.ids.len(), touched.bytes);
            *touched = Touched { whole: true, ..Touched::default() };
            state.ids -= ids;
            state.bytes -= bytes;
        }
    }

    /// Begins tracking a collection, with nothing dirty. Call before its comparison reads the first document.
    pub fn start(&self, collection: Uuid) {
        let mut state = self.state();
        if let Some(old) = state.collections.insert(collection, Touched::default()) {
            state.ids -= old.ids.len();
            state.bytes -= old.bytes;
        }
    }

    /// Hands out what is dirty in a collection and goes on tracking from nothing (a whole collection stays whole until
    /// [`DirtySet::start`]).
    pub fn take(&self, collection: Uuid) -> Dirty {
        let mut state = self.state();
        let Some(touched) = state.collections.get_mut(&collection) else { return Dirty::Whole };
        if touched.whole {
            return Dirty::Whole;
        }
        let taken = std::mem::take(touched);
        state.ids -= taken.ids.len();
        state.bytes -= taken.bytes;
        Dirty::Ids(taken.ids.into_iter().map(Vec::from).collect())
    }

    /// Identifiers that wait for their comparison (those of whole collections are not counted).
    pub fn count(&self) -> u64 {
        self.state().ids as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(dirty: Dirty) -> Vec<Vec<u8>> {
        match dirty {
            Dirty::Ids(mut ids) => {
                ids.sort();
                ids
            }
            Dirty::Whole => vec![b"WHOLE".to_vec()],
        }
    }

    #[test]
    fn what_was_never_tracked_is_whole() {
        let set = DirtySet::default();
        let collection = Uuid::new();
        set.touch(collection, b"a");
        assert_eq!(set.take(collection), Dirty::Whole);
        assert_eq!(set.count(), 0);
    }

    #[test]
    fn touches_are_taken_once_and_tracking_goes_on() {
        let set = DirtySet::default();
        let (a, b) = (Uuid::new(), Uuid::new());
        set.start(a);
        set.start(b);
        for id in [b"1", b"2", b"1"] {
            set.touch(a, id);
        }
        set.touch(b, b"9");
        assert_eq!(set.count(), 3);
        assert_eq!(ids(set.take(a)), [b"1".to_vec(), b"2".to_vec()]);
        assert_eq!(ids(set.take(a)), Vec::<Vec<u8>>::new());
        set.touch(a, b"3");
        assert_eq!(ids(set.take(a)), [b"3".to_vec()]);
        assert_eq!(set.count(), 1);
    }

    #[test]
    fn the_largest_collection_becomes_whole_when_there_are_too_many() {
        let set = DirtySet::bounded(10, 1 << 20);
        let (small, large) = (Uuid::new(), Uuid::new());
        set.start(small);
        set.start(large);
        set.touch(small, b"s");
        for id in 0..10_u8 {
            set.touch(large, &[id]);
        }
        assert_eq!(set.take(large), Dirty::Whole);
        assert_eq!(ids(set.take(small)), [b"s".to_vec()]);
        set.touch(large, b"more");
        assert_eq!(set.take(large), Dirty::Whole, "stays whole");
        set.start(large);
        set.touch(large, b"x");
        assert_eq!(ids(set.take(large)), [b"x".to_vec()]);
        assert_eq!(set.count(), 0);
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let set = DirtySet::bounded(usize::MAX, 10_000);
        let collection = Uuid::new();
        set.start(collection);
        for id in 0..100_u8 {
            set.touch(collection, &[id; 500]);
        }
        assert_eq!(set.take(collection), Dirty::Whole);
    }

    #[test]
    fn everything_can_be_marked() {
        let set = DirtySet::default();
        let collection = Uuid::new();
        set.start(collection);
        set.touch(collection, b"1");
        set.touch_all(collection);
        assert_eq!((set.take(collection), set.count()), (Dirty::Whole, 0));
    }
}
