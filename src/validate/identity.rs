//! not the source: two addresses of one cluster would be copied onto itself, or cleared.

use super::{board::Finding, reach::Reached};
use crate::{model::Endpoint, mongo::Cluster};
use bson::{oid::ObjectId, rawdoc};

/// Compares the sets' own identities, the processes that answered and the members' names.
pub(super) async fn check(source: (&Reached, &Endpoint), destination: (&Reached, &Endpoint)) -> Finding {
    let (a, b) = (source.0, destination.0);
    let (source_id, destination_id) = tokio::join!(set_id(&a.cluster), set_id(&b.cluster));
    let same_id = source_id.zip(destination_id).map(|(a, b)| a == b);
    let same_process = a.hello.process.is_some() && a.hello.process == b.hello.process;
    let shared: Vec<&str> =
        a.cluster.hosts.iter().filter(|host| b.cluster.hosts.contains(host)).map(String::as_str).collect();
    // The same private name may mean different machines behind different networks; equal identities cannot.
    let by_name = same_id.is_none() && a.cluster.set == b.cluster.set && !shared.is_empty();
    if same_id == Some(true) || same_process || by_name {
        let why = if same_id == Some(true) {
            "both have the same replica set id".to_string()
        } else if same_process {
            "the same server process answered under both addresses".to_string()
        } else {
            format!("both are the set {} with the member {}", a.cluster.set, shared.join(", "))
        };
        return Finding::fail(
            format!("{} and {} are the same cluster", source.1.hosts(), destination.1.hosts()),
            format!("{why}; clearing or writing it would destroy the source"),
            "Choose another destination.",
        );
    }
    Finding::ok(match same_id {
        Some(_) => "another replica set id".to_string(),
        None => "other members and other processes (replica set ids not readable)".to_string(),
    })
}

/// `settings.replicaSetId`; `None` without `clusterMonitor`.
async fn set_id(cluster: &Cluster) -> Option<ObjectId> {
    let reply = cluster.run("admin", rawdoc! { "replSetGetConfig": 1 }).await.ok()?;
    reply.get_document("config").ok()?.get_document("settings").ok()?.get_object_id("replicaSetId").ok()
}
