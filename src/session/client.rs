//! The client's end of the channels: send commands, watch the snapshot, read events by number.

use crate::model::{Command, Event, Refusal, Severity, Snapshot};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// A command on its way to the engine.
#[derive(Debug)]
pub struct Order {
    /// What is asked for.
    pub command: Command,
    /// Who asks: `user@tty`.
    pub by: String,
    /// Where the engine answers whether it was accepted. Long-running work is reported by the snapshot.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// The numbered, lossless event log. Shared by the engine (writes) and clients (read by number).
#[derive(Debug, Clone)]
pub struct EventLog {
    events: Arc<Mutex<Vec<Event>>>,
    newest: watch::Sender<u64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { events: Arc::default(), newest: watch::Sender::new(0) }
    }
}

impl EventLog {
    /// Appends an event and wakes the clients.
    pub fn record(&self, severity: Severity, kind: &str, text: impl Into<String>) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = events.len() as u64 + 1;
        events.push(Event { seq, at: Timestamp::now(), severity, kind: kind.into(), text: text.into() });
        self.newest.send_replace(seq);
    }

    /// A log that goes on after events of an earlier process.
    pub fn going_on(events: Vec<Event>) -> Self {
        let newest = events.last().map_or(0, |event| event.seq);
        Self { events: Arc::new(Mutex::new(events)), newest: watch::Sender::new(newest) }
    }

    /// All events after number `seq` (0: all).
    pub fn since(&self, seq: u64) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.get(usize::try_from(seq).unwrap_or(usize::MAX)..).unwrap_or_default().to_vec()
    }

    /// Changes whenever an event was recorded; holds the newest number.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// What the wizard, plain mode and the command line hold. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    events: EventLog,
    by: String,
}

impl Client {
    /// A client of an engine in this process. `by` names the operator as `user@tty`.
    pub fn new(
        orders: mpsc::Sender<Order>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        events: EventLog,
        by: String,
    ) -> Self {
        Self { orders, snapshot, events, by }
    }

    /// Sends a command and waits until the engine accepted or refused it.
    pub async fn send(&self, command: Command) -> Result<(), Refusal> {
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

    /// A client without an engine, for screens and tests: shows `snapshot`, refuses every command.
    pub fn detached(snapshot: Snapshot) -> (Self, watch::Sender<Arc<Snapshot>>, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(64);
        let (publish, watched) = watch::channel(Arc::new(snapshot));
        (Self::new(orders, watched, EventLog::default(), "ops@test".into()), publish, received)
    }
}
