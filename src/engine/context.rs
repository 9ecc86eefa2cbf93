//! What every task of a running migration needs: both clusters, the options, the pause gate, cancellation, the event log.

use super::gate::Gate;
use crate::{model::Options, mongo::Cluster, oplog::Dialect, session::EventLog};
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
    /// Fires when the task shall end; check it in every loop.
    pub cancel: CancellationToken,
    /// The numbered event log.
    pub events: EventLog,
}
