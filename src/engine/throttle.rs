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
        let Some(rate) = self.rate else { return };
        let wait_until = {
            let mut free_at = self.free_at.lock().await;
            let begin = (*free_at).max(Instant::now());
            *free_at = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
            begin
        };
        tokio::time::sleep_until(wait_until).await;
    }
}
