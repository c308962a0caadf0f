//! The file of a Unix socket: made with the socket and gone with it. One that a killed service left behind is replaced.
//!
//! Whether a service listens is found out by connecting. Between that and the replacement another service could begin
//! to listen, so whoever makes or removes such a file holds the lock of its folder meanwhile, which leaves nothing behind
//! and ends with the process.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The lock is held for less than a millisecond, unless something else than a service holds it.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The file, as long as its socket listens.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

/// Listens at `path`.
pub(super) async fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    // The working directory may change meanwhile.
    let absolute = std::path::absolute(path)?;
    let lock = lock_folder(&absolute).await;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let left_behind = left_behind(path)?;
            // Without the lock another service might be about to listen there.
            lock.as_ref().map_err(|error| {
                in_the_way(&format!(
                    "nobody listens on it any more, but its folder cannot be locked ({error}): remove it"
                ))
            })?;
            if file_id(path)? == left_behind {
                fs::remove_file(path)?;
                tracing::info!(path = %path.display(), "replaces a socket that nobody listens on any more");
            }
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    let id = file_id(&absolute)?;
    Ok((listener, SocketFile { path: absolute, id }))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let (path, id) = (core::mem::take(&mut self.path), self.id);
        match try_lock_folder(&path) {
            // Somebody else holds it: a thread waits for that, so that whoever ends here need not.
            Ok(None) => {
                let wait = move || {
                    let _lock = (0..TRIES).find_map(|_| {
                        std::thread::sleep(PAUSE);
                        try_lock_folder(&path).ok().flatten()
                    });
                    remove(&path, id);
                };
                let named = std::thread::Builder::new().name("diset socket file".to_owned());
                // Without it the file stays, and is replaced by the next service.
                let _ = named.spawn(wait);
            }
            _lock => remove(&path, id),
        }
    }
}

/// Unless another service has put its own there.
fn remove(path: &Path, id: (u64, u64)) {
    if file_id(path).is_ok_and(|there| there == id) {
        let _ = fs::remove_file(path);
    }
}

/// What file is in the way, if it is a socket that nobody listens on.
fn left_behind(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    if !file.file_type().is_socket() {
        return Err(in_the_way("something that is no socket is there: choose another path"));
    }
    // Never waits: a service with a full queue is one that listens.
    let connecting = pin!(UnixStream::connect(path));
    match connecting.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok((file.dev(), file.ino())),
        Poll::Ready(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(in_the_way(
            "a socket is there, and this user may not find out whether somebody listens on it",
        )),
        _ => Err(in_the_way("another process listens on it")),
    }
}

fn in_the_way(text: &str) -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, text)
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// The lock of the folder of `path`, which ends when the file is dropped; `None` when somebody else holds it.
fn try_lock_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The same, waiting for it.
async fn lock_folder(path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        if let Some(lock) = try_lock_folder(path)? {
            return Ok(lock);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(io::Error::new(ErrorKind::WouldBlock, "something else holds the lock"))
}
