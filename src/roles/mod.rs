//! The roles of the binary, one file for each or for a few that belong together. Glue between clients and the engine, and
//! the place where errors become exit codes (0 done, 1 error, 2 validation failed, 3 refused, 4 expired or different).

mod ask;
mod attach;
mod autopilot;
mod compare;
mod control;
mod cutover;
mod demo;
mod doctor;
mod engine;
mod find;
mod host;
mod look;
mod notify;
mod plain_wizard;
mod redact;
mod reverse;
mod run;
mod show;
mod start;
mod validate;
mod wizard;

use crate::{
    cli::{Cli, Verb, VerifyArgs},
    model::Command,
};
use clap::CommandFactory;
use std::{io::Write, time::Duration};

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
    /// `verify`: the clusters differ.
    pub const DIFFERS: u8 = 4;
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
        Some(Verb::Start { plan, accept_warnings, reverse }) => start::play(&plan, accept_warnings, reverse).await,
        Some(Verb::Attach { name, watch, json }) => attach::play(name.as_deref(), watch, json, cli.look).await,
        Some(Verb::List { json }) => look::list(json),
        Some(Verb::Status { name, json, watch }) => look::status(name.as_deref(), json, watch).await,
        Some(Verb::Pause { name }) => control::send(name.as_deref(), Command::Pause).await,
        Some(Verb::Resume { name, plan }) => control::resume(name.as_deref(), plan.as_deref()).await,
        Some(Verb::Extend { name }) => control::send(name.as_deref(), Command::Extend).await,
        Some(Verb::Throttle { name, limit }) => control::throttle(name.as_deref(), limit).await,
        Some(Verb::Notify { name, plan }) => notify::play(name.as_deref(), plan.as_deref()).await,
        Some(Verb::Cutover(arguments)) => cutover::play(arguments).await,
        Some(Verb::Stop { name }) => control::send(Some(&name), Command::Stop).await,
        Some(Verb::Reverse(arguments)) => reverse::play(arguments).await,
        Some(Verb::Cleanup { name, forget }) => control::cleanup(name.as_deref(), forget).await,
        Some(Verb::Verify(VerifyArgs { name, plan, json, show: Some(named), .. })) => {
            show::play(name.as_deref(), plan.as_deref(), named, json).await
        }
        Some(Verb::Verify(VerifyArgs { plan: Some(plan), json, settle, .. })) => {
            compare::play(&plan, Duration::from_secs(settle), json).await
        }
        Some(Verb::Verify(VerifyArgs { name, json, .. })) => look::verify(name.as_deref(), json).await,
        Some(Verb::Report { name, json }) => look::report(name.as_deref(), json).await,
        Some(Verb::Doctor { name, output }) => doctor::play(name.as_deref(), output).await,
        Some(Verb::Engine) => engine::play().await,
        Some(Verb::Man { into }) => manual(into.as_deref()),
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

/// `man`: the page of the whole program, or one per command into a folder.
fn manual(into: Option<&std::path::Path>) -> anyhow::Result<u8> {
    match into {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder)?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            // A reader that stops early (`| head`) is not an error.
            let _ = std::io::stdout().write_all(&page);
        }
    }
    Ok(exit::DONE)
}

/// `user@tty`, for the event log and the report.
fn operator() -> String {
    let (user, tty) = operator_parts();
    format!("{user}@{}", tty.as_deref().unwrap_or("no-tty"))
}

/// User and terminal of this process.
fn operator_parts() -> (String, Option<String>) {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "operator".into());
    let tty = rustix::termios::ttyname(std::io::stdin(), Vec::new())
        .ok()
        .and_then(|name| name.into_string().ok())
        .and_then(|name| name.strip_prefix("/dev/").map(String::from));
    (user, tty)
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
