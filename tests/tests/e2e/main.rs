//! A real dolt against a running server: everything that Dolt does with a remote.
//!
//! Each scenario is a function of a [`holdfast_tests::scenario::Scene`]; the matrix below says which scenario runs where. All of them
//! run against our server on a local directory; the other configurations repeat those that could differ there.
//! The control group runs them against Dolt's own `remotesrv`: what fails there is a mistake in the scenario.

/// One test per scenario, each with a server of its own. The attribute is `ignore`, or `doc` with a description.
macro_rules! matrix {
    (#[$attribute:meta] $configuration:ident, $start:expr, $dolt_settings:expr,
     [$($module:ident :: $scenario:ident),* $(,)?]) => {
        mod $configuration {
            use holdfast_tests::scenario;

            $(
                #[test]
                #[$attribute]
                fn $scenario() {
                    scenario::play(|| $start, &$dolt_settings, scenario::$module::$scenario);
                }
            )*
        }
    };
}

matrix!(
    #[doc = "Everything, on a local directory, with data from the server."]
    local_disk,
    scenario::holdfast(scenario::Plan::on_local_disk()),
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
        old_clients::every_old_dolt_clones_and_fetches_what_todays_pushed,
        old_clients::every_old_dolt_pushes,
    ]
);

matrix!(
    #[doc = "Table files instead of archives, over the legacy stream."]
    legacy_stream_classic_files,
    scenario::holdfast(scenario::Plan {
        stream_chunk_locations: false,
        ..scenario::Plan::on_local_disk()
    }),
    [("DOLT_ARCHIVE_PULL_STREAMER", "0")],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        backup::a_backup_is_synced_twice_and_restored,
    ]
);

matrix!(
    #[doc = "Archives over the legacy stream."]
    legacy_stream,
    scenario::holdfast(scenario::Plan {
        stream_chunk_locations: false,
        ..scenario::Plan::on_local_disk()
    }),
    [],
    [
        fetch::a_fetch_brings_commits_branches_and_tags,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
    ]
);

matrix!(
    #[doc = "Table files instead of archives, over the newer stream."]
    classic_files,
    scenario::holdfast(scenario::Plan::on_local_disk()),
    [("DOLT_ARCHIVE_PULL_STREAMER", "0")],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
    ]
);

matrix!(
    #[doc = "Over https."]
    https,
    scenario::holdfast(scenario::Plan {
        tls: true,
        ..scenario::Plan::on_local_disk()
    }),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        backup::a_backup_is_synced_twice_and_restored,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
    ]
);

matrix!(
    #[doc = "On a bucket of this process, with data from the server."]
    bucket,
    scenario::holdfast(scenario::Plan::on_a_bucket()),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        clone::a_single_branch_clone_has_one_branch,
        fetch::a_fetch_brings_commits_branches_and_tags,
        pull::a_pull_fast_forwards_and_merges,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        shallow::a_clone_of_depth_5_fetches_and_pushes,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
        old_clients::every_old_dolt_clones_and_fetches_what_todays_pushed,
    ]
);

matrix!(
    #[doc = "On a bucket of this process, with data by presigned addresses."]
    bucket_presigned,
    scenario::holdfast(scenario::Plan {
        presigned: true,
        ..scenario::Plan::on_a_bucket()
    }),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::all_branches_and_tags_go_to_a_new_repository,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        backup::a_backup_is_synced_twice_and_restored,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
        old_clients::every_old_dolt_clones_and_fetches_what_todays_pushed,
    ]
);

matrix!(
    #[doc = "Two servers on one bucket, behind a proxy that sends each request to the next."]
    two_servers_by_turns,
    scenario::holdfast(scenario::Plan::two_servers_on_one_bucket()),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        pull::a_pull_fast_forwards_and_merges,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        shallow::a_clone_of_depth_1_fetches_and_pushes,
        concurrent::two_writers_to_two_branches_both_win,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
    ]
);

matrix!(
    #[doc = "On the bucket that the environment names (versitygw), with data from the server."]
    bucket_elsewhere,
    scenario::holdfast_elsewhere(false),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
    ]
);

matrix!(
    #[doc = "On the bucket that the environment names (versitygw), with data by presigned addresses."]
    bucket_elsewhere_presigned,
    scenario::holdfast_elsewhere(true),
    [],
    [
        clone::a_whole_clone_is_equal_and_clean,
        fetch::a_fetch_brings_commits_branches_and_tags,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
    ]
);

matrix!(
    #[ignore = "the control group; run by ./dev test --long"]
    long_remotesrv,
    scenario::remotesrv(&[]),
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
    scenario::remotesrv(&[(
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
