//! Every file that we write into `.dolt` is the one that dolt writes in the same case.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use holdfast_tests::dolt::{Database, Dolt, Workshop};
use serde_json::Value;

use crate::holdfast::{command, holdfast, ours, run};

/// What lies in a directory below `.dolt`, but for the store. What dolt's own statistics keep is no business of a clone.
fn files(database: &Database) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let dolt = database.folder().join(".dolt");
    add_files(&dolt, &dolt, &mut found);
    found
}

fn add_files(base: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(base).unwrap().to_str().unwrap();
        if ["noms", "stats"].contains(&name) {
            continue;
        }
        match path.is_dir() {
            true => add_files(base, &path, found),
            false => drop(found.insert(name.to_owned(), fs::read_to_string(&path).unwrap())),
        }
    }
}

/// What the manifest says apart from the files and the root, and the commits that are left out.
fn store(database: &Database) -> (Vec<String>, Vec<String>) {
    let noms = database.folder().join(".dolt/noms");
    let manifest = fs::read_to_string(noms.join("manifest")).unwrap();
    let fields: Vec<_> = manifest.split(':').map(str::to_owned).collect();
    let ghosts = fs::read_to_string(noms.join("ghostObjects.txt")).unwrap_or_default();
    let mut ghosts: Vec<_> = ghosts.lines().map(str::to_owned).collect();
    ghosts.sort();
    (
        vec![fields[0].clone(), fields[1].clone(), fields[4].clone()],
        ghosts,
    )
}

/// The datasets: each with its address, a working set with its fields.
fn datasets(database: &Database) -> BTreeMap<String, String> {
    let printed = ours(database, &["refs", "--all", "--format", "json"]).expect_success();
    let mut found = BTreeMap::new();
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["name"].as_str().unwrap().to_owned();
        let mut value = line["address"].as_str().unwrap().to_owned();
        if name.starts_with("workingSets/") {
            let set = ours(database, &["inspect", &name, "--format", "json"]).expect_success();
            let mut set: Value = serde_json::from_str(&set).unwrap();
            for of_this_store in ["address", "file", "offset", "stored_len", "changed_at"] {
                set.as_object_mut().unwrap().remove(of_this_store);
            }
            value = set.to_string();
        }
        found.insert(name, value);
    }
    found
}

#[track_caller]
fn assert_same(ours: &Database, dolts: &Database, case: &str) {
    assert_eq!(files(ours), files(dolts), "{case}");
    assert_eq!(store(ours), store(dolts), "{case}");
    assert_eq!(datasets(ours), datasets(dolts), "{case}");
}

/// A database with three branches and a tag, pushed into a directory.
fn published(workshop: &Workshop) -> (Database, String) {
    let owner = workshop.init("owner");
    let url = format!("file://{}", workshop.folder().join("remote").display());
    owner.sql(&format!(
        "create table word (id int primary key, text varchar(40));
         call dolt_commit('-Am', 'one');
         call dolt_tag('v1');
         insert into word values (1, 'one');
         call dolt_commit('-Am', 'two');
         call dolt_branch('north');
         call dolt_branch('a/south');
         call dolt_remote('add', 'origin', '{url}');"
    ));
    fs::create_dir_all(workshop.folder().join("remote")).unwrap();
    for name in ["main", "north", "a/south", "v1"] {
        owner.push(&["origin", name]);
    }
    (owner, url)
}

/// Two clones of the same.
struct Pair {
    ours: Database,
    dolts: Database,
}

impl Pair {
    fn cloned(workshop: &Workshop, url: &str, more: &[&str]) -> Self {
        let of = |whose: &str| format!("{whose}{}", more.concat().replace('/', "-"));
        let (ours, dolts) = (of("ours"), of("dolts"));
        let arguments = [&["clone", url, &ours], more].concat();
        holdfast(workshop, workshop.folder(), &arguments).expect_success();
        workshop.try_clone_from(url, &dolts, more).expect_success();
        Self {
            ours: workshop.database(&ours),
            dolts: workshop.database(&dolts),
        }
    }

    /// The same for both.
    fn both(&self, arguments: &[&str]) {
        ours(&self.ours, arguments).expect_success();
        self.dolts.ok(arguments);
    }

    /// By dolt in both.
    fn by_dolt(&self, arguments: &[&str]) {
        self.ours.ok(arguments);
        self.dolts.ok(arguments);
    }
}

const SINGLE: &[&str] = &["--single-branch"];

#[test]
fn a_clone_of_one_branch_says_of_itself_what_dolts_own_says() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let (_, url) = published(&workshop);
    let pair = Pair::cloned(&workshop, &url, SINGLE);
    assert_same(&pair.ours, &pair.dolts, "clone --single-branch");
    pair.both(&["fetch"]);
    assert_same(&pair.ours, &pair.dolts, "fetch");
}

#[test]
#[ignore = "long: clones of all kinds by two programs"]
fn every_file_is_dolts() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let (owner, url) = published(&workshop);
    for more in [
        // First those from which dolt can fetch only what does not end at a commit that they left out.
        &["--depth", "1"][..],
        &["--depth", "2"],
        &["--remote", "up", "--depth", "1", "--branch", "north"],
        &[],
        SINGLE,
        &["--branch", "a/south"],
        &["--single-branch", "--branch", "north"],
        &["--remote", "up"],
    ] {
        let remote = match more.contains(&"up") {
            true => "up",
            false => "origin",
        };
        let pair = Pair::cloned(&workshop, &url, more);
        assert_same(&pair.ours, &pair.dolts, &format!("clone {more:?}"));

        owner.sql("update word set text = concat(text, 'x'); call dolt_commit('-am', 'more')");
        owner.push(&["origin", "main"]);
        pair.both(&["fetch", remote]);
        assert_same(&pair.ours, &pair.dolts, &format!("fetch after {more:?}"));
        pair.by_dolt(&["fetch", remote]);
        assert_same(
            &pair.ours,
            &pair.dolts,
            &format!("dolt fetch after {more:?}"),
        );

        pair.by_dolt(&["checkout", "-b", "west"]);
        pair.by_dolt(&["config", "--local", "--add", "user.name", "Local"]);
        pair.both(&["push", "-u", remote, "west"]);
        // Of what is there already dolt makes no ref that follows it, before it fetches.
        pair.by_dolt(&["fetch", remote]);
        assert_same(&pair.ours, &pair.dolts, &format!("push -u after {more:?}"));
        pair.both(&["push", "--set-upstream", remote, "west:east"]);
        pair.by_dolt(&["fetch", remote]);
        assert_same(
            &pair.ours,
            &pair.dolts,
            &format!("push -u b:c after {more:?}"),
        );
        // What is there already is followed as well.
        pair.by_dolt(&["branch", "zeta"]);
        pair.both(&["push", remote, "zeta"]);
        pair.both(&["push", "-u", remote, "zeta"]);
        pair.by_dolt(&["fetch", remote]);
        assert_same(
            &pair.ours,
            &pair.dolts,
            &format!("push -u again after {more:?}"),
        );
        pair.dolts.push(&[remote, ":west"]);
        pair.dolts.push(&[remote, ":east"]);
        pair.dolts.push(&[remote, ":zeta"]);
    }

    let backup = format!("file://{}", workshop.folder().join("backup").display());
    owner.ok(&["backup", "add", "b", &backup]);
    owner.ok(&["backup", "sync", "b"]);
    workshop.restore(&backup, "restored-dolts");
    let arguments = ["backup", "restore", &backup, "restored-ours"];
    holdfast(&workshop, workshop.folder(), &arguments).expect_success();
    let (ours, dolts) = ("restored-ours", "restored-dolts");
    let (ours, dolts) = (workshop.database(ours), workshop.database(dolts));
    assert_same(&ours, &dolts, "backup restore");
}

#[test]
#[ignore = "long: several versions of dolt"]
fn every_file_is_that_of_an_old_dolt() {
    for dolt in Dolt::find_old() {
        let workshop = Workshop::new(&dolt);
        let (_, url) = published(&workshop);
        let kinds: &[&[&str]] = match dolt.has_partial_clones() {
            true => &[&[], SINGLE, &["--depth", "1"]],
            false => &[&[]],
        };
        for more in kinds {
            let pair = Pair::cloned(&workshop, &url, more);
            let case = format!("dolt {}: {more:?}", dolt.version());
            assert_eq!(files(&pair.ours), files(&pair.dolts), "{case}");
        }
    }
}

/// Files may be read and written by those whom the user's mask lets, as with dolt.
#[test]
fn the_mask_of_the_user_counts() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let (_, url) = published(&workshop);
    for (mask, wanted) in [("002", 0o664), ("077", 0o600)] {
        let program = crate::holdfast::binary().to_str().unwrap();
        let script = format!("umask {mask} && exec {program} clone {url} masked-{mask}");
        let mut shell = command(&workshop, workshop.folder(), &[]);
        let settings: Vec<_> = shell
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        shell = std::process::Command::new("/bin/sh");
        shell.env_clear().envs(settings).args(["-c", &script]);
        shell.current_dir(workshop.folder());
        run(shell).expect_success();
        for name in ["repo_state.json", "config.json"] {
            let path = format!("masked-{mask}/.dolt/{name}");
            let metadata = fs::metadata(workshop.folder().join(path)).unwrap();
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode, wanted, "{name} under umask {mask}");
        }
    }
}
