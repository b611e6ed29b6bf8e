//! Less free space on the disk than the floor.

use bytes::Bytes;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::table::TableFile;
use tonic::Code;

const NAME: &str = "acme/prod";

#[test]
fn under_the_floor_of_free_space_uploads_are_refused_with_the_reason_and_reads_go_on() {
    let forge = Forge::start(Plan::on_local_disk());
    forge.logs().expect("no room");
    let mut database = TinyDb::new();
    let fresh = database.commit_with("main", "one", &[("table", &[7; 50_000])]);
    let before = database.root();
    crate::run(async { forge.peer(NAME).push(&database, &fresh).await });
    // Half of the floor is left for records, which are small: a server must not come below that.
    let space = rustix::fs::statvfs(forge.data().as_path()).unwrap();
    let floor = space.f_bavail * space.f_frsize / 2 * 3;
    let forge = forge.restart(|plan| plan.more.push(("upload.free_floor", floor.to_string())));
    let more = database.commit_with("main", "two", &[("table", &[8; 50_000])]);
    let file = TableFile::classic(&more);
    crate::run(async {
        let peer = forge.peer(NAME);
        let refused = peer.upload_url(&file).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        eprintln!("refused: {}", refused.message());
        assert!(refused.message().contains("free"), "no reason: {refused}");
        assert_eq!(peer.root().await.unwrap(), before);
        for chunk in &fresh {
            let address = holdfast_doltdb::testing::address_of(chunk);
            assert_eq!(peer.read(address).await, Some(Bytes::clone(chunk)));
        }
        assert_eq!(peer.files().await.unwrap().table_file_info.len(), 1);
    });
    let forge = forge.restart(|plan| plan.more.clear());
    crate::run(async { forge.peer(NAME).push(&database, &more).await });
    forge.finish();
}
