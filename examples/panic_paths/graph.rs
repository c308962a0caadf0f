//! Who refers to whom.

use std::collections::HashMap;

use crate::Failed;
use crate::names::{STANDARD, origin, readable};
use crate::objects::{Objects, Section, Target};

/// Where every panic ends: the function that the panic handler of the program becomes, and that of defmt.
const SINKS: [&str; 2] = ["rust_begin_unwind", "_defmt_panic"];
/// Where the program begins, as cortex-m-rt calls it.
const ENTRY: &str = "main";

/// A function or a constant.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What it refers to, each as often and in the order as it does.
    pub(crate) sequence: Vec<usize>,
    /// The same, each once.
    pub(crate) calls: Vec<usize>,
    /// The place in a source file, `PATH:LINE`, if this is a constant that says where a panic is.
    pub(crate) place: Option<String>,
}

/// Whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The end of every panic.
    Sink,
    /// A constant, such as a table of methods.
    Data,
    /// Of the standard library.
    Standard,
    /// Of this crate.
    Of(String),
}

/// All nodes, and which of them lead to a panic.
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// Whether the program has it: what its beginning refers to, and so on.
    pub(crate) is_linked: Vec<bool>,
    /// Whether a panic can be reached, on any way.
    pub(crate) panics: Vec<bool>,
}

impl Graph {
    pub(crate) fn of(objects: Objects) -> Result<Self, Failed> {
        let Objects { sections, defined } = objects;
        let nodes = sections.iter().map(|section| {
            let sequence = sequence(section, &defined);
            let symbol = section.functions.first();
            let name = symbol.map_or_else(|| section.label.clone(), |symbol| readable(symbol));
            Node {
                kind: kind(section, &name),
                place: place(section, &sequence, &sections),
                name,
                calls: once(&sequence),
                sequence,
            }
        });
        let nodes = nodes.collect();
        let entry = defined.get(ENTRY).ok_or("these objects have no main")?;
        Self::from_nodes(nodes, *entry)
    }

    pub(crate) fn from_nodes(nodes: Vec<Node>, entry: usize) -> Result<Self, Failed> {
        if !nodes.iter().any(|node| node.kind == Kind::Sink) {
            return Err("there is no panic handler in these objects: is it a whole program?".into());
        }
        let panics = reaching(&nodes, |_| true);
        let is_linked = reached(&nodes, entry);
        Ok(Self {
            nodes,
            is_linked,
            panics,
        })
    }
}

fn sequence(section: &Section, defined: &HashMap<String, usize>) -> Vec<usize> {
    let targets = section.targets.iter().filter_map(|target| match target {
        Target::Here(place) => Some(*place),
        Target::Named(name) => defined.get(name).copied(),
    });
    targets.collect()
}

pub(crate) fn once(sequence: &[usize]) -> Vec<usize> {
    let mut calls = sequence.to_vec();
    calls.sort_unstable();
    calls.dedup();
    calls
}

fn kind(section: &Section, name: &str) -> Kind {
    if SINKS.iter().any(|sink| name.ends_with(sink)) {
        return Kind::Sink;
    }
    if !section.is_code {
        return Kind::Data;
    }
    // A symbol that is not Rust's is of the library it lies in.
    let symbol = section.functions.first();
    let from = symbol.and_then(|symbol| origin(symbol)).unwrap_or(&section.library);
    if STANDARD.contains(&from) || STANDARD.contains(&section.library.as_str()) {
        Kind::Standard
    } else {
        Kind::Of(from.to_owned())
    }
}

/// A `core::panic::Location` is four words: the path, here its offset in the section that is referred to, its length, line
/// and column.
fn place(section: &Section, refers: &[usize], sections: &[Section]) -> Option<String> {
    let &[path] = refers else { return None };
    let [at, length, line, _] = words(&section.bytes)?;
    let path = sections[path].bytes.get(at as usize..)?.get(..length as usize)?;
    let path = core::str::from_utf8(path).ok()?;
    path.ends_with(".rs").then(|| format!("{path}:{line}"))
}

fn words(bytes: &[u8]) -> Option<[u32; 4]> {
    let (words, []) = bytes.as_chunks::<4>() else {
        return None;
    };
    let words: &[[u8; 4]; 4] = words.try_into().ok()?;
    Some(words.map(u32::from_le_bytes))
}

/// What can be reached from here.
fn reached(nodes: &[Node], entry: usize) -> Vec<bool> {
    let mut reached = vec![false; nodes.len()];
    reached[entry] = true;
    let mut todo = vec![entry];
    while let Some(at) = todo.pop() {
        for &callee in &nodes[at].calls {
            if !reached[callee] {
                reached[callee] = true;
                todo.push(callee);
            }
        }
    }
    reached
}

/// Of each node whether a sink can be reached through nodes that `may` be passed.
pub(crate) fn reaching(nodes: &[Node], may: impl Fn(&Node) -> bool) -> Vec<bool> {
    let mut callers = vec![Vec::new(); nodes.len()];
    for (caller, node) in nodes.iter().enumerate() {
        for &callee in &node.calls {
            callers[callee].push(caller);
        }
    }
    let mut reaches = vec![false; nodes.len()];
    let mut todo: Vec<usize> = (0..nodes.len()).filter(|&at| nodes[at].kind == Kind::Sink).collect();
    for &at in &todo {
        reaches[at] = true;
    }
    while let Some(at) = todo.pop() {
        for &caller in &callers[at] {
            if !reaches[caller] && may(&nodes[caller]) {
                reaches[caller] = true;
                todo.push(caller);
            }
        }
    }
    reaches
}
