//! `mongoferry reverse NAME`: the way back of a completed migration, as a migration of its own with the clusters swapped.

use super::{control, find, start};
use crate::{
    cli::ReverseArgs,
    config,
    engine::{opened::Opened, way_back},
    model::{Phase, Plan, Refusal},
    paths,
};

/// Checks that there is a way back, then validates and starts it like any other migration.
pub async fn play(arguments: ReverseArgs) -> anyhow::Result<u8> {
    let summary = find::find(Some(&arguments.name))?;
    if summary.phase != Phase::Completed {
        let why = format!("{} is {}; there is a way back once the migration is completed", summary.name, summary.phase);
        return control::refused(&Refusal::NotNow(why));
    }
    if let Some(other) = way_back::under_way(&paths::state_root()?, &summary.name) {
        let why = format!("the way back of {} is under way already: mongoferry status {other}", summary.name);
        return control::refused(&Refusal::NotNow(why));
    }
    let Some(opened) = Opened::read(&summary.folder)? else {
        return control::refused(&Refusal::NotNow(way_back::not_noted(&summary.name).to_string()));
    };
    if arguments.window.is_zero() {
        anyhow::bail!("--for must be longer than nothing");
    }
    let given = match &arguments.plan {
        Some(path) => Some(config::read_plan(&std::path::absolute(path)?)?),
        None => None,
    };
    let logins = control::logins(&summary, given).await?;
    let forward = summary.plan.clone().with_secrets(logins.source, logins.destination);
    let forward = Plan { name: summary.name, ..forward };
    start::launch_plan(way_back::plan(forward, &opened, arguments.window), arguments.accept_warnings).await
}
