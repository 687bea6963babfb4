//! Text to count: files, folders and standard input, line by line.
//!
//! Invariant: a line is counted once, in bounded memory; what is no text is named with its file and line, never dropped
//! in silence.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// Longest line, so that a file without line ends cannot fill the memory.
pub(crate) const LINE_BYTES_MAX: usize = 64 << 20;

/// A file is taken for binary, as `grep` does, if its first bytes hold a zero.
const SNIFFED_BYTES: usize = 8 << 10;

/// What is read: all of it is known before the first line is, so that progress can be shown.
pub(crate) struct Input {
    files: Vec<PathBuf>,
    /// `-` was given.
    pub(crate) reads_stdin: bool,
    /// Size of the files together.
    pub(crate) bytes: u64,
}

impl Input {
    /// The files of `paths`: folders are walked (hidden entries, caches and binary files are left out), `-` is standard
    /// input.
    pub(crate) fn of(paths: &[PathBuf]) -> anyhow::Result<Input> {
        let mut input = Input { files: Vec::new(), reads_stdin: false, bytes: 0 };
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
                input.add(path.clone(), found.len());
            }
        }
        Ok(input)
    }

    /// The text of a source tree: every `.md` and `.rs`.
    pub(crate) fn of_repository(root: &Path) -> anyhow::Result<Input> {
        let mut input = Input { files: Vec::new(), reads_stdin: false, bytes: 0 };
        let is_text = |file: &Path| file.extension().is_some_and(|extension| extension == "md" || extension == "rs");
        input.walk(root, &is_text)?;
        Ok(input)
    }

    fn add(&mut self, file: PathBuf, bytes: u64) {
        self.files.push(file);
        self.bytes += bytes;
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
                self.add(path, found.len());
            }
        }
        Ok(())
    }

    /// Calls `each` with every line until it answers false.
    pub(crate) fn for_each_line(&self, mut each: impl FnMut(&str, Next) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        for path in &self.files {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            if !lines_of(&mut BufReader::with_capacity(1 << 20, file), &path.display().to_string(), &mut each)? {
                return Ok(());
            }
        }
        if self.reads_stdin {
            lines_of(&mut BufReader::new(io::stdin()), "standard input", &mut each)?;
        }
        Ok(())
    }
}

fn is_binary(path: &Path) -> anyhow::Result<bool> {
    let failed = || format!("cannot read {}", path.display());
    let mut start = Vec::with_capacity(SNIFFED_BYTES);
    File::open(path).with_context(failed)?.take(SNIFFED_BYTES as u64).read_to_end(&mut start).with_context(failed)?;
    Ok(start.contains(&0))
}

/// What comes after a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// More is here already.
    IsHere,
    /// Reading on may wait: for a disk, or for somebody who types.
    MayWait,
}

/// False if `each` wants no more.
fn lines_of(
    from: &mut BufReader<impl Read>,
    name: &str,
    each: &mut impl FnMut(&str, Next) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut limited = from.take(LINE_BYTES_MAX as u64 + 1);
        limited.read_until(b'\n', &mut line).with_context(|| format!("cannot read {name}, line {number}"))?;
        if line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > LINE_BYTES_MAX {
            bail!("{name}, line {number} is longer than {} MiB: break it", LINE_BYTES_MAX >> 20);
        }
        let text = String::from_utf8_lossy(&line);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            eprintln!("{name}, line {number}: not UTF-8; what is invalid counts as a gap between words");
        }
        let next = if from.buffer().is_empty() { Next::MayWait } else { Next::IsHere };
        if !each(&text, next)? {
            return Ok(false);
        }
    }
    Ok(true)
}
