//! How many readers the copy has at a time: found by trying, because the best number depends on both servers, the network
//! and the data. On two cores three streams can be best, on thirty-two sixteen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Never more readers than this.
const MOST: usize = 16;
/// How long a number of readers is watched before another one is tried.
const WINDOW: Duration = Duration::from_secs(2);
/// How long to stay with a number that is better than its neighbours.
const STAY: Duration = Duration::from_secs(30);
/// Another number is better when it copies so much more.
const BETTER: f64 = 1.05;
/// What all readers together ask for at once, and the least and the most of one of them. Each batch exists a few times
/// while it is passed on.
const IN_FLIGHT: u64 = 8 << 20;
const BATCH: (u64, u64) = (512 << 10, 2 << 20);

/// The seats of all readers. Cheap to clone; all clones are the same seats.
#[derive(Debug, Clone)]
pub struct Seats {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    count: AtomicUsize,
    taken: AtomicUsize,
    freed: Notify,
}

/// The right to read. Given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
}

impl Seats {
    /// So many readers at a time.
    pub fn new(count: usize) -> Self {
        let shared = Shared { count: count.into(), taken: 0.into(), freed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Waits for a free seat.
    pub async fn take(&self) -> Seat {
        loop {
            let freed = self.shared.freed.notified();
            let count = self.shared.count.load(Ordering::Acquire);
            let below = |taken: usize| (taken < count).then_some(taken + 1);
            if self.shared.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, below).is_ok() {
                return Seat { seats: self.clone() };
            }
            freed.await;
        }
    }

    /// Readers at this moment.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Acquire)
    }

    /// From now on so many; readers that are too many leave when they are done.
    pub fn set(&self, count: usize) {
        self.shared.count.store(count, Ordering::Release);
        self.shared.freed.notify_waiters();
    }

    /// Bytes that one reader asks for at once: less, the more readers there are.
    pub fn batch_bytes(&self) -> u64 {
        let readers = self.shared.count.load(Ordering::Acquire).max(1) as u64;
        (IN_FLIGHT / readers).clamp(BATCH.0, BATCH.1)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.shared.taken.fetch_sub(1, Ordering::AcqRel);
        self.seats.shared.freed.notify_waiters();
    }
}

/// Looks for the best number of readers: goes on in a direction while that copies clearly more, else comes back.
#[derive(Debug)]
pub struct Search {
    readers: usize,
    /// Number and rate before the step that is being watched.
    before: Option<(usize, f64)>,
    up: bool,
    /// Steps in a row that were taken back.
    failed: u32,
    since: Instant,
    bytes: u64,
    window: Duration,
}

impl Search {
    /// Begins with one reader more than there are cores: each waits for two servers.
    pub fn new(now: Instant) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self::from((cores + 1).clamp(3, MOST / 2), now)
    }

    fn from(readers: usize, since: Instant) -> Self {
        Self { readers, before: None, up: true, failed: 0, since, bytes: 0, window: WINDOW }
    }

    /// The number of readers now.
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// What was copied until now says nothing about a number of readers: the window begins again.
    pub fn again(&mut self, now: Instant, bytes: u64) {
        (self.since, self.bytes) = (now, bytes);
    }

    /// `bytes` were copied so far, with every seat taken. Returns the number of readers for the time that comes.
    pub fn observe(&mut self, now: Instant, bytes: u64) -> usize {
        let took = now.duration_since(self.since);
        if took < self.window {
            return self.readers;
        }
        let rate = bytes.saturating_sub(self.bytes) as f64 / took.as_secs_f64();
        (self.since, self.bytes, self.window) = (now, bytes, WINDOW);
        if let Some((readers, best)) = self.before.take()
            && rate < best * BETTER
        {
            self.readers = readers;
            self.up = !self.up;
            self.failed += 1;
            if self.failed == 2 {
                (self.failed, self.window) = (0, STAY);
            }
            return self.readers;
        }
        let next = if self.up { self.readers + 1 } else { self.readers - 1 };
        if (1..=MOST).contains(&next) {
            self.before = Some((self.readers, rate));
            self.readers = next;
        } else {
            self.up = !self.up;
        }
        self.readers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Runs a search for so many windows on servers that copy `rate(readers)` bytes a second; counts the seconds by readers.
    fn seconds(from: usize, windows: u32, rate: impl Fn(usize) -> u64) -> HashMap<usize, u64> {
        let mut now = Instant::now();
        let mut search = Search::from(from, now);
        let (mut bytes, mut seen) = (0, HashMap::new());
        for _ in 0..windows {
            for _ in 0..2 {
                now += Duration::from_secs(1);
                bytes += rate(search.readers());
                *seen.entry(search.readers()).or_default() += 1;
                search.observe(now, bytes);
            }
        }
        seen
    }

    fn favourite(seen: &HashMap<usize, u64>) -> usize {
        *seen.iter().max_by_key(|(_, seconds)| **seconds).expect("a number").0
    }

    #[test]
    fn the_best_number_of_readers_is_found() {
        // Every reader helps, until something else is full.
        assert_eq!(favourite(&seconds(3, 100, |readers| 10 * readers.min(9) as u64)), 9);
        assert_eq!(favourite(&seconds(3, 100, |readers| 10 * readers as u64)), MOST);
        // Readers are in each other's way.
        assert_eq!(favourite(&seconds(3, 100, |readers| 100 / readers as u64)), 1);
    }

    #[test]
    fn a_number_that_does_not_matter_is_kept() {
        let seen = seconds(3, 100, |_| 100);
        assert_eq!(favourite(&seen), 3);
        assert!(seen.values().sum::<u64>() - seen[&3] < 40, "it looks around all the time: {seen:?}");
    }

    #[test]
    fn batches_shrink_with_the_number_of_readers() {
        let bytes = |readers| Seats::new(readers).batch_bytes();
        assert_eq!((bytes(1), bytes(3), bytes(8), bytes(16)), (2 << 20, 2 << 20, 1 << 20, 512 << 10));
    }

    #[tokio::test]
    async fn a_seat_is_waited_for() {
        let seats = Seats::new(1);
        let first = seats.take().await;
        let waiting = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take().await }
        });
        tokio::task::yield_now().await;
        assert_eq!((seats.taken(), waiting.is_finished()), (1, false));
        drop(first);
        let second = waiting.await.expect("a seat");
        assert_eq!(seats.taken(), 1);
        seats.set(2);
        drop(seats.take().await);
        drop(second);
        assert_eq!(seats.taken(), 0);
    }
}
