//! Text to count: files, folders and standard input, line by line.
//!
//! Invariant: a line is counted once, in bounded memory; what is no text is named with its file and line, never dropped
//! in silence.

use std::{
    borrow::Cow,
    fmt,
    fs::{self, File, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context;

use crate::{
    lines::{Next, for_each_line},
    progress::Progress,
};

/// Longest line, so that a file without line ends cannot fill the memory; and since all words of a line are one step, in
/// which nothing is committed or closed: these are two million words at most, about a second.
pub(crate) const LINE_BYTES_MAX: usize = 4 << 20;

/// So many lines that are not UTF-8 are named one by one; of the rest the number is told.
const INVALID_NAMED_MAX: u64 = 10;

/// A file is taken for binary, as `grep` does, if its first bytes hold a zero.
const SNIFFED_BYTES: usize = 8 << 10;

const FILE_BUFFER_BYTES: usize = 1 << 20;

/// What is read: all of it is known before the first line is, so that progress can be shown.
#[derive(Default)]
pub(crate) struct Input {
    files: Vec<Source>,
    /// `-` was given.
    pub(crate) reads_stdin: bool,
    /// Size of the files together.
    pub(crate) bytes: u64,
}

/// A file, as it was when it was found.
#[derive(Hash)]
struct Source {
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    /// It is no pipe or device, which gives its bytes but once.
    is_regular: bool,
}

/// A line of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file, or standard input.
    pub(crate) name: String,
    /// From 1 on.
    pub(crate) line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.name, self.line)
    }
}

impl Input {
    /// The files of `paths`: folders are walked (hidden entries, caches and binary files are left out), `-` is standard
    /// input.
    pub(crate) fn of(paths: &[PathBuf]) -> anyhow::Result<Input> {
        let mut input = Input::default();
        for path in paths {
            if path.as_os_str() == "-" {
                input.reads_stdin = true;
                continue;
            }
            let found = fs::metadata(path).with_context(|| {
                format!("cannot read the input {} (check the path that follows --input)", path.display())
            })?;
            if found.is_dir() {
                input.walk(path, &|_| true)?;
            } else {
                input.add(path.clone(), &found);
            }
        }
        Ok(input)
    }

    /// The text of a source tree: every `.md` and `.rs`.
    pub(crate) fn of_repository(root: &Path) -> anyhow::Result<Input> {
        let mut input = Input::default();
        let is_text = |file: &Path| file.extension().is_some_and(|extension| extension == "md" || extension == "rs");
        input.walk(root, &is_text)?;
        Ok(input)
    }

    fn add(&mut self, path: PathBuf, found: &Metadata) {
        let (bytes, modified) = (found.len(), found.modified().ok());
        self.files.push(Source { path, bytes, modified, is_regular: found.is_file() });
        self.bytes += bytes;
    }

    /// True if there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.reads_stdin
    }

    /// What tells this input from another, if it can be read a second time: paths, sizes and times of its files.
    pub(crate) fn fingerprint(&self) -> Option<u64> {
        let is_readable_again = !self.reads_stdin && self.files.iter().all(|source| source.is_regular);
        is_readable_again.then(|| {
            let mut hasher = DefaultHasher::new();
            self.files.hash(&mut hasher);
            hasher.finish()
        })
    }

    fn walk(&mut self, folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> anyhow::Result<()> {
        let failed = || format!("cannot read the folder {}", folder.display());
        // Build folders carry this mark: what they hold is no text that anybody wrote.
        if folder.join("CACHEDIR.TAG").exists() {
            return Ok(());
        }
        let mut entries =
            fs::read_dir(folder).with_context(failed)?.collect::<io::Result<Vec<_>>>().with_context(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().with_context(failed)?.is_dir() {
                self.walk(&path, wanted)?;
                continue;
            }
            // A link may point to nothing, or to a folder that could lead back here.
            let Ok(found) = fs::metadata(&path) else { continue };
            if found.is_file() && wanted(&path) && !is_binary(&path)? {
                self.add(path, &found);
            }
        }
        Ok(())
    }

    /// Calls `each` with every line until it answers false; the place after which it wanted no more.
    pub(crate) fn for_each_line(
        &self,
        progress: &Progress,
        mut each: impl FnMut(&str, Next) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Option<Place>> {
        let mut invalid = 0_u64;
        let mut stopped = None;
        for (name, source) in self.sources() {
            let source = source.with_context(|| format!("cannot open {name}"))?;
            let mut source = BufReader::with_capacity(FILE_BUFFER_BYTES, source);
            let line = for_each_line(&mut source, &name, LINE_BYTES_MAX, |line, number, next| {
                let text = String::from_utf8_lossy(line);
                if matches!(text, Cow::Owned(_)) {
                    invalid += 1;
                    if invalid <= INVALID_NAMED_MAX {
                        progress.say(&format!(
                            "{name}, line {number}: not UTF-8; what is invalid counts as a gap between words"
                        ));
                    }
                }
                each(&text, next)
            })?;
            if let Some(line) = line {
                stopped = Some(Place { name, line });
                break;
            }
        }
        if invalid > INVALID_NAMED_MAX {
            progress.say(&format!("… and {} more lines that are not UTF-8", invalid - INVALID_NAMED_MAX));
        }
        Ok(stopped)
    }

    /// Files, then standard input; each is opened when it is its turn.
    fn sources(&self) -> impl Iterator<Item = (String, io::Result<Box<dyn Read>>)> {
        let files = self.files.iter().map(|Source { path, .. }| {
            let opened = File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
            (path.display().to_string(), opened)
        });
        let stdin = self.reads_stdin.then(|| ("standard input".to_owned(), Ok(Box::new(io::stdin()) as Box<dyn Read>)));
        files.chain(stdin)
    }
}

fn is_binary(path: &Path) -> anyhow::Result<bool> {
    let failed = || format!("cannot read {}", path.display());
    let mut start = Vec::with_capacity(SNIFFED_BYTES);
    File::open(path).with_context(failed)?.take(SNIFFED_BYTES as u64).read_to_end(&mut start).with_context(failed)?;
    Ok(start.contains(&0))
}
