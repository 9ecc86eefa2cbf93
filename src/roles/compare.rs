//! `mongoferry verify --plan P.toml`: compares two clusters without a migration.

use super::{exit, look::difference_lines};
use crate::{
    config,
    engine::{
        notices::Notices,
        retry::Halt,
        verify::standalone::{self, Comparison},
    },
    model::{
        snapshot::Verification,
        units::{show_count, show_duration},
    },
};
use anyhow::bail;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Progress is said this often.
const PACE: Duration = Duration::from_secs(1);

/// Compares and prints. Exit 0: nothing differs, 4: something does, or could not be decided.
pub async fn play(path: &Path, settle: Duration, as_json: bool) -> anyhow::Result<u8> {
    let plan = config::read_plan(path)?;
    let (events, cancel) = (Notices::default(), CancellationToken::new());
    let view = watch::Sender::new(Verification::default());
    let began = Instant::now();
    let comparing = async {
        let context = standalone::open(&plan, events.clone(), cancel.clone()).await?;
        let sides = json!({
            "source": { "set": context.source.set, "version": context.source.version.to_string() },
            "destination": { "set": context.destination.set, "version": context.destination.version.to_string() },
        });
        Ok::<_, Halt>((standalone::compare(&context, settle, view.clone()).await?, sides))
    };
    let (sides, comparison) = tokio::select! {
        compared = comparing => match compared {
            Ok((comparison, sides)) => (sides, comparison),
            Err(Halt::Problem(problem)) => bail!("{problem}"),
            Err(Halt::Cancelled) => bail!("the comparison was given up"),
        },
        () = tell(&events, view.subscribe(), as_json) => bail!("the comparison ended without a result"),
        why = super::interrupted() => {
            let so_far = view.borrow().documents;
            bail!("{why}; {} documents were compared, which says nothing about the rest; nothing was written",
                show_count(so_far))
        }
    };
    let took = began.elapsed();
    let text = match as_json {
        true => result(&plan.name, &comparison, sides, settle, took).to_string() + "\n",
        false => lines(&comparison, settle, took),
    };
    // A reader that stops early (`| head`) is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if comparison.is_equal() { exit::DONE } else { exit::DIFFERS })
}

/// Events and progress as they come: on standard error, or as NDJSON on standard output. Never ends.
async fn tell(events: &Notices, mut view: watch::Receiver<Verification>, as_json: bool) {
    let mut seq = 0;
    loop {
        tokio::time::sleep(PACE).await;
        for event in events.since(seq) {
            seq = event.seq;
            if as_json {
                print_json(&json!({ "event": event }));
            } else {
                let _ = writeln!(std::io::stderr(), "{:?}: {}", event.severity, event.text);
            }
        }
        if !view.has_changed().unwrap_or(false) {
            continue;
        }
        let seen = view.borrow_and_update();
        if as_json {
            let (documents, of, in_doubt) = (seen.documents, seen.documents_total, seen.recheck);
            print_json(&json!({ "progress": { "documents": documents, "documents_total": of, "in_doubt": in_doubt } }));
        } else {
            let (documents, of) = (show_count(seen.documents), show_count(seen.documents_total));
            let _ = writeln!(
                std::io::stderr(),
                "compared {documents} of about {of} documents, {} in doubt",
                show_count(seen.recheck)
            );
        }
    }
}

fn print_json(value: &Value) {
    let _ = std::io::stdout().write_all((value.to_string() + "\n").as_bytes());
}

fn result(name: &str, comparison: &Comparison, sides: Value, settle: Duration, took: Duration) -> Value {
    let verification = &comparison.verification;
    json!({ "result": {
        "name": name,
        "source": sides["source"],
        "destination": sides["destination"],
        "equal": comparison.is_equal(),
        "at_rest": comparison.is_at_rest(),
        "source_written": comparison.source_written,
        "destination_written": comparison.destination_written,
        "settle_ms": ms(settle),
        "duration_ms": ms(took),
        "documents": verification.documents,
        "mismatches": verification.mismatches,
        "changing": comparison.changing,
        "not_rechecked": comparison.crowded,
        "metadata_differences": verification.metadata_differences,
        "collections": verification.collections,
        "examples": verification.examples,
    } })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lines(comparison: &Comparison, settle: Duration, took: Duration) -> String {
    let verification = &comparison.verification;
    let mut text = difference_lines(verification);
    let unnamed = verification.mismatches.saturating_sub(verification.examples.len() as u64);
    if unnamed > 0 {
        text += &format!("and {} more documents\n", show_count(unnamed));
    }
    for row in verification.collections.iter().filter(|row| row.missing + row.extra + row.different > 0) {
        text += &format!(
            "{}: {} missing, {} extra, {} different, of {}\n",
            row.namespace,
            show_count(row.missing),
            show_count(row.extra),
            show_count(row.different),
            show_count(row.documents)
        );
    }
    for namespace in &comparison.crowded {
        text += &format!("{namespace}: too many differ to look at each again and again; each was read twice\n");
    }
    text += &format!(
        "{} documents in {} collections compared in {}: {} differ, {} differences of metadata\n",
        show_count(verification.documents),
        verification.collections.len(),
        show_duration(took),
        show_count(verification.mismatches),
        verification.metadata_differences.len()
    );
    if comparison.changing > 0 {
        text += &format!(
            "{} documents differed at every look and kept changing: not decided\n",
            show_count(comparison.changing)
        );
    }
    text + &standing(comparison, settle)
}

/// What the result holds for.
fn standing(comparison: &Comparison, settle: Duration) -> String {
    if comparison.is_at_rest() {
        return "Nobody wrote to either cluster meanwhile: this is exact.\n".into();
    }
    let side = |name: &str, written: Option<bool>| match written {
        Some(true) => format!("the {name} was written meanwhile"),
        Some(false) => format!("the {name} was not written"),
        None => format!("the {name}'s oplog cannot be read, so it may have been written"),
    };
    format!(
        "{}; {}.\nEach equal document was equal when it was read; what differs stood still on both sides for {}.\n",
        side("source", comparison.source_written),
        side("destination", comparison.destination_written),
        show_duration(settle)
    )
}
