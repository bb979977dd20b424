//! Every exhibit is found by the judge that is named for it, at a kept seed of the scenario that clean ranges run; the same
//! seed is clean without it. One test, because the switch is the whole process's.
#![cfg(feature = "museum")]

use seedlog_core::museum::{Exhibit, switch};
use seedlog_sim::cli::row;
use seedlog_sim::judges::Enabled;
use seedlog_sim::plan::{Plan, Role, Scenario};
use seedlog_sim::run::{hush_panics, run_plan};
use std::panic::take_hook;
use std::path::Path;
use std::process::Command;

/// The first seed that finds each where nobody means harm and no partition moves: seeds are older than both.
const KEPT: [(Exhibit, u64); 18] = [
    (Exhibit::A1, 99),
    (Exhibit::A3, 752),
    (Exhibit::A11, 9),
    (Exhibit::A12, 2),
    (Exhibit::C1, 9),
    (Exhibit::C2, 1),
    (Exhibit::C5, 74),
    (Exhibit::C7, 2),
    (Exhibit::D1, 413),
    (Exhibit::D3, 0),
    (Exhibit::D4, 80),
    (Exhibit::H3, 379),
    (Exhibit::H4, 56),
    (Exhibit::H5, 17),
    (Exhibit::N1, 0),
    (Exhibit::N2, 0),
    (Exhibit::N4, 2),
    (Exhibit::N5, 34),
];

/// The same, with all that a plan has now but for those who mean harm.
const KEPT_OF_ALL: [(Exhibit, u64); 9] = [
    (Exhibit::F5, 235),
    (Exhibit::F6, 4),
    (Exhibit::F8, 240),
    (Exhibit::G1, 77),
    (Exhibit::G2, 578),
    (Exhibit::G3, 34),
    (Exhibit::G4, 88),
    (Exhibit::G6, 982),
    (Exhibit::G7, 16),
];

#[test]
fn each_exhibit_is_found_by_its_judge() {
    hush_panics();
    let older = KEPT.map(|(exhibit, seed)| {
        let mut plan = Plan::draw(Scenario::Standard, seed).without_keeper();
        plan.clients.retain(|client| !matches!(client.role, Role::Mover { .. }));
        (exhibit, plan)
    });
    let of_all = KEPT_OF_ALL.map(|(exhibit, seed)| (exhibit, Plan::draw(Scenario::Standard, seed)));
    let wrong: Vec<String> =
        older.into_iter().chain(of_all).filter_map(|(exhibit, plan)| wrong(exhibit, plan).err()).collect();
    // A run that goes wrong is to be silent, this test is not.
    let _ = take_hook();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with one kept seed, if anything is.
fn wrong(exhibit: Exhibit, plan: Plan) -> Result<(), String> {
    let (name, seed) = (exhibit.name(), plan.seed);
    let judges = row(name).expect("every exhibit has its row").judges;
    let plan = Plan { hostile: None, ..plan };
    switch(Some(exhibit));
    let found = run_plan(plan.clone(), Enabled::only(judges), false).verdict;
    switch(None);
    match found {
        None => {
            return Err(format!(
                "{name} is not found in seed {seed}: `cargo sim run --exhibit {name} --seeds 0..2000`"
            ));
        }
        Some(verdict) if !judges.contains(&verdict.judge) => return Err(format!("{name}: {verdict}")),
        Some(_) => {}
    }
    match run_plan(plan, Enabled::all(), false).verdict {
        None => Ok(()),
        Some(verdict) => Err(format!("seed {seed} without {name}: {verdict}")),
    }
}

#[test]
fn a_found_exhibit_comes_with_the_command_that_replays_it() {
    let (exhibit, seed) = KEPT[3];
    let range = format!("{seed}..{}", seed + 1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog-sim"));
    let output =
        command.args(["run", "--seeds", &range, "--exhibit", exhibit.name()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let says = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        says.contains(&format!("replay it: cargo sim replay {seed} --exhibit {}", exhibit.name())),
        "{says}"
    );
}

/// What clients saw is enough to find that records were acknowledged before they were on disk; and the file that is written
/// of it gets the same verdict. The seed is looked for: which one it is says nothing.
#[test]
fn the_clients_history_finds_what_the_judges_inside_find() {
    let simulator = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seedlog-sim"));
        let output = command.args(arguments).args(["--exhibit", "H5", "--judges", "history"]).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let says = simulator(&["run", "--seeds", "0..400"]);
    let found = says.split_once("FOUND in seed ").and_then(|(_, rest)| rest.split_once(": history "));
    let (seed, _) = found.unwrap_or_else(|| panic!("{says}"));

    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("history-with-h5.jsonl");
    let file = file.to_str().expect("a path of this test's own");
    let says = simulator(&["replay", seed, "--history", file]);
    let written = std::fs::read(file).expect("the file was written");
    let verdict = seedlog_checker::judge(written.as_slice()).expect("it is a history");
    let first = verdict.anomalies.first().expect("the file has what the run was ended by");
    assert!(says.contains(&first.example.words), "{verdict}");
}
