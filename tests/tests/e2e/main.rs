//! A real dolt against a running server: everything that Dolt does with a remote.
//!
//! Each scenario is a function of a [`scene::Scene`]; the matrix below says which scenario runs where. All of them
//! run against our server on a local directory; the other configurations repeat those that could differ there.
//! The control group runs them against Dolt's own `remotesrv`: what fails there is a mistake in the scenario.
#![expect(clippy::unwrap_used, reason = "a scenario panics with what it saw")]

mod backup;
mod clone;
mod concurrent;
mod fetch;
mod pull;
mod push;
mod scene;
mod shallow;
mod sqlserver;

/// One test per scenario, each with a server of its own. The attribute is `ignore`, or `doc` with a description.
macro_rules! matrix {
    (#[$attribute:meta] $configuration:ident, $start:expr, $dolt_settings:expr,
     [$($module:ident :: $scenario:ident),* $(,)?]) => {
        mod $configuration {
            $(
                #[test]
                #[$attribute]
                fn $scenario() {
                    crate::scene::play($start, &$dolt_settings, crate::$module::$scenario);
                }
            )*
        }
    };
}

matrix!(
    #[ignore = "the control group; run by ./dev test --long"]
    long_remotesrv,
    crate::scene::remotesrv(&[]),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        clone::a_single_branch_clone_has_one_branch,
        clone::a_clone_of_nothing_says_so,
        fetch::a_fetch_brings_commits_branches_and_tags,
        pull::a_pull_fast_forwards_and_merges,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        push::all_branches_and_tags_go_to_a_new_repository,
        shallow::a_clone_of_depth_1_fetches_and_pushes,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        shallow::a_clone_of_depth_5_fetches_and_pushes,
        concurrent::two_writers_to_two_branches_both_win,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
    ]
);

matrix!(
    #[ignore = "the control group; run by ./dev test --long"]
    long_remotesrv_legacy_stream_classic_files,
    crate::scene::remotesrv(&[(
        "DOLT_REMOTESAPI_DISABLED_FEATURES",
        "FEATURE_STREAM_CHUNK_LOCATIONS"
    )]),
    [("DOLT_ARCHIVE_PULL_STREAMER", "0")],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        backup::a_backup_is_synced_twice_and_restored,
    ]
);
