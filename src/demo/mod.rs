//! The demo: finds or fetches mongod, starts two throwaway replica sets, loads a shop, keeps writing to the source as
//! "the application". The tests start their servers through the same module.

pub mod application;
pub mod ports;
pub mod releases;
pub mod replica_set;
pub mod shop;

pub use application::Application;
pub use releases::Release;
pub use replica_set::{ReplicaSet, SetOptions};

use crate::model::{Endpoint, Options, Plan};
use anyhow::Context;
use std::time::Duration;

/// What the demo is asked for.
#[derive(Debug, Clone, Copy)]
pub struct DemoOptions {
    /// About how many documents to load.
    pub documents: u64,
}

/// Two running sets, a loaded shop under writes, and a plan that is filled in. Everything ends when it is dropped.
#[derive(Debug)]
pub struct World {
    /// Writes to the source.
    pub application: Application,
    /// From the source to the destination, with short durations.
    pub plan: Plan,
    source: ReplicaSet,
    destination: ReplicaSet,
}

/// Prepares the demo's world; `say` gets progress lines.
pub async fn prepare(options: DemoOptions, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<World> {
    let mongod = releases::mongod(None, &|line| say(line))?;
    say("starting two throwaway replica sets on 127.0.0.1 ...");
    let (old, new) = (SetOptions::single("shop"), SetOptions::single("shop-new"));
    let (source, destination) = tokio::try_join!(ReplicaSet::start(&mongod, &old), ReplicaSet::start(&mongod, &new))?;
    say(&format!("source {}  destination {}", source.uri(), destination.uri()));
    let client = source.client().await?;
    shop::load(&client, options.documents, say).await?;
    let application =
        Application::start(&source.uri(), options.documents / 2).await.context("starting the demo's application")?;
    say("\"the application\" is writing to the source");
    let plan = Plan {
        name: "demo".into(),
        source: Endpoint::plain(source.uri()),
        destination: Endpoint::plain(destination.uri()),
        // Shorter than in earnest, so that the demo takes a minute: the screens show these numbers.
        options: Options { ready_for: Duration::from_secs(3), quiet_for: Duration::from_secs(3), ..Options::default() },
    };
    Ok(World { application, plan, source, destination })
}

impl World {
    /// Ends the application and both sets; everything they wrote is removed.
    pub async fn end(self) {
        let World { application, source, destination, plan: _ } = self;
        drop(application);
        // Ending a server waits for its process.
        let _ = tokio::task::spawn_blocking(move || drop((source, destination))).await;
    }
}
