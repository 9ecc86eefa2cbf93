//! `list`, `status`, `verify`, `report`: they look and change nothing.

use super::{
    exit,
    find::{self, Found},
};
use crate::{
    model::{
        Snapshot,
        snapshot::{Verification, VerificationState},
    },
    paths,
    plain::{self, status},
    report::Report,
    store::{self, Summary},
};
use anyhow::bail;
use serde_json::{Value, json};
use std::{io::Write, time::Duration};

/// `status --watch --json` prints at most so often.
const PACE: Duration = Duration::from_secs(1);

fn print(text: &str) {
    // A reader that stops early (`| head`) is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"));
    Ok(())
}

fn engine_of(summary: &Summary) -> status::Engine {
    match (summary.is_running, summary.phase.is_over()) {
        (true, _) => status::Engine::Running,
        (false, true) => status::Engine::Ended,
        (false, false) => status::Engine::Gone,
    }
}

/// `list [--json]`.
pub fn list(json: bool) -> anyhow::Result<u8> {
    let all = store::list(&paths::state_root()?);
    if json {
        let object = |summary: &Summary| {
            json!({
                "name": summary.name,
                "phase": summary.phase,
                "way_back_of": summary.plan.options.way_back.as_ref().map(|way_back| &way_back.of),
                "left_phase": summary.left_phase,
                "since": summary.since,
                "started": summary.started,
                "engine": engine_of(summary).word(),
                "pid": summary.is_running.then_some(summary.owner.pid),
                "cutover_deadline": summary.cutover_deadline,
                "folder": summary.folder,
            })
        };
        print_json(&all.iter().map(object).collect())?;
        return Ok(exit::DONE);
    }
    if all.is_empty() {
        print("no migrations on this host\n");
        return Ok(exit::DONE);
    }
    let width = all.iter().map(|summary| summary.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$}  {:<10}  {:<20}  ENGINE\n", "NAME", "PHASE", "SINCE");
    for summary in &all {
        let engine = match engine_of(summary) {
            status::Engine::Running => format!("running, process {}", summary.owner.pid),
            status::Engine::Ended => "ended".into(),
            status::Engine::Gone => format!("GONE; mongoferry resume {}", summary.name),
        };
        let engine = match &summary.plan.options.way_back {
            Some(way_back) => format!("{engine}; the way back of {}", way_back.of),
            None => engine,
        };
        let since = summary.since.strftime("%Y-%m-%dT%H:%M:%SZ");
        text += &format!("{:<width$}  {:<10}  {since:<20}  {engine}\n", summary.name, summary.phase.to_string());
    }
    print(&text);
    Ok(exit::DONE)
}

/// `status [NAME] [--json] [--watch]`.
pub async fn status(name: Option<&str>, as_json: bool, watch: bool) -> anyhow::Result<u8> {
    let found = find::reach(name, true, watch).await?;
    if watch && found.client.is_some() {
        return watch_status(found, as_json).await;
    }
    let (snapshot, engine) = (found.snapshot(), found.engine());
    if as_json {
        print_json(&status::json(&snapshot, engine))?;
    } else {
        print(&status::lines(&snapshot, engine, jiff::Timestamp::now(), &jiff::tz::TimeZone::system()));
    }
    Ok(exit::DONE)
}

async fn watch_status(found: Found, as_json: bool) -> anyhow::Result<u8> {
    let Some(mut client) = found.client.clone() else { return Ok(exit::DONE) };
    let watching = async {
        if !as_json {
            let newest = *client.events().watch().borrow();
            let _ = plain::follow_since(client.clone(), std::io::stdout(), false, newest).await;
            return;
        }
        loop {
            let snapshot = client.snapshot();
            let line = status::json(&snapshot, status::Engine::Running).to_string() + "\n";
            if std::io::stdout().write_all(line.as_bytes()).is_err() || snapshot.phase.is_over() {
                return;
            }
            tokio::time::sleep(PACE).await;
            if !client.changed().await {
                return;
            }
        }
    };
    tokio::select! {
        () = watching => {}
        _ = super::interrupted() => {}
    }
    Ok(exit::DONE)
}

/// `verify [NAME] [--json]`: waits while the comparison runs. While following, documents that change are compared again,
/// so the result is about the moment at which nothing was left to compare.
pub async fn verify(name: Option<&str>, as_json: bool) -> anyhow::Result<u8> {
    let mut found = find::reach(name, true, false).await?;
    if let Some(client) = &mut found.client {
        let verified = super::autopilot::wait_for(client, |snapshot| {
            snapshot.phase.is_over() || !matches!(snapshot.verification.state, VerificationState::Running)
        });
        tokio::select! {
            verified = verified => if verified.is_none() { bail!("the engine ended while it verified") },
            why = super::interrupted() => bail!("{why}; the verification itself goes on"),
        }
    }
    let snapshot = found.snapshot();
    let verification = &snapshot.verification;
    if as_json {
        print_json(&json!({ "name": snapshot.name, "phase": snapshot.phase, "verification": verification }))?;
    } else {
        print(&verified_lines(&snapshot));
    }
    Ok(match verification.state {
        VerificationState::Done if verification.mismatches == 0 && verification.metadata_differences.is_empty() => {
            exit::DONE
        }
        VerificationState::Done => exit::DIFFERS,
        VerificationState::Running => exit::ERROR,
        VerificationState::Waiting | VerificationState::Skipped | VerificationState::Off => exit::REFUSED,
    })
}

fn verified_lines(snapshot: &Snapshot) -> String {
    let verification = &snapshot.verification;
    let state = match verification.state {
        VerificationState::Waiting => "not verified yet: it begins when the destination follows the source".to_string(),
        VerificationState::Running => {
            format!("verification was interrupted after {} documents", verification.documents)
        }
        VerificationState::Done => {
            format!("{} documents compared, {} differ", verification.documents, verification.mismatches)
        }
        VerificationState::Skipped => "verification was given up by the operator".into(),
        VerificationState::Off => "verification is switched off in the plan".into(),
    };
    format!("{}: {state}\n{}", snapshot.name, difference_lines(verification))
}

/// One line per difference that is known by name.
pub fn difference_lines(verification: &Verification) -> String {
    let mut text = String::new();
    for mismatch in &verification.examples {
        let kind = format!("{:?}", mismatch.kind).to_lowercase();
        let line = format!("{kind} {} _id {} {}", mismatch.namespace, mismatch.id, mismatch.paths.join(" "));
        text += line.trim_end();
        text.push('\n');
    }
    for one in &verification.repaired.examples {
        text += &format!("repaired {} _id {} at {:.0}\n", one.namespace, one.id, one.at);
    }
    for difference in &verification.metadata_differences {
        text += &format!("metadata {difference}\n");
    }
    text
}

/// `report [NAME] [--json]`.
pub async fn report(name: Option<&str>, as_json: bool) -> anyhow::Result<u8> {
    let found = find::reach(name, true, false).await?;
    let written = found.summary.folder.join(if as_json { "report.json" } else { "report.md" });
    if let Ok(text) = std::fs::read_to_string(&written) {
        print(&text);
        return Ok(exit::DONE);
    }
    let report = Report::new(&found.snapshot(), &found.events());
    if as_json {
        print_json(&report.json())?;
    } else {
        let _ = writeln!(std::io::stderr(), "mongoferry: the migration is not over; this is what can be said so far");
        print(&report.markdown());
    }
    Ok(exit::DONE)
}
