//! A real dolt against a running server: everything that Dolt does with a remote, in every configuration.
//!
//! Each scenario is a function of a [`holdfast_tests::scenario::Scene`]. All of them are played against all
//! configurations: every run plays the chosen ones, which take minutes, and `./dev test --long` plays the others too.
//! The control group plays them against Dolt's own `remotesrv`: what fails there is a mistake in the scenario.

/// Passes every scenario on to a macro.
macro_rules! every_scenario {
    ($then:ident) => {
        every_scenario_of_today!($then);
        $then! {
            merged::what_many_small_pushes_left_is_merged_and_read,
            old_clients::dolt_1_20_0_reads_what_todays_pushed,
            old_clients::dolt_1_36_0_reads_what_todays_pushed,
            old_clients::dolt_1_42_0_reads_what_todays_pushed,
            old_clients::dolt_1_50_0_reads_what_todays_pushed,
            old_clients::dolt_1_59_20_reads_what_todays_pushed,
            old_clients::dolt_2_2_0_reads_what_todays_pushed,
            old_clients::dolt_1_20_0_pushes_what_todays_reads,
            old_clients::dolt_1_36_0_pushes_what_todays_reads,
            old_clients::dolt_1_42_0_pushes_what_todays_reads,
            old_clients::dolt_1_50_0_pushes_what_todays_reads,
            old_clients::dolt_1_59_20_pushes_what_todays_reads,
            old_clients::dolt_2_2_0_pushes_what_todays_reads,
        }
    };
}

/// The same, without those that Dolt's own server fails: it merges no files, and old clients cannot read there what
/// today's pushed.
macro_rules! every_scenario_of_today {
    ($then:ident) => {
        $then! {
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
        }
    };
}

/// Makes a module per configuration with a test per scenario; those that were not chosen are ignored by default.
///
/// The first argument is a dollar sign, with which the macros inside say what is theirs.
macro_rules! configurations {
    ($d:tt $(
        #[doc = $what:literal]
        $name:ident = $configuration:expr, $scenarios:ident, in_every_run: [$($module:ident :: $chosen:ident),* $(,)?];
    )*) => {$(
        #[doc = $what]
        mod $name {
            use holdfast_tests::scenario::{self, Configuration};

            fn configuration() -> Configuration {
                $configuration
            }

            // A chosen one is written with its module, so that a slip of the pen does not compile.
            const _: &[fn(&scenario::Scene)] = &[$(scenario::$module::$chosen),*];

            macro_rules! test {
                $(($d of:ident $chosen) => {
                    #[test]
                    fn $chosen() {
                        scenario::play(&configuration(), scenario::$module::$chosen);
                    }
                };)*
                ($d of:ident $d another:ident) => {
                    #[test]
                    #[ignore = "takes minutes with all the others; run by ./dev test --long"]
                    fn $d another() {
                        scenario::play(&configuration(), scenario::$d of::$d another);
                    }
                };
            }

            macro_rules! tests {
                ($d($d of:ident :: $d scenario:ident),* $d(,)?) => {
                    $d(test!($d of $d scenario);)*
                };
            }

            $scenarios!(tests);
        }
    )*};
}

configurations! { $
    /// On a local directory, with data from the server.
    local_disk = Configuration::local_disk(), every_scenario, in_every_run: [
        clone::a_whole_clone_is_equal_and_clean,
        clone::a_single_branch_clone_has_one_branch,
        clone::a_clone_of_nothing_says_so,
        fetch::a_fetch_brings_commits_branches_and_tags,
        pull::a_pull_fast_forwards_and_merges,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        push::all_branches_and_tags_go_to_a_new_repository,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        concurrent::two_writers_to_two_branches_both_win,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
        merged::what_many_small_pushes_left_is_merged_and_read,
        old_clients::dolt_1_42_0_reads_what_todays_pushed,
        old_clients::dolt_1_42_0_pushes_what_todays_reads,
    ];

    /// Archives over the legacy stream.
    legacy_stream = Configuration::local_disk().over_the_legacy_stream(), every_scenario, in_every_run: [
        shallow::a_clone_of_depth_2_fetches_and_pushes,
    ];

    /// Table files instead of archives, over the newer stream.
    table_files = Configuration::local_disk().with_table_files(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
    ];

    /// Table files instead of archives, over the legacy stream.
    legacy_stream_table_files = Configuration::local_disk().over_the_legacy_stream().with_table_files(),
    every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
    ];

    /// On a local directory, over https.
    https = Configuration::local_disk().over_https(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        backup::a_backup_is_synced_twice_and_restored,
    ];

    /// On a bucket of this process, with data from the server.
    bucket = Configuration::bucket(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        backup::a_backup_is_synced_twice_and_restored,
    ];

    /// On a bucket of this process, with data by presigned addresses.
    bucket_presigned = Configuration::bucket().with_presigned_data(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
        backup::a_backup_is_synced_twice_and_restored,
        old_clients::dolt_1_50_0_reads_what_todays_pushed,
    ];

    /// On a bucket of this process, over https.
    bucket_https = Configuration::bucket().over_https(), every_scenario, in_every_run: [];

    /// On a bucket of this process, over https, with data by presigned addresses.
    bucket_https_presigned = Configuration::bucket().over_https().with_presigned_data(),
    every_scenario, in_every_run: [
        shallow::a_clone_of_depth_1_fetches_and_pushes,
    ];

    /// Two servers on one bucket, behind a proxy that sends each request to the next.
    two_servers_by_turns = Configuration::two_servers_by_turns(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        push::branches_are_made_moved_rejected_forced_and_deleted,
        concurrent::two_writers_to_two_branches_both_win,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        sqlserver::a_running_sql_server_pushes_pulls_and_backs_up,
    ];

    /// On the bucket that the environment names (versitygw), with data from the server.
    bucket_elsewhere = Configuration::elsewhere(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        concurrent::of_two_writers_to_one_branch_one_is_rejected,
        backup::a_backup_is_synced_twice_and_restored,
    ];

    /// On the bucket that the environment names (versitygw), with data by presigned addresses.
    bucket_elsewhere_presigned = Configuration::elsewhere().with_presigned_data(), every_scenario, in_every_run: [
        fetch::a_fetch_brings_commits_branches_and_tags,
        shallow::a_clone_of_depth_2_fetches_and_pushes,
    ];

    /// The control group.
    remotesrv = Configuration::remotesrv(), every_scenario_of_today, in_every_run: [
        clone::a_whole_clone_is_equal_and_clean,
    ];

    /// The control group, with table files over the legacy stream.
    remotesrv_legacy_stream_table_files = Configuration::remotesrv().over_the_legacy_stream().with_table_files(),
    every_scenario_of_today, in_every_run: [];
}
