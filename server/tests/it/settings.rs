//! Settings: from which sources, in which order, and what is complained of.

use holdfast_server::args::Arguments;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin, Readers, Settings, StoreSettings};

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
    assert_eq!(settings.network.drain_timeout.as_secs(), 3);
    assert!(!settings.transfer.stream_chunk_locations);
    assert_eq!(settings.access.readers, Readers::Token);
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
    assert_eq!(settings.network.drain_timeout.as_secs(), 4);
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
        said.contains(&"dat: there is no such setting".to_owned()),
        "{said:?}"
    );
    assert!(
        said.contains(&"s3.endpiont: there is no such setting".to_owned()),
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
