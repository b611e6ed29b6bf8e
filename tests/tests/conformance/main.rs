//! The statements of the wire protocol's checklist (section 16), one test each; its number is in the name.
//!
//! Each runs twice: against one server on a local directory, and through a proxy that sends every request to the next
//! of two servers on one bucket. What is about the addresses of data runs a third time, with addresses of the bucket
//! itself. Left out are 9, 10 and 16 to 18 (accounts), 54, 63, 72 and 73 (upkeep and quotas), the web half of 77, and
//! what is demanded of a client (80 and up).
#![expect(clippy::unwrap_used, reason = "a test panics with what it saw")]

mod addresses;
mod auth;
mod calls;
mod datasets;
mod downloads;
mod flows;
mod gate;
mod listing;
mod metadata;
mod presence;
mod streams;
mod swap;
mod transport;
mod uploads;

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_tests::dolt::Dolt;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::remote::Remote as _;
use holdfast_tests::scenario::Scene;

/// Where a statement is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// One server on a local directory.
    LocalDisk,
    /// Two servers on one bucket, behind a proxy that takes turns.
    TwoServersOnOneBucket,
    /// One server on a bucket, which is itself the one that sends data to clients.
    PresignedData,
}

impl Setup {
    /// Starts an open server, or what `change` makes of it.
    pub(crate) fn start(self, change: impl FnOnce(&mut Plan)) -> Forge {
        let mut plan = match self {
            Self::LocalDisk => Plan::on_local_disk(),
            Self::TwoServersOnOneBucket => Plan::two_servers_on_one_bucket(),
            Self::PresignedData => Plan {
                presigned: true,
                ..Plan::on_a_bucket()
            },
        };
        change(&mut plan);
        Forge::start(plan)
    }
}

/// Plays a scenario with today's dolt; without one it is skipped, and stderr says so, with the name of the test.
pub(crate) fn with_dolt(forge: &Forge, scenario: impl FnOnce(&Scene)) {
    with_dolt_at(forge.base_url(), forge, scenario);
}

/// The same, at an address that leads to the forge.
pub(crate) fn with_dolt_at(base_url: &str, forge: &Forge, scenario: impl FnOnce(&Scene)) {
    if let Some(dolt) = Dolt::find() {
        scenario(&Scene::new(&dolt, &forge.dolt_settings(), base_url));
    }
}

/// No statement may take longer.
const LIMIT: Duration = Duration::from_secs(300);

/// Unless it is one that takes minutes.
const LONG_LIMIT: Duration = Duration::from_secs(1200);

fn run(limit: Duration, statement: impl Future<Output = ()>) {
    // Connections must be served while a test waits for a server to end.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(limit, statement).await });
    assert!(ended.is_ok(), "the statement did not end within {limit:?}");
}

/// One test per statement and setup, each with a limit; and the names of the statements.
macro_rules! statements {
    (
        $listed:ident, $limit:ident, #[$attribute:meta], [$($place:ident => $setup:ident),+],
        $($module:ident :: $statement:ident,)+
    ) => {
        const $listed: &[&str] = &[$(stringify!($statement)),+];
        statements!(@each $limit, #[$attribute], [$($place => $setup),+], [$([$module $statement])+]);
    };
    (@each $limit:ident, #[$attribute:meta], [$($place:ident => $setup:ident),+], $statements:tt) => {
        $(statements!(@one $place, $setup, $limit, #[$attribute], $statements);)+
    };
    (
        @one $place:ident, $setup:ident, $limit:ident, #[$attribute:meta],
        [$([$module:ident $statement:ident])+]
    ) => {
        mod $place {
            $(
                #[test]
                #[$attribute]
                fn $statement() {
                    crate::run(crate::$limit, crate::$module::$statement(crate::Setup::$setup));
                }
            )+
        }
    };
}

statements! {
    LISTED, LIMIT, #[doc = "In seconds."],
    [on_local_disk => LocalDisk, by_turns_over_two_servers => TwoServersOnOneBucket],
    transport::s01_one_port_serves_every_protocol,
    transport::s02_a_request_of_7_mib_is_taken,
    transport::s03_grpc_over_tls_needs_no_alpn,
    transport::s04_a_path_and_an_id_name_the_same_repository,
    transport::s05_a_missing_or_half_name_is_invalid,
    transport::s06_a_percent_encoded_address_is_the_same_repository,
    transport::s07_data_addresses_carry_the_public_base,
    transport::s08_unknown_headers_are_ignored,
    auth::s11_an_unknown_key_is_nobody,
    auth::s12_a_password_may_hold_colons,
    auth::s13_without_a_header_one_reads_and_does_not_write,
    auth::s14_who_is_known_and_may_not_is_denied_the_three_writes_only,
    auth::s15_a_read_only_server_says_so_and_takes_no_upload,
    metadata::s19_manifest_versions_4_and_5_are_echoed_and_others_refused,
    metadata::s20_the_format_of_values_is_always_dolt,
    metadata::s21_the_size_is_zero_only_without_a_root,
    metadata::s22_pushes_ignore_working_sets_and_the_stream_is_offered,
    metadata::s23_without_the_feature_all_goes_over_the_legacy_stream,
    metadata::s24_the_root_of_nothing_is_20_zero_bytes,
    metadata::s25_a_root_that_was_moved_is_seen_at_once_by_every_server,
    metadata::s26_rebase_is_answered,
    presence::s27_has_chunks_answers_16384_hashes,
    presence::s28_duplicate_hashes_give_no_wrong_indexes,
    presence::s29_a_hash_of_19_bytes_is_invalid,
    presence::s30_a_chunk_is_present_once_its_file_is_added_and_not_before,
    presence::s31_what_is_present_is_present_with_all_below_it,
    streams::s32_n_requests_get_n_responses_in_order,
    streams::s33_half_close_gets_the_remaining_answers_and_then_ok,
    streams::s34_cancelled_streams_release_what_they_held,
    streams::s35_each_hash_is_located_or_missing_and_not_both,
    streams::s36_a_file_is_introduced_before_it_is_used_on_every_stream,
    streams::s37_hashes_that_are_not_a_multiple_of_20_bytes_are_invalid,
    streams::s38_each_message_of_a_stream_is_for_its_own_repository,
    streams::s39_the_legacy_stream_gives_one_range_for_each_hash,
    addresses::s40_a_dictionary_lies_in_the_file_of_its_chunk,
    addresses::s41_no_two_files_share_a_path_and_no_file_has_two,
    addresses::s42_addresses_are_refreshed_well_before_they_expire,
    addresses::s43_old_clients_never_get_a_dictionary,
    downloads::s44_a_range_is_answered_with_exactly_its_bytes,
    downloads::s45_a_range_past_the_end_and_a_malformed_one_are_refused,
    downloads::s46_a_whole_file_has_its_length_and_is_not_compressed,
    downloads::s47_the_path_of_an_archive_ends_in_darc_and_of_no_other,
    downloads::s48_64_parallel_ranges_begin_within_15_seconds,
    downloads::s49_expired_and_tampered_addresses_are_refused,
    downloads::s50_an_address_is_refreshed_for_the_same_bytes,
    listing::s51_root_and_files_are_of_one_moment,
    listing::s52_the_number_of_chunks_is_that_of_the_footer,
    listing::s53_a_file_id_is_its_bare_name_and_there_is_no_appendix,
    listing::s55_an_old_client_is_listed_no_archive,
    uploads::s56_each_file_gets_one_location_in_the_order_asked,
    uploads::s57_missing_details_and_unknown_suffixes_are_refused,
    uploads::s58_put_and_post_are_taken_and_last,
    uploads::s59_a_wrong_length_or_md5_is_refused_in_one_line,
    uploads::s60_a_file_without_a_content_hash_is_taken,
    uploads::s61_the_same_file_twice_is_no_failure,
    uploads::s61_dolt_goes_on_where_its_files_are_known,
    uploads::s62_corrupt_files_are_refused,
    uploads::s64_a_missing_split_offset_is_recomputed,
    swap::s65_unknown_files_and_no_chunks_are_refused_and_a_repeat_succeeds,
    swap::s66_a_dangling_reference_is_refused_also_on_the_first_push,
    swap::s67_adding_files_leaves_the_root,
    swap::s68_a_stale_commit_is_false_and_adds_only_its_files,
    swap::s69_a_replayed_commit_is_true,
    swap::s70_a_root_that_is_not_there_is_refused,
    swap::s71_two_clients_at_once,
    flows::s74_an_unknown_repository_looks_empty_to_who_may_create_it,
    flows::s75_an_unknown_repository_is_refused_at_once_to_who_may_not_create_it,
    flows::s77_a_forced_push_leaves_its_working_set_in_the_root,
}

statements! {
    DOLT, LIMIT, #[doc = "In seconds."],
    [dolt_on_local_disk => LocalDisk],
    flows::s76_every_push_passes_with_old_and_new_dolts,
    flows::s78_backups_are_synced_and_restored,
    flows::s79_shallow_clones_fetch_and_push,
}

// The end-to-end tests play the same with two servers.
statements! {
    DOLT_BY_TURNS, LIMIT, #[ignore = "takes minutes with all the others; run by ./dev test --long"],
    [dolt_by_turns_over_two_servers => TwoServersOnOneBucket],
    flows::s76_every_push_passes_with_old_and_new_dolts,
    flows::s78_backups_are_synced_and_restored,
    flows::s79_shallow_clones_fetch_and_push,
}

statements! {
    PRESIGNED, LIMIT, #[doc = "In seconds."],
    [with_presigned_data => PresignedData],
    streams::s36_a_file_is_introduced_before_it_is_used_on_every_stream,
    addresses::s40_a_dictionary_lies_in_the_file_of_its_chunk,
    addresses::s41_no_two_files_share_a_path_and_no_file_has_two,
    addresses::s42_addresses_are_refreshed_well_before_they_expire,
    downloads::s44_a_range_is_answered_with_exactly_its_bytes,
    downloads::s45_a_range_past_the_end_and_a_malformed_one_are_refused,
    downloads::s46_a_whole_file_has_its_length_and_is_not_compressed,
    downloads::s47_the_path_of_an_archive_ends_in_darc_and_of_no_other,
    downloads::s48_64_parallel_ranges_begin_within_15_seconds,
    downloads::s49_expired_and_tampered_addresses_are_refused,
    downloads::s50_an_address_is_refreshed_for_the_same_bytes,
}

statements! {
    LONG, LONG_LIMIT, #[ignore = "takes minutes; run by ./dev test --long"],
    [
        long_on_local_disk => LocalDisk,
        long_by_turns_over_two_servers => TwoServersOnOneBucket
    ],
    streams::long_s33_an_idle_stream_stays_open,
    streams::long_s34_ten_thousand_short_streams_in_a_minute,
    uploads::long_s60_a_file_of_more_than_5_gib_is_taken,
}

/// The numbers that need a test.
fn required() -> impl Iterator<Item = u32> {
    let left_out = [54, 63, 72, 73];
    (1..=8)
        .chain(11..=15)
        .chain(19..=79)
        .filter(move |number| !left_out.contains(number))
}

/// The number in a statement's name.
fn number(statement: &str) -> u32 {
    let name = statement.strip_prefix("long_").unwrap_or(statement);
    let digits = name
        .strip_prefix('s')
        .and_then(|rest| rest.split('_').next());
    digits
        .filter(|digits| digits.len() == 2)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{statement} does not begin with its number, as s01_ does"))
}

fn numbers(statements: &[&str]) -> BTreeSet<u32> {
    statements.iter().map(|name| number(name)).collect()
}

#[test]
fn every_required_statement_has_a_test() {
    let required: BTreeSet<u32> = required().collect();
    // What is listed becomes a test by the same macro; what takes minutes comes on top.
    assert_eq!(&numbers(LISTED) | &numbers(DOLT), required);
    assert_eq!(DOLT, DOLT_BY_TURNS);
    for more in [PRESIGNED, LONG] {
        let strange: Vec<_> = numbers(more).difference(&required).copied().collect();
        assert!(strange.is_empty(), "not required: {strange:?}");
    }
    assert!(
        LONG.iter().all(|name| name.starts_with("long_")),
        "{LONG:?}: the name tells what takes long"
    );
}
