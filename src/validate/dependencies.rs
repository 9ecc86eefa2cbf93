//! Which check builds on which: what has to run again after a failure, and what may keep its result.

use crate::model::{CheckId, CheckState, ValidationReport};
use std::collections::BTreeSet;

/// What has to be well, or known, before the check.
fn needs(id: CheckId) -> &'static [CheckId] {
    use CheckId::*;
    match id {
        SourceNetwork | DestinationNetwork => &[],
        SourceTls => &[SourceNetwork],
        SourceSignIn => &[SourceTls],
        SourceReplicaSet => &[SourceSignIn],
        SourcePermissions => &[SourceReplicaSet],
        // The feature compatibility version is readable with the right role only.
        SourceVersion => &[SourcePermissions],
        SourceData => &[SourcePermissions],
        SourceOplogWindow => &[SourceData],
        DestinationTls => &[DestinationNetwork],
        DestinationSignIn => &[DestinationTls],
        DestinationReplicaSet => &[DestinationSignIn],
        DestinationPermissions => &[DestinationReplicaSet, SourceData],
        DestinationVersion => &[DestinationPermissions, SourceVersion],
        DestinationIdentity | DestinationClocks => &[DestinationReplicaSet, SourceReplicaSet],
        DestinationEmpty => &[DestinationIdentity, DestinationPermissions],
        DestinationFreeSpace => &[DestinationIdentity, SourceData, DestinationEmpty],
        DestinationFeatures => &[DestinationPermissions, DestinationIdentity, DestinationVersion, SourceData],
    }
}

/// The checks of `report` that did not end well, and everything that builds on them.
pub(super) fn due(report: &ValidationReport) -> BTreeSet<CheckId> {
    let well = |state| matches!(state, CheckState::Ok | CheckState::Warn);
    let mut due: BTreeSet<CheckId> =
        report.checks.iter().filter(|check| !well(check.state)).map(|check| check.id).collect();
    loop {
        let more: Vec<CheckId> = CheckId::ALL
            .into_iter()
            .filter(|id| !due.contains(id) && needs(*id).iter().any(|needed| due.contains(needed)))
            .collect();
        if more.is_empty() {
            return due;
        }
        due.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(failed: &[CheckId]) -> ValidationReport {
        let mut report = ValidationReport::waiting();
        for check in &mut report.checks {
            check.state = if failed.contains(&check.id) { CheckState::Fail } else { CheckState::Ok };
        }
        report
    }

    #[test]
    fn only_what_failed_and_what_builds_on_it_runs_again() {
        use CheckId::*;
        assert_eq!(due(&report(&[])), BTreeSet::new());
        assert_eq!(due(&report(&[DestinationFeatures])), BTreeSet::from([DestinationFeatures]));
        let empty = BTreeSet::from([DestinationFreeSpace, DestinationEmpty]);
        assert_eq!(due(&report(&[DestinationEmpty])), empty);
        let all_of_source = due(&report(&[SourceNetwork]));
        assert!(CheckId::ALL[..8].iter().all(|id| all_of_source.contains(id)));
        assert!(!all_of_source.contains(&DestinationReplicaSet) && all_of_source.contains(&DestinationFeatures));
        assert_eq!(due(&ValidationReport::waiting()).len(), CheckId::ALL.len());
    }

    #[test]
    fn nothing_needs_a_check_of_the_other_side_that_needs_it() {
        for id in CheckId::ALL {
            let mut seen = BTreeSet::new();
            let mut open = needs(id).to_vec();
            while let Some(next) = open.pop() {
                assert_ne!(next, id, "a circle");
                if seen.insert(next) {
                    open.extend(needs(next));
                }
            }
        }
    }
}
