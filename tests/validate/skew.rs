//! Clocks that differ: a real server behind a connection that moves the time in its replies.

use super::*;
use tokio::{net::TcpStream, net::tcp::OwnedReadHalf, net::tcp::OwnedWriteHalf, task::JoinHandle};

/// A server whose clock stands elsewhere, for everybody who comes through this port.
struct Elsewhere {
    port: u16,
    task: JoinHandle<()>,
}

impl Elsewhere {
    async fn start(to: u16, ahead_ms: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, 0));
                tokio::spawn(pass(from_server, to_client, ahead_ms));
            }
        });
        Self { port, task }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::plain(format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes whole messages on; `localTime` in them is moved.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, ahead_ms: i64) {
    const FIELD: &[u8] = b"\x09localTime\0";
    loop {
        let Ok(length) = from.read_i32_le().await else { return };
        let mut message = length.to_le_bytes().to_vec();
        message.resize(usize::try_from(length).unwrap(), 0);
        if from.read_exact(&mut message[4..]).await.is_err() {
            return;
        }
        if let Some(at) = message.windows(FIELD.len()).position(|window| window == FIELD) {
            let value = &mut message[at + FIELD.len()..][..8];
            let moved = i64::from_le_bytes((&*value).try_into().unwrap()) + ahead_ms;
            value.copy_from_slice(&moved.to_le_bytes());
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn the_clock_that_is_off_is_named() {
    let pair = common::pair().await;
    for (source_s, destination_s, evidence, named) in [
        (90, 0, "source 90 s ahead, destination agrees", "the source's clock is off"),
        (0, -90, "source agrees, destination 90 s behind", "the destination's clock is off"),
        (90, 90, "source 90 s ahead, destination 90 s ahead", "this host's clock differs from both clusters'"),
        (90, -90, "source 90 s ahead, destination 90 s behind", "the three clocks differ"),
        (1, 0, "source 1", ""),
    ] {
        let source = Elsewhere::start(pair.source.ports()[0], source_s * 1_000).await;
        let destination = Elsewhere::start(pair.destination.ports()[0], destination_s * 1_000).await;
        let validated = validate(&plan(source.endpoint(), destination.endpoint())).await;
        let clocks = check(&validated.report, CheckId::DestinationClocks);
        let shown = format!("{clocks:#?}");
        // A busy machine needs milliseconds for an answer: 90 s may be 89.9.
        let rounded = clocks.evidence.replace("89 s", "90 s").replace("91 s", "90 s");
        if named.is_empty() {
            assert_eq!(clocks.state, CheckState::Ok, "{shown}");
        } else {
            assert_eq!(clocks.state, CheckState::Warn, "{shown}");
            assert!(rounded.contains(evidence) && clocks.explanation.contains(named), "{shown}");
            assert!(clocks.fix.contains("NTP") && shown.contains("timedatectl set-ntp true"), "{shown}");
        }
        assert!(validated.report.passed(), "{:#?}", validated.report);
    }
}
