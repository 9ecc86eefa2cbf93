//! `mongoferry cutover`: the guided cutover by command. It begins it or goes on with it, follows it to its end, and stops
//! where only a person can decide; each decision has its flag.

use super::{control::refused, exit, find};
use crate::{
    cli::{CheckChoice, CutoverArgs, StepArgs},
    model::{
        CheckOrder, Command, Phase, Refusal, Snapshot,
        snapshot::{CutoverStep, StepState, VerificationState},
    },
    plain,
    session::Client,
};
use anyhow::bail;
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// While a step waits for the operator's application, why is said so often.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// A snapshot is not older than this.
const LATE: Duration = Duration::from_secs(2);

/// Cuts over and returns the exit code.
pub async fn play(arguments: CutoverArgs) -> anyhow::Result<u8> {
    let (summary, client) = find::engine_of(arguments.name.as_deref()).await?;
    let snapshot = client.snapshot();
    if arguments.step.rehearse {
        return rehearse(client).await;
    }
    let is_following = matches!(snapshot.phase, Phase::Following | Phase::Ready);
    if is_following && arguments.step.retry {
        return match client.send(Command::Retry).await {
            Ok(()) => Ok(exit::DONE),
            Err(refusal) => refused(&refusal),
        };
    }
    if is_following
        && arguments.step.accept_failed
        && let Err(refusal) = client.send(Command::AcceptFailedIndexes).await
    {
        return refused(&refusal);
    }
    let asked = match step_command(arguments.step).filter(|_| !(is_following && arguments.step.accept_failed)) {
        Some(command) => Some(command),
        None => match snapshot.phase {
            Phase::Cutover | Phase::Finalizing | Phase::Cleanup | Phase::Completed => None,
            Phase::Expired => {
                let name = &summary.name;
                let _ = writeln!(std::io::stderr(), "mongoferry: the cutover window passed; mongoferry resume {name}");
                return Ok(exit::EXPIRED);
            }
            _ => Some(Command::PrepareCutover),
        },
    };
    if let Some(command) = asked {
        if let Err(refusal) = client.send(command).await {
            return refused(&refusal);
        }
        if waits_for_an_answer(&snapshot) {
            // The snapshot of before the answer may still be on its way here.
            let begun = |now: &Snapshot| now.phase != snapshot.phase || !waits_for_an_answer(now);
            let mut watched = client.clone();
            let _ = tokio::time::timeout(LATE, super::autopilot::wait_for(&mut watched, begun)).await;
        }
    }
    if let Some(check) = arguments.check
        && let Err(refusal) = client.send(Command::ChooseCheck(order(check))).await
    {
        return refused(&refusal);
    }
    if arguments.step.back || arguments.no_wait {
        // The assumption belongs to this call; it would be lost by not waiting.
        if arguments.assume_stopped
            && let Err(refusal) = client.send(Command::ContinueCutover { assume_stopped: true }).await
        {
            return refused(&refusal);
        }
        return Ok(exit::DONE);
    }
    let newest = client.events().watch().borrow().saturating_sub(1);
    let following = tokio::spawn(plain::follow_since(client.clone(), std::io::stdout(), false, newest));
    let outcome = tokio::select! {
        outcome = drive(client, arguments.assume_stopped) => outcome,
        why = super::interrupted() => Err(anyhow::anyhow!(
            "{why}; the cutover itself goes on. mongoferry cutover {0} follows it again, mongoferry cutover {0} --back \
             leaves it",
            summary.name
        )),
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), following).await;
    outcome
}

async fn rehearse(mut client: Client) -> anyhow::Result<u8> {
    let before = client.snapshot().rehearsal.clone();
    if let Err(refusal) = client.send(Command::Rehearse).await {
        return refused(&refusal);
    }
    let rehearsed = super::autopilot::wait_for(&mut client, |snapshot| snapshot.rehearsal != before);
    let Ok(Some(snapshot)) = tokio::time::timeout(Duration::from_secs(610), rehearsed).await else {
        bail!("the rehearsal did not end; \"mongoferry status\" says where the migration is");
    };
    if let Some(rehearsal) = &snapshot.rehearsal {
        let show = |ms| crate::model::units::show_duration(Duration::from_millis(ms));
        let _ = writeln!(
            std::io::stdout(),
            "the last change arrived after {}; {} documents would be compared again; writers would wait at least {} (quiet and \
             drain), then comparing and finalizing",
            show(rehearsal.drain_ms),
            rehearsal.recheck,
            show(rehearsal.least_ms)
        );
    }
    Ok(exit::DONE)
}

fn order(choice: CheckChoice) -> CheckOrder {
    match choice {
        CheckChoice::First => CheckOrder::First,
        CheckChoice::After => CheckOrder::After,
    }
}

fn step_command(step: StepArgs) -> Option<Command> {
    if step.back {
        Some(Command::GoBack)
    } else if step.repair {
        Some(Command::RepairMismatches)
    } else if step.retry {
        Some(Command::Retry)
    } else if step.accept_failed {
        Some(Command::ContinueCutover { assume_stopped: false })
    } else if step.skip_verification {
        Some(Command::SkipVerification)
    } else {
        None
    }
}

async fn drive(mut client: Client, assume_stopped: bool) -> anyhow::Result<u8> {
    let mut said: Option<Instant> = None;
    // The snapshot may be older than the answer to the first command.
    let mut has_begun = false;
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let snapshot = client.snapshot();
        let step = snapshot.cutover.as_ref().map(|cutover| cutover.step);
        has_begun |= step.is_some();
        match (snapshot.phase, step) {
            (Phase::Completed, _) => return Ok(exit::DONE),
            (Phase::Expired, _) => return Ok(exit::EXPIRED),
            (Phase::Stopped | Phase::Failed, _) => match &snapshot.error {
                Some(problem) => bail!("{problem}"),
                None => bail!("the migration is {}", snapshot.phase),
            },
            (Phase::Following | Phase::Ready | Phase::Copying | Phase::Indexing, _)
                if has_begun || Instant::now() > patience =>
            {
                return refused(&Refusal::NotNow("the cutover was left; syncing continues".into()));
            }
            (Phase::Cutover, Some(CutoverStep::StopApplication)) => {
                let is_quiet = snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms)
                    && snapshot.open_transactions.is_empty();
                if is_quiet || assume_stopped {
                    let answer = client.send(Command::ContinueCutover { assume_stopped }).await;
                    if matches!(answer, Err(Refusal::EngineGone)) {
                        bail!("the engine ended");
                    }
                } else if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    say_writers(&snapshot);
                }
            }
            (Phase::Cutover, Some(CutoverStep::CheckData)) if differs(&snapshot) => bail!(
                "{} documents differ, the destination is not opened. Next: mongoferry verify {1}, then mongoferry cutover \
                 {1} --repair, --skip-verification or --back",
                snapshot.verification.mismatches,
                snapshot.name
            ),
            (Phase::Cleanup, Some(CutoverStep::CheckOpened)) if differs(&snapshot) => bail!(
                "{} documents differ; the destination accepts writes already. Next: mongoferry verify {1}, then mongoferry \
                 cutover {1} --repair (leaves alone what the application wrote) or --skip-verification",
                snapshot.verification.mismatches,
                snapshot.name
            ),
            (Phase::Finalizing, _) if finalize_failed(&snapshot) => bail!(
                "finalizing failed: {}. Next: mongoferry cutover {} --retry or --accept-failed",
                failed_lines(&snapshot).join("; "),
                snapshot.name
            ),
            _ => {}
        }
        if !client.changed().await {
            bail!("the engine ended; \"mongoferry status\" says where the migration is");
        }
    }
}

/// Documents differ, or a step of finalizing failed: nothing goes on before the operator says how.
fn waits_for_an_answer(snapshot: &Snapshot) -> bool {
    differs(snapshot) || finalize_failed(snapshot)
}

fn say_writers(snapshot: &Snapshot) {
    let needed = snapshot.thresholds.quiet_for_ms / 1000;
    let _ =
        writeln!(std::io::stdout(), "stop your application now; {needed} s without a write on the source are needed");
    for open in &snapshot.open_transactions {
        let _ = writeln!(std::io::stdout(), "  a transaction is open: {open}");
    }
    for writer in &snapshot.writers {
        let client = writer.likely_client.as_deref().map(|name| format!(", likely {name}")).unwrap_or_default();
        let _ = writeln!(std::io::stdout(), "  {} {:.1} writes/s{client}", writer.namespace, writer.ops_per_s);
    }
}

fn differs(snapshot: &Snapshot) -> bool {
    snapshot.verification.mismatches > 0 && snapshot.verification.state == VerificationState::Done
}

fn failed_lines(snapshot: &Snapshot) -> Vec<String> {
    let lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    lines
        .filter(|line| line.state == StepState::Failed)
        .map(|line| format!("{}: {}", line.label, line.detail))
        .collect()
}

fn finalize_failed(snapshot: &Snapshot) -> bool {
    let mut lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    !failed_lines(snapshot).is_empty()
        && !lines.any(|line| matches!(line.state, StepState::Running | StepState::Waiting))
}
