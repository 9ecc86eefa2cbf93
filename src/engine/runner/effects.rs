//! Carries out what the machine asks for.

use super::Runner;
use crate::{
    engine::{
        checkpoint::host_name,
        run::{FinalForm, Outcome},
        verify::Since,
        way_back::keep,
    },
    machine::{Effect, Machine},
    model::{Notice, Phase, Refusal, Severity, notice::NoticeKind},
    report::Report,
};
use jiff::Timestamp;
use std::{path::PathBuf, time::Duration};

impl Runner {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.execute(effect);
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Log(severity, kind, text) => self.events.record(severity, kind, text),
            Effect::Validate(plan) => self.validate(*plan),
            Effect::StopTasks => {
                self.desk.cancel.cancel();
                if self.machine.phase == Phase::Completed {
                    // The connect page goes on showing who has arrived.
                    return;
                }
                self.run_cancel.cancel();
            }
            Effect::WriteReport => self.write_report(),
            Effect::CompareAgain => self.compare_again(),
            Effect::KeepWayBack(window, by) => self.keep_way_back(window, by),
            Effect::Notify(kind, text) => self.tell(kind, text),
            effect => {
                let Some(run) = &mut self.run else { return };
                match effect {
                    Effect::Clear => run.clear(),
                    Effect::Copy => run.copy(),
                    Effect::BuildIndexes => run.build_indexes(),
                    Effect::Follow => {
                        if let Some(registry) = self.indexed.take() {
                            run.follow(registry);
                        }
                    }
                    Effect::BuildFailedIndexes => run.build_failed_indexes(),
                    Effect::BeginVerification => run.begin_verification(),
                    Effect::TakeUp => {
                        self.waiting = vec![Effect::Follow];
                        run.take_up();
                    }
                    Effect::LetGo => {
                        self.run_cancel.cancel();
                        self.run_cancel = self.cancel.child_token();
                        run.let_go(self.run_cancel.clone(), self.machine.unused.is_some());
                    }
                    Effect::CloseGate => run.context.gate.close(),
                    Effect::OpenGate => run.context.gate.open(),
                    Effect::Throttle(limit) => run.context.throttle.set(limit.bytes_per_s()),
                    Effect::TryAgain => run.context.events.try_again(),
                    Effect::Rehearse(by) => run.rehearse(by),
                    Effect::BlockSource => run.block_source(),
                    Effect::UnblockSource => run.unblock_source(),
                    Effect::FixCutover => run.fix_cutover(),
                    Effect::DrainTo(ts) => run.drain_to(ts),
                    Effect::FollowAgain => {
                        run.end_check();
                        run.follow_again();
                    }
                    Effect::CheckData => {
                        if self.machine.phase == Phase::Cleanup {
                            run.leave_to_application();
                            // After a restart nothing follows, and nothing will.
                            if let Some(registry) = self.indexed.take() {
                                run.prepare_following(registry);
                            }
                        }
                        run.check_data(since(&self.machine));
                    }
                    Effect::RepairMismatches => run.repair_mismatches(since(&self.machine)),
                    Effect::Finalize => {
                        // After a restart nothing follows yet.
                        if let Some(registry) = self.indexed.take() {
                            run.prepare_following(registry);
                        }
                        run.end_check();
                        run.finalize(FinalForm {
                            is_reconciled: self
                                .machine
                                .cutover
                                .as_ref()
                                .is_some_and(|cutover| cutover.mismatches.is_some()),
                            holds: self.machine.holds_differences(),
                            is_checked: self.machine.holds_differences(),
                            since: since(&self.machine),
                            do_without: self.machine.accepted_indexes.clone(),
                        });
                    }
                    Effect::CleanUp => {
                        run.end_check();
                        run.clean_up();
                    }
                    Effect::Log(..)
                    | Effect::Validate(_)
                    | Effect::StopTasks
                    | Effect::WriteReport
                    | Effect::Notify(..)
                    | Effect::CompareAgain
                    | Effect::KeepWayBack(..) => {}
                }
            }
        }
    }

    fn keep_way_back(&mut self, window: Duration, by: String) {
        if self.settings.application.is_some() {
            self.desk.way_back = Some("none: the demo's servers end with it".into());
            return;
        }
        let Some(forward) = self.desk.plan.clone() else { return };
        let wanted = keep::Wanted { forward, state_root: self.settings.state_root.clone(), window, by };
        self.desk.way_back = Some(keep::PREPARING.into());
        let (events, outcomes) = (self.events.clone(), self.outcomes.0.clone());
        tokio::spawn(async move {
            let told = keep::keep(wanted, events).await;
            drop(outcomes.send(Outcome::WayBackTold(told)).await);
        });
    }

    /// The report says it, too; it was written before anybody could know.
    pub(super) fn way_back_told(&mut self, told: String) {
        self.desk.way_back = Some(told);
        self.put_report();
    }

    fn write_report(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Some(path) = self.put_report() {
            self.publisher.report_written(&path);
            self.events.record(Severity::Info, "report", format!("written to {}", path.display()));
        }
    }

    /// Writes the report as things are now; returns its path, or records why there is none.
    fn put_report(&mut self) -> Option<PathBuf> {
        // Not published yet: whoever sees the end shall see the report with it.
        let snapshot = self.publisher.compose(&self.machine, &self.desk, self.run.as_ref(), &self.events);
        let folder = self.run.as_ref()?.context.record.folder();
        let report = Report::new(&snapshot, &self.events.since(0));
        match report.write_into(folder) {
            Ok(path) => Some(path),
            Err(error) => {
                let text = format!("the report could not be written into {}: {error}", folder.display());
                self.events.record(Severity::Error, "report", text);
                None
            }
        }
    }

    fn tell(&mut self, kind: NoticeKind, text: String) {
        let Some(plan) = &self.desk.plan else { return };
        let notice = Notice {
            kind,
            migration: plan.name.clone(),
            text,
            at: Timestamp::now(),
            source: plan.source.hosts().to_string(),
            destination: plan.destination.hosts().to_string(),
            host: host_name(),
        };
        self.herald.tell(&plan.options.notify, notice);
    }

    /// Tries every channel; what became of it is in the event log.
    pub(super) fn test_notices(&mut self, by: &str) -> Result<(), Refusal> {
        let channels = self.desk.plan.as_ref().map_or_else(Vec::new, |plan| plan.options.notify.channels());
        if channels.is_empty() {
            let why = "no notices are set up; add a [notify] section to the plan or to notify.toml";
            return Err(Refusal::NotNow(why.into()));
        }
        self.tell(NoticeKind::Test, format!("a test of the notices, asked for by {by}"));
        Ok(())
    }
}

/// From when on writes are not the copy's.
fn since(machine: &Machine) -> Since {
    let cutover = machine.cutover.as_ref();
    let opened = cutover.filter(|cutover| cutover.opened.is_some());
    Since {
        source: cutover.and_then(|cutover| cutover.cutover_ts),
        destination: opened.and_then(|cutover| cutover.destination_ts),
        is_finalized: cutover.is_some_and(|cutover| cutover.is_finalized),
    }
}
