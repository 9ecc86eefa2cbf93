//! network, TLS, sign in, replica set: the four checks of one side that end in a connected cluster.

use super::board::{Board, Finding};
use crate::{
    model::{CheckId, Endpoint, Side, Tls, ValidationReport},
    mongo::{
        Cluster,
        connect::{Joined, Reach, Route},
        probe::Greeting,
        topology::Hello,
    },
    pem,
};
use jiff::Timestamp;

/// A connected side.
pub(super) struct Reached {
    /// The set.
    pub cluster: Cluster,
    /// What the greeting host said about itself.
    pub hello: Hello,
}

/// The four checks of a side, in order.
fn ids(side: Side) -> [CheckId; 4] {
    match side {
        Side::Destination => [
            CheckId::DestinationNetwork,
            CheckId::DestinationTls,
            CheckId::DestinationSignIn,
            CheckId::DestinationReplicaSet,
        ],
        _ => [CheckId::SourceNetwork, CheckId::SourceTls, CheckId::SourceSignIn, CheckId::SourceReplicaSet],
    }
}

/// Runs the four checks; `None` when one failed (the rest of the four is skipped).
pub(super) async fn check<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    side: Side,
    endpoint: &Endpoint,
) -> Option<Reached> {
    let [network, tls, sign_in, replica_set] = ids(side);
    let skip = |ids: &[CheckId], what: &str| board.skip(ids, &format!("needs {what} on the {side} first"));
    board.begin(network);
    let route = match Route::find(side, endpoint).await {
        Ok(route) => route,
        Err(problem) => {
            board.settle(network, Finding::problem(&problem));
            skip(&[tls, sign_in, replica_set], "an address");
            return None;
        }
    };
    let reach = route.reach().await;
    let (evidence, partly) = describe(&reach);
    if let Err(problem) = reach.into_result() {
        let fix_command = None;
        board.settle(network, Finding::problem(&problem).command(fix_command));
        skip(&[tls, sign_in, replica_set], "the network");
        return None;
    }
    board.begin(tls);
    let greeting = match route.greet().await {
        Ok(greeting) => greeting,
        Err(rejection) if rejection.is_tls => {
            board.settle(network, Finding::ok(evidence));
            board.settle(tls, Finding::problem(&rejection.problem));
            skip(&[sign_in, replica_set], "TLS");
            return None;
        }
        Err(rejection) => {
            board.settle(network, Finding::problem(&rejection.problem));
            skip(&[tls, sign_in, replica_set], "the network");
            return None;
        }
    };
    board.settle(
        network,
        match partly {
            None => Finding::ok(evidence),
            Some(why) => Finding::warn(evidence, why, "Correct the address, or go on with the members that answer."),
        },
    );
    board.settle(tls, judge_tls(endpoint, &greeting, Timestamp::now()));
    board.begin(sign_in);
    if let Err(problem) = route.sign_in(&greeting).await {
        // A standalone or a foreign set has no use for a login: its own cause comes first.
        if let Err(verdict) = greeting.hello.judge(side, &greeting.host.to_string(), route.wanted_set()) {
            board.skip(&[sign_in], "needs a replica set first");
            board.settle(replica_set, Finding::problem(&verdict));
            return None;
        }
        board.settle(sign_in, Finding::problem(&problem));
        skip(&[replica_set], "a login");
        return None;
    }
    board.settle(sign_in, Finding::ok(describe_login(endpoint, &greeting)));
    board.begin(replica_set);
    match route.join(&greeting).await {
        Ok(Joined { cluster, notes }) => {
            board.settle(replica_set, describe_set(&cluster, &notes));
            Some(Reached { cluster, hello: greeting.hello })
        }
        Err(problem) => {
            board.settle(replica_set, Finding::problem(&problem));
            None
        }
    }
}

/// The evidence of the network check, and why it is not quite well when only some hosts answered.
fn describe(reach: &Reach) -> (String, Option<String>) {
    let slowest = reach.hosts.iter().filter_map(|(_, reached)| reached.as_ref().ok()).max();
    let slowest = slowest.map_or(String::new(), |took| format!("TCP in {:.0} ms", took.as_secs_f64() * 1e3));
    let failed: Vec<&str> =
        reach.hosts.iter().filter_map(|(_, reached)| Some(reached.as_ref().err()?.what.as_str())).collect();
    let all = reach.hosts.len();
    let evidence = format!("{slowest}; {} of {all} given hosts reachable", all - failed.len());
    (evidence, (!failed.is_empty()).then(|| failed.join("; ")))
}

fn judge_tls(endpoint: &Endpoint, greeting: &Greeting, now: Timestamp) -> Finding {
    let Some(seen) = &greeting.tls else {
        return Finding::ok("off, as the server wants it");
    };
    let trust = match &endpoint.tls {
        Tls::PrivateCa { .. } => "trusted by your CA",
        _ => "trusted by a public authority",
    };
    let subject = seen.certificate.as_ref().map_or("certificate", |certificate| certificate.subject.as_str());
    let evidence = format!("{}, {subject}, {trust}", seen.version);
    if let Tls::PrivateCa { pem } = &endpoint.tls
        && let Ok(certificates) = pem::inspect(pem)
        && let Err(error) = pem::check_dates(&certificates, now)
    {
        // rustls does not judge the dates of an anchor, other clients do.
        return Finding::warn(evidence, format!("in the CA file: {error}"), "Have the CA certificate renewed.");
    }
    Finding::ok(evidence)
}

fn describe_login(endpoint: &Endpoint, greeting: &Greeting) -> String {
    match (&endpoint.username, greeting.needs_login) {
        (Some(user), _) => format!("{user}@{}", endpoint.auth_source.as_deref().unwrap_or("admin")),
        (None, _) => "the server runs without authentication".into(),
    }
}

fn describe_set(cluster: &Cluster, notes: &[String]) -> Finding {
    let primary = cluster.primary.as_deref().unwrap_or("not known");
    let members = match cluster.hosts.len() {
        1 => "1 data-bearing member".to_string(),
        count => format!("{count} data-bearing members"),
    };
    let evidence = format!("{}, primary {primary}, {members}", cluster.set);
    if notes.is_empty() {
        return Finding::ok(evidence);
    }
    Finding::warn(
        evidence,
        notes.join("; "),
        "Make the members' names resolve here and let them through the firewall, so that an election does no harm.",
    )
}
