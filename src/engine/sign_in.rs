//! Signs in again where the connections have lost their login, so that a user who was dropped and created again is one
//! that the migration goes on with.

use super::context::Context;
use crate::model::{Severity, Side};
use std::time::Duration;
use tokio::time::sleep;

/// Distance between two new logins.
const PACE: Duration = Duration::from_secs(5);

/// Runs until cancelled.
pub async fn keep(context: Context) {
    let signing_in = async {
        loop {
            for side in context.events.logged_out().await {
                let cluster = if side == Side::Source { &context.source } else { &context.destination };
                let text = match cluster.login.renew() {
                    Ok(()) => format!("{side}: the server has forgotten who signed in; signing in again"),
                    Err(error) => format!("{side}: signing in again failed: {error}"),
                };
                context.events.record(Severity::Warn, "sign-in", text);
            }
            context.events.try_again();
            sleep(PACE).await;
        }
    };
    tokio::select! {
        () = context.cancel.cancelled() => {}
        () = signing_in => {}
    }
}
