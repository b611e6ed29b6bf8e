//! Commits of a remote that no ref there would reach any more: only `--force` leaves them behind.

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::{holdfast, ours};
use crate::scene::{forge, hash, prod, published, refs_there, workshop};

/// A database and its remote, to which a colleague pushed what was fetched here and not merged.
struct Scene {
    server: Box<dyn Remote>,
    url: String,
    workshop: Workshop,
    mine: Database,
}

impl Scene {
    fn start() -> Option<Self> {
        let workshop = workshop()?;
        let server = forge();
        let url = prod(&*server);
        let mine = published(&workshop, World::SMALL, &url);
        let colleague = workshop.clone_from(&url, "colleague", &[]);
        colleague.commit("one more", "create table more (id int primary key)");
        colleague.commit("and another", "create table another (id int primary key)");
        colleague.ok(&["checkout", "-b", "theirs"]);
        colleague.commit("on a branch", "create table theirs (id int primary key)");
        colleague.push(&["origin", "main"]);
        colleague.push(&["origin", "theirs"]);
        ours(&mine, &["fetch"]).expect_success();
        Some(Self {
            server,
            url,
            workshop,
            mine,
        })
    }
}

#[test]
fn what_a_colleague_pushed_is_not_left_behind_without_force() {
    let Some(scene) = Scene::start() else { return };
    let (mine, url) = (&scene.mine, scene.url.as_str());
    let before = refs_there(mine, "origin");
    let main = hash(mine, "origin/main");
    let theirs = hash(mine, "origin/theirs");
    for command in ["mirror", "backup"] {
        for dry in [&["--dry-run"][..], &[]] {
            let arguments = [&[command, ".", url][..], dry].concat();
            let refused = ours(mine, &arguments).expect_code(4);
            for words in [
                format!("refs/heads/main (2 commits, the first {main})"),
                "refs/heads/theirs (".to_owned(),
                format!("{theirs})"),
                "--force".to_owned(),
            ] {
                assert!(refused.contains(&words), "{arguments:?}: {refused}");
            }
            assert_eq!(refs_there(mine, "origin"), before, "{arguments:?}");
        }
    }
    // A branch may go while another one still has its commits.
    mine.ok(&["merge", "origin/theirs"]);
    ours(mine, &["mirror", ".", url]).expect_success();
    let refs = refs_there(mine, "origin");
    assert!(!refs.contains("refs/heads/theirs"), "{refs}");
    // Under another name it is still there.
    mine.ok(&["branch", "-m", "north", "northern"]);
    ours(mine, &["mirror", ".", url]).expect_success();
    // What was not merged is lost only if that is asked for.
    mine.ok(&["branch", "-D", "south"]);
    let refused = ours(mine, &["mirror", ".", url]).expect_code(4);
    assert!(
        refused.contains("refs/heads/south (1 commit, "),
        "{refused}"
    );
    ours(mine, &["mirror", ".", url, "--keep-vanished"]).expect_success();
    ours(mine, &["mirror", ".", url, "--force"]).expect_success();
    scene.server.finish();
}

#[test]
fn a_tag_is_not_taken_from_the_only_way_to_its_commit() {
    let Some(scene) = Scene::start() else { return };
    let (mine, url) = (&scene.mine, scene.url.as_str());
    mine.ok(&["merge", "origin/theirs"]);
    mine.ok(&["tag", "kept", "south"]);
    mine.ok(&["branch", "-D", "south"]);
    ours(mine, &["mirror", ".", url]).expect_success();
    mine.ok(&["tag", "-d", "kept"]);
    let refused = ours(mine, &["mirror", ".", url]).expect_code(4);
    assert!(refused.contains("refs/tags/kept (1 commit, "), "{refused}");
    scene.server.finish();
}

#[test]
fn a_push_leaves_nothing_behind_but_what_is_named() {
    let Some(scene) = Scene::start() else { return };
    let mine = &scene.mine;
    let refused = ours(mine, &["push", "origin", "main"]).expect_code(4);
    assert!(refused.contains("non-fast-forward"), "{refused}");
    ours(mine, &["push", "origin", ":theirs"]).expect_success();
    ours(mine, &["push", "--delete", "origin", "south"]).expect_success();
    // Repeated backups go on from each other.
    mine.ok(&["merge", "origin/main"]);
    let other = format!("{}/acme/backups", scene.server.base_url());
    ours(mine, &["backup", ".", &other]).expect_success();
    mine.commit("later", "create table later (id int primary key)");
    ours(mine, &["backup", ".", &other]).expect_success();
    // Also from another place that has all of it.
    let copy = mine.copy_to("copy");
    copy.commit("later still", "create table still (id int primary key)");
    let copy = copy.folder().to_string_lossy().into_owned();
    holdfast(
        &scene.workshop,
        scene.workshop.folder(),
        &["backup", &copy, &other],
    )
    .expect_success();
    scene.server.finish();
}
