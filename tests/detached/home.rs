//! A state folder of its own, commands in it, and the end of every engine that was started in it.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// A plan with short durations; `extra` goes into its options.
    pub fn plan(&self, name: &str, source: &str, destination: &str, extra: &str) -> PathBuf {
        let path = self.path().join(format!("{name}.toml"));
        let text = format!(
            "name = \"{name}\"\n[source]\nuri = \"{source}\"\n[destination]\nuri = \"{destination}\"\n[options]\n\
             ready_for = \"1s\"\nquiet_for = \"2s\"\n{extra}\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        // Figures are taken with a release build.
        let binary = std::env::var("MONGOFERRY_BINARY");
        let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_mongoferry")));
        command.args(arguments).env("MONGOFERRY_HOME", self.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?} {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Runs a command that must end with `code`; everything that it printed.
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{said}");
        said
    }

    pub fn status(&self, name: &str) -> Value {
        serde_json::from_str(&self.ok(&["status", name, "--json"])).unwrap()
    }

    /// Waits until the status satisfies `wanted`.
    pub fn wait(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(name);
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}; the status: {status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The engines that were started in this home.
    pub fn engines(&self) -> Vec<u32> {
        let needle = format!("MONGOFERRY_HOME={}\0", self.text());
        let is_ours = |pid: &u32| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let environment = String::from_utf8_lossy(&read("environ")).into_owned() + "\0";
            command.ends_with("\0engine\0") && environment.contains(&needle)
        };
        let pids =
            fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    /// The only engine of this home.
    pub fn engine(&self) -> u32 {
        let engines = self.engines();
        assert_eq!(engines.len(), 1, "{engines:?}");
        engines[0]
    }

    pub fn wait_for_engines(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.engines().len() != count {
            assert!(Instant::now() < deadline, "{:?} are not {count} engines", self.engines());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pid in self.engines() {
            signal(pid, "-KILL");
        }
    }
}

pub fn signal(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
}
