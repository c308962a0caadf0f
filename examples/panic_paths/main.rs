//! Looks for ways from crates to a panic, in the objects of a program before they are linked.
//!
//! ```sh
//! cargo run --example panic_paths -- --of diset_proto --of diset_embedded FOLDER
//! ```
//!
//! In FOLDER is what the linker was given: objects and libraries (`rust-lld --reproduce`). There each function and each
//! constant is a section, and what one of them refers to is in its relocations: calls, jumps, and addresses that are
//! taken, such as those of a table of methods. So no disassembler is needed, and no way is missed but a computed one.
//! `scripts/panics.sh` builds such a program, without inlining.
//!
//! A way counts as one of the crates when all that lies on it is theirs or the standard library's. Ways that lead
//! through another crate are listed apart.

mod graph;
mod names;
mod objects;
mod report;

use diset_examples::println;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use graph::Graph;
use report::Report;

type Failed = Box<dyn core::error::Error>;

/// Lists the ways from crates to a panic. The exit code is 1 when there is one.
#[derive(Parser)]
struct Options {
    /// A crate, as it is named in code; may be given several times.
    #[arg(long = "of", required = true)]
    crates: Vec<String>,
    /// Functions that must have a way to a panic, by the end of their name: it is an error when they have none.
    #[arg(long = "expect")]
    expected: Vec<String>,
    /// List the ways through other crates one by one.
    #[arg(long)]
    foreign: bool,
    /// What the linker was given.
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("panic_paths: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool, Failed> {
    let graph = Graph::of(objects::read(&options.folder)?)?;
    let report = Report::of(&graph, &options.crates);
    report.print(options.foreign);
    if options.expected.is_empty() {
        return Ok(report.own.is_empty());
    }
    let mut all = true;
    for expected in &options.expected {
        let found = report.own.iter().any(|path| path.root().ends_with(expected.as_str()));
        println!(
            "{expected}: {}",
            if found { "found, as it must be" } else { "NOT FOUND" }
        );
        all &= found;
    }
    Ok(all)
}
