//! `mongoferry notify [NAME | --plan P.toml]`: a test notice by every channel, and what became of each.

use super::{control::refused, exit, find};
use crate::{
    config,
    engine::checkpoint::host_name,
    model::{Command, Notice, notice::NoticeKind},
    notify::send,
};
use anyhow::bail;
use jiff::Timestamp;
use std::{io::Write, path::Path, time::Duration};

/// Longest wait for what the engine says of its channels.
const PATIENCE: Duration = Duration::from_secs(25);

/// Tries the channels; exit 1 when one failed.
pub async fn play(name: Option<&str>, plan: Option<&Path>) -> anyhow::Result<u8> {
    match plan {
        Some(path) => of_plan(path).await,
        None => of_migration(name).await,
    }
}

async fn of_plan(path: &Path) -> anyhow::Result<u8> {
    let plan = config::read_plan(path)?;
    let channels = plan.options.notify.channels();
    if channels.is_empty() {
        bail!("{}: there is no [notify] section with a channel", path.display());
    }
    let notice = Notice {
        kind: NoticeKind::Test,
        migration: plan.name.clone(),
        text: format!("a test of the notices, asked for by {}", super::operator()),
        at: Timestamp::now(),
        source: plan.source.hosts().to_string(),
        destination: plan.destination.hosts().to_string(),
        host: host_name(),
    };
    let mut code = exit::DONE;
    for channel in channels {
        let line = match send(&plan.options.notify, channel, &notice).await {
            Ok(()) => format!("{}: sent\n", channel.word()),
            Err(why) => {
                code = exit::ERROR;
                format!("{}: FAILED: {why}\n", channel.word())
            }
        };
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    Ok(code)
}

/// The engine tries them with what it was given, and says what became of it in its event log.
async fn of_migration(name: Option<&str>) -> anyhow::Result<u8> {
    let (_, client) = find::engine_of(name).await?;
    let mut known = *client.events().watch().borrow();
    let mut waiting = client.snapshot().notices.len();
    if let Err(refusal) = client.send(Command::TestNotices).await {
        return refused(&refusal);
    }
    let (mut code, mut watch) = (exit::DONE, client.events().watch());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while waiting > 0 {
        for event in client.events().since(known) {
            known = event.seq;
            if event.kind == "notice" {
                waiting = waiting.saturating_sub(1);
                code = if event.text.starts_with("sent by") { code } else { exit::ERROR };
                let _ = writeln!(std::io::stdout(), "{}", event.text);
            }
        }
        if waiting > 0 && !matches!(tokio::time::timeout_at(deadline, watch.changed()).await, Ok(Ok(()))) {
            bail!("the engine has not said yet what became of it; see mongoferry status");
        }
    }
    Ok(code)
}
