//! `mongoferry doctor`: one JSON file for a bug report. Passwords are nowhere in what it reads; names are redacted.

use super::{exit, find, redact::Redaction};
use crate::{paths, plain::status, tui};
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The last part of the newest log file.
const LOG_BYTES: u64 = 256 << 10;
/// The newest events.
const EVENTS: usize = 5_000;

/// Writes the bundle and says where.
pub async fn play(name: Option<&str>, output: Option<PathBuf>) -> anyhow::Result<u8> {
    let found = find::reach(name, true, false).await?;
    let (snapshot, engine, mut events) = (found.snapshot(), found.engine(), found.events());
    events.drain(..events.len().saturating_sub(EVENTS));
    let mut redaction = Redaction::default();
    let plan = &found.summary.plan;
    for endpoint in [&plan.source, &plan.destination] {
        redaction.hide_hosts(&endpoint.uri);
        redaction.hide("user", endpoint.username.as_deref().unwrap_or_default());
    }
    for view in [&snapshot.source, &snapshot.destination] {
        redaction.hide("set", view.set.as_deref().unwrap_or_default());
        view.hosts.iter().chain(&view.primary).for_each(|host| redaction.hide_hosts(host));
    }
    for row in &snapshot.collections {
        redaction.hide_namespace(&row.namespace);
    }
    redaction.hide("operator", &std::env::var("USER").unwrap_or_default());
    let survival = tokio::task::spawn_blocking(tui::survival::measure).await?;
    let environment = |name: &str| std::env::var(name).ok();
    let bundle = json!({
        "mongoferry": env!("CARGO_PKG_VERSION"),
        "at": jiff::Timestamp::now(),
        "system": system(),
        "terminal": {
            "TERM": environment("TERM"), "LANG": environment("LANG"), "LC_ALL": environment("LC_ALL"),
            "tmux": environment("TMUX").is_some(), "screen": environment("STY").is_some(),
        },
        "survival": { "is_safe": survival.is_safe, "what": survival.what },
        "engine": engine.word(),
        "owner_pid": found.summary.owner.pid,
        "folder": files(&found.summary.folder),
        "options": plan.options,
        "tls": [tls(&plan.source.tls), tls(&plan.destination.tls)],
        "status": status::json(&snapshot, engine),
        // Example documents are named by their _id, which may be anybody's.
        "snapshot": without_ids(serde_json::to_value(&snapshot)?),
        "events": events,
        "log": log_tail(&paths::state_root()?.join("log")),
    });
    let text = redaction.apply(&serde_json::to_string_pretty(&bundle)?);
    let path = output.unwrap_or_else(|| {
        let at = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from(format!("mongoferry-doctor-{at}.json"))
    });
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    let _ = writeln!(std::io::stdout(), "{}", path.display());
    let _ =
        writeln!(std::io::stderr(), "Hosts, users and namespaces are replaced; look through it before you send it.");
    Ok(exit::DONE)
}

fn tls(tls: &crate::model::Tls) -> &'static str {
    match tls {
        crate::model::Tls::Off => "off",
        crate::model::Tls::PublicCa => "public-ca",
        crate::model::Tls::PrivateCa { .. } => "private-ca",
    }
}

fn system() -> Value {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"'));
    json!({
        "kernel": text(name.release()), "machine": text(name.machine()), "distribution": pretty,
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
    })
}

fn files(folder: &Path) -> Vec<Value> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| {
        let meta = entry.metadata().ok()?;
        Some(json!({ "name": entry.file_name().to_string_lossy(), "bytes": meta.len(), "folder": meta.is_dir() }))
    };
    entries.filter_map(of).collect()
}

fn without_ids(mut snapshot: Value) -> Value {
    if let Some(examples) = snapshot.pointer_mut("/verification/examples").and_then(Value::as_array_mut) {
        for example in examples {
            example["id"] = Value::Null;
        }
    }
    snapshot
}

fn log_tail(folder: &Path) -> Vec<String> {
    let newest = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).max();
    let read = |path: PathBuf| -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    newest.and_then(|path| read(path).ok()).unwrap_or_default().lines().map(String::from).collect()
}
