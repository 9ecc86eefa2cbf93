//! Tracing to a rolling daily file: what the engine and the driver say about themselves, for bug reports.
//!
//! Owns the log directory (0700) and its files (0600). Events that an operator should see go to the event log, not here.
//! Nothing secret is ever passed to tracing: secrets are [`crate::secret::Secret`]s, and the driver's own log stays at
//! warnings, which hold no commands.

use crate::model::{Problem, Side};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// Without `MONGOFERRY_LOG`: information from mongoferry, warnings from everybody else (the driver among them).
const DEFAULT_FILTER: &str = "warn,mongoferry=info";
/// Overrides the filter, in the syntax of `tracing_subscriber::EnvFilter`.
pub const FILTER_VARIABLE: &str = "MONGOFERRY_LOG";
/// Log files that are kept; one a day.
const KEPT_FILES: usize = 14;

/// Writes out what is buffered when dropped: keep it until the program ends.
#[derive(Debug)]
pub struct Guard {
    _worker: WorkerGuard,
    directory: PathBuf,
}

impl Guard {
    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Starts logging into `directory`, which is created. A second call in one process keeps the first one's destination.
pub fn start(directory: &Path) -> Result<Guard, Problem> {
    let problem = |error: io::Error| {
        Problem::before_writing(
            Side::Host,
            format!("cannot write log files into {}", directory.display()),
            error.to_string(),
            "Make the folder writable, or set MONGOFERRY_HOME to one that is.",
        )
    };
    let file = DailyFile::open(directory).map_err(problem)?;
    let (writer, worker) = tracing_appender::non_blocking(file);
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // Fails only when a subscriber is installed already (tests of one process).
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).try_init();
    Ok(Guard { _worker: worker, directory: directory.to_path_buf() })
}

/// `mongoferry.YYYY-MM-DD.log` (UTC), a new file each day. tracing-appender's own roller cannot set the mode.
#[derive(Debug)]
struct DailyFile {
    directory: PathBuf,
    day: jiff::civil::Date,
    file: File,
}

impl DailyFile {
    fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
        let day = today();
        let file = open_day(directory, day)?;
        remove_old(directory)?;
        Ok(Self { directory: directory.to_path_buf(), day, file })
    }
}

impl Write for DailyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let day = today();
        if day != self.day {
            self.file = open_day(&self.directory, day)?;
            self.day = day;
            remove_old(&self.directory)?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn open_day(directory: &Path, day: jiff::civil::Date) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(format!("mongoferry.{day}.log")))
}

fn remove_old(directory: &Path) -> io::Result<()> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("mongoferry.") && name.ends_with(".log")
    };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())).filter(ours).collect();
    // Names sort by date.
    files.sort();
    let surplus = files.len().saturating_sub(KEPT_FILES);
    files.iter().take(surplus).try_for_each(std::fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn folder_and_file_are_private_and_old_files_go() {
        let root = tempfile::tempdir().expect("folder");
        let directory = root.path().join("state").join("log");
        std::fs::create_dir_all(&directory).expect("folder");
        for day in 1..=20 {
            std::fs::write(directory.join(format!("mongoferry.2020-01-{day:02}.log")), "old").expect("file");
        }
        std::fs::write(directory.join("other.log"), "not ours").expect("file");
        let mut file = DailyFile::open(&directory).expect("opened");
        file.write_all(b"line\n").expect("written");
        let path = directory.join(format!("mongoferry.{}.log", today()));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "line\n");
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&directory).expect("readable").count(), KEPT_FILES + 1);
        assert!(directory.join("other.log").exists());
        assert!(!directory.join("mongoferry.2020-01-01.log").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_problem_of_this_host() {
        let root = tempfile::tempdir().expect("folder");
        let blocker = root.path().join("file");
        std::fs::write(&blocker, "").expect("file");
        let problem = start(&blocker.join("log")).expect_err("a file is in the way");
        assert_eq!(problem.side, Side::Host);
        assert!(problem.what.contains("log"));
    }
}
