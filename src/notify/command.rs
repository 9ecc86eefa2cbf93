//! By a program of the operator's: JSON on its standard input, the essentials in its environment. No shell is involved.

use super::{NotifyError, json};
use crate::model::Notice;
use std::{path::Path, process::Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

pub(super) async fn run(program: &Path, notice: &Notice) -> Result<(), NotifyError> {
    let failed = |why: String| NotifyError::Refused(format!("{}: {why}", program.display()));
    let payload = json(notice);
    let mut child = Command::new(program)
        .env("MONGOFERRY_NOTICE", payload["notice"].as_str().unwrap_or_default())
        .env("MONGOFERRY_MIGRATION", &notice.migration)
        .env("MONGOFERRY_TEXT", notice.subject())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Whoever gives up waiting for it ends it.
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read its input is no failure.
        let _ = input.write_all(format!("{payload}\n").as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.chars().filter(|c| !c.is_control() || *c == ' ').take(200).collect();
    Err(failed(format!("{} {said}", output.status).trim_end().to_string()))
}
