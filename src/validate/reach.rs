//! network, TLS, sign in, replica set: the four checks of one side that end in a connected cluster.

use super::board::{Board, Finding};
use crate::{
    model::{CheckId, Endpoint, Side, Tls, ValidationReport, check::SeenAs},
    mongo::{
        Cluster,
        connect::{Joined, Reach, Route},
        link::Wire,
        probe::{Greeting, Stage},
        tls,
        topology::Hello,
    },
    pem,
};
use jiff::{SignedDuration, Timestamp};

/// A certificate that ends within this time may end during the migration: the copy, and a cutover window of 120 h.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A connected side.
#[derive(Debug)]
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

/// Runs those of the four checks that are due, at least one; `None` when one failed (the rest of the four is skipped).
pub(super) async fn check<P: Fn(&ValidationReport)>(
    board: &Board<P>,
    side: Side,
    endpoint: &Endpoint,
) -> Option<Reached> {
    let [network, tls, sign_in, replica_set] = ids(side);
    let skip = |ids: &[CheckId], what: &str| board.skip(ids, &format!("needs {what} on the {side} first"));
    let fresh = board.is_due(network);
    if fresh {
        board.begin(network);
    }
    let route = match Route::find(side, endpoint).await {
        Ok(route) => route,
        Err(problem) => {
            board.settle(network, Finding::problem(&problem));
            skip(&[tls, sign_in, replica_set], "an address");
            return None;
        }
    };
    let mut reached = None;
    if fresh {
        let reach = route.reach().await;
        let (evidence, partly) = describe(&reach);
        if let Err(rejection) = reach.into_result() {
            board.settle(network, Finding::rejection(&rejection));
            skip(&[tls, sign_in, replica_set], "the network");
            return None;
        }
        reached = Some(match partly {
            None => Finding::ok(evidence),
            Some(why) => Finding::warn(evidence, why, "Correct the address, or go on with the members that answer."),
        });
    }
    let tls_fresh = board.is_due(tls);
    if tls_fresh {
        board.begin(tls);
    }
    let greeting = match route.greet().await {
        Ok(greeting) => greeting,
        Err(rejection) if rejection.stage == Stage::Tls => {
            reached.map(|finding| board.settle(network, finding));
            board.settle(tls, Finding::rejection(&rejection));
            skip(&[sign_in, replica_set], "TLS");
            return None;
        }
        Err(rejection) => {
            board.settle(network, Finding::rejection(&rejection));
            skip(&[tls, sign_in, replica_set], "the network");
            return None;
        }
    };
    reached.map(|finding| board.settle(network, finding));
    if tls_fresh {
        board.settle(tls, judge_tls(endpoint, &greeting, Timestamp::now()));
    }
    note_addresses(board, side, greeting.talk.seen_as.iter().cloned());
    let judge = || greeting.talk.hello.judge(side, &greeting.host.to_string(), route.wanted_set());
    if board.is_due(sign_in) {
        board.begin(sign_in);
        if let Err(rejection) = route.sign_in(&greeting).await {
            // A standalone or a foreign set has no use for a login: its own cause comes first.
            if let Err(verdict) = judge() {
                board.skip(&[sign_in], "needs a replica set first");
                board.settle(replica_set, Finding::problem(&verdict));
                return None;
            }
            board.settle(sign_in, Finding::rejection(&rejection));
            skip(&[replica_set], "a login");
            return None;
        }
        board.settle(sign_in, Finding::ok(route.login(&greeting)));
    }
    board.begin(replica_set);
    match route.join(&greeting).await {
        Ok(Joined { cluster, notes, seen_as }) => {
            note_addresses(board, side, seen_as.into_iter());
            board.settle(replica_set, describe_set(&cluster, &greeting, &notes));
            Some(Reached { cluster, hello: greeting.talk.hello })
        }
        Err(problem) => {
            board.settle(replica_set, Finding::problem(&problem));
            None
        }
    }
}

/// True when one of the four has to run.
pub(super) fn is_due<P: Fn(&ValidationReport)>(board: &Board<P>, side: Side) -> bool {
    ids(side).into_iter().any(|id| board.is_due(id))
}

fn note_addresses<P: Fn(&ValidationReport)>(board: &Board<P>, side: Side, addresses: impl Iterator<Item = String>) {
    let seen: Vec<SeenAs> = addresses.map(|address| SeenAs { side, address }).collect();
    board.edit(|report| {
        for seen in seen {
            if !report.seen_as.contains(&seen) {
                report.seen_as.push(seen);
            }
        }
    });
}

/// The evidence of the network check, and why it is not quite well when only some hosts answered.
fn describe(reach: &Reach) -> (String, Option<String>) {
    let slowest = reach.hosts.iter().filter_map(|(_, reached)| reached.as_ref().ok()).max();
    let slowest = slowest.map_or(String::new(), |took| format!("TCP in {:.0} ms", took.as_secs_f64() * 1e3));
    let failed: Vec<&str> =
        reach.hosts.iter().filter_map(|(_, reached)| Some(reached.as_ref().err()?.problem.what.as_str())).collect();
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
    let shown = seen.certificate.as_ref().map_or_else(|| "certificate not readable".into(), tls::describe);
    let evidence = format!("{}, {shown}, {trust}", seen.version);
    if let Some(certificate) = &seen.certificate {
        let left = certificate.not_after.duration_since(now);
        if left < SOON {
            let days = left.as_hours() / 24;
            return Finding::warn(
                evidence,
                format!("the server's certificate expires in {days} days; a migration may take longer, then it stops"),
                "Have the server's certificate renewed before you start.",
            );
        }
    }
    if let Tls::PrivateCa { pem } = &endpoint.tls
        && let Ok(certificates) = pem::inspect(pem)
        && let Err(error) = pem::check_dates(&certificates, now)
    {
        // rustls does not judge the dates of an anchor, other clients do.
        return Finding::warn(evidence, format!("in the CA file: {error}"), "Have the CA certificate renewed.");
    }
    Finding::ok(evidence)
}

fn describe_set(cluster: &Cluster, greeting: &Greeting, notes: &[String]) -> Finding {
    let primary = cluster.primary.as_deref().unwrap_or("not known");
    let members = match cluster.hosts.len() {
        1 => "1 data-bearing member".to_string(),
        count => format!("{count} data-bearing members"),
    };
    let found = match &greeting.talk.hello {
        Hello { writable: true, .. } => String::new(),
        hello => format!(" (found through {}, which is {})", greeting.host, hello.role()),
    };
    let mut evidence = format!("{}, primary {primary}{found}, {members}", cluster.set);
    if cluster.wire != Wire::Plain {
        evidence += &format!("; {}", cluster.wire);
    }
    if notes.is_empty() {
        return Finding::ok(evidence);
    }
    Finding::warn(
        evidence,
        notes.join("; "),
        "Make the members' names resolve here and let them through the firewall, so that an election does no harm.",
    )
}
