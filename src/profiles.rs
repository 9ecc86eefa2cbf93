//! Destination profiles: how to reach a cluster again, never with a password.
//!
//! Owns `destinations.toml` in the platform's config folder. A file that cannot be understood is an error and stays
//! as it is.

use crate::{
    model::{Problem, Side},
    paths,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// One remembered destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What the operator calls it; unique in the file.
    pub name: String,
    /// Without credentials.
    pub uri: String,
    /// User name; `None` on a cluster without authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Database of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_source: Option<String>,
    /// Encryption in transit.
    #[serde(default)]
    pub tls: ProfileTls,
    /// File with the private authority's certificates, for `private-ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// When a migration to it was last prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

/// The TLS words of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileTls {
    /// No TLS.
    #[default]
    Off,
    /// A public authority.
    PublicCa,
    /// A private authority, see [`Profile::ca_file`].
    PrivateCa,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "destination")]
    destinations: Vec<Profile>,
}

/// Where the profiles are kept.
pub fn path() -> Result<PathBuf, Problem> {
    Ok(paths::config_root()?.join("destinations.toml"))
}

/// All profiles, in the order of the file; none when there is no file yet.
pub fn load() -> Result<Vec<Profile>, Problem> {
    load_from(&path()?)
}

/// Writes all profiles at once, readable by their owner only. Refuses to replace a file that it cannot understand.
pub fn save(profiles: &[Profile]) -> Result<(), Problem> {
    save_to(&path()?, profiles)
}

/// [`load`] from a named file.
pub fn load_from(path: &Path) -> Result<Vec<Profile>, Problem> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(path, &error.to_string())),
    };
    let file: File = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        unusable(path, &format!("line {line}: {}", error.message()))
    })?;
    Ok(file.destinations)
}

/// [`save`] to a named file.
pub fn save_to(path: &Path, profiles: &[Profile]) -> Result<(), Problem> {
    load_from(path)?;
    let unwritable = |error: &dyn std::fmt::Display| {
        let what = format!("the destination profiles {} cannot be written", path.display());
        Problem::before_writing(Side::Host, what, error.to_string(), "Check the folder's owner, mode and free space.")
    };
    if let Some(profile) = profiles.iter().find(|profile| holds_password(&profile.uri)) {
        let why = format!("the address of {} holds credentials", profile.name);
        return Err(unwritable(&why));
    }
    let text = toml::to_string_pretty(&File { destinations: profiles.to_vec() }).map_err(|error| unwritable(&error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        // Created with mode 0600 by tempfile.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| unwritable(&error))
}

fn holds_password(uri: &str) -> bool {
    uri.contains('@')
}

fn unusable(path: &Path, why: &str) -> Problem {
    Problem::before_writing(
        Side::Host,
        format!("the destination profiles {} cannot be used", path.display()),
        why,
        "Correct the file, or move it away and add the destinations again; it was not changed.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn profile(name: &str) -> Profile {
        Profile {
            name: name.into(),
            uri: "mongodb://a.example.net:27017/?replicaSet=rs9".into(),
            username: Some("ferry".into()),
            auth_source: None,
            tls: ProfileTls::PrivateCa,
            ca_file: Some("/etc/ca.pem".into()),
            last_used: Timestamp::from_second(1_795_457_229).ok(),
        }
    }

    #[test]
    fn profiles_come_back_as_they_were_saved_and_only_for_their_owner() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config").join("destinations.toml");
        assert_eq!(load_from(&path), Ok(Vec::new()));
        let profiles = [profile("prod"), Profile { tls: ProfileTls::Off, ca_file: None, ..profile("stage") }];
        save_to(&path, &profiles).expect("saved");
        assert_eq!(load_from(&path).expect("loaded"), profiles);
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("config")).expect("folder").count(), 1, "a temporary file stayed");
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("destinations.toml");
        let broken = "[[destination]]\nname = \"a\"\nuri = \"mongodb://a\"\npassword = \"x\"\n";
        fs::write(&path, broken).expect("written");
        let problem = load_from(&path).expect_err("a password was accepted");
        assert!(problem.why.contains("line 4") && problem.why.contains("password"), "{problem}");
        save_to(&path, &[profile("prod")]).expect_err("the broken file was replaced");
        assert_eq!(fs::read_to_string(&path).expect("file"), broken);
    }

    #[test]
    fn an_address_with_credentials_is_never_written() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("destinations.toml");
        let with_password = Profile { uri: "mongodb://u:p@a".into(), ..profile("prod") };
        save_to(&path, &[with_password]).expect_err("credentials were written");
        assert!(!path.exists());
    }
}
