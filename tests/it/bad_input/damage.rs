//! Damaged files: bytes that changed, indexes that are short, ends that are torn, a log that is older than the state.

use std::{
    fs,
    path::{Path, PathBuf},
};

use log_store::{batch::batches, client::LogClient};
use streams_tests::{Counts, count_words};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{fail, file, run, text_of},
};

/// A data folder in which this has been counted.
struct Counted {
    folder: TempDir,
    data: PathBuf,
    expected: Counts,
}

impl Counted {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let empty = file(&folder, "empty.txt", "");
        run(&data, &["--input", text_of(&empty)]);
        let lines: Vec<String> = (0..5_000).map(|number| format!("line {number} of {}", number % 97)).collect();
        data::append(&data, "lines", lines.iter().map(|line| (None, Some(&**line))));
        let expected = count_words(&lines.join("\n"));
        let counted = Counted { folder, data, expected };
        counted.check(&[]);
        counted
    }

    /// Counts on; all counts must be right. What it said.
    #[track_caller]
    fn check(&self, args: &[&str]) -> String {
        let empty = file(&self.folder, "empty.txt", "");
        let args = [args, &["--input", text_of(&empty)]].concat();
        let run = run(&self.data, &args);
        assert!(run.counts == self.expected, "counts after {args:?}: {}", run.said);
        run.said
    }

    #[track_caller]
    fn check_fails(&self, args: &[&str], parts: &[&str]) {
        let empty = file(&self.folder, "empty.txt", "");
        let said = fail(&self.data, &[args, &["--input", text_of(&empty)]].concat());
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    /// The first segment file of this kind.
    fn file(&self, topic: &str, kind: &str) -> PathBuf {
        self.data.join(format!("log/{topic}-0/00000000000000000000.{kind}"))
    }
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_changed_byte_is_found_named_and_never_counted() {
    // What reads the topic from its beginning.
    for (topic, again) in [("lines", "--reset"), ("word-count-counts-changelog", "--rebuild")] {
        let counted = Counted::new();
        let file = counted.file(topic, "log");
        let at = fs::read(&file).unwrap().len() * 2 / 3;
        flip(&file, at);
        let parts = ["corrupt batch at byte", text_of(&file), "from a copy", "logctl delete-records"];
        for _ in 0..2 {
            counted.check_fails(&[again], &parts);
        }
        flip(&file, at);
        counted.check(&[]);
    }
}

#[test]
fn a_damaged_batch_can_be_given_up() {
    let counted = Counted::new();
    let file = counted.file("lines", "log");
    let bytes = fs::read(&file).unwrap();
    let first = batches(&bytes).next().unwrap().unwrap();
    let (len, next) = (first.bytes.len(), first.header.next_offset());
    flip(&file, len - 1);
    counted.check_fails(&["--reset"], &["corrupt batch at byte 0"]);
    let log = data::log(&counted.data);
    log.admin().unwrap().delete_records(&[(data::partition("lines"), next)]).unwrap();
    log.close().unwrap();
    let rest = data::lines(&counted.data);
    assert_eq!(rest.lines().count() as u64, 5_000 - next.value(), "only the damaged batch is gone");
    let counted = Counted { expected: count_words(&rest), ..counted };
    counted.check(&["--reset"]);
}

#[test]
fn a_damaged_index_is_made_anew() {
    let counted = Counted::new();
    for kind in ["index", "timeindex"] {
        let file = counted.file("lines", kind);
        let good = fs::read(&file).unwrap();
        assert!(good.len() > 30, "an index of several entries");
        let damages: [(&str, Option<&[u8]>); 4] = [
            ("gone", None),
            ("empty", Some(&[])),
            ("cut inside of an entry", Some(&good[..good.len() - 3])),
            ("garbage", Some(&[0xff; 24])),
        ];
        for (name, bytes) in damages {
            match bytes {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            counted.check(&["--reset"]);
            assert!(fs::read(&file).unwrap() == good, "{kind} {name}: not as it was");
        }
    }
}

#[test]
fn a_torn_end_that_was_never_acknowledged_is_cut_off() {
    let counted = Counted::new();
    let file = counted.file("lines", "log");
    let mut bytes = fs::read(&file).unwrap();
    let whole = bytes.len();
    bytes.extend_from_within(..200);
    fs::write(&file, bytes).unwrap();
    fs::remove_file(counted.data.join("log/.kafka_cleanshutdown")).unwrap();
    let said = counted.check(&[]);
    assert!(said.contains("cut off the end of the log") && said.contains("lines-0"), "{said}");
    assert_eq!(fs::read(&file).unwrap().len(), whole);
    counted.check(&["--reset"]);
}

#[test]
fn an_acknowledged_end_that_is_gone_is_refused_until_somebody_decides() {
    for is_clean in [true, false] {
        let counted = Counted::new();
        let file = counted.file("lines", "log");
        let good = fs::read(&file).unwrap();
        let mark = counted.data.join("log/.kafka_cleanshutdown");
        let truncate = |bytes: &[u8]| {
            fs::write(&file, bytes).unwrap();
            if !is_clean {
                let _ = fs::remove_file(&mark);
            }
        };
        truncate(&good[..good.len() - 10]);
        let parts =
            [text_of(&file), "acknowledged records are missing", "recovery-point-offset-checkpoint", "from a copy"];
        for _ in 0..2 {
            counted.check_fails(&[], &parts);
        }
        // From a copy: nothing is lost.
        truncate(&good);
        counted.check(&["--reset"]);
        // Without one: what is whole is kept, and what comes next is counted from there.
        truncate(&good[..good.len() - 10]);
        fs::remove_file(counted.data.join("log/recovery-point-offset-checkpoint")).unwrap();
        let more = file_with(&counted.folder, "more of it\n");
        let after = run(&counted.data, &["--input", text_of(&more)]).counts;
        let mut expected = counted.expected.clone();
        for (word, count) in count_words("more of it") {
            *expected.entry(word).or_default() += count;
        }
        assert!(after == expected, "what was counted stays counted, and new lines are");
        let kept = count_words(&data::lines(&counted.data));
        assert!(run(&counted.data, &["--reset"]).counts == kept);
    }
}

fn file_with(folder: &TempDir, text: &str) -> PathBuf {
    file(folder, "more.txt", text)
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { _ = fs::copy(&path, &target).unwrap() }
    }
}

#[test]
fn state_that_is_ahead_of_an_older_log_is_rebuilt_not_believed() {
    let counted = Counted::new();
    let (log, copied) = (counted.data.join("log"), counted.folder.path().join("copy"));
    copy(&log, &copied);
    let more = file_with(&counted.folder, &"more of it\n".repeat(3_000));
    let ahead = run(&counted.data, &["--input", text_of(&more)]).counts;
    assert_eq!(ahead["more"], 3_000);
    // The log comes back from the copy: the state's files are ahead of the changelog now.
    fs::remove_dir_all(&log).unwrap();
    copy(&copied, &log);
    let said = counted.check(&[]);
    for part in ["word-count-counts-changelog", "rebuilt from the changelog"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(run(&counted.data, &["--input", text_of(&more)]).counts == ahead);
}
