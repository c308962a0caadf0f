//! What can be wrong with a store, and what to do about it.

use core::fmt;
use std::io;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

/// Why a store does not open, or does not keep what it is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open, or another [`DurableStore`](super::DurableStore) of this one.
    #[error(
        "the store is in use: stop the other service that has it open, or give this one a file of its own; a ServiceHandle or a Conn of a service of this process that has ended may still hold it"
    )]
    Locked,
    /// What is in the file cannot be: it was changed, cut or mixed up from outside.
    #[error(
        "the store is damaged ({0}): put a copy back, or move the file away; without it all sessions begin anew, and clients are told so"
    )]
    Damaged(String),
    /// The file has another version than this program reads.
    #[error(
        "the store has format {found}, this program reads {expected}: start the version of the program that wrote it"
    )]
    OtherFormat {
        /// Of the file.
        found: u32,
        /// Of this program.
        expected: u32,
    },
    /// The file belongs to another service.
    #[error("the store belongs to the service {0}: each service needs a file of its own")]
    OtherService(String),
    /// The file is a database, but not one of sessions.
    #[error("the file is a database of another program: choose another path")]
    NotAStore,
    /// This process may not read, write or create the file.
    #[error(
        "no permission for the store: it must be readable and writable for this process, and so must be its directory ({0})"
    )]
    NoPermission(String),
    /// There is no space for what is to be kept.
    #[error("the disk is full: make room; what waits is kept as soon as there is some")]
    DiskFull,
    /// Reading or writing failed.
    #[error("the store cannot be read or written: {0}")]
    Io(String),
    /// The store was closed: nothing is kept any more.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn damaged(what: impl fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NoPermission(error.to_string())
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::DiskFull,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::damaged(error),
            io::ErrorKind::WouldBlock => Self::Locked,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<StorageError> for StoreError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Corrupted(what) => Self::Damaged(what),
            StorageError::Io(error) => error.into(),
            error => Self::Io(error.to_string()),
        }
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::Locked,
            DatabaseError::UpgradeRequired(_) => Self::NotAStore,
            DatabaseError::Storage(error) => error.into(),
            error => Self::damaged(error),
        }
    }
}

impl From<TransactionError> for StoreError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::Io(error.to_string()),
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::Io(error.to_string()),
        }
    }
}

impl From<TableError> for StoreError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            error => Self::damaged(error),
        }
    }
}

/// Why what a handler did was not committed. Nothing of it is kept then, and the message is not
/// dealt with; only after [`Store`](Self::Store) nobody knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactError<E> {
    /// The closure said so.
    #[error("{0}")]
    Handler(E),
    /// The closure panicked, or left the transaction in a state that cannot be committed.
    #[error("the transaction of the handler was given up: it panicked or leaked a table")]
    GivenUp,
    /// The message is not in the inbox: it was dealt with before. The closure did not run.
    #[error("the message was dealt with before, or is not one of this session")]
    NotThere,
    /// The service has no such file.
    #[error("this service keeps no sessions in a file: Service::durable")]
    NoStore,
    /// Called outside of the handler of an acked message.
    #[error("only the handler of an acked message can commit with it; DurableStore::write commits without one")]
    NotAcked,
    /// The store does not say that it has kept it. When it was the commit that failed it may be in the file
    /// all the same.
    #[error(transparent)]
    Store(StoreError),
}
