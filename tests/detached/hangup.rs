//! A terminal that goes away takes the wizard with it, quickly and quietly, and nothing else.

use crate::{
    common::{self, compare, pty::Terminal},
    home::Home,
};
use bson::{Document, doc};
use std::time::Duration;

/// Started by command, watched by wizards whose terminals close in one phase after the other; finished by command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_terminal_takes_only_the_wizard() {
    let _turn = crate::turn_alone().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..6_000).map(|n| doc! { "_id": n, "pad": "x".repeat(2_000) })).await.unwrap();
    let home = Home::new();
    // Slow enough that the copy is seen.
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "throttle = \"2MB/s\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let engine = home.engine();
    let environment = [("MONGOFERRY_HOME", home.text())];

    let mut terminal = Terminal::start(&["attach", "orders", "--glyphs", "ascii"], &environment, 80, 24);
    terminal.wait_for("Copying data");
    gone(terminal);
    let arguments = ["attach", "orders", "--glyphs", "ascii"];
    let mut terminal = Terminal::start_ignoring_hangups(&arguments, &environment, 80, 24);
    terminal.wait_for("Copying data");
    gone(terminal);
    assert_eq!(home.engine(), engine, "the engine went with the terminal");

    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    // Another size than before, the same state.
    let mut terminal = Terminal::start_ignoring_hangups(&arguments, &environment, 120, 40);
    terminal.wait_for("NEARLY IN SYNC");
    terminal.resize(20, 5);
    terminal.wait_until("card that is ready", |screen| screen.contains("small") && screen.contains("READY"));
    terminal.resize(80, 24);
    terminal.wait_for("NEARLY IN SYNC");
    gone(terminal);
    let mut terminal = Terminal::start(&arguments, &environment, 80, 24);
    terminal.wait_for("NEARLY IN SYNC");
    terminal.send("c");
    terminal.wait_for("stop your application");
    gone(terminal);
    assert_eq!(home.status("orders")["phase"], "cutover");

    // Leaving is not losing: the key says how to come back.
    let mut terminal = Terminal::start(&arguments, &environment, 80, 24);
    terminal.wait_for("stop your application");
    terminal.send("\x03");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_for_last("mongoferry attach orders");
    assert_eq!(home.engine(), engine);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    compare::assert_identical(&source, &destination).await;
}

/// Gone soon, without having spun.
fn gone(terminal: Terminal) {
    let (after, cpu) = terminal.hang_up();
    eprintln!("gone after {after:?}, {cpu:.2} s of CPU in all");
    // The wizard needs far less; a thread that spins until it is killed would need as much as it lives.
    assert!(after < Duration::from_secs(20) && cpu < 5.0, "{after:?}, {cpu} s");
}
