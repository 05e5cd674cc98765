//! Writes all mutants of a list into the sources at once, each behind a switch that is set when a test starts.
//!
//! `rewriter LIST FROM TO DROPPED KEPT`: LIST is what `cargo mutants --list --json` says, whose mutants are numbered from 1;
//! FROM and TO are two copies of the workspace; DROPPED is a file with the numbers of mutants to leave out, KEPT one with the
//! names of functions that must stay `const`. Prints, as JSON, which mutants it cannot express: those in constants, and
//! others. Every replacement stands between `/*<N*/` and `/*>N*/`, by which the compiler's errors are led back to it.

mod find;
mod render;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

/// A mutant's number, from 1 in the order of the list, and what it puts in place.
type Mutant = (u32, String);
/// The mutants of one file, by kind, line and column.
type Wanted = HashMap<(String, usize, usize), Vec<Mutant>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, list, from, to, dropped, kept] = &arguments[..] else { panic!("rewriter LIST FROM TO DROPPED KEPT") };
    let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let list: serde_json::Value = serde_json::from_str(&read(list)).expect("the list is JSON");
    let dropped: BTreeSet<u32> = read(dropped).split_whitespace().map(|id| id.parse().expect("a number")).collect();
    let kept: BTreeSet<String> = read(kept).split_whitespace().map(str::to_owned).collect();

    let (mut constant, mut other) = (Vec::new(), Vec::new());
    for (file, wanted) in by_file(&list) {
        let text = read(&format!("{from}/{file}"));
        let found = find::find(&text, &wanted, &kept);
        for (id, _) in wanted.values().flatten() {
            if found.constant.contains(id) {
                constant.push(*id);
            } else if !found.expressed.contains(id) {
                other.push(*id);
            }
        }
        fs::write(format!("{to}/{file}"), render::render(&text, found.sites, &dropped)).expect("the copy is written");
    }
    println!("{}", serde_json::json!({ "constant": constant, "other": other }));
}

fn by_file(list: &serde_json::Value) -> BTreeMap<String, Wanted> {
    let mut files: BTreeMap<String, Wanted> = BTreeMap::new();
    for (id, mutant) in (1..).zip(list.as_array().expect("the list is an array")) {
        let text = |key: &str| mutant[key].as_str().expect("a text").to_owned();
        let place = |key: &str| mutant["span"]["start"][key].as_u64().expect("a number") as usize;
        let at = (text("genre"), place("line"), place("column"));
        files.entry(text("file")).or_default().entry(at).or_default().push((id, text("replacement")));
    }
    files
}
