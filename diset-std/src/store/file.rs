//! The file itself: made once and whole, checked whenever it is opened.

use core::panic::AssertUnwindSafe;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use diset_proto::ServiceName;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::error::StoreError;
use super::{DurableStore, RestoredSession, StoreBounds, restore};

/// Where a service keeps its sessions.
pub(crate) enum Place {
    File(PathBuf),
    /// A disk of a test, and how many bytes may wait to be written.
    #[cfg(test)]
    Disk(Opener, usize),
}

impl Place {
    /// As [`DurableStore::open`].
    pub(crate) fn open(
        self,
        service: ServiceName<'_>,
        bounds: StoreBounds,
    ) -> Result<(DurableStore, Vec<RestoredSession>), StoreError> {
        match self {
            Self::File(path) => DurableStore::open(path, service, bounds),
            #[cfg(test)]
            Self::Disk(opener, journal_bytes) => DurableStore::open_by(
                opener,
                service,
                StoreBounds {
                    journal_bytes,
                    ..bounds
                },
            ),
        }
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            #[cfg(test)]
            Self::Disk(..) => "a disk in memory".into(),
        }
    }
}

/// How the database is opened, the first time and after a failure.
pub(crate) struct Opener {
    /// Its argument: whether it may be made if it is not there.
    open: Box<dyn Fn(bool) -> Result<Database, StoreError> + Send + Sync>,
}

impl Opener {
    /// A file.
    pub(super) fn file(path: &Path, cache: usize) -> Self {
        let path = path.to_path_buf();
        Self {
            open: Box::new(move |make| match open_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => match make_file(&path, cache) {
                    Err(StoreError::Io(_)) if !folder_of(&path).is_dir() => {
                        Err(StoreError::Io("its folder does not exist: make it first".into()))
                    }
                    made => made,
                },
                Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                    Err(StoreError::Io("it is a folder: give the path of a file".into()))
                }
                Err(error) => Err(error.into()),
                // One that was made here is never empty: what was in it is gone.
                Ok(file) if file.metadata()?.len() == 0 => Err(StoreError::damaged(
                    "the file is empty: remove it, and a new one is made",
                )),
                Ok(file) => open_backend(FileBackend::new(file)?, cache),
            }),
        }
    }

    /// Something else, for tests.
    #[cfg(test)]
    pub(super) fn by(open: impl Fn(bool) -> Result<Database, StoreError> + Send + Sync + 'static) -> Self {
        Self { open: Box::new(open) }
    }

    /// Opens the database. `make`: makes it when it is not there.
    pub(super) fn open(&self, make: bool) -> Result<Database, StoreError> {
        (self.open)(make)
    }
}

/// Opens what is there, and checks all of it.
pub(super) fn open_backend(backend: impl StorageBackend, cache: usize) -> Result<Database, StoreError> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache).set_check_integrity_on_open(true);
    // A page that was changed from outside is found by its checksum. Should the database trip over one
    // all the same, that is told as what it is.
    let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)));
    match opened {
        Ok(Err(DatabaseError::Storage(redb::StorageError::Io(error)))) if error.kind() == io::ErrorKind::Other => {
            Err(StoreError::damaged(error))
        }
        Ok(opened) => Ok(opened?),
        Err(_) => Err(StoreError::damaged("the database does not understand it")),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes the file under another name, and gives it its own when it is whole: nobody ever meets half a store.
fn make_file(path: &Path, cache: usize) -> Result<Database, StoreError> {
    let mut other = OsString::from(path);
    other.push(format!(".{}.new", std::process::id()));
    let other = PathBuf::from(other);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    // There are secrets in it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&other)?;
    let made = make_tables(FileBackend::new(file)?, cache).and_then(|database| {
        // Not over one that somebody else has made meanwhile.
        fs::hard_link(&other, path)?;
        sync_directory(path)?;
        Ok(database)
    });
    let _ = fs::remove_file(&other);
    made
}

fn make_tables(backend: FileBackend, cache: usize) -> Result<Database, StoreError> {
    let database = open_backend(backend, cache)?;
    restore::make_tables(&database)?;
    Ok(database)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    folder.unwrap_or_else(|| Path::new("."))
}

/// The name of the file outlives a failure of power, too.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
