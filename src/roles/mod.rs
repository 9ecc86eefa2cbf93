//! The roles of the binary: wizard, demo, validate, run, completions. Glue between clients and the engine, and the
//! place where errors become exit codes (0 done, 1 error, 2 validation failed, 3 refused, 4 expired).

mod autopilot;
mod demo;
mod run;
mod validate;
mod wizard;

use crate::{
    cli::{Cli, Verb},
    engine::{ApplicationLink, Engine, EngineSettings},
    model::{Phase, Plan, Problem},
    paths, store,
};
use clap::CommandFactory;
use std::io::Write;

/// Exit codes, stable (DESIGN.md section 3).
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// An error, or bad usage.
    pub const ERROR: u8 = 1;
    /// At least one check failed.
    pub const VALIDATION_FAILED: u8 = 2;
    /// Refused by a gate.
    pub const REFUSED: u8 = 3;
    /// The cutover window passed.
    pub const EXPIRED: u8 = 4;
}

/// Plays the role that the arguments ask for and returns the exit code.
pub async fn play(cli: Cli) -> u8 {
    let outcome = match cli.command {
        None => wizard::play(cli.look).await,
        Some(Verb::Demo(arguments)) => demo::play(arguments, cli.look).await,
        Some(Verb::Validate { plan, json }) => validate::play(&plan, json).await,
        Some(Verb::Run { plan, cutover, json, accept_warnings, resume }) => {
            run::play(&plan, run::Settings { cutover, json, accept_warnings }, resume).await
        }
        Some(Verb::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mongoferry", &mut script);
            // A reader that stops early (`| head`) is not an error.
            let _ = std::io::stdout().write_all(&script);
            Ok(exit::DONE)
        }
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "mongoferry: {error:#}");
        exit::ERROR
    })
}

/// An engine with its state under the platform's state directory, and the log that goes with it.
fn start_engine(application: Option<ApplicationLink>) -> Result<(Engine, crate::telemetry::Guard), Problem> {
    let state_root = paths::state_root()?;
    let guard = crate::telemetry::start(&state_root.join("log"))?;
    Ok((Engine::start(EngineSettings { state_root, application }), guard))
}

/// The engine of an unfinished migration, with the passwords that `plan` holds. `None` when there is none of that name.
fn resume_engine(plan: &Plan) -> Result<Option<(Engine, crate::telemetry::Guard)>, Problem> {
    let state_root = paths::state_root()?;
    let unfinished = |summary: &store::Summary| {
        summary.plan.name == plan.name && !matches!(summary.phase, Phase::Completed | Phase::Stopped)
    };
    let Some(found) = store::list(&state_root).into_iter().find(unfinished) else { return Ok(None) };
    let guard = crate::telemetry::start(&state_root.join("log"))?;
    let plan = found.plan.with_secrets((&plan.source).into(), (&plan.destination).into());
    let engine = Engine::resume(EngineSettings { state_root, application: None }, &found.folder, plan)?;
    Ok(Some((engine, guard)))
}

/// `user@tty`, for the event log and the report.
fn operator() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "operator".into());
    let tty = rustix::termios::ttyname(std::io::stdin(), Vec::new())
        .ok()
        .and_then(|name| name.into_string().ok())
        .and_then(|name| name.strip_prefix("/dev/").map(String::from));
    match tty {
        Some(tty) => format!("{user}@{tty}"),
        None => format!("{user}@no-tty"),
    }
}

/// Resolves on Ctrl-C or SIGTERM.
async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut hangup) = match (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
        (Ok(terminate), Ok(hangup)) => (terminate, hangup),
        _ => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "interrupted (Ctrl-C)",
        _ = terminate.recv() => "terminated (SIGTERM)",
        _ = hangup.recv() => "the terminal went away (SIGHUP)",
    }
}
