//! `mongoferry run --plan P.toml`: a migration in the foreground, by plain lines or NDJSON.

use super::{autopilot, exit, host::Hosted, validate::lines};
use crate::{
    cli::CutoverMode,
    config,
    engine::way_back::keep::PREPARING,
    model::{CheckOrder, Command, Phase, Plan, Problem, Refusal, Snapshot, ValidationReport, check::CheckState},
    paths, plain,
    session::Client,
    store,
};
use anyhow::{Context, bail};
use std::{io::Write, path::Path, sync::Arc, time::Duration};
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
    if resume && let Some(hosted) = unfinished(&plan).await? {
        let code = go_on(hosted.client(), settings, false).await;
        hosted.end().await;
        return code;
    }
    let hosted = Hosted::fresh(None).await?;
    let code = migrate(hosted.client(), plan, settings, false).await;
    hosted.end().await;
    code
}

/// The engine of an unfinished migration, with the passwords that `plan` holds. `None` when there is none of that name.
async fn unfinished(plan: &Plan) -> Result<Option<Hosted>, Problem> {
    let of_plan = |summary: &store::Summary| summary.plan.name == plan.name && !summary.phase.is_over();
    let Some(found) = store::list(&paths::state_root()?).into_iter().find(of_plan) else { return Ok(None) };
    let plan = found.plan.with_secrets((&plan.source).into(), (&plan.destination).into());
    Hosted::resumed(&found.folder, plan).await.map(Some)
}

/// Walks a plan from validation to the end. With `demo` the application is stopped when the walk-through asks for it.
pub async fn migrate(mut client: Client, plan: Plan, settings: Settings, demo: bool) -> anyhow::Result<u8> {
    let clear = plan.options.clear_destination;
    let report = match super::start::validate(&mut client, plan).await? {
        Ok(report) => report,
        Err(why) => bail!("{why}; nothing has been written to either cluster"),
    };
    print_validation(&report, settings.json)?;
    if !report.passed() {
        return Ok(exit::VALIDATION_FAILED);
    }
    if report.count(CheckState::Warn) > 0 && !settings.accept_warnings {
        let _ = writeln!(std::io::stderr(), "mongoferry: validation gave warnings; add --accept-warnings to go on");
        return Ok(exit::REFUSED);
    }
    start(&mut client, settings.accept_warnings, clear).await.context("the start was refused")?;
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

/// Starts what was validated. The machine hears of the finished validation right after the report says so, so a refusal
/// in the next moments is not the last word.
pub async fn start(client: &mut Client, accept_warnings: bool, clear: bool) -> Result<(), Refusal> {
    let mut patience = 20;
    loop {
        let answer = autopilot::start(client, accept_warnings, clear).await;
        if !matches!(answer, Err(Refusal::NotNow(_))) || client.snapshot().phase != Phase::Validating || patience == 0 {
            return answer;
        }
        patience -= 1;
        let _ = tokio::time::timeout(Duration::from_millis(100), client.changed()).await;
    }
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

/// What can be typed while a migration runs.
pub const TYPED: &str = "pause resume extend rehearse cutover accept-failed continue back repair retry skip-verification \
     check-first open-first test-notices keep-way-back throttle stop";
/// How long `keep-way-back` keeps it: 72 h.
const WAY_BACK_S: u64 = 72 * 3600;

/// The command that a word stands for.
pub fn typed_command(line: &str) -> Option<Command> {
    Some(match line {
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "extend" => Command::Extend,
        "cutover" => Command::PrepareCutover,
        "continue" => Command::ContinueCutover { assume_stopped: false },
        "continue --assume-stopped" => Command::ContinueCutover { assume_stopped: true },
        "rehearse" => Command::Rehearse,
        "accept-failed" => Command::AcceptFailedIndexes,
        "back" => Command::GoBack,
        "repair" => Command::RepairMismatches,
        "retry" => Command::Retry,
        "skip-verification" => Command::SkipVerification,
        "check-first" => Command::ChooseCheck(CheckOrder::First),
        "open-first" => Command::ChooseCheck(CheckOrder::After),
        "test-notices" => Command::TestNotices,
        "keep-way-back" => Command::KeepWayBack { seconds: WAY_BACK_S },
        "stop" => Command::Stop,
        _ => Command::Throttle(line.strip_prefix("throttle ")?.parse().ok()?),
    })
}

/// Commands on standard input, one per line; what they do or why not is said on standard error.
async fn typed_commands(client: Client) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        obey(&client, line.trim()).await;
    }
}

/// Sends what was typed; a refusal is said on standard error.
pub async fn obey(client: &Client, line: &str) {
    if line.is_empty() {
        return;
    }
    let Some(command) = typed_command(line) else {
        let _ = writeln!(std::io::stderr(), "unknown command {line:?}; known: {TYPED}");
        return;
    };
    if let Err(refusal) = client.send(command).await {
        let _ = writeln!(std::io::stderr(), "refused: {refusal}");
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
        Stand::OpenedDiffering(count) => {
            bail!(
                "{count} documents differ even after they were copied again; the destination accepts writes. Look at the report"
            )
        }
        Stand::FinalizeFailed => {
            stop(client).await;
            bail!("finalizing failed; the lines above name what. The destination was not opened")
        }
        Stand::Over => match snapshot.phase {
            Phase::Completed => {
                // It is started from this process.
                let is_told = |snapshot: &Snapshot| snapshot.way_back.as_deref() != Some(PREPARING);
                let mut waiting = client.clone();
                let _ = autopilot::wait_for(&mut waiting, is_told).await;
                Ok(exit::DONE)
            }
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
