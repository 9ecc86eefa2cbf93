//! What keys lead to, page by page.

use super::wizard::{CA, Wizard, failed, fine, now, plan, running, warned};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mongoferry::{
    model::{CheckOrder, Command, Phase, Refusal, Snapshot, Tls, snapshot::Cutover, snapshot::CutoverStep},
    tui::{
        action::Screen,
        effect::{Effect, Message},
        keymap,
        model::{Outcome, Overlay},
        screen::{connect, frame},
        theme::Glyphs,
    },
};
use std::{path::Path, time::Instant};

fn sent(effects: &[Effect]) -> Vec<&Command> {
    effects.iter().filter_map(|effect| if let Effect::Send(command) = effect { Some(command) } else { None }).collect()
}

#[test]
fn a_first_run_adds_a_destination_from_its_connection_string() {
    let mut wizard = Wizard::first();
    wizard.paste("mongodb://ferry:s3cret@new-a.example.net:27017/?replicaSet=rs9");
    assert!(wizard.page().contains("[new-a.example.net:27017"), "{}", wizard.page());
    wizard.press(KeyCode::Enter);
    assert!(wizard.page().contains("[new-a  "), "the proposed name: {}", wizard.page());
    wizard.chord(KeyCode::Char('u'), KeyModifiers::CONTROL);
    wizard.type_text("prod-new");
    let mut effects = Vec::new();
    for _ in 0..6 {
        effects = wizard.press(KeyCode::Tab);
    }
    assert!(effects.is_empty());
    let effects = wizard.press(KeyCode::Enter);
    let Some(Effect::SaveProfiles { profiles, certificates }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(profiles[0].name, "prod-new");
    assert_eq!(profiles[0].uri, "mongodb://new-a.example.net:27017/?replicaSet=rs9");
    assert_eq!(profiles[0].username.as_deref(), Some("ferry"));
    assert!(certificates.is_empty());
    let [Command::TestDestination(endpoint)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(endpoint.password.as_ref().unwrap().expose(), "s3cret");
    assert!(wizard.page().contains("prod-new"));
    wizard.press(KeyCode::Enter);
    assert_eq!(wizard.model.screen, Screen::Prepare);
}

#[test]
fn a_test_of_a_destination_with_a_user_asks_for_its_password() {
    let mut wizard = Wizard::first();
    wizard.paste("mongodb://ferry@new-a:27017/");
    wizard.press(KeyCode::Enter);
    for _ in 0..6 {
        wizard.press(KeyCode::Tab);
    }
    let effects = wizard.press(KeyCode::Enter);
    assert!(sent(&effects).is_empty(), "nothing can be tested without the password");
    assert!(sent(&wizard.press(KeyCode::Char('t'))).is_empty());
    assert!(wizard.page().contains("Password of ferry"), "{}", wizard.page());
    wizard.type_text("q?l");
    let effects = wizard.press(KeyCode::Enter);
    let [Command::TestDestination(endpoint)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(endpoint.password.as_ref().unwrap().expose(), "q?l");
}

#[test]
fn the_form_becomes_a_plan() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    let effects = wizard.paste("mongodb://ferry_src:s3cret@db-01.example.net:27017/?replicaSet=rs0");
    assert!(
        matches!(&effects[..], [Effect::Measure(Some(hosts))] if hosts == "db-01.example.net:27017"),
        "{effects:?}"
    );
    wizard.keys(&[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab, KeyCode::Tab]);
    wizard.keys(&[KeyCode::Char(' '), KeyCode::Char(' ')]);
    wizard.press(KeyCode::Tab);
    wizard.paste(&CA.replace('\n', "\r"));
    assert!(wizard.page().contains("1 certificate (") && wizard.page().contains("CN=Ferry Test CA (self-signed)"));
    wizard.press(KeyCode::Tab);
    assert!(wizard.page().contains("> Client certificate none (Ctrl-O"), "{}", wizard.page());
    wizard.press(KeyCode::Tab);
    wizard.press(KeyCode::Char(' '));
    assert!(wizard.page().contains("(*) clear"), "{}", wizard.page());
    wizard.press(KeyCode::Tab);
    let effects = wizard.press(KeyCode::Enter);
    let [Command::Validate(plan)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(plan.name, "db-01-prod-new");
    assert_eq!(plan.source.uri, "mongodb://db-01.example.net:27017/?replicaSet=rs0");
    assert_eq!(plan.source.username.as_deref(), Some("ferry_src"));
    assert_eq!(plan.source.password.as_ref().unwrap().expose(), "s3cret");
    assert_eq!(plan.source.auth_source.as_deref(), Some("admin"));
    assert_eq!(plan.source.tls, Tls::PrivateCa { pem: CA.into() });
    assert_eq!(plan.destination.hosts(), "new-a.example.net:27017,new-b.example.net:27017");
    assert!(plan.options.clear_destination);
    assert_eq!(wizard.model.screen, Screen::Validate);
}

#[test]
fn an_incomplete_form_says_what_is_missing_and_goes_there() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    wizard.keys(&[KeyCode::BackTab, KeyCode::BackTab]);
    assert!(wizard.press(KeyCode::Enter).is_empty());
    assert_eq!(wizard.model.screen, Screen::Connect);
    assert!(frame::status(&wizard.model).starts_with("! an address is needed") || wizard.page().contains("! a host"));
    wizard.type_text("db-01");
    assert!(wizard.page().contains("[db-01 "), "the focus is on the host: {}", wizard.page());
}

#[test]
fn enter_in_a_field_never_submits() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    wizard.type_text("db-01");
    for _ in 0..4 {
        let effects = wizard.press(KeyCode::Enter);
        assert!(sent(&effects).is_empty());
        assert_eq!(wizard.model.screen, Screen::Connect);
    }
}

#[test]
fn a_private_key_is_refused_and_not_kept() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    wizard.type_text("db-01");
    wizard.keys(&[
        KeyCode::Tab,
        KeyCode::Tab,
        KeyCode::Tab,
        KeyCode::Tab,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Right,
    ]);
    wizard.press(KeyCode::Tab);
    let key = ["-----BEGIN ", "PRIVATE KEY-----\nAAAA\n-----END ", "PRIVATE KEY-----\n"].concat();
    wizard.paste(&key);
    assert!(wizard.page().contains("private key"), "{}", wizard.page());
    assert!(!wizard.page().contains("AAAA"));
    // A terminal without bracketed paste sends the certificate as keys, with Enter at each end of a line.
    let mut at = Instant::now();
    for character in CA.chars() {
        at += std::time::Duration::from_micros(10);
        let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        wizard.tell(Message::Key { key, in_burst: true, at });
    }
    assert!(wizard.page().contains("CN=Ferry Test CA"), "{}", wizard.page());
    let effects = wizard.chord(KeyCode::Char('o'), KeyModifiers::CONTROL);
    assert!(effects.is_empty());
    wizard.type_text("/tmp/ca.pem");
    let effects = wizard.press(KeyCode::Enter);
    assert!(matches!(&effects[..], [Effect::ReadFile(path)] if path == Path::new("/tmp/ca.pem")), "{effects:?}");
    let read = Err("/tmp/ca.pem cannot be read: no such file".into());
    wizard.tell(Message::FileRead { path: "/tmp/ca.pem".into(), read });
    assert!(wizard.page().contains("cannot be read"), "{}", wizard.page());
}

#[test]
fn the_fields_survive_leaving_the_page() {
    let mut wizard = Wizard::at_form(Glyphs::ASCII);
    wizard.type_text("db-01:27017");
    wizard.press(KeyCode::Tab);
    wizard.type_text("ferry_src");
    wizard.press(KeyCode::Esc);
    assert_eq!(wizard.model.screen, Screen::Prepare);
    wizard.press(KeyCode::Enter);
    assert!(wizard.page().contains("db-01:27017") && wizard.page().contains("ferry_src"));
}

#[test]
fn a_destination_with_a_user_asks_for_its_password_on_the_form() {
    let mut wizard = Wizard::first();
    wizard.paste("mongodb://ferry@new-a:27017/");
    wizard.press(KeyCode::Enter);
    for _ in 0..6 {
        wizard.press(KeyCode::Tab);
    }
    wizard.press(KeyCode::Enter);
    wizard.keys(&[KeyCode::Enter, KeyCode::Enter]);
    wizard.type_text("db-01");
    wizard.keys(&[KeyCode::BackTab, KeyCode::BackTab, KeyCode::Enter]);
    assert!(wizard.page().contains("the destination's user needs its password"), "{}", wizard.page());
    wizard.type_text("pw");
    wizard.keys(&[KeyCode::Tab, KeyCode::Tab]);
    let effects = wizard.press(KeyCode::Enter);
    let [Command::Validate(plan)] = sent(&effects)[..] else { panic!("{}", wizard.page()) };
    assert_eq!(plan.destination.password.as_ref().unwrap().expose(), "pw");
}

#[test]
fn start_is_disabled_with_the_reason_until_all_is_well() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, running());
    assert!(sent(&wizard.press(KeyCode::Enter)).is_empty());
    assert_eq!(frame::status(&wizard.model), "Checking: version of the source.");
    assert!(sent(&wizard.press(KeyCode::Char('r'))).is_empty(), "the checks are still running");
    let mut wizard = Wizard::at_report(Glyphs::ASCII, failed());
    assert!(sent(&wizard.press(KeyCode::Enter)).is_empty());
    assert_eq!(
        frame::status(&wizard.model),
        "1 failed, 1 warning. Start Migration is disabled: fix permissions first."
    );
    let copied = wizard.press(KeyCode::Char('y'));
    assert!(matches!(&copied[..], [Effect::Copy(text)] if text.contains("grantRolesToUser")), "{copied:?}");
    let saved = wizard.press(KeyCode::Char('w'));
    assert!(matches!(&saved[..], [Effect::Save { text, .. }] if text.contains("FAIL  permissions")), "{saved:?}");
    assert!(matches!(sent(&wizard.press(KeyCode::Char('r')))[..], [Command::Revalidate]));
}

#[test]
fn a_warning_needs_a_tick() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, warned());
    assert!(sent(&wizard.press(KeyCode::Enter)).is_empty());
    wizard.press(KeyCode::Char(' '));
    let effects = wizard.press(KeyCode::Enter);
    let [Command::Start(consent)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert!(consent.warnings && !consent.clear_destination);
    let mut fine = Wizard::at_report(Glyphs::ASCII, fine());
    let effects = fine.press(KeyCode::Enter);
    let [Command::Start(consent)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert!(!consent.warnings && !consent.clear_destination);
}

#[test]
fn a_refusal_and_a_lost_engine_are_said() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, fine());
    wizard.press(KeyCode::Enter);
    wizard.model.now += jiff::SignedDuration::from_secs(3);
    assert_eq!(frame::status(&wizard.model), "Waiting for the engine: start, 3 s.");
    wizard.tell(Message::Answer(Err(Refusal::NotNow("the checks are still running".into()))));
    assert_eq!(frame::status(&wizard.model), "Not now: the checks are still running.");
    wizard.tell(Message::EngineGone);
    assert!(sent(&wizard.press(KeyCode::Enter)).is_empty());
    assert!(wizard.page().contains("engine gone"));
}

#[test]
fn the_screen_follows_the_phase_unless_the_operator_looks_elsewhere() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, fine());
    wizard.show(|snapshot| snapshot.phase = Phase::Copying);
    assert_eq!(wizard.model.screen, Screen::Migrating);
    wizard.show(|snapshot| {
        snapshot.phase = Phase::Ready;
        snapshot.cutover_deadline = Some(now() + jiff::SignedDuration::from_hours(120));
    });
    assert_eq!(wizard.model.screen, Screen::Following);
    wizard.press(KeyCode::Char('e'));
    assert_eq!(wizard.model.screen, Screen::Countdown);
    wizard.show(|snapshot| snapshot.phase = Phase::Following);
    assert_eq!(wizard.model.screen, Screen::Countdown, "the operator looks at the countdown");
    wizard.press(KeyCode::Esc);
    assert_eq!(wizard.model.screen, Screen::Following);
    let step = |step| {
        Some(Cutover {
            check: CheckOrder::First,
            step,
            started: now(),
            cutover_ts: None,
            last_source_write: None,
            waiting_by: None,
            source_blocked: false,
            assumed_stopped: false,
            assumed_by: None,
            late_write: None,
            opened: None,
            downtime_ms: None,
            lines: Vec::new(),
        })
    };
    for (phase, at, screen) in [
        (Phase::Cutover, Some(CutoverStep::StopApplication), Screen::StopApplication),
        (Phase::Cutover, Some(CutoverStep::Drain), Screen::StopApplication),
        (Phase::Cutover, Some(CutoverStep::CheckData), Screen::CheckData),
        (Phase::Finalizing, Some(CutoverStep::Finalize), Screen::Finalising),
        (Phase::Cleanup, Some(CutoverStep::Open), Screen::Finalising),
        (Phase::Completed, Some(CutoverStep::Open), Screen::Success),
    ] {
        wizard.show(|snapshot| {
            snapshot.phase = phase;
            snapshot.cutover = at.and_then(step);
        });
        assert_eq!(wizard.model.screen, screen, "{phase}");
    }
}

#[test]
fn the_plan_cannot_be_reached_any_more_after_the_start() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, fine());
    wizard.show(|snapshot| snapshot.phase = Phase::Copying);
    mongoferry::tui::update::perform(&mut wizard.model, mongoferry::tui::action::Action::Open(Screen::Connect));
    assert_eq!(wizard.model.screen, Screen::Migrating);
}

#[test]
fn attaching_opens_at_the_screen_of_the_phase() {
    for (phase, screen) in [
        (Phase::Idle, Screen::Destination),
        (Phase::Validating, Screen::Validate),
        (Phase::Indexing, Screen::Migrating),
        (Phase::Ready, Screen::Following),
        (Phase::Expired, Screen::Countdown),
        (Phase::Cutover, Screen::StopApplication),
        (Phase::Failed, Screen::Migrating),
        (Phase::Completed, Screen::Success),
    ] {
        let snapshot = Snapshot { phase, ..Snapshot::idle(now()) };
        assert_eq!(Wizard::new(snapshot, Glyphs::ASCII).model.screen, screen, "{phase}");
    }
}

#[test]
fn phases_ring_the_bell_and_name_the_window() {
    let mut wizard = Wizard::at_report(Glyphs::ASCII, fine());
    let effects = wizard.show(|snapshot| snapshot.phase = Phase::Copying);
    assert!(matches!(&effects[..], [Effect::Title(title)] if title == "mongoferry: copying"), "{effects:?}");
    let effects = wizard.show(|snapshot| snapshot.phase = Phase::Ready);
    assert!(
        matches!(&effects[..], [Effect::Title(title), Effect::Bell] if title == "mongoferry: READY"),
        "{effects:?}"
    );
    wizard.show(|snapshot| snapshot.cutover_deadline = Some(now() + jiff::SignedDuration::from_hours(13)));
    let before = wizard.model.now;
    wizard.model.now += jiff::SignedDuration::from_secs(3601);
    let effects = mongoferry::tui::update::on_clock(&mut wizard.model, before);
    assert!(
        matches!(&effects[..], [Effect::Title(title), Effect::Bell] if title == "mongoferry: READY, 11:59 left to cut over"),
        "{effects:?}"
    );
    assert_eq!(wizard.model.screen, Screen::Countdown, "under 12 h the countdown opens by itself");
}

#[test]
fn the_demo_is_filled_in_and_goes_by_enter_alone() {
    let mut wizard = Wizard::first();
    let plan = plan();
    let entry = mongoferry::tui::screen::destination::Entry::only_now("demo-destination", &plan.destination);
    wizard.model.screens.destination =
        mongoferry::tui::screen::destination::State::with(vec![entry], None, String::new());
    wizard.model.screens.connect = connect::State::prefilled(&plan);
    wizard.keys(&[KeyCode::Enter, KeyCode::Enter]);
    let effects = wizard.press(KeyCode::Enter);
    let [Command::Validate(sent)] = sent(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!((sent.name.as_str(), sent.source.uri.as_str()), ("demo", plan.source.uri.as_str()));
    assert_eq!(sent.destination.uri, plan.destination.uri);
}

#[test]
fn the_log_follows_freezes_searches_and_saves() {
    let mut wizard = Wizard::known(Glyphs::ASCII);
    wizard.tell(Message::Events(super::wizard::events()));
    wizard.press(KeyCode::Char('l'));
    assert!(frame::status(&wizard.model).contains("following"));
    wizard.press(KeyCode::Up);
    assert!(!wizard.page().contains("email_1") && wizard.page().contains("frozen"), "{}", wizard.page());
    wizard.press(KeyCode::End);
    assert!(wizard.page().contains("email_1"));
    wizard.press(KeyCode::Char('/'));
    wizard.type_text("SESSIONS");
    wizard.press(KeyCode::Enter);
    assert!(wizard.page().contains("1,203,441") && !wizard.page().contains("email_1"));
    let effects = wizard.press(KeyCode::Char('w'));
    assert!(matches!(&effects[..], [Effect::Save { text, .. }] if text.lines().count() == 1), "{effects:?}");
    wizard.keys(&[KeyCode::Char('/'), KeyCode::Esc, KeyCode::Char('s')]);
    assert!(wizard.page().contains("stepped down") && !wizard.page().contains("migration started"));
    wizard.press(KeyCode::Esc);
    assert!(wizard.model.overlay.is_none());
}

#[test]
fn leaving_is_free_before_the_start_and_asked_for_by_name_afterwards() {
    let mut before = Wizard::known(Glyphs::ASCII);
    before.press(KeyCode::Char('q'));
    assert_eq!(before.model.outcome, Some(Outcome::Left));
    let mut typing = Wizard::first();
    typing.press(KeyCode::Char('q'));
    assert_eq!(typing.model.outcome, None, "q is a letter in a field");
    typing.chord(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(typing.model.outcome, Some(Outcome::Left));
    let mut running = Wizard::at_report(Glyphs::ASCII, fine());
    running.show(|snapshot| snapshot.phase = Phase::Copying);
    running.chord(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(matches!(running.model.overlay, Some(Overlay::Confirm(_))));
    assert_eq!(running.model.outcome, None);
    running.type_text("rs0");
    running.keys(&[KeyCode::Tab, KeyCode::Tab, KeyCode::Enter]);
    assert_eq!(running.model.outcome, Some(Outcome::Left));
    let mut stopped = Wizard::at_report(Glyphs::ASCII, fine());
    stopped.show(|snapshot| snapshot.phase = Phase::Copying);
    assert!(stopped.chord(KeyCode::Char('z'), KeyModifiers::CONTROL).is_empty(), "Ctrl-Z would stop the engine too");
    assert!(matches!(Wizard::first().chord(KeyCode::Char('z'), KeyModifiers::CONTROL)[..], [Effect::Suspend]));
}

/// The key codes that a hint names; what names one key is what a click on it presses.
fn codes(hint: &str) -> Vec<(KeyCode, KeyModifiers)> {
    let plain = |code| (code, KeyModifiers::NONE);
    match hint {
        "Up/Down" => vec![plain(KeyCode::Down), plain(KeyCode::Up)],
        "Left/Right" => vec![plain(KeyCode::Right), plain(KeyCode::Left)],
        one => {
            let key = keymap::pressed(one).unwrap_or_else(|| panic!("unknown key in a footer: {one}"));
            vec![(key.code, key.modifiers)]
        }
    }
}

/// What can be seen of a wizard: the page, the effects of the key, the outcome.
fn seen(wizard: &Wizard) -> String {
    format!("{}{:?}", wizard.text(120, 40), wizard.model.outcome)
}

#[test]
fn every_key_in_a_footer_does_something() {
    type Make = fn() -> Wizard;
    let makers: Vec<(&str, Make)> = vec![
        ("list", || Wizard::known(Glyphs::ASCII)),
        ("first", Wizard::first),
        ("prepare", || {
            let mut wizard = Wizard::at_form(Glyphs::ASCII);
            wizard.keys(&[KeyCode::Esc, KeyCode::BackTab]);
            wizard
        }),
        ("form", || {
            let mut wizard = Wizard::at_form(Glyphs::ASCII);
            wizard.type_text("db-01");
            wizard
        }),
        ("form, password", || {
            let mut wizard = Wizard::at_form(Glyphs::ASCII);
            wizard.type_text("db-01");
            wizard.keys(&[KeyCode::Tab, KeyCode::Tab]);
            wizard.type_text("pw");
            wizard
        }),
        ("form, TLS", || {
            let mut wizard = Wizard::at_form(Glyphs::ASCII);
            wizard.type_text("db-01");
            wizard.keys(&[KeyCode::Tab; 4]);
            wizard
        }),
        ("report, running", || Wizard::at_report(Glyphs::ASCII, running())),
        ("report, failed", || Wizard::at_report(Glyphs::ASCII, failed())),
        ("report, warned", || Wizard::at_report(Glyphs::ASCII, warned())),
        ("report, fine", || Wizard::at_report(Glyphs::ASCII, fine())),
        ("log", || {
            let mut wizard = Wizard::known(Glyphs::ASCII);
            wizard.tell(Message::Events(super::wizard::events()));
            wizard.keys(&[KeyCode::Char('l'), KeyCode::Up]);
            wizard
        }),
    ];
    for (name, make) in makers {
        let wizard = make();
        let footer = frame::footer(&wizard.model, 400).to_string();
        let mut hints: Vec<String> = frame::keys(&wizard.model).iter().map(|hint| hint.key.to_string()).collect();
        for key in ["?", "q", "l", "F1"] {
            let shown = footer.contains(&format!("  {key} ")) || footer.starts_with(&format!(" {key} "));
            if shown && !hints.iter().any(|hint| hint == key) {
                hints.push(key.into());
            }
        }
        assert!(!hints.is_empty(), "{name}");
        for hint in hints {
            let reason =
                frame::keys(&wizard.model).into_iter().find(|known| known.key == hint).and_then(|key| key.disabled);
            if reason.is_some_and(|reason| frame::status(&wizard.model) == reason) {
                // It does nothing now, and the status line says why already.
                continue;
            }
            let acts = codes(&hint).into_iter().any(|(code, modifiers)| {
                let mut wizard = make();
                let before = seen(&wizard);
                let effects = wizard.chord(code, modifiers);
                !effects.is_empty() || seen(&wizard) != before
            });
            assert!(acts, "{name}: {hint} does nothing\n{}", make().page());
        }
    }
}
