//! The ways that were found, for people.

use diset_examples::println;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::graph::{Graph, Kind, reaching};

/// What every `async` block ends in when it is polled after it has given its output. The contract of a future forbids it,
/// and the compiler offers no way to leave it out.
const RESUMED: &str = "panic_const::panic_const_async_fn_resumed";

/// A way to a panic.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    /// From the function on.
    names: Vec<String>,
    /// The places in source files that the function would blame.
    places: Vec<String>,
}

impl Path {
    pub(crate) fn root(&self) -> &str {
        &self.names[0]
    }

    /// What ways have in common that are to be mended at one place.
    fn rest(&self) -> (&[String], &[String]) {
        (&self.names[1..], &self.places)
    }
}

/// Ways in a list; those that differ in the function only share an entry, as instances of a generic one do.
fn print(paths: &[Path]) {
    let mut groups: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for path in paths {
        groups.entry(path.rest()).or_default().push(path.root());
    }
    for ((steps, places), roots) in groups {
        println!("{}", roots[0]);
        if roots.len() > 1 {
            println!("    and {} more", roots.len() - 1);
        }
        for step in steps {
            println!("    -> {step}");
        }
        for place in places {
            println!("    at {place}");
        }
    }
}

/// What was found.
#[derive(Default)]
pub(crate) struct Report {
    /// Functions of the crates that were looked at.
    looked_at: usize,
    /// Ways within the crates and the standard library.
    pub(crate) own: Vec<Path>,
    /// Those of them that need an executor which asks a future after its end.
    pub(crate) resumed: Vec<Path>,
    /// In functions of ours, but all places they would blame are in files of others: code that was inlined there.
    inlined: Vec<Path>,
    /// By the crate it leads through: the call that leaves ours.
    foreign: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Report {
    pub(crate) fn of(graph: &Graph, crates: &[String]) -> Self {
        let view = View::of(graph, crates);
        let mut report = Self::default();
        for (at, node) in graph.nodes.iter().enumerate() {
            if !graph.is_linked[at] {
                continue;
            }
            let is_ours = view.is_ours(&node.kind);
            report.looked_at += usize::from(is_ours);
            if !matches!(node.kind, Kind::Data) {
                report.note(&view, at, is_ours);
            }
            if is_ours {
                report.note_foreign(&view, at);
            }
        }
        report.own.sort();
        report.own.dedup();
        report
    }

    /// The ways from one function.
    fn note(&mut self, view: &View<'_>, at: usize, is_ours: bool) {
        let blames = view.blames(at);
        for &callee in &view.graph.nodes[at].calls {
            if !view.panics[callee] {
                continue;
            }
            let blamed = blames.iter().filter(|(to, _)| *to == callee).map(|(_, place)| place);
            let (ours, theirs): (BTreeSet<&String>, BTreeSet<_>) = blamed.partition(|place| view.is_our_file(place));
            let is_standard = theirs.iter().any(|place| is_standard_file(place));
            // Code of ours that was inlined elsewhere gives itself away by the place it blames.
            if !is_ours && ours.is_empty() {
                continue;
            }
            let is_inlined = ours.is_empty() && !theirs.is_empty() && !is_standard;
            let places = if is_inlined { theirs } else { ours };
            let path = way(view, at, callee, places);
            if path.names.iter().any(|name| name.ends_with(RESUMED)) {
                self.resumed.push(path);
            } else if is_inlined {
                self.inlined.push(path);
            } else {
                self.own.push(path);
            }
        }
    }

    /// The calls that lead from this function of ours into other crates, and there to a panic.
    fn note_foreign(&mut self, view: &View<'_>, at: usize) {
        let nodes = &view.graph.nodes;
        for leaving in beyond(view.graph, at) {
            let Kind::Of(to) = &nodes[leaving].kind else { continue };
            if !view.is_ours(&nodes[leaving].kind) && view.graph.panics[leaving] {
                let call = (nodes[at].name.clone(), nodes[leaving].name.clone());
                self.foreign.entry(to.clone()).or_default().insert(call);
            }
        }
    }

    pub(crate) fn print(&self, all: bool) {
        print(&self.own);
        println!("{} ways in code of others that was inlined", self.inlined.len());
        if all {
            print(&self.inlined);
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

/// The graph, as the crates see it.
struct View<'g> {
    graph: &'g Graph,
    crates: &'g [String],
    /// Whether a panic can be reached through the standard library alone.
    panics: Vec<bool>,
}

impl<'g> View<'g> {
    fn of(graph: &'g Graph, crates: &'g [String]) -> Self {
        // A way that goes on through another function of ours is that function's.
        let panics = reaching(&graph.nodes, |node| is_passed(&node.kind));
        Self { graph, crates, panics }
    }

    fn is_ours(&self, kind: &Kind) -> bool {
        matches!(kind, Kind::Of(from) if self.crates.contains(from))
    }

    /// A crate lies in a folder of its name, but for the dash.
    fn is_our_file(&self, place: &str) -> bool {
        let is_of = |name: &String| place.contains(&format!("{}/src/", name.replace('_', "-")));
        self.crates.iter().any(is_of)
    }

    /// Calls of a function that panic, with the places that they blame: such a place is an argument, and so is loaded
    /// right before the call.
    fn blames(&self, at: usize) -> Vec<(usize, String)> {
        let nodes = &self.graph.nodes;
        let mut loaded = Vec::new();
        let mut blames = Vec::new();
        for &target in &nodes[at].sequence {
            if let Some(place) = &nodes[target].place {
                loaded.push(place.clone());
            } else if self.panics[target] {
                blames.extend(loaded.drain(..).map(|place| (target, place)));
            }
        }
        blames
    }
}

/// Code of the standard library that was inlined: as if it were written in the function.
fn is_standard_file(place: &str) -> bool {
    ["core", "alloc"]
        .iter()
        .any(|part| place.contains(&format!("library/{part}/src/")))
}

/// What ways may go through without leaving the crates.
const fn is_passed(kind: &Kind) -> bool {
    matches!(kind, Kind::Data | Kind::Standard)
}

/// The shortest way from a function over this call, up to the first function that does nothing but panic.
fn way(view: &View<'_>, from: usize, first: usize, places: BTreeSet<&String>) -> Path {
    let (graph, panics) = (view.graph, &view.panics);
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
    let mut steps = vec![end];
    while end != from {
        end = before[&end];
        steps.push(end);
    }
    let mut names: Vec<String> = Vec::new();
    for at in steps.into_iter().rev() {
        let name = graph.nodes[at].name.clone();
        let is_end = name.starts_with("core::panicking::");
        names.push(name);
        if is_end {
            break;
        }
    }
    Path {
        names,
        places: places.into_iter().cloned().collect(),
    }
}

/// The first nodes on all ways from here that may not be passed.
fn beyond(graph: &Graph, from: usize) -> BTreeSet<usize> {
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
    use crate::graph::{Graph, Kind, Node, once};

    fn node(name: &str, kind: Kind, calls: &[usize]) -> Node {
        Node {
            name: name.to_owned(),
            kind,
            sequence: calls.to_vec(),
            calls: once(calls),
            place: None,
        }
    }

    fn of(name: &str) -> Kind {
        Kind::Of(name.to_owned())
    }

    #[test]
    fn ways_are_told_apart_by_whose_they_are() {
        let graph = Graph::from_nodes(
            vec![
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
            ],
            9,
        )
        .expect("there is a handler");
        let report = Report::of(&graph, &["ours".to_owned()]);
        assert_eq!(report.looked_at, 4);
        let own: Vec<_> = report.own.iter().map(|path| path.names.join(" ")).collect();
        assert_eq!(own, ["ours::pointed table core::panicking::panic"]);
        let foreign: Vec<_> = report.foreign["theirs"].iter().collect();
        assert_eq!(foreign, [&("ours::asks".to_owned(), "theirs::answer".to_owned())]);
    }

    #[test]
    fn no_whole_program_is_no_proof() {
        assert!(Graph::from_nodes(vec![node("ours::calm", of("ours"), &[])], 0).is_err());
    }
}
