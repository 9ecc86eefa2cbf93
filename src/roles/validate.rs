//! `mongoferry validate --plan P.toml [--json]`.

use super::exit;
use crate::{
    config,
    model::{Check, ValidationReport, check::CheckState},
    validate,
};
use std::{fmt::Write as _, io::Write as _, path::Path};
use tokio_util::sync::CancellationToken;

/// Runs all checks and prints them. Exit 0: no failure, 2: at least one failed check.
pub async fn play(path: &Path, json: bool) -> anyhow::Result<u8> {
    let plan = config::read_plan(path)?;
    let cancel = CancellationToken::new();
    let validation = validate::run(&plan, |_| {}, &cancel);
    tokio::pin!(validation);
    let validated = tokio::select! {
        validated = &mut validation => validated,
        why = super::interrupted() => {
            // Lets the checks drop their temporary database.
            cancel.cancel();
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), validation).await;
            anyhow::bail!("{why}; nothing has been written to either cluster")
        }
    };
    let report = validated.report;
    let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { lines(&report) };
    // A reader that stops early (`| head`) is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.passed() { exit::DONE } else { exit::VALIDATION_FAILED })
}

/// The report as plain lines.
pub fn lines(report: &ValidationReport) -> String {
    let mut text = String::new();
    for check in &report.checks {
        text.push_str(&line(check));
    }
    for line in report.left_behind.iter().map(|what| format!("not carried: {what}")).chain(report.summary.clone()) {
        let _ = writeln!(text, "      {line}");
    }
    let (failed, warnings) =
        (report.count(CheckState::Fail) + report.count(CheckState::Skip), report.count(CheckState::Warn));
    let _ = match failed {
        0 => writeln!(text, "validation passed, {warnings} warnings"),
        _ => writeln!(text, "validation failed: {failed} checks, {warnings} warnings. Nothing has been written."),
    };
    text
}

fn line(check: &Check) -> String {
    let word = match check.state {
        CheckState::Waiting | CheckState::Running => "...",
        CheckState::Ok => "OK",
        CheckState::Warn => "WARN",
        CheckState::Fail => "FAIL",
        CheckState::Skip => "SKIP",
    };
    let mut text = format!("{word:<5} {:<11} {:<15} {}\n", check.side.to_string(), check.label, check.evidence);
    for extra in [&check.explanation, &check.fix].into_iter().filter(|extra| !extra.is_empty()) {
        let _ = writeln!(text, "      {extra}");
    }
    if let Some(command) = &check.fix_command {
        let _ = writeln!(text, "      run: {command}");
    }
    text
}
