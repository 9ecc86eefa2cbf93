//! The throwaway servers themselves: they come up, and nothing of them stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bson::doc;

#[tokio::test]
async fn a_pair_comes_up_and_nothing_of_it_stays() {
    let pair = common::pair().await;
    let client = pair.source.client().await.unwrap();
    client.database("t").collection("c").insert_one(doc! { "_id": 1 }).await.unwrap();
    let differences = common::compare::differences(&client, &pair.destination.client().await.unwrap()).await;
    assert_eq!(differences, ["t.c: only on the source"]);
    let ports: Vec<u16> = [pair.source.ports(), pair.destination.ports()].concat();
    drop(client);
    drop(pair);
    for port in ports {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} still answers");
    }
}

#[tokio::test]
async fn every_release_of_the_matrix_runs() {
    for (source, destination) in common::MATRIX {
        let pair = common::pair_between(source, destination).await;
        for (set, release) in [(&pair.source, source), (&pair.destination, destination)] {
            let info =
                set.client().await.unwrap().database("admin").run_command(doc! { "buildInfo": 1 }).await.unwrap();
            assert_eq!(info.get_str("version").unwrap(), release.text());
        }
    }
}
