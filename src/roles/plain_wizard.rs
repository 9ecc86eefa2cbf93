//! The wizard as plain lines (UX.md 4.16): the same steps in the same order, no colours, no cursor movement.

use super::{
    ask::Asker,
    exit,
    run::{self, TYPED, obey},
    start,
    validate::lines,
};
use crate::{
    config,
    model::{Endpoint, NamespaceFilter, Options, Phase, Plan, Tls, check::CheckState, filter::Pattern},
    pem, plain,
    session::Client,
    uri,
};
use anyhow::{Context, bail};
use std::io::Write;

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Asks for a plan, validates it, starts it and follows it.
pub async fn play(mut client: Client) -> anyhow::Result<u8> {
    let mut asker = Asker::default();
    loop {
        let plan = plan(&mut asker).await?;
        let clears = plan.options.clear_destination;
        let destination = plan.destination.hosts().to_string();
        say("[4/7 validate] checking both clusters; nothing is written");
        let report = match start::validate(&mut client, plan).await? {
            Ok(report) => report,
            Err(why) => bail!("{why}; nothing has been written to either cluster"),
        };
        for line in lines(&report).lines() {
            say(&format!("[4/7 validate] {line}"));
        }
        if !report.passed() {
            let again = ask(&mut asker, "[4/7 validate] Enter asks everything again, q leaves:").await?;
            if again.eq_ignore_ascii_case("q") {
                return Ok(exit::VALIDATION_FAILED);
            }
            continue;
        }
        let warnings = report.count(CheckState::Warn) > 0;
        if warnings && !is_yes(&mut asker, "[4/7 validate] Accept the warnings?").await? {
            return Ok(exit::REFUSED);
        }
        if clears && !report.would_drop.is_empty() {
            say("[4/7 validate] This DROPS on the DESTINATION, and cannot be undone:");
            for dropped in &report.would_drop {
                say(&format!("[4/7 validate]   {} ({} collections)", dropped.name, dropped.collections));
            }
            let question = format!("[4/7 validate] Type {destination} to agree:");
            if ask(&mut asker, &question).await? != destination {
                say("[4/7 validate] that was not the name; nothing was started");
                return Ok(exit::REFUSED);
            }
        } else if !is_yes(&mut asker, "[4/7 validate] Start Migration?").await? {
            say("[4/7 validate] nothing was started; nothing was written");
            return Ok(exit::DONE);
        }
        run::start(&mut client, warnings, clears).await.context("the start was refused")?;
        let snapshot = start::registered(&mut client).await?;
        say(&format!("[5/7 migrate] {} runs without this terminal", snapshot.name));
        return follow_typed(client, asker).await;
    }
}

/// Prints what happens on a migration that exists; commands are read from standard input.
pub async fn follow(client: Client, watch: bool, json: bool) -> anyhow::Result<u8> {
    if watch || json {
        let newest = if json { 0 } else { *client.events().watch().borrow() };
        let ended = tokio::select! {
            ended = plain::follow_since(client.clone(), std::io::stdout(), json, newest) => ended.is_ok(),
            _ = super::interrupted() => false,
        };
        if !json && !ended {
            say("detached");
        }
        return Ok(code(&client));
    }
    follow_typed(client, Asker::default()).await
}

async fn follow_typed(client: Client, mut asker: Asker) -> anyhow::Result<u8> {
    say(&format!("[5/7 migrate] type: {TYPED}; detach leaves, the migration goes on"));
    let newest = client.events().watch().borrow().saturating_sub(10);
    let following = plain::follow_since(client.clone(), std::io::stdout(), false, newest);
    let typing = async {
        loop {
            match asker.next().await {
                Ok(Some(line)) if matches!(line.as_str(), "detach" | "quit" | "q" | "d") => return,
                Ok(Some(line)) => obey(&client, &line).await,
                // No more input: only what happens is left to show.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        _ = following => {}
        () = typing => say("detached"),
        _ = super::interrupted() => say("detached"),
    }
    let snapshot = client.snapshot();
    if !snapshot.phase.is_over() {
        say(&format!("mongoferry: {} is {}; attach again: mongoferry attach {0}", snapshot.name, snapshot.phase));
    } else if let Some(report) = &snapshot.report {
        say(&format!("report  {report}"));
    }
    Ok(code(&client))
}

fn code(client: &Client) -> u8 {
    match client.snapshot().phase {
        Phase::Failed => exit::ERROR,
        Phase::Expired => exit::EXPIRED,
        _ => exit::DONE,
    }
}

async fn ask(asker: &mut Asker, question: &str) -> anyhow::Result<String> {
    asker.line(question).await?.context("the input ended; nothing was started")
}

async fn is_yes(asker: &mut Asker, question: &str) -> anyhow::Result<bool> {
    Ok(matches!(ask(asker, &format!("{question} [y/N]")).await?.to_lowercase().as_str(), "y" | "yes"))
}

async fn plan(asker: &mut Asker) -> anyhow::Result<Plan> {
    let destination = endpoint(asker, "[1/7 destination] Destination").await?;
    say(
        "[2/7 prepare] Have at hand: host:port and user of both clusters, the CA file if one is private, an open firewall.",
    );
    let source = endpoint(asker, "[3/7 connect] Source").await?;
    let include = ask(asker, "[3/7 connect] Namespaces to migrate, comma separated; empty for all:").await?;
    let clear_destination = is_yes(asker, "[3/7 connect] Clear existing data on the destination?").await?;
    let include = list(&include).iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>();
    let filter = NamespaceFilter { include: include.map_err(anyhow::Error::msg)?, exclude: Vec::new() };
    let name = name_for(&source, &destination);
    let typed = ask(asker, &format!("[3/7 connect] Name of the migration [{name}]:")).await?;
    let name = if typed.is_empty() { name } else { typed };
    if !config::is_name(&name) {
        bail!("a name has letters, digits, - and _, at most 40 of them");
    }
    let notify = config::read_notify()?;
    Ok(Plan { name, source, destination, options: Options { clear_destination, filter, notify, ..Options::default() } })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(String::from).collect()
}

fn certificates(text: String) -> Result<String, String> {
    let text = pem::with_lf(&text);
    pem::inspect(&text).map_err(|error| error.to_string())?;
    Ok(text)
}

fn name_for(source: &Endpoint, destination: &Endpoint) -> String {
    let first = |endpoint: &Endpoint| -> String {
        let host = endpoint.hosts().split([',', ':', '.']).next().unwrap_or("cluster").to_string();
        host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').take(18).collect()
    };
    format!("{}-{}", first(source), first(destination))
}

async fn endpoint(asker: &mut Asker, what: &str) -> anyhow::Result<Endpoint> {
    let parts = loop {
        let typed = ask(asker, &format!("{what} host:port or connection string:")).await?;
        let text = if typed.contains("://") { typed } else { format!("mongodb://{typed}/") };
        match uri::take_credentials(&text) {
            Ok(parts) => break parts,
            Err(why) => say(&format!("{what}: {why}")),
        }
    };
    let user = match &parts.username {
        Some(user) => user.clone(),
        None => ask(asker, &format!("{what} user; empty without login:")).await?,
    };
    let username = Some(user).filter(|user| !user.is_empty());
    let password = match (&username, parts.password) {
        (Some(_), Some(password)) => Some(password),
        (Some(user), None) => asker.secret(&format!("{what} password of {user}:")).await?,
        (None, _) => None,
    };
    let tls = loop {
        let proposed = if parts.tls == Some(true) { "public" } else { "off" };
        let typed = ask(asker, &format!("{what} TLS: off, public, or the path of a CA file [{proposed}]:")).await?;
        let typed = if typed.is_empty() { proposed.to_string() } else { typed };
        match typed.as_str() {
            "off" => break Tls::Off,
            "public" => break Tls::PublicCa,
            path => match std::fs::read_to_string(path).map_err(|error| error.to_string()).and_then(certificates) {
                Ok(pem) => break Tls::PrivateCa { pem },
                Err(error) => say(&format!("{what}: {path}: {error}")),
            },
        }
    };
    Ok(Endpoint { username, password, auth_source: parts.auth_source, tls, ..Endpoint::plain(parts.uri) })
}
