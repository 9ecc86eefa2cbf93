//! Bad input at the command line: one clear message, a non-zero exit, nothing written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bson::{Document, doc};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn plan(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("plan.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, verb: &str, plan: &str, more: &[&str]) -> Output {
        let path = self.plan(plan);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mongoferry"));
        command.args([verb, "--plan"]).arg(path).args(more);
        command.env("MONGOFERRY_HOME", self.folder.path().join("home")).stdin(Stdio::null());
        command.output().unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn plan(source: &str, destination: &str) -> String {
    format!("name = \"bad\"\n[source]\nuri = \"{source}\"\n[destination]\nuri = \"{destination}\"\n")
}

async fn user_databases(set: &ReplicaSet) -> Vec<String> {
    let mut names = set.client().await.unwrap().list_database_names().await.unwrap();
    names.retain(|name| !["admin", "config", "local"].contains(&name.as_str()));
    names
}

#[test]
fn a_plan_with_an_unknown_key_names_file_line_and_the_nearest_key() {
    let desk = Desk::new();
    let text_of_plan =
        "name = \"x\"\n[source]\nhost = \"a:1\"\npasword_file = \"p\"\n[destination]\nuri = \"mongodb://b:1/\"\n";
    for verb in ["validate", "run"] {
        let output = desk.run(verb, text_of_plan, &[]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
        for part in ["plan.toml", "4", "pasword_file", "password_file"] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}

#[test]
fn a_plan_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_mongoferry"))
        .args(["validate", "--plan", "no-such-plan.toml"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no-such-plan.toml"), "{}", text(&output));
}

#[tokio::test]
async fn an_unreachable_host_fails_validation_and_nothing_is_written() {
    let pair = common::pair().await;
    let desk = Desk::new();
    let closed = "mongodb://127.0.0.1:1/";
    for (source, destination, side) in
        [(closed, pair.destination.uri().as_str(), "source"), (pair.source.uri().as_str(), closed, "destination")]
    {
        let output = desk.run("run", &plan(source, destination), &["--cutover", "auto"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let line = said.lines().find(|line| line.starts_with("FAIL")).unwrap_or_else(|| panic!("no FAIL in {said}"));
        assert!(line.contains(side) && line.contains("network"), "{line}");
        assert!(said.contains("refused"), "{said}");
    }
    assert_eq!(user_databases(&pair.destination).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_standalone_source_is_called_what_it_is() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { name: None, ..SetOptions::single("x") };
    let (standalone, pair) = (ReplicaSet::start(&mongod, &options).await.unwrap(), common::pair().await);
    let uri = format!("mongodb://127.0.0.1:{}/", standalone.ports()[0]);
    let output = Desk::new().run("run", &plan(&uri, &pair.destination.uri()), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("standalone"), "{said}");
    assert_eq!(user_databases(&pair.destination).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_destination_with_data_is_refused_unless_clearing_was_agreed() {
    let pair = common::pair().await;
    let insert = |set: &ReplicaSet, value: &str| {
        let (uri, value) = (set.uri(), value.to_string());
        async move {
            let client = mongodb::Client::with_uri_str(uri).await.unwrap();
            client.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": value }).await.unwrap();
        }
    };
    insert(&pair.source, "new").await;
    insert(&pair.destination, "old").await;
    let output = Desk::new().run("run", &plan(&pair.source.uri(), &pair.destination.uri()), &["--cutover", "auto"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("clear_destination"), "no remedy in {said}");
    let orders = pair.destination.client().await.unwrap().database("shop").collection::<Document>("orders");
    assert_eq!(orders.find_one(doc! {}).await.unwrap(), Some(doc! { "_id": "old" }), "the destination was touched");

    let short = "[options]\nclear_destination = true\nready_for = \"1s\"\nquiet_for = \"1s\"\n";
    let agreed = plan(&pair.source.uri(), &pair.destination.uri()) + short;
    let output = Desk::new().run("run", &agreed, &["--cutover", "auto", "--accept-warnings"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(orders.find_one(doc! {}).await.unwrap(), Some(doc! { "_id": "new" }));
}

#[tokio::test]
async fn a_source_that_is_the_destination_is_refused() {
    let pair = common::pair().await;
    let port = pair.source.ports()[0];
    // The same server under two names.
    let output =
        Desk::new().run("run", &plan(&pair.source.uri(), &format!("mongodb://localhost:{port}/?replicaSet=rsA")), &[]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let line = said.lines().find(|line| line.starts_with("FAIL")).unwrap_or_else(|| panic!("no FAIL in {said}"));
    assert!(line.contains("not the source"), "{line}");
    assert_eq!(user_databases(&pair.source).await, Vec::<String>::new());
}
