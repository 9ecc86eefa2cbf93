//! What a finished migration leaves open on both clusters, with the command or the firewall line that closes it.

use super::{
    problem::Side,
    snapshot::{ClusterView, Snapshot},
};
use std::net::IpAddr;

/// One thing that is left for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What, in one sentence.
    pub what: String,
    /// What to run or to remove, exactly; may have several lines.
    pub exact: Option<String>,
}

impl Left {
    /// Something without a command.
    pub fn only(what: impl Into<String>) -> Self {
        Self { what: what.into(), exact: None }
    }

    /// Something that a command or a line closes.
    pub fn with(what: impl Into<String>, exact: impl Into<String>) -> Self {
        Self { what: what.into(), exact: Some(exact.into()) }
    }

    /// Both in one line.
    pub fn line(&self) -> String {
        match &self.exact {
            Some(exact) => format!("{}: {}", self.what, exact.lines().collect::<Vec<_>>().join("; ")),
            None => self.what.clone(),
        }
    }
}

/// Users and firewall openings that only the migration needed, the source's first.
pub fn to_close(snapshot: &Snapshot) -> Vec<Left> {
    let mut left = Vec::new();
    for (side, cluster) in [(Side::Source, &snapshot.source), (Side::Destination, &snapshot.destination)] {
        if let Some(command) = &cluster.drop_user {
            left.push(Left::with(
                format!("drop the user on {}, if nothing else uses it", name(side, cluster)),
                command,
            ));
        }
    }
    for (side, cluster) in [(Side::Source, &snapshot.source), (Side::Destination, &snapshot.destination)] {
        let seen = snapshot.validation.iter().flat_map(|report| report.seen_by(side));
        let seen: Vec<&str> = seen.filter(|address| !is_loopback(address)).collect();
        if !seen.is_empty() {
            let what = format!("close the firewall of {} for this host", name(side, cluster));
            left.push(Left::with(what, lines(&seen, &cluster.hosts)));
        }
    }
    left
}

/// `10.8.3.14 -> db-01.example.net:27017`, one line each.
fn lines(seen: &[&str], hosts: &[String]) -> String {
    let lines: Vec<String> =
        seen.iter().flat_map(|from| hosts.iter().map(move |host| format!("{from} -> {host}"))).collect();
    if lines.is_empty() { seen.join("\n") } else { lines.join("\n") }
}

/// No firewall stands between a host and itself.
fn is_loopback(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn name(side: Side, cluster: &ClusterView) -> String {
    let named = match side {
        Side::Source => cluster.set.clone().filter(|set| !set.is_empty()).unwrap_or_else(|| cluster.label.clone()),
        _ => cluster.label.clone(),
    };
    if named.is_empty() { format!("the {side}") } else { format!("the {side} {named}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::check::{SeenAs, ValidationReport};
    use jiff::Timestamp;

    #[test]
    fn users_and_firewalls_are_named_exactly() {
        let mut snapshot = Snapshot::idle(Timestamp::UNIX_EPOCH);
        let drop = "db.getSiblingDB(\"admin\").dropUser(\"ferry_src\")";
        snapshot.source = ClusterView {
            set: Some("rs0".into()),
            hosts: vec!["db-01:27017".into(), "db-02:27017".into()],
            drop_user: Some(drop.into()),
            ..ClusterView::default()
        };
        snapshot.destination = ClusterView { label: "prod-new".into(), ..ClusterView::default() };
        let mut report = ValidationReport::waiting();
        let seen = |side, address: &str| SeenAs { side, address: address.into() };
        report.seen_as = vec![seen(Side::Source, "10.8.3.14"), seen(Side::Destination, "127.0.0.1")];
        snapshot.validation = Some(report);
        let left = to_close(&snapshot);
        let closing = "10.8.3.14 -> db-01:27017\n10.8.3.14 -> db-02:27017";
        assert_eq!(
            left,
            [
                Left::with("drop the user on the source rs0, if nothing else uses it", drop),
                Left::with("close the firewall of the source rs0 for this host", closing),
            ]
        );
        assert!(left[1].line().ends_with("db-01:27017; 10.8.3.14 -> db-02:27017"), "{}", left[1].line());
    }
}
