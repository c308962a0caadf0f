//! How many instructions the board has executed: scripts/instructions.c, a plugin of QEMU.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Zero for ever without the plugin.
#[derive(Clone)]
pub(super) struct Counter {
    plugin: Option<PathBuf>,
    file: PathBuf,
}

impl Counter {
    pub(super) fn new(plugin: Option<&Path>, file: PathBuf) -> Self {
        fs::write(&file, [0; 8]).expect("written");
        Self {
            plugin: plugin.map(Path::to_owned),
            file,
        }
    }

    /// What QEMU is to be started with.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Some(plugin) = &self.plugin else { return Vec::new() };
        let (plugin, file) = (plugin.display(), self.file.display());
        vec!["-plugin".to_owned(), format!("{plugin},count={file}")]
    }

    pub(super) fn read(&self) -> u64 {
        let mut bytes = [0; 8];
        File::open(&self.file)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .expect("it is there");
        u64::from_le_bytes(bytes)
    }
}
