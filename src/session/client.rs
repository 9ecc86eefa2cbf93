//! The client's end of the channels: send commands, watch the snapshot, read events by number.

use crate::model::{Answer, Command, Event, Refusal, Severity, ShownDocument, Snapshot};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// A command on its way to the engine.
#[derive(Debug)]
pub struct Order {
    /// What is asked for.
    pub command: Command,
    /// Who asks: `user@tty`.
    pub by: String,
    /// Where the engine answers whether it was accepted. Long-running work is reported by the snapshot.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The numbered, lossless event log. Shared by the engine (writes) and clients (read by number).
#[derive(Debug, Clone)]
pub struct EventLog {
    kept: Arc<Mutex<Kept>>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<Event>,
    generation: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { kept: Arc::default(), newest: watch::Sender::new(0) }
    }
}

impl EventLog {
    /// Appends an event and wakes the clients.
    pub fn record(&self, severity: Severity, kind: &str, text: impl Into<String>) {
        let mut kept = self.kept();
        let seq = kept.events.len() as u64 + 1;
        kept.events.push(Event { seq, at: Timestamp::now(), severity, kind: kind.into(), text: text.into() });
        self.newest.send_replace(seq);
    }

    /// A log that goes on after events of an earlier process.
    pub fn going_on(events: Vec<Event>) -> Self {
        let newest = events.last().map_or(0, |event| event.seq);
        Self { kept: Arc::new(Mutex::new(Kept { events, generation: 0 })), newest: watch::Sender::new(newest) }
    }

    /// All events after number `seq` (0: all).
    pub fn since(&self, seq: u64) -> Vec<Event> {
        self.part(seq, usize::MAX)
    }

    /// At most `most` events after number `seq`.
    pub fn part(&self, seq: u64, most: usize) -> Vec<Event> {
        let kept = self.kept();
        let rest = kept.events.get(usize::try_from(seq).unwrap_or(usize::MAX)..).unwrap_or_default();
        rest.iter().take(most).cloned().collect()
    }

    /// Changes whenever an event was recorded; holds the newest number.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Another number when the log was begun again from 1, because another engine took over: what was read before has to
    /// be read again.
    pub fn generation(&self) -> u64 {
        self.kept().generation
    }

    /// Takes over events that another process recorded; those that do not follow the last one without a gap are refused.
    pub(super) fn mirror(&self, events: Vec<Event>) -> bool {
        let mut kept = self.kept();
        for event in events {
            if event.seq != kept.events.len() as u64 + 1 {
                return false;
            }
            kept.events.push(event);
        }
        self.newest.send_replace(kept.events.len() as u64);
        true
    }

    /// Forgets everything: another engine numbers its events anew.
    pub(super) fn begin_again(&self) {
        let mut kept = self.kept();
        kept.events.clear();
        kept.generation += 1;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a client stands to its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The engine answers.
    Up,
    /// Nothing has been heard from it since then; the client tries again by itself.
    Lost {
        /// When it was heard last.
        since: Timestamp,
        /// Nobody listens any more: the process is gone. False: it is there and silent.
        is_dead: bool,
    },
    /// It ended in good order; there is nothing to wait for.
    Ended,
}

/// What the wizard, plain mode and the command line hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    events: EventLog,
    by: String,
    link: Option<watch::Receiver<Link>>,
}

impl Client {
    /// A client of an engine in this process. `by` names the operator as `user@tty`.
    pub fn new(
        orders: mpsc::Sender<Order>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        events: EventLog,
        by: String,
    ) -> Self {
        Self { orders, snapshot, events, by, link: None }
    }

    /// The same engine, asked by somebody else.
    pub fn speaking_for(&self, by: String) -> Self {
        Self { by, ..self.clone() }
    }

    /// The same client, whose link can break.
    pub fn linked(self, link: watch::Receiver<Link>) -> Self {
        Self { link: Some(link), ..self }
    }

    /// Sends a command and waits until the engine accepted or refused it.
    pub async fn send(&self, command: Command) -> Result<(), Refusal> {
        self.ask(command).await.map(|_| ())
    }

    /// Reads one document on both clusters; nobody else hears the answer.
    pub async fn show(&self, namespace: String, id: String) -> Result<ShownDocument, Refusal> {
        match self.ask(Command::ShowDocument { namespace, id }).await? {
            Answer::Document(shown) => Ok(*shown),
            Answer::Accepted => Err(Refusal::NotNow("this engine cannot show documents".into())),
        }
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&self, command: Command) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let order = Order { command, by: self.by.clone(), reply };
        self.orders.send(order).await.map_err(|_| Refusal::EngineGone)?;
        answer.await.map_err(|_| Refusal::EngineGone)?
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Waits for a newer snapshot than the last one waited for; `false` when the engine is gone.
    pub async fn changed(&mut self) -> bool {
        self.snapshot.changed().await.is_ok()
    }

    /// The event log.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// True when the engine lives in another process, and goes on when this one ends.
    pub fn is_detached(&self) -> bool {
        self.link.is_some()
    }

    /// How the engine can be reached now. In one process it always can, until it ends.
    pub fn link(&self) -> Link {
        match &self.link {
            Some(link) => *link.borrow(),
            None if self.orders.is_closed() => Link::Ended,
            None => Link::Up,
        }
    }

    /// Waits for a change of [`Client::link`]; never returns in one process.
    pub async fn link_changed(&mut self) -> Link {
        if let Some(link) = &mut self.link
            && link.changed().await.is_ok()
        {
            return *link.borrow();
        }
        std::future::pending().await
    }

    /// A client without an engine, for screens and tests: shows `snapshot`, refuses every command.
    pub fn detached(snapshot: Snapshot) -> (Self, watch::Sender<Arc<Snapshot>>, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(64);
        let (publish, watched) = watch::channel(Arc::new(snapshot));
        (Self::new(orders, watched, EventLog::default(), "ops@test".into()), publish, received)
    }
}
