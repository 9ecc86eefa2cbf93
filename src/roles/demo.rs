//! `mongoferry demo [--auto] [--docs N]`: two throwaway replica sets, the wizard pre-filled or the autopilot.

use super::{
    host::Hosted,
    run::{Settings, migrate},
};
use crate::{
    cli::{CutoverMode, DemoArgs, Look},
    demo,
    engine::ApplicationLink,
};
use std::io::Write;

/// Starts the demo's world, walks it, and ends everything it started.
pub async fn play(arguments: DemoArgs, look: Look) -> anyhow::Result<u8> {
    let say = |line: &str| drop(writeln!(std::io::stderr(), "{line}"));
    let world = tokio::select! {
        world = demo::prepare(demo::DemoOptions { documents: arguments.docs }, &say) => world?,
        why = super::interrupted() => anyhow::bail!("{why}; the demo was not started"),
    };
    let link = ApplicationLink { running: world.application.running(), writes: world.application.writes() };
    let hosted = Hosted::fresh(Some(link)).await?;
    let client = hosted.client();
    let outcome = if arguments.auto {
        let settings = Settings { cutover: CutoverMode::Auto, json: false, accept_warnings: true };
        let code = migrate(client.clone(), world.plan.clone(), settings, true).await;
        print_report(client.snapshot().report.as_deref());
        code
    } else {
        super::wizard::open_demo(client, look, world.plan.clone()).await
    };
    hosted.end().await;
    world.end().await;
    outcome
}

fn print_report(path: Option<&str>) {
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    let _ = writeln!(std::io::stdout(), "\n{}", text.as_deref().unwrap_or("no report was written"));
}
