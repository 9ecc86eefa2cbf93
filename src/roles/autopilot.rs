//! Walks the walk-through without a person: what `run --cutover auto` and `demo --auto` do at each gate.
//!
//! It uses the same commands as an operator and the same gates hold for it; it never overrides one.

use crate::{
    model::{Command, Phase, Refusal, Snapshot, command::Consent, snapshot::CutoverStep},
    session::Client,
};
use std::sync::Arc;

/// Waits until the snapshot satisfies `wanted`; `None` when the engine is gone.
pub async fn wait_for(client: &mut Client, wanted: impl Fn(&Snapshot) -> bool) -> Option<Arc<Snapshot>> {
    loop {
        let snapshot = client.snapshot();
        if wanted(&snapshot) {
            return Some(snapshot);
        }
        if !client.changed().await {
            return None;
        }
    }
}

/// Starts the validated migration with the plan's consent.
pub async fn start(client: &Client, accept_warnings: bool, clear_destination: bool) -> Result<(), Refusal> {
    client.send(Command::Start(Consent { warnings: accept_warnings, clear_destination })).await
}

/// Cuts over as soon as the gates allow. Ends when the migration is over, or stands where only a person can decide.
/// `stop_application` asks the demo to stop its application when the walk-through asks for it.
pub async fn cut_over(mut client: Client, stop_application: bool) -> Stand {
    let (mut repaired, mut gave_up) = (false, None);
    loop {
        let snapshot = client.snapshot();
        let step = snapshot.cutover.as_ref().map(|cutover| cutover.step);
        let differs = snapshot.verification.mismatches > 0;
        let asked = match (snapshot.phase, step) {
            (Phase::Completed | Phase::Stopped | Phase::Failed, _) => {
                return gave_up.map_or(Stand::Over, Stand::OpenedDiffering);
            }
            (Phase::Expired, _) => return Stand::Expired,
            (Phase::Ready, _) if snapshot.can_cutover => client.send(Command::PrepareCutover).await,
            (Phase::Cutover, Some(CutoverStep::StopApplication)) => {
                if stop_application && snapshot.application.is_some_and(|application| application.running) {
                    client.send(Command::StopApplication).await
                } else if snapshot.source_quiet_ms.is_some_and(|quiet| quiet >= snapshot.thresholds.quiet_for_ms) {
                    client.send(Command::ContinueCutover { assume_stopped: false }).await
                } else {
                    Ok(())
                }
            }
            (Phase::Cutover, Some(CutoverStep::CheckData)) if differs && is_checked(&snapshot) => {
                if repaired {
                    return Stand::Differs(snapshot.verification.mismatches);
                }
                repaired = true;
                client.send(Command::RepairMismatches).await
            }
            (Phase::Cleanup, Some(CutoverStep::CheckOpened)) if differs && is_checked(&snapshot) => {
                if repaired {
                    // The destination is in use: what is left to do is said, and cleaned up.
                    gave_up = Some(snapshot.verification.mismatches);
                    client.send(Command::SkipVerification).await
                } else {
                    repaired = true;
                    client.send(Command::RepairMismatches).await
                }
            }
            (Phase::Finalizing, _) if finalize_failed(&snapshot) => return Stand::FinalizeFailed,
            _ => Ok(()),
        };
        // A refusal means that the state moved on between the snapshot and the command; look again.
        if matches!(asked, Err(Refusal::EngineGone)) || !client.changed().await {
            return Stand::Over;
        }
    }
}

/// Where the autopilot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// The migration is over; the phase says how.
    Over,
    /// The cutover window passed.
    Expired,
    /// This many documents differ even after a repair.
    Differs(u64),
    /// This many documents of an opened destination differ even after a repair.
    OpenedDiffering(u64),
    /// A finalizing step failed, or options, indexes or views differ.
    FinalizeFailed,
}

fn is_checked(snapshot: &Snapshot) -> bool {
    snapshot.verification.state == crate::model::snapshot::VerificationState::Done
}

fn finalize_failed(snapshot: &Snapshot) -> bool {
    use crate::model::snapshot::StepState;
    let lines = snapshot.cutover.iter().flat_map(|cutover| &cutover.lines);
    let (mut failed, mut running) = (false, false);
    for line in lines {
        failed |= line.state == StepState::Failed;
        running |= matches!(line.state, StepState::Running | StepState::Waiting);
    }
    failed && !running
}
