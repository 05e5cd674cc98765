//! The tables of `docs/bank-protocol.md`, so that what is documented is what is tested.

const PROTOCOL: &str = include_str!("../../../docs/bank-protocol.md");

/// The rows of the table named in a comment above it: its cells without their code marks.
pub(crate) fn table(name: &str) -> Vec<Vec<String>> {
    let (_, after) = PROTOCOL.split_once(&format!("<!-- table: {name} -->\n")).expect("the protocol has this table");
    let rows: Vec<_> = after.lines().take_while(|line| line.starts_with('|')).skip(2).map(cells).collect();
    assert!(rows.len() > 2, "the table {name} has rows");
    rows
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}
