//! How much a way carries is measured, and what an address asks of the wire is done.

use super::proxy::{Proxy, Weather};
use crate::common::{Pair, pair};
use bson::{Document, doc};
use mongoferry::{
    model::{Endpoint, Side},
    mongo::{
        connect::connect,
        link::{self, Algorithm, Wire},
        login::Login,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_way_is_found_slow() {
    let pair = pair().await;
    let proxy = Proxy::start(pair.source.ports()[0]).await;
    let options = mongodb::options::ClientOptions::parse(proxy.uri()).await.unwrap();
    let login = Login::open(options).unwrap();
    let clear = link::measure(&login).await.unwrap();
    proxy.set(Weather::Slow(4_000_000));
    let slow = link::measure(&login).await.unwrap();
    assert!(slow < 8_000_000 && slow < clear, "slow {slow}, clear {clear}");
    assert!(matches!(Wire::suited_to(slow), Wire::Compressed(Algorithm::Zstd, _)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_may_ask_for_compression() {
    let pair = pair().await;
    let plain = connect(Side::Source, &Endpoint::plain(pair.source.uri())).await.unwrap();
    assert_eq!(plain.wire, Wire::Plain, "a server on this host");
    let before = compressed(&pair).await;
    plain.last_write().await.unwrap();
    assert_eq!(compressed(&pair).await, before);
    let uri =
        format!("{}{}compressors=zstd", pair.source.uri(), if pair.source.uri().contains('?') { "&" } else { "/?" });
    let asked = connect(Side::Source, &Endpoint::plain(&uri)).await.unwrap();
    asked.last_write().await.unwrap();
    assert_eq!(asked.wire, Wire::Asked);
    assert!(compressed(&pair).await > before, "{uri}");
}

/// Bytes that the source has got compressed by zstd.
async fn compressed(pair: &Pair) -> i64 {
    let client = pair.source.client().await.unwrap();
    let status: Document = client.database("admin").run_command(doc! { "serverStatus": 1 }).await.unwrap();
    let zstd = status.get_document("network").and_then(|network| network.get_document("compression"));
    let zstd = zstd.and_then(|compression| compression.get_document("zstd")).unwrap().get_document("decompressor");
    zstd.unwrap().get("bytesIn").and_then(|bytes| bytes.as_i64().or(bytes.as_i32().map(i64::from))).unwrap()
}
