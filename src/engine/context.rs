//! What every task of a running migration needs: both clusters, the options, the pause gate, cancellation, the event log.

use super::{
    backoff::Brake,
    gate::Gate,
    notices::Notices,
    record::Record,
    retry::{Halt, Wait},
    throttle::Throttle,
};
use crate::{
    model::{Options, Problem, Side},
    mongo::Cluster,
    oplog::Dialect,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Cheap to clone; made once when the migration starts.
#[derive(Debug, Clone)]
pub struct Context {
    /// The cluster that is migrated; only read.
    pub source: Cluster,
    /// The cluster that receives the data.
    pub destination: Cluster,
    /// How updates are written on this destination.
    pub dialect: Dialect,
    /// The plan's options.
    pub options: Arc<Options>,
    /// Closed while paused; pass it between batches.
    pub gate: Gate,
    /// The limit on source reads, for everybody who reads much.
    pub throttle: Throttle,
    /// On while the destination's secondaries are too far behind; pass it before much is written.
    pub brake: Brake,
    /// Fires when the task shall end; check it in every loop.
    pub cancel: CancellationToken,
    /// The numbered event log, and what stands in the way.
    pub events: Notices,
    /// The journal.
    pub record: Arc<Record>,
}

impl Context {
    /// Reads or writes the journal away from the async threads. A disk that fails is a hindrance: tried again until it
    /// works.
    pub async fn journal<T, F>(&self, what: &str, work: F) -> Result<T, Halt>
    where
        T: Send + 'static,
        F: Fn(&Record) -> Result<T, Problem> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let mut wait = Wait::new(Side::Host, what, &self.events);
        loop {
            let (record, work) = (self.record.clone(), work.clone());
            let outcome = tokio::task::spawn_blocking(move || work(&record)).await;
            let problem = match outcome {
                Ok(Ok(value)) => {
                    wait.works();
                    return Ok(value);
                }
                Ok(Err(problem)) => problem,
                // Only at the end of the runtime.
                Err(_) => return Err(Halt::Cancelled),
            };
            if !problem.retry_helps {
                return Err(problem.into());
            }
            wait.cure(problem, &self.cancel).await?;
        }
    }
}
