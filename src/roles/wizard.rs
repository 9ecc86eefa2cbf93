//! `mongoferry`: the wizard on an engine in this process.

use super::exit;
use crate::{
    cli::{GlyphChoice, Look, ThemeChoice},
    model::{Phase, Plan, Snapshot, units::show_duration},
    session::Client,
    tui,
};
use std::{io::Write, time::Duration};

/// Opens the wizard on a fresh engine.
pub async fn play(look: Look) -> anyhow::Result<u8> {
    let (engine, _log) = super::start_engine(None)?;
    let code = open(engine.client(super::operator()), look, None).await;
    engine.shut_down().await;
    code
}

/// Opens the wizard on a client; on leaving prints one line of state to the normal screen.
pub async fn open(client: Client, look: Look, prefill: Option<Plan>) -> anyhow::Result<u8> {
    // Only the demo fills the forms.
    let demo = prefill.is_some();
    tui::run(client.clone(), tui::WizardOptions { look: look.into(), prefill, demo }).await?;
    let snapshot = client.snapshot();
    let _ = writeln!(std::io::stdout(), "{}", farewell(&snapshot));
    Ok(if snapshot.phase == Phase::Failed { exit::ERROR } else { exit::DONE })
}

fn farewell(snapshot: &Snapshot) -> String {
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
        phase => format!(
            "mongoferry: {name} was in phase {phase} and has ended with the wizard: this version runs the migration \
             inside it.\nThe source is untouched; the destination keeps what was copied. Start again with \"clear\"."
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
            ThemeChoice::Sixteen => tui::ThemeChoice::Sixteen,
            ThemeChoice::Mono => tui::ThemeChoice::Mono,
        });
        tui::Look { glyphs, theme }
    }
}
