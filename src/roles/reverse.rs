//! `mongoferry reverse NAME`: the way back of a completed migration, as a migration of its own with the clusters swapped.

use super::{control, find, start};
use crate::{
    cli::ReverseArgs,
    config,
    engine::opened::Opened,
    model::{Options, Phase, Plan, Problem, Refusal, WayBack},
    paths,
    store::{self, Summary},
};
use std::time::Duration;

/// Longest name of a migration.
const LONGEST_NAME: usize = 40;
const SUFFIX: &str = "-back";

/// Checks that there is a way back, then validates and starts it like any other migration.
pub async fn play(arguments: ReverseArgs) -> anyhow::Result<u8> {
    let summary = find::find(Some(&arguments.name))?;
    if summary.phase != Phase::Completed {
        let why =
            format!("{} is {}; there is a way back once the new cluster accepts writes", summary.name, summary.phase);
        return control::refused(&Refusal::NotNow(why));
    }
    if let Some(other) = under_way(&summary)? {
        let why = format!("the way back of {} is under way already: mongoferry status {other}", summary.name);
        return control::refused(&Refusal::NotNow(why));
    }
    let Some(opened) = Opened::read(&summary.folder)? else {
        let why = format!(
            "what the clusters were when the new one was opened is not on this host: {} was cleaned up, or the report says \
             why it could not be noted; migrate the other way round, with a copy",
            summary.name
        );
        return control::refused(&Refusal::NotNow(why));
    };
    let given = match &arguments.plan {
        Some(path) => Some(config::read_plan(&std::path::absolute(path)?)?),
        None => None,
    };
    let logins = control::logins(&summary, given).await?;
    let forward = summary.plan.clone().with_secrets(logins.source, logins.destination);
    start::launch_plan(plan(&summary, forward, &opened, arguments.window), arguments.accept_warnings).await
}

/// The way back of a migration that is not over yet.
fn under_way(summary: &Summary) -> Result<Option<String>, Problem> {
    let all = store::list(&paths::state_root()?);
    let is_its = |other: &Summary| {
        other.plan.options.way_back.as_ref().is_some_and(|way_back| way_back.of == summary.name)
            && !other.phase.is_over()
    };
    Ok(all.into_iter().find(is_its).map(|other| other.name))
}

/// The clusters swapped; nothing is cleared, and nothing is blocked.
fn plan(summary: &Summary, forward: Plan, opened: &Opened, window: Duration) -> Plan {
    let name: String = summary.name.chars().take(LONGEST_NAME - SUFFIX.len()).collect();
    let way_back = WayBack { of: summary.name.clone(), from: opened.from, untouched_since: opened.cutover };
    Plan {
        name: name + SUFFIX,
        source: forward.destination,
        destination: forward.source,
        options: Options {
            clear_destination: false,
            block_source_writes: false,
            cutover_window: window,
            way_back: Some(way_back),
            ..forward.options
        },
    }
}
