//! The report as Markdown. Pure; reads as plain text too.

use super::Report;
use crate::model::{
    CheckOrder, Phase, Side,
    check::{CheckId, CheckState},
    snapshot::{ClusterView, MismatchKind, StepState, VerificationState},
    units::{show_bytes, show_count, show_duration},
};
use jiff::Timestamp;
use std::{
    fmt::{Display, Write},
    time::Duration,
};

/// Rows of the table of collections; the JSON has all.
const MAX_ROWS: usize = 200;

pub(super) fn write(report: &Report) -> String {
    let mut page = Page(String::new());
    head(&mut page, report);
    data(&mut page, report);
    verification(&mut page, report);
    cutover(&mut page, report);
    checks(&mut page, report);
    accounts(&mut page, report);
    troubles(&mut page, report);
    cleanup(&mut page, report);
    timeline(&mut page, report);
    page.0
}

/// A page under construction. Writing into a `String` cannot fail.
struct Page(String);

impl Page {
    fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.0, "{text}");
    }

    fn title(&mut self, text: &str) {
        let _ = writeln!(self.0, "\n## {text}\n");
    }

    fn item(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "- {name}: {}", inline(&value.to_string()));
    }
}

/// One line: what a server or an operator wrote may hold line breaks and control characters.
fn inline(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn cell(text: &str) -> String {
    inline(text).replace('|', "\\|")
}

fn known<T: Display>(value: Option<T>) -> String {
    value.map_or("unknown".into(), |value| value.to_string())
}

fn duration(ms: Option<u64>) -> String {
    known(ms.map(|ms| show_duration(Duration::from_millis(ms))))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", show_count(count), if count == 1 { one } else { many })
}

fn time(at: Option<Timestamp>) -> String {
    known(at.map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ")))
}

fn cluster(view: &ClusterView) -> String {
    format!(
        "{}, set {}, MongoDB {}, members {}",
        if view.label.is_empty() { "unknown" } else { &view.label },
        known(view.set.as_ref()),
        known(view.version.as_ref()),
        if view.hosts.is_empty() { "unknown".into() } else { view.hosts.join(", ") }
    )
}

fn head(page: &mut Page, report: &Report) {
    let snapshot = &report.snapshot;
    page.line(format_args!("# Migration {}\n", inline(&snapshot.name)));
    let destination = inline(&snapshot.destination.label);
    page.line(match snapshot.phase {
        Phase::Completed if snapshot.way_back_of.is_some() => {
            format!("You have successfully gone back to {destination}.")
        }
        Phase::Stopped if snapshot.way_back_of.is_some() => format!("The way back to {destination} was not used."),
        Phase::Completed => format!("You have successfully migrated to {destination}."),
        Phase::Stopped => "The migration was stopped by the operator. It did not finish.".into(),
        Phase::Failed => "The migration failed. It did not finish.".into(),
        phase => format!("The migration has not finished; it is in phase {phase}."),
    });
    page.line("");
    if let Some(problem) = &snapshot.error {
        page.item("error", problem);
    }
    if let Some(phase) = snapshot.left_phase {
        page.item("ended while", phase);
    }
    page.item("source", cluster(&snapshot.source));
    page.item("destination", cluster(&snapshot.destination));
    page.item("started", time(snapshot.started));
    page.item("finished", time(snapshot.finished));
    page.item("took", duration(report.took_ms()));
    if let Some(forward) = &snapshot.way_back_of {
        page.item("the way back of", forward);
    }
    if let Some(told) = &snapshot.way_back {
        page.item("way back", told);
    }
}

fn data(page: &mut Page, report: &Report) {
    let snapshot = &report.snapshot;
    let copy = &snapshot.copy;
    page.title("What was migrated");
    page.item(
        "copied",
        format_args!(
            "{} of {} collections, {} documents, {}",
            show_count(copy.collections_done),
            show_count(copy.collections_total),
            show_count(copy.documents),
            show_bytes(copy.bytes)
        ),
    );
    let indexes = &snapshot.indexes;
    page.item("indexes", format_args!("{} of {} built", show_count(indexes.built), show_count(indexes.total)));
    for failed in &indexes.failed {
        page.item("not built", format_args!("{} {}: {}", failed.namespace, failed.index, failed.reason));
    }
    page.item("changes", format_args!("{} followed and applied", show_count(snapshot.ops_applied)));
    for left in &snapshot.left_behind {
        page.item("not carried", left);
    }
    if snapshot.collections.is_empty() {
        return;
    }
    page.line("\n| collection | documents | size | indexes |\n|---|---:|---:|---:|");
    for row in snapshot.collections.iter().take(MAX_ROWS) {
        page.line(format_args!(
            "| {} | {} | {} | {} |",
            cell(&row.namespace),
            show_count(row.documents),
            show_bytes(row.bytes),
            row.indexes_built
        ));
    }
    if let Some(more @ 1..) = snapshot.collections.len().checked_sub(MAX_ROWS) {
        page.line(format_args!("\n{more} more collections are in report.json."));
    }
}

fn verification(page: &mut Page, report: &Report) {
    let verification = &report.snapshot.verification;
    page.title("Verification");
    let compared = format!(
        "{} compared byte for byte in {}",
        counted(verification.documents, "document", "documents"),
        counted(verification.collections.iter().filter(|row| row.done).count() as u64, "collection", "collections")
    );
    page.line(match verification.state {
        VerificationState::Done => {
            let differ = counted(verification.mismatches, "document differs", "documents differ");
            format!("{differ}. {compared}.")
        }
        VerificationState::Off => {
            "Off: the plan said not to compare. Nothing is known about the copy's equality.".into()
        }
        VerificationState::Waiting => "Not begun. Nothing is known about the copy's equality.".into(),
        VerificationState::Running => format!("Not finished: {compared}, then the migration ended."),
        VerificationState::Skipped => {
            let by = report.texts("skipped").next().unwrap_or("who gave it up is unknown");
            format!("Skipped: {}. Until then {compared}.", inline(by))
        }
    });
    for row in verification.collections.iter().filter(|row| row.missing + row.extra + row.different > 0) {
        page.item(
            &inline(&row.namespace),
            format_args!("{} missing, {} extra, {} different", row.missing, row.extra, row.different),
        );
    }
    let is_opened_first = report
        .snapshot
        .cutover
        .as_ref()
        .is_some_and(|cutover| cutover.check == CheckOrder::After && cutover.opened.is_some());
    if is_opened_first {
        page.item("checked", "after the destination was opened, as the operator chose");
        let theirs = counted(verification.application, "document differs", "documents differ");
        page.item(
            "written by the application",
            format_args!(
                "{theirs} because they were written on the destination after it was opened; no mistake of the copy, but what \
                 they were when it was opened is not known"
            ),
        );
    }
    if !verification.examples.is_empty() {
        page.line("\n| collection | _id | how | where |\n|---|---|---|---|");
        for example in &verification.examples {
            let kind = kind_word(example.kind);
            let (namespace, id, paths) = (&example.namespace, &example.id, example.paths.join(", "));
            page.line(format_args!("| {} | {} | {kind} | {} |", cell(namespace), cell(id), cell(&paths)));
        }
    }
    let repaired = &verification.repaired;
    if repaired.documents > 0 {
        let count = counted(repaired.documents, "document", "documents");
        page.item("repaired", format_args!("{count} that differed: copied again, read again, and equal then"));
        page.line("\n| collection | _id | was | equal at |\n|---|---|---|---|");
        for one in &repaired.examples {
            let (namespace, id, kind) = (cell(&one.namespace), cell(&one.id), kind_word(one.kind));
            page.line(format_args!("| {namespace} | {id} | {kind} | {} |", time(Some(one.at))));
        }
    }
    let differences = &report.snapshot.verification.metadata_differences;
    if differences.is_empty() {
        // They are compared at the end of finalizing, so a migration that ended before has nothing to say about them.
        let finished = report.snapshot.cutover.as_ref().is_some_and(|cutover| cutover.opened.is_some());
        page.item("options, indexes, views", if finished { "no difference was found" } else { "not compared" });
    }
    for difference in differences {
        page.item("differs", difference);
    }
}

fn kind_word(kind: MismatchKind) -> &'static str {
    match kind {
        MismatchKind::Missing => "on the source only",
        MismatchKind::Extra => "on the destination only",
        MismatchKind::Different => "different",
    }
}

fn cutover(page: &mut Page, report: &Report) {
    let snapshot = &report.snapshot;
    page.title("Cutover");
    match &snapshot.cutover {
        None => page.line("Not begun."),
        Some(cutover) => {
            page.item("downtime for writers", duration(cutover.downtime_ms));
            page.item("begun", time(Some(cutover.started)));
            page.item("last write on the source", time(cutover.last_source_write));
            page.item("cutover timestamp", known(cutover.cutover_ts));
            page.item("destination opened", time(cutover.opened));
            if cutover.assumed_stopped {
                let by = cutover.assumed_by.as_deref().unwrap_or("an unknown operator");
                page.item(
                    "override",
                    format_args!("{by} said that the application is stopped; the quiet check did not"),
                );
            }
            if let Some(late) = &cutover.late_write {
                page.item("late write", late);
            }
            for line in &cutover.lines {
                page.item(&line.label, format_args!("{} {}", state(line.state), line.detail));
            }
        }
    }
    page.item("cutover window extended", counted(snapshot.extensions.into(), "time", "times"));
    for extension in &snapshot.extension_log {
        page.item(
            "extension",
            format_args!(
                "by {} at {} to {}",
                extension.by,
                time(Some(extension.at)),
                time(Some(extension.new_deadline))
            ),
        );
    }
}

fn checks(page: &mut Page, report: &Report) {
    page.title("Checks");
    let Some(validation) = &report.snapshot.validation else {
        page.line("No validation is recorded.");
        return;
    };
    page.item(
        "validation",
        format_args!(
            "{} ok, {}, {} failed, {} skipped",
            validation.count(CheckState::Ok),
            counted(validation.count(CheckState::Warn) as u64, "warning", "warnings"),
            validation.count(CheckState::Fail),
            validation.count(CheckState::Skip)
        ),
    );
    for check in report.checks(CheckState::Warn) {
        let side = if check.side == Side::Source { "source" } else { "destination" };
        page.item(
            "accepted warning",
            format_args!("{side} {}: {}. {}", check.label, check.evidence.trim_end_matches('.'), check.explanation),
        );
    }
}

/// What the validation printed for the users and roles of the source.
fn accounts(page: &mut Page, report: &Report) {
    let data = report.snapshot.validation.as_ref().and_then(|validation| validation.check(CheckId::SourceData));
    let Some(script) = data.and_then(|check| check.fix_command.as_deref()) else { return };
    page.title("Users and roles");
    page.line("Never carried: nobody can read a password back. In mongosh on the destination:\n\n```js");
    for line in script.lines() {
        page.line(inline(line));
    }
    page.line("```");
}

fn troubles(page: &mut Page, report: &Report) {
    page.title("Incidents");
    if report.snapshot.incidents.is_empty() {
        page.line("None recorded.");
    }
    for incident in &report.snapshot.incidents {
        page.line(format_args!("- {}", inline(incident)));
    }
}

fn cleanup(page: &mut Page, report: &Report) {
    page.title("Cleaned up");
    if report.snapshot.cleanup.is_empty() {
        page.line("Nothing was cleaned up.");
    }
    for line in &report.snapshot.cleanup {
        page.item(&line.label, format_args!("{} {}", state(line.state), line.detail));
    }
    page.title("Left for you");
    for todo in report.left_to_do() {
        page.line(format_args!("- [ ] {}", inline(&todo)));
    }
}

fn timeline(page: &mut Page, report: &Report) {
    page.title("Timeline");
    for event in report.timeline() {
        let at = event.at.strftime("%Y-%m-%d %H:%M:%SZ");
        page.line(format_args!("- {at} {}: {}", inline(&event.kind), inline(&event.text)));
    }
    let shown = report.timeline().count();
    let hidden = report.events.len() - shown;
    if hidden > 0 {
        page.line(format_args!("\n{hidden} retries and recoveries are in report.json."));
    }
}

fn state(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "not begun",
        StepState::Running => "not finished",
        StepState::Ok => "ok",
        StepState::Failed => "FAILED",
    }
}
