//! Over TLS, with an authority that only the user's environment names, and through a proxy that it names.

use holdfast_tests::dolt::Workshop;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::proxy::{TlsDoor, Tunnels};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;
use tokio::runtime::Runtime;

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

#[test]
fn a_certificate_as_openssl_makes_it_is_trusted_where_it_is_named() {
    let Some(workshop) = workshop() else { return };
    let mut plan = Plan::on_local_disk();
    plan.tls = true;
    plan.certificate_of_an_authority = true;
    let forge = Forge::start(plan);
    let trusting = workshop.with(&forge.dolt_settings());
    let url = format!("{}/acme/prod", Remote::base_url(&forge));
    let owner = published(&trusting, World::SMALL, &url);
    let copy = cloned(&trusting, &url, &[]);
    assert_follows(&copy, &owner);
    let arguments = ["clone", &url, "not-trusted"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_code(5);
    forge.finish();
}

/// Our server behind a door that speaks TLS and chooses no protocol. All its addresses of data lead through the door.
struct Behind {
    runtime: Runtime,
    door: TlsDoor,
    forge: Forge,
    url: String,
}

impl Behind {
    fn start(host: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut door = runtime.block_on(TlsDoor::bind(host)).unwrap();
        let base_url = format!("https://{host}:{}", door.address().port());
        let mut plan = Plan::on_local_disk();
        plan.public_url = Some(base_url.clone());
        let forge = Forge::start(plan);
        let wire_url = forge.wire_url();
        let (_, port) = wire_url.rsplit_once(':').unwrap();
        let backend = ([127, 0, 0, 1], port.parse().unwrap()).into();
        runtime.block_on(async { door.lead_to(backend) });
        Self {
            runtime,
            door,
            forge,
            url: format!("{base_url}/acme/prod"),
        }
    }

    /// Where who is not asked to speak TLS finds the same repository.
    fn wire_url(&self) -> String {
        format!("{}/acme/prod", self.forge.wire_url())
    }

    /// The same folder, where the door is trusted.
    fn trusted(&self, workshop: &Workshop, more: &[(&str, String)]) -> Workshop {
        let path = workshop.folder().join("authority.pem");
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, self.door.certificate().as_bytes()).unwrap();
        let trust = ("SSL_CERT_FILE", path.display().to_string());
        let settings = [&[trust], more].concat();
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        workshop.with(&settings.into_iter().map(owned).collect::<Vec<_>>())
    }
}

#[test]
fn a_server_that_chooses_no_protocol_is_spoken_to() {
    let Some(workshop) = workshop() else { return };
    let behind = Behind::start("localhost");
    let trusting = behind.trusted(&workshop, &[]);
    let owner = published(&trusting, World::SMALL, &behind.wire_url());
    let copy = cloned(&trusting, &behind.url, &[]);
    assert_follows(&copy, &owner);
    copy.commit("from the clone", "create table added (id int primary key)");
    ours(&copy, &["push"]).expect_success();
    owner.pull(&["origin", "main"]);
    assert_eq!(hash(&owner, "main"), hash(&copy, "main"));
    behind.forge.finish();
}

#[test]
fn a_proxy_that_the_environment_names_leads_to_a_server_with_tls() {
    let Some(workshop) = workshop() else { return };
    // Nobody but the proxy knows the name.
    let behind = Behind::start("forge.invalid");
    let start = Tunnels::start(behind.door.address());
    let tunnels = behind.runtime.block_on(start).unwrap();
    let proxy = format!("http://user:proxy-secret@{}", tunnels.address());
    let trusting = behind.trusted(&workshop, &[("HTTPS_PROXY", proxy)]);
    let owner = published(&trusting, World::SMALL, &behind.wire_url());
    let by_dolt = tunnels.asked().len();
    let copy = cloned(&trusting, &behind.url, &[]);
    assert_follows(&copy, &owner);
    copy.commit("from the clone", "create table added (id int primary key)");
    let by_clone = tunnels.asked().len();
    ours(&copy, &["push"]).expect_success();
    owner.pull(&["origin", "main"]);
    assert_eq!(hash(&owner, "main"), hash(&copy, "main"));

    let asked = tunnels.asked();
    assert!(by_clone > by_dolt + 1, "calls and data: {asked:?}");
    let tunnel = format!("CONNECT forge.invalid:{} ", behind.door.address().port());
    // user:proxy-secret
    let proof = "proxy-authorization: basic dxnlcjpwcm94es1zzwnyzxq=";
    for head in &asked[by_dolt..by_clone] {
        assert!(head.starts_with(&tunnel), "{head}");
        assert!(head.to_lowercase().contains(proof), "{head}");
    }

    drop(tunnels);
    let arguments = ["clone", &behind.url, "other"];
    let refused = holdfast(&trusting, trusting.folder(), &arguments).expect_code(5);
    assert!(!refused.contains("secret"), "{refused}");
    assert!(!workshop.folder().join("other").exists());
    behind.forge.finish();
}
