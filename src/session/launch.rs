//! The start of an engine in a process of its own: the same binary, in its own session, without a terminal. What it needs,
//! passwords included, goes through an inherited pipe, never through arguments, environment or disk.

use super::protocol::{Logins, MOST_ASKED, read_frame, write_frame};
use crate::model::{Problem, Side};
use rustix::{fs::Mode, process};
use serde::{Deserialize, Serialize};
use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

/// The hidden subcommand of the engine's process.
pub const VERB: &str = "engine";
/// An engine says within this time that it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the new engine shall do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Launch {
    /// Wait for a plan.
    Fresh,
    /// Take up the migration in this folder.
    Resume {
        /// Folder in the state root.
        folder: PathBuf,
        /// The secrets of its plan.
        logins: Logins,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Launched {
    Listening(PathBuf),
    Failed(Problem),
}

fn problem(what: &str, why: impl ToString) -> Problem {
    Problem {
        side: Side::Host,
        what: what.into(),
        why: why.to_string(),
        fix: "The log in the state folder may tell more; \"mongoferry run --plan P.toml\" needs no process of its own."
            .into(),
        retry_helps: true,
        written: "Nothing has been written to either cluster by this.".into(),
    }
}

/// Starts an engine; returns its socket when it listens.
pub async fn launch(order: &Launch) -> Result<PathBuf, Problem> {
    const WHAT: &str = "the engine cannot be started in a process of its own";
    let failed = |error: io::Error| problem(WHAT, error);
    // A binary that was replaced while it runs is still there under this name.
    let binary = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = tokio::process::Command::new(binary.unwrap_or_else(|| PathBuf::from("/proc/self/exe")));
    command.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(home) = std::env::var_os("MONGOFERRY_HOME") {
        // The engine works in another folder.
        command.env("MONGOFERRY_HOME", std::path::absolute(Path::new(&home)).map_err(failed)?);
    }
    let mut child = command.spawn().map_err(failed)?;
    let (Some(mut to), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(problem(WHAT, "it has no pipes"));
    };
    let handshake = async {
        write_frame(&mut to, order).await?;
        read_frame::<Launched>(&mut from, MOST_ASKED).await
    };
    match tokio::time::timeout(PATIENCE, handshake).await {
        Ok(Ok(Some(Launched::Listening(socket)))) => Ok(socket),
        Ok(Ok(Some(Launched::Failed(problem)))) => Err(problem),
        Ok(Ok(None)) => Err(problem(WHAT, "it ended at once")),
        Ok(Err(error)) => Err(problem(WHAT, error)),
        Err(_) => Err(problem(WHAT, format!("it did not answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The engine's side of the pipe to whoever launched it.
#[derive(Debug)]
pub struct Launcher {
    _private: (),
}

/// Called first in the engine's process: leaves the launcher's session and terminal, and reads what to do.
pub async fn detach() -> io::Result<(Launch, Launcher)> {
    // Fails only for a leader of a group, which has a session of its own already.
    let _ = process::setsid();
    process::umask(Mode::RWXG | Mode::RWXO);
    std::env::set_current_dir("/")?;
    let order = read_frame(&mut tokio::io::stdin(), MOST_ASKED).await?;
    let order = order.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Ok((order, Launcher { _private: () }))
}

impl Launcher {
    /// Tells the launcher how it went and lets go of it: from here on nothing of it is held open.
    pub async fn tell(self, outcome: Result<PathBuf, Problem>) -> io::Result<()> {
        let launched = match outcome {
            Ok(socket) => Launched::Listening(socket),
            Err(problem) => Launched::Failed(problem),
        };
        // It may be gone already; the engine ends by itself when nobody comes.
        let _ = write_frame(&mut tokio::io::stdout(), &launched).await;
        let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&nothing)?;
        rustix::stdio::dup2_stdout(&nothing)?;
        rustix::stdio::dup2_stderr(&nothing)?;
        Ok(())
    }
}
