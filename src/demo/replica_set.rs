//! A throwaway replica set of real mongods on free loopback ports. Nothing of it survives its owner: a guard shell ends
//! the server and removes the folder when this process ends in whatever way.

use super::{ports::Port, releases::Mongod};
use anyhow::{Context, bail};
use bson::doc;
use std::{
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a set may take to elect its first primary.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends `server` and removes `folder` as soon as `parent` is gone; ends the server on SIGTERM. Ctrl-C and a closed
/// terminal do not reach it: it lives in a process group of its own and ignores them.
const GUARD: &str = r#"
parent=$1; folder=$2; shift 2
trap '' HUP INT
"$@" </dev/null >/dev/null 2>&1 &
server=$!
trap 'kill -KILL $server 2>/dev/null' TERM
while kill -0 "$parent" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 0.2; done
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
kill -0 "$parent" 2>/dev/null || rm -rf "$folder"
"#;

/// How a set is started.
#[derive(Debug, Clone)]
pub struct SetOptions {
    /// Replica set name; `None` starts a standalone.
    pub name: Option<String>,
    /// Members.
    pub members: usize,
    /// More arguments for every mongod.
    pub arguments: Vec<String>,
    /// Cache of each mongod in GB.
    pub cache_gb: f64,
}

impl SetOptions {
    /// One member, a small cache.
    pub fn single(name: &str) -> Self {
        Self { name: Some(name.into()), members: 1, arguments: Vec::new(), cache_gb: 0.5 }
    }
}

/// One running mongod.
#[derive(Debug)]
struct Member {
    port: u16,
    guard: Child,
    data: PathBuf,
    log: PathBuf,
}

/// A running set. Ends with everything it wrote when dropped.
#[derive(Debug)]
pub struct ReplicaSet {
    /// Replica set name; empty for a standalone.
    pub name: String,
    members: Vec<Option<Member>>,
    ports: Vec<Port>,
    mongod: Mongod,
    options: SetOptions,
    // Removed after the members ended: fields are dropped in order.
    folder: tempfile::TempDir,
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(pid) = i32::try_from(self.guard.id()).ok().and_then(rustix::process::Pid::from_raw) else { return };
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // The guard may be between two commands; asking again is harmless.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            match self.guard.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                _ => break,
            }
        }
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

impl ReplicaSet {
    /// Starts the members, initiates the set and waits for a primary.
    pub async fn start(mongod: &Mongod, options: &SetOptions) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mongoferry-set-").tempdir()?;
        let mut members = Vec::new();
        let mut ports = Vec::new();
        for index in 0..options.members {
            let port = Port::reserve()?;
            members.push(Some(start_member(mongod, options, folder.path(), (index, port.number()))?));
            ports.push(port);
        }
        let set = Self {
            name: options.name.clone().unwrap_or_default(),
            members,
            ports,
            mongod: mongod.clone(),
            options: options.clone(),
            folder,
        };
        set.wait_until_usable().await.with_context(|| set.log_tail())?;
        Ok(set)
    }

    /// `mongodb://127.0.0.1:PORT[,…]/?replicaSet=NAME`, or a direct connection to a standalone.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> = self.ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        if self.name.is_empty() {
            format!("mongodb://{}/?directConnection=true", hosts.join(","))
        } else {
            format!("mongodb://{}/?replicaSet={}", hosts.join(","), self.name)
        }
    }

    /// The members' ports, also of those that are down.
    pub fn ports(&self) -> Vec<u16> {
        self.ports.iter().map(Port::number).collect()
    }

    /// Ends a member as `kill -9` does; it keeps its port and its data.
    pub fn kill(&mut self, index: usize) {
        drop(self.members.get_mut(index).and_then(Option::take));
    }

    /// Starts a member that was killed, on its port and its data.
    pub fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        let port = self.ports.get(index).context("there is no such member")?.number();
        self.kill(index);
        let member = start_member(&self.mongod, &self.options, self.folder.path(), (index, port))?;
        if let Some(slot) = self.members.get_mut(index) {
            *slot = Some(member);
        }
        Ok(())
    }

    /// Stops a member's process where it stands (SIGSTOP) or lets it go on: a server that is there and says nothing.
    pub fn freeze(&self, index: usize, frozen: bool) -> anyhow::Result<()> {
        use rustix::process::{Pid, Signal, kill_process};
        let member = self.members.get(index).and_then(Option::as_ref).context("that member is down")?;
        let lock =
            fs::read_to_string(member.data.join("mongod.lock")).context("reading the server's process number")?;
        let pid = Pid::from_raw(lock.trim().parse()?).context("no process number")?;
        Ok(kill_process(pid, if frozen { Signal::STOP } else { Signal::CONT })?)
    }

    /// Which member is the primary now; `None` while there is none.
    pub async fn primary(&self) -> Option<usize> {
        for (index, member) in self.members.iter().enumerate() {
            let Some(port) = member.as_ref().map(|member| member.port) else { continue };
            let Ok(client) = Self::direct(port).await else { continue };
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Some(index);
            }
        }
        None
    }

    /// A driver client of its own.
    pub async fn client(&self) -> anyhow::Result<mongodb::Client> {
        Ok(mongodb::Client::with_uri_str(self.uri()).await?)
    }

    async fn direct(port: u16) -> anyhow::Result<mongodb::Client> {
        let uri = format!(
            "mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=1000&connectTimeoutMS=1000"
        );
        Ok(mongodb::Client::with_uri_str(uri).await?)
    }

    async fn wait_until_usable(&self) -> anyhow::Result<()> {
        let first = self.ports.first().context("a set needs a member")?.number();
        let client = Self::direct(first).await?;
        let admin = client.database("admin");
        let deadline = Instant::now() + PATIENCE;
        let mut initiated = self.name.is_empty();
        loop {
            let seen = match admin.run_command(doc! { "hello": 1 }).await {
                Ok(hello) if hello.get_bool("isWritablePrimary").unwrap_or(false) => return Ok(()),
                Ok(_) if !initiated => {
                    let members: Vec<_> = (0..)
                        .zip(self.ports())
                        .map(|(id, port)| doc! { "_id": id, "host": format!("127.0.0.1:{port}") })
                        .collect();
                    let config = doc! { "_id": &self.name, "members": members,
                    "settings": { "electionTimeoutMillis": 2_000, "heartbeatIntervalMillis": 500 } };
                    match admin.run_command(doc! { "replSetInitiate": config }).await {
                        Ok(_) => {
                            initiated = true;
                            "initiated".to_string()
                        }
                        // With authentication the localhost exception allows this; members may still be starting.
                        Err(error) => error.to_string(),
                    }
                }
                Ok(hello) => format!("hello says {hello}"),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                bail!("no primary after {} s; last seen: {seen}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_tail(&self) -> String {
        let mut text = String::from("mongod did not come up");
        for member in self.members.iter().flatten() {
            let log = fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(5).collect();
            text.push_str(&format!("\n-- port {}:\n{}", member.port, lines.join("\n")));
        }
        text
    }
}

fn start_member(
    mongod: &Mongod,
    options: &SetOptions,
    folder: &std::path::Path,
    (index, port): (usize, u16),
) -> anyhow::Result<Member> {
    let data = folder.join(format!("member-{index}"));
    fs::create_dir_all(&data)?;
    let log = data.join("mongod.log");
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "mongoferry-guard", &std::process::id().to_string()]).arg(folder).arg(&mongod.path);
    if let Some(libraries) = &mongod.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command.arg("--dbpath").arg(&data).arg("--logpath").arg(&log);
    command.args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--nounixsocket"]);
    command.args(["--wiredTigerCacheSizeGB", &options.cache_gb.to_string()]);
    if let Some(name) = &options.name {
        command.args(["--replSet", name]);
    }
    command.args(&options.arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let guard = command.spawn().context("starting mongod (is there a shell?)")?;
    Ok(Member { port, guard, data, log })
}
