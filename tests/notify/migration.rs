//! A whole migration tells what happens, and nothing that goes wrong with a notice goes wrong with it.

use crate::{
    common::{self, compare, drive},
    servers::WebServer,
};
use bson::{Document, doc};
use mongoferry::demo::ports::Port;
use mongoferry::model::{
    Command, PasswordFrom, Phase,
    notice::{Notify, Webhook},
};
use std::{fs, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_tells_and_tries_again_and_is_never_harmed() {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..100).map(|n| doc! { "_id": n })).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let reserved = Port::reserve().unwrap();
    let (port, hook) = (reserved.number(), folder.path().join("hook"));
    fs::write(&hook, format!("http://localhost:{port}/hook/secret-token")).unwrap();
    let (engine, _home) = drive::engine();
    let mut client = engine.client("ops@test");
    let mut plan = drive::plan(&pair.source.uri(), &pair.destination.uri());
    plan.options.cutover_window = Duration::from_secs(60);
    plan.options.notify = Notify {
        webhook: Some(Webhook { address_from: PasswordFrom::File(hook), ca_file: None }),
        // Nobody answers the pager.
        command: Some("/nonexistent/page".into()),
        warn_before: [Duration::from_secs(59), Duration::from_secs(1), Duration::ZERO],
        ..Notify::default()
    };
    drive::start(&mut client, plan).await;
    let events = client.events().clone();
    let told = |part: &str| events.since(0).iter().any(|event| event.kind == "notice" && event.text.contains(part));
    // Nobody listens yet.
    drive::wait(&mut client, "a notice that failed", |_| told("webhook failed and is tried again in 5 s")).await;
    assert!(!events.since(0).iter().any(|event| event.text.contains("secret-token")));
    let web = WebServer::start(port, 200, None).await;
    let ready = web.body(|body| body["notice"] == "ready").await;
    assert_eq!(ready["migration"], "test");
    web.body(|body| body["notice"] == "window-ends").await;
    client.send(Command::TestNotices).await.unwrap();
    web.body(|body| body["notice"] == "test").await;
    let done = drive::cut_over(&mut client, async || {}).await;
    assert_eq!(done.phase, Phase::Completed);
    web.body(|body| body["notice"] == "completed").await;
    assert!(told("command hook failed and is tried again"));
    compare::assert_identical(&source, &destination).await;
    let report = fs::read_to_string(done.report.as_ref().unwrap()).unwrap();
    assert!(!report.contains("secret-token"), "{report}");
    engine.shut_down().await;
}
