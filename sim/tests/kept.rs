//! Seeds that once ended in a verdict, each named after what was wrong. All of them are clean.

use seedlog_sim::judges::Enabled;
use seedlog_sim::plan::{Plan, Scenario};
use seedlog_sim::run::{run_plan, run_seed};

/// Seeds that are older than changes of the quorum's voters, and than the deletion of records.
fn is_clean(seed: u64) {
    let mut plan = Plan::draw(Scenario::Standard, seed).without_keeper();
    plan.voters.clear();
    plan.deletes_per_mille = 0;
    plan.hostile = None;
    let outcome = run_plan(plan, Enabled::all(), false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

/// Seeds that are older than the deletion of records.
fn is_clean_with_changes_of_voters(seed: u64) {
    let mut plan = Plan::draw(Scenario::Standard, seed).without_keeper();
    plan.deletes_per_mille = 0;
    plan.hostile = None;
    let outcome = run_plan(plan, Enabled::all(), false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

#[test]
fn a_candidate_wins_while_it_stops() {
    is_clean(11);
}

#[test]
fn a_follower_joins_the_isr_and_is_dropped_thousands_of_times() {
    is_clean(32);
}

#[test]
fn a_run_of_records_that_was_answered_stays_on_its_way() {
    is_clean(61);
}

#[test]
fn an_old_folders_acknowledgements_bring_the_new_one_into_the_isr() {
    is_clean(87);
}

#[test]
fn a_follower_falls_below_the_start_of_the_metadata_log_in_an_open_session() {
    is_clean(115);
}

#[test]
fn a_snapshot_bears_the_term_of_the_leader_that_sends_it() {
    is_clean(153);
}

#[test]
fn another_folder_under_a_voters_name_counts_as_the_voter() {
    is_clean(163);
}

#[test]
fn a_damaged_group_hides_the_number_of_a_run() {
    is_clean(375);
}

#[test]
fn a_broker_that_may_lack_records_stops_in_order_before_it_told_so() {
    is_clean(893);
}

#[test]
fn a_hole_in_the_journal_hides_a_cut_and_what_was_appended_after_it_overlaps() {
    is_clean(1469);
}

#[test]
fn recovery_recycles_a_file_by_a_snapshot_whose_name_is_in_the_page_cache_alone() {
    is_clean(7070);
}

#[test]
fn the_acknowledgement_that_commits_is_lost_and_the_session_is_opened_anew() {
    let outcome = run_seed(Scenario::Quorum, 65, Enabled::all(), false);
    assert_eq!(outcome.verdict, None);
}

#[test]
fn a_removed_voter_asks_nobody_who_leads() {
    is_clean_with_changes_of_voters(4);
}

#[test]
fn a_leader_whose_removal_is_not_committed_is_needed_and_does_not_stand() {
    is_clean_with_changes_of_voters(6);
}

#[test]
fn a_leader_learns_from_a_snapshot_that_a_broker_is_back() {
    is_clean_with_changes_of_voters(1584);
}

fn is_clean_with_deletions(seed: u64) {
    let plan = Plan::draw(Scenario::Standard, seed).without_keeper();
    let outcome = run_plan(plan, Enabled::all(), false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

#[test]
fn a_reset_brings_producers_of_records_that_are_yet_to_be_copied() {
    is_clean_with_deletions(2);
}

#[test]
fn a_follower_that_ends_where_the_leader_starts_agrees_and_reopens_for_ever() {
    is_clean_with_deletions(4);
}

#[test]
fn a_snapshot_forgets_a_log_that_was_reset_and_is_empty() {
    is_clean_with_deletions(887);
}

#[test]
fn a_leader_hears_of_a_later_start_before_it_knows_that_to_be_committed() {
    is_clean_with_deletions(1354);
}

#[test]
fn a_leader_that_was_paused_counts_a_copy_that_its_disk_has_lost_since() {
    is_clean_with_deletions(12_843);
}

fn is_clean_with_moves(seed: u64) {
    let plan = Plan::draw(Scenario::Standard, seed).without_keeper();
    let outcome = run_plan(plan, Enabled::all(), false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

#[test]
fn a_copy_is_let_go_of_before_its_journal_tells_anybody_that_the_move_is_committed() {
    is_clean_with_moves(7);
}

#[test]
fn a_produce_is_answered_after_one_of_its_partitions_moved_elsewhere() {
    is_clean_with_moves(91);
}

#[test]
fn a_leader_counts_a_copy_that_was_let_go_of_when_its_partition_moved() {
    is_clean_with_moves(1007);
}

#[test]
fn a_follower_acknowledges_in_the_step_in_which_it_lets_its_copy_go() {
    is_clean_with_moves(903);
}

#[test]
fn two_entries_are_committed_in_one_step_and_the_later_one_takes_a_copy_away() {
    is_clean_with_moves(1504);
}

#[test]
fn a_broker_that_has_stopped_is_not_told_that_its_connections_are_gone() {
    is_clean_with_moves(304);
}

#[test]
fn who_is_told_where_logs_part_is_told_the_watermark_as_well() {
    is_clean_with_moves(4408);
}

#[test]
fn an_answer_that_waited_for_its_turn_leaves_in_the_step_that_lets_the_copy_go() {
    is_clean_with_moves(4880);
}

#[test]
fn records_expire_that_a_client_asked_in_vain_to_delete() {
    let outcome = run_seed(Scenario::Standard, 546, Enabled::all(), false);
    assert_eq!(outcome.verdict, None);
}

#[test]
fn a_follower_agrees_from_a_start_on_and_has_lost_records_before_it() {
    let outcome = run_seed(Scenario::Standard, 191, Enabled::all(), false);
    assert_eq!(outcome.verdict, None);
}

#[test]
fn a_hole_takes_all_that_a_journal_said_of_a_log_and_the_log_is_given_up() {
    let outcome = run_seed(Scenario::Standard, 4_170, Enabled::all(), false);
    assert_eq!(outcome.verdict, None);
}

#[test]
fn a_bit_flips_in_the_offset_of_a_cleaned_batch_and_a_restart_finds_it() {
    let outcome = run_seed(Scenario::Standard, 3680, Enabled::all(), false);
    assert_eq!(outcome.verdict, None);
}
