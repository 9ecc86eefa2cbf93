//! Keeps verification's reads of the source under the plan's rate.

use crate::engine::retry::Halt;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A rate in bytes per second, shared by all readers of the source.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_s: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// `bytes_per_s` above 0.
    pub fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), free_at: Mutex::new(None) }
    }

    /// Accounts for bytes that were read, and waits until they are paid for.
    pub async fn spend(&self, bytes: u64, cancel: &CancellationToken) -> Result<(), Halt> {
        let free_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let from = free_at.map_or(now, |at| at.max(now));
            let until = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
            *free_at = Some(until);
            until
        };
        tokio::select! {
            () = cancel.cancelled() => Err(Halt::Cancelled),
            () = tokio::time::sleep_until(free_at) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_are_slowed_to_the_rate() {
        let throttle = Throttle::new(100_000);
        let began = std::time::Instant::now();
        for _ in 0..4 {
            throttle.spend(2_500, &CancellationToken::new()).await.expect("not cancelled");
        }
        assert!(began.elapsed() >= Duration::from_millis(95), "10 kB at 100 kB/s took {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn cancelling_ends_the_wait() {
        let (throttle, cancel) = (Throttle::new(1), CancellationToken::new());
        cancel.cancel();
        assert_eq!(throttle.spend(1_000_000, &cancel).await, Err(Halt::Cancelled));
    }
}
