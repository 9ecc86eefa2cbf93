//! A limit on source reads in bytes per second, shared by everybody who reads, and changed while they read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Readers that came late may catch up with so much of the limit: their own pauses are not waited for a second time.
const CREDIT: Duration = Duration::from_millis(100);
/// A limited read comes in so many pieces a second.
const PIECES: u64 = 4;

/// Lets so many bytes per second pass. Cheap to clone; all clones are one limit.
#[derive(Debug, Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes per second; wakes who waits.
    limit: watch::Sender<Option<u64>>,
    account: Mutex<Account>,
    /// Who waits longest goes first.
    turn: tokio::sync::Mutex<()>,
}

/// What was read and not yet paid for with time.
#[derive(Debug)]
struct Account {
    /// Bytes; below zero: credit.
    debt: f64,
    at: Instant,
}

impl Account {
    /// Pays for the time since the last look.
    fn settle(&mut self, rate: u64, now: Instant) {
        let paid = now.duration_since(self.at).as_secs_f64() * rate as f64;
        self.debt = (self.debt - paid).max(-CREDIT.as_secs_f64() * rate as f64);
        self.at = now;
    }
}

impl Throttle {
    /// A limit in bytes per second; `None`: no limit.
    pub fn new(limit: Option<u64>) -> Self {
        let account = Mutex::new(Account { debt: 0.0, at: Instant::now() });
        Self {
            shared: Arc::new(Shared { limit: watch::Sender::new(limit), account, turn: tokio::sync::Mutex::default() }),
        }
    }

    /// Another limit, from now on; whoever waits is woken and waits by the new one.
    pub fn set(&self, limit: Option<u64>) {
        let mut account = self.account();
        match (self.limit(), limit) {
            (Some(rate), Some(_)) => account.settle(rate, Instant::now()),
            // What was read without a limit is not owed.
            _ => *account = Account { debt: 0.0, at: Instant::now() },
        }
        self.shared.limit.send_replace(limit);
    }

    /// The limit now.
    pub fn limit(&self) -> Option<u64> {
        *self.shared.limit.borrow()
    }

    /// What one read should ask for at most, so that it does not come in bursts: `most` bytes without a limit.
    pub fn batch_bytes(&self, most: u64) -> u64 {
        self.limit().map_or(most, |limit| most.min(limit / PIECES).max(1))
    }

    /// Waits until `bytes` more may be read.
    pub async fn take(&self, bytes: u64) {
        if self.limit().is_none() {
            return;
        }
        let _turn = self.shared.turn.lock().await;
        let mut limit = self.shared.limit.subscribe();
        while let Some(wait) = self.wait() {
            tokio::select! {
                _ = limit.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.owe(bytes);
    }

    /// Reads `bytes` without waiting; whoever comes next waits for them.
    pub fn owe(&self, bytes: u64) {
        let mut account = self.account();
        if let Some(rate) = self.limit() {
            account.settle(rate, Instant::now());
            account.debt += bytes as f64;
        }
    }

    /// How long until everything is paid for; `None`: it is.
    fn wait(&self) -> Option<Duration> {
        let mut account = self.account();
        let rate = self.limit()?;
        account.settle(rate, Instant::now());
        (account.debt > 0.0).then(|| Duration::from_secs_f64(account.debt / rate as f64).max(Duration::from_millis(1)))
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.shared.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const RATE: u64 = 20_000_000;

    /// Readers that take batches and do something else in between, for ever.
    fn readers(throttle: &Throttle, count: u64, batch: u64, between: Duration) -> Arc<AtomicU64> {
        let read = Arc::new(AtomicU64::new(0));
        for number in 0..count {
            let (throttle, read) = (throttle.clone(), read.clone());
            tokio::spawn(async move {
                loop {
                    // Not all alike.
                    let bytes = batch - batch / 10 * number / count;
                    throttle.take(bytes).await;
                    read.fetch_add(bytes, Ordering::Relaxed);
                    tokio::time::sleep(between).await;
                }
            });
        }
        read
    }

    /// Bytes per second over so many seconds.
    async fn rate(read: &AtomicU64, seconds: u64) -> u64 {
        let before = read.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (read.load(Ordering::Relaxed) - before) / seconds
    }

    fn is_near(rate: u64, limit: u64) -> bool {
        rate.abs_diff(limit) <= limit / 10
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_for_any_number_of_readers() {
        for count in [1, 3, 8, 16] {
            let throttle = Throttle::new(Some(RATE));
            let batch = throttle.batch_bytes(2 << 20);
            let read = readers(&throttle, count, batch, Duration::from_millis(40));
            for window in 0..5 {
                let rate = rate(&read, 3).await;
                assert!(is_near(rate, RATE), "{count} readers, window {window}: {rate} bytes per second");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn raising_lowering_and_removing_it_take_effect_at_once() {
        let throttle = Throttle::new(Some(RATE));
        let read = readers(&throttle, 4, 500_000, Duration::from_millis(20));
        rate(&read, 3).await;
        for limit in [RATE / 4, RATE * 2, RATE / 10, RATE] {
            throttle.set(Some(limit));
            let rate = rate(&read, 3).await;
            assert!(is_near(rate, limit), "{rate} bytes per second instead of {limit}");
        }
        throttle.set(None);
        // Four readers that only do something else: 20 ms for each batch.
        assert!(rate(&read, 3).await > 90_000_000);
        throttle.set(Some(RATE));
        let again = rate(&read, 3).await;
        assert!(is_near(again, RATE), "{again} bytes per second, limited again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_by_a_change() {
        let throttle = Throttle::new(Some(1_000));
        throttle.take(3_600_000).await;
        let began = Instant::now();
        let waiting = |throttle: Throttle| tokio::spawn(async move { throttle.take(1).await });
        let (first, second) = (waiting(throttle.clone()), waiting(throttle.clone()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!first.is_finished(), "an hour is owed");
        throttle.set(Some(3_600_000));
        first.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        second.await.unwrap();
        throttle.owe(1 << 40);
        let third = waiting(throttle.clone());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!third.is_finished(), "days are owed");
        throttle.set(None);
        third.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(24), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_no_reserve() {
        let throttle = Throttle::new(Some(RATE));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let read = readers(&throttle, 3, 1_000_000, Duration::ZERO);
        let rate = rate(&read, 3).await;
        assert!(is_near(rate, RATE), "{rate} bytes per second after an idle hour");
    }

    #[test]
    fn a_limited_read_comes_in_quarters_of_a_second() {
        let throttle = Throttle::new(None);
        assert_eq!(throttle.batch_bytes(2 << 20), 2 << 20);
        throttle.set(Some(1_000_000));
        assert_eq!(throttle.batch_bytes(2 << 20), 250_000);
        throttle.set(Some(1 << 30));
        assert_eq!(throttle.batch_bytes(2 << 20), 2 << 20);
        throttle.set(Some(1));
        assert_eq!(throttle.batch_bytes(2 << 20), 1);
    }
}
