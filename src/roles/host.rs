//! An engine in this process together with its socket: what `engine`, `run` and `demo` have in common.

use crate::{
    engine::{ApplicationLink, Engine, EngineSettings},
    model::{Phase, Plan, Problem, Side, Snapshot},
    paths,
    session::{Client, server::Server},
    store, telemetry,
};
use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// The last snapshot goes to disk at every change of phase, and this often while numbers move.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// An engine that listens.
pub struct Hosted {
    engine: Engine,
    client: Client,
    socket: PathBuf,
    clients: watch::Receiver<usize>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    looking: JoinHandle<()>,
    state_root: PathBuf,
    /// Writes out what is buffered when dropped.
    _log: telemetry::Guard,
}

impl Hosted {
    /// A fresh engine with its state under the platform's state directory.
    pub async fn fresh(application: Option<ApplicationLink>) -> Result<Self, Problem> {
        let (settings, log) = settings(application)?;
        let root = settings.state_root.clone();
        Self::open(Engine::start(settings), log, root, None).await
    }

    /// The engine of the unfinished migration in `folder`; `plan` has its passwords.
    pub async fn resumed(folder: &Path, plan: Plan) -> Result<Self, Problem> {
        let (settings, log) = settings(None)?;
        let root = settings.state_root.clone();
        Self::open(Engine::resume(settings, folder, plan)?, log, root, Some(folder)).await
    }

    async fn open(
        engine: Engine,
        log: telemetry::Guard,
        state_root: PathBuf,
        migration: Option<&Path>,
    ) -> Result<Self, Problem> {
        let client = engine.client(super::operator());
        let server = Server::open(client.clone(), &state_root, migration).await.map_err(|error| {
            Problem::before_writing(
                Side::Host,
                format!("the engine cannot listen in {}", state_root.display()),
                error.to_string(),
                "Make the folder writable, or set MONGOFERRY_HOME to one that is.",
            )
        })?;
        let (socket, clients, stop) = (server.path(), server.clients(), CancellationToken::new());
        let looking = tokio::spawn(keep_looks(client.clone(), state_root.clone(), stop.clone()));
        let serving = tokio::spawn(server.run(stop.clone()));
        Ok(Self { engine, client, socket, clients, stop, serving, looking, state_root, _log: log })
    }

    /// A client for the operator of this process.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where it listened first.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// How many clients there are on the socket.
    pub fn clients(&self) -> watch::Receiver<usize> {
        self.clients.clone()
    }

    /// Ends in good order: clients hear the last state, the socket goes, the engine writes its last checkpoint.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = self.serving.await;
        let _ = self.looking.await;
        // Before the journal is let go: afterwards the folder may be somebody else's.
        keep_look(&self.state_root, &self.client.snapshot());
        self.engine.shut_down().await;
    }
}

fn settings(application: Option<ApplicationLink>) -> Result<(EngineSettings, telemetry::Guard), Problem> {
    let state_root = paths::state_root()?;
    let log = telemetry::start(&state_root.join("log"))?;
    Ok((EngineSettings { state_root, application }, log))
}

async fn keep_looks(mut client: Client, state_root: PathBuf, stop: CancellationToken) {
    let mut kept: Option<(Phase, Option<Timestamp>, Instant)> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = client.changed() => if !changed { return },
        }
        let snapshot = client.snapshot();
        let is_old = kept.is_none_or(|(phase, opened, at)| {
            (phase, opened) != (snapshot.phase, opened_at(&snapshot)) || at.elapsed() >= LOOK_EVERY
        });
        if is_old && snapshot.started.is_some() {
            kept = Some((snapshot.phase, opened_at(&snapshot), Instant::now()));
            keep_look(&state_root, &snapshot);
        }
    }
}

fn opened_at(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.cutover.as_ref().and_then(|cutover| cutover.opened)
}

fn keep_look(state_root: &Path, snapshot: &Snapshot) {
    let folder = state_root.join(&snapshot.name);
    // A folder that was cleaned up meanwhile is not made again.
    if snapshot.started.is_none() || !folder.is_dir() {
        return;
    }
    if let Err(problem) = store::keep_look(&folder, snapshot) {
        tracing::warn!("{problem}");
    }
}
