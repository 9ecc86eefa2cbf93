//! Starts the way back of a completed migration from its own engine, which has the logins of both clusters in memory: in
//! a process of its own, like every other migration.

use super::{plan, under_way};
use crate::{
    engine::{notices::Notices, opened::Opened},
    model::{
        CheckState, Command, Plan, Problem, Refusal, Severity, Side, Snapshot, ValidationReport, command::Consent,
        units::show_duration,
    },
    session::{
        Client,
        launch::{self, Launch},
        remote::{self, Caller},
    },
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::time::timeout;

/// The checks and the start are over by then.
const PATIENCE: Duration = Duration::from_secs(300);
/// The engine hears of the result right after the report shows it.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Debug)]
pub struct Wanted {
    /// The completed migration, with its passwords.
    pub forward: Plan,
    /// Where the migrations of this host are.
    pub state_root: PathBuf,
    /// How long it is kept open.
    pub window: Duration,
    /// Who asked, `user@tty`.
    pub by: String,
}

/// What is told while it is being started.
pub const PREPARING: &str = "being prepared";

/// Starts it and says what became of it, in the event log and in the returned sentence.
pub async fn keep(wanted: Wanted, events: Notices) -> String {
    let window = wanted.window;
    let begun = timeout(PATIENCE, begin(wanted)).await.unwrap_or_else(|_| Err(late()));
    match begun {
        Ok(name) => {
            let text = format!("kept open for {}: mongoferry attach {name}", show_duration(window));
            events.record(Severity::Info, "way-back", format!("the way back is {text}"));
            text
        }
        Err(problem) => {
            events.record(Severity::Error, "way-back", format!("there is no way back: {problem}"));
            format!("none: {}; {}", problem.what, problem.why)
        }
    }
}

fn problem(what: &str, why: impl Into<String>, fix: &str) -> Problem {
    Problem::before_writing(Side::Host, what, why, fix)
}

fn late() -> Problem {
    problem("the way back was not started in time", "the checks did not end", "Try: mongoferry reverse NAME")
}

async fn begin(wanted: Wanted) -> Result<String, Problem> {
    let Wanted { forward, state_root, window, by } = wanted;
    if let Some(other) = under_way(&state_root, &forward.name) {
        let why = format!("{other} goes back already");
        return Err(problem("the way back is under way", why, "Look at it with mongoferry status."));
    }
    let opened = Opened::read(&state_root.join(&forward.name))?.ok_or_else(|| super::not_noted(&forward.name))?;
    let plan = plan(forward, &opened, window);
    let socket = launch::launch(&Launch::Fresh).await?;
    let (user, tty) = by.split_once('@').map_or((by.as_str(), None), |(user, tty)| (user, Some(tty.to_string())));
    let caller = Caller { user: user.into(), tty, watch: false, keeps_trying: false };
    let mut client = remote::attach(&socket, caller).await?;
    let refused = |refusal: Refusal| match refusal {
        Refusal::Problem(problem) => *problem,
        refusal => problem("the way back was refused", refusal.to_string(), "Try: mongoferry reverse NAME"),
    };
    client.send(Command::Validate(Box::new(plan))).await.map_err(refused)?;
    let finished = |snapshot: &Snapshot| snapshot.validation.as_ref().is_some_and(|report| report.finished);
    let validated = shown(&mut client, finished).await?;
    if let Some(failed) = validated.validation.as_ref().and_then(first_failure) {
        return Err(failed);
    }
    let consent = Consent { warnings: true, clear_destination: false };
    let mut answer = client.send(Command::Start(consent)).await;
    for _ in 0..ATTEMPTS {
        if !matches!(answer, Err(Refusal::NotNow(_))) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        answer = client.send(Command::Start(consent)).await;
    }
    answer.map_err(refused)?;
    Ok(shown(&mut client, |snapshot| snapshot.started.is_some()).await?.name.clone())
}

async fn shown(client: &mut Client, wanted: impl Fn(&Snapshot) -> bool) -> Result<Arc<Snapshot>, Problem> {
    loop {
        let snapshot = client.snapshot();
        if wanted(&snapshot) {
            return Ok(snapshot);
        }
        if !client.changed().await {
            let why = "its engine ended; the log in the state folder may tell more";
            return Err(problem("the way back was not started", why, "Try: mongoferry reverse NAME"));
        }
    }
}

fn first_failure(report: &ValidationReport) -> Option<Problem> {
    let failed = report.checks.iter().find(|check| check.state == CheckState::Fail)?;
    let what = format!("{} {}: {}", failed.side, failed.label, failed.evidence);
    Some(Problem::before_writing(failed.side, what, failed.explanation.clone(), failed.fix.clone()))
}
