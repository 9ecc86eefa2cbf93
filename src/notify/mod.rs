//! Tells people who are not at the terminal: e-mail, webhook, command hook.
//!
//! Owns how a notice leaves this host. Secrets (the SMTP password, the webhook's address) are read where the plan says
//! each time, so that nothing has to be given again after a restart, and are never part of an error. Whoever calls this
//! decides when and how often; see `engine`.

mod command;
mod email;
mod webhook;

use crate::{
    config,
    model::{
        Notice, Notify,
        notice::{Channel, NoticeKind},
    },
};
use std::{fmt::Write, path::Path, time::Duration};

/// Longest attempt by one channel.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a notice did not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// Something is wrong with the plan's `[notify]`, or with a file that it names.
    #[error("{0}")]
    Settings(String),
    /// The server or the program refused it, or was not reached.
    #[error("{0}")]
    Refused(String),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

/// Sends one notice by one channel, once. Ends within 20 s.
pub async fn send(notify: &Notify, channel: Channel, notice: &Notice) -> Result<(), NotifyError> {
    let sending = async {
        match (channel, &notify.email, &notify.webhook, &notify.command) {
            (Channel::Email, Some(email), _, _) => email::send(email, notice).await,
            (Channel::Webhook, _, Some(webhook), _) => webhook::send(webhook, notice).await,
            (Channel::Command, _, _, Some(program)) => command::run(program, notice).await,
            _ => Err(NotifyError::Settings(format!("no {} is set up", channel.word()))),
        }
    };
    tokio::time::timeout(PATIENCE, sending).await.unwrap_or(Err(NotifyError::TimedOut))
}

/// The notice as lines for people.
fn body(notice: &Notice) -> String {
    let mut text = format!("{}.\n\n", notice.text.trim_end_matches('.'));
    let lines = [
        ("Migration", notice.migration.as_str()),
        ("Source", &notice.source),
        ("Destination", &notice.destination),
        ("Runs on", &notice.host),
    ];
    for (name, value) in lines {
        // Writing into a `String` cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = writeln!(text, "At: {}", notice.at.strftime("%Y-%m-%d %H:%M:%S UTC"));
    if notice.kind != NoticeKind::Test {
        let _ = write!(text, "\nOn {}: mongoferry attach {}\n", notice.host, notice.migration);
    }
    text
}

/// The notice as one JSON object: `notice`, `migration`, `text`, `at`, `source`, `destination`, `host`. `text` is also what
/// Slack, Mattermost and their like show.
fn json(notice: &Notice) -> serde_json::Value {
    serde_json::json!({
        "notice": notice.kind,
        "migration": notice.migration,
        "text": notice.subject(),
        "at": notice.at,
        "source": notice.source,
        "destination": notice.destination,
        "host": notice.host,
    })
}

/// Certificates of a private authority.
fn read_ca(path: &Path) -> Result<String, NotifyError> {
    config::read_ca(path).map_err(NotifyError::Settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_well_and_holds_what_a_script_needs() {
        let notice = Notice {
            kind: NoticeKind::WindowEnds,
            migration: "orders".into(),
            text: "1.0 h left to cut over".into(),
            at: jiff::Timestamp::from_second(1_795_000_000).unwrap(),
            source: "a:1".into(),
            destination: "b:2".into(),
            host: "bastion".into(),
        };
        assert_eq!(notice.subject(), "mongoferry orders: 1.0 h left to cut over");
        assert_eq!(
            body(&notice),
            "1.0 h left to cut over.\n\nMigration: orders\nSource: a:1\nDestination: b:2\nRuns on: bastion\n\
             At: 2026-11-18 11:06:40 UTC\n\nOn bastion: mongoferry attach orders\n"
        );
        let value = json(&notice);
        assert_eq!((&value["notice"], &value["migration"]), (&"window-ends".into(), &"orders".into()));
        assert_eq!(value["text"], "mongoferry orders: 1.0 h left to cut over");
    }
}
