//! Objects and libraries of a folder: their sections, what these are called, and what they refer to.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::read::archive::ArchiveFile;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind, SymbolKind,
};

use crate::Failed;

/// A function or a constant, or something that holds a few of them.
pub(crate) struct Section {
    /// The mangled names of the functions that are in it; of a constant there is none.
    pub(crate) functions: Vec<String>,
    /// Its name in the object, for those without a function.
    pub(crate) label: String,
    pub(crate) is_code: bool,
    /// What a constant says.
    pub(crate) bytes: Vec<u8>,
    /// The crate of the library it is in.
    pub(crate) library: String,
    /// In the order in which they are referred to.
    pub(crate) targets: Vec<Target>,
}

/// What a section refers to.
pub(crate) enum Target {
    /// A section of the same object, by its place among those of the program.
    Here(usize),
    /// A symbol of another object.
    Named(String),
}

/// All that was linked.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) sections: Vec<Section>,
    /// Where the symbols are that other objects may refer to.
    pub(crate) defined: HashMap<String, usize>,
}

/// Reads every object and library below the folder.
pub(crate) fn read(folder: &Path) -> Result<Objects, Failed> {
    let mut files = Vec::new();
    find(folder, &mut files)?;
    let mut objects = Objects::default();
    for file in &files {
        let bytes = fs::read(file)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let library = stem.strip_prefix("lib").unwrap_or(&stem);
        let library = library.split(['-', '.']).next().unwrap_or(library);
        if file.extension().is_some_and(|ending| ending == "rlib") {
            objects.library(library, &bytes)?;
        } else {
            objects.add(library, &bytes)?;
        }
    }
    if objects.sections.is_empty() {
        return Err(format!("no objects below {}", folder.display()).into());
    }
    Ok(objects)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rlib" || ending == "o") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

impl Objects {
    fn library(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failed> {
        let archive = ArchiveFile::parse(bytes)?;
        for member in archive.members() {
            let member = member?;
            if member.name().ends_with(b".o") {
                self.add(name, member.data(bytes)?)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, library: &str, bytes: &[u8]) -> Result<(), Failed> {
        let object = object::File::parse(bytes)?;
        // Where the sections of this object begin.
        let base = self.sections.len();
        let place = |index: SectionIndex| base + index.0;
        for index in 0..=object
            .sections()
            .map(|section| section.index().0)
            .max()
            .unwrap_or_default()
        {
            let section = object.section_by_index(SectionIndex(index)).ok();
            let is_code = section.as_ref().is_some_and(|it| it.kind() == SectionKind::Text);
            let bytes = section.as_ref().and_then(|it| it.data().ok());
            let bytes = bytes.filter(|_| !is_code);
            self.sections.push(Section {
                functions: Vec::new(),
                label: section
                    .as_ref()
                    .and_then(|it| it.name().ok())
                    .unwrap_or_default()
                    .to_owned(),
                is_code,
                bytes: bytes.unwrap_or_default().to_vec(),
                library: library.to_owned(),
                targets: Vec::new(),
            });
        }
        for symbol in object.symbols() {
            let (Some(index), Ok(name)) = (symbol.section_index(), symbol.name()) else {
                continue;
            };
            if symbol.kind() == SymbolKind::Text && !name.starts_with('$') {
                self.sections[place(index)].functions.push(name.to_owned());
            }
            if symbol.is_global() {
                self.defined.entry(name.to_owned()).or_insert_with(|| place(index));
            }
        }
        for section in object.sections() {
            let mut relocations: Vec<_> = section.relocations().collect();
            relocations.sort_by_key(|(offset, _)| *offset);
            for (_, relocation) in relocations {
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    continue;
                };
                let symbol = object.symbol_by_index(index)?;
                let target = match symbol.section_index() {
                    Some(index) => Target::Here(place(index)),
                    None => Target::Named(symbol.name()?.to_owned()),
                };
                self.sections[place(section.index())].targets.push(target);
            }
        }
        Ok(())
    }
}
