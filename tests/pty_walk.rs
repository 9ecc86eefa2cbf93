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

/// A wizard with one destination in its list; no cluster is asked for anything.
fn at_the_list(environment: &[(&str, &str)], size: (u16, u16)) -> (tempfile::TempDir, Terminal) {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let profile = "[[destination]]\nname = \"prod-new\"\nuri = \"mongodb://127.0.0.1:9/\"\n";
    std::fs::write(config.join("destinations.toml"), profile).unwrap();
    let path = home.path().to_str().unwrap().to_string();
    let environment = [&[("MONGOFERRY_HOME", path.as_str())], environment].concat();
    let mut terminal = Terminal::start(&[], &environment, size.0, size.1);
    terminal.wait_for("prod-new");
    (home, terminal)
}

#[test]
fn no_color_takes_the_colours_and_leaves_the_selection() {
    let (_home, terminal) = at_the_list(&[("NO_COLOR", "1")], (80, 24));
    assert_eq!(terminal.looks(), (false, true), "{}", terminal.screen());
}

#[test]
fn themes_are_switched_by_a_key_and_chosen_by_an_option() {
    let (_home, mut terminal) = at_the_list(&[], (80, 24));
    for name in ["light", "dark", "mono", "16"] {
        terminal.send("T");
        terminal.wait_for(&format!("Theme: {name}."));
    }
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap())];
    let mut dark = Terminal::start(&["--theme", "mono"], &environment, 80, 24);
    dark.wait_for("Where should the data go?");
    assert!(!dark.looks().0, "{}", dark.screen());
}

#[test]
fn the_mouse_belongs_to_the_terminal_until_it_is_asked_for_and_again_at_the_end() {
    let (_home, mut terminal) = at_the_list(&[("LC_ALL", "C")], (80, 24));
    assert!(!terminal.reports_mouse());
    terminal.send("m");
    let screen = terminal.wait_for("Mouse on");
    assert!(terminal.reports_mouse());
    terminal.send("\x1b[<65;4;4M");
    terminal.wait_for("> + Add");
    let help = screen.lines().last().unwrap().find("? Help").unwrap() + 1;
    terminal.send(&format!("\x1b[<0;{help};24M\x1b[<0;{help};24m"));
    terminal.wait_for("Keys on this screen");
    terminal.send("\x03");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_for_last("nothing was started");
    assert!(!terminal.reports_mouse());
}

#[test]
fn the_locale_chooses_the_glyphs() {
    let (_home, ascii) = at_the_list(&[("LC_ALL", "C")], (80, 24));
    assert!(ascii.screen().is_ascii(), "{}", ascii.screen());
    let (_home, unicode) = at_the_list(&[("LC_ALL", "C.UTF-8")], (80, 24));
    assert!(unicode.screen().contains('\u{2500}'), "{}", unicode.screen());
}

/// Sizes that come faster than frames, down to one cell; in the end the screen is the one of before.
#[test]
fn a_storm_of_sizes_leaves_the_same_screen() {
    let (_home, mut terminal) = at_the_list(&[], (80, 24));
    terminal.wait_for("? Help");
    let before = terminal.screen();
    for (columns, rows) in [(20, 5), (1, 1), (300, 100), (59, 15), (60, 16), (2, 50), (120, 40), (79, 23)] {
        terminal.resize(columns, rows);
        std::thread::sleep(Duration::from_millis(7));
    }
    terminal.resize(20, 5);
    terminal.wait_until("the card", |screen| screen.lines().count() == 5 && screen.contains("Help"));
    terminal.resize(120, 40);
    terminal.wait_for("Where should the data go?");
    terminal.resize(80, 24);
    terminal.wait_until("the same screen", |screen| screen == before);
}

/// A terminal that does not announce pastes sends keys, and ends its lines with CR: nothing is pressed by it.
#[test]
fn a_paste_that_arrives_as_keys_fills_the_field_and_submits_nothing() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap())];
    let mut terminal = Terminal::start(&[], &environment, 80, 24);
    terminal.wait_for("Where should the data go?");
    terminal.send("mongodb://new-a.example.net:27017/?replicaSet=rs9\r");
    terminal.wait_for("new-a.example.net");
    std::thread::sleep(Duration::from_millis(400));
    let screen = terminal.screen();
    assert!(!screen.contains("Auth database"), "the form was opened by the end of a line:\n{screen}");
    terminal.send("\r");
    terminal.wait_for("Auth database");
}

/// A certificate authority is pasted as terminals do it: lines that end in CR, in brackets and without any.
#[test]
fn a_certificate_is_pasted_with_and_without_brackets() {
    let (_home, mut terminal) = at_the_list(&[], (80, 24));
    terminal.send("\r");
    terminal.wait_for("Before you start");
    terminal.send("\r");
    terminal.wait_for("Source cluster");
    terminal.paste("mongodb://db-01.example.net:27017/?replicaSet=rs0&tls=true");
    terminal.wait_for("db-01.example.net:27017");
    terminal.press_until("\t", "> TLS", "Space Choose");
    terminal.send(" ");
    terminal.wait_for("(*) on, private CA");
    terminal.press_until("\t", "> CA certificate", "Ctrl-O File");
    let pem = include_str!("fixtures/tls/ca.pem").replace('\n', "\r");
    terminal.paste(&pem);
    terminal.wait_for("1 certificate");
    terminal.send("\x1b[3~");
    terminal.wait_until("the empty box", |screen| !screen.contains("1 certificate"));
    terminal.send(&pem);
    let screen = terminal.wait_for("1 certificate");
    assert!(screen.contains("> CA certificate"), "the ends of the lines pressed something:\n{screen}");
}

/// An input method draws what it composes at the terminal's own cursor: it stands in the field, after what was entered.
#[test]
fn the_terminals_cursor_stands_in_the_edited_field() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap()), ("LC_ALL", "C.UTF-8")];
    let mut terminal = Terminal::start(&[], &environment, 80, 24);
    terminal.wait_for("Where should the data go?");
    let stands = |terminal: &mut Terminal, after: &str, column: u16| {
        let screen = terminal.wait_for(&format!("[{after}"));
        let row = screen.lines().position(|line| line.contains(&format!("[{after}"))).unwrap();
        let line = screen.lines().nth(row).unwrap();
        let start = line.find('[').map(|at| line[..at].chars().count() + 1).unwrap();
        let wanted = Some((row as u16, start as u16 + column));
        let mut at = terminal.cursor();
        for _ in 0..100 {
            if at == wanted {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            at = terminal.cursor();
        }
        assert_eq!(at, wanted, "after {after:?}:\n{screen}");
    };
    // As an input method commits it: at once, two columns each.
    terminal.send("数据库");
    stands(&mut terminal, "数据库", 6);
    terminal.paste("e\u{301}-new");
    stands(&mut terminal, "数据库e\u{301}-new", 11);
    terminal.send("\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D");
    stands(&mut terminal, "数据库", 4);
    terminal.send("\x7f");
    stands(&mut terminal, "数库e\u{301}-new", 2);
    terminal.send("\x1b[H");
    stands(&mut terminal, "数库e\u{301}-new", 0);
}

#[test]
fn a_dumb_terminal_gets_plain_lines_and_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap()), ("TERM", "dumb")];
    let mut terminal = Terminal::start(&[], &environment, 100, 30);
    terminal.wait_for("TERM=dumb cannot show the wizard");
    terminal.wait_for("[1/7");
    terminal.send("\x04");
    terminal.wait_for_exit();
}

/// Inside a real tmux: what is copied is in tmux's own buffer, and the message says which way it went.
#[test]
fn inside_tmux_text_is_copied_by_tmux() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("tmux.sock");
    let tmux = |arguments: &[&str]| {
        let output = std::process::Command::new("tmux").arg("-S").arg(&socket).args(arguments).output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).to_string())
    };
    let config = home.path().join("config");
    std::fs::create_dir_all(&config).unwrap();
    let profile = "[[destination]]\nname = \"prod-new\"\nuri = \"mongodb://127.0.0.1:9/\"\n";
    std::fs::write(config.join("destinations.toml"), profile).unwrap();
    let command =
        format!("MONGOFERRY_HOME={} {} --glyphs ascii", home.path().display(), env!("CARGO_BIN_EXE_mongoferry"));
    if tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &command]).is_none() {
        eprintln!("no tmux here; not tested");
        return;
    }
    let wait_for = |text: &str| {
        for _ in 0..600 {
            let screen = tmux(&["capture-pane", "-p"]).unwrap_or_default();
            if screen.contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no {text:?} in tmux:\n{}", tmux(&["capture-pane", "-p"]).unwrap_or_default());
    };
    wait_for("prod-new");
    tmux(&["send-keys", "Enter"]);
    wait_for("Before you start");
    // Up from the button, to the first item that can be copied.
    for _ in 0..10 {
        tmux(&["send-keys", "Up"]);
        std::thread::sleep(Duration::from_millis(100));
        if tmux(&["capture-pane", "-p"]).unwrap_or_default().contains("Selected: Destination user") {
            break;
        }
    }
    tmux(&["send-keys", "y"]);
    wait_for("tmux load-buffer -w");
    let copied = tmux(&["show-buffer"]).unwrap_or_default();
    tmux(&["kill-server"]);
    assert!(copied.contains("createUser({ user: 'ferry'"), "{copied:?}");
}

/// Pictures for the README, made from a real run of the demo:
/// `cargo test --test pty_walk pictures -- --ignored`
#[test]
#[ignore = "writes assets/*.svg"]
fn pictures_of_a_real_run() {
    let home = tempfile::tempdir().unwrap();
    let cache = std::env::var("MONGOFERRY_MONGOD").ok().or_else(|| {
        let found = mongoferry::demo::releases::mongod(None, &|line| eprintln!("{line}")).ok()?;
        Some(found.path.to_str()?.to_string())
    });
    let mongod = cache.expect("a mongod");
    let environment =
        [("MONGOFERRY_HOME", home.path().to_str().unwrap()), ("LC_ALL", "C.UTF-8"), ("MONGOFERRY_MONGOD", &mongod)];
    let mut terminal = Terminal::start(&["demo", "--docs", "400000"], &environment, 110, 32);
    let shoot = |terminal: &mut Terminal, name: &str, title: &str, words: &[&str]| {
        terminal.wait_until(&format!("{words:?}"), |screen| words.iter().all(|word| screen.contains(word)));
        let path = format!("{}/assets/{name}.svg", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, terminal.picture(title)).unwrap();
    };
    shoot(
        &mut terminal,
        "destination",
        "Where should the data go?",
        &["Where should the data go?", "demo-destination"],
    );
    terminal.send("\r");
    shoot(&mut terminal, "prepare", "Before you start", &["Before you start"]);
    terminal.send("\r");
    shoot(&mut terminal, "connect", "The source", &["Source cluster"]);
    terminal.press_until("\t", "[ Validate ]", "Enter Validate");
    terminal.send("\r");
    terminal.wait_for("Space accepts");
    terminal.send(" ");
    shoot(&mut terminal, "validate", "The checks", &["Start Migration"]);
    terminal.send("\r");
    terminal.wait_until("a copy under way", |screen| {
        let percent = screen
            .lines()
            .find(|line| line.contains("Copying data"))
            .and_then(|line| line.split('%').next()?.split_whitespace().last()?.parse::<f64>().ok());
        percent.is_some_and(|percent| percent > 25.0)
    });
    shoot(&mut terminal, "migrating", "Copying data", &["Copying data", "Throughput"]);
    terminal.wait_for("NEARLY IN SYNC");
    std::thread::sleep(Duration::from_secs(25));
    shoot(&mut terminal, "ready", "Nearly in sync", &["NEARLY IN SYNC", "READY"]);
    terminal.send("c");
    std::thread::sleep(Duration::from_secs(12));
    shoot(&mut terminal, "stop-application", "Who still writes", &["WRITES STILL ARRIVING", "LAST WRITE"]);
    terminal.send("a");
    terminal.wait_for("THE SOURCE IS QUIET");
    terminal.send("\r");
    terminal.wait_for("Connect to your new cluster");
    std::thread::sleep(Duration::from_secs(8));
    shoot(&mut terminal, "connect-new", "Connect to your new cluster", &["Is the application there yet?"]);
    terminal.press_until("\t", "[ Done ]", "Enter");
    terminal.send("\r");
    shoot(&mut terminal, "success", "You have successfully migrated", &["You have successfully migrated"]);
    terminal.send("q");
    terminal.wait_for_exit();
}

/// On a bad link an arrow key arrives as Esc, `[`, `A`: nothing is left, chosen or lost by it.
#[test]
fn an_arrow_key_in_pieces_is_harmless() {
    let (_home, mut terminal) = at_the_list(&[], (80, 24));
    for part in ["\x1b", "[", "A", "\x1b", "[", "B"] {
        terminal.send(part);
        std::thread::sleep(Duration::from_millis(60));
    }
    let screen = terminal.wait_for("Where should the data go?");
    assert!(screen.contains("> prod-new"), "{screen}");
    terminal.send("?");
    terminal.wait_for("Keys on this screen");
}

/// The end of a paste that never arrives: the terminal library swallows every key then, but signals still work.
#[test]
fn a_paste_without_an_end_does_not_make_it_immortal() {
    let home = tempfile::tempdir().unwrap();
    let environment = [("MONGOFERRY_HOME", home.path().to_str().unwrap())];
    let mut terminal = Terminal::start(&[], &environment, 80, 24);
    terminal.wait_for("Where should the data go?");
    terminal.send("\x1b[200~mongodb://new-a.example.net");
    std::thread::sleep(Duration::from_millis(300));
    terminal.signal("-TERM");
    terminal.wait_for_exit();
    terminal.wait_for_last("nothing was started");
}
