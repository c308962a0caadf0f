//! The ways that were found, for people.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::graph::{Graph, Kind, reaching};

/// What every `async` block ends in when it is polled after it has given its output. The contract of a future forbids it,
/// and the compiler offers no way to leave it out.
const RESUMED: &str = "panic_const::panic_const_async_fn_resumed";

/// A way to a panic: names, from the function on.
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn root(&self) -> &str {
        &self.0[0]
    }
}

/// What was found.
pub(crate) struct Report {
    /// Functions of the crates that were looked at.
    looked_at: usize,
    /// Ways within the crates and the standard library.
    pub(crate) own: Vec<Path>,
    /// Those of them that need an executor which asks a future after its end.
    pub(crate) resumed: Vec<Path>,
    /// By the crate it leads through: the call that leaves ours.
    foreign: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Report {
    pub(crate) fn of(graph: &Graph, crates: &[String]) -> Self {
        let nodes = &graph.nodes;
        let is_ours = |kind: &Kind| matches!(kind, Kind::Of(from) if crates.contains(from));
        // A way that goes on through another function of ours is that function's.
        let is_passed = |kind: &Kind| matches!(kind, Kind::Data | Kind::Standard);
        let panics = reaching(nodes, |node| is_passed(&node.kind));
        let mut report = Self {
            looked_at: 0,
            own: Vec::new(),
            resumed: Vec::new(),
            foreign: BTreeMap::new(),
        };
        for (at, node) in nodes.iter().enumerate() {
            if !is_ours(&node.kind) || !graph.is_linked[at] {
                continue;
            }
            report.looked_at += 1;
            for &callee in &node.calls {
                if panics[callee] {
                    let path = way(graph, at, callee, &panics);
                    if path.0.iter().any(|name| name.ends_with(RESUMED)) {
                        report.resumed.push(path);
                    } else {
                        report.own.push(path);
                    }
                }
            }
            for leaving in beyond(graph, at, |kind| is_passed(kind)) {
                let Kind::Of(to) = &nodes[leaving].kind else { continue };
                if !is_ours(&nodes[leaving].kind) && graph.panics[leaving] {
                    let call = (node.name.clone(), nodes[leaving].name.clone());
                    report.foreign.entry(to.clone()).or_default().insert(call);
                }
            }
        }
        report.own.sort_by(|a, b| a.0.cmp(&b.0));
        report.own.dedup_by(|a, b| a.0 == b.0);
        report
    }

    pub(crate) fn print(&self, all: bool) {
        for Path(names) in &self.own {
            println!("{}", names.join("\n    -> "));
        }
        for (through, calls) in &self.foreign {
            println!("through {through}, which may panic: {} calls", calls.len());
            if all {
                for (from, to) in calls {
                    println!("    {from}\n        -> {to}");
                }
            }
        }
        println!("{} futures that must not be polled after their end", self.resumed.len());
        println!("{} functions, {} ways to a panic", self.looked_at, self.own.len());
    }
}

/// The shortest way from a function over this call, up to the first function that does nothing but panic.
fn way(graph: &Graph, from: usize, first: usize, panics: &[bool]) -> Path {
    let mut before = BTreeMap::from([(first, from)]);
    let mut todo = VecDeque::from([first]);
    let mut end = first;
    while let Some(at) = todo.pop_front() {
        end = at;
        if graph.nodes[at].kind == Kind::Sink {
            break;
        }
        for &callee in &graph.nodes[at].calls {
            if panics[callee] && callee != from && !before.contains_key(&callee) {
                before.insert(callee, at);
                todo.push_back(callee);
            }
        }
    }
    let mut places = vec![end];
    while end != from {
        end = before[&end];
        places.push(end);
    }
    let mut names: Vec<String> = Vec::new();
    for at in places.into_iter().rev() {
        let name = graph.nodes[at].name.clone();
        let is_end = name.starts_with("core::panicking::");
        names.push(name);
        if is_end {
            break;
        }
    }
    Path(names)
}

/// The first nodes on all ways from here that may not be passed.
fn beyond(graph: &Graph, from: usize, is_passed: impl Fn(&Kind) -> bool) -> BTreeSet<usize> {
    let mut seen = BTreeSet::from([from]);
    let mut todo = vec![from];
    let mut found = BTreeSet::new();
    while let Some(at) = todo.pop() {
        for &callee in &graph.nodes[at].calls {
            if !seen.insert(callee) {
                continue;
            }
            if is_passed(&graph.nodes[callee].kind) {
                todo.push(callee);
            } else {
                found.insert(callee);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::graph::{Graph, Kind, Node};

    fn node(name: &str, kind: Kind, calls: &[usize]) -> Node {
        Node {
            name: name.to_owned(),
            kind,
            calls: calls.to_vec(),
        }
    }

    fn of(name: &str) -> Kind {
        Kind::Of(name.to_owned())
    }

    #[test]
    fn ways_are_told_apart_by_whose_they_are() {
        let graph = Graph::from_nodes(vec![
            node("rust_begin_unwind", Kind::Sink, &[]),
            node("core::panicking::panic", Kind::Standard, &[0]),
            // By a table of methods.
            node("ours::pointed", of("ours"), &[3]),
            node("table", Kind::Data, &[1]),
            // Through another crate.
            node("ours::asks", of("ours"), &[5]),
            node("theirs::answer", of("theirs"), &[1]),
            // Calls one that panics, and does not panic itself.
            node("ours::caller", of("ours"), &[2]),
            node("ours::calm", of("ours"), &[8]),
            node("theirs::calm", of("theirs"), &[]),
            node("main", of("theirs"), &[4, 6, 7]),
            node("ours::unused", of("ours"), &[1]),
        ], 9)
        .expect("there is a handler");
        let report = Report::of(&graph, &["ours".to_owned()]);
        assert_eq!(report.looked_at, 4);
        let own: Vec<_> = report.own.iter().map(|path| path.0.join(" ")).collect();
        assert_eq!(own, ["ours::pointed table core::panicking::panic"]);
        let foreign: Vec<_> = report.foreign["theirs"].iter().collect();
        assert_eq!(foreign, [&("ours::asks".to_owned(), "theirs::answer".to_owned())]);
    }

    #[test]
    fn no_whole_program_is_no_proof() {
        assert!(Graph::from_nodes(vec![node("ours::calm", of("ours"), &[])], 0).is_err());
    }
}
