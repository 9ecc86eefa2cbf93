//! Several wizards on one engine: one is killed, one only watches, one finishes.

use crate::{
    common::{self, compare, pty::Terminal},
    home::{Home, signal},
};
use bson::{Document, doc};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wizard_that_started_it_is_killed_and_another_one_cuts_over() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..2_000).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
    let home = Home::new();
    // The wizard's own durations are those of earnest; a plan is shorter.
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let environment = [("MONGOFERRY_HOME", home.text())];
    let attach = |more: &[&str]| {
        let arguments = [&["attach", "orders", "--glyphs", "ascii"], more].concat();
        Terminal::start(&arguments, &environment, 80, 24)
    };
    let mut first = attach(&[]);
    first.wait_for("NEARLY IN SYNC");
    signal(first.pid(), "-KILL");
    first.wait_for_exit();

    let (mut watcher, mut second) = (attach(&["--watch"]), attach(&[]));
    watcher.wait_for("NEARLY IN SYNC");
    second.wait_for("NEARLY IN SYNC");
    // Who only watches cannot act, and is told why.
    watcher.send("c");
    watcher.wait_for("watch");
    assert_eq!(home.status("orders")["phase"], "ready");
    second.send("c");
    second.wait_for("stop your application");
    // Both see the same.
    watcher.wait_for("stop your application");
    second.wait_until("a quiet source", |screen| screen.contains("Enter") && !screen.contains("Continue is disabled"));
    second.send("\r");
    second.wait_for("Connect to your new cluster");
    watcher.wait_for("Connect to your new cluster");
    second.press_until("\t", "[ Done ]", "Enter");
    second.send("\r");
    second.wait_for("You have successfully migrated");
    second.send("q");
    assert_eq!(second.wait_for_exit(), 0);
    let report = home.ok(&["report", "orders"]);
    assert!(report.contains("cutover begun by"), "{report}");
    compare::assert_identical(&source, &destination).await;
}

/// The engine is killed: the wizard says so with the old values marked, and goes on when it was taken up again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_dies_is_missed_and_found_again() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    let orders = source.database("shop").collection::<Document>("orders");
    orders.insert_many((0..500).map(|n| doc! { "_id": n })).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let environment = [("MONGOFERRY_HOME", home.text())];
    let mut terminal = Terminal::start(&["attach", "orders", "--glyphs", "ascii"], &environment, 80, 24);
    terminal.wait_for("NEARLY IN SYNC");
    signal(home.engine(), "-KILL");
    terminal.wait_for("engine lost");
    home.wait_for_engines(0);
    assert!(home.ok(&["list"]).contains("GONE; mongoferry resume orders"), "{}", home.ok(&["list"]));
    orders.insert_one(doc! { "_id": "while nobody looked" }).await.unwrap();
    home.ok(&["resume", "orders"]);
    terminal.wait_until("the engine again", |screen| screen.contains("engine ok") && screen.contains("IN SYNC"));
    terminal.send("\x03");
    assert_eq!(terminal.wait_for_exit(), 0);
    assert!(home.ok(&["cutover", "orders"]).contains("DONE"));
    compare::assert_identical(&source, &pair.destination.client().await.unwrap()).await;
}

/// Ctrl-Z stops the wizard and gives the shell back a sane terminal; `fg` shows the migration as it is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspended_and_taken_up_again() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    source.database("shop").collection::<Document>("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let home = Home::new();
    let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), "");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let mut shell = Terminal::start_shell(&[("MONGOFERRY_HOME", home.text())], 80, 24);
    shell.wait_for("prompt>");
    shell.send("$MONGOFERRY attach orders --glyphs ascii\r");
    shell.wait_for("NEARLY IN SYNC");
    shell.send("\x1a");
    shell.wait_for("Stopped");
    // The modes are the shell's again: what is typed is seen.
    shell.send("echo typed-$((40 + 2))\r");
    shell.wait_for("typed-42");
    home.ok(&["pause", "orders"]);
    shell.send("fg\r");
    shell.wait_until("the paused migration", |screen| screen.contains("paused") && screen.contains("[Migrate]"));
    shell.send("\x03");
    shell.wait_for("mongoferry attach orders");
    shell.send("exit\r");
    shell.wait_for_exit();
    home.ok(&["stop", "orders"]);
}

/// The table of a copy that is under way: filtered, sorted, zoomed, one collection in detail; the log searched and frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_looked_at_from_all_sides() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    let blob = "x".repeat(2_000);
    for name in ["orders", "customers", "carts"] {
        let documents = (0..2_000).map(|n| doc! { "_id": n, "blob": &blob });
        source.database("shop").collection::<Document>(name).insert_many(documents).await.unwrap();
    }
    let home = Home::new();
    // Half a minute for 12 MB.
    let plan = home.plan("shop", &pair.source.uri(), &pair.destination.uri(), "throttle = \"400kB/s\"");
    home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
    let environment = [("MONGOFERRY_HOME", home.text())];
    let mut terminal = Terminal::start(&["attach", "shop", "--glyphs", "ascii"], &environment, 120, 40);
    terminal.wait_for("Copying data");
    terminal.wait_for("shop.customers");
    terminal.send("/cart");
    terminal.wait_for("Filter: cart_");
    terminal.send("\r");
    terminal.wait_until("the filtered table", |screen| {
        let table = screen.split("EVENTS").next().unwrap_or_default();
        table.contains("shop.carts") && !table.contains("shop.customers")
    });
    terminal.send("\x1b");
    terminal.wait_for("shop.customers");
    terminal.send("s");
    terminal.wait_for("Sorted by size.");
    terminal.send("z");
    terminal.wait_until("the table alone", |screen| screen.contains("shop.orders") && !screen.contains("Throughput"));
    terminal.send("z");
    terminal.wait_for("Throughput");
    terminal.send("\r");
    terminal.wait_until("details", |screen| screen.contains("documents  ") && screen.contains("indexes    0 of 0"));
    terminal.send("\x1b");
    terminal.wait_for("EVENTS");
    terminal.send("t");
    terminal.wait_for("Limit on source reads: 400 kB/s_");
    terminal.send("x\r");
    terminal.wait_for("is not a rate");
    terminal.send(&"\x7f".repeat(12));
    terminal.send("500kB/s\r");
    terminal.wait_for("limit 500 kB/s");
    assert_eq!(home.status("shop")["throttle_bytes_per_s"], 500_000);
    terminal.send("l");
    terminal.wait_for("following the newest");
    terminal.send("/started");
    terminal.wait_for("Search: started_");
    terminal.send("\r");
    terminal.wait_until("what was searched", |screen| screen.contains(" of ") && screen.contains("migration started"));
    terminal.send("f");
    terminal.wait_for("frozen. End follows again.");
    terminal.send("\x1b");
    terminal.wait_for("Copying data");
    terminal.send("\x03");
    assert_eq!(terminal.wait_for_exit(), 0);
    home.ok(&["stop", "shop"]);
}
