//! What keys do: every key that is offered works, every key that is not says why.

use super::scene::{SCENES, Scene, Shown, States, scene, with_view};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mongoferry::{
    model::{CheckOrder, Command, Limit, snapshot::CutoverStep},
    tui::{
        action::{Action, Screen},
        theme::Glyphs,
    },
};

fn codes(name: &str) -> Vec<KeyCode> {
    match name {
        "Up/Down" => vec![KeyCode::Down, KeyCode::Up],
        // The first pane has the focus already.
        "1 2 3" => vec![KeyCode::Char('2'), KeyCode::Char('3'), KeyCode::Char('1')],
        "Left/Right" => vec![KeyCode::Right, KeyCode::Left],
        "Enter" => vec![KeyCode::Enter],
        "Esc" => vec![KeyCode::Esc],
        one => vec![KeyCode::Char(one.chars().next().filter(|_| one.chars().count() == 1).expect("one character"))],
    }
}

fn press(scene: &Scene, states: &mut States, shown: Shown, code: KeyCode) -> Option<Action> {
    with_view(scene, &Glyphs::ASCII, |view| states.press(shown, KeyEvent::new(code, KeyModifiers::NONE), view))
}

fn once(name: &str, shown: Shown, code: char) -> Option<Action> {
    press(&scene(name), &mut States::default(), shown, KeyCode::Char(code))
}

#[test]
fn every_offered_key_works_and_every_disabled_key_says_why() {
    for (name, shown) in SCENES {
        let read = scene(name);
        let hints = with_view(&read, &Glyphs::ASCII, |view| States::default().keys(*shown, view));
        assert!(!hints.is_empty());
        for hint in hints {
            let mut states = States::default();
            for code in codes(hint.key) {
                let before = format!("{states:?}");
                let action = press(&read, &mut states, *shown, code);
                match (&hint.disabled, &action) {
                    (Some(why), Some(Action::Say(said))) => {
                        let (why, said) = (why.to_lowercase(), said.to_lowercase());
                        assert!(
                            said.contains(why.trim_end_matches('.')),
                            "{name} {}: {said:?} is not {why:?}",
                            hint.key
                        );
                    }
                    (Some(_), other) => panic!("{name}: disabled {} did {other:?}", hint.key),
                    (None, _) => {
                        let changed = format!("{states:?}") != before;
                        assert!(action.is_some() || changed, "{name}: {} does nothing", hint.key);
                    }
                }
            }
        }
    }
}

#[test]
fn keys_with_ctrl_and_alt_are_left_to_the_program() {
    for (name, shown) in SCENES {
        let read = scene(name);
        for modifiers in [KeyModifiers::CONTROL, KeyModifiers::ALT] {
            with_view(&read, &Glyphs::ASCII, |view| {
                for code in "abcdefghijklmnopqrstuvwxyzXOS".chars() {
                    let mut states = States::default();
                    let action = states.press(*shown, KeyEvent::new(KeyCode::Char(code), modifiers), view);
                    assert!(action.is_none(), "{name}: {modifiers:?}-{code}");
                }
            });
        }
    }
}

#[test]
fn the_pane_with_the_focus_is_marked_and_takes_the_keys() {
    let read = scene("copying");
    let page = |states: &States| {
        with_view(&read, &Glyphs::ASCII, |view| {
            super::scene::text(&super::scene::body(Shown::Migrating, states, view, 80, 19))
        })
    };
    let hint = |states: &States, key: &str| {
        let hints = with_view(&read, &Glyphs::ASCII, |view| states.keys(Shown::Migrating, view));
        hints.into_iter().find(|hint| hint.key == key).map(|hint| hint.label)
    };
    let mut states = States::default();
    let newest = read.events.last().unwrap().text.clone();
    let newest: String = newest.chars().take(20).collect();
    assert!(page(&states).contains("\n> shop.") && !page(&states).contains(">EVENTS"), "{}", page(&states));

    press(&read, &mut states, Shown::Migrating, KeyCode::Char('2'));
    assert!(page(&states).contains("|>Throughput") && !page(&states).contains("\n> shop."), "{}", page(&states));
    assert_eq!((hint(&states, "Enter"), hint(&states, "Up/Down")), (Some("Zoom"), None));
    press(&read, &mut states, Shown::Migrating, KeyCode::Char('z'));
    assert!(page(&states).starts_with(">Throughput") && !page(&states).contains("COLLECTION"), "{}", page(&states));
    press(&read, &mut states, Shown::Migrating, KeyCode::Enter);

    press(&read, &mut states, Shown::Migrating, KeyCode::Char('3'));
    assert!(page(&states).contains("\n>EVENTS") && page(&states).contains(&newest), "{}", page(&states));
    assert_eq!((hint(&states, "Enter"), hint(&states, "Up/Down")), (Some("Log"), Some("Scroll")));
    assert!(matches!(press(&read, &mut states, Shown::Migrating, KeyCode::Enter), Some(Action::Log)));
    press(&read, &mut states, Shown::Migrating, KeyCode::Char('z'));
    assert!(page(&states).starts_with(">EVENTS") && page(&states).contains(&newest), "{}", page(&states));

    press(&read, &mut states, Shown::Migrating, KeyCode::Char('1'));
    assert!(page(&states).contains("COLLECTION"), "{}", page(&states));
    // What halted the migration hides the panes: no key claims to focus one.
    let paused = scene("paused");
    let hints = with_view(&paused, &Glyphs::ASCII, |view| states.keys(Shown::Migrating, view));
    assert!(hints.iter().all(|hint| hint.key != "1 2 3" && hint.key != "z"));
}

#[test]
fn stopping_needs_the_source_name() {
    for (name, shown) in [("copying", Shown::Migrating), ("ready", Shown::Following)] {
        let Some(Action::Confirm(asked)) = once(name, shown, 'X') else { panic!("{name}: X does not ask") };
        assert_eq!(asked.expected, "rs0");
        assert!(matches!(*asked.then, Action::Send(Command::Stop)));
    }
}

#[test]
fn pause_resumes_what_is_paused() {
    assert!(matches!(once("copying", Shown::Migrating, 'p'), Some(Action::Send(Command::Pause))));
    assert!(matches!(once("paused", Shown::Migrating, 'p'), Some(Action::Send(Command::Resume))));
    assert!(matches!(once("following_paused", Shown::Following, 'p'), Some(Action::Send(Command::Resume))));
    assert!(matches!(once("failed", Shown::Migrating, 'p'), Some(Action::Say(_))));
}

#[test]
fn cutover_is_prepared_only_when_the_engine_says_so() {
    assert!(matches!(once("ready", Shown::Following, 'c'), Some(Action::Send(Command::PrepareCutover))));
    let Some(Action::Say(why)) = once("following", Shown::Following, 'c') else { panic!("c must be refused") };
    assert!(why.contains("Lag is 14 s"), "{why}");
    let Some(Action::Say(why)) = once("copying", Shown::Migrating, 'c') else { panic!("c must be refused") };
    assert!(why.contains("not yet - copy and index builds come first"), "{why}");
}

#[test]
fn extending_needs_the_second_button() {
    let read = scene("countdown");
    let mut states = States::default();
    let mut press = |code| press(&read, &mut states, Shown::Countdown, code);
    assert!(matches!(press(KeyCode::Enter), Some(Action::Open(Screen::Following))));
    assert!(press(KeyCode::Right).is_none());
    assert!(matches!(press(KeyCode::Enter), Some(Action::Send(Command::Extend))));
    assert!(
        matches!(press(KeyCode::Enter), Some(Action::Open(Screen::Following))),
        "a second Enter must not extend again"
    );
}

#[test]
fn an_expired_window_can_be_resumed() {
    let read = scene("expired");
    let mut states = States::default();
    assert!(press(&read, &mut states, Shown::Countdown, KeyCode::Right).is_none());
    assert!(matches!(press(&read, &mut states, Shown::Countdown, KeyCode::Enter), Some(Action::Send(Command::Resume))));
}

#[test]
fn continue_waits_for_quiet_and_the_override_is_typed() {
    let read = scene("cutover_writers");
    // Pressed before the source is quiet, the step goes on when it is.
    let early = press(&read, &mut States::default(), Shown::StopApplication, KeyCode::Enter);
    assert!(matches!(early, Some(Action::Send(Command::ContinueCutover { assume_stopped: false }))));
    let mut pressed = scene("cutover_writers");
    pressed.snapshot.cutover.as_mut().unwrap().waiting_by = Some("ops@pts/1".into());
    let Some(Action::Say(why)) = press(&pressed, &mut States::default(), Shown::StopApplication, KeyCode::Enter) else {
        panic!("Continue was pressed already")
    };
    assert_eq!(why, "Continue was pressed already: the step goes on by itself.");
    let Some(Action::Confirm(asked)) = once("cutover_writers", Shown::StopApplication, 'O') else {
        panic!("O must ask")
    };
    assert_eq!(asked.expected, "rs0");
    assert!(asked.body.iter().any(|line| line.contains("shop.orders")));
    assert!(matches!(*asked.then, Action::Send(Command::ContinueCutover { assume_stopped: true })));
    let quiet = press(&scene("cutover_quiet"), &mut States::default(), Shown::StopApplication, KeyCode::Enter);
    assert!(matches!(quiet, Some(Action::Send(Command::ContinueCutover { assume_stopped: false }))));
    assert!(matches!(once("cutover_quiet", Shown::StopApplication, 'O'), Some(Action::Say(_))));
}

#[test]
fn going_back_is_free_until_the_destination_was_opened() {
    let back = |name: &str| press(&scene(name), &mut States::default(), Shown::StopApplication, KeyCode::Esc);
    assert!(matches!(back("cutover_writers"), Some(Action::Send(Command::GoBack))));
    assert!(matches!(back("cutover_drain"), Some(Action::Send(Command::GoBack))));
    assert!(matches!(back("finalising_open"), Some(Action::Say(_))));
    assert!(matches!(back("ready"), Some(Action::Open(Screen::Following))));
}

#[test]
fn the_demo_can_stop_its_application() {
    assert!(matches!(once("cutover_demo", Shown::StopApplication, 'a'), Some(Action::Send(Command::StopApplication))));
    assert!(matches!(once("cutover_quiet_demo", Shown::StopApplication, 'a'), Some(Action::Say(_))));
    assert!(once("cutover_writers", Shown::StopApplication, 'a').is_none());
}

#[test]
fn verification_is_fixed_by_a_key_and_skipped_only_by_typing() {
    assert!(matches!(
        once("verification_mismatch", Shown::CheckData, 'f'),
        Some(Action::Send(Command::RepairMismatches))
    ));
    assert!(matches!(once("verification_done", Shown::CheckData, 'f'), Some(Action::Say(_))));
    let Some(Action::Confirm(asked)) = once("verification_running", Shown::CheckData, 'S') else {
        panic!("S must ask")
    };
    assert_eq!(asked.expected, "prod-new");
    assert!(matches!(*asked.then, Action::Send(Command::SkipVerification)));
    let Some(Action::Save { text, .. }) = once("verification_mismatch", Shown::CheckData, 'w') else {
        panic!("w must save")
    };
    assert!(text.contains("665f0d0000000000000000b2") && text.contains("tags.0"));
}

#[test]
fn the_order_of_check_and_opening_is_one_key_until_the_drain_is_over() {
    let chosen = |name| match once(name, Shown::StopApplication, 'o') {
        Some(Action::Send(Command::ChooseCheck(order))) => Some(order),
        Some(Action::Say(_)) => None,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(chosen("cutover_quiet"), Some(CheckOrder::After));
    assert_eq!(chosen("cutover_open_first"), Some(CheckOrder::First));
    assert_eq!(chosen("cutover_drain"), Some(CheckOrder::After));
    let mut drained = scene("cutover_quiet");
    drained.snapshot.cutover.as_mut().expect("cutover").step = CutoverStep::CheckData;
    let pressed = press(&drained, &mut States::default(), Shown::StopApplication, KeyCode::Char('o'));
    assert!(matches!(pressed, Some(Action::Say(_))), "{pressed:?}");
}

#[test]
fn what_differs_after_the_opening_is_fixed_checked_again_or_skipped() {
    let opened = |key| once("verification_opened", Shown::CheckData, key);
    assert!(matches!(opened('f'), Some(Action::Send(Command::RepairMismatches))));
    assert!(matches!(opened('r'), Some(Action::Send(Command::Retry))));
    assert!(matches!(opened('S'), Some(Action::Confirm(_))));
    assert!(matches!(once("verification_done", Shown::CheckData, 'r'), Some(Action::Say(_))));
    let Some(Action::Save { text, .. }) = opened('w') else { panic!("w must save") };
    assert!(text.contains("written by the application since the opening: 1113"), "{text}");
}

#[test]
fn a_difference_in_metadata_is_accepted_only_by_typing() {
    let Some(Action::Confirm(asked)) = once("finalising_differs", Shown::Finalising, 'O') else { panic!("O must ask") };
    assert_eq!(asked.expected, "prod-new");
    assert!(matches!(*asked.then, Action::Send(Command::ContinueCutover { assume_stopped: false })));
    assert!(asked.body.iter().any(|line| line.contains("index email_1 is missing")), "{:?}", asked.body);
    // Not while something still runs, and not when nothing failed.
    assert!(matches!(once("finalising_failed_step", Shown::Finalising, 'O'), Some(Action::Say(_))));
    assert!(matches!(once("finalising_open", Shown::Finalising, 'O'), Some(Action::Say(_))));
}

#[test]
fn a_filter_takes_letters_until_enter() {
    let read = scene("copying");
    let mut states = States::default();
    let shown = Shown::Migrating;
    for code in [KeyCode::Char('/'), KeyCode::Char('c'), KeyCode::Char('r'), KeyCode::Char('m')] {
        assert!(press(&read, &mut states, shown, code).is_none());
    }
    assert!(states.migrating.is_typing());
    assert!(press(&read, &mut states, shown, KeyCode::Enter).is_none());
    assert!(!states.migrating.is_typing());
    let drawn = super::scene::page(&read, shown, &states, &Glyphs::ASCII, 80, 19);
    assert!(drawn.contains("crm.notes") && !drawn.contains("shop.orders"), "{drawn}");
}

#[test]
fn details_show_the_failed_index_in_full() {
    let read = scene("indexing");
    let mut states = States::default();
    for code in [KeyCode::Down, KeyCode::Down, KeyCode::Enter] {
        assert!(press(&read, &mut states, Shown::Migrating, code).is_none());
    }
    let drawn = super::scene::page(&read, Shown::Migrating, &states, &Glyphs::ASCII, 80, 19);
    assert!(drawn.contains("email_unique_1") && drawn.contains("[value hidden]"), "{drawn}");
}

#[test]
fn connection_lines_are_copied_without_a_password() {
    let read = scene("connect");
    let mut states = States::default();
    press(&read, &mut states, Shown::ConnectNew, KeyCode::Down);
    let Some(Action::Copy(line)) = press(&read, &mut states, Shown::ConnectNew, KeyCode::Char('y')) else {
        panic!("y must copy")
    };
    assert!(line.starts_with("mongodb://<user>:<password>@"));
    assert!(
        matches!(press(&read, &mut states, Shown::ConnectNew, KeyCode::Enter), Some(Action::Say(_))),
        "Done waits for clean-up"
    );
    assert!(matches!(
        press(&scene("success"), &mut States::default(), Shown::ConnectNew, KeyCode::Enter),
        Some(Action::Open(Screen::Success))
    ));
}

#[test]
fn the_limit_on_reads_is_typed_into_a_field_that_holds_the_present_one() {
    for (name, shown, present) in [
        ("copying_limited", Shown::Migrating, "20 MB/s"),
        ("copying", Shown::Migrating, "off"),
        ("ready", Shown::Following, "off"),
    ] {
        let (read, mut states) = (scene(name), States::default());
        let status = |states: &States| with_view(&read, &Glyphs::ASCII, |view| states.status(shown, view));
        assert!(press(&read, &mut states, shown, KeyCode::Char('t')).is_none());
        assert!(status(&states).starts_with(&format!("Limit on source reads: {present}_")), "{}", status(&states));
        assert!(status(&states).chars().count() <= 79);
        // Letters that are keys elsewhere go into the field.
        for _ in 0..8 {
            press(&read, &mut states, shown, KeyCode::Backspace);
        }
        for character in "pcX".chars() {
            assert!(press(&read, &mut states, shown, KeyCode::Char(character)).is_none());
        }
        let said = press(&read, &mut states, shown, KeyCode::Enter);
        assert!(matches!(&said, Some(Action::Say(why)) if why.contains("\"pcX\" is not a rate")), "{said:?}");
        assert!(status(&states).contains("pcX_"), "it stays open: {}", status(&states));
        for _ in 0..3 {
            press(&read, &mut states, shown, KeyCode::Backspace);
        }
        for character in "1500kB/s".chars() {
            press(&read, &mut states, shown, KeyCode::Char(character));
        }
        let sent = press(&read, &mut states, shown, KeyCode::Enter);
        let wanted = Limit::BytesPerS(1_500_000);
        assert!(matches!(sent, Some(Action::Send(Command::Throttle(limit))) if limit == wanted), "{sent:?}");
        assert!(!status(&states).contains("Limit on"), "closed: {}", status(&states));
        press(&read, &mut states, shown, KeyCode::Char('t'));
        assert!(press(&read, &mut states, shown, KeyCode::Esc).is_none());
        assert!(!status(&states).contains("Limit on"), "left: {}", status(&states));
    }
}
