//! Without a terminal, or with a dumb one: the same steps as plain lines, by typed answers.

use crate::{
    common::{self, compare, pty::Terminal},
    home::Home,
};
use bson::{Document, doc};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dumb_terminal_walks_the_whole_way_in_lines() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    let environment = [("MONGOFERRY_HOME", home.text()), ("TERM", "dumb")];
    let mut terminal = Terminal::start(&["attach", "orders"], &environment, 100, 40);
    terminal.wait_for("plain lines");
    terminal.wait_for("READY");
    terminal.send("cutover\r");
    terminal.wait_for("stop your application");
    home.wait("orders", "a quiet source", |status| status["source_quiet_ms"].as_u64() >= Some(2_000));
    terminal.send("continue\r");
    terminal.wait_for("DONE");
    compare::assert_identical(&source, &destination).await;
}

#[tokio::test]
async fn the_first_question_is_a_line() {
    let _turn = crate::turn().await;
    let home = Home::new();
    let environment = [("MONGOFERRY_HOME", home.text())];
    let mut terminal = Terminal::start(&["--plain"], &environment, 100, 40);
    terminal.wait_for("[1/7 destination]");
    terminal.send("\x04");
    terminal.wait_for_exit();
    assert!(!terminal.screen().contains('\u{1b}'), "{}", terminal.screen());
}
