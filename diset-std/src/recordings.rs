//! Logs of connections in files (feature `record`).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use diset_proto::recording::Record;

use crate::session::Engine;

/// How much is kept back until a connection rests.
const BUFFER: usize = 64 * 1024;

/// A folder for logs of connections: each gets a file, in which everything stands that happened
/// to its engine. `diset_proto::replay` replays it, and the example `timeline` prints it.
///
/// **A log holds the bodies of messages and the tokens of sessions**, though not what TLS is
/// keyed with. Record only to find a fault, and delete the files. On Unix only the user of the
/// process can read them.
///
/// The name of a file is the time in milliseconds since 1970, `service` or `client`, and a number.
/// What is written goes to the file when the connection has sent what it has to send, in the task
/// of the connection: a folder on a disk that hangs makes it hang, too. Nothing is synced.
#[derive(Debug, Clone)]
pub struct Recordings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    max_bytes: u64,
    max_files: usize,
    files: AtomicUsize,
}

impl Recordings {
    /// Logs in this folder, which is made if there is none: at most 1000, of at most 64 MiB each.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn to(folder: impl AsRef<Path>) -> std::io::Result<Self> {
        let folder = folder.as_ref().to_owned();
        fs::create_dir_all(&folder)?;
        Ok(Self(Arc::new(Inner {
            folder,
            max_bytes: 64 * 1024 * 1024,
            max_files: 1000,
            files: AtomicUsize::new(0),
        })))
    }

    /// At most so many files, and so many bytes in each. Connections that come later are not
    /// recorded, and a log that is full ends early. Counts anew.
    #[must_use]
    pub fn with_most(self, files: usize, bytes: u64) -> Self {
        Self(Arc::new(Inner {
            folder: self.0.folder.clone(),
            max_bytes: bytes,
            max_files: files,
            files: AtomicUsize::new(0),
        }))
    }

    /// Records a connection that has just been made.
    pub(crate) fn record(&self, side: &str, mut engine: Engine) -> Engine {
        let number = self.0.files.fetch_add(1, Relaxed);
        if number >= self.0.max_files {
            // It must not come round.
            self.0.files.store(self.0.max_files.saturating_add(1), Relaxed);
            if number == self.0.max_files {
                tracing::warn!(files = number, "so many connections were recorded; no more are");
            }
            return engine;
        }
        let path = self.0.folder.join(name(side, number));
        match create(&path) {
            Ok(file) => {
                let log = FileLog {
                    file: Some(BufWriter::with_capacity(BUFFER, file)),
                    path,
                    left: self.0.max_bytes,
                };
                // The engine is new.
                let _ = engine.record(Box::new(log));
            }
            Err(error) => tracing::warn!(%error, path = %path.display(), "a connection is not recorded"),
        }
        engine
    }
}

fn name(side: &str, number: usize) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    format!("{millis}-{side}-{number:06}.disetlog")
}

fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// One file.
struct FileLog {
    /// `None` once it is full, or has failed.
    file: Option<BufWriter<File>>,
    path: PathBuf,
    left: u64,
}

impl FileLog {
    fn end(&mut self, why: &str) {
        tracing::warn!(path = %self.path.display(), why, "the log of a connection ends early");
        self.file = None;
    }

    fn check(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            self.end(&error.to_string());
        }
    }
}

impl Record for FileLog {
    fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                let written = file.write_all(bytes);
                self.check(written);
            }
            // What was written before replays.
            None => self.end("it is full"),
        }
    }

    fn pause(&mut self) {
        if let Some(file) = &mut self.file {
            let flushed = file.flush();
            self.check(flushed);
        }
    }
}
