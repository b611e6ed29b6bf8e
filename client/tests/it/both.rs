//! Databases as dolt makes them, pushed by us; and old dolts that work by turns with us.

use std::path::Path;

use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;

use crate::holdfast::ours;
use crate::scene::{
    assert_follows, assert_whole, cloned, forge, hash, prod, published, remotesrv, state, workshop,
};

/// In the journal alone, as dolt left it.
fn fresh(workshop: &Workshop, name: &str) -> Database {
    World::SMALL.make(workshop, name)
}

/// Collected into table files, and more in the journal.
fn with_tables(workshop: &Workshop, name: &str) -> Database {
    let database = fresh(workshop, name);
    database.ok(&["gc", "--archive-level", "0"]);
    database.commit("after it", "insert into orders values (900001, 1, 'gc', 1)");
    database
}

/// Collected into archives twice, so that both generations have some.
fn with_archives(workshop: &Workshop, name: &str) -> Database {
    let database = fresh(workshop, name);
    database.ok(&["gc"]);
    database.commit("after it", "insert into orders values (900001, 1, 'gc', 1)");
    database.ok(&["gc"]);
    database
}

/// With stashes, and a merge that waits for its conflicts to be resolved.
fn in_the_middle(workshop: &Workshop, name: &str) -> Database {
    let database = fresh(workshop, name);
    database.sql("update orders set amount = 1000 where customer = 3");
    database.ok(&["stash"]);
    database.sql(
        "call dolt_checkout('north');
         update customers set name = 'of the north' where id = 5;
         call dolt_commit('-am', 'one side');
         call dolt_checkout('main');
         update customers set name = 'of the main' where id = 5;
         call dolt_commit('-am', 'the other side');",
    );
    database.run(&["merge", "north"]).expect_failure();
    assert!(database.ok(&["status"]).contains("unmerged"));
    database
}

/// A way to make a database.
type Make = fn(&Workshop, &str) -> Database;

const MADE: [(&str, Make); 4] = [
    ("fresh", fresh),
    ("tables", with_tables),
    ("archives", with_archives),
    ("middle", in_the_middle),
];

/// What dolt made arrives whole, and stays as it is here.
fn push_all_that_dolt_makes(server: Box<dyn Remote>) {
    let Some(workshop) = workshop() else {
        return server.finish();
    };
    for (name, make) in MADE {
        let database = make(&workshop, name);
        let url = format!("{}/acme/{name}", server.base_url());
        database.ok(&["remote", "add", "origin", &url]);
        let seen = || {
            let mut all = state(&database);
            all.push_str(&database.ok(&["stash", "list"]));
            all.push_str(&database.sql("select * from dolt_conflicts"));
            let follows = |line: &&str| !line.contains("remotes/origin/");
            let lines: Vec<&str> = all.lines().filter(follows).collect();
            lines.join("\n")
        };
        let before = seen();
        let pushed = ours(&database, &["push", "origin", "--all", "--tags"]).expect_success();
        assert_eq!(pushed.matches("[new branch]").count(), 3, "{pushed}");
        assert_eq!(pushed.matches("[new tag]").count(), 2, "{pushed}");
        assert_eq!(seen(), before, "{name}: a push changed what is here");
        assert_whole(&database);
        let copy = workshop.clone_from(&url, &format!("copy-{name}"), &[]);
        assert_follows(&copy, &database);
        assert_eq!(copy.log(), database.log());
        let pushed = ours(&database, &["push", "origin", "--all", "--tags"]).expect_success();
        assert!(pushed.contains("Everything up-to-date"), "{pushed}");
    }
    server.finish();
}

#[test]
fn all_that_dolt_makes_is_pushed_to_our_forge() {
    push_all_that_dolt_makes(forge());
}

#[test]
fn all_that_dolt_makes_is_pushed_to_dolts_own_server() {
    let Some(server) = remotesrv() else { return };
    push_all_that_dolt_makes(server);
}

/// What is compressed with zstd goes along as it is: with snappy it would be half as long again.
#[test]
fn a_push_of_archives_sends_no_more_than_they_hold() {
    let Some(workshop) = workshop() else { return };
    // Dolt compresses with zstd from a thousand chunks on.
    let database = fresh(&workshop, "archives");
    database.commit(
        "many rows",
        "create table notes (id int primary key, text varchar(200));
         insert into notes
             with recursive i (n) as (select 0 union all select n + 1 from i where n < 999)
             select a.n * 1000 + b.n, repeat(concat('a note of ', a.n, ' and ', b.n, '; '), 3)
             from i a cross join i b where a.n < 120",
    );
    database.ok(&["gc"]);
    let place = workshop.folder().join("place");
    let url = format!("file://{}", place.display());
    std::fs::create_dir(&place).unwrap();
    ours(&database, &["push", &url, "--all"]).expect_success();
    let count = |directory: &Path| {
        let store = NomsDir::open(directory).unwrap();
        let archives = store.files().iter();
        let archives = archives.filter(|file| file.kind() == FileKind::Archive);
        let lens = archives.map(|file| (u64::from(file.count()), file.len()));
        lens.fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1))
    };
    let (here, here_bytes) = count(&database.folder().join(".dolt/noms"));
    let (there, there_bytes) = count(&place);
    // All but the chunks of working sets and the like.
    assert!(
        there * 10 > here * 8,
        "{there} of {here} chunks are in archives"
    );
    assert!(
        there_bytes <= here_bytes,
        "{there_bytes} of {here_bytes} bytes"
    );
    let copy = workshop.clone_from(&url, "copy", &[]);
    assert_eq!(copy.log(), database.log());
    copy.fsck();
}

#[test]
fn a_shallow_clone_is_pushed_back_and_nowhere_else() {
    let Some(workshop) = workshop() else { return };
    let server = forge();
    let url = prod(&*server);
    let owner = published(&workshop, World::SMALL, &url);
    let shallow = workshop.clone_shallow(&url, "shallow", 2);
    shallow.commit(
        "from the shallow one",
        "insert into orders values (900001, 1, 'shallow', 1)",
    );
    let elsewhere = format!("{}/acme/elsewhere", server.base_url());
    let refused = ours(&shallow, &["push", &elsewhere, "main"]).expect_code(4);
    assert!(refused.contains("a shallow clone left it out"), "{refused}");
    ours(&shallow, &["push", "origin", "main"]).expect_success();
    owner.pull(&["origin", "main"]);
    assert_eq!(owner.log()[0], "from the shallow one");
    owner.fsck();

    owner.commit("onwards", "update orders set amount = 3 where customer = 3");
    owner.push(&["origin", "main"]);
    ours(&shallow, &["pull"]).expect_success();
    assert_eq!(shallow.log()[..2], owner.log()[..2]);

    // A branch that begins at what was left out does not bring it.
    let ghosts = shallow.folder().join(".dolt/noms/ghostObjects.txt");
    let ghosts = std::fs::read_to_string(ghosts).unwrap();
    let ghost = ghosts
        .lines()
        .find(|ghost| owner.run(&["log", "-n", "1", ghost]).success);
    let ghost = ghost.unwrap();
    owner.sql(&format!(
        "call dolt_checkout('-b', 'aside', '{ghost}');
         call dolt_commit('--allow-empty', '-m', 'aside'); call dolt_push('origin', 'aside');"
    ));
    ours(&shallow, &["fetch"]).expect_success();
    assert_eq!(hash(&shallow, "origin/aside"), hash(&owner, "aside"));
    let store = NomsDir::open(&shallow.folder().join(".dolt/noms")).unwrap();
    let found = store.find(ghost.parse().unwrap()).unwrap();
    assert_eq!(found, None, "what was left out came");
    server.finish();
}

#[test]
fn old_dolts_push_what_we_pull_and_pull_what_we_push() {
    for dolt in Dolt::find_old() {
        let workshop = Workshop::new(&dolt);
        let server = forge();
        let url = prod(&*server);
        let owner = published(&workshop, World::FOR_OLD_DOLTS, &url);
        let copy = cloned(&workshop, &url, &[]);
        copy.commit("copy", "insert into orders values (900001, 1, 'copy', 1)");
        ours(&copy, &["push", "origin", "main"]).expect_success();
        owner.pull(&["origin", "main"]);
        assert_eq!(owner.log(), copy.log(), "dolt {}", dolt.version());
        owner.commit("owner", "insert into orders values (900002, 1, 'owner', 1)");
        owner.push(&["origin", "main"]);
        ours(&copy, &["pull"]).expect_success();
        assert_eq!(owner.log(), copy.log(), "dolt {}", dolt.version());
        assert_follows(&copy, &owner);
        assert_whole(&copy);
        server.finish();
    }
}
