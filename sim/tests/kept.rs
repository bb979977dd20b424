//! Seeds that once ended in a verdict, each named after what was wrong. All of them are clean.

use seedlog_sim::judges::Enabled;
use seedlog_sim::plan::Scenario;
use seedlog_sim::run::run_seed;

fn is_clean(seed: u64) {
    let outcome = run_seed(Scenario::Standard, seed, Enabled::all(), false);
    assert_eq!(outcome.verdict, None, "seed {seed}");
}

#[test]
fn a_second_pause_in_a_first_swaps_frames_of_a_connection() {
    is_clean(107);
}

#[test]
fn a_sync_fails_while_a_segment_is_written() {
    is_clean(112);
}

#[test]
fn flush_interval_loses_all_that_a_producer_wrote_and_it_goes_on() {
    is_clean(110);
}

#[test]
fn an_answer_out_of_range_travels_while_the_log_grows_again() {
    is_clean(97);
}

#[test]
fn an_epochs_end_is_answered_before_the_next_acknowledgement() {
    is_clean(149);
}

#[test]
fn a_damaged_batch_takes_the_room_of_the_partitions_behind_it() {
    is_clean(22);
}
