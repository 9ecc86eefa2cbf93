use super::*;

fn states(report: &ValidationReport) -> Vec<(CheckId, CheckState)> {
    report.checks.iter().map(|check| (check.id, check.state)).collect()
}

/// The checks that were seen running.
fn ran(seen: &[ValidationReport]) -> Vec<CheckId> {
    let running = |id: &CheckId| seen.iter().any(|report| check(report, *id).state == CheckState::Running);
    CheckId::ALL.into_iter().filter(running).collect()
}

#[tokio::test]
async fn only_what_failed_and_what_builds_on_it_runs_again() {
    let (guarded, pair) = (Guarded::start().await, common::pair().await);
    guarded.create_user("narrow", &["readAnyDatabase"]).await;
    let source = guarded.client().await.database("shop");
    source.collection("orders").insert_one(doc! { "_id": 1 }).await.unwrap();
    let asked = plan(guarded.endpoint("narrow"), Endpoint::plain(pair.destination.uri()));
    let first = validate(&asked).await;
    let failed = failure(&first.report).clone();
    assert_eq!(failed.id, CheckId::SourcePermissions);
    assert_eq!(check(&first.report, CheckId::SourceData).state, CheckState::Skip);

    // Nothing was mended: the same checks run, and fail again.
    let again = async |previous: Validated| {
        let seen = Mutex::new(Vec::new());
        let publish = |report: &ValidationReport| seen.lock().unwrap().push(report.clone());
        let validated = validate::run_again(&asked, previous, publish, &CancellationToken::new()).await;
        (validated, seen.into_inner().unwrap())
    };
    let before = states(&first.report);
    let (second, seen) = again(first).await;
    assert_eq!(states(&second.report), before);
    assert_eq!(failure(&second.report), &failed);
    assert!(!ran(&seen).contains(&CheckId::SourceNetwork), "{:?}", ran(&seen));

    guarded.run_printed(failed.fix_command.as_ref().unwrap()).await;
    let (third, seen) = again(second).await;
    assert!(third.report.passed(), "{:#?}", third.report);
    let reran = ran(&seen);
    for kept in [
        CheckId::SourceNetwork,
        CheckId::SourceSignIn,
        CheckId::SourceReplicaSet,
        CheckId::DestinationNetwork,
        CheckId::DestinationReplicaSet,
        CheckId::DestinationIdentity,
        CheckId::DestinationClocks,
    ] {
        assert!(!reran.contains(&kept), "{kept:?} ran again");
        // While the others ran, the kept ones went on showing how they had ended.
        assert!(seen.iter().all(|report| check(report, kept).state == CheckState::Ok), "{kept:?} lost its result");
    }
    for due in [CheckId::SourcePermissions, CheckId::SourceData, CheckId::DestinationFeatures] {
        assert!(reran.contains(&due), "{due:?} did not run: {reran:?}");
    }
    assert!(third.clusters.is_some() && third.dialect.is_some() && !third.report.summary.is_empty());
    assert!(third.report.summary.iter().any(|line| line.starts_with("copy 1 collection,")), "{third:#?}");

    // All is well: nothing runs, everything stays.
    let (fourth, seen) = again(third).await;
    assert_eq!(ran(&seen), Vec::<CheckId>::new());
    assert!(fourth.report.passed() && fourth.clusters.is_some() && fourth.dialect.is_some());
    assert!(!fourth.report.summary.is_empty());
}

#[tokio::test]
async fn a_side_that_comes_back_is_checked_and_the_other_one_keeps_its_results() {
    let pair = common::pair().await;
    let reserved = Port::reserve().unwrap();
    let port = reserved.number();
    let destination = Endpoint::plain(format!("mongodb://127.0.0.1:{port}/"));
    let asked = plan(Endpoint::plain(pair.source.uri()), destination);
    let first = validate(&asked).await;
    assert_eq!(failure(&first.report).id, CheckId::DestinationNetwork);
    // A forwarder stands for the server that was down.
    let there = pair.destination.ports()[0];
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", there)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let seen = Mutex::new(Vec::new());
    let publish = |report: &ValidationReport| seen.lock().unwrap().push(report.clone());
    let second = validate::run_again(&asked, first, publish, &CancellationToken::new()).await;
    assert!(second.report.passed(), "{:#?}", second.report);
    let reran = ran(&seen.into_inner().unwrap());
    assert!(reran.iter().all(|id| id.side() == Side::Destination), "{reran:?}");
    assert_eq!(reran.len(), 11, "{reran:?}");
}
