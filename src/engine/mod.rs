//! Runs a migration: executes the effects of the state machine and owns every task that talks to a cluster.
//!
//! Doors: orders in (`mpsc`), snapshot out (`watch`), numbered events out. Never draws, never parses arguments.
//! When the process that it lives in ends in whatever way, [`Engine::resume`] goes on from the journal.

pub mod again;
pub mod backoff;
pub mod capped;
pub mod checkpoint;
pub mod cleanup;
pub mod clear;
pub mod connect_info;
pub mod context;
pub mod copy;
pub mod create;
pub mod ddl;
pub mod dirty;
pub mod fetch;
pub mod finalize;
pub mod follow;
pub mod foreign;
pub mod gate;
pub mod herald;
mod history;
pub mod index;
pub mod lag;
pub mod lane;
pub mod lease;
pub mod metadata;
pub mod migration_user;
pub mod notices;
pub mod opened;
mod operations;
pub mod pre_images;
pub mod publish;
pub mod record;
pub mod registry;
pub mod repair;
pub mod restore;
pub mod retry;
pub mod run;
pub mod runner;
pub mod sign_in;
pub mod spool;
pub mod throttle;
pub mod verify;
pub mod view;
pub mod watermark;
pub mod way_back;
pub mod write;
pub mod writers;

use crate::{
    model::{Plan, Problem, Snapshot},
    session::{Client, EventLog, Order},
};
use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Where the engine keeps its files, and what the demo adds.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Root of the state directory; one folder per migration inside, 0700.
    pub state_root: PathBuf,
    /// The demo's application.
    pub application: Option<ApplicationLink>,
}

/// The demo's application as the engine sees it: a switch and a counter.
#[derive(Debug, Clone)]
pub struct ApplicationLink {
    /// Send `false` to stop it.
    pub running: watch::Sender<bool>,
    /// Writes so far.
    pub writes: watch::Receiver<u64>,
}

/// A running engine without a migration, or with one.
#[derive(Debug)]
pub struct Engine {
    orders: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    events: EventLog,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts the engine's loop on the current tokio runtime. Talks to no cluster until a command asks for it.
    pub fn start(settings: EngineSettings) -> Self {
        Self::launch(settings, EventLog::default(), None)
    }

    /// Goes on with the migration in `folder` (a folder of the state root, as [`crate::store::list`] names it). `plan` is
    /// the one in the journal ([`crate::store::Summary::plan`]) with its passwords given again. Returns as soon as the
    /// journal is held; both clusters are asked until they answer.
    pub fn resume(settings: EngineSettings, folder: &Path, plan: Plan) -> Result<Self, Problem> {
        let (restored, events) = restore::open(folder, plan)?;
        Ok(Self::launch(settings, events, Some(restored)))
    }

    fn launch(settings: EngineSettings, events: EventLog, restored: Option<restore::Restored>) -> Self {
        let (orders, received) = mpsc::channel(64);
        let (publish, snapshot) = watch::channel(Arc::new(Snapshot::idle(Timestamp::now())));
        let cancel = CancellationToken::new();
        let mut runner = runner::Runner::new(settings, publish, events.clone(), cancel.clone());
        if let Some(restored) = restored {
            runner = runner.restored(restored);
        }
        let task = tokio::spawn(runner.run(received));
        Self { orders, snapshot, events, cancel, task }
    }

    /// A client of this engine; `by` names the operator as `user@tty`.
    pub fn client(&self, by: impl Into<String>) -> Client {
        Client::new(self.orders.clone(), self.snapshot.clone(), self.events.clone(), by.into())
    }

    /// Ends every task and writes the last checkpoint; waits at most five seconds. The migration can be resumed.
    pub async fn shut_down(self) {
        self.cancel.cancel();
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), self.task).await;
    }
}
