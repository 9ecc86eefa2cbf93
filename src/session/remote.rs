//! A client of an engine in another process: the same [`Client`], fed from the socket. When the connection breaks it tries
//! again by itself; meanwhile the last snapshot stays, marked by [`Link::Lost`], and every command is refused at once.

use super::{
    client::{Client, EventLog, Link, Order},
    place,
    protocol::{Asked, Hello, MOST_TOLD, PROTOCOL, Told, read_frame, write_frame},
    tables::Tables,
};
use crate::model::{Answer, Problem, Refusal, Side, Snapshot};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::unix::OwnedWriteHalf,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

/// An engine that is silent for so long is lost; it says something every two seconds.
const SILENCE: Duration = Duration::from_secs(6);
/// An engine answers a new client within this time.
const WELCOME: Duration = Duration::from_secs(15);
/// The first and the longest pause between attempts to connect again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Who attaches, and how.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Name of the user, as the environment says.
    pub user: String,
    /// Terminal, e.g. `pts/3`.
    pub tty: Option<String>,
    /// Only watches: the engine refuses every command.
    pub watch: bool,
    /// Tries again when the connection breaks, for ever; else the client has [`Link::Ended`] then.
    pub keeps_trying: bool,
}

/// Attaches to the engine that listens at `socket`; returns when its state is known.
pub async fn attach(socket: &Path, caller: Caller) -> Result<Client, Problem> {
    let events = EventLog::default();
    let mut hello = Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").into(),
        user: caller.user.clone(),
        tty: caller.tty.clone(),
        watch: caller.watch,
        since: 0,
        engine: None,
    };
    let attempt = timeout(WELCOME, Wire::open(socket, &mut hello, &events)).await;
    let (wire, snapshot) = match attempt {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err(unreachable(socket, &error)),
        Err(_) => return Err(unreachable(socket, &io::Error::from(ErrorKind::TimedOut))),
    };
    let (orders, received) = mpsc::channel(64);
    let (publish, watched) = watch::channel(snapshot);
    let (link, linked) = watch::channel(Link::Up);
    let client =
        Client::new(orders, watched, events.clone(), caller.tty.clone().unwrap_or_else(|| caller.user.clone()));
    let root = socket.parent().and_then(Path::parent).map(Path::to_path_buf);
    let remote = Remote {
        socket: socket.to_path_buf(),
        root,
        hello,
        keeps_trying: caller.keeps_trying,
        orders: received,
        publish,
        events,
        link,
        next_id: 0,
        pending: HashMap::new(),
    };
    tokio::spawn(remote.keep(wire));
    Ok(client.linked(linked))
}

fn unreachable(socket: &Path, error: &io::Error) -> Problem {
    let (why, fix) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => (
            format!("nobody listens at {}", socket.display()),
            "Look at \"mongoferry list\"; an engine that ended is taken up with \"mongoferry resume NAME\".",
        ),
        ErrorKind::TimedOut => (
            format!("it did not answer within {} s", WELCOME.as_secs()),
            "It may be overloaded or halted (for example by SIGSTOP); try again.",
        ),
        ErrorKind::PermissionDenied if error.get_ref().is_some() => {
            (error.to_string(), "Do what it asks; the migration is not affected.")
        }
        ErrorKind::PermissionDenied => {
            (format!("{}: {error}", socket.display()), "Use the user account that started the migration.")
        }
        _ => (format!("{}: {error}", socket.display()), "Try again; the log in the state folder may tell more."),
    };
    Problem {
        side: Side::Host,
        what: "the engine cannot be reached".into(),
        why,
        fix: fix.into(),
        retry_helps: true,
        written: "The migration is not affected by this.".into(),
    }
}

/// One connection, welcomed.
struct Wire {
    write: OwnedWriteHalf,
    told: mpsc::Receiver<io::Result<Told>>,
    tables: Tables,
    /// Ends with the connection.
    _reading: JoinSet<()>,
}

impl Wire {
    /// Connects, introduces itself, and reads on until the first snapshot is there.
    async fn open(socket: &Path, hello: &mut Hello, events: &EventLog) -> io::Result<(Self, Arc<Snapshot>)> {
        let stream = place::connect(socket).await?;
        let (mut read, mut write) = stream.into_split();
        write_frame(&mut write, hello).await?;
        let (tell, told) = mpsc::channel(4);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            loop {
                let frame = match read_frame::<Told>(&mut read, MOST_TOLD).await {
                    Ok(Some(frame)) => Ok(frame),
                    Ok(None) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
                    Err(error) => Err(error),
                };
                let is_last = frame.is_err();
                if tell.send(frame).await.is_err() || is_last {
                    return;
                }
            }
        });
        let mut wire = Self { write, told, tables: Tables::default(), _reading: reading };
        loop {
            match wire.hear().await? {
                Told::Welcome { engine, since, .. } => {
                    if hello.engine.as_ref() != Some(&engine) {
                        if hello.engine.is_some() {
                            events.begin_again();
                        }
                        (hello.engine, hello.since) = (Some(engine), 0);
                    }
                    if since != hello.since {
                        return Err(io::Error::new(ErrorKind::InvalidData, "the engine has fewer events than before"));
                    }
                }
                Told::Refused(why) => return Err(io::Error::new(ErrorKind::PermissionDenied, why)),
                Told::Events(told) => take_events(told, hello, events)?,
                Told::Snapshot(snapshot) => return Ok((wire, Arc::from(snapshot))),
                Told::Collections(_) | Told::Verified(_) | Told::Answer { .. } | Told::Alive | Told::Bye => {}
            }
        }
    }

    /// A snapshot is whole.
    async fn hear(&mut self) -> io::Result<Told> {
        let mut told = self.told.recv().await.unwrap_or_else(|| Err(io::Error::from(ErrorKind::UnexpectedEof)))?;
        self.tables.hear(&mut told);
        Ok(told)
    }
}

fn take_events(told: Vec<crate::model::Event>, hello: &mut Hello, events: &EventLog) -> io::Result<()> {
    let newest = told.last().map(|event| event.seq);
    if !events.mirror(told) {
        // Asked anew from the first one.
        (hello.engine, hello.since) = (None, 0);
        events.begin_again();
        return Err(io::Error::new(ErrorKind::InvalidData, "events are missing"));
    }
    hello.since = newest.unwrap_or(hello.since);
    Ok(())
}

/// Why a conversation ended.
enum End {
    /// In good order.
    Bye,
    /// Every client of this process is gone.
    NobodyAsks,
    /// The connection broke.
    Broken,
}

struct Remote {
    socket: PathBuf,
    /// The state root, where a started migration has its folder.
    root: Option<PathBuf>,
    hello: Hello,
    keeps_trying: bool,
    orders: mpsc::Receiver<Order>,
    publish: watch::Sender<Arc<Snapshot>>,
    events: EventLog,
    link: watch::Sender<Link>,
    next_id: u64,
    pending: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
}

impl Remote {
    async fn keep(mut self, wire: Wire) {
        let mut wire = Some(wire);
        while let Some(talking) = wire.take() {
            let end = self.converse(talking).await;
            // Whoever waits for an answer learns that there is none.
            self.pending.clear();
            if !matches!(end, End::Broken) || !self.keeps_trying {
                break;
            }
            wire = self.connect_again().await;
        }
        self.link.send_replace(Link::Ended);
    }

    async fn converse(&mut self, mut wire: Wire) -> End {
        let mut heard = (Timestamp::now(), Instant::now());
        loop {
            tokio::select! {
                told = wire.hear() => {
                    let Ok(told) = told else { return End::Broken };
                    heard = (Timestamp::now(), Instant::now());
                    self.set_link(Link::Up);
                    match told {
                        Told::Snapshot(snapshot) => drop(self.publish.send_replace(Arc::from(snapshot))),
                        Told::Events(told) => {
                            if take_events(told, &mut self.hello, &self.events).is_err() {
                                return End::Broken;
                            }
                        }
                        Told::Answer { id, answer } => {
                            if let Some(reply) = self.pending.remove(&id) {
                                let _ = reply.send(answer);
                            }
                        }
                        Told::Bye => return End::Bye,
                        Told::Refused(why) => {
                            tracing::warn!("the engine refuses this client: {why}");
                            return End::Broken;
                        }
                        Told::Collections(_) | Told::Verified(_) | Told::Welcome { .. } | Told::Alive => {}
                    }
                }
                order = self.orders.recv() => {
                    let Some(Order { command, reply, .. }) = order else { return End::NobodyAsks };
                    if *self.link.borrow() != Link::Up {
                        let _ = reply.send(Err(Refusal::EngineGone));
                        continue;
                    }
                    self.next_id += 1;
                    let asked = Asked::new(self.next_id, command);
                    match timeout(SILENCE, write_frame(&mut wire.write, &asked)).await {
                        Ok(Ok(())) => drop(self.pending.insert(self.next_id, reply)),
                        _ => {
                            let _ = reply.send(Err(Refusal::EngineGone));
                            return End::Broken;
                        }
                    }
                }
                () = sleep_until(heard.1 + SILENCE), if *self.link.borrow() == Link::Up => {
                    self.set_link(Link::Lost { since: heard.0, is_dead: false });
                }
            }
        }
    }

    /// `None` when nobody asks any more.
    async fn connect_again(&mut self) -> Option<Wire> {
        let since = match *self.link.borrow() {
            Link::Lost { since, .. } => since,
            Link::Up | Link::Ended => Timestamp::now(),
        };
        self.set_link(Link::Lost { since, is_dead: false });
        let mut pause = PAUSES.0;
        loop {
            let socket = self.where_to();
            let opened = {
                let attempt = timeout(WELCOME, Wire::open(&socket, &mut self.hello, &self.events));
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        opened = &mut attempt => break opened,
                        order = self.orders.recv() => drop(order?.reply.send(Err(Refusal::EngineGone))),
                    }
                }
            };
            match opened {
                Ok(Ok((wire, snapshot))) => {
                    self.publish.send_replace(snapshot);
                    self.set_link(Link::Up);
                    return Some(wire);
                }
                Ok(Err(error)) => {
                    let is_dead = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
                    self.set_link(Link::Lost { since, is_dead });
                }
                Err(_) => self.set_link(Link::Lost { since, is_dead: false }),
            }
            let waiting = sleep(pause);
            tokio::pin!(waiting);
            loop {
                tokio::select! {
                    () = &mut waiting => break,
                    order = self.orders.recv() => drop(order?.reply.send(Err(Refusal::EngineGone))),
                }
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// A migration that was started is found in its folder, whichever process serves it.
    fn where_to(&self) -> PathBuf {
        let snapshot = self.publish.borrow();
        match &self.root {
            Some(root) if snapshot.started.is_some() && !snapshot.name.is_empty() => {
                place::of_migration(&root.join(&snapshot.name))
            }
            _ => self.socket.clone(),
        }
    }

    fn set_link(&self, link: Link) {
        self.link.send_if_modified(|known| std::mem::replace(known, link) != link);
    }
}
