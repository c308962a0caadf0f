//! What a closure may do in a transaction of the store: tables of its own, never those of the store.

use core::fmt;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, MultimapTableHandle, StorageError, Table, TableDefinition,
    TableHandle, UntypedMultimapTableHandle, UntypedTableHandle, Value, WriteTransaction,
};

use super::layout::RESERVED;

/// A transaction of the file of a store, for the tables of the service: as that of redb, but without the tables of the store,
/// whose names begin with `diset.`, and without its end, which is the store's.
pub struct Transaction<'t>(&'t WriteTransaction);

/// Why a table cannot be had. Becomes a [`redb::Error`] with `?`, too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Its name begins with `diset.`: such tables belong to the store, which would be destroyed.
    #[error(
        "the table {0:?} cannot be used: names that begin with \"diset.\" belong to the store; choose another name"
    )]
    Reserved(String),
    /// The database says no.
    #[error(transparent)]
    Database(#[from] redb::TableError),
}

/// A reserved name becomes an [`InvalidInput`](std::io::ErrorKind::InvalidInput), with this error in it.
impl From<TableError> for redb::Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Database(error) => error.into(),
            reserved @ TableError::Reserved(_) => {
                Self::Io(std::io::Error::new(std::io::ErrorKind::InvalidInput, reserved))
            }
        }
    }
}

impl<'t> Transaction<'t> {
    pub(super) const fn new(transaction: &'t WriteTransaction) -> Self {
        Self(transaction)
    }

    /// Opens a table, or makes it.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
    ) -> Result<Table<'t, K, V>, TableError> {
        free(table.name())?;
        Ok(self.0.open_table(table)?)
    }

    /// Opens a table that has several values for a key, or makes it.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
        &self,
        table: MultimapTableDefinition<'_, K, V>,
    ) -> Result<MultimapTable<'t, K, V>, TableError> {
        free(table.name())?;
        Ok(self.0.open_multimap_table(table)?)
    }

    /// Removes a table that is not open. False when there is none.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn delete_table(&self, table: impl TableHandle) -> Result<bool, TableError> {
        free(table.name())?;
        Ok(self.0.delete_table(table)?)
    }

    /// As [`delete_table`](Self::delete_table), for one that has several values for a key.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn delete_multimap_table(&self, table: impl MultimapTableHandle) -> Result<bool, TableError> {
        free(table.name())?;
        Ok(self.0.delete_multimap_table(table)?)
    }

    /// Gives a table that is not open another name.
    ///
    /// # Errors
    /// [`TableError`], for either name.
    pub fn rename_table(&self, table: impl TableHandle, name: impl TableHandle) -> Result<(), TableError> {
        free(table.name())?;
        free(name.name())?;
        Ok(self.0.rename_table(table, name)?)
    }

    /// As [`rename_table`](Self::rename_table), for one that has several values for a key.
    ///
    /// # Errors
    /// [`TableError`], for either name.
    pub fn rename_multimap_table(
        &self,
        table: impl MultimapTableHandle,
        name: impl MultimapTableHandle,
    ) -> Result<(), TableError> {
        free(table.name())?;
        free(name.name())?;
        Ok(self.0.rename_multimap_table(table, name)?)
    }

    /// The tables of the service.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list_tables(&self) -> Result<impl Iterator<Item = UntypedTableHandle> + '_, StorageError> {
        Ok(self.0.list_tables()?.filter(|table| free(table.name()).is_ok()))
    }

    /// Those that have several values for a key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list_multimap_tables(&self) -> Result<impl Iterator<Item = UntypedMultimapTableHandle> + '_, StorageError> {
        let tables = self.0.list_multimap_tables()?;
        Ok(tables.filter(|table| free(table.name()).is_ok()))
    }
}

/// What is in it does not show.
impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// Whether a table of this name may be the service's.
fn free(name: &str) -> Result<(), TableError> {
    if name.starts_with(RESERVED) {
        return Err(TableError::Reserved(name.to_owned()));
    }
    Ok(())
}
