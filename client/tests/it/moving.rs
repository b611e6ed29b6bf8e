//! One customer's branch out of a database of many: nothing of another one goes along.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::database::StoreSource;
use holdfast_doltdb::{Reached, RefName, Refs, reach};
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::proxy::FaultProxy;
use holdfast_tests::remote::Remote;
use holdfast_tests::say;

use crate::holdfast::{holdfast, ours};
use crate::scene::{assert_whole, forge, hash, prod, remotesrv, workshop};

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
    let runtime = tokio::runtime::Runtime::new().unwrap();
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
    let runtime = tokio::runtime::Runtime::new().unwrap();
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
    ours(&moved, &["pull"]).expect_success();
    assert_eq!(hash(&moved, "HEAD"), hash(&company, customer));
    moved.commit(
        "on the new hardware",
        "insert into own values (-2, 'moved')",
    );
    ours(&moved, &["push"]).expect_success();
    company.sql(&format!(
        "call dolt_checkout('{customer}'); call dolt_pull('origin', '{customer}');"
    ));
    assert_eq!(hash(&company, customer), hash(&moved, "HEAD"));

    let target = format!("{}/acme/{customer}", server.base_url());
    holdfast(
        &workshop,
        folder,
        &["move-out", &url, &target, "-b", customer],
    )
    .expect_success();
    let there = workshop.clone_from(&target, "there", &[]);
    assert_only(&company, &there, customer);
    assert!(Path::new(&folder.join(format!("{customer}.inventory"))).exists());
    server.finish();
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
