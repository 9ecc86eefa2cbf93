use super::*;

#[tokio::test]
async fn addresses_that_lead_nowhere_have_their_own_causes_and_fail_soon() {
    let nobody = Port::reserve().unwrap();
    let closed = format!("127.0.0.1:{}", nobody.number());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web_at = web.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = web.accept().await.unwrap();
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    for (uri, within_s, what) in [
        (format!("mongodb://{closed}/"), 2, "refuses the connection"),
        ("mongodb://no-such-host.invalid/".to_string(), 8, "the host name no-such-host.invalid is not known"),
        (format!("mongodb://{silent_at}/?replicaSet=rs0"), 8, "accepts the connection but does not answer"),
        (format!("mongodb://{web_at}/"), 8, "is not a MongoDB server"),
        ("mongodb+srv://no-such-host.invalid/".to_string(), 8, "no-such-host.invalid"),
        ("mongodb://".to_string(), 1, "the address cannot be used"),
    ] {
        let began = Instant::now();
        let problem = connect(Side::Destination, &Endpoint::plain(&uri)).await.expect_err(&uri);
        assert!(began.elapsed() < Duration::from_secs(within_s), "{uri} took {:?}", began.elapsed());
        assert!(problem.what.contains(what), "{uri}: {problem}");
        assert_eq!(problem.side, Side::Destination);
        assert!(!problem.fix.is_empty() && problem.written == "Nothing has been written to either cluster.");
        let test = validate::test_destination(&Endpoint::plain(&uri)).await;
        assert_eq!(test.problem.expect("problem").what, problem.what);
    }
    drop(silent);
}

#[tokio::test]
async fn one_dead_side_does_not_hide_the_other() {
    let pair = common::pair().await;
    let untouched =
        Untouched::from_now([pair.source.client().await.unwrap(), pair.destination.client().await.unwrap()]).await;
    let nobody = Port::reserve().unwrap();
    let closed = format!("127.0.0.1:{}", nobody.number());
    let dead = Endpoint::plain(format!("mongodb://{closed}/"));
    let report = validate(&plan(dead.clone(), Endpoint::plain(pair.destination.uri()))).await.report;
    let failed = failure(&report);
    assert_eq!((failed.id, failed.side), (CheckId::SourceNetwork, Side::Source));
    assert_eq!(check(&report, CheckId::SourceData).state, CheckState::Skip);
    assert!(check(&report, CheckId::SourceData).evidence.contains("source"));
    assert_eq!(check(&report, CheckId::DestinationReplicaSet).state, CheckState::Ok);
    assert_eq!(check(&report, CheckId::DestinationEmpty).state, CheckState::Ok);

    let validated = validate(&plan(Endpoint::plain(pair.source.uri()), dead)).await;
    assert!(validated.clusters.is_none() && validated.dialect.is_none());
    let failed = failure(&validated.report);
    assert_eq!((failed.id, failed.side), (CheckId::DestinationNetwork, Side::Destination));
    assert_eq!(check(&validated.report, CheckId::SourceData).state, CheckState::Ok);
    assert_eq!(check(&validated.report, CheckId::DestinationFeatures).state, CheckState::Skip);
    untouched.holds().await;
}

#[tokio::test]
async fn servers_that_are_no_replica_set_or_another_one_are_named() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { name: None, ..SetOptions::single("x") };
    let (standalone, pair) = (ReplicaSet::start(&mongod, &options).await.unwrap(), common::pair().await);
    let untouched =
        Untouched::from_now([pair.source.client().await.unwrap(), pair.destination.client().await.unwrap()]).await;
    let destination = Endpoint::plain(pair.destination.uri());
    for uri in [
        format!("mongodb://127.0.0.1:{}/", standalone.ports()[0]),
        format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", standalone.ports()[0]),
    ] {
        let report = validate(&plan(Endpoint::plain(uri), destination.clone())).await.report;
        let failed = failure(&report);
        assert_eq!((failed.id, failed.side), (CheckId::SourceReplicaSet, Side::Source));
        assert!(failed.evidence.contains("standalone") && failed.fix.contains("rs.initiate()"), "{failed:#?}");
    }
    let wrong = format!("mongodb://127.0.0.1:{}/?replicaSet=rsX", pair.source.ports()[0]);
    let report = validate(&plan(Endpoint::plain(wrong), destination)).await.report;
    let failed = failure(&report);
    assert!(failed.evidence.contains("rsA, not rsX") && failed.fix.contains("replicaSet=rsA"), "{failed:#?}");
    assert_eq!(databases(&pair.destination.client().await.unwrap()).await, Vec::<String>::new());
    untouched.holds().await;
}

#[tokio::test]
async fn a_secondary_leads_to_the_primary_unless_the_connection_is_direct() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { members: 3, cache_gb: 0.25, ..SetOptions::single("rs3") };
    let set = ReplicaSet::start(&mongod, &options).await.unwrap();
    let client = set.client().await.unwrap();
    let primary = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
    let primary = primary.get_str("primary").unwrap().to_string();
    let secondary =
        set.ports().into_iter().map(|port| format!("127.0.0.1:{port}")).find(|host| *host != primary).unwrap();
    // Another member than the primary may still be syncing; it must know its state before it is asked.
    let alone = mongodb::Client::with_uri_str(format!("mongodb://{secondary}/?directConnection=true")).await.unwrap();
    let ready = async {
        loop {
            let hello = alone.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
            if hello.get_bool("secondary").unwrap_or(false) && hello.get_str("primary").is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("no secondary");

    let seed = Endpoint::plain(format!("mongodb://{secondary}/"));
    let cluster = connect(Side::Destination, &seed).await.unwrap();
    assert_eq!(cluster.primary.as_deref(), Some(primary.as_str()));
    assert_eq!((cluster.set.as_str(), cluster.hosts.len()), ("rs3", 3));
    // A write finds the primary.
    cluster.run("t", bson::rawdoc! { "create": "c" }).await.unwrap();

    let report = validate(&plan(Endpoint::plain(seed.uri.clone()), Endpoint::plain(set.uri()))).await.report;
    let found = check(&report, CheckId::SourceReplicaSet);
    let expected =
        format!("rs3, primary {primary} (found through {secondary}, which is secondary), 3 data-bearing members");
    assert_eq!((found.state, found.evidence.as_str()), (CheckState::Ok, expected.as_str()));

    let direct = Endpoint { direct: true, ..seed };
    let problem = connect(Side::Destination, &direct).await.unwrap_err();
    assert!(problem.what.contains("is secondary, and direct = true"), "{problem}");
    let source = connect(Side::Source, &direct).await.unwrap();
    source.run("local", bson::rawdoc! { "find": "oplog.rs", "limit": 1 }).await.unwrap();

    // A connection string can say the same.
    let direct = Endpoint::plain(format!("mongodb://{secondary}/?directConnection=true"));
    let problem = connect(Side::Destination, &direct).await.unwrap_err();
    assert!(problem.what.contains("is secondary, and direct = true"), "{problem}");

    let nobody = Port::reserve().unwrap();
    let dead = format!("127.0.0.1:{}", nobody.number());
    let half = Endpoint::plain(format!("mongodb://{dead},{secondary}/?replicaSet=rs3"));
    let report = validate(&plan(half, Endpoint::plain(set.uri()))).await.report;
    let network = check(&report, CheckId::SourceNetwork);
    assert_eq!(network.state, CheckState::Warn, "{network:#?}");
    assert!(network.evidence.ends_with("1 of 2 given hosts reachable"), "{network:#?}");
    assert!(network.explanation.contains(&dead), "{network:#?}");
    assert_eq!(failure(&report).id, CheckId::DestinationIdentity);
}

/// Documentation addresses are routed nowhere: here the network says so at once or never answers.
#[tokio::test]
async fn an_address_that_does_not_answer_names_what_the_firewall_must_let_in() {
    let problem = connect(Side::Source, &Endpoint::plain("mongodb://192.0.2.1:27017/")).await.unwrap_err();
    let known = ["does not answer", "cannot be reached", "refuses the connection"];
    assert!(known.iter().any(|what| problem.what.contains(what)), "{problem}");
    if problem.what.contains("does not answer") {
        assert!(problem.fix.contains("firewall or access list to port 27017"), "{problem}");
    }
}

#[tokio::test]
async fn an_arbiter_leads_to_the_primary_and_is_refused_alone() {
    let mongod = releases::mongod(None, &|_| {}).unwrap();
    let options = SetOptions { members: 2, cache_gb: 0.25, ..SetOptions::single("rsQ") };
    let set = ReplicaSet::start(&mongod, &options).await.unwrap();
    let client = set.client().await.unwrap();
    let admin = client.database("admin");
    let reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
    let primary = admin.run_command(doc! { "hello": 1 }).await.unwrap().get_str("primary").unwrap().to_string();
    let mut config = reply.get_document("config").unwrap().clone();
    // A data-bearing member cannot become an arbiter in place: it leaves and comes back as one.
    let members = config.get_array("members").unwrap().clone();
    let (stays, goes): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| member.as_document().unwrap().get_str("host").unwrap() == primary);
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    config.insert("members", stays.clone());
    admin.run_command(doc! { "replSetReconfig": config.clone() }).await.unwrap();
    let concern = doc! { "setDefaultRWConcern": 1, "defaultWriteConcern": { "w": 1 } };
    admin.run_command(concern).await.unwrap();
    let mut arbiter = goes[0].as_document().unwrap().clone();
    let host = arbiter.get_str("host").unwrap().to_string();
    arbiter.insert("arbiterOnly", true);
    arbiter.insert("priority", 0);
    arbiter.insert("_id", 7);
    config.insert("version", version + 2);
    config.insert("members", [stays, vec![arbiter.into()]].concat());
    let ready = async {
        loop {
            if admin.run_command(doc! { "replSetReconfig": config.clone() }).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("no arbiter was accepted");
    let endpoint = Endpoint::plain(format!("mongodb://{host}/"));
    let alone = mongodb::Client::with_uri_str(format!("mongodb://{host}/?directConnection=true")).await.unwrap();
    let ready = async {
        loop {
            let hello = alone.database("admin").run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("arbiterOnly").unwrap_or(false) && hello.contains_key("primary"))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("it never became an arbiter");
    let cluster = connect(Side::Source, &endpoint).await.unwrap();
    assert_eq!(cluster.primary.as_deref(), Some(primary.as_str()));
    let problem = connect(Side::Source, &Endpoint { direct: true, ..endpoint }).await.unwrap_err();
    assert!(problem.what.contains("arbiter"), "{problem}");
    assert!(problem.fix.contains("data-bearing member") || problem.fix.contains("Give the primary"), "{problem}");
}
