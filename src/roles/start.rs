//! `mongoferry start --plan P.toml`: validate and start in a process of its own; returns when the engine really runs.

use super::{autopilot, exit, find, run, validate::lines};
use crate::{
    config,
    model::{Command, Plan, Snapshot, ValidationReport, check::CheckState},
    session::{
        Client,
        launch::{self, Launch},
        remote,
    },
};
use anyhow::{Context, bail};
use std::{io::Write, path::Path, sync::Arc, time::Duration};

/// Validates, starts, prints the name on standard output; everything else goes to standard error.
pub async fn play(path: &Path, accept_warnings: bool, reverse: Option<Duration>) -> anyhow::Result<u8> {
    // What the plan names is found again by an engine that works in another folder.
    let mut plan = config::read_plan(&std::path::absolute(path)?)?;
    plan.options.reverse = reverse.or(plan.options.reverse);
    launch_plan(plan, accept_warnings).await
}

/// The same with a plan that is there already.
pub async fn launch_plan(plan: Plan, accept_warnings: bool) -> anyhow::Result<u8> {
    let clear = plan.options.clear_destination;
    let socket = launch::launch(&Launch::Fresh).await?;
    let mut client = remote::attach(&socket, find::caller(false, false)).await?;
    let report = match validate(&mut client, plan).await? {
        Ok(report) => report,
        Err(why) => bail!("{why}; nothing has been written to either cluster"),
    };
    let _ = write!(std::io::stderr(), "{}", lines(&report));
    if !report.passed() {
        return Ok(exit::VALIDATION_FAILED);
    }
    if report.count(CheckState::Warn) > 0 && !accept_warnings {
        let _ = writeln!(std::io::stderr(), "mongoferry: validation gave warnings; add --accept-warnings to go on");
        return Ok(exit::REFUSED);
    }
    run::start(&mut client, accept_warnings, clear).await.context("the start was refused")?;
    let snapshot = registered(&mut client).await?;
    let _ = writeln!(std::io::stdout(), "{}", snapshot.name);
    let _ = writeln!(
        std::io::stderr(),
        "{} runs without this terminal. Next: mongoferry attach {0}, or mongoferry status {0}",
        snapshot.name
    );
    Ok(exit::DONE)
}

/// The finished report, or why it was interrupted.
pub async fn validate(client: &mut Client, plan: Plan) -> anyhow::Result<Result<ValidationReport, &'static str>> {
    client.send(Command::Validate(Box::new(plan))).await.context("validation was refused")?;
    let finished = |snapshot: &Snapshot| snapshot.validation.as_ref().is_some_and(|report| report.finished);
    let snapshot = tokio::select! {
        snapshot = autopilot::wait_for(client, finished) => snapshot.context("the engine ended during validation")?,
        why = super::interrupted() => return Ok(Err(why)),
    };
    Ok(Ok(snapshot.validation.clone().unwrap_or_else(ValidationReport::waiting)))
}

/// Waits until every command finds the migration by its name.
pub async fn registered(client: &mut Client) -> anyhow::Result<Arc<Snapshot>> {
    let started = autopilot::wait_for(client, |snapshot| snapshot.started.is_some());
    let snapshot =
        started.await.context("the engine ended right after the start; look at the log in the state folder")?;
    for _ in 0..300 {
        if find::find(Some(&snapshot.name)).is_ok_and(|summary| summary.is_running) {
            return Ok(snapshot);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("{} was started, and its state does not appear in the state folder; look at the log there", snapshot.name)
}
