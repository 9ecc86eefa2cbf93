//! Names on the command line: unknown, missing, more than one.

use crate::{common, home::Home};
use bson::{Document, doc};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_needed_only_where_there_are_several() {
    let _turn = crate::turn().await;
    let pair = common::pair().await;
    let source = pair.source.client().await.unwrap();
    for db in ["a", "b"] {
        source.database(db).collection::<Document>("c").insert_one(doc! { "_id": 1 }).await.unwrap();
    }
    let home = Home::new();
    let start = |name: &str, include: &str| {
        let extra = format!("include = [\"{include}\"]");
        let plan = home.plan(name, &pair.source.uri(), &pair.destination.uri(), &extra);
        home.ok(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"])
    };
    assert_eq!(start("first", "a.*"), "first\n");
    home.wait("first", "ready", |status| status["can_cutover"] == true);
    assert!(home.ok(&["status"]).contains("first"));
    assert!(home.fails(&["status", "firts"], 1).contains("no migration called firts"));
    // A second one into the same destination is refused by the lease, and says whose it is.
    let plan = home.plan("second", &pair.source.uri(), &pair.destination.uri(), "include = [\"b.*\"]");
    let said = home.fails(&["start", "--plan", plan.to_str().unwrap(), "--accept-warnings"], 1);
    assert!(said.contains("first") || said.contains("another"), "{said}");
    home.ok(&["stop", "first"]);
    home.wait("first", "stopped", |status| status["phase"] == "stopped");
    assert!(home.fails(&["resume", "first"], 3).contains("refused"));
}
