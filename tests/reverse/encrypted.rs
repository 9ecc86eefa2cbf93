//! Both clusters demand TLS and a client certificate, and the old one knows its user by that certificate alone: the
//! files that the plan names are read again for the other direction.

use crate::{
    certificates::Authority,
    common::compare,
    guarded::reverse_with_grants,
    home::Home,
    sets::{Encrypted, Guarded, PASSWORD},
    shop,
};
use bson::doc;

/// The name in [`Authority::client`], as the server spells it.
const FERRY: &str = "CN=ferry,OU=ops,O=Example\\, Inc.,C=DE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_sign_in_on_the_way_back_too() {
    let _turn = crate::turn().await;
    let (of_old, of_new) = (Authority::new("Root of the old cluster"), Authority::new("Root of the new cluster"));
    let demanding = |authority| Some(Encrypted { authority, demands_certificates: true });
    let (a, b) = tokio::join!(
        Guarded::start_with("rsA", None, demanding(&of_old)),
        Guarded::start_with("rsB", None, demanding(&of_new))
    );
    let (old, new) = (a.client().await, b.client().await);
    // Enough to read everything, and no more.
    let roles = ["backup", "readAnyDatabase", "clusterMonitor"].map(|role| doc! { "role": role, "db": "admin" });
    let user = doc! { "createUser": FERRY, "roles": roles.to_vec() };
    old.database("$external").run_command(user).await.unwrap();
    shop::fill(&old).await;

    let home = Home::new();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let side = |name: &str, guarded: &Guarded, authority: &Authority, login: &str| {
        let (ca, client) = (file(&format!("{name}.ca"), &authority.pem), authority.client("ferry").both());
        let client = file(&format!("{name}.client"), &client);
        format!(
            "[{name}]\nuri = \"{}\"\ntls = \"private-ca\"\nca_file = \"{ca}\"\n\
             client_certificate_file = \"{client}\"\n{login}",
            guarded.uri()
        )
    };
    let login = format!("username = \"root\"\npassword_file = \"{}\"\n", file("password", PASSWORD));
    let plan = format!(
        "name = \"shop\"\n{}{}[options]\nready_for = \"1s\"\nquiet_for = \"1s\"\n",
        side("source", &a, &of_old, ""),
        side("destination", &b, &of_new, &login)
    );
    let plan = file("shop.toml", &plan);
    home.ok(&["start", "--plan", &plan, "--accept-warnings"]);
    home.wait("shop", "ready", |status| status["can_cutover"] == true);
    shop::cut_over(&home);
    shop::write(&new, 0).await;

    reverse_with_grants(&home, &a, "CN=ferry").await;
    shop::write(&new, 1).await;
    shop::command(&new).await;
    shop::go_back(&home);
    compare::assert_identical(&new, &old).await;
}
