//! Over TLS, with an authority that only the user's environment names.

use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::{exit_code, holdfast, ours};
use crate::scene::{assert_follows, cloned, hash, published, workshop};

#[test]
fn an_authority_that_the_environment_names_is_trusted_and_no_other() {
    let Some(workshop) = workshop() else { return };
    let mut plan = Plan::on_local_disk();
    plan.tls = true;
    let forge = Forge::start(plan);
    let trusting = workshop.with(&forge.dolt_settings());
    let url = format!("{}/acme/prod", Remote::base_url(&forge));
    assert!(url.starts_with("https://"), "{url}");
    let owner = published(&trusting, World::SMALL, &url);

    let copy = cloned(&trusting, &url, &[]);
    assert_follows(&copy, &owner);
    copy.commit("from the clone", "create table added (id int primary key)");
    ours(&copy, &["push"]).expect_success();
    owner.pull(&["origin", "main"]);
    assert_eq!(hash(&owner, "main"), hash(&copy, "main"));

    let arguments = ["clone", &url, "not-trusted"];
    let refused = holdfast(&workshop, workshop.folder(), &arguments).expect_failure();
    assert!(refused.contains("SSL_CERT_FILE"), "{refused}");
    assert_eq!(exit_code(&workshop, workshop.folder(), &arguments), Some(5));
    assert!(!workshop.folder().join("not-trusted").exists());
    forge.finish();
}
