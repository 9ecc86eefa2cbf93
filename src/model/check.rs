//! Validation results: one check per line, fixed order, each with evidence and an exact fix.

use super::problem::Side;
use serde::{Deserialize, Serialize};

/// Which check. The order of the variants is the order on the screen and in `validate --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckId {
    /// Source: DNS and TCP of every given host.
    SourceNetwork,
    /// Source: TLS wanted, offered, trusted.
    SourceTls,
    /// Source: credentials.
    SourceSignIn,
    /// Source: replica set with a primary.
    SourceReplicaSet,
    /// Source: privileges by name.
    SourcePermissions,
    /// Source: version and FCV.
    SourceVersion,
    /// Source: oplog window against the predicted copy time.
    SourceOplogWindow,
    /// Source: sizes, and objects that cannot be carried.
    SourceData,
    /// Destination: DNS and TCP.
    DestinationNetwork,
    /// Destination: TLS.
    DestinationTls,
    /// Destination: credentials.
    DestinationSignIn,
    /// Destination: replica set with a primary.
    DestinationReplicaSet,
    /// Destination: privileges by name.
    DestinationPermissions,
    /// Destination: version, at least the source's.
    DestinationVersion,
    /// Destination: is not the source.
    DestinationIdentity,
    /// Destination: the clocks of both primaries against this host's.
    DestinationClocks,
    /// Destination: free space.
    DestinationFreeSpace,
    /// Destination: empty, or clearing agreed.
    DestinationEmpty,
    /// Destination: every source index tried on an empty temporary collection.
    DestinationFeatures,
}

impl CheckId {
    /// Every check in display order.
    pub const ALL: [CheckId; 19] = [
        CheckId::SourceNetwork,
        CheckId::SourceTls,
        CheckId::SourceSignIn,
        CheckId::SourceReplicaSet,
        CheckId::SourcePermissions,
        CheckId::SourceVersion,
        CheckId::SourceOplogWindow,
        CheckId::SourceData,
        CheckId::DestinationNetwork,
        CheckId::DestinationTls,
        CheckId::DestinationSignIn,
        CheckId::DestinationReplicaSet,
        CheckId::DestinationPermissions,
        CheckId::DestinationVersion,
        CheckId::DestinationIdentity,
        CheckId::DestinationClocks,
        CheckId::DestinationFreeSpace,
        CheckId::DestinationEmpty,
        CheckId::DestinationFeatures,
    ];

    /// The side that the check looks at.
    pub fn side(self) -> Side {
        if self < CheckId::DestinationNetwork { Side::Source } else { Side::Destination }
    }

    /// The label on the screen.
    pub fn label(self) -> &'static str {
        match self {
            CheckId::SourceNetwork | CheckId::DestinationNetwork => "network",
            CheckId::SourceTls | CheckId::DestinationTls => "TLS",
            CheckId::SourceSignIn | CheckId::DestinationSignIn => "sign in",
            CheckId::SourceReplicaSet | CheckId::DestinationReplicaSet => "replica set",
            CheckId::SourcePermissions | CheckId::DestinationPermissions => "permissions",
            CheckId::SourceVersion | CheckId::DestinationVersion => "version",
            CheckId::SourceOplogWindow => "oplog window",
            CheckId::SourceData => "data",
            CheckId::DestinationIdentity => "not the source",
            CheckId::DestinationClocks => "clocks",
            CheckId::DestinationFreeSpace => "free space",
            CheckId::DestinationEmpty => "empty",
            CheckId::DestinationFeatures => "feature check",
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Not begun.
    Waiting,
    /// Running now.
    Running,
    /// Fine.
    Ok,
    /// Can be accepted by the operator.
    Warn,
    /// Start Migration stays disabled.
    Fail,
    /// Could not run because an earlier one failed; `evidence` names it.
    Skip,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which one.
    pub id: CheckId,
    /// The side it looks at.
    pub side: Side,
    /// The label on the screen.
    pub label: String,
    /// How it ended.
    pub state: CheckState,
    /// One line: what was seen ("TCP in 11 ms; 3 of 3 members reachable").
    pub evidence: String,
    /// For WARN and FAIL: why it matters, one sentence. Empty otherwise.
    pub explanation: String,
    /// For WARN and FAIL: what to do, in words.
    pub fix: String,
    /// For WARN and FAIL: the command to copy, when there is one.
    pub fix_command: Option<String>,
}

impl Check {
    /// A check that has not run.
    pub fn waiting(id: CheckId) -> Self {
        Self {
            id,
            side: id.side(),
            label: id.label().into(),
            state: CheckState::Waiting,
            evidence: String::new(),
            explanation: String::new(),
            fix: String::new(),
            fix_command: None,
        }
    }
}

/// All checks of one validation, and what Start would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// In the order of [`CheckId::ALL`].
    pub checks: Vec<Check>,
    /// True when no check is waiting or running.
    pub finished: bool,
    /// Wall time so far in ms.
    pub took_ms: u64,
    /// What Start Migration will do, one line each; empty until finished without a failure.
    pub summary: Vec<String>,
    /// Objects that cannot be carried, `namespace: reason`, as found so far.
    pub left_behind: Vec<String>,
    /// What clearing would drop on the destination, when it is not empty: database, collections, bytes.
    pub would_drop: Vec<DroppedDatabase>,
    /// The addresses that the servers see this host under, for firewalls and access lists.
    #[serde(default)]
    pub seen_as: Vec<SeenAs>,
}

/// This host as one side's servers see it; not always one of its own addresses (NAT).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAs {
    /// Who sees it.
    pub side: Side,
    /// IP address without a port.
    pub address: String,
}

/// A database of the destination that clearing would drop (the selected collections only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedDatabase {
    /// Database name.
    pub name: String,
    /// Selected collections and views in it.
    pub collections: u64,
    /// Their size in bytes (uncompressed).
    pub bytes: u64,
}

impl ValidationReport {
    /// All checks waiting.
    pub fn waiting() -> Self {
        Self {
            checks: CheckId::ALL.map(Check::waiting).to_vec(),
            finished: false,
            took_ms: 0,
            summary: Vec::new(),
            left_behind: Vec::new(),
            would_drop: Vec::new(),
            seen_as: Vec::new(),
        }
    }

    /// The addresses that `side` sees this host under.
    pub fn seen_by(&self, side: Side) -> impl Iterator<Item = &str> {
        self.seen_as.iter().filter(move |seen| seen.side == side).map(|seen| seen.address.as_str())
    }

    /// The check with that id.
    pub fn check(&self, id: CheckId) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// How many checks are in `state`.
    pub fn count(&self, state: CheckState) -> usize {
        self.checks.iter().filter(|check| check.state == state).count()
    }

    /// Finished, and nothing failed.
    pub fn passed(&self) -> bool {
        self.finished && self.count(CheckState::Fail) == 0 && self.count(CheckState::Skip) == 0
    }
}
