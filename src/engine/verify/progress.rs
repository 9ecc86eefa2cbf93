//! What verification has seen so far, and its view for the snapshot (published at most ten times a second).

use super::{Target, judge::Verdict};
use crate::model::{
    Repaired,
    rows::pause_of,
    snapshot::{Mismatch, MismatchKind, Verification, VerificationState, VerifiedCollection},
};
use bson::Uuid;
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const MAX_EXAMPLES: usize = 100;
/// Identifiers of mismatches that are kept for repair, and their memory in bytes.
const MAX_IDS: usize = 1_000_000;
const MAX_BYTES: usize = 64 << 20;

/// Shared by the comparisons that run beside each other.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    view: watch::Sender<Verification>,
}

#[derive(Debug)]
struct State {
    state: VerificationState,
    rows: HashMap<Uuid, Row>,
    examples: Vec<(Uuid, Mismatch)>,
    differences: Vec<String>,
    kept_ids: usize,
    kept_bytes: usize,
    rechecked: u64,
    published: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    row: VerifiedCollection,
    mismatched: HashSet<Vec<u8>>,
    /// Hashes of the keys of what others wrote after the opening, so that each counts once.
    written: HashSet<u64>,
    /// More documents differ than identifiers can be kept: repair goes over the whole collection.
    overflowed: bool,
}

/// What repair has to look at in one collection.
#[derive(Debug)]
pub enum Mismatched {
    /// These documents.
    Ids(Vec<Vec<u8>>),
    /// Too many to remember.
    Whole,
}

impl Progress {
    /// Nothing seen yet.
    pub fn new(view: watch::Sender<Verification>) -> Self {
        let state = State {
            state: view.borrow().state,
            rows: HashMap::new(),
            examples: Vec::new(),
            differences: Vec::new(),
            kept_ids: 0,
            kept_bytes: 0,
            rechecked: 0,
            published: None,
        };
        Self { state: Mutex::new(state), view }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The base pass begins.
    pub fn begin(&self, targets: &[Target]) {
        let mut state = self.state();
        state.state = VerificationState::Running;
        for target in targets {
            state.rows.entry(target.uuid).or_insert_with(|| Row::new(target)).row.documents_total = target.documents;
        }
        drop(state);
        self.publish(0);
    }

    /// A check or a repair begins: the verdict of before is none any more.
    pub fn begin_check(&self, recheck: u64) {
        self.state().state = VerificationState::Running;
        self.publish(recheck);
    }

    /// The final pass begins: rows of collections that are gone disappear, names follow renames.
    pub fn begin_final(&self, targets: &[Target]) {
        let mut state = self.state();
        state.state = VerificationState::Running;
        let known: HashSet<Uuid> = targets.iter().map(|target| target.uuid).collect();
        let gone: Vec<Uuid> = state.rows.keys().filter(|uuid| !known.contains(uuid)).copied().collect();
        for uuid in gone {
            state.forget_verdicts(uuid);
            state.rows.remove(&uuid);
        }
        for target in targets {
            let row = state.rows.entry(target.uuid).or_insert_with(|| Row::new(target));
            row.row.namespace = target.namespace.to_string();
            row.row.done = false;
            row.row.application = 0;
            row.written.clear();
        }
        let known: Vec<Uuid> = state.rows.keys().copied().collect();
        known.into_iter().for_each(|uuid| state.forget_verdicts(uuid));
    }

    /// A collection is read from its start, or from behind so many documents.
    pub fn restart(&self, uuid: Uuid, documents: u64) {
        if let Some(row) = self.state().rows.get_mut(&uuid) {
            row.row.documents = documents;
            row.row.documents_total = row.row.documents_total.max(documents);
            row.row.done = false;
        }
    }

    /// Documents of a collection that were compared.
    pub fn documents(&self, uuid: Uuid) -> u64 {
        self.state().rows.get(&uuid).map_or(0, |row| row.row.documents)
    }

    /// Documents were compared.
    pub fn add(&self, uuid: Uuid, documents: u64) {
        if let Some(row) = self.state().rows.get_mut(&uuid) {
            row.row.documents += documents;
            row.row.documents_total = row.row.documents_total.max(row.row.documents);
        }
    }

    /// Documents were looked up again.
    pub fn rechecked(&self, documents: u64) {
        self.state().rechecked += documents;
    }

    /// A collection was compared to its end.
    pub fn finish(&self, uuid: Uuid) {
        if let Some(row) = self.state().rows.get_mut(&uuid) {
            row.row.documents_total = row.row.documents;
            row.row.done = true;
        }
    }

    /// Forgets the verdicts on a collection, before it gets new ones.
    pub fn clear_verdicts(&self, uuid: Uuid) {
        self.state().forget_verdicts(uuid);
    }

    /// Documents of a collection that differ.
    pub fn differing(&self, uuid: Uuid) -> u64 {
        self.state().rows.get(&uuid).map_or(0, |row| row.row.missing + row.row.extra + row.row.different)
    }

    /// Counts a verdict once per document. True when an example of it is wanted.
    pub fn record(&self, target: &Target, verdict: &Verdict) -> bool {
        let mut state = self.state();
        let cost = verdict.key().len() + 48;
        let full = state.kept_ids >= MAX_IDS || state.kept_bytes + cost > MAX_BYTES;
        let row = state.rows.entry(target.uuid).or_insert_with(|| Row::new(target));
        if row.mismatched.contains(verdict.key()) {
            return false;
        }
        match verdict.kind() {
            MismatchKind::Missing => row.row.missing += 1,
            MismatchKind::Extra => row.row.extra += 1,
            MismatchKind::Different => row.row.different += 1,
        }
        if full {
            row.overflowed = true;
        } else {
            row.mismatched.insert(verdict.key().to_vec());
            state.kept_ids += 1;
            state.kept_bytes += cost;
        }
        state.examples.len() < MAX_EXAMPLES
    }

    /// Counts documents that differ because somebody wrote them after the opening, each once.
    pub fn written_by_others(&self, target: &Target, verdicts: &[Verdict]) {
        let mut state = self.state();
        let row = state.rows.entry(target.uuid).or_insert_with(|| Row::new(target));
        for verdict in verdicts {
            let mut hasher = DefaultHasher::new();
            verdict.key().hash(&mut hasher);
            // Beyond the bound one may count twice.
            if row.written.len() >= MAX_IDS || row.written.insert(hasher.finish()) {
                row.row.application += 1;
            }
        }
    }

    /// Adds an example while there is room.
    pub fn add_example(&self, uuid: Uuid, example: Mismatch) {
        let mut state = self.state();
        if state.examples.len() < MAX_EXAMPLES {
            state.examples.push((uuid, example));
        }
    }

    /// What differs in a collection; `None` when nothing does.
    pub fn mismatched(&self, uuid: Uuid) -> Option<Mismatched> {
        let state = self.state();
        let row = state.rows.get(&uuid)?;
        match row {
            Row { overflowed: true, .. } => Some(Mismatched::Whole),
            row if row.mismatched.is_empty() => None,
            row => Some(Mismatched::Ids(row.mismatched.iter().cloned().collect())),
        }
    }

    /// The verdict is complete.
    pub fn complete(&self, differences: Vec<String>, recheck: u64) -> Verification {
        {
            let mut state = self.state();
            state.state = VerificationState::Done;
            state.differences = differences;
        }
        self.publish(recheck);
        self.view.borrow().clone()
    }

    /// Publishes unless that happened less than 100 ms ago.
    pub fn publish_soon(&self, recheck: u64) {
        let due = {
            let state = self.state();
            let pause = PUBLISH_EVERY + pause_of(state.rows.len());
            state.published.is_none_or(|at| at.elapsed() >= pause)
        };
        if due {
            self.publish(recheck);
        }
    }

    /// Publishes now.
    pub fn publish(&self, recheck: u64) {
        let mut state = self.state();
        state.published = Some(Instant::now());
        let mut view = state.view(recheck);
        drop(state);
        self.view.send_modify(|before| {
            view.collections.keep(&before.collections);
            *before = view;
        });
    }
}

impl State {
    fn forget_verdicts(&mut self, uuid: Uuid) {
        self.examples.retain(|(of, _)| *of != uuid);
        if let Some(row) = self.rows.get_mut(&uuid) {
            self.kept_ids -= row.mismatched.len();
            self.kept_bytes -= row.mismatched.iter().map(|key| key.len() + 48).sum::<usize>();
            row.mismatched.clear();
            row.overflowed = false;
            (row.row.missing, row.row.extra, row.row.different) = (0, 0, 0);
        }
    }

    fn view(&self, recheck: u64) -> Verification {
        let mut collections: Vec<_> = self.rows.values().map(|row| row.row.clone()).collect();
        let differs = |row: &VerifiedCollection| row.missing + row.extra + row.different;
        collections.sort_by(|a, b| (differs(a) == 0, &a.namespace).cmp(&(differs(b) == 0, &b.namespace)));
        let mut examples: Vec<Mismatch> = self.examples.iter().map(|(_, example)| example.clone()).collect();
        examples.sort_by(|a, b| (&a.namespace, &a.id).cmp(&(&b.namespace, &b.id)));
        let mismatches = collections.iter().map(differs).sum();
        Verification {
            state: self.state,
            documents: collections.iter().map(|row| row.documents).sum(),
            documents_total: collections.iter().map(|row| row.documents_total).sum(),
            // What still differs after a complete pass is a mismatch, not something to be compared again.
            recheck: if self.state == VerificationState::Done { 0 } else { recheck },
            mismatches,
            application: collections.iter().map(|row| row.application).sum(),
            metadata_differences: self.differences.clone(),
            collections: collections.into(),
            examples,
            repaired: Repaired::default(),
        }
    }
}

impl Row {
    fn new(target: &Target) -> Self {
        let row = VerifiedCollection {
            namespace: target.namespace.to_string(),
            documents: 0,
            documents_total: target.documents,
            missing: 0,
            extra: 0,
            different: 0,
            application: 0,
            done: false,
        };
        Self { row, mismatched: HashSet::new(), written: HashSet::new(), overflowed: false }
    }
}
