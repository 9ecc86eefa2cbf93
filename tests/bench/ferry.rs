//! The real binary, as an operator starts it, measured from outside: time by its own events, CPU and memory by the kernel.

use crate::machine::{Sets, cpu_s, peak_mib};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(600);

/// The binary that is measured: the one that cargo built, or the one that `MONGOFERRY_BENCH_BINARY` names, such as the
/// static one of the release archive.
pub fn binary() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_mongoferry").into();
    std::env::var_os("MONGOFERRY_BENCH_BINARY").map_or_else(built, PathBuf::from)
}

/// A running `mongoferry run`. Killed when dropped.
pub struct Ferry {
    child: Child,
    typed: ChildStdin,
    lines: mpsc::Receiver<Value>,
    started: Option<Timestamp>,
    copied: Option<Timestamp>,
    _home: tempfile::TempDir,
}

/// What was seen up to a point.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds from "migration started".
    pub seconds: f64,
    /// Of these, until the copy ended.
    pub copy: f64,
    /// CPU seconds since the process started.
    pub cpu: f64,
    /// Largest resident size, MiB.
    pub peak_mib: f64,
}

impl Drop for Ferry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ferry {
    /// Starts a migration of everything. `more` are further lines of the plan's options.
    pub fn start(sets: &Sets, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let plan = home.path().join("plan.toml");
        let text = format!(
            "name = \"bench\"\n[source]\nuri = \"{}\"\n[destination]\nuri = \"{}\"\n[options]\nready_for = \"1s\"\n{more}\n",
            sets.source.uri(),
            sets.destination.uri()
        );
        std::fs::write(&plan, text).unwrap();
        let mut child = Command::new(binary())
            .args(["run", "--json", "--accept-warnings", "--cutover", "manual", "--plan"])
            .arg(&plan)
            .env("MONGOFERRY_HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let typed = child.stdin.take().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { continue };
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        Self { child, typed, lines, started: None, copied: None, _home: home }
    }

    /// Waits for a phase, or a later one.
    pub fn reach(&mut self, phases: &[&str]) -> Cost {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("{phases:?} was not reached"));
            if line["event"]["kind"] == "started" {
                self.started = line["event"]["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            }
            let snapshot = &line["snapshot"];
            let phase = snapshot["phase"].as_str().unwrap_or_default();
            assert_ne!(phase, "failed", "{}", snapshot["error"]);
            let since = snapshot["since"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            if self.copied.is_none() && !["", "idle", "validating", "clearing", "copying"].contains(&phase) {
                self.copied = since;
            }
            if let (true, Some(since), Some(started)) = (phases.contains(&phase), since, self.started) {
                let span = |until: Timestamp| until.duration_since(started).as_secs_f64();
                return Cost {
                    seconds: span(since),
                    copy: self.copied.map_or(f64::NAN, span),
                    cpu: cpu_s(&self.child.id().to_string()),
                    peak_mib: peak_mib(self.child.id()),
                };
            }
        }
    }

    /// Waits for an event of this kind; when it happened, by this host's clock.
    pub fn told(&mut self, kind: &str) -> Timestamp {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("{kind} was not told"));
            assert_ne!(line["event"]["severity"], "error", "{line}");
            if line["event"]["kind"] == kind {
                return line["event"]["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
            }
        }
    }

    /// Types a command of `run --cutover manual`.
    pub fn type_line(&mut self, command: &str) {
        writeln!(self.typed, "{command}").unwrap();
    }

    /// CPU seconds so far and the largest resident size, MiB.
    pub fn so_far(&self) -> (f64, f64) {
        (cpu_s(&self.child.id().to_string()), peak_mib(self.child.id()))
    }

    /// Stops the migration and waits for the process.
    pub fn stop(mut self) {
        self.type_line("stop");
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
