//! What becomes of a store when its files are damaged, gone, or ahead of the changelog.

use std::{fs, path::PathBuf};

use log_store::Offset;

use super::{Stage, key_value};
use crate::state::{KeyValueStore, StateDirectory, StateSettings, StateStore};

const KEYS: i64 = 200;

/// A store with rows in its files, stopped.
fn stopped() -> Stage<KeyValueStore<String, i64>> {
    let mut stage = Stage::new(key_value::builder(true));
    for key in 0..KEYS {
        stage.store().put(&format!("key-{key}"), key).unwrap();
    }
    stage.commit();
    stage.store().close().unwrap();
    stage.store = None;
    stage
}

fn task_directory(stage: &Stage<KeyValueStore<String, i64>>) -> PathBuf {
    stage.files.path().join("app/0_0")
}

/// The files of the database whose names end so.
fn files(stage: &Stage<KeyValueStore<String, i64>>, ends: &str, begins: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(task_directory(stage).join("rocksdb")).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.ends_with(ends) && name.starts_with(begins)
    };
    let found: Vec<_> = entries.filter(named).collect();
    assert!(!found.is_empty(), "no file {begins}…{ends}");
    found
}

fn damaged_copies(stage: &Stage<KeyValueStore<String, i64>>) -> usize {
    let entries = fs::read_dir(task_directory(stage)).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains("damaged-")).count()
}

/// The store has all its rows, restored from the beginning of the changelog.
fn is_rebuilt(stage: &mut Stage<KeyValueStore<String, i64>>) {
    assert_eq!(stage.replayed, KEYS as usize);
    assert_eq!(stage.store().all().unwrap().map(Result::unwrap).count(), KEYS as usize);
}

#[test]
fn a_missing_table_file_is_found_at_the_start_and_the_store_rebuilt() {
    let mut stage = stopped();
    for file in files(&stage, ".sst", "") {
        fs::remove_file(file).unwrap();
    }
    stage.open();
    is_rebuilt(&mut stage);
    assert_eq!(damaged_copies(&stage), 1);
}

#[test]
fn a_missing_or_garbled_manifest_is_found_at_the_start_and_the_store_rebuilt() {
    for garble in [false, true] {
        let mut stage = stopped();
        for file in files(&stage, "", "MANIFEST") {
            if garble { fs::write(file, [0xa5; 64]) } else { fs::remove_file(file) }.unwrap();
        }
        stage.open();
        is_rebuilt(&mut stage);
        assert_eq!(damaged_copies(&stage), 1, "garbled: {garble}");
    }
}

#[test]
fn a_database_whose_making_was_interrupted_is_made_anew_and_is_no_damage() {
    let mut stage = stopped();
    // As a kill leaves it that comes before the file which names the database.
    for file in files(&stage, "", "") {
        if !file.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST") {
            fs::remove_file(file).unwrap();
        }
    }
    stage.open();
    is_rebuilt(&mut stage);
    assert_eq!(damaged_copies(&stage), 0);
}

#[test]
fn rows_that_rot_are_found_when_they_are_read_and_the_store_is_rebuilt_at_the_next_start() {
    let mut stage = stopped();
    for file in files(&stage, ".sst", "") {
        let mut bytes = fs::read(&file).unwrap();
        // The first block holds rows; the end of the file, which is read at the start, stays.
        bytes[..64].fill(0xa5);
        fs::write(file, bytes).unwrap();
    }
    // Whether opening or reading finds it, nothing false is ever read.
    let context = stage.context();
    let opened = stage.builder.build_typed(&context);
    if let Ok(mut store) = opened
        && store.checkpoint().is_some()
    {
        let read: Result<Vec<_>, _> = store.all().and_then(Iterator::collect);
        assert!(read.is_err(), "read {} rows from damaged files", read.unwrap().len());
        drop(store);
    }
    drop(context);
    stage.open();
    is_rebuilt(&mut stage);
    stage.restart();
    assert_eq!(stage.replayed, 0);
}

#[test]
fn a_state_directory_that_was_removed_is_rebuilt() {
    let mut stage = stopped();
    fs::remove_dir_all(stage.files.path().join("app")).unwrap();
    stage.open();
    is_rebuilt(&mut stage);
}

#[test]
fn a_store_that_is_ahead_of_its_changelog_is_put_aside_and_begins_anew() {
    let mut stage = stopped();
    stage.store = Some(stage.builder.build_typed(&stage.context()).unwrap());
    // The log lost its tail.
    stage.log.truncate(100);
    assert!(stage.store().checkpoint() > Some(Offset::new(100)));
    stage.store().reset("its offset lies beyond the end of the changelog").unwrap();
    assert_eq!(stage.store().checkpoint(), None);
    stage.restore();
    assert_eq!(stage.store().all().unwrap().count(), 100);
    stage.restart();
    assert_eq!(stage.replayed, 0);
    assert_eq!(damaged_copies(&stage), 1);
}

#[test]
fn no_more_than_two_damaged_copies_are_kept() {
    let mut stage = stopped();
    stage.open();
    for _ in 0..4 {
        stage.store().reset("test").unwrap();
        stage.restore();
        stage.store().flush().unwrap();
    }
    assert_eq!(damaged_copies(&stage), 2);
}

#[test]
fn a_failed_write_to_the_files_stops_the_store_for_good() {
    let mut stage = stopped();
    stage.open();
    let ingest = task_directory(&stage).join("store.ingest");
    // A directory where the file should be written.
    fs::create_dir(&ingest).unwrap();
    let value = "v".repeat(20);
    for key in 0..200_000 {
        stage.store().put(&format!("{value}-{key}"), key).unwrap();
    }
    let end = stage.end();
    let store = stage.store();
    assert!(store.committed(Some(end)).and_then(|()| store.flush()).is_err());
    assert!(store.flush().is_err(), "nothing is written after a failed write");
    assert!(store.checkpoint() <= Some(end));
    store.close().unwrap();
    fs::remove_dir(&ingest).unwrap();
    stage.store = None;
    stage.open();
    assert_eq!(stage.store().all().unwrap().count(), KEYS as usize, "only what the changelog has");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    let error = StateDirectory::open("app", StateSettings::new(&file)).err().unwrap().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}
