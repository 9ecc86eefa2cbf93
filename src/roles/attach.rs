//! `mongoferry attach [NAME] [--watch]`: the wizard, or plain lines, on a migration that exists.

use super::{exit, find, wizard};
use crate::{
    cli::Look,
    model::Problem,
    plain,
    session::Client,
    store::Summary,
    tui::{self, WizardOptions},
};
use std::io::Write;

/// Opens the wizard. A migration on which no engine works is shown as it was left.
pub async fn play(name: Option<&str>, watch: bool, json: bool, look: Look) -> anyhow::Result<u8> {
    let found = find::reach(name, watch, true).await?;
    if json || look.plain || wizard::falls_back() {
        return lines(found, watch, json).await;
    }
    let Some(client) = found.client.clone() else {
        if !found.summary.phase.is_over() {
            return Err(find::no_engine(&found.summary).into());
        }
        // Nobody publishes any more; the pages of the end are shown from disk.
        let (client, _publish, _orders) = Client::detached(found.snapshot());
        tui::run(client, WizardOptions { look: look.into(), watches: true, ..WizardOptions::default() }).await?;
        return Ok(exit::DONE);
    };
    wizard::open_attached(client, look, watch).await
}

async fn lines(found: find::Found, watch: bool, json: bool) -> anyhow::Result<u8> {
    let Some(client) = found.client.clone() else {
        if found.summary.phase.is_over() {
            let text = plain::status::lines(
                &found.snapshot(),
                found.engine(),
                jiff::Timestamp::now(),
                &jiff::tz::TimeZone::system(),
            );
            let _ = write!(std::io::stdout(), "{text}");
            return Ok(exit::DONE);
        }
        return Err(find::no_engine(&found.summary).into());
    };
    super::plain_wizard::follow(client, watch, json).await
}

/// What a wizard can do when its engine is gone.
pub async fn revive(summary: &Summary) -> Result<(), Problem> {
    super::control::take_up(summary, None).await.map(drop)
}
