//! An inventory is a proof: it lists what was moved and nothing that lay there already, and takes the place of nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "tests put files where no program may"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, cloned, forge, prod, published, workshop};

/// A repository with three branches.
struct Scene {
    server: Box<dyn Remote>,
    url: String,
    owner: Database,
    workshop: Workshop,
}

impl Scene {
    fn make() -> Option<Self> {
        let workshop = workshop()?;
        let server = forge();
        let url = prod(&*server);
        Some(Self {
            owner: published(&workshop, World::SMALL, &url),
            server,
            url,
            workshop,
        })
    }

    fn folder(&self) -> &Path {
        self.workshop.folder()
    }

    /// Moves `main` out of the repository.
    fn move_out(&self, to: &str, more: &[&str]) -> holdfast_tests::process::Finished {
        let arguments = [&["move-out", &self.url, to, "--branch", "main"], more].concat();
        holdfast(&self.workshop, self.folder(), &arguments)
    }

    fn verified(&self, name: &str) -> holdfast_tests::process::Finished {
        let inventory = self.folder().join(format!("{name}.inventory"));
        let inventory = inventory.to_str().unwrap();
        let database = self.workshop.database(name);
        ours(&database, &["verify", "--inventory", inventory])
    }
}

/// All files below a folder, with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn a_move_does_not_go_into_a_clone() {
    let Some(scene) = Scene::make() else { return };
    let other = format!("{}/acme/moved", scene.server.base_url());
    cloned(&scene.workshop, &scene.url, &[]);
    let part = ["clone", &scene.url, "part", "--single-branch"];
    holdfast(&scene.workshop, scene.folder(), &part).expect_success();
    for (database, to, more) in [
        ("copy", "copy", &[][..]),
        ("copy", other.as_str(), &["--via", "copy"]),
        ("part", "part", &[]),
        ("part", other.as_str(), &["--via", "part"]),
    ] {
        let folder = scene.folder().join(database);
        let before = files(&folder);
        let refused = scene.move_out(to, more).expect_code(4);
        assert!(
            refused.contains("it exists and is not an empty directory"),
            "{refused}"
        );
        assert_eq!(files(&folder), before, "{database}");
    }
    let left = std::fs::read_dir(scene.folder()).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    let is_inventory = |name: &std::ffi::OsString| name.to_string_lossy().contains("inventory");
    assert!(!names.iter().any(is_inventory), "{names:?}");
    scene.server.finish();
}

#[test]
fn a_file_in_the_place_of_an_inventory_stays_and_nothing_moves() {
    let Some(scene) = Scene::make() else { return };
    let other = format!("{}/acme/moved", scene.server.base_url());
    let path = scene.folder().join("moved.inventory");
    std::fs::write(&path, "of the user").unwrap();
    for (to, more) in [
        ("moved", &[][..]),
        (&other, &[]),
        (&other, &["--via", "way"]),
        ("new", &["--inventory", "moved.inventory"]),
    ] {
        let refused = scene.move_out(to, more).expect_code(4);
        assert!(refused.contains("moved.inventory exists"), "{refused}");
        assert!(
            refused.contains("hint: name another file with --inventory"),
            "{refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"of the user");
    }
    for name in ["moved", "way", "new"] {
        assert!(!scene.folder().join(name).exists(), "{name}");
    }
    let refs = ["refs", "--remote", &other];
    let there = holdfast(&scene.workshop, scene.folder(), &refs);
    assert!(there.stdout.is_empty(), "{there:#?}");
    scene
        .move_out("moved", &["--inventory", "list"])
        .expect_success();
    scene.server.finish();
}

#[test]
fn a_move_that_failed_at_its_end_goes_on_and_is_over_then() {
    let Some(scene) = Scene::make() else { return };
    let late = ["--inventory", "later/list"];
    scene.move_out("moved", &late).expect_failure();
    let moved = scene.workshop.database("moved");
    assert!(moved.folder().join(".dolt/holdfast/moved").exists());
    let status = ours(&moved, &["status"]).expect_success();
    assert!(!status.contains("unfinished"), "{status}");
    std::fs::create_dir(scene.folder().join("later")).unwrap();

    // What lies there by then is no part of what was moved, whether or not something lists it.
    let store = |database: &Database| database.folder().join(".dolt/noms");
    let is_table = |path: &PathBuf| path.file_name().unwrap().len() == 32;
    cloned(&scene.workshop, &scene.url, &[]);
    let foreign = files(&store(&scene.workshop.database("copy")));
    let (path, bytes) = foreign
        .into_iter()
        .find(|(path, _)| is_table(path))
        .unwrap();
    let planted = store(&moved).join(path.file_name().unwrap());
    std::fs::write(&planted, bytes).unwrap();
    let refused = scene.move_out("moved", &late).expect_code(4);
    assert!(
        refused.contains("reached by no branch and no tag that was moved"),
        "{refused}"
    );
    assert!(!scene.folder().join("later/list").exists());

    std::fs::remove_file(&planted).unwrap();
    let mark = moved.folder().join(".dolt/holdfast/moved");
    let marked = std::fs::read(&mark).unwrap();
    let told = scene.move_out("moved", &late).expect_success();
    assert!(told.contains("listed in later/list"), "{told}");
    assert!(!moved.folder().join(".dolt/holdfast").exists());
    assert_whole(&moved);
    let (before, list) = (files(moved.folder()), scene.folder().join("later/list"));
    let written = std::fs::read(&list).unwrap();
    // Killed behind the inventory.
    std::fs::create_dir(mark.parent().unwrap()).unwrap();
    std::fs::write(&mark, marked).unwrap();
    scene.move_out("moved", &late).expect_success();
    assert_eq!(std::fs::read(&list).unwrap(), written);
    assert_eq!(files(moved.folder()), before);
    scene.move_out("moved", &late).expect_code(4);
    assert_eq!(files(moved.folder()), before);

    // When the branch went on meanwhile, it is another move.
    scene
        .move_out("other", &["--inventory", "nowhere/list"])
        .expect_failure();
    scene
        .owner
        .commit("later", "update orders set amount = 3 where customer = 3");
    scene.owner.push(&["origin", "main"]);
    scene.move_out("other", &[]).expect_code(4);
    scene.server.finish();
}

#[test]
fn what_came_after_the_move_is_found() {
    let Some(scene) = Scene::make() else { return };
    scene.move_out("moved", &[]).expect_success();
    let verified = scene.verified("moved").expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    let moved = scene.workshop.database("moved");
    moved.ok(&["gc"]);
    scene.verified("moved").expect_success();

    moved.ok(&["remote", "add", "origin", &scene.url]);
    moved.fetch(&["origin"]);
    let found = scene.verified("moved").expect_code(6);
    assert!(found.contains("chunks are not in the inventory"), "{found}");
    scene.server.finish();
}
