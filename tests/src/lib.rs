//! Harness shared by the integration tests: programs as a user starts them, and text with its plain count.

pub mod broker;
pub mod jvm;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Words and how often they occur.
pub type Counts = BTreeMap<String, u64>;

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository")
}

/// A built example, by its name. `cargo test --workspace` builds the examples before it runs any test.
///
/// # Panics
///
/// If it is not built.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let path = target().join("examples").join(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --examples", path.display());
    path
}

/// The folder of built programs: two above this test's own.
fn target() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    test.parent().and_then(Path::parent).expect("tests lie in target/debug/deps").to_path_buf()
}

/// Says that a test does not run here, and why. Past the test runner, which would keep what a passing test prints.
pub fn skipped(reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {reason}");
}

/// So many lines of a few frequent words and many rare ones.
#[must_use]
pub fn text(lines: u64) -> String {
    let line = |number: u64| format!("the {} of {} words and number {number}\n", number % 7, number % 1_009);
    (0..lines).map(line).collect()
}

/// The plain count that every other must equal: maximal runs of alphanumerics, in lower case.
#[must_use]
pub fn count_words(text: &str) -> Counts {
    let mut counts = Counts::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

/// All `.md` and `.rs` below `folder`, without hidden folders and build folders.
///
/// # Panics
///
/// If the folder cannot be read.
#[must_use]
pub fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if folder.join("CACHEDIR.TAG").exists() {
            continue;
        }
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry that can be read").path();
            let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.is_dir() && !is_hidden && !path.is_symlink() {
                folders.push(path);
            } else if !is_hidden && path.extension().is_some_and(|extension| extension == "md" || extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}
