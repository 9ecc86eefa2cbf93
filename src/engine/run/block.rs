//! Blocks user writes on the source for the cutover, and lifts that again whatever becomes of the migration.

use super::{Outcome, Run};
use crate::{
    model::Severity,
    mongo::{Cluster, errors::explain},
};
use bson::{RawDocumentBuf, rawdoc};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What an operator can type instead.
const BY_HAND: &str = "db.adminCommand({setUserWriteBlockMode: 1, global: false})";
/// Attempts, and the pause between two.
const ATTEMPTS: u32 = 150;
const PAUSE: Duration = Duration::from_secs(2);
/// How long an engine that ends waits for the block to be lifted.
const LAST_WAIT: Duration = Duration::from_secs(3);

fn command(block: bool) -> RawDocumentBuf {
    rawdoc! { "setUserWriteBlockMode": 1, "global": block }
}

impl Run {
    /// Blocks user writes on the source (6.0).
    pub fn block_source(&self) {
        let source = self.context.source.clone();
        self.spawn(async move {
            Outcome::SourceBlocked(source.run("admin", command(true)).await.map(drop).map_err(|error| explain(&error)))
        });
    }

    /// Lifts the block, after the end of the migration too: a stop must not leave a source that refuses writes.
    pub fn unblock_source(&mut self) {
        let (source, events) = (self.context.source.clone(), self.context.events.clone());
        self.unblocking = Some(tokio::spawn(async move {
            match lift(&source).await {
                Ok(()) => events.record(Severity::Info, "unblocked", "users can write to the source again"),
                Err(why) => {
                    let text = format!("the source still refuses user writes ({why}); left for you: {BY_HAND}");
                    events.record(Severity::Error, "block", text);
                }
            }
        }));
    }

    /// The engine ends: what is being lifted may end first, and what is not is said.
    pub(super) async fn unblocked(&mut self) {
        let Some(task) = self.unblocking.take() else { return };
        if timeout(LAST_WAIT, task).await.is_err() {
            let text =
                format!("the engine ends while the source may still refuse user writes; left for you: {BY_HAND}");
            self.context.events.record(Severity::Error, "block", text);
        }
    }
}

async fn lift(source: &Cluster) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        match source.run("admin", command(false)).await {
            Ok(_) => return Ok(()),
            Err(error) => why = explain(&error),
        }
        sleep(PAUSE).await;
    }
    Err(why)
}
