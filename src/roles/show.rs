//! `mongoferry verify [NAME | --plan P.toml] --show NAMESPACE ID`: one document as both clusters have it. Printed and kept
//! nowhere.

use super::{control::refused, exit, find};
use crate::{
    config,
    engine::{
        notices::Notices,
        verify::{show::show, standalone},
    },
    model::ShownDocument,
};
use std::{io::Write, path::Path};
use tokio_util::sync::CancellationToken;

/// `named` is the namespace and the `_id`. Exit 0: both sides have the same bytes, 4: they differ.
pub async fn play(name: Option<&str>, plan: Option<&Path>, named: Vec<String>, as_json: bool) -> anyhow::Result<u8> {
    let [namespace, id] = <[String; 2]>::try_from(named).map_err(|_| anyhow::anyhow!("--show NAMESPACE ID"))?;
    match plan {
        Some(plan) => of_plan(plan, &namespace, &id, as_json).await,
        None => of_migration(name, namespace, id, as_json).await,
    }
}

async fn of_migration(name: Option<&str>, namespace: String, id: String, as_json: bool) -> anyhow::Result<u8> {
    let (_, client) = find::engine_of(name).await?;
    match client.show(namespace, id).await {
        Ok(shown) => print(&shown, as_json),
        Err(refusal) => refused(&refusal),
    }
}

async fn of_plan(path: &Path, namespace: &str, id: &str, as_json: bool) -> anyhow::Result<u8> {
    let plan = config::read_plan(path)?;
    let context = standalone::open(&plan, Notices::default(), CancellationToken::new()).await?;
    print(&show((&context.source, &context.destination), namespace, id).await?, as_json)
}

fn print(shown: &ShownDocument, as_json: bool) -> anyhow::Result<u8> {
    let text = if as_json { serde_json::to_string_pretty(shown)? + "\n" } else { lines(shown) };
    // A reader that stops early (`| head`) is not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(match shown.is_equal() {
        true => exit::DONE,
        false => exit::DIFFERS,
    })
}

fn lines(shown: &ShownDocument) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
    let mut text = format!("{} _id {}, read {:.0}\n", shown.namespace, shown.id, shown.at);
    for field in &shown.fields {
        let (source, destination) = (value(&field.source), value(&field.destination));
        text += &format!("{}\n  source       {source}\n  destination  {destination}\n", field.path);
    }
    let (source, destination) = (value(&shown.source), value(&shown.destination));
    text + &format!("the whole document\n  source       {source}\n  destination  {destination}\n")
}
