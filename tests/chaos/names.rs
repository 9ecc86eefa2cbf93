//! Name resolution lost: both clusters are known by names, and the only name server goes away. In a mount namespace of
//! its own, with a name server of its own.

use crate::{
    common::{self, compare},
    ferry::{Ferry, Home},
    load::{Load, fill},
    proxy::{Proxy, Weather},
};
use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::net::UdpSocket;

/// Where the name server listens: an address of this host that nobody else uses.
const SERVER: &str = "127.0.0.77";

/// Says that every name is this host, or nothing at all.
struct NameServer {
    is_gone: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    async fn start() -> Option<Self> {
        let socket = UdpSocket::bind((SERVER, 53)).await.ok()?;
        let (is_gone, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (gone, count) = (is_gone.clone(), asked.clone());
        let task = tokio::spawn(async move {
            let mut query = [0_u8; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                count.fetch_add(1, Ordering::Relaxed);
                if !gone.load(Ordering::Relaxed)
                    && let Some(answer) = answer(&query[..length])
                {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Some(Self { is_gone, asked, task })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An A record for 127.0.0.1; other types have none.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name_end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)?;
    let question = query.get(12..name_end + 5)?;
    let is_address = question.get(question.len() - 4..question.len() - 2)? == [0, 1];
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

/// The process sees `resolv_conf` as its `/etc/resolv.conf`; needs the right to mount.
fn sees(command: &mut Command, resolv_conf: &std::path::Path) {
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]).arg(resolv_conf);
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            inside.env(name, value);
        }
    }
    *command = inside;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_no_longer_resolve() {
    let _turn = crate::turn().await;
    let resolv_conf = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(resolv_conf.path(), format!("nameserver {SERVER}\noptions timeout:30 attempts:5\n")).unwrap();
    let mut probe = Command::new("true");
    sees(&mut probe, resolv_conf.path());
    let may_mount = probe.output().is_ok_and(|output| output.status.success());
    let Some(names) = NameServer::start().await.filter(|_| may_mount) else {
        eprintln!("NOT SHOWN: a name server and a resolv.conf of its own need root");
        return;
    };
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    fill(&source, 12_000).await;
    let load = Load::start(&source);
    let proxies = [Proxy::start(pair.source.ports()[0]).await, Proxy::start(pair.destination.ports()[0]).await];
    let uri = |name: &str, proxy: &Proxy| format!("mongodb://{name}.ferry.test:{}/?directConnection=true", proxy.port);
    let home = Home::new(&uri("source", &proxies[0]), &uri("destination", &proxies[1]), "verify = \"off\"");
    let start = || {
        Ferry::start_with(&home, |command| {
            sees(command, resolv_conf.path());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        })
    };
    let mut ferry = start();
    ferry.wait("following", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000));
    assert!(names.asked.load(Ordering::Relaxed) > 0, "it never asked for a name");

    // Connections that are lost cannot be made again, because nobody knows where to.
    names.is_gone.store(true, Ordering::Relaxed);
    proxies.iter().for_each(|proxy| proxy.set(Weather::Cut));
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxies.iter().for_each(|proxy| proxy.set(Weather::Clear));
    let asked = names.asked.load(Ordering::Relaxed);
    let began = std::time::Instant::now();
    while ferry.told("retry") == 0 || names.asked.load(Ordering::Relaxed) == asked {
        assert!(began.elapsed() < crate::ferry::PATIENCE, "not told\n{}", ferry.story());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(["following", "ready"].contains(&ferry.phase().as_str()), "{}", ferry.story());
    let (status, took, story) = tokio::task::block_in_place(|| ferry.terminate());
    assert!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}\n{story}");

    // Taken up without names, it waits for them.
    let mut ferry = start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_ne!(ferry.phase(), "failed", "{}", ferry.story());
    names.is_gone.store(false, Ordering::Relaxed);
    ferry.wait("following again", |snapshot| snapshot["lag_ms"].as_u64().is_some_and(|lag| lag < 5_000));
    load.stop().await;
    ferry.wait("ready", |snapshot| snapshot["can_cutover"] == true);
    ferry.say("cutover");
    ferry.wait("the quiet source", |snapshot| snapshot["source_quiet_ms"].as_u64().is_some_and(|quiet| quiet > 1_500));
    ferry.say("continue");
    ferry.wait_for_phase(&["completed"]);
    assert!(ferry.end().success());
    compare::assert_identical(&source, &destination).await;
    eprintln!(
        "{} questions asked; ended after {took:?} without names; byte-equal",
        names.asked.load(Ordering::Relaxed)
    );
}
