//! Circles of imports: which modules of a folder name each other, and where.

use super::imports::{Import, code, imports, test_modules, without_tests};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A module's path from the root of its crate; the root's own is empty.
pub type Module = Vec<String>;

/// The modules of one crate with what each imports outside of its tests.
pub struct House {
    imports: BTreeMap<Module, Vec<Import>>,
}

/// Of one folder: which child names which, and the places where it does (`file:line`).
pub type Graph = BTreeMap<(String, String), Vec<String>>;

/// `a/b.rs` is `a::b`, and so is `a/b/mod.rs`.
pub fn module(file: &str) -> Module {
    let mut module: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

impl House {
    /// Of the sources of a crate: each file's path below the root and what it holds.
    pub fn new<'s>(sources: impl IntoIterator<Item = (&'s str, &'s str)>) -> House {
        let codes: BTreeMap<Module, String> =
            sources.into_iter().map(|(file, source)| (module(file), code(source))).collect();
        let tests: BTreeSet<Module> = codes
            .iter()
            .flat_map(|(module, code)| test_modules(code).into_iter().map(|name| below(module, &name)))
            .collect();
        let is_test = |module: &Module| (0..=module.len()).any(|depth| tests.contains(&module[..depth]));
        let kept = codes.into_iter().filter(|(module, _)| !is_test(module));
        House { imports: kept.map(|(module, code)| (module, imports(&without_tests(&code)))).collect() }
    }

    /// The graph of each folder that has two children or more which name each other.
    pub fn graphs(&self) -> BTreeMap<Module, Graph> {
        let mut graphs: BTreeMap<Module, Graph> = BTreeMap::new();
        for (module, imports) in &self.imports {
            for import in imports {
                for named in self.resolve(module, import) {
                    let shared = module.iter().zip(&named).take_while(|(a, b)| a == b).count();
                    if let (Some(from), Some(to)) = (module.get(shared), named.get(shared)) {
                        let graph = graphs.entry(module[..shared].to_vec()).or_default();
                        let places = graph.entry((from.clone(), to.clone())).or_default();
                        places.push(format!("{}:{}", module.join("/"), import.line));
                    }
                }
            }
        }
        graphs
    }

    /// The modules that a path leads through: those it spells, and those that re-exports on its way lead to.
    fn resolve(&self, module: &Module, import: &Import) -> Vec<Module> {
        let (mut found, mut steps) = (Vec::new(), 0);
        let from = [module.as_slice(), &import.within].concat();
        self.follow(&from, &import.path, &mut found, &mut steps);
        found
    }

    fn follow(&self, from: &[String], path: &[String], found: &mut Vec<Module>, steps: &mut usize) {
        let mut here: Module = match path.first().map(String::as_str) {
            Some("crate") => Module::new(),
            _ => from.to_vec(),
        };
        for (at, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" | "self" => continue,
                "super" => {
                    here.pop();
                    continue;
                }
                _ => {}
            }
            let next = below(&here, name);
            if self.imports.contains_key(&next) {
                here = next;
                continue;
            }
            // No module: a thing that this one defines, or brings from elsewhere. Names may lead in a circle themselves.
            *steps += 1;
            let brought = |import: &&Import| import.name.as_ref() == Some(name) && import.within.is_empty();
            let brought = self.imports.get(&here).and_then(|imports| imports.iter().find(brought));
            if let Some(import) = brought.filter(|_| *steps < 16) {
                self.follow(&here, &[&import.path, &path[at + 1..]].concat(), found, steps);
            }
            break;
        }
        found.push(here);
    }
}

/// The circles of a graph, each a shortest one of those that its modules stand in, with the places of its imports.
pub fn circles(graph: &Graph) -> Vec<(Vec<String>, String)> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut circles = Vec::new();
    for start in graph.keys().map(|(from, _)| from).collect::<BTreeSet<_>>() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = shortest(graph, start) {
            let edges = circle.iter().zip(circle.iter().cycle().skip(1));
            let text = edges
                .map(|(from, to)| format!("{from} names {to} in {}", graph[&(from.clone(), to.clone())].join(", ")));
            let text = text.collect::<Vec<_>>().join("; ");
            seen.extend(circle.iter().cloned());
            circles.push((circle, text));
        }
    }
    circles
}

/// The shortest way from `start` back to it.
fn shortest(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(here) = next.pop_front() {
        for (_, to) in graph.keys().filter(|(from, to)| from == here && to != here) {
            if to == start {
                let mut circle = vec![here.to_owned()];
                let mut at = here;
                while at != start {
                    at = before[at];
                    circle.push(at.to_owned());
                }
                circle.reverse();
                return Some(circle);
            }
            if !before.contains_key(to.as_str()) {
                before.insert(to, here);
                next.push_back(to);
            }
        }
    }
    None
}

fn below(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// A house of three floors in which `files` are put, and the circles of its folder `a`.
#[cfg(test)]
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let plain = [("lib.rs", "mod a;"), ("a/mod.rs", "mod x; mod y; mod z; pub use z::Z; pub struct Own;")];
    let others = plain.into_iter().filter(|(file, _)| !files.iter().any(|(put, _)| put == file));
    let graphs = House::new(others.chain(files.iter().copied())).graphs();
    graphs.values().flat_map(circles).map(|(circle, _)| circle).collect()
}

#[test]
fn a_circle_is_found_whichever_way_it_is_written() {
    let back = ("a/y.rs", "use super::x::X;");
    for there in [
        "use super::y::Y;",
        "use super::{z, y::Y};",
        "use crate::a::y;",
        "use crate::{a::{z::Z, y::{self, Y}}};",
        "fn f() -> super::y::Y { todo!() }",
        "use self::inner::I; mod inner { use super::super::y::Y; }",
    ] {
        assert_eq!(circles_of(&[("a/x.rs", there), back, ("a/z.rs", "")]), [["x", "y"]], "{there}");
    }
    // Through three, through the files of a sub-folder, and through a name that the front re-exports.
    let three = [("a/x.rs", "use super::y::Y;"), ("a/y.rs", "use super::z::f;"), ("a/z.rs", "use super::x::X;")];
    assert_eq!(circles_of(&three), [["x", "y", "z"]]);
    let folder = [("a/x/mod.rs", "mod deep;"), ("a/x/deep.rs", "use super::super::y::Y;"), back, ("a/z.rs", "")];
    assert_eq!(circles_of(&folder), [["x", "y"]]);
    let exported = [("a/x.rs", "use super::Z;"), ("a/y.rs", ""), ("a/z.rs", "use super::x::X;")];
    assert_eq!(circles_of(&exported), [["x", "z"]]);
    let above = [("lib.rs", "mod a; mod b;"), ("a/x.rs", "use crate::b::B;"), ("b.rs", "use crate::a::x::X;")];
    assert_eq!(circles_of(&above), [["a", "b"]]);
}

#[test]
fn one_way_is_no_circle() {
    let one_way = [
        ("a/x.rs", "use super::{Own, Z, y::Y};\n#[cfg(test)]\nmod tests;"),
        // Neither tests, nor comments, nor the front's own things make an edge back.
        ("a/y.rs", "//! [`super::x`]\nuse super::{Own, z::Z};\n#[cfg(test)]\nmod tests { use super::super::x::X; }"),
        ("a/z.rs", "use super::Own;"),
        ("a/x/tests.rs", "use super::super::y::Y; use crate::a::x::X;"),
    ];
    assert!(circles_of(&one_way).is_empty(), "{:?}", circles_of(&one_way));
}
