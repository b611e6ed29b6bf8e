//! Every text for people, kept as it is in `snapshots/`: a change of one is seen where it is made.
//!
//! What differs from run to run is written in brackets. After a change on purpose: `INSTA_UPDATE=always ./dev test words`.

#![expect(
    clippy::too_many_lines,
    reason = "a scene is a list of commands, and each scene takes a server"
)]

use std::path::Path;

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::{holdfast, ours};
use crate::scene::{forge, prod, published, workshop};

/// What differs from run to run, and what is written for it.
const FILTERS: [(&str, &str); 18] = [
    (r"(127\.0\.0\.1|localhost):\d+", "[host]"),
    (r"\b[0-9a-v]{52}\b", "[public key]"),
    (r"\b[0-9a-v]{45}\b", "[key id]"),
    (r"\b[0-9a-v]{32}\b", "[address]"),
    (r"\b[0-9a-v]{8}\.\.[0-9a-v]{8}\b", "[short]..[short]"),
    (
        r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)?",
        "[time]",
    ),
    (
        r"\d+(\.\d\d)? ([KMG]iB|B) in \d+\.\d s, \d+(\.\d\d)? ([KMG]iB|B)/s",
        "[size] in [seconds], [rate]",
    ),
    (r"\d+(\.\d\d)? ([KMG]iB|B)\b", "[size]"),
    (r"\d+ chunks", "[count] chunks"),
    (
        r"\d+ reached from the root",
        "[count] reached from the root",
    ),
    (
        r#""(bytes|chunks|reached|seconds)":[\d.]+"#,
        r#""$1":[number]"#,
    ),
    (r"\d+ files, \[count\]", "[count] files, [count]"),
    (r"retrying in [\d.]+ s", "retrying in [seconds]"),
    (r" {2,}\[(count|size)\]", " [$1]"),
    (r"(len|offset) +\d+", "$1 [number]"),
    (r"process \d+", "process [id]"),
    (r" at byte \d+", " at byte [number]"),
    (r"offset \d+", "offset [number]"),
];

/// Commands and what they print, in the order in which they ran.
struct Transcript<'a> {
    workshop: &'a Workshop,
    text: String,
}

impl<'a> Transcript<'a> {
    fn new(workshop: &'a Workshop) -> Self {
        let text = String::new();
        Self { workshop, text }
    }

    /// Runs a command in a folder and takes down what it prints and how it ends.
    fn run(&mut self, folder: &Path, arguments: &[&str]) {
        let printed = holdfast(self.workshop, folder, arguments);
        let quoted = arguments
            .iter()
            .map(|word| match word.is_empty() || word.contains(' ') {
                true => format!("'{word}'"),
                false => (*word).to_owned(),
            });
        let line = quoted.collect::<Vec<_>>().join(" ");
        self.text
            .push_str(&format!("$ holdfast {line}\n{}", printed.stdout));
        for line in printed.stderr.lines() {
            self.text.push_str(&format!("2> {line}\n"));
        }
        match printed.code {
            Some(0) => {}
            code => self
                .text
                .push_str(&format!("exit code {}\n", code.unwrap_or(-1))),
        }
        self.text.push('\n');
    }

    fn all(&mut self, folder: &Path, lines: &[&[&str]]) {
        for line in lines {
            self.run(folder, line);
        }
    }

    /// Compares all of it with the snapshot of that name.
    #[track_caller]
    fn check(self, name: &str) {
        let folder = self.workshop.folder().display().to_string();
        let home = self.workshop.home().display().to_string();
        let text = self.text.replace(&home, "[home]");
        let text = text.replace(&folder, "[folder]");
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
fn the_help_of_every_command() {
    let Some(workshop) = workshop() else { return };
    let folder = workshop.folder();
    let mut transcript = Transcript::new(&workshop);
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let arguments = [&path[..], &["--help".to_owned()]].concat();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let help = holdfast(&workshop, folder, &arguments).expect_success();
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let listed = listed.lines().take_while(|line| !line.is_empty());
        // A description that goes on in the next line is indented more.
        let listed = listed.filter(|line| !line.starts_with("   "));
        let names = listed.filter_map(|line| line.split_whitespace().next());
        let names: Vec<_> = names.filter(|name| *name != "help").collect();
        let deeper = names.into_iter().rev();
        open.extend(deeper.map(|name| [&path[..], &[name.to_owned()]].concat()));
        transcript.run(folder, &arguments);
    }
    transcript.check("help");
}

/// A forge with a database, and a clone of it by us.
struct Scene {
    workshop: Workshop,
    server: Box<dyn Remote>,
    url: String,
    owner: Database,
    copy: Database,
}

impl Scene {
    fn new() -> Option<Self> {
        let workshop = workshop()?;
        let server = forge();
        let url = prod(&*server);
        let owner = published(&workshop, World::SMALL, &url);
        holdfast(&workshop, workshop.folder(), &["clone", &url, "copy"]).expect_success();
        Some(Self {
            copy: workshop.database("copy"),
            workshop,
            server,
            url,
            owner,
        })
    }

    /// A commit of the owner that is at the remote.
    fn owner_goes_on(&self, amount: u32) {
        let statements = format!("update orders set amount = {amount} where customer = 1");
        self.owner.commit("the owner goes on", &statements);
        self.owner.push(&["origin", "main"]);
    }
}

#[test]
fn what_commands_say_that_succeed() {
    let Some(scene) = Scene::new() else { return };
    let (workshop, url) = (&scene.workshop, scene.url.as_str());
    let (folder, copy) = (workshop.folder(), scene.copy.folder());
    let mut moved = Transcript::new(workshop);
    moved.all(
        folder,
        &[
            &["clone", "--dry-run", url, "dry"],
            &["clone", "--single-branch", "-b", "north", url, "part"],
            &["clone", "--depth", "1", url, "shallow", "--format", "json"],
            &["move-out", url, "moved", "-b", "north"],
            &["mirror", url, "./mirrored"],
            &["mirror", url, "./mirrored"],
        ],
    );
    scene.owner_goes_on(1);
    moved.all(
        copy,
        &[
            &["fetch", "--dry-run"],
            &["fetch"],
            &["fetch"],
            &["pull"],
            &["pull"],
        ],
    );
    scene.owner_goes_on(2);
    moved.run(copy, &["pull", "--format", "json"]);
    scene
        .copy
        .commit("ours", "update orders set amount = 9 where customer = 2");
    scene.copy.ok(&["tag", "-m", "ours", "v9", "main"]);
    moved.all(
        copy,
        &[
            &["push", "--dry-run"],
            &["push"],
            &["push"],
            &["push", "--tags", "origin"],
            &["push", "-u", "origin", "HEAD:west"],
            &["push", "origin", ":west"],
            &["push", "--repair", "origin"],
            &["push", "--format", "json"],
        ],
    );
    moved.check("moving");

    let mut looked = Transcript::new(workshop);
    looked.all(
        copy,
        &[
            &["status"],
            &["status", "--format", "json"],
            &["branch"],
            &["branch", "--all"],
            &["branch", "--remote", "origin", "--format", "json"],
            &["tag"],
            &["tag", "--format", "json"],
            &["refs"],
            &["refs", "--all"],
            &["log", "-n", "1"],
            &["log", "--oneline", "-n", "2"],
            &["log", "-n", "1", "--format", "json"],
            &["verify"],
            &["verify", "origin", "--format", "json"],
            &["verify", "--inventory", "../moved.inventory", "../moved"],
            &["inspect", "main"],
            &["remote"],
            &["remote", "add", "up", "https://h.test/acme/prod"],
            &["remote", "set-url", "up", "https://h.test/acme/other"],
            &["remote", "list", "--format", "json"],
            &["remote", "remove", "up"],
            &["checkout", "north"],
            &["checkout", "-b", "west"],
            &["checkout", "main"],
            &["checkout", "main", "--format", "json"],
            &["key", "list"],
            &["key", "new"],
            &["key", "list"],
        ],
    );
    looked.check("looking");

    let mut kept = Transcript::new(workshop);
    kept.all(
        folder,
        &[
            &["backup", "--dry-run", url, "./vault"],
            &["backup", url, "./vault"],
            &["backup", "copy", url.replace("prod", "kept").as_str()],
            &["backup", "list", "./vault"],
            &["backup", "list", "./vault", "--format", "json"],
            &["backup", "verify", "./vault"],
            &["backup", "restore", "./vault", "restored"],
            &[
                "backup",
                "forget",
                "./vault",
                "--keep-last",
                "1",
                "--dry-run",
            ],
            &["backup", "list", url.replace("prod", "kept").as_str()],
        ],
    );
    kept.check("backups");
    scene.server.finish();
}

#[test]
fn what_commands_say_that_fail() {
    let Some(scene) = Scene::new() else { return };
    let (workshop, url) = (&scene.workshop, scene.url.as_str());
    let (folder, copy) = (workshop.folder(), scene.copy.folder());
    let nothing = url.replace("prod", "nothing");
    let mut refused = Transcript::new(workshop);
    refused.all(
        folder,
        &[
            &["nosuch"],
            &["log"],
            &["clone", "one"],
            &["clone", "ssh://h.test/acme/prod"],
            &["clone", "https://h.test/"],
            &["clone", "https://h.test/acme/prod?x=1"],
            &["clone", "https://u:p@h.test/acme/prod"],
            &["clone", "s3://bucket/prefix?nosuch=1"],
            &["clone", &nothing],
            &["clone", url, "copy"],
            &["clone", url, "x", "-b", "nrth"],
            &["clone", url, "x", "--at", "nosuch"],
            &["clone", url, "x", "--user", "ada"],
            &["verify", &nothing],
            &["verify", "nosuch/"],
            &["move-out", url, "x", "-b", "nrth"],
            &["backup"],
            &["backup", url],
            &["backup", &nothing, "./vault"],
            &["backup", url, "./vault", "--check", "much"],
            &["backup", "list", "./vault"],
            &["backup", "restore", "./vault", "1"],
            &["backup", "forget", "./vault"],
            &["key", "use", "nosuch"],
        ],
    );
    // What would be lost, or take the place of something else.
    holdfast(workshop, folder, &["clone", "--depth", "1", url, "shallow"]).expect_success();
    holdfast(workshop, folder, &["backup", url, "./vault"]).expect_success();
    holdfast(workshop, folder, &["mirror", "copy", "./mirrored"]).expect_success();
    scene.owner_goes_on(3);
    refused.all(
        folder,
        &[
            &["backup", "shallow", "./other"],
            &["backup", "copy", "./mirrored", "--keep-last", "1"],
            &["backup", "restore", "./vault", "x", "--backup", "9"],
            &[
                "backup",
                "restore",
                "./vault",
                "x",
                "--at",
                "2000-01-01T00:00",
            ],
            &["backup", "restore", "./vault", "x", "-b", "nrth"],
            &["backup", "verify", url, "--backup", "1"],
            &["mirror", "copy", url],
            &["move-out", url, "copy", "-b", "north"],
            &["push", "-C", "shallow", &nothing, "main"],
            &["verify", "copy", "--inventory", "nosuch"],
            &["man", "--to", "copy/.dolt/noms/manifest"],
        ],
    );
    refused.check("refused_places");

    let mut refused = Transcript::new(workshop);
    let owner = scene
        .owner
        .folder()
        .join(".dolt/noms")
        .display()
        .to_string();
    scene.owner_goes_on(1);
    scene
        .copy
        .commit("ours", "update orders set amount = 9 where customer = 2");
    refused.all(
        copy,
        &[
            &["push", "origin", "main"],
            &["push", "origin", "main", "--format", "json"],
            &["push", "--force", "origin", "main"],
            &["push", "origin", "nosuch"],
            &["push", "origin", "man"],
            &["push", "origin", "refs/tags/nosuch"],
            &["push", "origin", "main:refs/tags/main"],
            &["push", "orgin", "main"],
            &["push", "--delete", "origin"],
            &["push", "origin", ":nosuch"],
            &["push", "--all", "origin", "main"],
            &["push", "../owner", "main"],
            &["push", &format!("file://{owner}"), "main"],
            &["push", "-u", &nothing, "main"],
            &["fetch", "nosuch"],
            &["fetch", "origin", "nrth"],
            &["fetch", "origin", "refs/tags/nosuch"],
            &["fetch", "origin", "a:b"],
            &["fetch"],
            &["pull"],
            &["pull", "origin", "nosuch"],
            &["pull", url],
            &["push", "origin", "main"],
            &["log", "mian"],
            &["log", "--remote", &nothing],
            &["inspect", "nosuch"],
            &["checkout", "mian"],
            &["checkout", "-b", "main"],
            &["checkout", "-b", "a..b"],
            &["remote", "add", "origin", "https://h.test/a/b"],
            &["remote", "remove", "orign"],
            &["remote", "add", "a/b", "https://h.test/a/b"],
        ],
    );
    scene
        .copy
        .sql("create table not_committed (id int primary key)");
    refused.all(copy, &[&["checkout", "-b", "west"], &["checkout", "north"]]);
    refused.check("refused_refs");

    let running = scene.copy.serve();
    let mut refused = Transcript::new(workshop);
    refused.all(
        copy,
        &[
            &["fetch"],
            &["fetch", "--format", "json"],
            &["checkout", "main"],
            &["status"],
        ],
    );
    drop(running);
    refused.check("refused_locks");
    ours(&scene.copy, &["status"]).expect_success();
    scene.server.finish();
}
