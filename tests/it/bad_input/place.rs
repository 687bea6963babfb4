//! Places: input that is not there, folders that cannot be written to, are full, or belong to another process.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use streams_tests::{count_words, example};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{Waiting, fail, failed, file, run, text_of, word_count},
};

#[track_caller]
fn check_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = TempDir::new().unwrap();
    let said = fail(&folder.path().join("data"), &["--input", "/nowhere/to/be/found.txt"]);
    check_said(&said, &["/nowhere/to/be/found.txt", "--input"]);
    assert!(!folder.path().join("data").exists(), "nothing is made before the input is known to exist");
}

#[test]
fn a_data_folder_that_cannot_be_is_named() {
    let folder = TempDir::new().unwrap();
    let blocker = file(&folder, "a-file", "");
    // Nobody makes a folder below a file, the administrator included.
    let said = fail(&blocker.join("data"), &["--input", text_of(&blocker)]);
    check_said(&said, &[text_of(&blocker), "--data"]);
}

#[test]
fn a_folder_without_the_right_to_write_is_named() {
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", "apple");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        streams_tests::skipped("this user may write everywhere");
        return;
    }
    for data in [locked.join("data"), locked.clone()] {
        let said = fail(&data, &["--input", text_of(&input)]);
        check_said(&said, &[text_of(&locked), "choose another"]);
    }
}

/// More than the small disk and the small limit below hold.
fn large_text() -> String {
    streams_tests::text(200_000)
}

/// Word count with a limit on the size of its files, beyond which writes fail as on a disk that is full.
fn word_count_limited(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\""]).arg(example("word-count"));
    command.arg("--data").arg(data).args(args);
    command
}

#[test]
fn a_write_that_is_refused_is_named_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let input = file(&folder, "input.txt", large_text());
    let said = failed(&word_count_limited(&data, &["--input", text_of(&input)]).output().unwrap());
    check_said(&said, &[text_of(&data.join("log")), "File too large", "raise the limit"]);
    check_goes_on(&folder, &data);
}

/// The next run counts what has reached the topic, all of it and once.
fn check_goes_on(folder: &TempDir, data: &Path) {
    let expected = count_words(&data::lines(data));
    assert!(!expected.is_empty(), "some lines had been acknowledged");
    let empty = file(folder, "empty.txt", "");
    assert_eq!(run(data, &["--input", text_of(&empty)]).counts, expected);
}

/// A small disk, as long as this lives.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None`, and a line that says so, where this user may not mount.
    fn mount(at: &'a Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(SmallDisk(at));
        }
        streams_tests::skipped("a small disk needs the right to mount");
        None
    }

    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=300m"]).arg(self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_with_more_room_nothing_is_lost() {
    let (folder, mount) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let Some(disk) = SmallDisk::mount(mount.path()) else { return };
    let data = mount.path().join("data");
    let input = file(&folder, "input.txt", large_text());
    let said = fail(&data, &["--input", text_of(&input)]);
    check_said(&said, &[text_of(&data), "No space left", "make room"]);
    // Still no room: the same again, and no harm.
    let empty = file(&folder, "empty.txt", "");
    let again = word_count(&data, &["--input", text_of(&empty)]).output().unwrap();
    disk.grow();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.success() || said.contains("No space left"), "{said}");
    check_goes_on(&folder, &data);
}

#[test]
fn a_second_process_on_the_folder_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, mut shown) = Waiting::start(folder.path());
    waiting.type_line("apple");
    shown.next().expect("it counts");
    let input = file(&folder, "input.txt", "pear");
    let said = fail(folder.path(), &["--input", text_of(&input)]);
    let holder = waiting.id().to_string();
    check_said(&said, &[text_of(folder.path()), "in use by another process", &holder, "choose another directory"]);
    waiting.type_line("apple");
    shown.next().expect("the first goes on");
    waiting.end();
    assert_eq!(run(folder.path(), &["--input", text_of(&input)]).counts, count_words("apple apple pear"));
}
