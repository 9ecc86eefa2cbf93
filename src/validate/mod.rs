//! The checks, one file each, in fixed order, each with evidence and an exact fix.
//!
//! Reads only, but for one empty temporary database on the destination that is dropped at once (`features`). Both
//! sides are checked at the same time; what depends on a failed check is skipped with the reason.

mod board;
mod data;
mod empty;
mod features;
mod free_space;
mod identity;
mod oplog_window;
mod permissions;
mod reach;
mod summary;
mod version;

use crate::{
    model::{
        CheckId, Endpoint, Plan, Problem, Side, ValidationReport,
        snapshot::{ClusterView, DestinationTest},
    },
    mongo::{
        Cluster,
        catalog::{Catalog, user_databases},
        connect::connect,
        errors::command_problem,
    },
    oplog::Dialect,
};
use board::{Board, Finding};
use jiff::Timestamp;
use reach::Reached;
use tokio_util::sync::CancellationToken;

/// What a validation ends with.
#[derive(Debug)]
pub struct Validated {
    /// Every check and its result.
    pub report: ValidationReport,
    /// Source and destination, when both could be connected.
    pub clusters: Option<(Cluster, Cluster)>,
    /// How updates are written on the destination, when the feature check ran.
    pub dialect: Option<Dialect>,
}

/// Runs every check on `plan` and calls `publish` after every change. Running it again is the same call: all checks run
/// anew, because most of them look at a moving cluster.
pub async fn run(
    plan: &Plan,
    publish: impl Fn(&ValidationReport) + Send + Sync,
    cancel: &CancellationToken,
) -> Validated {
    let board = Board::new(publish);
    let (source, destination) =
        tokio::join!(check_source(&board, plan), reach::check(&board, Side::Destination, &plan.destination),);
    let mut dialect = None;
    if let Some(destination) = &destination
        && !cancel.is_cancelled()
    {
        dialect = check_destination(&board, plan, source.as_ref(), destination, cancel).await;
    }
    let reason = if cancel.is_cancelled() {
        "cancelled"
    } else if destination.is_none() {
        "needs a connection to the destination first"
    } else {
        "needs a connection to the source first"
    };
    let report = board.finish(reason);
    let clusters = source.map(|source| source.reached.cluster).zip(destination.map(|reached| reached.cluster));
    Validated { report, clusters, dialect }
}

/// A connected source and what was learned about it.
struct Source {
    reached: Reached,
    versions: version::Versions,
    // Absent when the permissions do not allow a look.
    catalog: Option<Catalog>,
}

async fn check_source<P: Fn(&ValidationReport)>(board: &Board<P>, plan: &Plan) -> Option<Source> {
    const AFTER: [CheckId; 4] =
        [CheckId::SourcePermissions, CheckId::SourceVersion, CheckId::SourceOplogWindow, CheckId::SourceData];
    let Some(reached) = reach::check(board, Side::Source, &plan.source).await else {
        board.skip(&AFTER, "needs a connection to the source first");
        return None;
    };
    let cluster = &reached.cluster;
    board.begin(CheckId::SourcePermissions);
    let permissions = permissions::check_source(cluster, &plan.options.filter).await;
    let allowed = board.settle(CheckId::SourcePermissions, permissions);
    board.begin(CheckId::SourceVersion);
    let versions = version::read(cluster).await;
    board.settle(CheckId::SourceVersion, version::judge_source(&versions));
    if !allowed {
        let later = [CheckId::SourceOplogWindow, CheckId::SourceData];
        board.skip(&later, "needs permissions on the source first");
        return Some(Source { reached, versions, catalog: None });
    }
    board.begin(CheckId::SourceOplogWindow);
    board.begin(CheckId::SourceData);
    let data = data::check(cluster, &plan.options.filter, plan.source.username.as_deref()).await;
    let (catalog, bytes) = match data {
        Ok(data) => {
            board.edit(|report| report.left_behind.extend(data.left_behind));
            board.settle(CheckId::SourceData, data.finding);
            (Some(data.catalog), Some(data.bytes))
        }
        Err(finding) => {
            board.settle(CheckId::SourceData, finding);
            (None, None)
        }
    };
    board.settle(CheckId::SourceOplogWindow, oplog_window::check(cluster, bytes).await);
    Some(Source { reached, versions, catalog })
}

async fn check_destination<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    plan: &Plan,
    source: Option<&Source>,
    reached: &Reached,
    cancel: &CancellationToken,
) -> Option<Dialect> {
    let (destination, options) = (&reached.cluster, &plan.options);
    board.begin(CheckId::DestinationPermissions);
    let names = source
        .and_then(|source| source.catalog.as_ref())
        .map(|catalog| catalog.databases.iter().map(|database| database.db.clone()).collect::<Vec<_>>());
    let permissions = permissions::check_destination(destination, names.as_deref(), options).await;
    let allowed = board.settle(CheckId::DestinationPermissions, permissions);
    board.begin(CheckId::DestinationVersion);
    let versions = version::read(destination).await;
    let Some(source) = source else {
        let later = [CheckId::DestinationVersion, CheckId::DestinationIdentity, CheckId::DestinationFreeSpace];
        board.skip(&later, "needs a connection to the source first");
        check_empty(board, plan, destination).await;
        board.skip(&[CheckId::DestinationFeatures], "needs a connection to the source first");
        return None;
    };
    board.settle(CheckId::DestinationVersion, version::judge_destination(&source.versions, &versions));
    board.begin(CheckId::DestinationIdentity);
    let identity = identity::check((&source.reached, &plan.source), (reached, &plan.destination)).await;
    if !board.settle(CheckId::DestinationIdentity, identity) {
        let later = [CheckId::DestinationFreeSpace, CheckId::DestinationEmpty, CheckId::DestinationFeatures];
        board.skip(&later, "needs a destination that is not the source");
        return None;
    }
    let found = check_empty(board, plan, destination).await;
    let Some(catalog) = &source.catalog else {
        let later = [CheckId::DestinationFreeSpace, CheckId::DestinationFeatures];
        board.skip(&later, "needs the source's data first");
        return None;
    };
    board.begin(CheckId::DestinationFreeSpace);
    let clearing = options.clear_destination.then_some(found.as_slice());
    let space = free_space::check(&source.reached.cluster, (catalog, &options.filter), destination, clearing).await;
    board.settle(CheckId::DestinationFreeSpace, space);
    if !allowed {
        board.skip(&[CheckId::DestinationFeatures], "needs permissions on the destination first");
        return None;
    }
    if cancel.is_cancelled() {
        return None;
    }
    board.begin(CheckId::DestinationFeatures);
    let features = features::check(destination, catalog, cancel).await;
    if cancel.is_cancelled() {
        return None;
    }
    board.edit(|report| report.left_behind.extend(features.left_behind));
    board.settle(CheckId::DestinationFeatures, features.finding);
    if !board.has_failures() {
        let lines = summary::lines(plan, &source.reached.cluster, destination, catalog, &found);
        board.edit(|report| report.summary = lines);
    }
    Some(features.dialect)
}

async fn check_empty<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    plan: &Plan,
    destination: &Cluster,
) -> Vec<crate::model::check::DroppedDatabase> {
    board.begin(CheckId::DestinationEmpty);
    let filter = &plan.options.filter;
    match empty::selected(destination, filter).await {
        Ok(found) => {
            board.edit(|report| report.would_drop = found.clone());
            let finding = empty::judge(&found, plan.options.clear_destination, filter.is_everything());
            board.settle(CheckId::DestinationEmpty, finding);
            found
        }
        Err(error) => {
            let fix = "Grant readWriteAnyDatabase to the destination user, then run the checks again.";
            let finding = Finding::fail("the destination's collections cannot be listed", error.to_string(), fix);
            board.settle(CheckId::DestinationEmpty, finding);
            Vec::new()
        }
    }
}

/// Looks at a destination for the picker. Writes nothing.
pub async fn test_destination(endpoint: &Endpoint) -> DestinationTest {
    let mut test = DestinationTest {
        uri: endpoint.uri.clone(),
        running: false,
        cluster: None,
        databases: Vec::new(),
        problem: None,
        at: Timestamp::now(),
    };
    match connect(Side::Destination, endpoint).await {
        Ok(cluster) => {
            match user_databases(&cluster).await {
                Ok(databases) => test.databases = databases,
                Err(error) => {
                    let problem = command_problem(Side::Destination, "the databases cannot be listed", &error);
                    test.problem = Some(problem.having_written("Nothing has been written to either cluster."));
                }
            }
            test.cluster = Some(ClusterView {
                label: endpoint.hosts().to_string(),
                set: Some(cluster.set.clone()),
                version: Some(cluster.version.to_string()),
                hosts: cluster.hosts.clone(),
                primary: cluster.primary.clone(),
            });
        }
        Err(problem) => test.problem = Some(problem),
    }
    test.at = Timestamp::now();
    test
}

/// Connects again to the clusters of a migration that was started earlier; nothing is checked but that they answer.
pub async fn reconnect(plan: &Plan) -> Result<(Cluster, Cluster), Problem> {
    let source = connect(Side::Source, &plan.source).await?;
    let destination = connect(Side::Destination, &plan.destination).await?;
    Ok((source, destination))
}
