//! The tree of path segments in which routes are found.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Route;
use crate::policy::pattern::{PathPattern, Segment};

/// A path: the routes that end here, and the paths that are one segment longer.
#[derive(Debug, Default)]
pub(super) struct Node {
    prefix: Vec<Arc<Route>>,
    exact: Vec<Arc<Route>>,
    longer: HashMap<Box<str>, Node>,
    /// Below a template.
    template: Option<Box<Node>>,
}

/// The routes of the most specific path that serves a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners<'a> {
    /// Whether they are exact, and how many segments they have.
    rank: (bool, usize),
    pub(super) routes: &'a [Arc<Route>],
}

impl Node {
    /// The routes of this pattern.
    pub(super) fn at(&mut self, path: &PathPattern) -> &mut Vec<Arc<Route>> {
        let node = path.segments().iter().fold(self, |node, segment| match segment {
            Segment::Literal(text) => node.longer.entry(text.clone()).or_default(),
            Segment::Any => node.template.get_or_insert_default(),
        });
        if path.is_exact() { &mut node.exact } else { &mut node.prefix }
    }

    /// The routes of the most specific path that serves these segments and has one that counts.
    ///
    /// Walks down; only where a literal and a template both fit does it look at both ways, so the work is bounded by the
    /// templates that the file crosses with literals, not by the request.
    pub(super) fn owners<'a, 's>(
        &'a self,
        segments: impl Iterator<Item = Cow<'s, str>> + Clone,
        counts: &impl Fn(&Arc<Route>) -> bool,
    ) -> Option<Owners<'a>> {
        self.owners_from(0, segments, counts)
    }

    fn owners_from<'a, 's, I: Iterator<Item = Cow<'s, str>> + Clone>(
        &'a self,
        mut depth: usize,
        mut rest: I,
        counts: &impl Fn(&Arc<Route>) -> bool,
    ) -> Option<Owners<'a>> {
        let mut longest = None;
        let mut node = self;
        loop {
            if node.prefix.iter().any(counts) {
                longest = Some(Owners { rank: (false, depth), routes: &node.prefix });
            }
            let Some(segment) = rest.next() else {
                let exact = node.exact.iter().any(counts);
                return if exact { Some(Owners { rank: (true, depth), routes: &node.exact }) } else { longest };
            };
            depth += 1;
            node = match (node.longer.get(&*segment), node.template.as_deref()) {
                (None, None) => return longest,
                (Some(literal), None) => literal,
                (None, Some(template)) => template,
                (Some(literal), Some(template)) => {
                    let literal = literal.owners_from(depth, rest.clone(), counts);
                    let template = template.owners_from(depth, rest, counts);
                    let better = match (literal, template) {
                        (Some(literal), Some(template)) if template.rank > literal.rank => Some(template),
                        (literal, template) => literal.or(template),
                    };
                    return better.or(longest);
                }
            };
        }
    }
}
