//! Garbage on the socket: refused, and nobody else notices.

use crate::{common, home::Home};
use bson::{Document, doc};
use mongoferry::session::protocol::PROTOCOL;
use proptest::prelude::*;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// What a broken or hostile client may send.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let rest = r#""version":"0","user":"x","tty":null,"watch":false,"since":0,"engine":null}"#;
    let hello = format!("{{\"protocol\":{PROTOCOL},{rest}").into_bytes();
    let framed = |text: Vec<u8>| [u32::try_from(text.len()).unwrap().to_be_bytes().to_vec(), text].concat();
    let good = framed(hello);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2_000),
        // A huge length.
        any::<u32>().prop_map(|length| [length.to_be_bytes().to_vec(), vec![b'{'; 100]].concat()),
        // Well framed nonsense.
        prop::collection::vec(any::<u8>(), 0..300).prop_map(framed),
        "[{}\\[\\]\",:a-z0-9]{0,200}".prop_map(move |text| framed(text.into_bytes())),
        // A good beginning, then anything, or cut off.
        (prop::collection::vec(any::<u8>(), 0..500), any::<prop::sample::Index>()).prop_map(move |(rest, cut)| {
            let mut all = [good.clone(), rest].concat();
            all.truncate(cut.index(all.len()) + 1);
            all
        }),
    ]
}

fn throw(socket: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(socket).expect("the engine listens");
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // It may hang up in the middle.
    let _ = stream.write_all(bytes);
    let mut answer = [0; 4_096];
    let _ = stream.read(&mut answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_frames_do_no_harm() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let engine = home.engine();
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    let socket = home.state().join("orders").join("socket");
    let cases = std::env::var("MONGOFERRY_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let fuzzed = socket.clone();
    tokio::task::spawn_blocking(move || {
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let thrown = runner.run(&garbage(), |bytes| {
            throw(&fuzzed, &bytes);
            Ok(())
        });
        thrown.unwrap();
    })
    .await
    .unwrap();
    // A client that says nothing and takes nothing is there too.
    let _stuck: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(home.engine(), engine);
    assert_eq!(home.status("orders")["phase"], "ready");
    assert!(home.ok(&["extend", "orders"]).contains("cutover window ends"));
    let memory = std::fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 600 << 10, "a frame's length was believed: {peak}");
    home.ok(&["stop", "orders"]);
}
