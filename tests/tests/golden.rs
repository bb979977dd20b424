//! Plays every scenario in `tests/golden/` and compares what happens with what is written there. To write it down anew, run
//! with `UPDATE_GOLDEN=1` and read the difference.

use std::fs;
use std::path::Path;

#[test]
fn every_scenario_tells_the_same_story() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let rewrites = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the scenarios are beside the tests")
        .map(|entry| entry.expect("the folder can be listed").path())
        .collect();
    paths.sort_unstable();
    assert!(paths.len() >= 8, "only {} scenarios", paths.len());
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let script = fs::read_to_string(&path).expect("a scenario is text");
        assert!(script.starts_with("# "), "{name}:1: a scenario begins with its story");
        let told = seedlog_tests::golden::play(&script).unwrap_or_else(|why| panic!("{name}: {why}"));
        if told != script && rewrites {
            fs::write(&path, &told).expect("the scenario can be written");
        } else if told != script {
            wrong.push(difference(&name, &script, &told));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The first lines that differ, with the command before them.
fn difference(name: &str, script: &str, told: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (script.lines().collect(), told.lines().collect());
    let at = old.iter().zip(&new).position(|(old, new)| old != new).unwrap_or(old.len().min(new.len()));
    let command = old[..at].iter().rev().find(|line| line.starts_with("> ")).copied().unwrap_or_default();
    let line = |lines: &[&str]| lines.get(at).copied().unwrap_or("(the end)").to_owned();
    format!("{name}:{}: {command}\n  was  {}\n  is   {}", at + 1, line(&old), line(&new))
}
