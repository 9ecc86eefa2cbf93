//! How many tests of one binary run at a time. Most of them wait most of the time: for what they broke, for a window that
//! passes, for an election. So there are more of them at a time than cores, and each says how much of the machine it takes.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Shares of the machine.
const SHARES: u32 = 4;

async fn shares(count: u32) -> SemaphorePermit<'static> {
    static FREE: Semaphore = Semaphore::const_new(SHARES as usize);
    FREE.acquire_many(count).await.unwrap()
}

/// For a test that mostly waits.
pub async fn turn() -> SemaphorePermit<'static> {
    shares(1).await
}

/// For a test that keeps a core busy.
pub async fn turn_busy() -> SemaphorePermit<'static> {
    shares(SHARES / 2).await
}

/// For a test that measures time or CPU, or whose terminal no process of another test may hold open.
pub async fn turn_alone() -> SemaphorePermit<'static> {
    shares(SHARES).await
}
