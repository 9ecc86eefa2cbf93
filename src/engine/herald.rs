//! Carries notices to those who are not at the terminal, beside everything else: a notice that does not arrive is tried
//! again, said in the event log, and never in anybody's way.

use super::notices::Notices;
use crate::{
    model::{Notice, Notify, Severity, notice::Channel},
    notify,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pauses between the attempts of one notice by one channel.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(600)];
/// How long an engine that ends waits for what is on its way.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// Notices on their way.
#[derive(Debug)]
pub struct Herald {
    events: Notices,
    under_way: JoinSet<()>,
    /// No further attempts.
    ending: CancellationToken,
}

impl Herald {
    /// Nothing to tell yet.
    pub fn new(events: Notices) -> Self {
        Self { events, under_way: JoinSet::new(), ending: CancellationToken::new() }
    }

    /// Sends a notice by every channel of the plan; what became of it goes into the event log.
    pub fn tell(&mut self, settings: &Notify, notice: Notice) {
        while self.under_way.try_join_next().is_some() {}
        let (settings, notice) = (Arc::new(settings.clone()), Arc::new(notice));
        for channel in settings.channels() {
            let (settings, notice, events) = (settings.clone(), notice.clone(), self.events.clone());
            let ending = self.ending.clone();
            self.under_way.spawn(async move { carry(&settings, channel, &notice, (&events, &ending)).await });
        }
    }

    /// The engine ends: what is being sent at this moment may arrive.
    pub async fn end(&mut self) {
        self.ending.cancel();
        let rest = async { while self.under_way.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WAIT, rest).await;
    }
}

async fn carry(settings: &Notify, channel: Channel, notice: &Notice, (events, ending): (&Notices, &CancellationToken)) {
    let word = channel.word();
    let mut pauses = PAUSES.iter();
    loop {
        match notify::send(settings, channel, notice).await {
            Ok(()) => return events.record(Severity::Info, "notice", format!("sent by {word}: {}", notice.text)),
            Err(why) => match pauses.next().filter(|_| !ending.is_cancelled()) {
                Some(pause) => {
                    let text = format!("{word} failed and is tried again in {} s: {why}", pause.as_secs());
                    events.record(Severity::Warn, "notice", text);
                    tokio::select! {
                        () = tokio::time::sleep(*pause) => {}
                        () = ending.cancelled() => {}
                    }
                }
                None => {
                    let text = format!("{word} failed for good: {why}; not told: {}", notice.text);
                    return events.record(Severity::Error, "notice", text);
                }
            },
        }
    }
}
