//! version: 4.4 or later, the destination at least as new as the source, feature compatibility versions included.

use super::board::Finding;
use crate::mongo::{Cluster, ServerVersion};
use bson::rawdoc;

/// The oldest source.
const OLDEST: (u32, u32) = (4, 4);
/// Newest release series that this program was measured against.
const NEWEST_MEASURED: (u32, u32) = (6, 0);

/// A cluster's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) server: ServerVersion,
    /// Feature compatibility version; unknown without `clusterMonitor`.
    fcv: Option<(u32, u32)>,
}

/// Reads the versions.
pub(super) async fn read(cluster: &Cluster) -> Versions {
    let command = rawdoc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
    let reply = cluster.run("admin", command).await.ok();
    let fcv = reply.and_then(|reply| {
        let version = reply.get_document("featureCompatibilityVersion").ok()?.get_str("version").ok()?;
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    Versions { server: cluster.version, fcv }
}

impl Versions {
    /// What connecting showed already.
    pub fn of(cluster: &Cluster) -> Self {
        Self { server: cluster.version, fcv: None }
    }

    fn evidence(&self) -> String {
        let fcv = match self.fcv {
            Some((major, minor)) => format!("feature compatibility {major}.{minor}"),
            None => "feature compatibility version not readable".into(),
        };
        let measured =
            if series(self.server) > NEWEST_MEASURED { "; not measured with this release series" } else { "" };
        format!("{}, {fcv}{measured}", self.server)
    }
}

fn series(version: ServerVersion) -> (u32, u32) {
    (version.major, version.minor)
}

fn series_name(version: ServerVersion) -> String {
    format!("{}.{}", version.major, version.minor)
}

/// The source's versions alone.
pub(super) fn judge_source(source: &Versions) -> Finding {
    if series(source.server) < OLDEST {
        let explanation = "mongoferry follows the oplog format of 4.4 and later";
        return Finding::fail(source.evidence(), explanation, "Upgrade the source to 4.4 or later first.");
    }
    Finding::ok(source.evidence())
}

/// The destination's versions against the source's; on the way back the destination is the old cluster.
pub(super) fn judge_destination(source: &Versions, destination: &Versions, is_way_back: bool) -> Finding {
    let evidence = destination.evidence();
    if is_way_back && series(destination.server) < series(source.server) {
        let explanation = format!(
            "the new cluster runs {}: collections, indexes and oplog entries of {} may be unknown to the old one, so that \
             there is no way back that could promise to lose nothing",
            source.server,
            series_name(source.server)
        );
        let fix = "Stay on the new cluster, or migrate its data to a cluster of its version or a newer one.";
        return Finding::fail(evidence, explanation, fix);
    }
    if series(destination.server) < series(source.server) {
        let explanation = format!("the source runs {}; data may use what an older server does not know", source.server);
        return Finding::fail(evidence, explanation, "Choose a destination of the same or a newer version.");
    }
    if let (Some(wanted), Some(has)) = (source.fcv, destination.fcv)
        && has < wanted
    {
        let (major, minor) = wanted;
        let explanation = format!("it behaves like {}.{}, and the source like {major}.{minor}", has.0, has.1);
        let confirm = if destination.server.major >= 7 { ", confirm: true" } else { "" };
        let command = format!("db.adminCommand({{setFeatureCompatibilityVersion: '{major}.{minor}'{confirm}}})");
        let fix = "Raise the destination's feature compatibility version.";
        return Finding::fail(evidence, explanation, fix).command(Some(command));
    }
    Finding::ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(server: &str, fcv: Option<(u32, u32)>) -> Versions {
        Versions { server: ServerVersion::parse(server).expect("version"), fcv }
    }

    #[test]
    fn a_destination_is_the_same_or_newer() {
        let source = versions("5.0.4", Some((5, 0)));
        let ok = |server, fcv| judge_destination(&source, &versions(server, fcv), false);
        assert_eq!(ok("5.0.29", Some((5, 0))), Finding::ok("5.0.29, feature compatibility 5.0"));
        assert_eq!(
            ok("7.0.1", None),
            Finding::ok("7.0.1, feature compatibility version not readable; not measured with this release series")
        );
        assert!(format!("{:?}", ok("4.4.2", None)).contains("Fail"));
        assert!(format!("{:?}", ok("6.0.5", Some((4, 4)))).contains("setFeatureCompatibilityVersion: '5.0'})"));
        let back = judge_destination(&versions("6.0.5", None), &versions("5.0.4", None), true);
        assert!(format!("{back:?}").contains("no way back"), "{back:?}");
        assert!(format!("{:?}", judge_source(&versions("4.2.9", None))).contains("Fail"));
    }
}
