//! Waiting for the majority, together: the copy writes with `w: 1`, and whoever wants to know that the majority has what
//! it wrote asks here. Many small collections wait once for all of them.

use crate::{
    engine::{context::Context, retry::Halt, write::fence},
    mongo::Namespace,
};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Mutex;

/// One per copy; shared by its readers.
#[derive(Debug)]
pub struct Fences {
    context: Context,
    asked: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// Everybody who asked up to here has the answer.
    covered: u64,
    term: Option<i64>,
}

impl Fences {
    /// Nobody has asked yet.
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), asked: AtomicU64::new(0), last: Mutex::new(Last::default()) }
    }

    /// Returns when the majority has everything that was acknowledged before, in whatever namespace; `namespace` is
    /// where it is asked. The election term in which it was confirmed.
    pub async fn pass(&self, namespace: &Namespace) -> Result<Option<i64>, Halt> {
        let ticket = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut last = self.last.lock().await;
        if last.covered >= ticket {
            return Ok(last.term);
        }
        let covered = self.asked.load(Ordering::Acquire);
        let term = fence(&self.context, namespace).await?;
        *last = Last { covered, term };
        Ok(term)
    }
}
