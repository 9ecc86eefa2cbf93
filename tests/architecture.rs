//! The invariants of `src/lib.rs` and the table in the design: who may use whom, what is deliberately absent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The code without comment lines and without its test module.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// Modules of this crate that `text` names: `crate::x` and the first level of `use crate::{…}`.
fn uses(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut word)),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            names.push(word);
        } else {
            names.push(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_string());
        }
    }
    let first = |name: String| name.trim().split("::").next().unwrap().trim().to_string();
    names.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

#[test]
fn each_module_uses_only_what_the_table_allows() {
    // model, secret and the plain readers of formats, folders and routes (paths, pem, route, uri) are open to all.
    let open = ["model", "secret", "paths", "pem", "route", "uri"];
    let allowed = |module: &str| -> Option<&[&str]> {
        Some(match module {
            "model" => &["model", "secret"],
            "secret" | "paths" | "pem" | "route" | "uri" => &["model", "secret"],
            "machine" => &["machine"],
            "oplog" => &["oplog"],
            "mongo" => &["mongo"],
            "validate" => &["validate", "mongo", "oplog"],
            "engine" => &["engine", "machine", "oplog", "mongo", "validate", "session", "report", "store", "notify"],
            "notify" => &["notify", "config"],
            "store" => &["store"],
            "session" => &["session"],
            "report" => &["report"],
            "tui" => &["tui", "session", "profiles"],
            "plain" => &["plain", "session"],
            "profiles" | "config" | "telemetry" => &["profiles", "config", "telemetry"],
            "demo" => &["demo"],
            "cli" => &[],
            // The glue: roles and main.
            _ => return None,
        })
    };
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(allowed) = allowed(module(&file)) else { continue };
        for used in uses(&code(&text)) {
            if !allowed.contains(&used.as_str()) && !open.contains(&used.as_str()) {
                wrong.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn crates_stay_behind_their_doors() {
    let doors: &[(&str, &[&str])] = &[
        ("mongodb::", &["mongo", "engine", "validate", "demo"]),
        ("ratatui::", &["tui"]),
        ("crossterm::", &["tui"]),
        ("clap::", &["cli", "main", "roles"]),
        ("clap_complete::", &["cli", "roles"]),
        ("anyhow", &["demo", "main", "roles"]),
        ("tracing_appender::", &["telemetry"]),
        ("rustls_pemfile::", &["pem", "mongo"]),
        ("x509_parser::", &["pem", "mongo"]),
        ("directories::", &["paths"]),
        ("redb::", &["store"]),
        ("lettre::", &["notify"]),
        ("ureq::", &["notify"]),
    ];
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        for (door, modules) in doors {
            let named = code.match_indices(door).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            });
            if named && !modules.contains(&module(&file)) {
                wrong.push(format!("{file} names {door}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pure_modules_have_no_io_no_async_and_no_clock() {
    let absent = [
        "tokio",
        "std::fs",
        "std::net",
        "std::io",
        "std::process",
        "async fn",
        ".await",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "std::env",
    ];
    let mut wrong = Vec::new();
    for (file, text) in sources().into_iter().filter(|(file, _)| matches!(module(file), "machine" | "oplog")) {
        let code = code(&text);
        wrong.extend(absent.iter().filter(|word| code.contains(**word)).map(|word| format!("{file}: {word}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_driver_and_the_terminal_form_ever_see_a_secret_in_the_clear() {
    // The last three: the way of a command from client to engine, a login at a mail server, the address of a webhook.
    let may = [
        "secret.rs",
        "tui/field/endpoint.rs",
        "tui/field/identity_box.rs",
        "session/handed.rs",
        "notify/email.rs",
        "notify/webhook.rs",
    ];
    let exposes = |(file, text): &(String, String)| {
        code(text).contains(".expose()") && !may.contains(&file.as_str()) && module(file) != "mongo"
    };
    let wrong: Vec<String> = sources().into_iter().filter(exposes).map(|(file, _)| file).collect();
    assert!(wrong.is_empty(), "{wrong:?} expose a secret");
}

#[test]
fn a_secret_is_serialised_in_one_private_module_that_only_commands_reach() {
    for (file, text) in sources() {
        let code = code(&text);
        assert!(!code.contains("Serialize for Secret") && !code.contains("Serialize<'de> for Secret"), "{file}");
        if code.contains("handed::") {
            assert!(matches!(file.as_str(), "session/protocol.rs"), "{file} reaches the way of secrets");
        }
        if file == "session/protocol.rs" {
            let told = code.split("pub enum Told").nth(1).unwrap().split("\n}").next().unwrap();
            assert!(!told.contains("Handed") && !told.contains("Passwords"), "the engine would send secrets back");
        }
    }
}

#[test]
fn only_the_session_opens_unix_sockets() {
    for (file, text) in sources() {
        let opens = code(&text).contains("UnixListener") || code(&text).contains("UnixStream");
        assert!(!opens || module(&file) == "session", "{file}");
    }
}

#[test]
fn files_are_small_and_nothing_is_left_to_do() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > 600 {
            wrong.push(format!("{file} has {lines} lines"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{file} does not say what it owns"));
        }
        for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
            if text.contains(word) {
                wrong.push(format!("{file} holds {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_top_level_is_as_the_brief_fixes_it() {
    let fixed = ["Cargo.toml", "Cargo.lock", "src", "assets", "tests", "README.md", "LICENSE"];
    let mut odd = Vec::new();
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "target" && !fixed.contains(&name.as_str()) {
            odd.push(name);
        }
    }
    assert!(odd.is_empty(), "{odd:?}");
    for name in fixed {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists(), "{name} is missing");
    }
}
