//! The real binary in a real terminal, driven by keystrokes from the destination picker to the success page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bson::{Document, doc};
use common::{compare, pty::Terminal};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_walks_from_the_picker_to_the_success_page() {
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..3_000).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
    let old = destination.database("shop").collection::<Document>("orders");
    old.insert_one(doc! { "_id": "old" }).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap())];
    let mut terminal = Terminal::start(&[], &environment, 80, 24);

    // 4.1 First run: one field. Enter opens the rest with a proposed name.
    terminal.wait_for("Where should the data go?");
    terminal.paste(&pair.destination.uri());
    terminal.wait_for("127.0.0.1:");
    tokio::time::sleep(Duration::from_millis(200)).await;
    terminal.send("\r");
    terminal.wait_for("Name");
    terminal.wait_for("Auth database");
    terminal.press_until("\t", "[ Save and test ]", "Enter saves the profile");
    terminal.send("\r");
    terminal.wait_for("Enter Choose");
    terminal.send("\r");
    // 4.2
    terminal.wait_for("Before you start");
    terminal.send("\r");
    // 4.3 Typed like a person types; the demo of a paste is the connection string above.
    terminal.wait_for("Source cluster");
    for key in format!("127.0.0.1:{}", pair.source.ports()[0]).chars() {
        terminal.send(&key.to_string());
        tokio::time::sleep(Duration::from_millis(35)).await;
    }
    terminal.press_until("\t", "(*) keep", "Space Choose");
    terminal.press_until("\t", "> Destination data", "Space Choose");
    terminal.send(" ");
    terminal.wait_for("(*) clear");
    terminal.press_until("\t", "[ Validate ]", "Enter Validate");
    terminal.send("\r");
    // 4.4 The old document was written within the last minute: somebody may use the destination, and that is accepted.
    terminal.wait_for("Space accepts the warning: empty");
    terminal.send(" ");
    terminal.wait_for("All checks are well");
    terminal.send("\r");
    // 4.13 The destination holds data: its name has to be typed, and a paste is no typing.
    let screen = terminal.wait_for("Clear existing data on");
    assert!(screen.contains("shop"), "{screen}");
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The name that the form proposed.
    for key in "127.0.0.1".chars() {
        terminal.send(&key.to_string());
        tokio::time::sleep(Duration::from_millis(35)).await;
    }
    terminal.wait_for("Drop and continue");
    terminal.send("\t");
    terminal.send("\t");
    tokio::time::sleep(Duration::from_millis(200)).await;
    terminal.send("\r");
    // 4.5, 4.6
    terminal.wait_for("Following changes");
    terminal.wait_for("NEARLY IN SYNC");
    orders.insert_one(doc! { "_id": "while following" }).await.unwrap();
    // Help and log on the way.
    terminal.send("?");
    terminal.wait_for("Keys on this screen");
    terminal.send("\x1b");
    terminal.wait_for("NEARLY IN SYNC");
    terminal.send("c");
    // 4.8
    terminal.wait_for("stop your application");
    terminal.wait_for("[ Continue");
    terminal.send("\r");
    // 4.11, 4.12
    let screen = terminal.wait_for("mongosh");
    assert!(screen.contains("Connect to your new cluster"), "{screen}");
    terminal.press_until("\t", "[ Done ]", "Enter");
    terminal.send("\r");
    let screen = terminal.wait_for("You have successfully migrated");
    assert!(screen.contains("0 documents differ"), "{screen}");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    compare::assert_identical(&source, &destination).await;
    assert!(home.path().join("config/destinations.toml").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_ends_the_wizard() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap())];
    let mut terminal = Terminal::start(&[], &environment, 80, 24);
    terminal.wait_for("Where should the data go?");
    terminal.signal("-HUP");
    terminal.wait_for_exit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_asks_for_nothing_before_the_start_and_prints_one_line() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap()), ("NO_COLOR", "1")];
    let mut terminal = Terminal::start(&["--glyphs", "ascii"], &environment, 100, 30);
    terminal.wait_for("Where should the data go?");
    terminal.send("\x03");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_for_last("nothing was started");
}

#[test]
fn without_a_terminal_the_wizard_goes_on_in_plain_lines_and_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mongoferry"))
        .env("MONGOFERRY_HOME", tempfile::tempdir().unwrap().path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("needs a terminal") && said.contains("--plain"), "{said}");
    assert!(said.contains("the input ended; nothing was started"), "{said}");
}
