//! `mongodb+srv` with a name server of our own: the binary runs where `/etc/resolv.conf` names it, which takes root.

use super::*;
use std::{
    net::UdpSocket,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const A: u16 = 1;
const TXT: u16 = 16;
const SRV: u16 = 33;

/// Answers with these records, `(name, type, data)`; no such name otherwise.
struct NameServer {
    address: &'static str,
    ended: Arc<AtomicBool>,
}

impl NameServer {
    fn start(address: &'static str, records: Vec<(&'static str, u16, Vec<u8>)>) -> Self {
        let socket = UdpSocket::bind((address, 53)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let stop = ended.clone();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let _ = socket.send_to(&answer(&query[..length], &records), from);
            }
        });
        Self { address, ended }
    }

    /// Validates with the binary; what it printed.
    fn validate(&self, source: &str, destination: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (plan, resolv) = (folder.path().join("plan.toml"), folder.path().join("resolv.conf"));
        std::fs::write(&resolv, format!("nameserver {}\noptions timeout:1 attempts:2\n", self.address)).unwrap();
        let side = |name: &str, uri: &str| format!("[{name}]\nuri = \"{uri}\"\ntls = \"off\"\n");
        let text = format!("name = \"srv\"\n{}{}", side("source", source), side("destination", destination));
        std::fs::write(&plan, text).unwrap();
        let output: Output = Command::new("timeout")
            .args(["60", "unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
            .arg(&resolv)
            .args([env!("CARGO_BIN_EXE_mongoferry"), "validate", "--plan"])
            .arg(&plan)
            .env("HOME", folder.path())
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn service(target: &str, port: u16) -> Vec<u8> {
    [&[0, 0, 0, 0], port.to_be_bytes().as_slice(), &name(target)].concat()
}

/// The reply to a query with one question.
fn answer(query: &[u8], records: &[(&str, u16, Vec<u8>)]) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (asked, kind) = (&query[12..end], u16::from_be_bytes([query[end], query[end + 1]]));
    let of_name: Vec<_> = records.iter().filter(|record| name(record.0).eq_ignore_ascii_case(asked)).collect();
    let found: Vec<_> = of_name.iter().filter(|record| record.1 == kind).collect();
    // Authoritative, and no such name when nothing has it.
    let flags: u16 = if of_name.is_empty() { 0x8583 } else { 0x8580 };
    let mut reply = query[..2].to_vec();
    for number in [flags, 1, found.len() as u16, 0, 0] {
        reply.extend(number.to_be_bytes());
    }
    reply.extend(&query[12..end + 4]);
    for (_, kind, data) in found {
        // The name of the question, class IN, 60 s.
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 60]);
        reply.extend((data.len() as u16).to_be_bytes());
        reply.extend(data);
    }
    reply
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn srv_records_are_followed_and_their_mistakes_named() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: a name server of our own takes root");
        return;
    }
    let pair = common::pair().await;
    let untouched =
        Untouched::from_now([pair.source.client().await.unwrap(), pair.destination.client().await.unwrap()]).await;
    let port = pair.source.ports()[0];
    let options = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let server = NameServer::start(
        "127.83.82.86",
        vec![
            ("_mongodb._tcp.good.example.test", SRV, service("a.example.test", port)),
            ("good.example.test", TXT, options("replicaSet=rsA")),
            ("_mongodb._tcp.other.example.test", SRV, service("a.example.test", port)),
            ("other.example.test", TXT, options("replicaSet=another")),
            ("_mongodb._tcp.stray.example.test", SRV, service("a.elsewhere.test", port)),
            ("_mongodb._tcp.dangling.example.test", SRV, service("gone.example.test", port)),
            ("a.example.test", A, vec![127, 0, 0, 1]),
        ],
    );
    let destination = pair.destination.uri();
    for (host, expected) in [
        ("good", "validation passed"),
        ("other", "another"),
        ("stray", "elsewhere.test"),
        ("dangling", "the host name gone.example.test is not known"),
        ("missing", "missing.example.test has no SRV record"),
    ] {
        let uri = format!("mongodb+srv://{host}.example.test/?tls=false");
        let printed = tokio::task::block_in_place(|| server.validate(&uri, &destination));
        eprintln!("{host}:\n{printed}");
        assert!(printed.contains(expected), "{host}: {printed}");
    }
    let silent = UdpSocket::bind(("127.83.82.87", 53)).unwrap();
    let nobody = NameServer { address: "127.83.82.87", ended: Arc::default() };
    let uri = "mongodb+srv://good.example.test/?tls=false";
    let printed = tokio::task::block_in_place(|| nobody.validate(uri, &destination));
    assert!(printed.contains("good.example.test cannot be looked up"), "{printed}");
    drop(silent);
    untouched.holds().await;
}
