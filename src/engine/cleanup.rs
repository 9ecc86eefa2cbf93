//! Removes what mongoferry created: temporary check databases, the lease and the temporary user on the destination, the
//! spool on this host. Each item is idempotent; what could not be removed is left to the operator as a command.

use super::{context::Context, migration_user::MigrationUser, retry::retry, view::StepsView};
use crate::model::{
    Side,
    snapshot::{StepLine, StepState},
};
use crate::mongo::{
    cluster::DriverError,
    errors::explain,
    namespace::{LEASE_DB, TEMPORARY_PREFIX},
};
use bson::rawdoc;
use std::path::Path;
use tokio::sync::watch;

/// Cleans up, one line per item in `view`. Never fails as a whole: a line that failed says what is left to do.
pub async fn clean_up(context: &Context, user: Option<&MigrationUser>, spool: &Path, view: &watch::Sender<StepsView>) {
    let mut lines = vec![
        line("temporary databases on the destination", StepState::Running, String::new()),
        line("spool files on this host", StepState::Waiting, String::new()),
        line("temporary user on the destination", StepState::Waiting, String::new()),
    ];
    view.send_replace(StepsView { lines: lines.clone() });
    lines[0] = temporary_databases(context, view).await;
    lines[1].state = StepState::Running;
    view.send_replace(StepsView { lines: lines.clone() });
    lines[1] = spool_files(spool).await;
    lines[2].state = StepState::Running;
    view.send_replace(StepsView { lines: lines.clone() });
    // Last: everything before it may need the user.
    lines[2] = temporary_user(user).await;
    view.send_replace(StepsView { lines });
}

async fn temporary_user(user: Option<&MigrationUser>) -> StepLine {
    let label = "temporary user on the destination";
    let Some(user) = user else { return line(label, StepState::Ok, "none was created".into()) };
    match user.drop_it().await {
        Ok(()) => line(label, StepState::Ok, format!("dropped {}", user.name())),
        Err(left) => line(label, StepState::Failed, left),
    }
}

fn line(label: &str, state: StepState, detail: String) -> StepLine {
    StepLine { label: label.into(), state, detail }
}

/// Shows on the first line why it is held, and what somebody can do about it; the attempt is repeated.
fn told<T>(view: &watch::Sender<StepsView>, answer: Result<T, DriverError>) -> Result<T, DriverError> {
    let detail = match &answer {
        Ok(_) => String::new(),
        Err(error) => format!(
            "held: {}. Make the destination answer and accept it; this goes on by itself. The application may run",
            explain(error)
        ),
    };
    view.send_if_modified(|shown| match shown.lines.first_mut() {
        Some(line) if line.detail != detail => {
            line.detail = detail;
            true
        }
        _ => false,
    });
    answer
}

async fn temporary_databases(context: &Context, view: &watch::Sender<StepsView>) -> StepLine {
    let label = "temporary databases on the destination";
    let destination = &context.destination;
    let listed = retry(Side::Destination, "listing databases", &context.events, &context.cancel, || async {
        let listed = destination.run("admin", rawdoc! { "listDatabases": 1, "nameOnly": true }).await;
        let reply = told(view, listed)?;
        let mut names = Vec::new();
        for database in reply.get_array("databases")?.into_iter().flatten() {
            if let Some(name) = database.as_document().and_then(|database| database.get_str("name").ok())
                && (name.starts_with(TEMPORARY_PREFIX) || name == LEASE_DB)
            {
                names.push(name.to_string());
            }
        }
        Ok(names)
    })
    .await;
    let names = match listed {
        Ok(names) => names,
        Err(halt) => return line(label, StepState::Failed, format!("{halt}; look for databases {TEMPORARY_PREFIX}*")),
    };
    for name in &names {
        let dropped = retry(Side::Destination, "dropping a database", &context.events, &context.cancel, || async {
            told(view, destination.run(name, rawdoc! { "dropDatabase": 1 }).await)
        })
        .await;
        if let Err(halt) = dropped {
            let command = format!("db.getSiblingDB('{name}').dropDatabase()");
            return line(label, StepState::Failed, format!("left for you: {command} ({halt})"));
        }
    }
    let detail = if names.is_empty() { "none left".into() } else { format!("removed {}", names.join(", ")) };
    line(label, StepState::Ok, detail)
}

async fn spool_files(spool: &Path) -> StepLine {
    let label = "spool files on this host";
    match tokio::fs::remove_dir_all(spool).await {
        Ok(()) => line(label, StepState::Ok, "removed".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => line(label, StepState::Ok, "none left".into()),
        Err(error) => line(label, StepState::Failed, format!("left for you: rm -r {} ({error})", spool.display())),
    }
}
