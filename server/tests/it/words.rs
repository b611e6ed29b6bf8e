//! Every text of `holdfastd` for people, kept as it is in `snapshots/`: a change of one is seen where it is made.
//!
//! What differs from run to run is written in brackets. After a change on purpose: `INSTA_UPDATE=always ./dev test words`.

use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::commands::{files, flip, record, remove, two_pushes};
use crate::daemon::holdfastd;

/// What differs from run to run, and what is written for it.
const FILTERS: [(&str, &str); 11] = [
    (r"127\.0\.0\.1:\d+", "[host]"),
    (r"\bup_[0-9a-v]{26}\b", "[upload]"),
    (r"\bpool_[0-9a-v]{26}\b", "[pool]"),
    (r"\brepo_[0-9a-v]{26}\b", "[repository]"),
    (r"files/[0-9a-v]{2}/", "files/[shard]/"),
    (r"\b[0-9a-f]{8} (stored|computed)", "[checksum] $1"),
    (r"\b[0-9a-v]{32}\b", "[address]"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?", "[time]"),
    (r"grpc-go/[\d.]+|tonic/[\d.]+", "[agent]"),
    (r"\d+ bytes", "[count] bytes"),
    (r"holdfastd \d+\.\d+\.\d+", "holdfastd [version]"),
];

/// Commands and what they print, in the order in which they ran.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    /// Runs a command on a data directory, with some variables, and takes down what it prints and how it ends.
    fn run_with(&mut self, data: &Path, variables: &[(&str, &str)], arguments: &[&str]) {
        let mut command = holdfastd(data);
        let output = command
            .args(arguments)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        for (name, value) in variables {
            self.0.push_str(&format!("{name}={value} "));
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        self.0
            .push_str(&format!("$ holdfastd {}\n{stdout}", arguments.join(" ")));
        for line in stderr.lines() {
            self.0.push_str(&format!("2> {line}\n"));
        }
        match output.status.code() {
            Some(0) => {}
            code => self
                .0
                .push_str(&format!("exit code {}\n", code.unwrap_or(-1))),
        }
        self.0.push('\n');
    }

    fn run(&mut self, data: &Path, arguments: &[&str]) {
        self.run_with(data, &[], arguments);
    }

    /// Compares all of it with the snapshot of that name.
    #[track_caller]
    fn check(self, name: &str, data: &Path) {
        let text = self.0.replace(&data.display().to_string(), "[data]");
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        for (pattern, instead) in FILTERS {
            settings.add_filter(pattern, instead);
        }
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
}

#[test]
fn the_help_of_every_command_and_all_settings() {
    let data = TempDir::new().unwrap();
    let mut told = Transcript::default();
    told.run(data.path(), &["--help"]);
    for command in [
        "serve",
        "settings",
        "repos",
        "history",
        "verify",
        "healthcheck",
    ] {
        told.run(data.path(), &[command, "--help"]);
    }
    told.run(data.path(), &["settings"]);
    told.check("help", data.path());
}

#[test]
fn what_is_said_of_settings_that_are_wrong() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("holdfastd.toml");
    let mut told = Transcript::default();
    let serve = ["serve", "--check-settings"];
    told.run(data.path(), &["serve", "--listn", "127.0.0.1:0"]);
    told.run(data.path(), &["server"]);
    told.run(data.path(), &serve);
    told.run(data.path(), &[&serve[..], &["--open"]].concat());
    told.run_with(data.path(), &[("HOLDFAST_LISTN", "127.0.0.1:0")], &serve);
    told.run_with(
        data.path(),
        &[("HOLDFAST_ADMIN_TOKEN_FILE", "/nowhere/token")],
        &serve,
    );
    let config = file.to_str().unwrap();
    told.run(data.path(), &["serve", "--config", config]);
    for text in [
        "listn = \"127.0.0.1:0\"",
        "listen = 7350",
        "open = true\nrequire_tls = true",
        "open = true\n[upload]\nspool_limit = \"1 potato\"",
        "open = true\n[network]\nmax_connections_per_peer = 10",
    ] {
        std::fs::write(&file, text).unwrap();
        told.run(
            data.path(),
            &["serve", "--check-settings", "--config", config],
        );
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    told.run(data.path(), &["serve", "--open", "--listen", &address]);
    told.check("settings", data.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_store_and_of_damage_in_it() {
    let (data, _) = two_pushes().await;
    let data = data.path();
    let mut told = Transcript::default();
    told.run(data, &["repos"]);
    told.run(data, &["history", "acme/prod"]);
    told.run(data, &["verify"]);
    told.run(data, &["history", "acme/pro"]);
    told.run(data, &["verify", "acme/pro"]);
    told.run(data, &["history", "not a name"]);
    told.run(&data.join("nowhere"), &["repos"]);
    flip(&files(data, "files/")[0]);
    told.run(data, &["verify"]);
    remove(&files(data, "files/")[0]);
    told.run(data, &["verify"]);
    remove(&record(data, 2));
    told.run(data, &["repos"]);
    told.run(data, &["history", "acme/prod"]);
    told.run(data, &["verify"]);
    told.check("store", data);
}
