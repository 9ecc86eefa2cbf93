//! Scenario tests of the state machine: text files that an operator can read, in `tests/machine/`.
//!
//! Each line is `TIME  what happens  ->  phase [, word …]`. TIME is since the start (`+30s` adds to the line before).
//! After the arrow stands what must be true afterwards: the phase, and any of `deadline=120h` (time left),
//! `can-cutover`, `cannot-cutover`, `step=drain`, `differences=1` (in options, indexes and views), `limit=20MB/s` (on source reads), `does=effect` (the effect was asked for), `refused="part of the reason"`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use jiff::Timestamp;
use mongoferry::{
    machine::{Effect, Event, Machine, Measurement, Settings},
    model::{
        CheckOrder, Command, Endpoint, Optime, Options, Plan, Problem, Refusal, Repaired, Side,
        command::Consent,
        units::{parse_duration, show_clock},
    },
};
use std::{fs, time::Duration};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + i64::try_from(seconds).unwrap()).unwrap()
}

fn plan() -> Box<Plan> {
    Box::new(Plan {
        name: "orders".into(),
        source: Endpoint::plain("mongodb://a:1/"),
        destination: Endpoint::plain("mongodb://b:1/"),
        options: Options::default(),
    })
}

fn effect_word(effect: &Effect) -> String {
    match effect {
        Effect::DrainTo(ts) => format!("drain-to-{ts}"),
        Effect::Log(_, kind, _) => format!("log-{kind}"),
        Effect::Notify(kind, _) => {
            format!("notify-{}", serde_json::to_value(kind).unwrap().as_str().unwrap())
        }
        other => {
            let text = format!("{other:?}");
            let name = text.split(['(', ' ', '{']).next().unwrap();
            let mut word = String::new();
            for (index, c) in name.chars().enumerate() {
                if c.is_uppercase() && index > 0 {
                    word.push('-');
                }
                word.push(c.to_ascii_lowercase());
            }
            word
        }
    }
}

struct Scenario {
    machine: Machine,
    now: u64,
    measured: Measurement,
}

impl Scenario {
    fn happens(&mut self, what: &str) -> Result<Vec<Effect>, Refusal> {
        let now = at(self.now);
        let words: Vec<&str> = what.split_whitespace().collect();
        let ms = |text: &str| u64::try_from(parse_duration(text).unwrap().as_millis()).unwrap();
        let optime = |text: &str| {
            let (t, i) = text.split_once(':').unwrap();
            Optime::new(t.parse().unwrap(), i.parse().unwrap())
        };
        let event = |machine: &mut Machine, event| Ok(machine.handle(event, now));
        match words.as_slice() {
            ["lag", lag] => {
                self.measured.lag_ms = Some(ms(lag));
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["quiet", quiet] => {
                self.measured.source_quiet_ms = Some(ms(quiet));
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["write", ts] => {
                self.measured.last_user_write = Some(optime(ts));
                self.measured.source_quiet_ms = Some(0);
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["repair", pending] => {
                self.measured.repair_pending = pending.parse().unwrap();
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["repairs"] => {
                self.machine.settings.repairs = true;
                Ok(Vec::new())
            }
            ["blocks-source"] => {
                self.machine.settings.blocks_source = true;
                Ok(Vec::new())
            }
            ["way-back"] => {
                self.machine.settings.is_way_back = true;
                Ok(Vec::new())
            }
            ["keeps-way-back"] => {
                self.machine.settings.reverse = Some(Duration::from_secs(7_200));
                Ok(Vec::new())
            }
            ["oplog-lost"] => {
                let problem = Problem::before_writing(Side::Source, "lost", "rolled over", "start again");
                event(&mut self.machine, Event::OplogLost(Box::new(problem)))
            }
            ["restarts"] => {
                let (machine, effects) = Machine::restore(self.machine.settings, self.machine.saved(), now);
                self.machine = machine;
                Ok(effects)
            }
            ["blocked"] => event(&mut self.machine, Event::SourceBlocked),
            ["not-blocked"] => event(&mut self.machine, Event::SourceNotBlocked("no right".into())),
            ["tick"] => event(&mut self.machine, Event::Ticked),
            ["failed-indexes", names @ ..] => {
                self.measured.failed_indexes = names.iter().map(|name| name.replace('/', " / ")).collect();
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["open-transactions", names @ ..] => {
                self.measured.open_transactions = names.iter().map(ToString::to_string).collect();
                event(&mut self.machine, Event::Measured(self.measured.clone()))
            }
            ["validated", flags @ ..] => event(
                &mut self.machine,
                Event::ValidationFinished {
                    passed: !flags.contains(&"failed"),
                    warnings: flags.contains(&"warnings"),
                    would_drop: flags.contains(&"would-drop"),
                },
            ),
            ["cleared"] => event(&mut self.machine, Event::Cleared),
            ["copied"] => event(&mut self.machine, Event::Copied),
            ["indexed", failed] => event(&mut self.machine, Event::Indexed { failed: failed.parse().unwrap() }),
            ["fixed", ts] => event(&mut self.machine, Event::CutoverFixed(optime(ts))),
            ["drained"] => event(&mut self.machine, Event::Drained),
            ["checked", count] => event(
                &mut self.machine,
                Event::Checked { mismatches: count.parse().unwrap(), repaired: Repaired::default() },
            ),
            ["finalized", failed @ ..] => event(&mut self.machine, finalized(failed, &[], &[], "0")),
            ["finalized-differing", differences @ ..] => {
                event(&mut self.machine, finalized(&[], differences, &[], "0"))
            }
            ["finalized-without", accepted @ ..] => event(&mut self.machine, finalized(&[], &[], accepted, "0")),
            ["finalized-changed", mismatches] => event(&mut self.machine, finalized(&[], &[], &[], mismatches)),
            ["cleaned-up"] => event(&mut self.machine, Event::CleanedUp),
            ["fails"] => event(&mut self.machine, Event::Failed(Box::new(gone()))),
            ["hindered"] => event(&mut self.machine, Event::Hindered(Box::new(gone()))),
            ["relieved"] => event(&mut self.machine, Event::Relieved),
            command => self.machine.command(command_of(command), "ops@pts/1", now),
        }
    }
}

fn gone() -> Problem {
    Problem::before_writing(Side::Source, "gone", "connection refused", "start it")
}

fn finalized(failed: &[&str], differences: &[&str], accepted: &[&str], mismatches: &str) -> Event {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Event::Finalized {
        failed: owned(failed),
        differences: owned(differences),
        accepted: owned(accepted),
        mismatches: mismatches.parse().unwrap(),
        destination: Optime::new(700, 1),
    }
}

fn command_of(words: &[&str]) -> Command {
    match words {
        ["validate"] => Command::Validate(plan()),
        ["start", flags @ ..] => Command::Start(Consent {
            warnings: flags.contains(&"accept-warnings"),
            clear_destination: flags.contains(&"clear"),
        }),
        ["pause"] => Command::Pause,
        ["resume"] => Command::Resume,
        ["extend"] => Command::Extend,
        ["prepare-cutover"] => Command::PrepareCutover,
        ["continue"] => Command::ContinueCutover { assume_stopped: false },
        ["override"] => Command::ContinueCutover { assume_stopped: true },
        ["check-first"] => Command::ChooseCheck(CheckOrder::First),
        ["open-first"] => Command::ChooseCheck(CheckOrder::After),
        ["accept-failed"] => Command::AcceptFailedIndexes,
        ["go-back"] => Command::GoBack,
        ["skip-verification"] => Command::SkipVerification,
        ["repair-mismatches"] => Command::RepairMismatches,
        ["retry"] => Command::Retry,
        ["keep-way-back"] => Command::KeepWayBack { seconds: 3_600 },
        ["throttle", limit] => Command::Throttle(limit.parse().unwrap()),
        ["stop"] => Command::Stop,
        other => panic!("unknown step {other:?}"),
    }
}

fn run(name: &str, text: &str) {
    let settings = Settings::from(&Options::default());
    let mut scenario = Scenario { machine: Machine::new(settings, at(0)), now: 0, measured: Measurement::default() };
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{name}:{number}: {line}");
        let (left, expected) = line.split_once("->").unwrap_or_else(|| panic!("{place}: no arrow"));
        let (time, what) = left.trim().split_once(char::is_whitespace).unwrap_or_else(|| panic!("{place}: no time"));
        let seconds = |text: &str| parse_duration(text).unwrap_or_else(|error| panic!("{place}: {error}")).as_secs();
        scenario.now = match time.strip_prefix('+') {
            Some(more) => scenario.now + seconds(more),
            None => seconds(time),
        };
        let outcome = scenario.happens(what.trim());
        check(&place, &scenario, &outcome, expected);
    }
}

fn check(place: &str, scenario: &Scenario, outcome: &Result<Vec<Effect>, Refusal>, expected: &str) {
    let machine = &scenario.machine;
    let now = at(scenario.now);
    let effects: Vec<String> = outcome.iter().flatten().map(effect_word).collect();
    for (index, want) in expected.split(',').map(str::trim).enumerate() {
        let seen = format!("phase {}, effects {effects:?}, outcome {outcome:?}", machine.phase);
        match want.split_once('=') {
            None if want == "can-cutover" => assert!(machine.can_cutover(now), "{place}: {seen}"),
            None if want == "cannot-cutover" => assert!(!machine.can_cutover(now), "{place}: {seen}"),
            None if want == "does-nothing" => assert!(effects.is_empty(), "{place}: {seen}"),
            None => assert!(index == 0 && machine.phase.word() == want, "{place}: expected {want}; {seen}"),
            Some(("does", effect)) => assert!(effects.iter().any(|word| word == effect), "{place}: {seen}"),
            Some(("does-not", effect)) => assert!(effects.iter().all(|word| word != effect), "{place}: {seen}"),
            Some(("step", step)) => {
                let word = machine.cutover.as_ref().map(|cutover| serde_json::to_string(&cutover.step).unwrap());
                assert_eq!(word, Some(format!("{step:?}")), "{place}: {seen}");
            }
            Some(("differences", count)) => {
                let differences = machine.cutover.as_ref().and_then(|cutover| cutover.differences.as_ref());
                assert_eq!(differences.map(|all| all.len().to_string()).as_deref(), Some(count), "{place}: {seen}");
            }
            Some(("limit", limit)) => assert_eq!(machine.throttle, limit.parse().unwrap(), "{place}: {seen}"),
            Some(("deadline", left)) => {
                let deadline = machine.deadline.unwrap_or_else(|| panic!("{place}: no deadline; {seen}"));
                let left_now = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
                assert_eq!(show_clock(left_now), show_clock(parse_duration(left).unwrap()), "{place}: {seen}");
            }
            Some(("refused", part)) => {
                let reason = outcome.as_ref().expect_err(place).to_string();
                assert!(reason.contains(part.trim_matches('"')), "{place}: refused with {reason:?}");
            }
            Some(other) => panic!("{place}: unknown expectation {other:?}"),
        }
        if !expected.contains("refused=") {
            assert!(outcome.is_ok(), "{place}: {seen}");
        }
    }
}

#[test]
fn every_scenario_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        run(&path.file_name().unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        count += 1;
    }
    assert!(count >= 6, "only {count} scenarios found in {folder}");
}

mod property {
    use super::*;
    use mongoferry::model::{Phase, snapshot::CutoverStep};
    use proptest::prelude::*;

    fn steps() -> impl Strategy<Value = Vec<(u64, String)>> {
        let step = prop_oneof![
            Just("lag 500ms".to_string()),
            Just("lag 40s".to_string()),
            Just("quiet 90s".to_string()),
            (1_u32..9).prop_map(|i| format!("write 500:{i}")),
            (0_u32..3).prop_map(|n| format!("repair {n}")),
            prop::sample::select(vec![
                "validate",
                "validated",
                "validated failed",
                "validated would-drop",
                "start",
                "start clear",
                "cleared",
                "copied",
                "indexed 0",
                "pause",
                "resume",
                "extend",
                "prepare-cutover",
                "continue",
                "override",
                "go-back",
                "skip-verification",
                "repair-mismatches",
                "open-first",
                "check-first",
                "retry",
                "throttle 20MB/s",
                "throttle off",
                "stop",
                "fixed 500:5",
                "drained",
                "checked 0",
                "checked 2",
                "finalized",
                "finalized shop.orders",
                "finalized-differing shop.orders",
                "cleaned-up",
            ])
            .prop_map(String::from),
        ];
        prop::collection::vec((prop_oneof![Just(1_u64), Just(31), Just(90_000)], step), 1..120)
    }

    proptest! {
        /// Nothing opens the destination without a fixed, drained timestamp and quiet or an override; the timer only
        /// grows by Extend; every command in every state gives effects or a reason.
        #[test]
        fn the_destination_opens_only_on_evidence(steps in steps()) {
            let settings = Settings::from(&Options::default());
            let mut scenario =
                Scenario { machine: Machine::new(settings, at(0)), now: 0, measured: Measurement::default() };
            // A migration that is following, so that the interesting states are reached often.
            for start in ["validate", "validated", "start", "copied", "indexed 0", "lag 100ms"] {
                scenario.happens(start).unwrap();
            }
            let (mut quiet_or_override, mut drained) = (false, false);
            for (pause, step) in steps {
                scenario.now += pause;
                let before = scenario.machine.clone();
                let outcome = scenario.happens(&step);
                let after = &scenario.machine;
                if let Err(Refusal::NotNow(reason)) = &outcome {
                    prop_assert!(!reason.is_empty());
                    prop_assert_eq!(before.phase, after.phase, "a refused command changed the phase");
                }
                let step_of = |machine: &Machine| machine.cutover.as_ref().map(|cutover| cutover.step);
                if (step == "continue" || step == "override") && step_of(after) == Some(CutoverStep::Drain) {
                    let quiet = before.gate.latest().source_quiet_ms.unwrap_or(0) >= 60_000;
                    quiet_or_override = quiet || step == "override";
                    drained = false;
                }
                if step == "drained" && step_of(&before) == Some(CutoverStep::Drain) {
                    drained = true;
                }
                if after.phase == Phase::Cleanup && before.phase != Phase::Cleanup {
                    prop_assert!(quiet_or_override, "opened without quiet or override");
                    prop_assert!(drained, "opened without a drain");
                    let cutover = after.cutover.as_ref().expect("cutover");
                    let late = after.gate.latest().last_user_write.zip(cutover.cutover_ts);
                    let covered = late.is_none_or(|(write, fixed)| write <= fixed);
                    let accepted = cutover.assumed_stopped_by.is_some();
                    prop_assert!(covered || accepted, "opened although a write came after the cutover timestamp");
                }
                if let (Some(old), Some(new)) = (before.deadline, after.deadline) {
                    prop_assert!(new == old || step == "extend" || step == "resume" || new > old, "the timer shrank");
                    prop_assert!(new == old || step == "extend", "the timer moved without Extend");
                }
            }
        }
    }
}
