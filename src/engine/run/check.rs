//! Verification and finalizing at the cutover: one of them works at a time, and neither beside the base pass.

use super::{Outcome, Run, fetched_until_now};
use crate::{
    engine::{
        capped, connect_info,
        context::Context,
        finalize,
        foreign::Arrivals,
        index, metadata, opened, pre_images,
        registry::Registry,
        retry::{Halt, retry},
        verify::{Since, Target, Verifier},
        view::StepsView,
    },
    model::{
        Optime, Repaired, Side,
        snapshot::{FailedIndex, StepLine, StepState},
        units::{index_label, show_namespace},
    },
    mongo::{Cluster, Namespace},
};
use std::collections::HashMap;
use tokio::sync::watch;

/// The line of finalizing that compares.
const METADATA: &str = "metadata";

/// What waits for the verifier to come home.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// A check.
    Check(Since),
    /// Finalizing.
    Finalize(FinalForm),
}

/// How finalizing goes on.
#[derive(Debug, Clone)]
pub struct FinalForm {
    /// What a source trimmed without a word was removed already.
    pub is_reconciled: bool,
    /// A difference in metadata keeps the destination closed until somebody decides.
    pub holds: bool,
    /// The data was checked: what somebody wrote since is looked at.
    pub is_checked: bool,
    /// From when on writes are not the copy's.
    pub since: Since,
    /// Indexes that may be missing, `namespace / index`.
    pub do_without: Vec<String>,
}

/// How finalizing ended.
#[derive(Debug)]
pub struct Finalized {
    /// What could not be restored.
    pub failed: Vec<FailedIndex>,
    /// What differs in options, indexes and views.
    pub differences: Vec<String>,
    /// The same for indexes that are known not to be there.
    pub accepted: Vec<String>,
    /// Documents that differ because somebody wrote them on the destination meanwhile.
    pub mismatches: u64,
    /// The destination's newest position.
    pub destination: Optime,
}

impl Run {
    /// Compares beside following.
    pub fn begin_verification(&mut self) {
        let Some(mut verifier) = self.verifier.take() else { return };
        let rows = self.sync.borrow().rows.clone();
        let counts: HashMap<_, _> = rows.iter().map(|row| (row.namespace.clone(), row.documents)).collect();
        let documents = |namespace: &Namespace| counts.get(&namespace.to_string()).copied().unwrap_or(0);
        let targets = Target::all(&self.registry, documents);
        self.spawn(async move {
            let ended = match verifier.base_pass(targets.clone()).await {
                // Documents that change from here on are compared again as they come to rest.
                Ok(()) => verifier.keep_fresh(targets).await,
                Err(halt) => Err(halt),
            };
            Outcome::BasePassEnded(verifier, ended)
        });
    }

    /// Compares what changed since its last comparison, once the base pass is out of the way.
    pub fn check_data(&mut self, since: Since) {
        let Some(registry) = self.follower.as_ref().map(|follower| follower.registry().clone()) else { return };
        let Some(mut verifier) = self.verifier.take() else {
            // It is comparing beside following; what it has not reached is compared now, with the source at rest.
            self.stop_comparing.cancel();
            self.wanted = Some(Wanted::Check(since));
            return;
        };
        let context = self.begin_check(&mut verifier, since);
        self.spawn(async move {
            // The application may have written to an opened destination.
            let reconciled = match since.destination {
                None => capped::reconcile(&context, &registry).await,
                Some(_) => Ok(()),
            };
            let checked = match reconciled {
                Ok(()) => verifier.final_pass(&registry).await.map(|verified| (verified, Repaired::default())),
                Err(halt) => Err(halt),
            };
            Outcome::Checked(verifier, checked)
        });
    }

    /// A check of its own can be ended without ending anything else.
    fn begin_check(&mut self, verifier: &mut Verifier, since: Since) -> Context {
        self.checking = self.context.cancel.child_token();
        verifier.begin_check(since, self.checking.clone());
        Context { cancel: self.checking.clone(), ..self.context.clone() }
    }

    /// Takes the verifier back; starts what waited for it.
    pub fn keep_verifier(&mut self, verifier: Box<Verifier>) {
        self.verifier = Some(verifier);
        match self.wanted.take() {
            Some(Wanted::Check(since)) => self.check_data(since),
            Some(Wanted::Finalize(form)) => self.finalize(form),
            None => {}
        }
    }

    /// Nobody waits for the check any more.
    pub fn end_check(&mut self) {
        self.checking.cancel();
        self.wanted = None;
    }

    /// Copies the differing documents again and compares them once more.
    pub fn repair_mismatches(&mut self, since: Since) {
        let Some(registry) = self.follower.as_ref().map(|follower| follower.registry().clone()) else { return };
        let Some(mut verifier) = self.verifier.take() else { return };
        self.begin_check(&mut verifier, since);
        self.spawn(async move {
            let checked = verifier.repair(&registry).await;
            Outcome::Checked(verifier, checked)
        });
    }

    /// Both clusters, by logins that still work: the temporary user is gone once the destination is the application's.
    pub fn clusters(&self) -> (Cluster, Cluster) {
        let destination = match &self.user {
            Some(user) if self.alone.is_cancelled() => user.operator(),
            _ => &self.context.destination,
        };
        (self.context.source.clone(), destination.clone())
    }

    /// From now on it is the application that writes to the destination; the connect page shows who is there.
    pub fn leave_to_application(&self) {
        if self.alone.is_cancelled() {
            return;
        }
        self.alone.cancel();
        let mut context = self.context.clone();
        if let Some(user) = &self.user {
            // The temporary user is gone soon; the connect page stays.
            context.destination = user.operator().clone();
        }
        let filter = context.options.filter.clone();
        let arrivals =
            |cluster: &Cluster, ours: &Cluster| Arrivals::new(cluster.clone(), ours.tally.clone(), filter.clone());
        let written = self.fetch.borrow().writers.clone();
        let clients = self.source_use.borrow().writers.clone();
        let watched = connect_info::Watched {
            namespaces: written
                .iter()
                .filter(|writer| !writer.namespace.ends_with(".$cmd"))
                .map(|writer| show_namespace(&writer.namespace))
                .collect(),
            applications: clients.values().filter_map(|client| Some(client.rsplit_once(" (")?.0.to_string())).collect(),
            destination: arrivals(&context.destination, &self.context.destination),
            source: arrivals(&context.source, &context.source),
        };
        tokio::spawn(connect_info::poll(context, self.plan.destination.clone(), watched, self.connect.clone()));
    }

    /// Gives indexes, TTL values and capped sizes their final form, compares what is no document, then looks at both clusters
    /// once more.
    pub fn finalize(&mut self, form: FinalForm) {
        let Some(mut verifier) = self.verifier.take() else {
            // A reader must not meet an index or a collection that is just replaced.
            self.stop_comparing.cancel();
            self.wanted = Some(Wanted::Finalize(form));
            return;
        };
        let Some(follower) = self.follower.take() else {
            self.verifier = Some(verifier);
            return;
        };
        verifier.begin_last_look(form.since, self.context.cancel.clone());
        let (context, view, fetch) = (self.context.clone(), self.finalizing.clone(), self.fetch.subscribe());
        let (last_look, sync, apply) = (self.last_look.clone(), self.sync.clone(), self.apply.clone());
        let reader = self.user.as_ref().map_or(&self.context.destination, |user| user.operator()).clone();
        self.spawn(async move {
            let finalized = async {
                if !form.is_reconciled {
                    capped::reconcile(&context, follower.registry()).await?;
                }
                let failed = finalize::finalize(&context, follower.registry(), &view, &form.do_without).await?;
                pre_images::reconcile(&context, follower.registry()).await?;
                let missing: Vec<_> = failed.iter().map(FailedIndex::label).chain(form.do_without.clone()).collect();
                index::settle(follower.registry(), &sync, |label| missing.contains(label));
                let mut failed_indexes = follower.registry().failed_indexes();
                failed_indexes.retain(|index| missing.contains(&index.label()));
                apply.send_modify(|view| view.failed_indexes = Some(failed_indexes));
                let compared = compare_metadata(&context, follower.registry(), &view, &form);
                let cutover = form.since.source.unwrap_or_default();
                let (compared, ()) = tokio::join!(compared, opened::note(&context, &reader, cutover));
                let (differences, accepted) = compared?;
                let mismatches = match form.is_checked {
                    true => verifier.last_look(follower.registry()).await?.mismatches,
                    false => 0,
                };
                let looks = (fetched_until_now(&context, fetch), last_look.take(&context.events));
                let (fetched, ()) = tokio::join!(looks.0, looks.1);
                fetched?;
                let what = "reading the newest position";
                let newest = || context.destination.last_write();
                let newest = retry(Side::Destination, what, &context.events, &context.cancel, newest).await?;
                Ok(Finalized { failed, differences, accepted, mismatches, destination: newest.optime })
            };
            let finalized = finalized.await;
            Outcome::Finalized(follower, verifier, finalized)
        });
    }
}

/// What differs, and what of it is an index that somebody accepted to be missing.
async fn compare_metadata(
    context: &Context,
    registry: &Registry,
    view: &watch::Sender<StepsView>,
    form: &FinalForm,
) -> Result<(Vec<String>, Vec<String>), Halt> {
    let show = |state, detail: String| {
        let line = StepLine { label: METADATA.into(), state, detail };
        view.send_modify(|view| match view.lines.iter_mut().find(|line| line.label == METADATA) {
            Some(shown) => *shown = line,
            None => view.lines.push(line),
        });
    };
    show(StepState::Running, "options, indexes and views are being compared".into());
    let differences = match metadata::compare(context).await {
        Err(Halt::Problem(problem)) => vec![format!("options, indexes and views could not be compared: {problem}")],
        compared => compared?,
    };
    let may_be_missing: Vec<String> = registry
        .collections
        .values()
        .flat_map(|tracked| {
            let accepted = |name: &&String| form.do_without.contains(&index_label(&tracked.namespace, name));
            let accepted = tracked.indexes.keys().filter(accepted);
            accepted.map(|name| metadata::missing_index(&tracked.namespace, name))
        })
        .collect();
    let (accepted, differences): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|difference| may_be_missing.contains(difference));
    match (differences.first(), differences.len()) {
        (None, _) if accepted.is_empty() => show(StepState::Ok, "options, indexes and views are the source's".into()),
        (None, _) => show(StepState::Ok, "equal but for the indexes that were accepted to be missing".into()),
        (Some(_), count) if !form.holds => show(StepState::Ok, format!("{count} differ; the report names them")),
        (Some(first), 1) => show(StepState::Failed, first.clone()),
        (Some(first), count) => show(StepState::Failed, format!("{first}; and {} more", count - 1)),
    }
    Ok((differences, accepted))
}
