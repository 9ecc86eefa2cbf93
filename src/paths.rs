//! Where files live: the platform's state, config and cache folders, or one folder named by `MONGOFERRY_HOME`.

use crate::model::{Problem, Side};
use directories::ProjectDirs;
use std::{env, path::PathBuf};

/// Reports, logs and spools; one folder per migration.
pub fn state_root() -> Result<PathBuf, Problem> {
    under("state", |dirs| dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_path_buf())
}

/// Profiles and preferences.
pub fn config_root() -> Result<PathBuf, Problem> {
    under("config", |dirs| dirs.config_dir().to_path_buf())
}

/// Cached servers of the demo and the tests. `MONGOFERRY_CACHE` moves the cache alone.
pub fn cache_root() -> Result<PathBuf, Problem> {
    match env::var_os("MONGOFERRY_CACHE") {
        Some(path) => Ok(path.into()),
        None => under("cache", |dirs| dirs.cache_dir().to_path_buf()),
    }
}

fn under(folder: &str, platform: impl Fn(&ProjectDirs) -> PathBuf) -> Result<PathBuf, Problem> {
    if let Some(home) = env::var_os("MONGOFERRY_HOME") {
        return Ok(PathBuf::from(home).join(folder));
    }
    ProjectDirs::from("", "", "mongoferry").map(|dirs| platform(&dirs)).ok_or_else(|| {
        Problem::before_writing(
            Side::Host,
            "there is no home folder to keep state in",
            "neither HOME nor MONGOFERRY_HOME is set",
            "Set MONGOFERRY_HOME to a folder of yours.",
        )
    })
}
