//! The text with its switches. Where no mutant of a site is left, the site is written as it was.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use crate::Mutant;
use crate::find::{Kind, Site};

/// The name of the function that says which mutant is on.
const SWITCH: &str = "crate::mutant::at";

/// `text` with every one of its `sites` rewritten, but for the mutants in `dropped`.
pub fn render(text: &str, mut sites: Vec<Site>, dropped: &BTreeSet<u32>) -> String {
    for site in &mut sites {
        if let Kind::Body(mutants) | Kind::Guard(mutants) | Kind::Binary { mutants, .. } = &mut site.kind {
            mutants.retain(|(id, _)| !dropped.contains(id));
        }
    }
    sites.retain(|site| match &site.kind {
        Kind::Const => true,
        Kind::Body(mutants) | Kind::Guard(mutants) | Kind::Binary { mutants, .. } => !mutants.is_empty(),
        Kind::Arm(mutant) | Kind::Field { mutant, .. } | Kind::Unary { mutant, .. } => !dropped.contains(mutant),
    });
    let mut out = String::new();
    Render { text, sites: &sites }.range(0..text.len(), 0, &mut out);
    out
}

struct Render<'a> {
    text: &'a str,
    sites: &'a [Site],
}

impl Render<'_> {
    /// Writes a range with those of its sites that come `from` there on.
    fn range(&self, range: Range<usize>, from: usize, out: &mut String) {
        let (mut at, mut next) = (range.start, from);
        while let Some(site) = self.sites.get(next) {
            if site.range.end > range.end || site.range.start > range.end {
                break;
            }
            if site.range.start >= at {
                *out += &self.text[at..site.range.start];
                self.site(next, out);
                at = site.range.end;
                if !site.range.is_empty() {
                    let inner = |site: &Site| site.range.start < at;
                    next += self.sites[next + 1..].iter().take_while(|site| inner(site)).count();
                }
            }
            next += 1;
        }
        *out += &self.text[at..range.end];
    }

    fn site(&self, number: usize, out: &mut String) {
        let site = &self.sites[number];
        let unchanged = |out: &mut String| self.range(site.range.clone(), number + 1, out);
        match &site.kind {
            Kind::Const => {}
            Kind::Body(mutants) => {
                cases(mutants, |value| format!("return {value}"), out);
                *out += "_ => {} }";
            }
            Kind::Field { mutant, base, path, member } => {
                let base = &self.text[base.clone()];
                let value = match path {
                    Some(path) => format!("{{ let base: {path} = {base}; base.{member} }}"),
                    None => format!("{base}.{member}"),
                };
                cases(&[(*mutant, value)], str::to_owned, out);
                otherwise(unchanged, out);
            }
            Kind::Arm(mutant) => {
                let is_off = format!("/*<{mutant}*/ {SWITCH}(&[{mutant}]) != {mutant} /*>{mutant}*/");
                if site.range.is_empty() {
                    write!(out, " if {is_off}").expect("a string takes it");
                } else {
                    *out += "(";
                    unchanged(out);
                    write!(out, ") && {is_off}").expect("a string takes it");
                }
            }
            Kind::Guard(mutants) => {
                cases(mutants, str::to_owned, out);
                otherwise(unchanged, out);
            }
            Kind::Binary { left, right, mutants } => {
                let (left, right) = (&self.text[left.clone()], &self.text[right.clone()]);
                cases(mutants, |operator| format!("({left}) {operator} ({right})"), out);
                otherwise(unchanged, out);
            }
            Kind::Unary { operand, mutant } => {
                let operand = &self.text[operand.clone()];
                cases(&[(*mutant, String::new())], |_| format!("({operand})"), out);
                otherwise(unchanged, out);
            }
        }
    }
}

/// Opens a match with an arm for each mutant.
fn cases(mutants: &[Mutant], value: impl Fn(&str) -> String, out: &mut String) {
    let ids: Vec<_> = mutants.iter().map(|(id, _)| id.to_string()).collect();
    // In parentheses but for a statement, which starts its arms with `return`.
    let statement = mutants.iter().all(|(_, replacement)| value(replacement).starts_with("return "));
    write!(out, "{}match {SWITCH}(&[{}]) {{ ", if statement { "" } else { "(" }, ids.join(","))
        .expect("a string takes it");
    for (id, replacement) in mutants {
        write!(out, "/*<{id}*/ {id} => {}, /*>{id}*/ ", value(replacement)).expect("a string takes it");
    }
}

/// Closes it with what is written there.
fn otherwise(unchanged: impl FnOnce(&mut String), out: &mut String) {
    *out += "_ => (";
    unchanged(out);
    *out += ") })";
}
