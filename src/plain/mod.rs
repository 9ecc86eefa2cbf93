//! The same steps as plain lines and NDJSON: no colours, no cursor movement.
//!
//! Plain: one line when something changes (phase, event) and one per minute while nothing does. JSON: one object per line,
//! `{"event":…}` for each event of the numbered log (lossless, in order), `{"engine":"lost"}` or `{"engine":"up"}` when a
//! detached engine cannot be reached for a while, or `{"snapshot":…}` at every change of
//! phase, at most once a second while numbers move, and at the end; the last line is always a snapshot.

pub mod line;
pub mod status;

use crate::{
    model::{Phase, Snapshot},
    session::{Client, Link},
};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

/// Plain progress lines while nothing else changes.
const PLAIN_EVERY: Duration = Duration::from_secs(60);
/// NDJSON snapshots while nothing else changes.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// Prints what happens until the migration is over or the engine is gone; returns the last phase seen. Events that were
/// recorded before the call are printed too. Errors are those of `out`.
pub async fn follow(client: Client, out: impl Write, json: bool) -> io::Result<Phase> {
    follow_since(client, out, json, 0).await
}

/// The same, without the events up to number `seq`. While the engine cannot be reached this is said once, and once more
/// when it can.
pub async fn follow_since(mut client: Client, mut out: impl Write, json: bool, seq: u64) -> io::Result<Phase> {
    let every = if json { JSON_EVERY } else { PLAIN_EVERY };
    let mut linked = client.clone();
    let mut shown = Shown { seq, phase: None, step: None, progress: Instant::now() };
    let mut newest = client.events().watch();
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alive = true;
    while alive {
        let snapshot = client.snapshot();
        print_news(&client, &snapshot, &mut shown, &mut out, json)?;
        if snapshot.phase.is_over() {
            // Events of the last moment may follow the snapshot.
            break;
        }
        tokio::select! {
            changed = client.changed() => alive = changed,
            changed = newest.changed() => alive = changed.is_ok(),
            link = linked.link_changed() => print_link(link, &mut out, json)?,
            _ = tick.tick() => {}
        }
        let idle = client.snapshot().phase == Phase::Idle;
        if shown.progress.elapsed() >= every && !idle {
            print_progress(&client.snapshot(), &mut shown, &mut out, json)?;
        }
    }
    let last = client.snapshot();
    print_news(&client, &last, &mut shown, &mut out, json)?;
    if json {
        print_progress(&last, &mut shown, &mut out, json)?;
    }
    out.flush()?;
    Ok(last.phase)
}

/// What has been printed already.
struct Shown {
    seq: u64,
    phase: Option<Phase>,
    step: Option<crate::model::snapshot::CutoverStep>,
    progress: Instant,
}

fn print_news(
    client: &Client,
    snapshot: &Arc<Snapshot>,
    shown: &mut Shown,
    out: &mut impl Write,
    json: bool,
) -> io::Result<()> {
    for event in client.events().since(shown.seq) {
        shown.seq = event.seq;
        if json {
            print_json(out, "event", &event)?;
        } else {
            writeln!(out, "{}", line::event(&event, snapshot.phase))?;
        }
    }
    let step = snapshot.cutover.as_ref().map(|cutover| cutover.step);
    if shown.phase != Some(snapshot.phase) || shown.step != step {
        (shown.phase, shown.step) = (Some(snapshot.phase), step);
        if snapshot.phase != Phase::Idle {
            print_progress(snapshot, shown, out, json)?;
        }
    }
    out.flush()
}

fn print_progress(snapshot: &Snapshot, shown: &mut Shown, out: &mut impl Write, json: bool) -> io::Result<()> {
    shown.progress = Instant::now();
    if json {
        print_json(out, "snapshot", snapshot)
    } else {
        writeln!(out, "{}", line::progress(snapshot, jiff::Timestamp::now()))
    }
}

fn print_link(link: Link, out: &mut impl Write, json: bool) -> io::Result<()> {
    let (word, text) = match link {
        Link::Up => ("up", "engine: it answers again".to_string()),
        Link::Lost { is_dead: false, .. } => ("lost", "engine lost, retrying; the migration is not affected".into()),
        Link::Lost { is_dead: true, .. } => ("lost", "engine lost, retrying; nobody listens where it was".into()),
        // What follows says why.
        Link::Ended => return Ok(()),
    };
    if json {
        return print_json(out, "engine", &word);
    }
    writeln!(out, "{text}")?;
    out.flush()
}

fn print_json(out: &mut impl Write, kind: &str, value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(&BTreeMap::from([(kind, value)])).map_err(io::Error::other)?;
    line.push(b'\n');
    out.write_all(&line)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
