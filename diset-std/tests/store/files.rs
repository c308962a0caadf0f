//! Files that are not right: each has its error, and none is changed or made anew.

use std::fs;
use std::path::{Path, PathBuf};

use diset_proto::store::Unsure;
use diset_proto::{MessageOf, ServiceDef, ServiceName, Session};
use diset_std::store::redb::{Database, TableDefinition};
use diset_std::store::{DurableStore, StoreBounds, StoreError};
use tempfile::TempDir;

use super::ends::{Meter, Reading, TestResult, id_of};

fn open_as(path: &Path, name: &str) -> Result<(DurableStore, usize), StoreError> {
    let name = ServiceName::parse(name).ok_or(StoreError::Closed)?;
    let (store, sessions) = DurableStore::open(path, name, StoreBounds::default())?;
    Ok((store, sessions.len()))
}

fn open(path: &Path) -> Result<usize, StoreError> {
    open_as(path, "Test/Meter").map(|(_, sessions)| sessions)
}

/// A store with some sessions.
fn filled() -> TestResult<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("store");
    let (store, _) = open_as(&path, "Test/Meter")?;
    for client in 0..20 {
        let (replay, inbox) = store.begin(id_of(client));
        let mut session = Session::new(replay, inbox);
        for value in 0..50 {
            session.store(Meter::CATALOG, Reading::NUMBER, &Reading::new(value), Unsure::Report)?;
        }
        session.inbox().book().keep(session.record());
    }
    drop(store);
    Ok((directory, path))
}

#[test]
fn a_file_is_its_owners_alone() -> TestResult {
    let (directory, path) = filled()?;
    assert_eq!(open(&path)?, 20);
    assert_eq!(fs::read_dir(directory.path())?.count(), 1, "nothing else is left");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    }
    let (_store, _) = open_as(&path, "Test/Meter")?;
    assert_eq!(open(&path), Err(StoreError::Locked));
    Ok(())
}

#[test]
fn each_service_has_its_own() -> TestResult {
    let (_directory, path) = filled()?;
    let other = open_as(&path, "Test/Other").map(|(_, sessions)| sessions);
    assert_eq!(other, Err(StoreError::OtherService("Test/Meter".into())));
    assert_eq!(open(&path)?, 20);
    Ok(())
}

#[test]
fn other_formats_are_refused() -> TestResult {
    let (_directory, path) = filled()?;
    let database = Database::open(&path)?;
    let transaction = database.begin_write()?;
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("diset.meta");
    transaction
        .open_table(meta)?
        .insert("format", 9u32.to_le_bytes().as_slice())?;
    transaction.commit()?;
    drop(database);
    assert_eq!(open(&path), Err(StoreError::OtherFormat { found: 9, expected: 2 }));
    Ok(())
}

#[test]
fn another_database_is_not_a_store() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("other");
    drop(Database::create(&path)?);
    assert_eq!(open(&path), Err(StoreError::NotAStore));
    Ok(())
}

#[test]
fn damage_is_found_wherever_it_is() -> TestResult {
    let (_directory, path) = filled()?;
    let good = fs::read(&path)?;
    let mut refused = 0;
    let damaged = |bytes: &[u8]| -> TestResult<bool> {
        fs::write(&path, bytes)?;
        match open(&path) {
            Err(StoreError::Damaged(_)) => Ok(true),
            // What was changed was of no use.
            Ok(20) => Ok(false),
            other => Err(format!("{other:?}").into()),
        }
    };
    for length in [0, 1, 100, 4096, good.len() / 2, good.len() - 1] {
        let bytes = good.get(..length).ok_or("shorter")?;
        assert!(damaged(bytes)?, "cut to {length} bytes");
    }
    assert!(damaged(b"this is not a database, but some text that somebody wrote")?);
    assert!(damaged(&vec![0; good.len()])?);
    for place in (0..good.len()).step_by(good.len() / 150 + 1) {
        let mut bytes = good.clone();
        for byte in bytes.iter_mut().skip(place).take(64) {
            *byte ^= 0x55;
        }
        refused += usize::from(damaged(&bytes)?);
    }
    println!("{refused} changes were found, the others were in free space");
    assert!(refused > 5);
    fs::write(&path, &good)?;
    assert_eq!(open(&path)?, 20);
    Ok(())
}

#[test]
fn a_place_where_no_file_can_be_is_told() -> TestResult {
    let directory = tempfile::tempdir()?;
    let said = |path: &Path| open(path).err().map(|error| error.to_string()).unwrap_or_default();
    let nowhere = said(&directory.path().join("not/there"));
    assert!(
        nowhere.ends_with("its folder does not exist: make it first"),
        "{nowhere}"
    );
    let folder = said(directory.path());
    assert!(folder.ends_with("it is a folder: give the path of a file"), "{folder}");
    Ok(())
}
