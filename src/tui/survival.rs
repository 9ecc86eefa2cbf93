//! What could end a detached engine on this host although nobody asked for it: the login manager, a container. Found out
//! from files and from the system bus; nothing is changed.

use std::{fs, path::Path, process::Command};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survival {
    /// True when nothing is known that would end it.
    pub is_safe: bool,
    /// One sentence.
    pub what: String,
    /// A command that cures it.
    pub fix: Option<String>,
}

/// What the host says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// A container, by the file that tells.
    pub container: Option<&'static str>,
    /// The control group of this process.
    pub cgroup: String,
    /// systemd is the first process.
    pub has_logind: bool,
    /// logind ends what a user leaves behind; `None` when it does not say.
    pub kills_user_processes: Option<bool>,
    /// The user lingers: its processes may stay.
    pub lingers: bool,
    /// Name of the user.
    pub user: String,
}

/// Measures this host. Asks the system bus, so it may take a moment.
pub fn measure() -> Survival {
    judge(&look(Path::new("/"), std::env::var("USER").unwrap_or_default(), ask_logind))
}

fn look(root: &Path, user: String, ask: impl Fn() -> Option<bool>) -> Host {
    let is_there = |path: &str| root.join(path).exists();
    let containers = [("run/.containerenv", "podman"), (".dockerenv", "docker")];
    let has_logind = is_there("run/systemd/system") && is_there("run/systemd/seats");
    Host {
        container: containers.into_iter().find(|(path, _)| is_there(path)).map(|(_, name)| name),
        cgroup: fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default(),
        has_logind,
        kills_user_processes: if has_logind { ask() } else { None },
        lingers: !user.is_empty() && is_there(&format!("var/lib/systemd/linger/{user}")),
        user,
    }
}

/// What logind is configured to; its defaults differ between distributions, so it is asked rather than its files.
fn ask_logind() -> Option<bool> {
    let output = Command::new("busctl")
        .args(["--timeout=3", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1"])
        .args(["org.freedesktop.login1.Manager", "KillUserProcesses"])
        .output()
        .ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "b true" => Some(true),
        "b false" => Some(false),
        _ => None,
    }
}

/// What that means for an engine.
pub fn judge(host: &Host) -> Survival {
    let finding = |is_safe, what: String, fix: Option<String>| Survival { is_safe, what, fix };
    let linger = || Some(format!("loginctl enable-linger {}\n", host.user));
    if let Some(name) = host.container {
        return finding(false, format!("in a {name} container: it ends with the container"), None);
    }
    // A service of the user's manager (a terminal of the desktop, `systemd-run --user`) ends with that manager.
    let under_manager = host.cgroup.contains("/user@");
    match (host.has_logind, host.kills_user_processes, host.lingers) {
        (false, ..) => finding(true, "no login manager here ends what you leave running".into(), None),
        (true, Some(false), _) if !under_manager => finding(true, "logind leaves it running after logout".into(), None),
        (true, Some(false), true) => finding(true, "you linger: logind leaves it running after logout".into(), None),
        (true, Some(false), false) => {
            finding(false, "it ends with your last logout: you do not linger".into(), linger())
        }
        (true, Some(true), true) if under_manager => finding(true, "you linger: logind leaves it running".into(), None),
        (true, Some(true), _) => {
            let fix = format!("loginctl enable-linger {} && systemd-run --user --scope mongoferry\n", host.user);
            finding(false, "logind ends it at logout (KillUserProcesses)".into(), Some(fix))
        }
        (true, None, true) => finding(true, "you linger; logind does not say what it ends at logout".into(), None),
        (true, None, false) => finding(false, "logind may end it at logout: you do not linger".into(), linger()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            has_logind: true,
            user: "ops".into(),
            cgroup: "0::/user.slice/session-3.scope".into(),
            ..Host::default()
        }
    }

    #[test]
    fn what_logind_is_told_decides() {
        assert!(judge(&Host::default()).is_safe);
        assert!(judge(&Host { kills_user_processes: Some(false), ..host() }).is_safe);
        let killed = judge(&Host { kills_user_processes: Some(true), lingers: true, ..host() });
        assert!(!killed.is_safe, "lingering does not save a session's own processes: {killed:?}");
        let scope = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
        let managed = Host { kills_user_processes: Some(true), cgroup: scope.into(), ..host() };
        assert!(!judge(&managed).is_safe);
        assert!(judge(&Host { lingers: true, ..managed }).is_safe);
        let silent = judge(&host());
        assert_eq!(silent.fix.as_deref(), Some("loginctl enable-linger ops\n"));
        assert!(!judge(&Host { container: Some("docker"), ..Host::default() }).is_safe);
    }

    #[test]
    fn the_host_is_read_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["run/systemd/system", "run/systemd/seats", "var/lib/systemd/linger", "proc/self"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("var/lib/systemd/linger/ops"), "").unwrap();
        fs::write(root.path().join("proc/self/cgroup"), "0::/x").unwrap();
        let seen = look(root.path(), "ops".into(), || Some(true));
        let expected = Host { cgroup: "0::/x".into(), kills_user_processes: Some(true), lingers: true, ..host() };
        assert_eq!(seen, expected);
        fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert_eq!(look(root.path(), "ops".into(), || None).container, Some("docker"));
    }
}
