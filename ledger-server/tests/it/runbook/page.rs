//! A page, and which of its commands were typed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// Spans that begin so, or with an option, and have more than one word are commands.
const PROGRAMS: &str = "ledger-server curl GET POST cp mv ls date df dmesg fuser lsof kill ps ssh";

/// A page of the runbook.
pub(crate) struct Page {
    text: String,
    commands: BTreeSet<String>,
    typed: RefCell<BTreeSet<String>>,
}

impl Page {
    pub(crate) fn of(title: &str) -> Page {
        let runbook = runbook();
        let pages = runbook.split("\n## ").map(|page| page.split_once('\n').unwrap());
        let (_, text) = pages.into_iter().find(|(head, _)| *head == title).unwrap_or_else(|| panic!("no page {title}"));
        Page { text: one_line(text), commands: commands(text), typed: RefCell::default() }
    }

    /// The text of each page.
    pub(crate) fn all() -> Vec<String> {
        let pages = runbook();
        let pages = pages.split("\n## ").skip(1).filter(|page| !page.starts_with("Rehearsals\n"));
        pages.map(|page| page.replace("```", "")).collect()
    }

    /// The page has these words, however they are broken into lines.
    pub(crate) fn says(&self, words: &str) {
        assert!(self.text.contains(words), "the page does not say {words:?}:\n{}", self.text);
    }

    /// A command of the page, as it stands there.
    pub(crate) fn takes<'a>(&self, command: &'a str) -> &'a str {
        assert!(self.commands.contains(command), "{command:?} is none of the page's {:#?}", self.commands);
        self.typed.borrow_mut().insert(command.to_owned());
        command
    }

    /// All of the page's commands were typed but for these, which look at the machine or stand for another page.
    pub(crate) fn is_done_but_for(&self, untyped: &[&str]) {
        let typed = self.typed.borrow();
        let left: Vec<&str> = self.commands.difference(&typed).map(String::as_str).collect();
        let mut untyped = untyped.to_owned();
        untyped.sort_unstable();
        assert_eq!(left, untyped, "what was not typed");
    }
}

fn runbook() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md")).unwrap()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of its blocks without their comments, and the spans of its text that are commands or options.
fn commands(text: &str) -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for (n, part) in text.split("```").enumerate() {
        if n % 2 == 1 {
            let lines = part.strip_prefix("sh\n").expect("a block of commands").replace("\\\n", " ");
            let lines = lines.lines().map(|line| one_line(line.split(" #").next().unwrap_or_default()));
            commands.extend(lines.filter(|line| !line.is_empty()));
        } else {
            let spans = part.split('`').skip(1).step_by(2).map(one_line);
            commands.extend(spans.filter(|span| is_command(span)));
        }
    }
    commands
}

fn is_command(span: &str) -> bool {
    span.split_once(' ')
        .is_some_and(|(first, _)| first.starts_with("--") || PROGRAMS.split(' ').any(|program| program == first))
}
