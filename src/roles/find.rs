//! From a NAME on the command line to a migration, and to a client of its engine.

use crate::{
    model::{Event, Problem, Side, Snapshot},
    paths,
    plain::status,
    session::{
        Client, place,
        remote::{self, Caller},
    },
    store::{self, Journal, Summary, Table},
};
use std::path::Path;

/// A migration of this host.
pub struct Found {
    /// What is on disk.
    pub summary: Summary,
    /// The engine that works on it.
    pub client: Option<Client>,
}

/// The migration called `name`; without a name the only one that is not over, else the only one.
pub fn find(name: Option<&str>) -> Result<Summary, Problem> {
    let all = store::list(&paths::state_root()?);
    choose(all, name)
}

fn choose(all: Vec<Summary>, name: Option<&str>) -> Result<Summary, Problem> {
    let names = |all: &[Summary]| all.iter().map(|summary| summary.name.as_str()).collect::<Vec<_>>().join(", ");
    let no = |what: String, fix: String| {
        let why = format!("state folder: {}", paths::state_root().map_or_else(|_| "none".into(), shown));
        Err(Problem::before_writing(Side::Host, what, why, fix))
    };
    if all.is_empty() {
        return no("there is no migration on this host".into(), "Start one with \"mongoferry\".".into());
    }
    let known = format!("Known are: {}.", names(&all));
    let Some(name) = name else {
        let unfinished: Vec<&Summary> = all.iter().filter(|summary| !summary.phase.is_over()).collect();
        return match (unfinished.as_slice(), all.as_slice()) {
            ([only], _) => Ok((*only).clone()),
            ([], [only]) => Ok(only.clone()),
            ([], _) => no("no migration is under way; name one".into(), known),
            _ => no("several migrations are under way; name one".into(), known),
        };
    };
    if let Some(exact) = all.iter().find(|summary| summary.name == name) {
        return Ok(exact.clone());
    }
    // The folder of a second one of the same plan has a number.
    let of_plan: Vec<Summary> = all.iter().filter(|summary| summary.plan.name == name).cloned().collect();
    match of_plan.as_slice() {
        [only] => Ok(only.clone()),
        [] => no(format!("there is no migration called {name}"), known),
        _ => {
            no(format!("several migrations have the plan {name}; name one"), format!("They are: {}.", names(&of_plan)))
        }
    }
}

fn shown(path: std::path::PathBuf) -> String {
    path.display().to_string()
}

/// Who speaks, to an engine.
pub fn caller(watch: bool, keeps_trying: bool) -> Caller {
    let (user, tty) = super::operator_parts();
    Caller { user, tty, watch, keeps_trying }
}

/// Finds a migration and attaches to its engine, if one works on it.
pub async fn reach(name: Option<&str>, watch: bool, keeps_trying: bool) -> Result<Found, Problem> {
    let summary = find(name)?;
    let client = match summary.is_running {
        true => Some(remote::attach(&place::of_migration(&summary.folder), caller(watch, keeps_trying)).await?),
        false => None,
    };
    Ok(Found { summary, client })
}

/// The same for commands that need an engine.
pub async fn engine_of(name: Option<&str>) -> Result<(Summary, Client), Problem> {
    let Found { summary, client } = reach(name, false, false).await?;
    match client {
        Some(client) => Ok((summary, client)),
        None => Err(no_engine(&summary)),
    }
}

/// Why nothing can be asked of a migration on which nobody works.
pub fn no_engine(summary: &Summary) -> Problem {
    let name = &summary.name;
    let (why, fix) = match summary.phase.is_over() {
        true => ("it has ended".into(), format!("\"mongoferry report {name}\" shows what it did.")),
        false => (
            format!("process {} on {} is gone", summary.owner.pid, summary.owner.host),
            format!("\"mongoferry resume {name}\" goes on from what is kept."),
        ),
    };
    let what = format!("no engine works on {name}, which is {}", summary.phase);
    Problem { written: String::new(), ..Problem::before_writing(Side::Host, what, why, fix) }
}

impl Found {
    /// The newest snapshot: the engine's, else the last one on disk with what the journal knows better.
    pub fn snapshot(&self) -> Snapshot {
        if let Some(client) = &self.client {
            return (*client.snapshot()).clone();
        }
        let summary = &self.summary;
        let last = store::last_look(&summary.folder).ok().flatten();
        let mut snapshot = last.unwrap_or_else(|| Snapshot::idle(summary.since));
        snapshot.name = summary.name.clone();
        // The look may be a few seconds newer than the summary when the migration is over, never otherwise.
        if !snapshot.phase.is_over() {
            (snapshot.phase, snapshot.left_phase, snapshot.since) = (summary.phase, summary.left_phase, summary.since);
            snapshot.error = summary.error.clone();
            snapshot.cutover_deadline = summary.cutover_deadline;
            snapshot.applied_ts = summary.applied_ts;
        }
        snapshot.started = snapshot.started.or(summary.started);
        for (view, endpoint) in
            [(&mut snapshot.source, &summary.plan.source), (&mut snapshot.destination, &summary.plan.destination)]
        {
            if view.label.is_empty() {
                view.label = endpoint.uri.clone();
            }
        }
        let report = summary.folder.join("report.md");
        snapshot.report = snapshot.report.or_else(|| report.is_file().then(|| shown(report)));
        snapshot
    }

    /// Who works on it.
    pub fn engine(&self) -> status::Engine {
        match (&self.client, self.snapshot().phase.is_over()) {
            (Some(_), _) => status::Engine::Running,
            (None, true) => status::Engine::Ended,
            (None, false) => status::Engine::Gone,
        }
    }

    /// All events: the engine's, else the journal's.
    pub fn events(&self) -> Vec<Event> {
        match &self.client {
            Some(client) => client.events().since(0),
            None => journaled(&self.summary.folder),
        }
    }
}

fn journaled(folder: &Path) -> Vec<Event> {
    let rows = Journal::open(folder).and_then(|journal| journal.rows(Table::Events)).unwrap_or_default();
    rows.iter().filter_map(|(_, text)| serde_json::from_slice(text).ok()).collect()
}
