//! Faults of a whole program, by their rows in `tests/README.md`; and that the table there tells the truth.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use streams_tests::{Counts, count_words, example, repository};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{Waiting, file, run, text_of, word_count},
};

/// A data folder in which these lines have been counted.
struct Counted {
    folder: TempDir,
    data: PathBuf,
    text: String,
}

impl Counted {
    fn new(lines: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let text = streams_tests::text(lines);
        let input = file(&folder, "input.txt", &text);
        run(&data, &["--input", text_of(&input)]);
        Counted { folder, data, text }
    }

    fn state(&self) -> PathBuf {
        self.data.join("state/word-count")
    }

    /// Counts one line more: a store that lost something would show it. What was said.
    #[track_caller]
    fn check_goes_on(&mut self) -> String {
        let line = "the words and one more number\n";
        let input = file(&self.folder, "more.txt", line);
        self.text.push_str(line);
        let run = run(&self.data, &["--input", text_of(&input)]);
        assert_eq!(difference(&run.counts, &count_words(&self.text)), None, "{}", run.said);
        assert_eq!(run.summary["distinct"], run.counts.len(), "the store holds these words and no others");
        run.said
    }
}

/// The first word that is counted otherwise, or should not be there.
fn difference(counts: &Counts, expected: &Counts) -> Option<String> {
    let words = expected.keys().chain(counts.keys());
    let mut differs = words.filter(|word| counts.get(*word) != expected.get(*word));
    differs.next().map(|word| format!("{word}: {:?}, expected {:?}", counts.get(word), expected.get(word)))
}

/// Every file below `folder` whose name fits.
fn files(folder: &Path, fits: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, fits));
        } else if fits(&path.file_name().unwrap_or_default().to_string_lossy()) {
            found.push(path);
        }
    }
    found
}

#[test]
fn fault_3_a_kill_while_state_is_restored_claims_nothing_that_is_not_there() {
    let mut counted = Counted::new(60_000);
    for delay_ms in [5, 15, 25, 40, 60, 80, 110, 150] {
        let mut child = word_count(&counted.data, &["--rebuild"]).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    counted.check_goes_on();
}

#[test]
fn fault_16_state_that_was_deleted_while_nothing_ran_is_restored() {
    let mut counted = Counted::new(5_000);
    fs::remove_dir_all(counted.data.join("state")).unwrap();
    let said = counted.check_goes_on();
    assert!(said.contains("restored") && said.contains("word-count-counts-changelog"), "{said}");
}

#[test]
fn fault_17_state_that_is_deleted_under_a_running_program_is_restored() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, mut shown) = Waiting::start(folder.path());
    waiting.type_line("apple pear");
    shown.next().expect("it counts");
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    waiting.type_line("apple");
    // It may go on, or fail; both are told, and neither loses a word.
    let _ = waiting.finish();
    let input = file(&folder, "input.txt", "pear");
    let expected = count_words(&format!("{}pear", data::lines(folder.path())));
    let counts = run(folder.path(), &["--input", text_of(&input)]).counts;
    assert_eq!(difference(&counts, &expected), None);
    assert_eq!(counts["pear"], 2);
}

#[test]
fn fault_18_damaged_files_of_a_store_are_set_aside_and_the_store_is_rebuilt() {
    let damage = |counted: &Counted, name: &str, change: &dyn Fn(&Path)| {
        let found = files(&counted.state(), &|file| file.starts_with(name) || file.ends_with(name));
        assert!(!found.is_empty(), "no file called {name}");
        found.iter().for_each(|file| change(file));
    };
    let garble = |file: &Path| fs::write(file, "no longer what it was\n").unwrap();
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change<'_>; 4] =
        [("CURRENT", &garble), ("MANIFEST-", &garble), ("MANIFEST-", &remove), (".sst", &remove)];
    for (name, change) in changes {
        let mut counted = Counted::new(20_000);
        damage(&counted, name, change);
        let said = counted.check_goes_on();
        assert!(said.contains("rebuilt") && said.contains("counts"), "{name}: {said}");
        // Once, and not at every start.
        let said = counted.check_goes_on();
        assert!(!said.contains("rebuilt"), "{name}: {said}");
    }
}

#[test]
fn fault_56_with_too_few_open_files_nothing_is_damaged() {
    let mut counted = Counted::new(5_000);
    for limit in [12, 20, 40, 80] {
        let line = "the words and one more number\n";
        let input = file(&counted.folder, "limited.txt", line);
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(example("word-count"));
        let output = limited.arg("--data").arg(&counted.data).args(["--input", text_of(&input)]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || said.contains("open files"), "limit {limit}: {said}");
        counted.text = data::lines(&counted.data);
        counted.check_goes_on();
    }
}

/// Every row of the table names tests that are there.
#[test]
fn the_table_of_faults_names_tests_that_exist() {
    let table = fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, tests] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        rows.push(number);
        // A reason instead of a test.
        if tests.starts_with('—') {
            continue;
        }
        let mut is_answered = false;
        // `file`: `test`, `test`; `file`: `test`
        for in_file in tests.split(';') {
            let mut names = in_file.split('`').skip(1).step_by(2);
            let Some(path) = names.next() else { continue };
            let path = repository().join(path);
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("row {number}, {}: {error}", path.display()));
            for test in names {
                let is_there = source.contains(&format!("fn {test}("));
                assert!(is_there, "row {number}: {} has no test {test}", path.display());
                is_answered = true;
            }
        }
        assert!(is_answered, "row {number} names no test and gives no reason");
    }
    assert_eq!(rows, (1..=65).collect::<Vec<u32>>());
}
