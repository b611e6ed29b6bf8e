//! One customer's branch out of a database of many: nothing of another one goes along.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::database::StoreSource;
use holdfast_doltdb::{Reached, RefName, Refs, reach};
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::process::Daemon;
use holdfast_tests::proxy::{FaultProxy, Stop};
use holdfast_tests::remote::Remote;
use holdfast_tests::world::World;
use holdfast_tests::{say, wait};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::holdfast::{command, holdfast, ours};
use crate::scene::{assert_whole, forge, hash, prod, published, remotesrv, workshop};

const CUSTOMERS: usize = 50;

/// A database in which each customer has a branch with a table of its own and changes to shared rows.
fn company(workshop: &Workshop) -> Database {
    let company = workshop.init("company");
    let mut script = String::from(
        "create table common (id int primary key, text varchar(200));
         insert into common with recursive n as (select 0 id union all select id + 1 from n where id < 999)
             select id, sha2(concat('s', id), 512) from n;
         insert into common select a.id + 1000 * b.id, sha2(concat(a.id, '-', b.id), 512)
             from common a join common b on b.id > 0 and b.id < 15;
         call dolt_commit('-A', '-m', 'shared');\n",
    );
    for customer in 0..CUSTOMERS {
        writeln!(
            script,
            "call dolt_checkout('-b', 'customer-{customer}', 'main');
             create table own (id int primary key, text varchar(200));
             insert into own select id, sha2(concat('{customer}', id), 512) from common where id < 2000;
             update common set text = sha2(concat(text, '{customer}'), 512) where id % 1500 = {customer};
             call dolt_commit('-A', '-m', 'customer {customer}');"
        )
        .unwrap();
    }
    company.sql(&script);
    company
}

fn store(database: &Database) -> Arc<NomsDir> {
    Arc::new(NomsDir::open(&database.folder().join(".dolt/noms")).unwrap())
}

/// Everything below a commit.
async fn below(store: &Arc<NomsDir>, commit: ChunkAddress) -> HashSet<ChunkAddress> {
    let source = StoreSource::new(Arc::clone(store), BlockingPool::new(2));
    let mut found = HashSet::new();
    let visit = |reached: Reached<'_>| {
        if let Reached::Chunk { address, .. } = reached {
            found.insert(address);
        }
        ControlFlow::Continue(())
    };
    reach(&source, [commit], visit).await.unwrap();
    found
}

/// All chunks that lie in a store, listed or not: nothing else may lie there either.
fn all_chunks(store: &NomsDir) -> HashSet<ChunkAddress> {
    let files = store.files().iter();
    let chunks = files.flat_map(|file| file.addresses().collect::<Vec<_>>());
    let chunks = chunks.map(Result::unwrap);
    let journal = store
        .journal()
        .into_iter()
        .flat_map(|journal| journal.addresses());
    chunks.chain(journal).collect()
}

async fn branches(store: &Arc<NomsDir>) -> Vec<String> {
    let source = StoreSource::new(Arc::clone(store), BlockingPool::new(2));
    let mut refs = Refs::open(&source, store.root()).await.unwrap();
    let mut names = Vec::new();
    while let Some((name, _)) = refs.next().await.unwrap() {
        if let RefName::Branch(branch) | RefName::RemoteBranch { branch, .. } = name {
            names.push(branch);
        }
    }
    names
}

/// Checks that a store holds what `customer` reaches, and of the company nothing else.
fn assert_only(company: &Database, copy: &Database, customer: &str) -> u64 {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (owned, copied) = (store(company), store(copy));
        let head = hash(company, customer).parse().unwrap();
        let wanted = below(&owned, head).await;
        let here = all_chunks(&copied);
        assert!(wanted.is_subset(&here), "something is missing");
        let everything = all_chunks(&owned);
        let foreign: Vec<_> = here.difference(&wanted).collect();
        let foreign: Vec<_> = foreign
            .into_iter()
            .filter(|chunk| everything.contains(chunk))
            .collect();
        assert_eq!(foreign, Vec::<&ChunkAddress>::new(), "of other branches");
        let known = branches(&copied).await;
        assert!(known.iter().all(|branch| branch == customer), "{known:?}");
        let places = wanted
            .iter()
            .map(|chunk| copied.find(*chunk).unwrap().unwrap());
        places.map(stored_len).sum()
    })
}

fn stored_len(place: holdfast_chunkstore::noms_dir::Place) -> u64 {
    use holdfast_chunkstore::noms_dir::Place;
    u64::from(match place {
        Place::File { span, .. } => span.data.len,
        Place::Journal { span } => span.len,
    })
}

fn moves_out(server: Box<dyn Remote>) {
    let Some(workshop) = workshop() else { return };
    let runtime = Runtime::new().unwrap();
    let company = company(&workshop);
    let url = prod(&*server);
    company.ok(&["remote", "add", "origin", &url]);
    company.push(&["--all", "origin"]);
    let address = server
        .base_url()
        .trim_start_matches("http://")
        .replace("localhost", "127.0.0.1");
    let proxy = runtime
        .block_on(FaultProxy::start(address.parse().unwrap(), []))
        .unwrap();
    let through = format!("http://{}/acme/prod", proxy.address());
    let customer = "customer-17";

    let folder = workshop.folder();
    let arguments = [
        "clone",
        &through,
        "one",
        "--single-branch",
        "--branch",
        customer,
    ];
    holdfast(&workshop, folder, &arguments).expect_success();
    let one = workshop.database("one");
    let needed = assert_only(&company, &one, customer);
    assert_whole(&one);
    // Dolt's own server gives addresses of its own, past the proxy.
    if !proxy_is_passed_by(&*server) {
        let moved = proxy.moved();
        say::line(format_args!(
            "{moved} bytes moved for {needed} bytes of chunks"
        ));
        // Requests and answers take two in a hundred. Reading over small gaps would bring four.
        assert!(
            moved * 100 <= needed * 103,
            "{moved} bytes moved for {needed}"
        );
    }

    let arguments = ["move-out", &url, "moved", "--branch", customer];
    let told = holdfast(&workshop, folder, &arguments).expect_success();
    assert!(told.contains("listed in moved.inventory"), "{told}");
    let moved = workshop.database("moved");
    assert_only(&company, &moved, customer);
    assert_whole(&moved);
    let inventory = folder.join("moved.inventory");
    let inventory = inventory.to_str().unwrap();
    let verified = ours(&moved, &["verify", "--inventory", inventory]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    let other = ours(&company, &["verify", "--inventory", inventory]).expect_failure();
    assert!(other.contains("chunks are not in the inventory"), "{other}");

    // The two still find each other.
    company.sql(&format!(
        "call dolt_checkout('{customer}'); insert into own values (-1, 'late'); call dolt_commit('-am', 'late');"
    ));
    company.push(&["origin", customer]);
    ours(&moved, &["pull", &url, customer]).expect_success();
    assert_eq!(hash(&moved, "HEAD"), hash(&company, customer));
    moved.commit(
        "on the new hardware",
        "insert into own values (-2, 'moved')",
    );
    ours(&moved, &["push", &url, customer]).expect_success();
    company.sql(&format!(
        "call dolt_checkout('{customer}'); call dolt_pull('origin', '{customer}');"
    ));
    assert_eq!(hash(&company, customer), hash(&moved, "HEAD"));

    let target = format!("{}/acme/{customer}", server.base_url());
    let arguments = ["move-out", &url, &target, "-b", customer];
    holdfast(&workshop, folder, &arguments).expect_success();
    let there = workshop.clone_from(&target, "there", &[]);
    assert_only(&company, &there, customer);
    server.finish();
}

/// A proxy before a server, and the address of the server through it.
fn proxy_before(runtime: &Runtime, server: &dyn Remote) -> (FaultProxy, String) {
    let base_url = server.base_url();
    let (_, port) = base_url.rsplit_once(':').unwrap();
    let backend = format!("127.0.0.1:{port}").parse().unwrap();
    let proxy = runtime.block_on(FaultProxy::start(backend, [])).unwrap();
    let through = format!("http://localhost:{}", proxy.address().port());
    (proxy, through)
}

/// What a command printed that was killed when so many bytes had passed the proxy.
fn killed_at(proxy: &FaultProxy, bytes: u64, command: std::process::Command) -> String {
    proxy.stop_after(bytes, Stop::Hold);
    let mut client = Daemon::start(command);
    wait::until("the client to stand still", || {
        assert!(!client.has_ended(), "{}", client.log());
        proxy.is_holding()
    });
    client.kill();
    proxy.go_on();
    client.log()
}

/// The refs of a remote by name.
fn refs_at(workshop: &Workshop, url: &str) -> Vec<String> {
    let arguments = ["refs", "--remote", url, "--all", "--format", "json"];
    let printed = holdfast(workshop, workshop.folder(), &arguments).expect_success();
    let name = |line: &str| {
        let told: Value = serde_json::from_str(line).unwrap();
        told["name"].as_str().unwrap().to_owned()
    };
    printed.lines().map(name).collect()
}

/// What a run holds of the one move that is kept in a folder.
fn lock_below(kept: &Path) -> File {
    let entry = std::fs::read_dir(kept).unwrap().next().unwrap().unwrap();
    File::open(entry.path().join(".holdfast-lock")).unwrap()
}

/// The chunks that an inventory lists.
fn listed(inventory: &Path) -> HashSet<ChunkAddress> {
    let text = std::fs::read_to_string(inventory).unwrap();
    let lines = text.lines().skip(2);
    lines.map(|line| line.parse().unwrap()).collect()
}

/// Checks that a repository holds what a branch and the two tags on it reach, that this is what the inventory lists,
/// and that nothing else is there but its root.
fn assert_is_there(company: &Database, customer: &str, target: &str, inventory: &Path) {
    let (workshop, runtime) = (company.workshop(), Runtime::new().unwrap());
    let bare = ["clone", "--bare", target, "there"];
    holdfast(workshop, workshop.folder(), &bare).expect_success();
    let there = Arc::new(NomsDir::open(&workshop.folder().join("there")).unwrap());
    let mut wanted = runtime.block_on(async {
        let root = there.root().chunk().unwrap();
        below(&there, root).await
    });
    assert_eq!(all_chunks(&there), wanted, "more than the root reaches");
    assert!(wanted.remove(&there.root().chunk().unwrap()));
    let owned = all_chunks(&store(company));
    assert!(wanted.is_subset(&owned), "what the company has not");
    let reached = runtime.block_on(async {
        let store = store(company);
        below(&store, hash(company, customer).parse().unwrap()).await
    });
    assert_eq!(wanted.difference(&reached).count(), 2, "two tags");
    assert_eq!(listed(inventory), wanted);
}

/// Checks that the old place and the new one still find each other.
fn assert_find_each_other(company: &Database, moved: &Database, customer: &str, url: &str) {
    company.sql(&format!(
        "call dolt_checkout('{customer}'); insert into own values (-1, 'late'); call dolt_commit('-am', 'late');"
    ));
    company.push(&["origin", customer]);
    moved.ok(&["remote", "add", "old", url]);
    ours(moved, &["pull", "old", customer]).expect_success();
    assert_eq!(hash(moved, "HEAD"), hash(company, customer));
    moved.commit("moved", "insert into own values (-2, 'moved')");
    ours(moved, &["push", "origin", customer]).expect_success();
    ours(moved, &["push", "old", customer]).expect_success();
    company.sql(&format!(
        "call dolt_checkout('{customer}'); call dolt_pull('origin', '{customer}');"
    ));
    assert_eq!(hash(company, customer), hash(moved, "HEAD"));
}

#[test]
fn a_customer_moves_to_another_forge_with_tags_and_nothing_else() {
    let Some(workshop) = workshop() else { return };
    let runtime = Runtime::new().unwrap();
    let (old, new) = (forge(), forge());
    let company = company(&workshop);
    let customer = "customer-17";
    for (tag, commit) in [
        ("ours", customer),
        ("shared", "main"),
        ("other", "customer-3"),
    ] {
        company.ok(&["tag", "-m", tag, tag, commit]);
    }
    let url = prod(&*old);
    company.ok(&["remote", "add", "origin", &url]);
    ours(&company, &["push", "--all", "--tags", "origin"]).expect_success();
    let (from, from_url) = proxy_before(&runtime, &*old);
    let (to, to_url) = proxy_before(&runtime, &*new);
    let (source, target) = (
        format!("{from_url}/acme/prod"),
        format!("{to_url}/acme/{customer}"),
    );
    let arguments = ["move-out", &source, &target, "--branch", customer];
    let folder = workshop.folder();
    let kept = workshop.home().join(".cache/holdfast");
    let kept_count = || std::fs::read_dir(&kept).map_or(0, Iterator::count);

    // Cut while it comes, and while it goes. What came does not come again.
    let run = || command(&workshop, folder, &arguments);
    let printed = killed_at(&from, 1_000_000, run());
    assert!(!printed.contains("moved to"), "{printed}");
    assert_eq!(kept_count(), 1);
    let lock = lock_below(&kept);
    lock.try_lock().unwrap();
    let refused = holdfast(&workshop, folder, &arguments).expect_code(11);
    assert!(refused.contains(" works in it"), "{refused}");
    drop(lock);
    let before = from.moved();
    let printed = killed_at(&to, 300_000, run());
    assert!(!printed.contains("moved to"), "{printed}");
    let first = 1_000_000 + from.moved() - before;
    let before = from.moved();
    let printed = holdfast(&workshop, folder, &arguments).expect_success();
    let again = from.moved() - before;
    assert!(again * 20 < first, "{again} bytes came after {first}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[1..4]
            .iter()
            .map(|line| &line[..14])
            .collect::<Vec<_>>(),
        [" * [new branch", " * [new tag]  ", " * [new tag]  "],
        "{printed}"
    );
    let moved = format!("moved to {target}: 1 branches, 2 tags, ");
    assert!(lines[4].starts_with(&moved), "{printed}");
    assert_eq!(kept_count(), 0, "what was on the way is left");

    let names = refs_at(&workshop, &target);
    let head = format!("refs/heads/{customer}");
    assert_eq!(names, [&head, "refs/tags/ours", "refs/tags/shared"]);
    let inventory = folder.join(format!("{customer}.inventory"));
    assert_is_there(&company, customer, &target, &inventory);
    let moved = workshop.clone_from(&target, "moved", &[]);
    assert_find_each_other(&company, &moved, customer, &url);
    old.finish();
    new.finish();
}

#[test]
fn a_move_that_is_refused_says_where_it_waits_and_begins_anew_when_the_source_moved() {
    let Some(workshop) = workshop() else { return };
    let (old, new) = (forge(), forge());
    let url = prod(&*old);
    let owner = published(&workshop, World::SMALL, &url);
    let target = prod(&*new);
    let stranger = workshop.init("stranger");
    stranger.ok(&["remote", "add", "origin", &target]);
    stranger.commit("strange", "create table strange (id int primary key)");
    stranger.push(&["origin", "main"]);

    let arguments = ["move-out", &url, &target, "--branch", "main"];
    let folder = workshop.folder();
    let refused = holdfast(&workshop, folder, &arguments).expect_code(4);
    let kept = workshop.home().join(".cache/holdfast");
    let words = format!("what came is kept in {}/", kept.display());
    assert!(refused.contains(&words), "{refused}");
    assert!(!refused.contains("moved to"), "{refused}");

    // Now another branch is there instead of the one in the way, and the source goes on.
    stranger.push(&["origin", "main:side"]);
    stranger.push(&["origin", ":main"]);
    owner.commit("later", "update orders set amount = 3 where customer = 3");
    owner.push(&["origin", "main"]);
    let moved = holdfast(&workshop, folder, &arguments);
    assert!(moved.stderr.contains("gathering anew"), "{moved:#?}");
    assert!(moved.expect_success().contains("moved to"));
    let copy = workshop.clone_from(&target, "moved", &["--branch", "main"]);
    assert_eq!(hash(&copy, "main"), hash(&owner, "main"));
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 0);
    old.finish();
    new.finish();
}

#[test]
fn an_inventory_lists_what_was_pushed_whatever_was_done_to_the_way_meanwhile() {
    let Some(workshop) = workshop() else { return };
    let (old, new) = (forge(), forge());
    let url = prod(&*old);
    published(&workshop, World::SMALL, &url);
    let (target, folder) = (prod(&*new), workshop.folder());
    let arguments = [
        "move-out", &url, &target, "--branch", "main", "--via", "way",
    ];
    holdfast(&workshop, folder, &arguments).expect_success();
    let inventory = folder.join("prod.inventory");
    let pushed = listed(&inventory);

    // Refs and data come into one file, and something into the journal that is not pushed.
    let way = workshop.database("way");
    way.ok(&["gc"]);
    way.sql("create table aside (id int primary key); insert into aside values (1);");
    holdfast(&workshop, folder, &arguments).expect_success();
    assert_eq!(listed(&inventory), pushed);
    way.ok(&["gc"]);
    holdfast(&workshop, folder, &arguments).expect_success();
    assert_eq!(listed(&inventory), pushed);
    old.finish();
    new.finish();
}

fn proxy_is_passed_by(server: &dyn Remote) -> bool {
    server.kind() == holdfast_tests::remote::RemoteKind::Remotesrv
}

#[test]
fn a_branch_out_of_our_forge_takes_nothing_else_along() {
    moves_out(forge());
}

#[test]
fn a_branch_out_of_dolts_own_server_takes_nothing_else_along() {
    let Some(server) = remotesrv() else { return };
    moves_out(server);
}
