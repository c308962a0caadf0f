//! TLS settings that stand in files: which files, and looking at them again and again.

use core::fmt;
use core::time::Duration;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::{Authorities, Certificate, Revocations, TlsChange, TlsError};

/// Between two looks, without [`TlsFiles::every`].
const EVERY: Duration = Duration::from_secs(10);
/// How often files that change while they are read are read again.
const AGAIN: usize = 3;
/// A file that was written so long before a look can be told from one that is written after it, on every file system.
const SETTLED: Duration = Duration::from_secs(3);

/// The PEM files that hold what TLS settings are made of.
///
/// What stands in them is read by [`ServerTls::from_files`](super::ServerTls::from_files), [`reload`](super::ServerTls::reload) and
/// [`watch`](super::ServerTls::watch), and the same of [`ClientTls`](super::ClientTls).
#[derive(Clone, Debug)]
pub struct TlsFiles {
    chain: PathBuf,
    key: PathBuf,
    authorities: PathBuf,
    revocations: Vec<ListFile>,
    every: Duration,
}

/// A file of revocation lists.
#[derive(Clone, Debug)]
struct ListFile {
    path: PathBuf,
    /// Whether the settings may be without its lists as long as there is no such file.
    may_be_missing: bool,
}

/// What was read.
pub(super) struct Read {
    pub(super) certificate: Certificate,
    pub(super) authorities: Authorities,
    pub(super) revocations: Option<Revocations>,
}

impl TlsFiles {
    /// The certificate chain with its private key (perhaps in the same file), and the authorities that are trusted.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>, authorities: impl Into<PathBuf>) -> Self {
        Self {
            chain: chain.into(),
            key: key.into(),
            authorities: authorities.into(),
            revocations: Vec::new(),
            every: EVERY,
        }
    }

    /// A file of revocation lists; see [`Revocations`]. Once for each file, where there are several. None are used without it.
    #[must_use]
    pub fn revocations(self, path: impl Into<PathBuf>) -> Self {
        self.with_lists(path.into(), false)
    }

    /// As [`revocations`](Self::revocations), for a file that may come later: none of it are used as long as there is no such file. Once there are
    /// lists of it a missing file is an error, as others are, and they stay; only who starts without the file starts without its lists.
    #[must_use]
    pub fn revocations_if_there(self, path: impl Into<PathBuf>) -> Self {
        self.with_lists(path.into(), true)
    }

    fn with_lists(mut self, path: PathBuf, may_be_missing: bool) -> Self {
        self.revocations.push(ListFile { path, may_be_missing });
        self
    }

    /// How often a watch looks at the files; every 10 s without it, at most 100 times a second.
    #[must_use]
    pub fn every(mut self, span: Duration) -> Self {
        self.every = span.max(Duration::from_millis(10));
        self
    }

    /// What stands in the files, all of one moment: when they are swapped meanwhile they are read again, a few times. Settings that have
    /// revocation lists already do not lose them with their file.
    pub(super) fn read(&self, former: Option<&Revocations>) -> Result<Read, TlsError> {
        let mut before = self.stamps();
        for _ in 0..AGAIN {
            let read = self.read_once(former);
            let after = self.stamps();
            if before == after {
                return read;
            }
            before = after;
        }
        self.read_once(former)
    }

    fn read_once(&self, former: Option<&Revocations>) -> Result<Read, TlsError> {
        Ok(Read {
            certificate: Certificate::from_pem_files(&self.chain, &self.key)?,
            authorities: Authorities::from_pem_file(&self.authorities)?,
            revocations: self.read_lists(former)?,
        })
    }

    fn read_lists(&self, former: Option<&Revocations>) -> Result<Option<Revocations>, TlsError> {
        let mut all: Option<Revocations> = None;
        for ListFile { path, may_be_missing } in &self.revocations {
            let is_another = |file: &Path| file != path && self.revocations.iter().any(|other| other.path == file);
            let may_be_missing = *may_be_missing && former.is_none_or(|lists| lists.are_in(is_another));
            let lists = match Revocations::from_pem_file(path) {
                Err(TlsError::Unreadable { source, .. }) if may_be_missing && source.kind() == ErrorKind::NotFound => {
                    continue;
                }
                read => read?,
            };
            all = Some(all.map_or_else(|| lists.clone(), |all| all.and(&lists)));
        }
        Ok(all)
    }

    fn stamps(&self) -> Stamps {
        let always = [&self.chain, &self.key, &self.authorities];
        let paths = always.into_iter().chain(self.revocations.iter().map(|file| &file.path));
        Stamps(paths.map(|path| Stamp::of(path)).collect())
    }
}

/// What tells without reading that a file is the one of before. Symbolic links are followed.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and when the inode was changed.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    /// `None` when there is no such file, or none to be seen.
    fn of(path: &Path) -> Option<Self> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            size: found.len(),
            modified: found.modified().ok(),
            #[cfg(unix)]
            inode: (found.dev(), found.ino(), found.ctime(), found.ctime_nsec()),
        })
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        self.modified
            .is_some_and(|modified| now.duration_since(modified).is_ok_and(|age| age >= SETTLED))
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Stamps(Vec<Option<Stamp>>);

impl Stamps {
    /// Whether a later change of any file would show in its stamp.
    fn are_settled(&self, now: SystemTime) -> bool {
        self.0.iter().flatten().all(|stamp| stamp.is_settled(now))
    }
}

/// Looks at files, at intervals, and puts what stands in them in force when it is new. Made by
/// [`ServerTls::watch`](super::ServerTls::watch) or [`ClientTls::watch`](super::ClientTls::watch).
///
/// A look asks for size, time and inode of each file, following symbolic links, so it also notices folders that are swapped as
/// Kubernetes does it. What looks new is read and compared with the settings in force; only what differs counts. When the files do not
/// fit (half written, a new certificate beside the old key, a certificate that has ended) the settings stay, a warning with file and reason is
/// logged once for each state of the files, and every later look tries again. A change that was taken is logged at level info.
#[must_use = "nothing is looked at before `changed` or `run` is awaited"]
pub struct FileWatch {
    files: Arc<TlsFiles>,
    settings: Weak<dyn Reload>,
    next: Instant,
    /// A look that is under way.
    looking: Option<JoinHandle<Look>>,
    /// The files whose content is in force, where a later change would show.
    known: Option<Stamps>,
    /// What the last warning was of.
    told: Option<(Stamps, String)>,
}

/// Settings of either side.
pub(super) trait Reload: Send + Sync {
    /// Puts what stands in the files in force, if it is something else.
    fn reload(&self, files: &TlsFiles) -> Result<TlsChange, TlsError>;
}

/// What a look has found.
enum Look {
    /// The files are as before.
    Same,
    /// They were read; taken before, with the time of that.
    Read(Stamps, SystemTime, Result<TlsChange, TlsError>),
    /// Nobody uses the settings any more.
    Gone,
}

impl FileWatch {
    pub(super) fn new(files: TlsFiles, settings: Weak<dyn Reload>) -> Self {
        Self {
            files: Arc::new(files),
            settings,
            next: Instant::now(),
            looking: None,
            known: None,
            told: None,
        }
    }

    /// Looks until something new is in force, and says what. The first look is at once. `None` when nothing uses the settings any more.
    ///
    /// Only what this watch has put in force is told: what a `reload` or a `change` has taken before is not new any more. Who uses them beside a
    /// watch does there what is to be done after a change.
    ///
    /// # Cancel safety
    /// Cancel safe: no change is missed, as long as this is called again.
    pub async fn changed(&mut self) -> Option<TlsChange> {
        loop {
            match self.look().await {
                Look::Gone => return None,
                Look::Same => {}
                Look::Read(stamps, when, Ok(change)) => {
                    self.known = stamps.are_settled(when).then_some(stamps);
                    self.told = None;
                    if !change.is_nothing() {
                        tracing::info!(new = %change, "the TLS settings have changed");
                        return Some(change);
                    }
                }
                Look::Read(stamps, _, Err(error)) => {
                    self.known = None;
                    let state = (stamps, error.to_string());
                    if self.told.as_ref() != Some(&state) {
                        tracing::warn!(
                            reason = state.1,
                            "the TLS files do not fit, the settings stay as they are"
                        );
                        self.told = Some(state);
                    }
                }
            }
        }
    }

    /// Looks until nothing uses the settings any more; to be spawned where nobody waits for the changes.
    pub async fn run(mut self) {
        while self.changed().await.is_some() {}
    }

    /// One look, when it is time.
    async fn look(&mut self) -> Look {
        // Kept until it has told: who drops the future meanwhile must not miss a change.
        let looking = match &mut self.looking {
            Some(looking) => looking,
            none => {
                sleep_until(self.next).await;
                let (files, settings, known) =
                    (Arc::clone(&self.files), Weak::clone(&self.settings), self.known.clone());
                // Files may be slow, and must not hold up connections.
                none.insert(spawn_blocking(move || look(&files, &settings, known.as_ref())))
            }
        };
        let look = looking.await;
        self.looking = None;
        self.next = Instant::now() + self.files.every;
        // Only a look that panicked gives none.
        look.unwrap_or(Look::Same)
    }
}

fn look(files: &TlsFiles, settings: &Weak<dyn Reload>, known: Option<&Stamps>) -> Look {
    let Some(settings) = settings.upgrade() else {
        return Look::Gone;
    };
    // Before the reading: what is written in between shows at the next look.
    let (stamps, when) = (files.stamps(), SystemTime::now());
    if known == Some(&stamps) {
        return Look::Same;
    }
    Look::Read(stamps, when, settings.reload(files))
}

impl fmt::Debug for FileWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWatch")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Settings to which everything is new.
    struct Anything;

    impl Reload for Anything {
        fn reload(&self, _: &TlsFiles) -> Result<TlsChange, TlsError> {
            Ok(TlsChange {
                certificate: true,
                ..TlsChange::default()
            })
        }
    }

    /// Writes a file as if it had been an hour ago.
    fn write_long_ago(path: &Path, text: &str) -> std::io::Result<()> {
        fs::write(path, text)?;
        let hour = Duration::from_secs(3600);
        let file = fs::File::options().write(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH + 400_000 * hour)
    }

    #[test]
    fn only_files_that_may_have_changed_are_read() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("diset-stamps-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let file = |name: &str| folder.join(name);
        for name in ["chain", "key", "ca"] {
            write_long_ago(&file(name), "12")?;
        }
        let files = TlsFiles::new(file("chain"), file("key"), file("ca"));
        let settings: Arc<dyn Reload> = Arc::new(Anything);
        let weak = Arc::downgrade(&settings);

        let Look::Read(known, when, Ok(_)) = look(&files, &weak, None) else {
            panic!("the first look reads")
        };
        assert!(known.are_settled(when));
        assert!(matches!(look(&files, &weak, Some(&known)), Look::Same));
        // Size and time are those of before; the file is another.
        #[cfg(unix)]
        {
            write_long_ago(&file("new"), "21")?;
            fs::rename(file("new"), file("key"))?;
            let Look::Read(known, ..) = look(&files, &weak, Some(&known)) else {
                panic!("it is another file")
            };
            // A link to another file is another file.
            write_long_ago(&file("elsewhere"), "12")?;
            fs::remove_file(file("ca"))?;
            std::os::unix::fs::symlink(file("elsewhere"), file("ca"))?;
            let Look::Read(known, ..) = look(&files, &weak, Some(&known)) else {
                panic!("it is a link now")
            };
            write_long_ago(&file("new"), "21")?;
            fs::rename(file("new"), file("elsewhere"))?;
            assert!(matches!(look(&files, &weak, Some(&known)), Look::Read(..)));
        }
        fs::remove_file(file("chain"))?;
        assert!(matches!(look(&files, &weak, Some(&known)), Look::Read(..)));
        // A file just written might be written again in the same moment.
        fs::write(file("chain"), "12")?;
        let Look::Read(fresh, when, Ok(_)) = look(&files, &weak, Some(&known)) else {
            panic!("it is new")
        };
        assert!(!fresh.are_settled(when));

        drop(settings);
        assert!(matches!(look(&files, &weak, None), Look::Gone));
        fs::remove_dir_all(folder)
    }
}
