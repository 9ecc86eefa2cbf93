//! The end of a way back that nobody used: the old cluster gets its own settings again.

use super::{Outcome, Run};
use crate::{
    engine::{cleanup, context::Context, finalize, record::Record, retry::Halt, view::StepsView},
    model::Severity,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

impl Run {
    /// Gives held settings of the destination back under `cancel`, and cleans up when it is `for_good`. Everything that
    /// followed was cancelled before.
    pub fn let_go(&mut self, cancel: CancellationToken, for_good: bool) {
        self.alone.cancel();
        self.context.cancel = cancel;
        let (context, view, spool) = (self.context.clone(), self.cleanup.clone(), self.spool_folder());
        let (user, finalizing) = (self.user.clone(), self.finalizing.clone());
        let lease = self.lease.take();
        self.spawn(async move {
            if let Some((renewing, keeper)) = lease {
                renewing.cancel();
                let _ = keeper.await;
            }
            if let Err(Halt::Problem(problem)) = give_back(&context, &finalizing, for_good).await {
                context.events.record(Severity::Error, "held", problem.to_string());
            }
            if for_good {
                cleanup::clean_up(&context, user.as_deref(), &spool, &view).await;
            }
            Outcome::CleanedUp
        });
    }
}

async fn give_back(context: &Context, view: &watch::Sender<StepsView>, for_good: bool) -> Result<(), Halt> {
    if context.journal("reading the journal", Record::held).await?.is_none() {
        return Ok(());
    }
    let registry = context.journal("reading the collections", Record::registry).await?;
    let registry = registry.unwrap_or_default();
    let failed = match for_good {
        true => finalize::finalize(context, &registry, view, &[]).await?,
        false => finalize::give_back(context, &registry, view).await?,
    };
    for failed in &failed {
        let text = format!(
            "{} / {} keeps the setting that was held for the way back: {}",
            failed.namespace, failed.index, failed.reason
        );
        context.events.record(Severity::Error, "held", text);
    }
    if failed.is_empty() {
        context.events.record(Severity::Info, "held", "TTL values and capped sizes are the old cluster's own again");
    }
    Ok(())
}
