//! The demo as a stranger runs it: to completion without a person, and ended in every rude way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

fn demo(temporary: &Path, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mongoferry"));
    command.args(["demo", "--auto", "--docs", "5000"]);
    // The folder makes the servers of this test recognisable; the cache stays where other tests find it too.
    command.env("TMPDIR", temporary).env("MONGOFERRY_HOME", home);
    command.env("MONGOFERRY_CACHE", mongoferry::paths::cache_root().unwrap());
    command.stdin(Stdio::null());
    command
}

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let needle = folder.to_string_lossy().into_owned();
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&needle).then_some(line)
    });
    lines.collect()
}

fn wait_until(what: &str, wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "no {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn assert_nothing_is_left(temporary: &Path) {
    let gone = || processes(temporary).is_empty() && fs::read_dir(temporary).unwrap().next().is_none();
    let deadline = Instant::now() + Duration::from_secs(15);
    while !gone() {
        let left: Vec<_> = fs::read_dir(temporary).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(Instant::now() < deadline, "left behind: {:?} {left:?}", processes(temporary));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn demo_auto_completes_verifies_and_reports() {
    let (temporary, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = demo(temporary.path(), home.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    for part in ["You have successfully migrated", "0 documents differ", "downtime", "Cleaned up"] {
        assert!(out.contains(part), "the report does not say {part:?}:\n{out}");
    }
    assert!(home.path().join("state/demo/report.json").exists());
    assert_nothing_is_left(temporary.path());
}

fn ended_by(signal: &str) {
    let (temporary, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut command = demo(temporary.path(), home.path());
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Two guards and two servers.
    wait_until("running servers", || processes(temporary.path()).len() >= 4);
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = child.wait().unwrap();
    assert!(!status.success(), "an interrupted demo is not a success");
    assert_nothing_is_left(temporary.path());
}

#[test]
fn nothing_survives_a_terminated_demo() {
    ended_by("-TERM");
}

#[test]
fn nothing_survives_ctrl_c() {
    ended_by("-INT");
}

#[test]
fn nothing_survives_a_killed_demo() {
    ended_by("-KILL");
}

#[test]
fn nothing_survives_a_closed_terminal() {
    ended_by("-HUP");
}
