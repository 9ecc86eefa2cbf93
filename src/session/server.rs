//! The engine's end of the socket. Every client sees everything; one that is slow or stuck holds up only itself: it gets
//! the newest snapshot when it can take one, and events by number.

use super::{
    client::Client,
    place,
    protocol::{Asked, Hello, MOST_ASKED, MOST_HELLO, PROTOCOL, Told, read_frame, write_frame},
    tables::Tables,
};
use crate::model::{Command, Refusal};
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Clients at one time.
const MOST_CLIENTS: usize = 64;
/// Snapshots to one client are at least so far apart.
const PACE: Duration = Duration::from_millis(200);
/// A client hears something at least so often.
const ALIVE: Duration = Duration::from_secs(2);
/// A client that takes nothing for so long is left; it may come again.
const STUCK: Duration = Duration::from_secs(20);
/// A client says who it is within this time.
const HELLO: Duration = Duration::from_secs(10);
/// Events in one frame.
const EVENTS: usize = 500;

/// A listening engine.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    state_root: PathBuf,
    /// Names this process among all that ever served the same migration.
    engine: String,
    clients: watch::Sender<usize>,
    /// Where the socket is, and whether that is its migration's folder.
    home: watch::Sender<(PathBuf, bool)>,
}

impl Server {
    /// Listens for clients of the engine that `client` reaches: in the folder of its migration, or in the common folder
    /// until one is started.
    pub async fn open(client: Client, state_root: &Path, migration: Option<&Path>) -> io::Result<Self> {
        place::sweep(state_root).await;
        let pid = std::process::id();
        let path = migration.map_or_else(|| place::in_lobby(state_root, pid), place::of_migration);
        let listener = place::listen(&path).await?;
        let engine = format!("{pid}-{}", jiff::Timestamp::now().as_nanosecond());
        let shared = Shared {
            client,
            state_root: state_root.to_path_buf(),
            engine,
            clients: watch::Sender::new(0),
            home: watch::Sender::new((path, migration.is_some())),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens now.
    pub fn path(&self) -> PathBuf {
        self.shared.home.borrow().0.clone()
    }

    /// How many clients there are.
    pub fn clients(&self) -> watch::Receiver<usize> {
        self.shared.clients.subscribe()
    }

    /// Serves until it is cancelled; then every client gets the last state, within two seconds.
    pub async fn run(self, cancel: CancellationToken) {
        let mut watched = self.shared.client.clone();
        let mut connections = JoinSet::new();
        self.shared.settle();
        let mut is_served = true;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < MOST_CLIENTS => {
                        connections.spawn(serve(stream, self.shared.clone(), cancel.clone()));
                    }
                    // A client too many; or no file descriptor is free, which needs a moment.
                    Ok(_) => {}
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                changed = watched.changed(), if is_served => {
                    is_served = changed;
                    self.shared.settle();
                }
            }
        }
        let last_words = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_secs(2), last_words).await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.home.borrow().0);
    }
}

impl Shared {
    /// Moves the socket into the folder of the migration as soon as there is one.
    fn settle(&self) {
        let snapshot = self.client.snapshot();
        let (old, is_settled) = self.home.borrow().clone();
        if is_settled || snapshot.started.is_none() || snapshot.name.is_empty() {
            return;
        }
        let new = place::of_migration(&self.state_root.join(&snapshot.name));
        match fs::rename(&old, &new) {
            Ok(()) => drop(self.home.send_replace((new, true))),
            Err(error) => tracing::error!("the socket cannot be moved to {}: {error}", new.display()),
        }
    }

    /// `user@tty`, from what the system says about the peer and what the client says about its terminal.
    fn operator(&self, uid: u32, hello: &Hello) -> String {
        let clean = |text: &str| -> String {
            text.chars().filter(|c| c.is_ascii_alphanumeric() || "/.-_".contains(*c)).take(32).collect()
        };
        let user = user_name(uid).unwrap_or_else(|| clean(&hello.user));
        let user = if user.is_empty() { format!("uid-{uid}") } else { user };
        let tty = hello.tty.as_deref().map(clean).filter(|tty| !tty.is_empty());
        format!("{user}@{}", tty.as_deref().unwrap_or("no-tty"))
    }
}

/// From the local user database; users of a directory service are not in it.
fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid))?;
    line.split(':').next().map(String::from)
}

/// Only the engine's own user and root may speak to it.
fn may_speak(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(clients: &'a watch::Sender<usize>) -> Self {
        clients.send_modify(|count| *count += 1);
        Self(clients)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn serve(stream: UnixStream, shared: Arc<Shared>, cancel: CancellationToken) {
    let uid = stream.peer_cred().map(|peer| peer.uid());
    let (mut read, mut write) = stream.into_split();
    let refusal = match uid {
        Ok(uid) if may_speak(uid) => match timeout(HELLO, read_frame::<Hello>(&mut read, MOST_HELLO)).await {
            Ok(Ok(Some(hello))) if hello.protocol == PROTOCOL => {
                return converse(read, write, uid, hello, &shared, cancel).await;
            }
            Ok(Ok(Some(hello))) => format!(
                "this engine is mongoferry {} and the client is {}; they do not understand each other. Use the program \
                 that started the migration",
                env!("CARGO_PKG_VERSION"),
                hello.version
            ),
            Ok(Ok(None)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the client did not say who it is".into(),
        },
        Ok(uid) => format!("user {uid} may not speak to the engine of user {}", rustix::process::geteuid().as_raw()),
        Err(error) => format!("the system does not say who the client is: {error}"),
    };
    tracing::warn!("a client was refused: {refusal}");
    let _ = tell(&mut write, &Told::Refused(refusal)).await;
}

async fn tell(write: &mut OwnedWriteHalf, told: &Told) -> io::Result<()> {
    timeout(STUCK, write_frame(write, told)).await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?
}

async fn converse(
    read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    uid: u32,
    hello: Hello,
    shared: &Arc<Shared>,
    cancel: CancellationToken,
) {
    let _counted = Counted::new(&shared.clients);
    let by = shared.operator(uid, &hello);
    let client = shared.client.speaking_for(by);
    let is_known = hello.engine.as_deref() == Some(shared.engine.as_str());
    let since = if is_known { hello.since.min(*client.events().watch().borrow()) } else { 0 };
    let welcome = Told::Welcome {
        engine: shared.engine.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        since,
    };
    let (answers, answered) = mpsc::channel(16);
    // Aborted when the conversation ends.
    let mut listening = JoinSet::new();
    listening.spawn(hear(read, client.clone(), hello.watch, answers, shared.clone()));
    if tell(&mut write, &welcome).await.is_ok() {
        let _ = narrate(&mut write, client, since, answered, cancel).await;
    }
}

/// Reads what the client asks, one question after the other, and passes it to the engine.
async fn hear(
    mut read: OwnedReadHalf,
    client: Client,
    only_watches: bool,
    answers: mpsc::Sender<Told>,
    shared: Arc<Shared>,
) {
    loop {
        let asked = match read_frame::<Asked>(&mut read, MOST_ASKED).await {
            Ok(Some(asked)) => asked,
            Ok(None) => return,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                tracing::warn!("a client was refused: {error}");
                let _ = answers.send(Told::Refused(error.to_string())).await;
                return;
            }
            Err(_) => return,
        };
        let id = asked.id;
        let command = asked.command();
        let starts = matches!(command, Command::Start(_));
        let answer = if only_watches {
            Err(Refusal::NotNow("this client only watches; attach without --watch to act".into()))
        } else {
            client.ask(command).await
        };
        if starts && answer.is_ok() {
            // Whoever started it finds it by its name from now on.
            let mut home = shared.home.subscribe();
            let _ = timeout(Duration::from_secs(10), home.wait_for(|(_, is_settled)| *is_settled)).await;
        }
        if answers.send(Told::Answer { id, answer }).await.is_err() {
            return;
        }
    }
}

/// Tells the client everything, as fast as it can take it.
async fn narrate(
    write: &mut OwnedWriteHalf,
    mut client: Client,
    mut seen: u64,
    mut answers: mpsc::Receiver<Told>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let mut newest = client.events().watch();
    let (mut owes_snapshot, mut due) = (true, Instant::now());
    let mut tables = Tables::default();
    let mut is_last = false;
    loop {
        loop {
            let events = client.events().part(seen, EVENTS);
            let Some(last) = events.last() else { break };
            seen = last.seq;
            tell(write, &Told::Events(events)).await?;
        }
        if owes_snapshot && (is_last || Instant::now() >= due) {
            let mut snapshot = (*client.snapshot()).clone();
            for news in tables.take_from(&mut snapshot) {
                tell(write, &news).await?;
            }
            tell(write, &Told::Snapshot(Box::new(snapshot))).await?;
            (owes_snapshot, due) = (false, Instant::now() + PACE);
        }
        if is_last {
            let snapshot = client.snapshot();
            // An unfinished migration goes on with another engine; the client waits for that one.
            if snapshot.phase.is_over() || snapshot.started.is_none() {
                tell(write, &Told::Bye).await?;
            }
            return Ok(());
        }
        tokio::select! {
            told = answers.recv() => {
                let Some(told) = told else { return Ok(()) };
                tell(write, &told).await?;
                if matches!(told, Told::Refused(_)) {
                    return Ok(());
                }
            }
            changed = client.changed() => (owes_snapshot, is_last) = (true, !changed),
            Ok(()) = newest.changed() => {}
            () = sleep_until(due), if owes_snapshot => {}
            () = cancel.cancelled() => (owes_snapshot, is_last) = (true, true),
            () = sleep(ALIVE) => tell(write, &Told::Alive).await?,
        }
    }
}
