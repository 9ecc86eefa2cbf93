//! Clusters that ask for a login: the rights of the other direction are named, and granting what is printed is enough.

use crate::{
    common::compare,
    home::Home,
    sets::{Guarded, PASSWORD},
    shop,
};

/// Begins the way back, for which `user` lacks rights on the old cluster: they are named, and what is printed grants them.
pub async fn reverse_with_grants(home: &Home, old: &Guarded, user: &str) {
    let said = home.fails(&["reverse", "shop", "--accept-warnings"], 2);
    let printed: Vec<&str> = said.lines().filter_map(|line| Some(&line[line.find("db.getSiblingDB(")?..])).collect();
    assert!(!printed.is_empty() && printed.iter().all(|line| line.contains(user)), "{said}");
    assert!(!home.state().join("shop-back").exists(), "something was started");
    for command in printed {
        old.run_printed(command.trim()).await;
    }
    home.ok(&["reverse", "shop", "--accept-warnings"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_other_direction_are_named_and_what_is_printed_grants_them() {
    let _turn = crate::turn().await;
    let (a, b) = tokio::join!(Guarded::start_with("rsA", None, None), Guarded::start_with("rsB", None, None));
    let (old, new) = (a.client().await, b.client().await);
    // Enough to read everything, and no more.
    a.create_user("ferry", &["backup", "readAnyDatabase", "clusterMonitor"]).await;
    shop::fill(&old).await;
    let home = Home::new();
    let password = home.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let side = |name: &str, guarded: &Guarded, user: &str| {
        let (uri, password) = (guarded.uri(), password.display());
        format!(
            "[{name}]\nuri = \"{uri}\"\nusername = \"{user}\"\npassword_file = \"{password}\"\nauth_source = \"admin\"\n"
        )
    };
    let plan = format!(
        "name = \"shop\"\n{}{}[options]\nready_for = \"1s\"\nquiet_for = \"1s\"\n",
        side("source", &a, "ferry"),
        side("destination", &b, "root")
    );
    let path = home.path().join("shop.toml");
    std::fs::write(&path, plan).unwrap();
    home.ok(&["start", "--plan", path.to_str().unwrap(), "--accept-warnings"]);
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    shop::cut_over(&home);
    shop::write(&new, 0).await;

    reverse_with_grants(&home, &a, "'ferry'").await;
    shop::write(&new, 1).await;
    shop::command(&new).await;
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
    // The user of the way back is gone with it.
    let users = old.database("admin").run_command(bson::doc! { "usersInfo": 1 }).await.unwrap();
    let names: Vec<&str> = users
        .get_array("users")
        .unwrap()
        .iter()
        .map(|user| user.as_document().unwrap().get_str("user").unwrap())
        .collect();
    assert!(names.len() == 2 && names.contains(&"root") && names.contains(&"ferry"), "{names:?}");
}
