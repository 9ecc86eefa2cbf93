//! A wizard without a terminal: keys in, screens and effects out.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::Timestamp;
use mongoferry::{
    model::{
        CheckId, CheckState, Endpoint, Event, Phase, Plan, Problem, Severity, Side, Snapshot, ValidationReport,
        check::DroppedDatabase,
        snapshot::{ClusterView, DestinationTest},
    },
    profiles::{Profile, ProfileTls},
    tui::{
        action::Screen,
        effect::{Effect, Message},
        host::Address,
        model::{Model, Overlay},
        screen::{destination, frame, prepare},
        survival::Survival,
        theme::{Glyphs, Theme},
        update::update,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

pub const CA: &str = include_str!("../fixtures/tls/ca.pem");

pub fn now() -> Timestamp {
    "2026-11-23T18:00:00Z".parse().unwrap()
}

/// The wizard and its clock.
pub struct Wizard {
    pub model: Model,
    at: Instant,
}

impl Wizard {
    pub fn new(snapshot: Snapshot, glyphs: Glyphs) -> Self {
        let model = Model::new(Arc::new(snapshot), Vec::new(), (Theme::sixteen(), glyphs), now());
        Self { model, at: Instant::now() }
    }

    /// Nothing has been asked for, and no destination is known.
    pub fn first() -> Self {
        Self::new(Snapshot::idle(now()), Glyphs::ASCII)
    }

    /// Three destinations are known, one of each kind.
    pub fn known(glyphs: Glyphs) -> Self {
        let mut wizard = Self::new(Snapshot::idle(now()), glyphs);
        let entries = vec![
            tested(
                profile("prod-new", "mongodb://new-a.example.net:27017,new-b.example.net:27017/?replicaSet=rs9"),
                &[],
            ),
            tested(
                profile("staging-new", "mongodb://10.2.0.11:27017/"),
                &[("shop", 1_288_490_189), ("crm", 96_468_992)],
            ),
            unreachable(profile("dr-site", "mongodb://dr1.example.net:27017/")),
        ];
        let path = "~/.config/mongoferry/destinations.toml".into();
        wizard.model.screens.destination = destination::State::with(entries, None, path);
        wizard.model.screens.prepare = prepare::State::with_engine(true);
        let what = "logind ends it at logout (KillUserProcesses)".into();
        let fix = Some("loginctl enable-linger ops\n".into());
        wizard.tell(Message::Survival(Survival { is_safe: false, what, fix }));
        wizard
    }

    pub fn tell(&mut self, message: Message) -> Vec<Effect> {
        update(&mut self.model, message)
    }

    /// One key, half a second after the one before; what is on the screen counts as drawn in between.
    pub fn press(&mut self, code: KeyCode) -> Vec<Effect> {
        self.chord(code, KeyModifiers::NONE)
    }

    pub fn chord(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
        if let Some(Overlay::Confirm(question)) = &mut self.model.overlay {
            question.was_drawn(self.at);
        }
        self.at += Duration::from_millis(500);
        self.at_once(code, modifiers)
    }

    /// One key in the same moment as the last.
    pub fn at_once(&mut self, code: KeyCode, modifiers: KeyModifiers) -> Vec<Effect> {
        let message = Message::Key { key: KeyEvent::new(code, modifiers), in_burst: false, at: self.at };
        self.tell(message)
    }

    pub fn keys(&mut self, codes: &[KeyCode]) -> Vec<Effect> {
        codes.iter().flat_map(|code| self.press(*code)).collect()
    }

    pub fn type_text(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|character| self.press(KeyCode::Char(character))).collect()
    }

    pub fn paste(&mut self, text: &str) -> Vec<Effect> {
        self.tell(Message::Paste(text.into()))
    }

    pub fn show(&mut self, change: impl FnOnce(&mut Snapshot)) -> Vec<Effect> {
        let mut snapshot = (*self.model.snapshot).clone();
        change(&mut snapshot);
        self.tell(Message::Snapshot(Arc::new(snapshot)))
    }

    pub fn text(&self, width: u16, height: u16) -> String {
        frame::as_text(&self.model, width, height)
    }

    /// What an 80x24 terminal shows.
    pub fn page(&self) -> String {
        self.text(80, 24)
    }

    /// On the connection form, prod-new chosen.
    pub fn at_form(glyphs: Glyphs) -> Self {
        let mut wizard = Self::known(glyphs);
        wizard.press(KeyCode::Enter);
        wizard.tell(Message::Measured(vec![Address {
            ip: "10.8.3.14".parse().unwrap(),
            note: "used to reach db-01.example.net:27017".into(),
        }]));
        wizard.press(KeyCode::Enter);
        assert_eq!(wizard.model.screen, Screen::Connect);
        wizard
    }

    /// On the validation page with this report; the destination holds data when the report says so.
    pub fn at_report(glyphs: Glyphs, report: ValidationReport) -> Self {
        let mut wizard = Self::at_form(glyphs);
        wizard.paste("mongodb://ferry_src:s3cret@db-01.example.net:27017/?replicaSet=rs0");
        wizard.keys(&[KeyCode::BackTab, KeyCode::BackTab]);
        wizard.press(KeyCode::Enter);
        assert_eq!(wizard.model.screen, Screen::Validate, "{}", wizard.page());
        wizard.show(|snapshot| {
            snapshot.phase = Phase::Validating;
            snapshot.source.label = "db-01.example.net:27017".into();
            snapshot.source.set = Some("rs0".into());
            snapshot.destination.label = "new-a.example.net:27017".into();
            snapshot.validation = Some(report);
        });
        wizard
    }
}

pub fn profile(name: &str, uri: &str) -> Profile {
    Profile {
        name: name.into(),
        uri: uri.into(),
        username: None,
        auth_source: None,
        tls: ProfileTls::Off,
        ca_file: None,
        last_used: None,
    }
}

fn tested(profile: Profile, databases: &[(&str, u64)]) -> destination::Entry {
    let cluster = ClusterView {
        label: profile.name.clone(),
        set: Some("rs9".into()),
        version: Some("7.0.14".into()),
        hosts: ["new-a", "new-b", "new-c"].map(|host| format!("{host}.example.net:27017")).to_vec(),
        primary: Some("new-a.example.net:27017".into()),
        drop_user: None,
    };
    let test = DestinationTest {
        uri: profile.uri.clone(),
        running: false,
        cluster: Some(cluster),
        databases: databases.iter().map(|(name, bytes)| ((*name).to_string(), *bytes)).collect(),
        problem: None,
        at: "2026-11-23T17:58:00Z".parse().unwrap(),
    };
    destination::Entry { test: Some(test), ..destination::Entry::saved(profile, String::new()) }
}

fn unreachable(profile: Profile) -> destination::Entry {
    let test = DestinationTest {
        uri: profile.uri.clone(),
        running: false,
        cluster: None,
        databases: Vec::new(),
        problem: Some(Problem::before_writing(
            Side::Destination,
            "no member can be reached",
            "dr1.example.net:27017: connection refused",
            "Check the address, the firewall and that mongod runs.",
        )),
        at: "2026-11-23T17:58:00Z".parse().unwrap(),
    };
    destination::Entry { test: Some(test), ..destination::Entry::saved(profile, String::new()) }
}

/// A report in which every check is fine.
pub fn fine() -> ValidationReport {
    let evidence = |id: CheckId| match id {
        CheckId::SourceNetwork => "TCP in 11 ms; 3 of 3 members reachable",
        CheckId::SourceTls => "off, as the server has it",
        CheckId::SourceSignIn => "ferry_src@admin, SCRAM-SHA-256",
        CheckId::SourceReplicaSet => "rs0, primary db-01, 3 members",
        CheckId::SourcePermissions => "readAnyDatabase, clusterMonitor",
        CheckId::SourceVersion => "5.0.29, FCV 5.0",
        CheckId::SourceOplogWindow => "40 h at the current write rate; copy needs about 4.1 h",
        CheckId::SourceData => "48 collections, 182.4 GiB, 131 indexes",
        CheckId::DestinationVersion => "7.0.14",
        CheckId::DestinationIdentity => "another replica set",
        CheckId::DestinationFreeSpace => "412 GiB, need 214 GiB (copy + indexes + 10 %)",
        CheckId::DestinationEmpty => "no user databases",
        CheckId::DestinationFeatures => "131 of 131 indexes can be built",
        _ => "fine",
    };
    let mut report = ValidationReport::waiting();
    for check in &mut report.checks {
        check.state = CheckState::Ok;
        check.evidence = evidence(check.id).into();
    }
    report.finished = true;
    report.took_ms = 9_400;
    report.summary = vec![
        "copy 48 collections (182.4 GiB) and 131 indexes from rs0 to prod-new".into(),
        "read as ferry_src; follow changes from before the copy on".into(),
    ];
    report
}

pub fn failed() -> ValidationReport {
    let mut report = fine();
    report.summary.clear();
    let permissions = &mut report.checks[CheckId::SourcePermissions as usize];
    permissions.state = CheckState::Fail;
    permissions.evidence = "missing: read on local.oplog.rs".into();
    permissions.explanation = "the user cannot read the oplog; changes cannot be followed.".into();
    permissions.fix = "Grant the role on the source.".into();
    permissions.fix_command =
        Some("db.getSiblingDB('admin').grantRolesToUser('ferry_src', [{role:'read', db:'local'}])".into());
    let features = &mut report.checks[CheckId::DestinationFeatures as usize];
    features.state = CheckState::Skip;
    features.evidence = "needs permissions on the source first".into();
    warn(&mut report);
    report
}

pub fn warned() -> ValidationReport {
    let mut report = fine();
    warn(&mut report);
    report
}

fn warn(report: &mut ValidationReport) {
    let window = &mut report.checks[CheckId::SourceOplogWindow as usize];
    window.state = CheckState::Warn;
    window.evidence = "9.2 h at the current write rate; copy needs about 4.1 h".into();
    window.explanation = "when the source writes more, its oplog may roll over before it was read.".into();
    window.fix = "Make the oplog larger before the start.".into();
    window.fix_command = Some("db.adminCommand({ replSetResizeOplog: 1, size: 51200 })".into());
}

pub fn running() -> ValidationReport {
    let mut report = fine();
    report.finished = false;
    report.took_ms = 2_100;
    report.summary.clear();
    for check in &mut report.checks[5..] {
        check.state = CheckState::Waiting;
        check.evidence.clear();
    }
    report.checks[5].state = CheckState::Running;
    report
}

pub fn dropping() -> ValidationReport {
    let mut report = fine();
    report.checks[CheckId::DestinationEmpty as usize].evidence = "3 databases will be dropped, as agreed".into();
    let database = |name: &str, collections, bytes| DroppedDatabase { name: name.into(), collections, bytes };
    report.would_drop =
        vec![database("shop", 14, 1_181_116_006), database("crm", 6, 96_468_992), database("scratch", 1, 4_096)];
    report
}

/// A plan as the demo hands it over.
pub fn plan() -> Plan {
    Plan {
        name: "demo".into(),
        source: Endpoint::plain("mongodb://127.0.0.1:27017/?replicaSet=shop"),
        destination: Endpoint::plain("mongodb://127.0.0.1:27018/?replicaSet=new"),
        options: Default::default(),
    }
}

pub fn events() -> Vec<Event> {
    let event = |seq: u64, severity, kind: &str, text: &str| Event {
        seq,
        at: "2026-11-23T17:59:00Z".parse().unwrap(),
        severity,
        kind: kind.into(),
        text: text.into(),
    };
    vec![
        event(1, Severity::Info, "started", "migration started by ops@pts/1"),
        event(2, Severity::Info, "copied", "shop.sessions 1,203,441 documents in 41 s"),
        event(
            3,
            Severity::Warn,
            "reconnected",
            "destination new-b stepped down, new primary new-a (3.1 s), 1 batch retried",
        ),
        event(4, Severity::Error, "failed", "index crm.contacts email_1 cannot be built"),
    ]
}
