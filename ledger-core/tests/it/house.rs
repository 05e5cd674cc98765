//! The house's own rules, read from the source: dependencies point down, and each power has one place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A source file of the library without its comments and unit tests.
struct Source {
    /// Relative to `src`, with `/`.
    path: String,
    code: String,
}

impl Source {
    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The top-level modules that it names.
    fn imports(&self) -> BTreeSet<String> {
        let mut modules = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let after = &self.code[at + "crate::".len()..];
            if let Some(group) = after.strip_prefix('{') {
                let names = group.split(['}', ',']).map(str::trim);
                modules.extend(names.map(|name| name.split("::").next().unwrap_or_default().to_owned()));
            } else {
                modules.insert(after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
        modules
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    assert!(files.len() > 10, "the library's source is in {}", root.display());
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let path = file.strip_prefix(&root).expect("under src").to_string_lossy().replace('\\', "/");
            Source { path, code: without_comments_and_tests(&text) }
        })
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
}

/// Unit tests stand at the end of a file, or in a file of their own, in a module that is called so.
fn without_comments_and_tests(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("mod tests {") {
            break;
        }
        let is_comment = line.trim_start().starts_with("//");
        code.push_str(if is_comment { "" } else { line });
        code.push('\n');
    }
    code
}

/// Fails with every place where a file outside `allowed` says one of `words`.
fn only_in(words: &[&str], allowed: &[&str]) {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !allowed.iter().any(|path| source.path.starts_with(path))) {
        for (number, line) in source.code.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{words:?} only in {allowed:?}, but also:\n{}", found.join("\n"));
}

#[test]
fn the_lowest_layer_imports_nothing_from_above() {
    for source in sources().iter().filter(|source| ["types", "sync", "sys", "ahead"].contains(&source.module())) {
        for import in source.imports() {
            assert!(
                ["types", "sync", "sys", "ahead"].contains(&import.as_str()) || !is_a_module(&import),
                "{} imports {import}",
                source.path
            );
        }
    }
}

/// Whether it is a top-level module of the library, and not a name that it exports.
fn is_a_module(name: &str) -> bool {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    src.join(name).is_dir() || src.join(format!("{name}.rs")).is_file()
}

#[test]
fn state_and_log_never_import_each_other() {
    for source in sources() {
        let imports = source.imports();
        let forbidden: &[&str] = match source.module() {
            "state" => &["wal", "sys", "sim", "ledger", "options", "recovery", "commit"],
            "wal" => &["state", "journal", "view", "command", "withdrawals", "ledger", "options", "recovery", "commit"],
            "withdrawals" => &["wal", "sys", "sim", "state", "ledger", "options", "recovery", "commit"],
            "sim" => &["wal", "state", "journal", "ledger", "view", "command", "withdrawals"],
            _ => continue,
        };
        for module in forbidden {
            assert!(!imports.contains(*module), "{} imports {module}", source.path);
        }
    }
}

#[test]
fn only_the_journal_and_the_facade_know_both_state_and_log() {
    for source in sources() {
        let imports = source.imports();
        let knows_both = imports.contains("state") && imports.contains("wal");
        let may = ["journal", "ledger", "recovery", "inspect", "checkpoint", "backup", "commit", "options", "lib"]
            .contains(&source.module());
        assert!(!knows_both || may, "{} imports both state and wal", source.path);
    }
}

#[test]
fn threads_and_locks_are_imported_in_one_place() {
    only_in(
        &["std::thread", "std::sync::", "use parking_lot", "parking_lot::"],
        &["sync.rs", "sync/", "sys/", "ahead.rs", "error.rs"],
    );
}

#[test]
fn clocks_are_read_in_one_place() {
    only_in(&["SystemTime"], &["sys/clock.rs"]);
    // The log's threads wait, and time their syncs; a checkpoint times its locks. No entry's time comes from there.
    only_in(&["Instant"], &["sys/clock.rs", "sys/memory.rs", "wal/", "checkpoint/hold.rs"]);
    only_in(&["SystemClock"], &["sys/", "options.rs", "lib.rs"]);
}

#[test]
fn files_are_touched_in_one_place() {
    only_in(&["std::fs", "rustix::"], &["sys/"]);
}

#[test]
fn no_hash_order_can_be_seen() {
    only_in(&["collections::HashMap", "collections::HashSet", "HashSet"], &[]);
    // Looked up, and never walked where the order could be seen.
    only_in(&["HashMap"], &["ledger/atomic.rs", "state/shard.rs", "state/cut.rs"]);
}

#[test]
fn chance_is_taken_only_where_a_ledger_gets_its_name() {
    only_in(&["new_v4", "rand::"], &["wal/", "ledger", "recovery.rs"]);
    // Seeds of hash tables whose order nobody sees.
    only_in(&["RandomState"], &["state/", "ledger/"]);
}

#[test]
fn the_library_prints_nothing() {
    only_in(&["println!", "print!(", "dbg!", "todo!", "unimplemented!"], &[]);
}

#[test]
fn there_is_no_unsafe_code() {
    let lib = sources().into_iter().find(|source| source.path == "lib.rs").expect("lib.rs");
    assert!(lib.code.contains("#![forbid(unsafe_code)]"));
    only_in(&["unsafe "], &[]);
}

#[test]
fn every_module_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not begin with its documentation", file.display());
    }
}

/// Each page of the runbook has a row that names the tests which go through its failure. They must be tests, of these names, that are
/// run; the first of each types the page's own lines.
#[test]
fn every_page_of_the_runbook_is_rehearsed_by_tests_that_are_run() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let runbook = std::fs::read_to_string(workspace.join("docs/runbook.md")).expect("the runbook");
    let titles: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let (last, pages) = titles.split_last().expect("pages");
    assert_eq!(*last, "Rehearsals");
    let rows: Vec<&str> = runbook.lines().filter(|line| line.contains("::")).collect();
    assert_eq!(rows.len(), pages.len(), "a row for each page");
    for (title, row) in pages.iter().zip(rows) {
        let page = format!("| [{title}](#{}) | ", anchor(title));
        let tests = row.strip_prefix(&page).unwrap_or_else(|| panic!("{row}\nis not of the page {title}"));
        assert!(tests.starts_with("`ledger-server`, `it`: `runbook::"), "nobody types what this page says: {row}");
        let mut package = "";
        let mut target = "";
        let mut types_the_page = true;
        for word in tests.split('`').skip(1).step_by(2) {
            match word.rsplit_once("::") {
                Some((module, test)) => {
                    let text = test_of(&workspace.join(package).join("tests").join(target), module, test);
                    assert!(
                        !types_the_page || text.contains(&format!("Page::of(\"{title}\")")),
                        "{test}: not of {title}"
                    );
                    types_the_page = false;
                }
                None if word.starts_with("ledger-") => package = word,
                None => target = word,
            }
        }
    }
    for (at, _) in runbook.match_indices("](#") {
        let link = runbook[at + "](#".len()..].split(')').next().unwrap_or_default();
        assert!(pages.iter().any(|title| anchor(title) == link), "no page is linked to by #{link}");
    }
}

fn anchor(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// The text of a function that the harness runs: it has the attribute of a test and no other, and each module on the way to it is
/// declared by the one before.
fn test_of(root: &Path, module: &str, test: &str) -> String {
    let mut file = root.join("main.rs");
    let mut directory = root.to_owned();
    for name in module.split("::") {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        let declares = |line: &str| line.ends_with(&format!("mod {name};"));
        assert!(text.lines().any(declares), "{} does not declare {name}", file.display());
        file = directory.join(format!("{name}.rs"));
        directory.push(name);
    }
    let text = std::fs::read_to_string(&file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    let lines: Vec<&str> = text.lines().collect();
    let is_it = |line: &&str| line.trim_start_matches("async ").starts_with(&format!("fn {test}("));
    let at = lines.iter().position(is_it).unwrap_or_else(|| panic!("{} has no {test}", file.display()));
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    let attributes: Vec<&str> = attributes.filter(|line| line.starts_with("#[")).copied().collect();
    let is_test = matches!(attributes[..], [it] if it == "#[test]" || it.starts_with("#[tokio::test"));
    assert!(is_test, "{test} in {} is no test: {attributes:?}", file.display());
    let end = lines[at..].iter().position(|line| *line == "}").map_or(lines.len(), |length| at + length);
    lines[at..end].join("\n")
}
