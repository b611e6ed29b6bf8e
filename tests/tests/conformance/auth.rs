//! Statements 11 to 15: who may do what, until accounts exist (one administrator token).

use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::peer::Peer;
use holdfast_tests::table::TableFile;
use holdfast_tests::web;
use http::StatusCode;
use tonic::Code;

use crate::Setup;
use crate::calls::{self, Calls, Naming};
use crate::transport::closed;

pub(crate) const TOKEN: &str = "s3cret:with:colons";

/// What a logged-in DoltHub user sends to every server: a well-formed token of a key that we do not know.
const FOREIGN_TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6InBzbnNoY2c0Mmd0NGlyMjFhNDhqMHFiM2RjazhndDZpcG1kdWtldWsz\
ZTI5YSIsImRvbHRfdG9rZW5fdmVyc2lvbiI6IjIwMjMuMDEifQ.eyJhdWQiOlsibG9jYWxob3N0Il0sImV4cCI6MjAwMDAwMDAwMCwiaXNzIjoiZG9\
sdC1jbGllbnQuZG9sdGh1Yi5jb20ifQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) async fn s11_an_unknown_key_is_nobody(setup: Setup) {
    let forge = setup.start(closed);
    let (database, file) = publish(&forge.peer("acme/prod").with_password("me", TOKEN)).await;
    let stranger = forge.peer("acme/prod").with_bearer(FOREIGN_TOKEN);
    assert_eq!(
        stranger.root().await.unwrap(),
        database.root(),
        "a public repository is read"
    );
    all_taken(read_calls(&stranger, &file).await);
    all_refused(write_calls(&stranger).await, Code::Unauthenticated);
    let forge = forge.restart(|plan| plan.reads_need_the_token = true);
    let stranger = forge.peer("acme/prod").with_bearer(FOREIGN_TOKEN);
    all_refused(read_calls(&stranger, &file).await, Code::Unauthenticated);
    all_refused(write_calls(&stranger).await, Code::Unauthenticated);
    forge.finish();
}

pub(crate) async fn s12_a_password_may_hold_colons(setup: Setup) {
    let forge = setup.start(|plan| {
        closed(plan);
        plan.reads_need_the_token = true;
    });
    let peer = forge.peer("acme/prod");
    for user in ["me", "", "another name"] {
        assert!(
            peer.with_password(user, TOKEN).metadata().await.is_ok(),
            "user {user:?}"
        );
    }
    assert!(
        peer.with_bearer(TOKEN).metadata().await.is_ok(),
        "the token as a Bearer"
    );

    let encoded_without_colon = data_encoding::BASE64.encode(b"no colon");
    for header in [
        "Basic",
        "Basic ",
        "Basic !!!",
        &format!("Basic {encoded_without_colon}"),
        "Negotiate abc",
    ] {
        let refused = peer
            .with("authorization", header)
            .metadata()
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            Code::Unauthenticated,
            "{header:?}: {refused}"
        );
    }
    let refused = peer
        .with_password("me", "s3cret")
        .metadata()
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Unauthenticated,
        "what stands before a colon is not the password"
    );
    forge.finish();
}

pub(crate) async fn s13_without_a_header_one_reads_and_does_not_write(setup: Setup) {
    let forge = setup.start(closed);
    let (_, file) = publish(&forge.peer("acme/prod").with_password("me", TOKEN)).await;
    let nobody = forge.peer("acme/prod");
    all_taken(read_calls(&nobody, &file).await);
    all_refused(write_calls(&nobody).await, Code::Unauthenticated);
    forge.finish();
}

pub(crate) async fn s14_who_is_known_and_may_not_is_denied_the_three_writes_only(setup: Setup) {
    let forge = setup.start(closed);
    let (_, file) = publish(&forge.peer("acme/prod").with_password("me", TOKEN)).await;
    let forge = forge.restart(|plan| plan.read_only = true);
    let known = forge.peer("acme/prod").with_password("me", TOKEN);
    all_taken(read_calls(&known, &file).await);
    for (call, result) in write_calls(&known).await {
        let refused = result.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{call}");
        assert!(
            refused.message().contains("read-only access"),
            "{call}: {refused}"
        );
    }
    forge.finish();
}

pub(crate) async fn s15_a_read_only_server_says_so_and_takes_no_upload(setup: Setup) {
    let forge = setup.start(|_| {});
    let peer = forge.peer("acme/prod");
    publish(&peer).await;
    let file = TableFile::classic(&TinyDb::new().commit("other", "not there"));
    let url = peer
        .upload_url(&file)
        .await
        .unwrap()
        .expect("a new file is asked for");

    let forge = forge.restart(|plan| plan.read_only = true);
    let peer = forge.peer("acme/prod");
    for (call, result) in write_calls(&peer).await {
        let refused = result.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{call}");
        assert_eq!(
            refused.message(),
            "this server only provides read-only access",
            "{call}"
        );
    }
    let answer = web::put(&forge.moved(&url), file.bytes.clone()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    forge.finish();
}

async fn publish(peer: &Peer) -> (TinyDb, TableFile) {
    let mut database = TinyDb::new();
    let fresh = database.commit("main", "one");
    let file = peer.push(&database, &fresh).await;
    (database, file)
}

async fn write_calls(peer: &Peer) -> Calls {
    calls::writes(peer, &Naming::of(peer)).await
}

async fn read_calls(peer: &Peer, file: &TableFile) -> Calls {
    calls::reads(peer, &Naming::of(peer), &file.name()).await
}

fn all_taken(calls: Calls) {
    for (call, result) in calls {
        assert!(result.is_ok(), "{call}: {result:?}");
    }
}

fn all_refused(calls: Calls, code: Code) {
    for (call, result) in calls {
        let refused = result.expect_err(call);
        assert_eq!(refused.code(), code, "{call}: {refused}");
    }
}
