//! What tasks tell while they work: events, and what stands in their way until somebody cures it.

use crate::{
    model::{Problem, Severity, Side},
    session::EventLog,
};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Deref,
};
use tokio::sync::watch;

/// The event log plus the hindrances that stand right now. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    events: EventLog,
    /// By the name of the work; how many tasks wait at it.
    standing: watch::Sender<BTreeMap<String, (u32, Problem)>>,
    again: watch::Sender<u64>,
    logged_out: watch::Sender<HashSet<Side>>,
}

impl Deref for Notices {
    type Target = EventLog;

    fn deref(&self) -> &EventLog {
        &self.events
    }
}

impl Notices {
    /// Nothing stands in the way.
    pub fn new(events: EventLog) -> Self {
        Self { events, ..Self::default() }
    }

    /// A task begins to wait for the cure of `problem`; `what` names its work. The first one is an event.
    pub fn hinder(&self, what: &str, problem: Problem) {
        if !self.standing.borrow().contains_key(what) {
            self.events.record(Severity::Error, "hindered", problem.to_string());
        }
        self.standing.send_modify(|standing| standing.entry(what.into()).or_insert((0, problem)).0 += 1);
    }

    /// A task that waited goes on, or gave up.
    pub fn relieve(&self, what: &str) {
        self.standing.send_modify(|standing| {
            if let Some((waiting, _)) = standing.get_mut(what) {
                *waiting = waiting.saturating_sub(1);
                if *waiting == 0 {
                    standing.remove(what);
                }
            }
        });
    }

    /// One of the problems that stand in the way now.
    pub fn hindrance(&self) -> Option<Problem> {
        self.standing.borrow().values().next().map(|(_, problem)| problem.clone())
    }

    /// Wakes everything that waits for a cure.
    pub fn try_again(&self) {
        self.again.send_modify(|count| *count += 1);
    }

    /// Connections of that side have lost their login.
    pub fn log_out(&self, side: Side) {
        self.logged_out.send_if_modified(|sides| sides.insert(side));
    }

    /// Waits for sides whose connections have lost their login; each is handed out once.
    pub async fn logged_out(&self) -> HashSet<Side> {
        // The sender is `self`.
        let _ = self.logged_out.subscribe().wait_for(|sides| !sides.is_empty()).await;
        let mut taken = HashSet::new();
        self.logged_out.send_modify(|sides| taken = std::mem::take(sides));
        taken
    }

    /// Changes when everything that waits shall try again.
    pub fn tried_again(&self) -> watch::Receiver<u64> {
        self.again.subscribe()
    }
}
