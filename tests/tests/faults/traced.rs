//! A server that writes all log lines that a filter can ask for: no secret is in them.

use std::process::Command;
use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::bucket::Bucket;
use holdfast_tests::table::TableFile;
use holdfast_tests::web;
use tempfile::TempDir;

use crate::child::{self, Child};

const TOKEN: &str = "a-token-that-is-never-logged";

/// Everything, and once more by the names of those that see requests and answers.
const FILTER: &str = "trace,aws_sigv4::http_request=trace,aws_smithy_runtime=trace,h2=trace";

#[test]
fn a_log_of_everything_has_no_secret() {
    crate::run(async {
        let bucket = Arc::new(Bucket::start().await);
        let folder = TempDir::with_prefix("holdfast-traced-").unwrap();
        let (data, shared) = (folder.path().join("data"), Arc::clone(&bucket));
        let mut child = Child::start(move || {
            let mut command = Command::new(child::binary());
            command
                .args(["serve", "--stop-grace", "0s", "--log-filter", FILTER])
                .args(["--upload-free-floor", "1MiB"])
                .args(["--data-delivery", "presigned", "--data"])
                .arg(&data)
                .env("HOLDFAST_ADMIN_TOKEN", TOKEN)
                // By these the SDK prints whole bodies, the one with the key to sign with among them.
                .env("LOG_SIGNABLE_BODY", "true")
                .env("LOG_SENSITIVE_BODIES", "true");
            child::in_bucket(command, &data, &shared)
        });
        let mut database = TinyDb::new();
        let fresh = database.commit_with("main", "first", &[("table", &[7; 50_000])]);
        let file = TableFile::classic(&fresh);
        let peer = child.peer("acme/prod").with_password("admin", TOKEN);
        peer.store(&file).await;
        let with_bearer = child.peer("acme/prod").with_bearer(TOKEN);
        let (root, files) = (database.root(), [&file]);
        let committed = with_bearer.commit(root, RootAddress::ZERO, &files).await;
        assert!(committed.unwrap());
        let listed = peer.files().await.unwrap().table_file_info.remove(0);
        assert!(listed.url.contains("X-Amz-Signature="));
        assert!(web::get(&listed.url, &[]).await.status.is_success());
        child.kill();

        let log = child.log();
        for name in [": aws_smithy_runtime::client::", ": h2::codec::"] {
            assert!(log.contains(name), "the log has nothing of {name}");
        }
        let in_a_header = data_encoding::BASE64.encode(format!("admin:{TOKEN}").as_bytes());
        let key = signing_key(&bucket);
        let as_numbers = format!("{:?}", key.as_bytes());
        let secrets = [
            TOKEN,
            &in_a_header,
            bucket.secret_key(),
            &key,
            as_numbers.trim_matches(['[', ']']),
            "Signature=",
        ];
        for (number, secret) in secrets.into_iter().enumerate() {
            assert!(!log.contains(secret), "secret {number} is in the log");
        }
    });
}

/// What data addresses are signed with, as it is written in the bucket.
fn signing_key(bucket: &Bucket) -> String {
    let keys = bucket.keys();
    let key = keys.iter().find(|key| key.contains("/keys/")).unwrap();
    let text = String::from_utf8(bucket.object(key).unwrap().to_vec()).unwrap();
    let (_, rest) = text.split_once("\"secret\": \"").unwrap();
    let (secret, _) = rest.split_once('"').unwrap();
    assert_eq!(secret.len(), 64);
    secret.to_owned()
}
