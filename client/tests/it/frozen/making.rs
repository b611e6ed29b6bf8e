//! Makes what is frozen, with the version of this source.

use std::path::Path;

use data_encoding::HEXLOWER;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::noms_dir::{NomsDir, PartialFile};
use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::process::Daemon;
use holdfast_tests::proxy::{FaultProxy, Stop};
use holdfast_tests::{say, wait};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::runtime::Runtime;

use super::{HOST, copy, readdress};
use crate::holdfast::{command, holdfast};
use crate::scene::{hash, workshop};

/// How many backups the vault has, two of them with records of the first form.
pub(super) const BACKUPS: usize = 18;

/// Clones that were cut off, and how they were begun.
pub(super) const UNFINISHED: [(&str, &[&str]); 2] = [
    ("unfinished", &[]),
    (
        "unfinished-branch",
        &["--single-branch", "--branch", "main"],
    ),
];

/// Where it goes.
const FOLDER: &str = "HOLDFAST_MAKE_FROZEN";

#[test]
#[ignore = "long: makes fixtures in the folder that HOLDFAST_MAKE_FROZEN names"]
fn make() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        say::skipped("no HOLDFAST_MAKE_FROZEN, a folder that is not there yet");
        return;
    };
    let folder = Path::new(&folder);
    std::fs::create_dir(folder).unwrap();
    let Some(workshop) = workshop() else { return };
    let mut expected = serde_json::Map::new();
    let mut expect = |name: &str, database: &Database, revision: &str| {
        expected.insert(name.to_owned(), hash(database, revision).into());
    };
    let ok =
        |arguments: &[&str]| holdfast(&workshop, workshop.folder(), arguments).expect_success();
    let owner = workshop.init("owner");
    owner.commit(
        "begun",
        "create table word (id int primary key, text varchar(600))",
    );

    for number in 1..=BACKUPS {
        let words: Vec<_> = (0..20).map(|word| text(number * 100 + word)).collect();
        let rows = (0..).zip(&words).map(|(row, text)| {
            let id = 1000 * number + row;
            format!("({id}, '{text}')")
        });
        let rows: Vec<_> = rows.collect();
        let message = format!("words {number}");
        owner.commit(
            &message,
            &format!("insert into word values {}", rows.join(", ")),
        );
        if number == 1 {
            owner.ok(&["tag", "v1"]);
            owner.ok(&["branch", "other"]);
            expect("first", &owner, "main");
            expect("other", &owner, "other");
        }
        ok(&["backup", "owner", "./vault"]);
        if number <= 2 {
            to_first_form(&workshop.folder().join("vault"), number);
        }
        if number == 3 {
            expect("third", &owner, "main");
        }
    }
    expect("last", &owner, "main");
    copy(&workshop.folder().join("vault"), &folder.join("vault"));

    let forge = Forge::start(Plan::on_local_disk());
    let url = format!("{}/acme/prod", forge.base_url());
    owner.ok(&["remote", "add", "origin", &url]);
    for name in ["main", "other", "v1"] {
        owner.push(&["origin", name]);
    }
    ok(&["clone", &url, "clone"]);
    expect("cloned", &owner, "main");
    owner.commit("later", "insert into word values (1, 'later')");
    owner.push(&["origin", "main"]);
    expect("main", &owner, "main");
    ok(&["move-out", &url, "moved", "-b", "other", "--keep-remote"]);
    cut_off(&workshop, forge.base_url());
    keep_half(&workshop);

    for name in ["clone", "moved", "unfinished", "unfinished-branch"] {
        let target = folder.join(name);
        copy(&workshop.folder().join(name), &target);
        readdress(&target, forge.base_url(), HOST);
    }
    let inventory = workshop.folder().join("moved.inventory");
    std::fs::copy(inventory, folder.join("moved.inventory")).unwrap();
    let data = forge.data();
    let forge = forge.restart(|_| {
        copy(&data, &folder.join("store"));
    });
    forge.finish();
    std::fs::write(
        folder.join("expected.json"),
        serde_json::to_string_pretty(&Value::Object(expected)).unwrap() + "\n",
    )
    .unwrap();
    for kept in ["index", "spool"] {
        drop(std::fs::remove_dir_all(folder.join("store").join(kept)));
    }
}

/// Text that does not compress well.
fn text(number: usize) -> String {
    let digests = (0..2).map(|part| sha2::Sha512::digest(format!("{number} {part}")));
    digests.map(|digest| HEXLOWER.encode(&digest)).collect()
}

/// Writes the newest record as the first form had it. What it says stays the same.
fn to_first_form(vault: &Path, number: usize) {
    let path = vault.join(format!("holdfast-backups/{number:010}.json"));
    let record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let files: Vec<_> = NomsDir::open(vault)
        .unwrap()
        .files()
        .iter()
        .map(|file| json!({ "id": file.id(), "chunks": file.count() }))
        .collect();
    let mut first = serde_json::Map::new();
    for name in [
        "form", "id", "at", "root", "replaces", "source", "added", "files", "by", "client",
        "previous",
    ] {
        first.insert(name.to_owned(), record[name].clone());
    }
    first["form"] = 1.into();
    first["files"] = files.into();
    let text = serde_json::to_string_pretty(&first).unwrap() + "\n";
    std::fs::write(&path, text).unwrap();
}

/// Begins the clones, and kills them.
fn cut_off(workshop: &Workshop, base_url: &str) {
    let runtime = Runtime::new().unwrap();
    let port = base_url.rsplit_once(':').unwrap().1;
    let backend = format!("127.0.0.1:{port}").parse().unwrap();
    let proxy = runtime.block_on(FaultProxy::start(backend, [])).unwrap();
    let through = format!("http://127.0.0.1:{}", proxy.address().port());
    let url = format!("{through}/acme/prod");
    for (name, more) in UNFINISHED {
        let whole = format!("{name}-whole");
        let clone = [&["clone", &url, &whole], more].concat();
        let before = proxy.moved();
        holdfast(workshop, workshop.folder(), &clone).expect_success();
        let size = proxy.moved() - before;
        proxy.stop_after(size * 3 / 4, Stop::Hold);
        let clone = [&["clone", &url, name], more].concat();
        let mut client = Daemon::start(command(workshop, workshop.folder(), &clone));
        wait::until("the client to stand still", || proxy.is_holding());
        client.kill();
        proxy.go_on();
        readdress(&workshop.folder().join(name), &through, base_url);
    }
}

/// Puts half of what the branch reaches into what its clone kept, as if it had come.
fn keep_half(workshop: &Workshop) {
    let whole = workshop.folder().join("unfinished-branch-whole/.dolt/noms");
    let store = NomsDir::open(&whole).unwrap();
    let incoming = workshop
        .folder()
        .join("unfinished-branch/.dolt/holdfast/incoming");
    std::fs::create_dir_all(&incoming).unwrap();
    let mut kept = PartialFile::open(&incoming, "chunks").unwrap();
    let already: Vec<_> = kept.kept().collect();
    for file in store.files() {
        let addresses = file.addresses().map(Result::unwrap);
        for address in addresses.step_by(2) {
            if already.contains(&address) {
                continue;
            }
            let span = file.find(address).unwrap().unwrap();
            let (mut stored, mut chunk) = (Vec::new(), Vec::new());
            file.read_both(span, &mut Decoder::new(), &mut stored, &mut chunk)
                .unwrap();
            let len = u32::try_from(chunk.len()).unwrap();
            kept.append(address, &stored, len).unwrap();
        }
    }
    kept.flush().unwrap();
}
