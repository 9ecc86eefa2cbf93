//! Documents for the one client that asks: beside the loop, which waits for no cluster.

use super::Runner;
use crate::{
    engine::verify::show::show,
    model::{Answer, Refusal},
};
use tokio::sync::oneshot;

impl Runner {
    pub(super) fn show_document(&self, namespace: String, id: String, reply: oneshot::Sender<Result<Answer, Refusal>>) {
        let Some((source, destination)) = self.run.as_ref().map(super::Run::clusters) else {
            let why = "documents are read while a migration is under way and both clusters are reached";
            let _ = reply.send(Err(Refusal::NotNow(why.into())));
            return;
        };
        tokio::spawn(async move {
            let shown = show((&source, &destination), &namespace, &id).await;
            // The client may have gone without waiting for the answer.
            let _ = reply.send(match shown {
                Ok(shown) => Ok(Answer::Document(Box::new(shown))),
                Err(problem) => Err(Refusal::Problem(Box::new(problem))),
            });
        });
    }
}
