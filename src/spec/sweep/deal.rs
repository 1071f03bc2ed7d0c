//! The points of a sweep, dealt out of its parts.

use super::point::{MOST, Point, equal, said};
use super::reader::Reader;
use crate::spec::parse::Node;
use crate::spec::problem::Problem;
use std::collections::HashSet;

/// Every point of a sweep, in order: the first of several parts moves slowest, and so does the first key of a grid. How many of them
/// were drawn twice, and are in it once, comes with them.
pub fn points(sweep: &Node, problems: &mut Vec<Problem>) -> (Vec<Point>, usize) {
    let before = problems.len();
    let mut reader = Reader::new(problems);
    let (parts, without) = reader.parts(sweep);
    let swept = std::mem::take(&mut reader.swept);
    let excluded: Vec<Vec<(String, Node)>> =
        without.into_iter().flat_map(|node| reader.without(node, &swept)).collect();
    if problems.len() > before {
        return (Vec::new(), 0);
    }
    let count = parts.iter().try_fold(1usize, |all, part| all.checked_mul(part.len()).filter(|&all| all <= MOST));
    if count.is_none() {
        let message = format!("a sweep may have {MOST} points, this one has more");
        problems.push(Problem::new(&sweep.place, message, "fewer values, or `random`"));
        return (Vec::new(), 0);
    }
    let product = |all: Vec<Point>, part: &Vec<Point>| -> Vec<Point> {
        all.iter().flat_map(|point| part.iter().map(|more| [&point[..], more].concat())).collect()
    };
    let all = parts.iter().fold(vec![Point::new()], product);
    let mut used = vec![false; excluded.len()];
    let mut kept: Vec<Point> = Vec::with_capacity(all.len());
    let mut seen = HashSet::new();
    let mut twice = 0;
    for point in all {
        let mut out = false;
        for (used, excluded) in used.iter_mut().zip(&excluded) {
            if excluded
                .iter()
                .all(|(name, value)| point.iter().any(|(path, own)| path.name.name == *name && equal(own, value)))
            {
                (*used, out) = (true, true);
            }
        }
        if out {
            continue;
        }
        match seen.insert(said(&point)) {
            true => kept.push(point),
            false => twice += 1,
        }
    }
    for (excluded, _) in excluded.iter().zip(&used).filter(|(_, used)| !**used) {
        if let Some((_, node)) = excluded.first() {
            problems.push(Problem::new(
                &node.place,
                "no point of the sweep is like this",
                "remove it, or give it values that are swept",
            ));
        }
    }
    if kept.is_empty() && problems.len() == before {
        problems.push(Problem::new(&sweep.place, "nothing of the sweep is left", "`without` leaves out every point"));
    }
    (kept, twice)
}
