//! `mongoferry`: the wizard on an engine in a process of its own, which goes on when the wizard ends.

use super::{ask::Asker, attach, exit, find, plain_wizard};
use crate::{
    cli::{GlyphChoice, Look, ThemeChoice},
    config,
    model::{Phase, Plan, Snapshot, units::show_duration},
    paths,
    session::{
        Client,
        launch::{self, Launch},
        remote,
    },
    store, tui,
};
use std::{io::Write, sync::Arc, time::Duration};

/// Opens the wizard: on a migration of this host that the operator picks, else on a fresh engine.
pub async fn play(look: Look) -> anyhow::Result<u8> {
    let is_plain = look.plain || falls_back();
    if let Some(name) = pick(is_plain).await? {
        return attach::play(Some(&name), false, false, look).await;
    }
    let socket = launch::launch(&Launch::Fresh).await?;
    let client = remote::attach(&socket, find::caller(false, true)).await?;
    if is_plain {
        return plain_wizard::play(client).await;
    }
    let options = tui::WizardOptions { notify: config::read_notify()?, ..attached(&client, look, false) };
    open(client, options).await
}

/// True when the full screen cannot be shown here; says so.
pub fn falls_back() -> bool {
    let Some(why) = tui::terminal::unsuitable() else { return false };
    let _ = writeln!(std::io::stderr(), "mongoferry: {why}; going on with plain lines (--plain)");
    true
}

/// Asks which migration, when some are under way and there is a terminal to ask on.
async fn pick(is_plain: bool) -> anyhow::Result<Option<String>> {
    let unfinished: Vec<store::Summary> =
        store::list(&paths::state_root()?).into_iter().filter(|summary| !summary.phase.is_over()).collect();
    if unfinished.is_empty() || (is_plain && tui::terminal::unsuitable().is_some()) {
        return Ok(None);
    }
    let mut out = std::io::stdout();
    let _ = writeln!(out, "Migrations that are under way on this host:");
    for (at, summary) in unfinished.iter().enumerate() {
        let engine = if summary.is_running { "" } else { "   no engine works on it: mongoferry resume" };
        let _ = writeln!(out, "  {}  {}  {}{engine}", at + 1, summary.name, summary.phase);
    }
    let mut asker = Asker::default();
    loop {
        let Some(typed) = asker.line("A number attaches to it; Enter begins a new migration:").await? else {
            anyhow::bail!("nothing was chosen");
        };
        if typed.is_empty() {
            return Ok(None);
        }
        let chosen = typed.parse::<usize>().ok().and_then(|number| unfinished.get(number.checked_sub(1)?));
        if let Some(chosen) = chosen {
            return Ok(Some(chosen.name.clone()));
        }
    }
}

/// The wizard of the demo: its engine lives in this process and ends with it.
pub async fn open_demo(client: Client, look: Look, plan: Plan) -> anyhow::Result<u8> {
    let options =
        tui::WizardOptions { look: look.into(), prefill: Some(plan), demo: true, ..tui::WizardOptions::default() };
    open(client, options).await
}

/// The wizard on an engine in another process.
pub async fn open_attached(client: Client, look: Look, watches: bool) -> anyhow::Result<u8> {
    let options = attached(&client, look, watches);
    open(client, options).await
}

fn attached(client: &Client, look: Look, watches: bool) -> tui::WizardOptions {
    let reviving = client.clone();
    let revive: tui::Revive = Arc::new(move || {
        let name = reviving.snapshot().name.clone();
        Box::pin(async move { attach::revive(&find::find(Some(&name))?).await })
    });
    tui::WizardOptions { look: look.into(), watches, revive: Some(revive), ..tui::WizardOptions::default() }
}

/// Runs the wizard; on leaving prints one line of state to the normal screen.
async fn open(client: Client, options: tui::WizardOptions) -> anyhow::Result<u8> {
    let outcome = tui::run(client.clone(), options).await?;
    let snapshot = client.snapshot();
    if outcome != tui::Outcome::HungUp {
        let _ = writeln!(std::io::stdout(), "{}", farewell(&snapshot, client.is_detached()));
    }
    Ok(if snapshot.phase == Phase::Failed { exit::ERROR } else { exit::DONE })
}

fn farewell(snapshot: &Snapshot, is_detached: bool) -> String {
    let name = &snapshot.name;
    let report = snapshot.report.as_ref().map_or(String::new(), |path| format!("  report: {path}"));
    match snapshot.phase {
        Phase::Idle | Phase::Validating => "mongoferry: nothing was started; nothing was written.".into(),
        Phase::Completed => {
            let downtime = snapshot.cutover.as_ref().and_then(|cutover| cutover.downtime_ms);
            let downtime = downtime.map_or("not known".into(), |ms| show_duration(Duration::from_millis(ms)));
            format!("mongoferry: {name} migrated to {}, downtime {downtime}.{report}", snapshot.destination.label)
        }
        Phase::Stopped | Phase::Failed => format!("mongoferry: {name} is {}.{report}", snapshot.phase),
        phase if is_detached => format!(
            "mongoferry: {name} is {phase}; it goes on without this terminal.\n\
             Attach again: mongoferry attach {name}   Look at it: mongoferry status {name}"
        ),
        phase => format!(
            "mongoferry: {name} was in phase {phase} and has ended with the demo. Nothing that it started is left."
        ),
    }
}

impl From<Look> for tui::Look {
    fn from(look: Look) -> Self {
        let glyphs = look.glyphs.map(|choice| match choice {
            GlyphChoice::Ascii => tui::GlyphChoice::Ascii,
            GlyphChoice::Unicode => tui::GlyphChoice::Unicode,
        });
        let theme = look.theme.map(|choice| match choice {
            ThemeChoice::Auto => tui::ThemeChoice::Auto,
            ThemeChoice::Light => tui::ThemeChoice::Light,
            ThemeChoice::Dark => tui::ThemeChoice::Dark,
            ThemeChoice::Sixteen => tui::ThemeChoice::Sixteen,
            ThemeChoice::Mono => tui::ThemeChoice::Mono,
        });
        tui::Look { glyphs, theme }
    }
}
