//! Settings: from which sources, in which order, and what is complained of.

use holdfast_server::args::Arguments;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{
    AcceptUnknown, Gathered, Origin, Readers, Settings, StoreSettings,
};

fn gather(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Gathered {
    let mut gathered = Gathered::new();
    gathered.add_file("holdfast.toml", file);
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    gathered.add_environment(environment);
    for (key, value) in flags {
        gathered.set(key, *value, Origin::Flag);
    }
    gathered
}

fn complaints(gathered: Gathered) -> Vec<String> {
    let complaints = check(gathered, Purpose::Serve).unwrap_err();
    complaints.iter().map(ToString::to_string).collect()
}

const WHOLE: &str = r#"
data = "/d"
open = true
store = "s3://bucket/some/prefix/"
features_off = ["stream-chunk-locations"]
reads = "token"

[s3]
endpoint = "http://127.0.0.1:9000/"
path_style = true

[network]
drain_timeout = "3s"
"#;

fn whole() -> Settings {
    check(gather(WHOLE, &[], &[]), Purpose::Serve).unwrap()
}

#[test]
fn a_file_sets_everything() {
    let settings = whole();
    assert_eq!(settings.stop.timeout.as_secs(), 3);
    assert!(!settings.transfer.stream_chunk_locations);
    assert_eq!(settings.access.readers, Some(Readers::Token));
    let StoreSettings::S3 {
        bucket,
        prefix,
        endpoint,
        path_style,
        region,
        ..
    } = settings.store
    else {
        panic!("not S3");
    };
    assert_eq!(
        (bucket.as_str(), prefix.as_str(), path_style),
        ("bucket", "some/prefix", true)
    );
    assert_eq!(endpoint.as_deref(), Some("http://127.0.0.1:9000"));
    assert_eq!(region, None, "the environment may name one");
}

#[test]
fn environment_beats_file_and_flag_beats_environment() {
    let environment = [
        ("HOLDFAST_NETWORK_DRAIN_TIMEOUT", "4s"),
        ("HOLDFAST_DATA", "/e"),
    ];
    let flags = [("data", "/f")];
    let settings = check(gather(WHOLE, &environment, &flags), Purpose::Serve).unwrap();
    assert_eq!(settings.stop.timeout.as_secs(), 4);
    assert_eq!(settings.data.to_str(), Some("/f"));
}

#[test]
fn unknown_keys_are_named() {
    let said = complaints(gather(
        "open = true\ndat = \"/d\"\n[s3]\nendpiont = \"x\"",
        &[],
        &[],
    ));
    assert!(
        said.contains(&"dat: there is no such setting; is data meant?".to_owned()),
        "{said:?}"
    );
    assert!(
        said.contains(&"s3.endpiont: there is no such setting; is s3.endpoint meant?".to_owned()),
        "{said:?}"
    );
}

#[test]
fn every_complaint_is_made_at_once() {
    let file = "listen = \"nowhere\"\nreads = \"friends\"\n[upload]\nfree_floor = \"much\"\n[tls]\ncert = \"c\"\n[log]\nfilter = \"holdfast_server=loud\"";
    let said = complaints(gather(file, &[], &[]));
    for subject in [
        "data",
        "listen",
        "reads",
        "upload.free_floor",
        "tls.cert",
        "log.filter",
        "admin_token",
    ] {
        let prefix = format!("{subject}: ");
        assert!(
            said.iter().any(|line| line.starts_with(&prefix)),
            "{subject} in {said:?}"
        );
    }
}

#[test]
fn an_open_server_stays_on_loopback_unless_told_twice() {
    let open = [("data", "/d"), ("open", "true"), ("listen", "0.0.0.0:80")];
    assert_eq!(complaints(gather("", &[], &open)).len(), 1);
    let told_twice = [open[0], open[1], open[2], ("open_to_the_network", "true")];
    check(gather("", &[], &told_twice), Purpose::Serve).unwrap();
}

#[test]
fn without_open_a_token_is_required() {
    let said = complaints(gather("", &[], &[("data", "/d")]));
    assert!(said[0].starts_with("admin_token: "), "{said:?}");
    let environment = [("HOLDFAST_ADMIN_TOKEN", "very-secret")];
    check(gather("data = \"/d\"", &environment, &[]), Purpose::Serve).unwrap();
}

#[test]
fn secrets_are_never_shown() {
    let environment = [
        ("HOLDFAST_ADMIN_TOKEN", "very-secret"),
        ("HOLDFAST_S3_ACCESS_KEY_ID", "public-half"),
        ("HOLDFAST_S3_SECRET_ACCESS_KEY", "very-secret"),
        ("HOLDFAST_STORE", "s3://bucket"),
    ];
    let gathered = gather("data = \"/d\"", &environment, &[]);
    assert!(!format!("{gathered:?}").contains("very-secret"));
    let settings = check(gathered, Purpose::Serve).unwrap();
    assert!(!format!("{settings:?}").contains("very-secret"));
}

#[test]
fn the_token_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "from-the-file\nand more\n").unwrap();
    let flags = [("data", "/d"), ("admin_token_file", path.to_str().unwrap())];
    let settings = check(gather("", &[], &flags), Purpose::Serve).unwrap();
    assert_eq!(
        settings.access.admin_token.unwrap().reveal(),
        "from-the-file"
    );
}

#[test]
fn variables_that_only_look_like_ours_are_noted() {
    let gathered = gather("", &[("HOLDFAST_SERVICE_HOST", "10.0.0.1")], &[]);
    assert_eq!(gathered.notes.len(), 1);
    assert!(gathered.complaints.is_empty());
}

#[test]
fn a_name_of_before_gives_way_to_the_name_of_now() {
    let file = "data = \"/d\"\nopen = true\n[stop]\ntimeout = \"7s\"\n";
    let both = format!("{file}[network]\ndrain_timeout = \"3s\"\ndrain_quiet = \"2s\"\n");
    let settings = check(gather(&both, &[], &[]), Purpose::Serve).unwrap();
    assert_eq!(settings.stop.timeout.as_secs(), 7);
    assert_eq!(settings.stop.quiet.as_secs(), 2);
    // From nearer to the command it counts all the same.
    let environment = [("HOLDFAST_NETWORK_DRAIN_TIMEOUT", "4s")];
    let settings = check(gather(&both, &environment, &[]), Purpose::Serve).unwrap();
    assert_eq!(settings.stop.timeout.as_secs(), 4);
}

#[test]
fn who_may_read_is_left_to_the_store_where_nothing_says_it() {
    let readers = |text: &str| {
        let file = format!("data = \"/d\"\nopen = true\n{text}");
        let settings = check(gather(&file, &[], &[]), Purpose::Serve).unwrap();
        settings.access.readers
    };
    assert_eq!(readers(""), None);
    assert_eq!(readers("reads = \"public\""), Some(Readers::Everybody));
    assert_eq!(readers("reads = \"token\""), Some(Readers::Token));
}

#[test]
fn unknown_chunks_are_taken_nowhere_somewhere_or_everywhere() {
    let accepted = |text: &str| {
        let file = format!("data = \"/d\"\nopen = true\naccept_unknown_chunks = {text}");
        let checked = check(gather(&file, &[], &[]), Purpose::Serve);
        checked.map(|settings| settings.transfer.accept_unknown_chunks)
    };
    assert_eq!(accepted("false").unwrap(), AcceptUnknown::Nowhere);
    assert_eq!(accepted("true").unwrap(), AcceptUnknown::Everywhere);
    let names = ["acme/prod", "acme/test"].map(|name| name.parse().unwrap());
    let some = AcceptUnknown::In(names.to_vec());
    assert_eq!(accepted("[\"acme/prod\", \"acme/test\"]").unwrap(), some);
    assert_eq!(accepted("\"acme/prod, acme/test\"").unwrap(), some);
    for wrong in ["\"acme\"", "\"acme/prod,x\"", "3"] {
        assert_eq!(accepted(wrong).unwrap_err().len(), 1, "{wrong}");
    }
}

#[test]
fn tls_is_required_only_where_there_is_a_certificate() {
    let file = "data = \"/d\"\nopen = true\nrequire_tls = true\n";
    let said = complaints(gather(file, &[], &[]));
    assert!(said[0].starts_with("require_tls: "), "{said:?}");
}

#[test]
fn the_secret_of_a_bucket_may_stand_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "from-the-file\nand more\n").unwrap();
    let path = path.to_str().unwrap();
    let basic = [
        ("data", "/d"),
        ("open", "true"),
        ("store", "s3://bucket"),
        ("s3.access_key_id", "key"),
        ("s3.secret_access_key_file", path),
    ];
    let settings = check(gather("", &[], &basic), Purpose::Serve).unwrap();
    let StoreSettings::S3 {
        secret_access_key, ..
    } = settings.store
    else {
        panic!("not S3");
    };
    assert_eq!(secret_access_key.unwrap().reveal(), "from-the-file");
    let gathered = gather("[s3]\nsecret_access_key = \"x\"", &[], &basic);
    // What a flag says counts before the settings file.
    check(gathered, Purpose::Serve).unwrap();
    let gathered = gather("", &[("HOLDFAST_S3_SECRET_ACCESS_KEY", "x")], &basic);
    check(gathered, Purpose::Serve).unwrap();
    let both = [&basic[..], &[("s3.secret_access_key", "x")]].concat();
    let said = complaints(gather("", &[], &both));
    assert!(said[0].ends_with("are both set"), "{said:?}");
}

#[test]
fn a_misspelt_variable_is_complained_of_and_another_is_not() {
    let complained = |name| {
        let mut gathered = gather("data = \"/d\"\nopen = true", &[(name, "true")], &[]);
        let complaints = std::mem::take(&mut gathered.complaints);
        (
            complaints
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            gathered.notes.len(),
        )
    };
    for (name, meant) in [
        ("HOLDFAST_REEDS", "HOLDFAST_READS"),
        ("HOLDFAST_READONLY", "HOLDFAST_READ_ONLY"),
        ("HOLDFAST_ADMIN_TOKN", "HOLDFAST_ADMIN_TOKEN"),
        ("HOLDFAST_TLS_CRET", "HOLDFAST_TLS_CERT"),
        ("HOLDFAST_CONFIG_", "HOLDFAST_CONFIG"),
    ] {
        let (complaints, _) = complained(name);
        assert_eq!(complaints.len(), 1, "{name}");
        assert!(complaints[0].contains(meant), "{complaints:?}");
    }
    // What Kubernetes makes for a service called holdfast, and what is for the tests.
    for name in [
        "HOLDFAST_SERVICE_HOST",
        "HOLDFAST_SERVICE_PORT",
        "HOLDFAST_SERVICE_PORT_HTTP",
        "HOLDFAST_PORT",
        "HOLDFAST_PORT_7350_TCP",
        "HOLDFAST_PORT_7350_TCP_PORT",
        "HOLDFAST_PORT_7350_TCP_PROTO",
        "HOLDFAST_PORT_7350_TCP_ADDR",
        "HOLDFAST_DOLT",
        "HOLDFAST_SEED",
        "HOLDFAST_SERVER",
        "HOLDFAST_CLIENT",
        "HOLDFAST_SHARED",
    ] {
        assert_eq!(complained(name), (Vec::new(), 1), "{name}");
    }
}

#[test]
fn the_command_line_reads_the_file_that_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holdfast.toml");
    std::fs::write(&path, "data = \"/from/file\"\nopen = true\n").unwrap();
    let words = [
        "holdfastd",
        "serve",
        "--config",
        path.to_str().unwrap(),
        "--data",
        "/flag",
    ];
    let arguments = Arguments::parse(words.into_iter().map(Into::into)).unwrap();
    let settings = check(arguments.gather(&[]), Purpose::Serve).unwrap();
    assert_eq!(settings.data.to_str(), Some("/flag"));
    assert!(settings.access.open);
}

#[test]
fn proxies_are_a_list_of_addresses_and_networks() {
    let file = "data = '/d'\nopen = true\n[network]\ntrusted_proxies = ['127.0.0.1', '10.0.0.0/8']";
    let settings = check(gather(file, &[], &[]), Purpose::Serve).unwrap();
    let proxies = settings.network.trusted_proxies;
    assert!(proxies.trust([10, 1, 2, 3].into()) && !proxies.trust([11, 1, 2, 3].into()));
    let wrong = [
        ("data", "/d"),
        ("open", "true"),
        ("network.trusted_proxies", "proxy.example.org"),
        ("upload.spool_share", "101"),
    ];
    let complaints = complaints(gather("", &[], &wrong));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    for (complaint, wanted) in complaints.iter().zip(["1 to 100", "10.0.0.0/8"]) {
        assert!(complaint.contains(wanted), "{complaint}");
    }
}
