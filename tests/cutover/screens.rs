//! Every screen of the cutover in a real terminal, with the words that an operator needs on it.

use crate::{
    common::{self, Pair, compare, pty::Terminal},
    home::Home,
    writer::{Application, NAME, connected},
};
use bson::{Document, doc};
use mongodb::{Client, Collection};

struct Stage {
    pair: Pair,
    source: Client,
    destination: Client,
    home: Home,
}

impl Stage {
    /// A migration that is ready, by a plan with these further options.
    async fn ready(options: &str) -> Self {
        let pair = common::pair().await;
        let (source, destination) = (pair.source.client().await.unwrap(), pair.destination.client().await.unwrap());
        let orders: Collection<Document> = source.database("shop").collection("orders");
        orders.insert_many((0..500).map(|n| doc! { "_id": n, "n": n })).await.unwrap();
        let unique = doc! { "key": { "n": 1 }, "name": "one_n", "unique": true };
        source.database("shop").run_command(doc! { "createIndexes": "orders", "indexes": [unique] }).await.unwrap();
        let home = Home::new();
        let plan = home.plan("orders", &pair.source.uri(), &pair.destination.uri(), options);
        home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"]);
        home.wait("orders", "ready", |status| status["can_cutover"] == true);
        Self { pair, source, destination, home }
    }

    fn attach(&self, columns: u16, rows: u16) -> Terminal {
        let environment = [("MONGOFERRY_HOME", self.home.text()), ("TZ", "Asia/Tokyo")];
        Terminal::start(&["attach", "orders", "--glyphs", "ascii"], &environment, columns, rows)
    }

    fn on_source(&self) -> Collection<Document> {
        self.source.database("shop").collection("orders")
    }

    fn on_destination(&self) -> Collection<Document> {
        self.destination.database("shop").collection("orders")
    }

    /// How an operator calls the destination without a profile.
    fn name(&self) -> String {
        format!("127.0.0.1:{}", self.pair.destination.ports()[0])
    }
}

/// Waits until all of these are on the screen at once, wherever lines are wrapped.
fn shows(terminal: &mut Terminal, words: &[&str]) -> String {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: Vec<String> = words.iter().map(|word| flat(word)).collect();
    terminal.wait_until(&format!("{words:?}"), |screen| {
        let screen = flat(screen);
        words.iter().all(|word| screen.contains(word))
    })
}

/// Types as a person does: a paste is refused, and so is what was typed before the question could be read.
async fn type_slowly(terminal: &mut Terminal, text: &str) {
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    for key in text.chars() {
        terminal.send(&key.to_string());
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_at_80x24() {
    every_screen(80, 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_at_120x40() {
    every_screen(120, 40).await;
}

/// From "nearly in sync" to the shell, with everything that can be looked at on the way.
async fn every_screen(columns: u16, rows: u16) {
    let _turn = crate::turn().await;
    let stage = Stage::ready("").await;
    let mut terminal = stage.attach(columns, rows);
    let name = stage.name();

    // 4.6
    let ready = ["NEARLY IN SYNC", "READY", "Left to cut over", "119:", "e Extend by 24 h", "Oplog left", "c Prepare"];
    shows(&mut terminal, &ready);
    // 4.7
    terminal.send("e");
    let window = ["left to cut over", "(your time", "OUT OF DATE", "extended   never", "[ Extend by 24 h ]", "new end"];
    shows(&mut terminal, &window);
    terminal.send("e\r");
    shows(&mut terminal, &["extended   1 time, by", "READY"]);
    terminal.send("\x1b");
    shows(&mut terminal, &["NEARLY IN SYNC", "143:"]);
    // A rehearsal changes nothing and says what it measured.
    terminal.send("r");
    shows(&mut terminal, &["rehearsal", "the last change took", "NEARLY IN SYNC"]);

    // 4.8 with an application that writes.
    let mut application = Application::start(&stage.pair.source, 1_000).await;
    terminal.send("c");
    let client = format!("{NAME} (127.0.0.1)");
    let writes = [
        "Cut over, step 1 of 4: stop your application",
        "WRITES STILL ARRIVING ON THE SOURCE",
        "of 2 s",
        "OPS/s",
        "LAST WRITE",
        "shop.orders",
        &client,
        "Not quiet yet: 1 namespace was written",
        "[ Continue after 2 s of quiet ]",
        "[ Go back ]",
        "Esc goes back, syncing continues, nothing has changed",
    ];
    shows(&mut terminal, &writes);
    terminal.send("y");
    shows(&mut terminal, &["Sent with OSC 52", "1 line,"]);
    // The override asks for the source's name; here nobody gives it.
    terminal.send("O");
    shows(
        &mut terminal,
        &["Assume that every writer on rsA has stopped?", "is LOST", "shop.orders", "Type the source name"],
    );
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    terminal.send("\x1b");
    terminal.wait_until("no question", |screen| !screen.contains("Assume that"));
    terminal.send("\x1b");
    shows(&mut terminal, &["Following changes", "NEARLY IN SYNC"]);
    assert_eq!(stage.home.status("orders")["cutover"], serde_json::Value::Null);

    // Continue while it still writes: it is pressed for later.
    let copy = stage.on_destination();
    copy.update_one(doc! { "_id": 7 }, doc! { "$set": { "n": "corrupted" } }).await.unwrap();
    terminal.send("c");
    terminal.wait_for("WRITES STILL ARRIVING");
    terminal.send("\r");
    shows(&mut terminal, &["[ Waiting for 2 s of quiet ]", "Goes on by itself when quiet"]);
    assert!(application.stop().await > 50);

    // 4.10 A document differs and holds the cutover; the application comes back meanwhile.
    let differs =
        ["Check the data", "differs 1", "shop.orders", "1 document differs", "f copies them again", "Esc leaves"];
    shows(&mut terminal, &differs);
    terminal.send("\r");
    shows(&mut terminal, &["_id 7  different in n", "Enter Close"]);
    stage.on_source().insert_one(doc! { "_id": "late", "n": -1 }).await.unwrap();
    let late = ["step 1 of 4: stop your application", "LATE WRITE", "after it had been found quiet"];
    shows(&mut terminal, &late);
    shows(&mut terminal, &["THE SOURCE IS QUIET", "Enter continues", "[ Continue ]"]);
    terminal.send("\r");
    shows(&mut terminal, &["Check the data", "1 document differs", "f copies them again"]);

    // Both applications as servers see them when it is over.
    let (arrived, straggler) =
        (connected(&stage.pair.destination, "checkout").await, connected(&stage.pair.source, "cron").await);
    terminal.wait_for("f copies them again");
    // The verdict of before is shown until the new one is there, and fixing is refused until then.
    for _ in 0..20 {
        terminal.send("f");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        if !terminal.screen().contains("1 document differs") {
            break;
        }
    }

    // 4.11, by itself when everything is cleaned up.
    let uri = format!("mongodb://{name}/?replicaSet=rsB");
    let connect = [
        "Connect to your new cluster",
        "mongosh",
        "Driver URI",
        ".env line",
        &uri,
        "Passwords are never printed here.",
        "Is the application there yet?",
        "checkout",
        "still on the source:  ",
        "cron (127.0.0.1)",
        "accepting writes since",
        "[ Done ]",
    ];
    shows(&mut terminal, &connect);
    // What wrote to the source before is waited for by name, until it writes here.
    shows(&mut terminal, &[NAME, "not seen yet", "shop.orders", "not written yet", "WAIT"]);
    for client in [&arrived, &straggler] {
        let orders: Collection<Document> = client.database("shop").collection("orders");
        orders.insert_one(doc! { "_id": "after", "n": -2 }).await.unwrap();
        orders.delete_one(doc! { "_id": "after" }).await.unwrap();
    }
    let written = ["writes/s on", "since", "FAIL shop.orders: 2 writes on the source are LOST", "! LOST: shop.orders"];
    shows(&mut terminal, &written);
    terminal.wait_until("an application that writes", |screen| !screen.contains("not written yet"));
    terminal.send("\x1b[B");
    terminal.send("y");
    shows(&mut terminal, &["Sent with OSC 52", &format!("1 line, {} bytes", uri.len())]);
    terminal.send("v");
    terminal.wait_until("the line alone", |screen| screen.contains(&uri) && !screen.contains("Driver URI"));
    terminal.send("\r");
    terminal.wait_for("Connect to your new cluster");
    // 4.9 from the other side: what was done and that it is open.
    terminal.send("\x1b");
    let open = format!("{name} ACCEPTS WRITES NOW. You may start your application on it.");
    let finalised = [
        "Done. Everything is cleaned up.",
        "deferred unique indexes",
        "1 of 1 restored",
        "TTL values",
        "temporary databases on the destination",
        "spool files on this host",
        &open,
        "Downtime 00:00:",
        "last source write",
        "n   next: check the data",
    ];
    shows(&mut terminal, &finalised);
    terminal.send("n");
    shows(&mut terminal, &["Check the data", "differs 0", "Every document was compared and none differs."]);
    terminal.send("\x1b");
    terminal.wait_for("Connect to your new cluster");
    terminal.send("\r");

    // 4.12
    let success = [
        &format!("You have successfully migrated to {name}"),
        "0 documents differ",
        "for writers",
        "cleaned up",
        "source untouched",
        "report.md",
        "Left for you",
        "[ ] keep the source read-only for a few days, then retire it",
        "q Close",
    ];
    shows(&mut terminal, &success);
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_for_last("mongoferry: orders migrated to");
    let report = stage.home.state().join("orders/report.md");
    terminal.wait_for_last(&format!("report: {}", report.display()));
    assert!(report.exists());
    compare::assert_identical(&stage.source, &stage.destination).await;
}

/// A source that is made to refuse writes, going back, and a unique index that cannot be enforced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_source_and_a_step_that_fails_at_120x40() {
    let _turn = crate::turn().await;
    let stage = Stage::ready("block_source_writes = true\nverify = \"off\"").await;
    let mut terminal = stage.attach(120, 40);
    let name = stage.name();
    terminal.wait_for("NEARLY IN SYNC");
    terminal.send("c");
    let blocks = [
        "step 1 of 4: stop your application",
        "[ Block writes and continue ]",
        "Continue makes the source refuse user writes; going back lifts that.",
        "Enter blocks user writes on the source and goes on",
    ];
    shows(&mut terminal, &blocks);
    // A destination that takes no writes holds the drain.
    let admin = stage.destination.database("admin");
    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": true }).await.unwrap();
    stage.on_source().insert_one(doc! { "_id": "last", "n": -1 }).await.unwrap();
    terminal.send("\r");
    let draining = [
        "step 2 of 4: apply the last changes",
        "APPLYING THE LAST CHANGES",
        "last source write",
        "cutover timestamp",
        "behind",
        "1 operation",
        "The source refuses user writes; going back lifts that.",
    ];
    shows(&mut terminal, &draining);
    let refused = stage.on_source().insert_one(doc! { "_id": "refused", "n": -2 }).await.unwrap_err();
    assert!(refused.to_string().contains("UserWritesBlocked") || refused.to_string().contains("371"), "{refused}");
    terminal.send("\x1b");
    terminal.wait_for("Following changes");
    admin.run_command(doc! { "setUserWriteBlockMode": 1, "global": false }).await.unwrap();
    let began = std::time::Instant::now();
    while let Err(error) = stage.on_source().insert_one(doc! { "_id": "lifted", "n": -3 }).await {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "the block is not lifted: {error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // A stranger's duplicate, which no comparison looks for.
    terminal.wait_for("NEARLY IN SYNC");
    stage.on_destination().insert_one(doc! { "_id": "stranger", "n": 7 }).await.unwrap();
    terminal.send("c");
    terminal.wait_for("[ Block writes and continue ]");
    terminal.send("\r");
    let failed = [
        "Almost done! Waiting for mongoferry to finish and clean up ...",
        "FAIL",
        "deferred unique indexes",
        "shop.orders / one_n / ",
        "1 step failed; the line says why. r tries again, O opens without.",
    ];
    shows(&mut terminal, &failed);
    assert_eq!(stage.home.status("orders")["can_write"], false);
    terminal.send("O");
    shows(&mut terminal, &[&format!("Open {name} although this failed?"), "one_n", "Type the destination name"]);
    type_slowly(&mut terminal, &name).await;
    terminal.send("\t\t");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    terminal.send("\r");
    shows(&mut terminal, &["Connect to your new cluster", "accepting writes since"]);
    terminal.send("\r");
    let success = [
        "You have successfully migrated to",
        "NOT compared (off in the plan)",
        "source, which refuses user writes",
        "db.adminCommand({setUserWriteBlockMode: 1, global: false})",
        "deferred unique indexes: 0 of 1 restored; shop.orders / one_n / ",
        "1 step failed; see what is left for you.",
    ];
    shows(&mut terminal, &success);
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    let report = stage.home.ok(&["report", "orders"]);
    assert!(report.contains("went on although not everything is as on the source (1 named in the report)"), "{report}");
    assert!(report.contains("setUserWriteBlockMode: 1, global: false"), "{report}");
    let left = stage.on_source().insert_one(doc! { "_id": "still refused", "n": -4 }).await;
    assert!(left.is_err(), "the source of a finished migration takes writes again without being asked");
}

/// The application cannot be stopped: typed, the operator goes on, and the report says who did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_typed_override_at_80x24() {
    let _turn = crate::turn().await;
    let stage = Stage::ready("").await;
    let mut terminal = stage.attach(80, 24);
    terminal.wait_for("NEARLY IN SYNC");
    let mut application = Application::start(&stage.pair.source, 1_000).await;
    terminal.send("c");
    shows(&mut terminal, &["WRITES STILL ARRIVING", "O Override"]);
    terminal.send("O");
    terminal.wait_for("Assume that every writer on rsA has stopped?");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    terminal.paste("rsA");
    terminal.wait_for("Pasting is refused here");
    type_slowly(&mut terminal, "rsA").await;
    terminal.send("\t\t");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    terminal.send("\r");
    shows(&mut terminal, &["Connect to your new cluster", "accepting writes since"]);
    application.stop().await;
    terminal.send("\r");
    shows(&mut terminal, &["You have successfully migrated", "quiet check overridden by", "@pts/"]);
    terminal.send("q");
    terminal.wait_for_exit();
    let report = stage.home.ok(&["report", "orders"]);
    let said = report.lines().find(|line| line.starts_with("- override: ")).unwrap_or_else(|| panic!("{report}"));
    assert!(said.contains("@pts/") && said.contains("is stopped; the quiet check did not"), "{said}");
}
