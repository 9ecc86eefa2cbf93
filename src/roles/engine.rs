//! The engine's own process: no terminal, a socket, a log. It outlives whoever started it, and ends by itself when there is
//! nothing left to do and nobody who looks.

use super::{exit, host::Hosted};
use crate::{
    model::{Problem, Side},
    session::launch::{self, Launch},
    store,
};
use anyhow::Context;
use std::time::Duration;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep_until},
};

/// Without a migration and without a client it ends after this time.
const UNUSED: Duration = Duration::from_secs(5);
/// With a migration that is over and without a client.
const OVER: Duration = Duration::from_secs(60);

/// Plays the engine until it is not needed any more, or SIGTERM.
pub async fn play() -> anyhow::Result<u8> {
    let (order, launcher) = launch::detach().await.context("this is started by mongoferry itself")?;
    let hosted = match begin(order).await {
        Ok(hosted) => hosted,
        Err(problem) => {
            launcher.tell(Err(problem)).await?;
            return Ok(exit::ERROR);
        }
    };
    log_panics();
    launcher.tell(Ok(hosted.socket())).await?;
    let why = tokio::select! {
        why = asked_to_end() => why,
        why = unneeded(&hosted) => why,
    };
    tracing::info!("the engine ends: {why}");
    hosted.end().await;
    Ok(exit::DONE)
}

async fn begin(order: Launch) -> Result<Hosted, Problem> {
    match order {
        Launch::Fresh => Hosted::fresh(None).await,
        Launch::Resume { folder, logins } => {
            let summary = store::summary(&folder)?.ok_or_else(|| {
                let what = format!("there is no migration in {}", folder.display());
                Problem::before_writing(Side::Host, what, "its summary is not there", "Look at \"mongoferry list\".")
            })?;
            let plan = summary.plan.with_secrets(logins.source, logins.destination);
            Hosted::resumed(&folder, plan).await
        }
    }
}

/// Nobody reads standard error any more.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!("panic: {panic}")));
}

/// SIGTERM. Hangups and interrupts of whatever terminal are none of its business.
async fn asked_to_end() -> &'static str {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::hangup()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)) = signals else { return std::future::pending().await };
    loop {
        tokio::select! {
            _ = terminate.recv() => return "SIGTERM",
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

async fn unneeded(hosted: &Hosted) -> &'static str {
    let (mut clients, mut client) = (hosted.clients(), hosted.client());
    let mut free_since: Option<Instant> = None;
    loop {
        let snapshot = client.snapshot();
        let (is_started, is_over) = (snapshot.started.is_some(), snapshot.phase.is_over());
        let is_free = *clients.borrow_and_update() == 0 && (is_over || !is_started);
        free_since = if is_free { free_since.or_else(|| Some(Instant::now())) } else { None };
        let (patience, why) = if is_over { (OVER, "the migration is over") } else { (UNUSED, "nothing was started") };
        let due = free_since.map(|since| since + patience);
        if due.is_some_and(|due| Instant::now() >= due) {
            return why;
        }
        tokio::select! {
            changed = clients.changed() => if changed.is_err() { return "it does not listen any more" },
            changed = client.changed() => if !changed { return "its loop has ended" },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
}
