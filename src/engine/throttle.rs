//! A limit on source reads in bytes per second, shared by all readers.

use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Lets `rate` bytes per second pass; no limit without a rate.
#[derive(Debug)]
pub struct Throttle {
    rate: Option<u64>,
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// A limit in bytes per second.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may be read.
    pub async fn take(&self, bytes: u64) {
        if let Some(wait_until) = self.owe(bytes).await {
            tokio::time::sleep_until(wait_until).await;
        }
    }

    /// Reads `bytes` without waiting; whoever comes next waits for them. Returns from when on they were free.
    pub async fn owe(&self, bytes: u64) -> Option<Instant> {
        let rate = self.rate?;
        let mut free_at = self.free_at.lock().await;
        let begin = (*free_at).max(Instant::now());
        *free_at = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
        Some(begin)
    }
}
