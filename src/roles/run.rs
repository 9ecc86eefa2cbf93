//! `mongoferry run --plan P.toml`: a migration in the foreground, by plain lines or NDJSON.

use super::{autopilot, exit, validate::lines};
use crate::{
    cli::CutoverMode,
    config,
    model::{Command, Phase, Plan, Snapshot, ValidationReport, check::CheckState},
    plain,
    session::Client,
};
use anyhow::{Context, bail};
use std::{io::Write, path::Path, sync::Arc};
use tokio::io::{AsyncBufReadExt, BufReader};

/// The command line's choices.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Who cuts over.
    pub cutover: CutoverMode,
    /// NDJSON instead of lines.
    pub json: bool,
    /// Warnings of the validation are accepted.
    pub accept_warnings: bool,
}

/// Migrates and returns the exit code.
pub async fn play(path: &Path, settings: Settings, resume: bool) -> anyhow::Result<u8> {
    let plan = config::read_plan(path)?;
    if resume && let Some((engine, _log)) = super::resume_engine(&plan)? {
        let code = go_on(engine.client(super::operator()), settings, false).await;
        engine.shut_down().await;
        return code;
    }
    let (engine, _log) = super::start_engine(None)?;
    let client = engine.client(super::operator());
    let code = migrate(client, plan, settings, false).await;
    engine.shut_down().await;
    code
}

/// Walks a plan from validation to the end. With `demo` the application is stopped when the walk-through asks for it.
pub async fn migrate(mut client: Client, plan: Plan, settings: Settings, demo: bool) -> anyhow::Result<u8> {
    let clear = plan.options.clear_destination;
    client.send(Command::Validate(Box::new(plan))).await.context("validation was refused")?;
    let validating =
        autopilot::wait_for(&mut client, |snapshot| snapshot.validation.as_ref().is_some_and(|report| report.finished));
    let snapshot = tokio::select! {
        snapshot = validating => snapshot.context("the engine ended during validation")?,
        why = super::interrupted() => bail!("{why}; nothing has been written to either cluster"),
    };
    let report = snapshot.validation.clone().unwrap_or_else(ValidationReport::waiting);
    print_validation(&report, settings.json)?;
    if !report.passed() {
        return Ok(exit::VALIDATION_FAILED);
    }
    if report.count(CheckState::Warn) > 0 && !settings.accept_warnings {
        let _ = writeln!(std::io::stderr(), "mongoferry: validation gave warnings; add --accept-warnings to go on");
        return Ok(exit::REFUSED);
    }
    wait_until_startable(&mut client).await;
    autopilot::start(&client, settings.accept_warnings, clear).await.context("the start was refused")?;
    go_on(client, settings, demo).await
}

/// Walks a started migration to its end, or until a signal: then everything is kept for a resume.
async fn go_on(client: Client, settings: Settings, demo: bool) -> anyhow::Result<u8> {
    let follower = tokio::spawn(plain::follow(client.clone(), std::io::stdout(), settings.json));
    let stand = tokio::select! {
        stand = drive(client.clone(), settings.cutover, demo) => stand,
        why = super::interrupted() => {
            follower.abort();
            if demo {
                bail!("{why}; the demo ends");
            }
            let _ = writeln!(std::io::stderr(), "mongoferry: {why}; the migration is kept; go on with it by --resume");
            return Ok(exit::DONE);
        }
    };
    let code = finish(&client, stand).await;
    let _ = follower.await;
    let last = client.snapshot();
    if let Some(path) = &last.report
        && !settings.json
    {
        let _ = writeln!(std::io::stdout(), "report  {path}");
    }
    code
}

/// The machine hears of the finished validation right after the report says so.
async fn wait_until_startable(client: &mut Client) {
    let settle = std::time::Duration::from_millis(300);
    let _ = tokio::time::timeout(settle, client.changed()).await;
}

async fn drive(client: Client, cutover: CutoverMode, demo: bool) -> autopilot::Stand {
    match cutover {
        CutoverMode::Auto => autopilot::cut_over(client, demo).await,
        CutoverMode::Manual => {
            let typed = tokio::spawn(typed_commands(client.clone()));
            let mut watched = client;
            let over = |snapshot: &Snapshot| snapshot.phase.is_over() || snapshot.phase == Phase::Expired;
            let ended = autopilot::wait_for(&mut watched, over).await;
            typed.abort();
            match ended {
                Some(snapshot) if snapshot.phase == Phase::Expired => autopilot::Stand::Expired,
                _ => autopilot::Stand::Over,
            }
        }
    }
}

/// Commands on standard input, one per line; what they do or why not is said on standard error.
async fn typed_commands(client: Client) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let command = match line.trim() {
            "" => continue,
            "pause" => Command::Pause,
            "resume" => Command::Resume,
            "extend" => Command::Extend,
            "cutover" => Command::PrepareCutover,
            "continue" => Command::ContinueCutover { assume_stopped: false },
            "continue --assume-stopped" => Command::ContinueCutover { assume_stopped: true },
            "back" => Command::GoBack,
            "repair" => Command::RepairMismatches,
            "retry" => Command::Retry,
            "skip-verification" => Command::SkipVerification,
            "stop" => Command::Stop,
            other => {
                let _ = writeln!(
                    std::io::stderr(),
                    "unknown command {other:?}; known: pause resume extend cutover continue back repair retry \
                     skip-verification stop"
                );
                continue;
            }
        };
        match client.send(command).await {
            Ok(()) => {}
            Err(refusal) => drop(writeln!(std::io::stderr(), "refused: {refusal}")),
        }
    }
}

async fn finish(client: &Client, stand: autopilot::Stand) -> anyhow::Result<u8> {
    use autopilot::Stand;
    let snapshot: Arc<Snapshot> = client.snapshot();
    match stand {
        Stand::Expired => {
            stop(client).await;
            Ok(exit::EXPIRED)
        }
        Stand::Differs(count) => {
            stop(client).await;
            bail!(
                "{count} documents differ even after they were copied again; the cutover was not finished. {}",
                "Look at the report; the source is untouched and the destination was not opened."
            )
        }
        Stand::FinalizeFailed => {
            stop(client).await;
            bail!("finalizing failed; the lines above name what. The destination was not opened")
        }
        Stand::Over => match snapshot.phase {
            Phase::Completed => Ok(exit::DONE),
            Phase::Failed => match &snapshot.error {
                Some(problem) => bail!("{problem}"),
                None => bail!("the migration failed"),
            },
            phase => bail!("the migration ended in phase {phase}"),
        },
    }
}

async fn stop(client: &Client) {
    // It may be over already; then there is nothing to stop.
    let _ = client.send(Command::Stop).await;
}

fn print_validation(report: &ValidationReport, json: bool) -> anyhow::Result<()> {
    let text = if json {
        let value = serde_json::json!({ "validation": report });
        value.to_string() + "\n"
    } else {
        lines(report)
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
