//! The rules of the house that a program can check. One test a rule; a failure lists every place as `file:line`.
//!
//! What a compiler or clippy says already (no unsafe code, length of functions, maps) is not said again here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages of the workspace by folder, and which others each may name. An arrow that is not here needs a reason first.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &["seedlog-wire-derive"]),
    ("core/wire-derive", &[]),
    ("node", &["seedlog-core"]),
    ("sim", &["seedlog-core", "seedlog-checker"]),
    ("sim/whole", &["seedlog-core", "seedlog-sim", "seedlog-checker", "seedlog"]),
    ("jepsen-style", &[]),
    ("bench", &["seedlog-core", "seedlog"]),
    ("tests", &["seedlog-core", "seedlog-sim", "seedlog-checker", "seedlog"]),
];

/// All that the core may depend on. None of it reads a clock, opens a file or draws a number by itself.
const CORE_DEPENDENCIES: &str =
    "bytes crc32c indexmap postcard rand_chacha regex seedlog-wire-derive serde siphasher smallvec tracing";

/// Words that the core never says: operating system, time, threads, chance, maps whose order differs between runs.
const NOT_IN_CORE: &str =
    "std:: Instant SystemTime HashMap HashSet thread_rng from_entropy from_os_rng getrandom tokio";

/// Who may read a clock: one file of the node; command lines, which tell a person how long something took; clients.
const CLOCK_READERS: &[&str] = &["node/src/clock.rs", "node/src/cli/", "node/src/client/", "sim/src/cli/"];

const LINES_MAX: usize = 600;
/// Longer files, each with its reason.
const LONG_FILES: &[(&str, &str)] =
    &[("core/tests/log_model.rs", "one model and its operations, which are read side by side")];

/// Paths that no two machines share. Kafka's own defaults are quoted where its files are read.
const MACHINE_PATHS: &[&str] = &[
    concat!("/", "tmp/"),
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/", "Users/"),
];
const KAFKAS_PATHS: &[&str] = &[concat!("/", "tmp/kraft-combined-logs"), concat!("/", "tmp/kafka-logs")];

#[test]
fn packages_point_only_where_the_design_lets_them() {
    let mut wrong = Vec::new();
    for folder in members() {
        let path = format!("{folder}/Cargo.toml");
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == folder) else {
            wrong.push(format!("{path}:1: a package without a line in ARROWS"));
            continue;
        };
        for (line, section, name) in dependencies(&path) {
            let is_ours = name == "seedlog" || name.starts_with("seedlog-");
            if is_ours && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{path}:{line}: {folder} must not depend on {name} ([{section}])"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_core_depends_on_little() {
    let path = "core/Cargo.toml";
    let wrong = dependencies(path).into_iter().filter(|(_, section, name)| {
        section == "dependencies" && !CORE_DEPENDENCIES.split(' ').any(|known| known == name)
    });
    none(&wrong.map(|(line, _, name)| format!("{path}:{line}: {name}")).collect::<Vec<_>>());
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let wrong = members().into_iter().map(|folder| format!("{folder}/Cargo.toml"));
    let wrong = wrong.filter(|path| !read(path).contains("[lints]\nworkspace = true"));
    none(&wrong.map(|path| format!("{path}:1: no [lints] workspace = true")).collect::<Vec<_>>());
}

#[test]
fn the_core_knows_no_clock_thread_chance_file_or_socket() {
    assert!(read("core/src/lib.rs").starts_with("#![no_std]"), "core/src/lib.rs:1: the core is no_std");
    none(&lines_where("core/src", |code| NOT_IN_CORE.split(' ').any(|word| code.contains(word))));
}

#[test]
fn clocks_are_read_in_one_file() {
    // The runtime's own `Instant` is fine: a simulation sets that one.
    let reads =
        |code: &str| code.contains("SystemTime") || code.contains("std::time") && code.contains("Instant");
    let found = ["node/src", "sim/src"].into_iter().flat_map(|folder| lines_where(folder, reads));
    let excused = |place: &String| CLOCK_READERS.iter().any(|reader| place.starts_with(reader));
    none(&found.filter(|place| !excused(place)).collect::<Vec<_>>());
}

#[test]
fn nothing_unfinished_is_left() {
    let words = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
    let says = |code: &str| words.iter().any(|word| code.contains(word));
    none(&rust_folders().iter().flat_map(|folder| lines_where(folder, says)).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        // Tests at the end of a file do not make it harder to read.
        let lines = text.lines().position(|line| line == "mod tests {").unwrap_or(text.lines().count());
        let reason = LONG_FILES.iter().find(|(long, _)| *long == path);
        if lines > LINES_MAX && reason.is_none() {
            wrong.push(format!("{path}:{lines}: over {LINES_MAX} lines"));
        } else if lines <= LINES_MAX && reason.is_some() {
            wrong.push(format!("{path}:{lines}: its line in LONG_FILES is no longer needed"));
        }
    }
    none(&wrong);
}

#[test]
fn every_file_says_what_it_is() {
    let begins = |path: &String| {
        let text = read(path);
        let first = text.lines().find(|line| !line.starts_with("#!["));
        first.is_some_and(|line| line.starts_with("//!"))
    };
    let wrong = rust_files().into_iter().filter(|path| !begins(path));
    none(&wrong.map(|path| format!("{path}:1: begins without //!")).collect::<Vec<_>>());
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let mut wrong = Vec::new();
    for path in files("", &|_| true) {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            let line = KAFKAS_PATHS.iter().fold(line.to_owned(), |line, known| line.replace(known, ""));
            if MACHINE_PATHS.iter().any(|part| line.contains(part)) {
                wrong.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_build_but_the_simulators_has_the_museum() {
    for scope in [&["--workspace"][..], &["--package", "seedlog"]] {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p} [{f}]", "--frozen"])
            .args(scope)
            .current_dir(root())
            .output()
            .expect("cargo runs this test, so it is there");
        assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
        assert!(tree.contains("seedlog-core v"), "the tree of {scope:?} shows the core");
        none(&tree.lines().filter(|line| line.contains("museum")).map(str::to_owned).collect::<Vec<_>>());
    }
    let mut wrong = Vec::new();
    for folder in members().into_iter().filter(|folder| folder != "core") {
        let path = format!("{folder}/Cargo.toml");
        for (number, line) in (1..).zip(read(&path).lines()) {
            // The one way to switch it on: a feature of the same name, by whoever asks for it.
            if line.contains("museum") && !line.starts_with("museum = [") && !line.starts_with('#') {
                wrong.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_produce_path_in_the_readme_is_the_one_in_the_code() {
    let readme = read("README.md");
    let mut wrong = Vec::new();
    let mut rows = 0;
    let section = (1..).zip(readme.lines()).skip_while(|(_, line)| *line != "## The produce path").skip(1);
    for (number, line) in section.take_while(|(_, line)| !line.starts_with("## ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", step, file, functions, ""] = cells[..] else { continue };
        if step == "step" || step.starts_with("---") {
            continue;
        }
        rows += 1;
        let file = file.trim_matches('`');
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            wrong.push(format!("README.md:{number}: there is no file {file}"));
            continue;
        };
        for function in functions.split(',').map(|function| function.trim().trim_matches('`')) {
            let name = function.rsplit("::").next().expect("a split has a part");
            let is_there = [format!("fn {name}("), format!("fn {name}<")];
            if name.is_empty() || !is_there.iter().any(|declared| text.contains(declared)) {
                wrong.push(format!("README.md:{number}: there is no function {function} in {file}"));
            }
        }
    }
    assert!(rows >= 10, "README.md: the table under \"## The produce path\" has {rows} rows");
    none(&wrong);
}

#[track_caller]
#[test]
fn every_link_in_the_docs_leads_somewhere() {
    let mut pages = files("docs", &|name| name.ends_with(".md"));
    pages.extend(["README.md", "clients/README.md"].map(str::to_owned));
    let mut wrong = Vec::new();
    for page in pages {
        let folder = Path::new(&page).parent().map_or_else(root, |folder| root().join(folder));
        for (number, line) in (1..).zip(read(&page).lines()) {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let missing = links.filter(|link| !link.starts_with("http") && !link.starts_with('#'));
            for link in missing.filter(|link| !folder.join(link.split('#').next().unwrap_or(link)).exists()) {
                wrong.push(format!("{page}:{number}: {link} is not there"));
            }
        }
    }
    none(&wrong);
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Folders of the workspace's packages.
fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let list = manifest.lines().find_map(|line| line.strip_prefix("members = ["));
    let list = list.expect("the members stand in one line").trim_end_matches(']');
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).collect()
}

/// Lines of a manifest that name a dependency: line number, section, name.
fn dependencies(path: &str) -> Vec<(usize, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in (1..).zip(read(path).lines()) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies") && !line.trim_start().starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                found.push((number, section.clone(), name.to_owned()));
            }
        }
    }
    found
}

/// Lines of Rust under a folder whose code, without its comment, is as asked for.
fn lines_where(folder: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files(folder, &|name| name.ends_with(".rs")) {
        for (number, line) in (1..).zip(read(&path).lines()) {
            if is_wanted(line.split("//").next().unwrap_or_default()) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// Where Rust is: the packages of the workspace and those beside it.
fn rust_folders() -> BTreeSet<String> {
    members().into_iter().filter(|folder| folder != "core/wire-derive").chain(["fuzz".to_owned()]).collect()
}

fn rust_files() -> Vec<String> {
    rust_folders().iter().flat_map(|folder| files(folder, &|name| name.ends_with(".rs"))).collect()
}

/// Files of the project under `folder`, in order, as paths from the root. What builds leave behind is not the project's.
fn files(folder: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(|entry| entry.expect("the folder can be listed")) {
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().expect("its kind is known").is_dir() {
            let is_built =
                name.starts_with("target") || matches!(&*name, ".git" | ".cache" | "runs" | "artifacts");
            if !is_built {
                found.extend(files(&path, wanted));
            }
        } else if wanted(&name) && name != "Cargo.lock" {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}
