//! The real binary as a process: `run --plan … --resume`, its NDJSON read along, its end of any kind.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What one process printed.
#[derive(Debug, Default)]
struct Said {
    snapshot: Value,
    events: VecDeque<String>,
    errors: Vec<String>,
}

/// A state folder and a plan; processes come and go.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub plan: PathBuf,
}

impl Home {
    /// A plan with short durations; `options` are more lines of its `[options]`.
    pub fn new(source: &str, destination: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("chaos.toml");
        let text = format!(
            "name = \"chaos\"\n[source]\nuri = \"{source}\"\n[destination]\nuri = \"{destination}\"\n[options]\n\
             ready_for = \"1s\"\nquiet_for = \"1500ms\"\n{options}\n"
        );
        std::fs::write(&plan, text).unwrap();
        Self { folder, plan }
    }

    /// The folder of the migration.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("home/state/chaos")
    }
}

/// One process. Killed and reaped when dropped.
pub struct Ferry {
    child: Child,
    said: Arc<Mutex<Said>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Ferry {
    /// Starts or resumes.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, |_| {})
    }

    pub fn start_with(home: &Home, change: impl FnOnce(&mut Command)) -> Self {
        let built = env!("CARGO_BIN_EXE_mongoferry").to_string();
        // A release build, for measurements.
        let mut command = Command::new(std::env::var("MONGOFERRY_CHAOS_BINARY").unwrap_or(built));
        command.args(["run", "--json", "--accept-warnings", "--resume", "--plan"]).arg(&home.plan);
        command.env("MONGOFERRY_HOME", home.folder.path().join("home"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let said = Arc::new(Mutex::new(Said::default()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (lines, errors) = (said.clone(), said.clone());
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    note(&lines, &line);
                }
            }),
            std::thread::spawn(move || {
                for line in BufReader::new(err).lines().map_while(Result::ok) {
                    errors.lock().unwrap().errors.push(line);
                }
            }),
        ];
        Self { child, said, readers }
    }

    pub fn snapshot(&self) -> Value {
        self.said.lock().unwrap().snapshot.clone()
    }

    pub fn phase(&self) -> String {
        self.snapshot()["phase"].as_str().unwrap_or_default().to_string()
    }

    /// Everything that it said, for failures.
    pub fn story(&self) -> String {
        let said = self.said.lock().unwrap();
        let events: Vec<&str> = said.events.iter().map(String::as_str).collect();
        let snapshot = &said.snapshot;
        let shown = ["phase", "left_phase", "lag_ms", "ops_waiting", "cutover_blocked_by", "error", "copy", "cutover"]
            .map(|key| format!("{key}: {}", snapshot[key]));
        format!("{}\n-- errors:\n{}\n-- events:\n{}", shown.join("\n"), said.errors.join("\n"), events.join("\n"))
    }

    /// True when an event of that kind was told.
    pub fn told(&self, kind: &str) -> usize {
        let prefix = format!("{kind} ");
        self.said.lock().unwrap().events.iter().filter(|event| event.starts_with(&prefix)).count()
    }

    /// Types a command.
    pub fn say(&mut self, command: &str) {
        // It may have ended meanwhile, which the next wait shows.
        let _ = writeln!(self.child.stdin.as_mut().unwrap(), "{command}");
    }

    /// Waits for a snapshot; panics with the story when it does not come or the process ends.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if wanted(&self.snapshot()) {
                return;
            }
            let ended = self.child.try_wait().expect("a child");
            let failed = self.phase() == "failed";
            if ended.is_some() || failed || Instant::now() > deadline {
                std::thread::sleep(Duration::from_millis(200));
                if wanted(&self.snapshot()) {
                    return;
                }
                panic!("no {what} (ended: {ended:?}):\n{}", self.story());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn wait_for_phase(&mut self, phases: &[&str]) {
        self.wait(&format!("phase {phases:?}"), |snapshot| {
            phases.contains(&snapshot["phase"].as_str().unwrap_or_default())
        });
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
    }

    /// `kill -9`. True when it was still alive; panics when it had failed by itself.
    pub fn kill(mut self) -> bool {
        let ended = self.child.try_wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "ended by itself with {status}:\n{}", self.story());
            return false;
        }
        assert_ne!(self.phase(), "failed", "{}", self.story());
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        true
    }

    /// SIGTERM; returns how it ended and after how long.
    pub fn terminate(mut self) -> (ExitStatus, Duration, String) {
        let began = Instant::now();
        self.signal(Signal::TERM);
        let status = self.end();
        (status, began.elapsed(), self.story())
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                for reader in self.readers.drain(..) {
                    reader.join().unwrap();
                }
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.story());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The most resident memory that it had so far, bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status"));
        let line = status.unwrap_or_default();
        let line = line.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim).map(str::to_string);
        line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

impl Drop for Ferry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn note(said: &Mutex<Said>, line: &str) {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return };
    let mut said = said.lock().unwrap();
    if let Some(snapshot) = value.get("snapshot") {
        said.snapshot = snapshot.clone();
    } else if let Some(checks) = value["validation"]["checks"].as_array() {
        let failed = checks.iter().filter(|check| check["state"] == "fail");
        said.errors.extend(failed.map(Value::to_string));
    } else if let Some(event) = value.get("event") {
        let text = format!("{} {}", event["kind"].as_str().unwrap_or("?"), event["text"].as_str().unwrap_or("?"));
        said.events.push_back(text);
        if said.events.len() > 200 {
            said.events.pop_front();
        }
    }
}
