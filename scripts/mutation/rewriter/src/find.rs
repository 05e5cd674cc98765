//! Where the mutants of a file are in its text.

use std::collections::BTreeSet;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::{Mutant, Wanted};

/// A part of the text, in bytes, in whose place something else is written.
pub struct Site {
    pub range: Range<usize>,
    pub kind: Kind,
}

pub enum Kind {
    /// `const` of a function, which goes: a constant function cannot read the switch.
    Const,
    /// The start of a function's body, which returns at once.
    Body(Vec<Mutant>),
    /// A field that is taken from the base of a struct's update instead; `path` is the struct's, if the base is computed.
    Field {
        mutant: u32,
        base: Range<usize>,
        path: Option<String>,
        member: String,
    },
    /// An arm that never matches: the range is its guard, or empty where it has none.
    Arm(u32),
    Guard(Vec<Mutant>),
    Binary {
        left: Range<usize>,
        right: Range<usize>,
        mutants: Vec<Mutant>,
    },
    /// An operator that goes.
    Unary {
        operand: Range<usize>,
        mutant: u32,
    },
}

pub struct Found {
    /// Outer before inner.
    pub sites: Vec<Site>,
    pub expressed: BTreeSet<u32>,
    /// Mutants in what is computed when compiled.
    pub constant: BTreeSet<u32>,
}

/// Finds what of `wanted` can be expressed in `text`. Functions named in `kept` stay constant.
pub fn find(text: &str, wanted: &Wanted, kept: &BTreeSet<String>) -> Found {
    let found = Found { sites: Vec::new(), expressed: BTreeSet::new(), constant: BTreeSet::new() };
    let mut finder = Finder { wanted, kept, found, constants: 0 };
    finder.visit_file(&syn::parse_file(text).expect("the sources parse"));
    let mut found = finder.found;
    let rank = |kind: &Kind| match kind {
        Kind::Arm(_) | Kind::Field { .. } | Kind::Body(_) | Kind::Const => 0,
        Kind::Guard(_) => 1,
        Kind::Binary { .. } | Kind::Unary { .. } => 2,
    };
    found.sites.sort_by_key(|site| (site.range.start, std::cmp::Reverse(site.range.end), rank(&site.kind)));
    found
}

struct Finder<'a> {
    wanted: &'a Wanted,
    kept: &'a BTreeSet<String>,
    found: Found,
    /// How many constants the place is within.
    constants: usize,
}

impl Finder<'_> {
    fn at(&mut self, genre: &str, span: proc_macro2::Span) -> Vec<Mutant> {
        let start = span.start();
        let at = (genre.to_owned(), start.line, start.column + 1);
        let mutants = self.wanted.get(&at).cloned().unwrap_or_default();
        if self.constants > 0 {
            self.found.constant.extend(mutants.iter().map(|(id, _)| id));
            return Vec::new();
        }
        mutants
    }

    fn add(&mut self, range: Range<usize>, ids: impl IntoIterator<Item = u32>, kind: Kind) {
        self.found.expressed.extend(ids);
        self.found.sites.push(Site { range, kind });
    }

    fn constant(&mut self, visit: impl FnOnce(&mut Self)) {
        self.constants += 1;
        visit(self);
        self.constants -= 1;
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block, visit: impl FnOnce(&mut Self)) {
        if let Some(constness) = &signature.constness {
            if self.kept.contains(&signature.ident.to_string()) {
                return self.constant(|finder| {
                    finder.body(signature, body);
                    visit(finder);
                });
            }
            self.found.sites.push(Site { range: constness.span.byte_range(), kind: Kind::Const });
        }
        self.body(signature, body);
        visit(self);
    }

    fn body(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let Some(first) = body.stmts.first() else { return };
        let mutants = self.at("FnValue", first.span());
        // An opaque type is one type: nothing of another can be returned.
        let opaque = matches!(&signature.output, syn::ReturnType::Type(_, t) if matches!(**t, syn::Type::ImplTrait(_)));
        if !mutants.is_empty() && !opaque {
            let start = body.brace_token.span.open().byte_range().end;
            self.add(start..start, ids(&mutants), Kind::Body(mutants));
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant(|finder| visit::visit_item_const(finder, item));
    }
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constant(|finder| visit::visit_item_static(finder, item));
    }
    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(|finder| visit::visit_impl_item_const(finder, item));
    }
    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.constant(|finder| visit::visit_trait_item_const(finder, item));
    }
    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.constant(|finder| visit::visit_expr_const(finder, expr));
    }
    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.constant(|finder| visit::visit_type_array(finder, array));
    }
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
        self.constant(|finder| finder.visit_expr(&repeat.len));
    }
    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.constant(|finder| visit::visit_generic_argument(finder, argument));
    }
    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.constant(|finder| visit::visit_variant(finder, variant));
    }
    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        self.constant(|finder| visit::visit_pat(finder, pattern));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block, |finder| visit::visit_item_fn(finder, item));
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block, |finder| visit::visit_impl_item_fn(finder, item));
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.body(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let mutants = self.at("BinaryOperator", expr.op.span());
        // A `let` in a chain cannot go into an arm of a match.
        if !mutants.is_empty() && !has_let(&expr.left) && !has_let(&expr.right) {
            let (left, right) = (expr.left.span().byte_range(), expr.right.span().byte_range());
            self.add(expr.span().byte_range(), ids(&mutants), Kind::Binary { left, right, mutants });
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        if let Some(&(mutant, _)) = self.at("UnaryOperator", expr.op.span()).first() {
            let operand = expr.expr.span().byte_range();
            self.add(expr.span().byte_range(), [mutant], Kind::Unary { operand, mutant });
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| guard);
        if !guard.is_some_and(|guard| has_let(guard)) {
            if let Some(guard) = guard {
                let mutants = self.at("MatchArmGuard", guard.span());
                if !mutants.is_empty() {
                    self.add(guard.span().byte_range(), ids(&mutants), Kind::Guard(mutants));
                }
            }
            if let Some(&(mutant, _)) = self.at("MatchArm", arm.span()).first() {
                let end = arm.pat.span().byte_range().end;
                self.add(guard.map_or(end..end, |guard| guard.span().byte_range()), [mutant], Kind::Arm(mutant));
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        for field in expr.fields.iter().filter(|field| field.colon_token.is_some()) {
            let (Some(base), syn::Member::Named(member)) = (&expr.rest, &field.member) else { continue };
            if let Some(&(mutant, _)) = self.at("StructField", field.span()).first() {
                let names = expr.path.segments.iter().map(|segment| segment.ident.to_string());
                let is_computed = !matches!(**base, syn::Expr::Path(_));
                let path = is_computed.then(|| names.collect::<Vec<_>>().join("::"));
                let (base, member) = (base.span().byte_range(), member.to_string());
                self.add(field.expr.span().byte_range(), [mutant], Kind::Field { mutant, base, path, member });
            }
        }
        visit::visit_expr_struct(self, expr);
    }
}

fn ids(mutants: &[Mutant]) -> Vec<u32> {
    mutants.iter().map(|(id, _)| *id).collect()
}

fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(b) if matches!(b.op, syn::BinOp::And(_)) => has_let(&b.left) || has_let(&b.right),
        _ => false,
    }
}
