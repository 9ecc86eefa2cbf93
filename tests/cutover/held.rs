//! A destination that refuses while mongoferry cleans up: the reason is on the screen, the application may run, and
//! cleanup goes on by itself.

use crate::{common::pty::Terminal, home::Home};
use bson::{Document, doc};
use mongoferry::demo::{ReplicaSet, SetOptions, releases};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleanup_that_is_held_says_why_and_goes_on() {
    let _turn = crate::turn().await;
    let mongod = releases::mongod(None, &|line| eprintln!("{line}")).expect("a mongod");
    let arguments = ["--setParameter", "enableTestCommands=1"].map(String::from).to_vec();
    let (a, b) = (SetOptions::single("rsA"), SetOptions { arguments, ..SetOptions::single("rsB") });
    let (a, b) = tokio::join!(ReplicaSet::start(&mongod, &a), ReplicaSet::start(&mongod, &b));
    let (a, b) = (a.unwrap(), b.unwrap());
    let (source, destination) = (a.client().await.unwrap(), b.client().await.unwrap());
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &a.uri(), &b.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    home.wait("orders", "ready", |status| status["can_cutover"] == true);
    // NotWritablePrimary, as in an election that does not end.
    let data = doc! { "errorCode": 10107, "failCommands": ["dropDatabase"], "appName": "mongoferry" };
    let refuse = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data };
    destination.database("admin").run_command(refuse).await.unwrap();
    let environment = [("MONGOFERRY_HOME", home.text())];
    let mut terminal = Terminal::start(&["attach", "orders", "--glyphs", "ascii"], &environment, 80, 24);
    terminal.wait_for("NEARLY IN SYNC");
    terminal.send("c");
    terminal.wait_for("[ Continue");
    terminal.send("\r");
    let screen = terminal.wait_for("Clean-up is held and goes on by itself");
    for words in ["Almost done!", "held: ", "10107", "ACCEPTS WRITES NOW", "You may leave: q"] {
        assert!(screen.contains(words), "{words} is missing:\n{screen}");
    }
    let accept = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    destination.database("admin").run_command(accept).await.unwrap();
    terminal.wait_for("Connect to your new cluster");
    let names = destination.list_database_names().await.unwrap();
    assert!(!names.iter().any(|name| name.starts_with("mongoferry")), "{names:?}");
    terminal.send("\x03");
    terminal.wait_for_exit();
}
