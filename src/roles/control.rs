//! `pause`, `resume`, `extend`, `stop`, `cleanup`: one command each, and the line that says what became of it.

use super::{
    ask::Asker,
    exit,
    find::{self, Found},
};
use crate::{
    config,
    model::{Command, Limit, Plan, Problem, Refusal, Secrets, Side, Snapshot},
    secret::Secret,
    session::{
        Client,
        launch::{self, Launch},
        protocol::Logins,
        remote,
    },
    store::{self, StoredEndpoint, Summary},
};
use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Sends one command and says what the migration does now.
pub async fn send(name: Option<&str>, command: Command) -> anyhow::Result<u8> {
    let (summary, mut client) = find::engine_of(name).await?;
    let before = client.snapshot();
    match client.send(command).await {
        Ok(()) => {
            let snapshot = settled(&mut client, &before).await;
            say(&summary.name, &snapshot);
            Ok(exit::DONE)
        }
        Err(refusal) => refused(&refusal),
    }
}

/// `throttle [NAME] RATE`: another limit on source reads.
pub async fn throttle(name: Option<&str>, limit: Limit) -> anyhow::Result<u8> {
    let (summary, client) = find::engine_of(name).await?;
    if let Err(refusal) = client.send(Command::Throttle(limit)).await {
        return refused(&refusal);
    }
    let _ = writeln!(std::io::stdout(), "{}: limit on source reads: {limit}", summary.name);
    Ok(exit::DONE)
}

/// Says why not; the exit code tells a gate from a failure.
pub fn refused(refusal: &Refusal) -> anyhow::Result<u8> {
    let _ = writeln!(std::io::stderr(), "mongoferry: refused: {refusal}");
    Ok(match refusal {
        Refusal::NotNow(_) => exit::REFUSED,
        Refusal::Problem(_) | Refusal::EngineGone => exit::ERROR,
    })
}

/// The snapshot that shows the effect of a command, or the newest after a moment.
async fn settled(client: &mut Client, before: &Snapshot) -> Snapshot {
    let changed = |snapshot: &Snapshot| {
        (snapshot.phase, snapshot.extensions, snapshot.error.is_some())
            != (before.phase, before.extensions, before.error.is_some())
    };
    let shown = super::autopilot::wait_for(client, changed);
    let _ = tokio::time::timeout(Duration::from_secs(2), shown).await;
    (*client.snapshot()).clone()
}

fn say(name: &str, snapshot: &Snapshot) {
    let deadline = snapshot.cutover_deadline.map(|end| format!(", cutover window ends {end:.0}")).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{name}: {}{deadline}", snapshot.phase);
}

/// `resume [NAME] [--plan P.toml]`: goes on after a pause; takes the migration up when its engine is gone.
pub async fn resume(name: Option<&str>, plan: Option<&Path>) -> anyhow::Result<u8> {
    let summary = find::find(name)?;
    if summary.is_running {
        match send(Some(&summary.name), Command::Resume).await {
            // It was ending when it was looked at.
            Err(_) if find::find(Some(&summary.name)).is_ok_and(|now| !now.is_running) => {}
            answer => return answer,
        }
    }
    let plan = match plan {
        Some(path) => Some(config::read_plan(&std::path::absolute(path)?)?),
        None => None,
    };
    let client = take_up(&summary, plan).await?;
    say(&summary.name, &client.snapshot());
    Ok(exit::DONE)
}

/// Starts a new engine on a migration whose engine is gone, and attaches to it.
pub async fn take_up(summary: &Summary, plan: Option<Plan>) -> Result<Client, Problem> {
    if summary.phase.is_over() {
        return Err(find::no_engine(summary));
    }
    let logins = logins(summary, plan).await?;
    let socket = launch::launch(&Launch::Resume { folder: summary.folder.clone(), logins }).await?;
    remote::attach(&socket, find::caller(false, true)).await
}

/// The secrets of both clusters: from `plan`, from where the first plan said, else from the operator.
pub async fn logins(summary: &Summary, plan: Option<Plan>) -> Result<Logins, Problem> {
    let given = plan.map(|plan| (Secrets::from(&plan.source), Secrets::from(&plan.destination)));
    let (source, destination) = given.unwrap_or_default();
    Ok(Logins {
        source: secrets(&summary.plan.source, source, "source").await?,
        destination: secrets(&summary.plan.destination, destination, "destination").await?,
    })
}

/// A client certificate is read where the first plan said; a pasted one has to come with a plan.
async fn secrets(endpoint: &StoredEndpoint, given: Secrets, side: &'static str) -> Result<Secrets, Problem> {
    let problem = |why: String| {
        let fix = "Give a plan that says where it is (client_certificate_file): mongoferry resume NAME --plan P.toml";
        Problem {
            written: String::new(),
            ..Problem::before_writing(
                Side::Host,
                format!("the client certificate of the {side} is needed again"),
                why,
                fix,
            )
        }
    };
    let client_certificate = match (given.client_certificate, &endpoint.client_certificate_from) {
        (Some(given), _) => Some(given),
        (None, Some(path)) => Some(config::read_client_certificate(path).map_err(problem)?),
        (None, None) if endpoint.has_client_certificate => {
            return Err(problem("it was pasted and is not kept anywhere".into()));
        }
        (None, None) => None,
    };
    Ok(Secrets { password: password(endpoint, given.password, side).await?, client_certificate })
}

/// From the plan that was given, from where the first plan said, else from the operator.
async fn password(
    endpoint: &StoredEndpoint,
    given: Option<Secret>,
    side: &'static str,
) -> Result<Option<Secret>, Problem> {
    if given.is_some() || !endpoint.has_password {
        return Ok(given);
    }
    let problem = |why: String| {
        let fix = "Give a plan that says where the passwords are: mongoferry resume NAME --plan P.toml";
        Problem {
            written: String::new(),
            ..Problem::before_writing(Side::Host, format!("the password of the {side} is needed again"), why, fix)
        }
    };
    if let Some(from) = &endpoint.password_from {
        return config::read_password(from).map(Some).map_err(problem);
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(problem("it was typed, it is not kept anywhere, and there is no terminal to ask on".into()));
    }
    let user = endpoint.username.as_deref().unwrap_or_default();
    let typed = Asker::default().secret(&format!("Password of {user} on the {side}:")).await;
    match typed {
        Ok(Some(secret)) => Ok(Some(secret)),
        Ok(None) => Err(problem("nothing was typed".into())),
        Err(error) => Err(problem(error.to_string())),
    }
}

/// `cleanup [NAME] [--forget]`: what mongoferry keeps on this host for a migration that is over.
pub async fn cleanup(name: Option<&str>, forget: bool) -> anyhow::Result<u8> {
    let found = find::reach(name, false, false).await?;
    let (summary, phase) = (&found.summary, found.snapshot().phase);
    if !phase.is_over() {
        let why = format!(
            "{} is {phase}; cleanup of the clusters begins by itself when the destination accepts writes, and \
             \"mongoferry stop {0}\" gives the migration up",
            summary.name
        );
        return refused(&Refusal::NotNow(why));
    }
    let folder = summary.folder.clone();
    end_engine(found).await?;
    if forget {
        std::fs::remove_dir_all(&folder)?;
        let _ = writeln!(std::io::stdout(), "removed {}", folder.display());
        return Ok(exit::DONE);
    }
    let removed = store::remove_journal(&folder)?;
    let what = if removed.is_empty() { "nothing was left".into() } else { format!("removed {}", removed.join(", ")) };
    let _ = writeln!(std::io::stdout(), "{what} in {}; the report stays", folder.display());
    Ok(exit::DONE)
}

/// An engine whose migration is over only shows it; it is asked to end, so that nothing is written any more.
async fn end_engine(found: Found) -> Result<(), Problem> {
    let Found { summary, client } = found;
    if client.is_none() {
        return Ok(());
    }
    drop(client);
    let folder: PathBuf = summary.folder.clone();
    let pid = i32::try_from(summary.owner.pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    for _ in 0..200 {
        if store::summary(&folder)?.is_none_or(|summary| !summary.is_running) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let what = format!("the engine of {} does not end", summary.name);
    Err(Problem::before_writing(Side::Host, what, format!("process {}", summary.owner.pid), "End it, then try again."))
}
