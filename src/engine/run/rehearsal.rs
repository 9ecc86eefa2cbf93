//! A rehearsal of the cutover: how long the last change takes to arrive, measured while everything goes on. Changes
//! nothing.

use super::{Outcome, Run, fetched_until_now};
use crate::{
    engine::{retry::Halt, view::ApplyView},
    model::{
        Severity,
        snapshot::Rehearsal,
        units::{show_count, show_duration},
    },
};
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::watch;

impl Run {
    /// Measures the drain as a cutover at this moment would need it.
    pub fn rehearse(&self, by: String) {
        let (context, fetch, apply) = (self.context.clone(), self.fetch.subscribe(), self.apply.subscribe());
        let (verification, shown) = (self.verification.subscribe(), self.rehearsal.clone());
        let quiet_for = context.options.quiet_for;
        self.spawn(async move {
            let (at, began) = (Timestamp::now(), Instant::now());
            let drained = async {
                let newest = fetched_until_now(&context, fetch).await?.optime;
                applied(apply, newest).await
            };
            if let Err(halt) = drained.await {
                context.events.record(Severity::Warn, "rehearsal", format!("it did not end: {halt}"));
                return Outcome::Rehearsed;
            }
            let drain = began.elapsed();
            let recheck = verification.borrow().recheck;
            let text = format!(
                "the last change took {}; {} documents to compare again; writers would wait for {} of quiet, that, and the \
                 finalizing (asked by {by})",
                show_duration(drain),
                show_count(recheck),
                show_duration(quiet_for)
            );
            context.events.record(Severity::Info, "rehearsal", text);
            let drain_ms = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
            let least_ms = u64::try_from((quiet_for + drain).as_millis()).unwrap_or(u64::MAX);
            shown.send_replace(Some(Rehearsal { at, by, drain_ms, recheck, least_ms }));
            Outcome::Rehearsed
        });
    }
}

async fn applied(mut apply: watch::Receiver<ApplyView>, newest: crate::model::Optime) -> Result<(), Halt> {
    // A rehearsal of a migration that lags for long tells that much, and no more.
    let patience = Duration::from_secs(600);
    match tokio::time::timeout(patience, apply.wait_for(|view| view.applied_ts >= newest)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Halt::Cancelled),
    }
}
