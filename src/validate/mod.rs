//! The checks, one file each, in fixed order, each with evidence and an exact fix.
//!
//! Reads only, but for one empty temporary database on the destination that is dropped at once (`features`). Both
//! sides are checked at the same time; what depends on a failed check is skipped with the reason. Running again repeats
//! only what failed and what builds on it (`dependencies`).

mod board;
mod clashes;
mod clocks;
mod data;
mod dependencies;
mod empty;
mod features;
mod free_space;
mod identity;
mod oplog_window;
mod permissions;
mod reach;
mod summary;
pub mod untouched;
mod version;
mod way_back;

use crate::{
    model::{
        CheckId, Endpoint, Plan, Problem, Side, ValidationReport,
        check::DroppedDatabase,
        snapshot::{ClusterView, DestinationTest},
    },
    mongo::{Cluster, SeenCatalog, catalog::user_databases, connect::connect, errors::command_problem},
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
    learned: Learned,
}

impl Validated {
    /// Takes what was seen on the source.
    pub fn take_seen(&mut self) -> Option<SeenCatalog> {
        self.learned.source.as_mut()?.seen.take()
    }
}

/// What the checks learned beside their findings, for those that run again.
#[derive(Debug, Default)]
struct Learned {
    source: Option<Source>,
    destination: Option<Destination>,
    dialect: Option<Dialect>,
}

/// Runs every check on `plan` and calls `publish` after every change.
pub async fn run(
    plan: &Plan,
    publish: impl Fn(&ValidationReport) + Send + Sync,
    cancel: &CancellationToken,
) -> Validated {
    let board = Board::new(ValidationReport::waiting(), CheckId::ALL.into(), publish);
    carry_out(plan, board, Learned::default(), cancel).await
}

/// Runs again what did not end well in `previous`, a validation of the same plan, and what builds on it. All others keep
/// their results.
pub async fn run_again(
    plan: &Plan,
    previous: Validated,
    publish: impl Fn(&ValidationReport) + Send + Sync,
    cancel: &CancellationToken,
) -> Validated {
    let due = dependencies::due(&previous.report);
    let board = Board::new(previous.report, due, publish);
    carry_out(plan, board, previous.learned, cancel).await
}

async fn carry_out<P: Fn(&ValidationReport)>(
    plan: &Plan,
    board: Board<P>,
    known: Learned,
    cancel: &CancellationToken,
) -> Validated {
    let (source, destination) =
        tokio::join!(check_source(&board, plan, known.source), reach_destination(&board, plan, known.destination));
    let (mut destination, mut dialect) = (destination, known.dialect);
    if let Some(destination) = &mut destination
        && !cancel.is_cancelled()
    {
        check_destination(&board, plan, source.as_ref(), destination, &mut dialect, cancel).await;
    }
    let reason = if cancel.is_cancelled() {
        "cancelled"
    } else if destination.is_none() {
        "needs a connection to the destination first"
    } else {
        "needs a connection to the source first"
    };
    if !board.has_failures()
        && let (Some(source), Some(destination)) = (&source, &destination)
        && let Some(SeenCatalog { catalog, .. }) = &source.seen
    {
        let clusters = (&source.reached.cluster, &destination.reached.cluster);
        board.edit(|report| report.summary = summary::lines(plan, clusters, catalog, &report.would_drop));
    }
    let report = board.finish(reason);
    let cluster = |reached: &Reached| reached.cluster.clone();
    let clusters = source.as_ref().map(|source| cluster(&source.reached));
    let clusters = clusters.zip(destination.as_ref().map(|destination| cluster(&destination.reached)));
    Validated { report, clusters, dialect, learned: Learned { source, destination, dialect } }
}

/// A connected source and what was learned about it.
#[derive(Debug)]
struct Source {
    reached: Reached,
    versions: version::Versions,
    // Absent when the permissions do not allow a look.
    seen: Option<SeenCatalog>,
    bytes: Option<u64>,
    left_behind: Vec<String>,
}

/// A connected destination and what was learned about it.
#[derive(Debug)]
struct Destination {
    reached: Reached,
    found: Vec<DroppedDatabase>,
}

async fn check_source<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    plan: &Plan,
    known: Option<Source>,
) -> Option<Source> {
    const AFTER: [CheckId; 4] =
        [CheckId::SourcePermissions, CheckId::SourceVersion, CheckId::SourceOplogWindow, CheckId::SourceData];
    let mut source = match known {
        Some(known) if !reach::is_due(board, Side::Source) => known,
        _ => {
            let Some(reached) = reach::check(board, Side::Source, &plan.source).await else {
                board.skip(&AFTER, "needs a connection to the source first");
                return None;
            };
            let versions = version::Versions::of(&reached.cluster);
            Source { reached, versions, seen: None, bytes: None, left_behind: Vec::new() }
        }
    };
    let cluster = &source.reached.cluster;
    let mut allowed = true;
    if board.is_due(CheckId::SourcePermissions) {
        board.begin(CheckId::SourcePermissions);
        let permissions =
            permissions::check_source(cluster, &plan.options.filter, plan.options.block_source_writes).await;
        allowed = board.settle(CheckId::SourcePermissions, permissions);
    }
    if board.is_due(CheckId::SourceVersion) {
        board.begin(CheckId::SourceVersion);
        source.versions = version::read(cluster).await;
        board.settle(CheckId::SourceVersion, version::judge_source(&source.versions));
    }
    if !allowed {
        let later = [CheckId::SourceOplogWindow, CheckId::SourceData];
        board.skip(&later, "needs permissions on the source first");
        source.seen = None;
        return Some(source);
    }
    let window_is_due = board.is_due(CheckId::SourceOplogWindow);
    if window_is_due {
        board.begin(CheckId::SourceOplogWindow);
    }
    if board.is_due(CheckId::SourceData) {
        board.begin(CheckId::SourceData);
        match data::check(cluster, &plan.options.filter).await {
            Ok(data) => {
                source.left_behind = data.left_behind;
                board.settle(CheckId::SourceData, data.finding);
                (source.seen, source.bytes) = (Some(data.seen), Some(data.bytes));
            }
            Err(finding) => {
                source.left_behind.clear();
                board.settle(CheckId::SourceData, finding);
                (source.seen, source.bytes) = (None, None);
            }
        }
        board.edit(|report| report.left_behind.clone_from(&source.left_behind));
    }
    if window_is_due {
        let finding = match &plan.options.way_back {
            Some(way_back) => way_back::check_source(cluster, way_back).await,
            None => oplog_window::check(cluster, source.bytes).await,
        };
        board.settle(CheckId::SourceOplogWindow, finding);
    }
    Some(source)
}

async fn reach_destination<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    plan: &Plan,
    known: Option<Destination>,
) -> Option<Destination> {
    match known {
        Some(known) if !reach::is_due(board, Side::Destination) => Some(known),
        _ => {
            let reached = reach::check(board, Side::Destination, &plan.destination).await?;
            Some(Destination { reached, found: Vec::new() })
        }
    }
}

async fn check_destination<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    plan: &Plan,
    source: Option<&Source>,
    destination: &mut Destination,
    dialect: &mut Option<Dialect>,
    cancel: &CancellationToken,
) {
    let options = &plan.options;
    let cluster = destination.reached.cluster.clone();
    let mut allowed = true;
    if board.is_due(CheckId::DestinationPermissions) {
        board.begin(CheckId::DestinationPermissions);
        let names = source
            .and_then(|source| source.seen.as_ref())
            .map(|seen| seen.catalog.databases.iter().map(|database| database.db.clone()).collect::<Vec<_>>());
        let permissions = permissions::check_destination(&cluster, names.as_deref(), options).await;
        allowed = board.settle(CheckId::DestinationPermissions, permissions);
    }
    let Some(source) = source else {
        let needing = [
            CheckId::DestinationVersion,
            CheckId::DestinationIdentity,
            CheckId::DestinationClocks,
            CheckId::DestinationFreeSpace,
        ];
        board.skip(&needing, "needs a connection to the source first");
        check_empty(board, plan, destination).await;
        board.skip(&[CheckId::DestinationFeatures], "needs a connection to the source first");
        return;
    };
    if board.is_due(CheckId::DestinationVersion) {
        board.begin(CheckId::DestinationVersion);
        let versions = version::read(&cluster).await;
        let judged = || version::judge_destination(&source.versions, &versions, options.way_back.is_some());
        let finding = way_back::unkeepable(source.versions.server, versions.server, options).unwrap_or_else(judged);
        board.settle(CheckId::DestinationVersion, finding);
    }
    if board.is_due(CheckId::DestinationIdentity) {
        board.begin(CheckId::DestinationIdentity);
        let (a, b) = ((&source.reached, &plan.source), (&destination.reached, &plan.destination));
        if !board.settle(CheckId::DestinationIdentity, identity::check(a, b).await) {
            let later = [
                CheckId::DestinationClocks,
                CheckId::DestinationFreeSpace,
                CheckId::DestinationEmpty,
                CheckId::DestinationFeatures,
            ];
            board.skip(&later, "needs a destination that is not the source");
            return;
        }
    }
    if board.is_due(CheckId::DestinationClocks) {
        board.begin(CheckId::DestinationClocks);
        board.settle(CheckId::DestinationClocks, clocks::check(&source.reached.cluster, &cluster).await);
    }
    check_empty(board, plan, destination).await;
    let Some(SeenCatalog { catalog, .. }) = &source.seen else {
        let later = [CheckId::DestinationFreeSpace, CheckId::DestinationFeatures];
        board.skip(&later, "needs the source's data first");
        return;
    };
    if board.is_due(CheckId::DestinationFreeSpace) {
        board.begin(CheckId::DestinationFreeSpace);
        let clearing = options.clear_destination.then_some(destination.found.as_slice());
        let space = match options.way_back {
            Some(_) => Finding::ok("nothing is copied on the way back"),
            None => free_space::check(&source.reached.cluster, (catalog, &options.filter), &cluster, clearing).await,
        };
        board.settle(CheckId::DestinationFreeSpace, space);
    }
    if !board.is_due(CheckId::DestinationFeatures) {
        return;
    }
    *dialect = None;
    if !allowed {
        board.skip(&[CheckId::DestinationFeatures], "needs permissions on the destination first");
        return;
    }
    if cancel.is_cancelled() {
        return;
    }
    board.begin(CheckId::DestinationFeatures);
    let features = features::check(&cluster, catalog, cancel).await;
    if cancel.is_cancelled() {
        return;
    }
    board.edit(|report| report.left_behind = [source.left_behind.clone(), features.left_behind].concat());
    board.settle(CheckId::DestinationFeatures, features.finding);
    *dialect = Some(features.dialect);
}

async fn check_empty<P: Fn(&ValidationReport)>(board: &Board<P>, plan: &Plan, destination: &mut Destination) {
    if !board.is_due(CheckId::DestinationEmpty) {
        return;
    }
    board.begin(CheckId::DestinationEmpty);
    let (cluster, filter) = (&destination.reached.cluster, &plan.options.filter);
    if let Some(way_back) = &plan.options.way_back {
        board.settle(CheckId::DestinationEmpty, way_back::check_destination(cluster, way_back, filter).await);
        return;
    }
    let (selected, writes) = tokio::join!(empty::selected(cluster, filter), empty::recent_writes(cluster));
    match selected {
        Ok(found) => {
            board.edit(|report| report.would_drop.clone_from(&found));
            let finding = empty::judge(&found, &writes, plan.options.clear_destination, filter.is_everything());
            board.settle(CheckId::DestinationEmpty, finding);
            destination.found = found;
        }
        Err(error) => {
            let fix = "Grant readWriteAnyDatabase to the destination user, then run the checks again.";
            let finding = Finding::fail("the destination's collections cannot be listed", error.to_string(), fix);
            board.settle(CheckId::DestinationEmpty, finding);
            destination.found = Vec::new();
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
                drop_user: None,
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
