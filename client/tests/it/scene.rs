//! Where tests begin, and what of it must be equal in the end.

use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::remote::{Remote, Remotesrv};
use holdfast_tests::world::{BRANCHES, Contents, Side, TAGS, World};

use crate::holdfast::{holdfast, ours};

/// An empty workshop of today's dolt, or nothing after a word on stderr.
pub(crate) fn workshop() -> Option<Workshop> {
    Dolt::find().as_ref().map(Workshop::new)
}

/// Our server.
pub(crate) fn forge() -> Box<dyn Remote> {
    Box::new(Forge::start(Plan::on_local_disk()))
}

/// Dolt's own, or nothing after a word on stderr.
pub(crate) fn remotesrv() -> Option<Box<dyn Remote>> {
    Remotesrv::start(&[]).map(|server| Box::new(server) as Box<dyn Remote>)
}

/// The address of the repository that most tests use.
pub(crate) fn prod(server: &dyn Remote) -> String {
    format!("{}/acme/prod", server.base_url())
}

/// A world whose branches and tags dolt pushed.
pub(crate) fn published(workshop: &Workshop, world: World, url: &str) -> Database {
    let owner = world.make(workshop, "owner");
    let refs = BRANCHES.iter().chain(&TAGS);
    let pushes: String = refs
        .map(|name| format!("call dolt_push('origin', '{name}');\n"))
        .collect();
    owner.sql(&format!(
        "call dolt_remote('add', 'origin', '{url}');\n{pushes}"
    ));
    owner
}

/// A clone by us, called `copy`.
pub(crate) fn cloned(workshop: &Workshop, url: &str, more: &[&str]) -> Database {
    let arguments = [&["clone", url, "copy"], more].concat();
    let printed = holdfast(workshop, workshop.folder(), &arguments).expect_success();
    assert!(
        printed.starts_with("cloned into copy: branch "),
        "{printed}"
    );
    workshop.database("copy")
}

/// What a copy has of its remote is what the owner has.
#[track_caller]
pub(crate) fn assert_follows(copy: &Database, owner: &Database) {
    assert_eq!(
        Contents::of(copy, Side::Origin, &BRANCHES),
        Contents::of(owner, Side::Local, &BRANCHES)
    );
}

/// Neither we nor dolt find anything wrong.
#[track_caller]
pub(crate) fn assert_whole(database: &Database) {
    let verified = ours(database, &["verify"]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    if database.workshop().dolt().has_fsck() {
        database.fsck();
    }
}

/// All that a command must not change when it changes nothing: refs, what is not committed, and the upstreams.
#[track_caller]
pub(crate) fn state(database: &Database) -> String {
    let seen = database.sql(
        "select name, hash from dolt_branches order by name;
         select name, hash from dolt_remote_branches order by name;
         select tag_name, tag_hash from dolt_tags order by tag_name;
         select * from dolt_status;
         select hashof('HEAD'), dolt_hashof_db('WORKING'), dolt_hashof_db('STAGED');",
    );
    let upstreams = std::fs::read_to_string(database.folder().join(".dolt/repo_state.json"));
    seen + &upstreams.unwrap()
}

/// The refs of a remote of a database.
#[track_caller]
pub(crate) fn refs_there(database: &Database, remote: &str) -> String {
    ours(database, &["refs", "--remote", remote, "--format", "json"]).expect_success()
}

/// The commit that a revision stands for.
#[track_caller]
pub(crate) fn hash(database: &Database, revision: &str) -> String {
    let printed = database.sql(&format!("select hashof('{revision}');"));
    printed.lines().nth(1).unwrap().to_owned()
}
