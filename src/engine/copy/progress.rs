//! Counts what is copied and keeps the initial sync's view current, a few times a second.

use super::seats::Seats;
use crate::{
    engine::{history::Rate, view::InitialSyncView},
    model::{
        rows::pause_of,
        snapshot::{CollectionRow, CollectionState},
    },
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Distance between two updates of the view.
const PACE: Duration = Duration::from_millis(100);
/// No ETA before this much time (UX rule 3).
const ETA_AFTER: Duration = Duration::from_secs(60);

/// Shared by the readers; the lock is held for a few additions.
#[derive(Debug)]
pub struct Progress {
    view: watch::Sender<InitialSyncView>,
    seats: Seats,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    shown: Option<Instant>,
    rows_shown: Instant,
    /// What is shown; its rows are those of `rows_shown`.
    current: InitialSyncView,
    rows: Vec<CollectionRow>,
    bytes: Rate,
    documents: Rate,
    rates: Vec<Rate>,
    /// Bytes that an earlier engine copied.
    found: u64,
}

impl Progress {
    /// Begins with one queued row per collection; what they hold already was copied before a restart.
    pub fn new(view: watch::Sender<InitialSyncView>, seats: Seats, rows: Vec<CollectionRow>) -> Self {
        let mut current = InitialSyncView::default();
        current.copy.collections_total = rows.len() as u64;
        current.copy.documents_total = rows.iter().map(|row| row.documents_total).sum();
        current.copy.documents = rows.iter().map(|row| row.documents).sum();
        current.copy.bytes = rows.iter().map(|row| row.bytes).sum();
        let found = current.copy.bytes;
        current.copy.bytes_total = rows.iter().map(|row| row.bytes_total).sum();
        current.indexes.total = rows.iter().map(|row| u64::from(row.indexes_total)).sum();
        let rates = rows.iter().map(|_| Rate::default()).collect();
        current.rows = rows.clone().into();
        view.send_replace(current.clone());
        let (bytes, documents, began) = (Rate::default(), Rate::default(), Instant::now());
        let inner = Inner { began, shown: None, rows_shown: began, current, rows, bytes, documents, rates, found };
        Self { view, seats, inner: Mutex::new(inner) }
    }

    /// A reader works on this row.
    pub fn begin(&self, row: usize) {
        self.change(|inner| {
            if let Some(row) = inner.rows.get_mut(row) {
                row.state = CollectionState::Copying;
            }
        });
    }

    /// Bytes that were copied so far.
    pub fn bytes(&self) -> u64 {
        self.lock().current.copy.bytes
    }

    /// A batch arrived on the destination.
    pub fn add(&self, row: usize, documents: u64, bytes: u64) {
        self.change(|inner| {
            inner.current.copy.documents += documents;
            inner.current.copy.bytes += bytes;
            if let Some(row) = inner.rows.get_mut(row) {
                row.documents += documents;
                row.bytes += bytes;
            }
        });
    }

    /// What was counted since the last majority has to be copied again.
    pub fn take_back(&self, row: usize, documents: u64, bytes: u64) {
        self.change(|inner| {
            let copy = &mut inner.current.copy;
            copy.documents = copy.documents.saturating_sub(documents);
            copy.bytes = copy.bytes.saturating_sub(bytes);
            if let Some(row) = inner.rows.get_mut(row) {
                row.documents = row.documents.saturating_sub(documents);
                row.bytes = row.bytes.saturating_sub(bytes);
            }
        });
    }

    /// Every range of this row is copied.
    pub fn copied(&self, row: usize) {
        self.change(|inner| {
            inner.current.copy.collections_done += 1;
            if let Some(row) = inner.rows.get_mut(row) {
                row.state = CollectionState::Done;
                row.bytes_per_s = 0.0;
            }
        });
    }

    /// Not every change is shown: with thousands of collections the rows alone would keep a core busy.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        if inner.shown.is_none_or(|shown| shown.elapsed() >= PACE) {
            self.publish(&mut inner);
        }
    }

    /// Shows what there is.
    pub fn show(&self) {
        self.publish(&mut self.lock());
    }

    fn publish(&self, inner: &mut Inner) {
        let now = Instant::now();
        inner.shown = Some(now);
        inner.current.copy.readers = u32::try_from(self.seats.taken()).unwrap_or(u32::MAX);
        inner.rates(now);
        if now.duration_since(inner.rows_shown) >= pause_of(inner.rows.len()) {
            inner.show_rows(now);
        }
        self.view.send_replace(inner.current.clone());
    }

    /// Shows the final numbers.
    pub fn finish(&self) {
        let mut inner = self.lock();
        inner.current.copy.eta_ms = Some(0);
        inner.show_rows(Instant::now());
        self.publish(&mut inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn show_rows(&mut self, now: Instant) {
        (self.rows_shown, self.current.rows) = (now, self.rows.clone().into());
    }

    fn rates(&mut self, now: Instant) {
        let copy = &mut self.current.copy;
        copy.bytes_per_s = self.bytes.observe(now, copy.bytes);
        copy.documents_per_s = self.documents.observe(now, copy.documents);
        for (row, rate) in self.rows.iter_mut().zip(&mut self.rates) {
            if row.state == CollectionState::Copying {
                row.bytes_per_s = rate.observe(now, row.bytes);
            }
        }
        let elapsed = now.duration_since(self.began);
        let mean = copy.bytes.saturating_sub(self.found) as f64 / elapsed.as_secs_f64().max(0.001);
        let steady = copy.bytes_per_s > mean / 3.0 && copy.bytes_per_s < mean * 3.0;
        let left = copy.bytes_total.saturating_sub(copy.bytes) as f64;
        copy.eta_ms = (elapsed >= ETA_AFTER && steady).then(|| (left / copy.bytes_per_s * 1_000.0) as u64);
    }
}
