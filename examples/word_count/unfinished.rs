//! Input that is not counted to its end yet: an interrupted run goes on with it if it is started again with the same.
//!
//! A small file in the data folder says which input it is, and where the partitions of the topic ended before its first
//! line. Which line goes to which partition depends on nothing but its number, so where they end now tells which lines
//! they have: after Ctrl-C, and after a `kill -9`, too. It takes for granted that nobody else writes into the topic.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{input::Input, progress::Progress};

const NAME: &str = "unfinished-input.json";

/// What is in the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    /// See [`Input::fingerprint`].
    fingerprint: u64,
    /// Where each partition ended before the first line of the input.
    ends: Vec<u64>,
}

impl Content {
    /// Lines of this input that each partition has, if this is the input and these can be its partitions.
    fn taken(&self, fingerprint: Option<u64>, ends: &[u64]) -> Option<Vec<u64>> {
        if fingerprint != Some(self.fingerprint) || ends.len() != self.ends.len() {
            return None;
        }
        ends.iter().zip(&self.ends).map(|(now, before)| now.checked_sub(*before)).collect()
    }
}

/// An input, until it is counted.
pub(crate) struct Unfinished {
    /// Nothing where an interrupted run cannot go on.
    file: Option<PathBuf>,
    /// For each partition: so many of its lines are in the topic already.
    pub(crate) taken: Vec<u64>,
}

impl Unfinished {
    /// An input that is always read from its beginning.
    pub(crate) fn not_kept(partitions: usize) -> Unfinished {
        Unfinished { file: None, taken: vec![0; partitions] }
    }

    /// Begins to read `input` into a topic whose partitions end there, or goes on.
    pub(crate) fn begin(data: &Path, input: &Input, ends: Vec<u64>, progress: &Progress) -> anyhow::Result<Unfinished> {
        let file = data.join(NAME);
        let nothing = Unfinished::not_kept(ends.len());
        if input.is_empty() {
            return Ok(nothing);
        }
        let fingerprint = input.fingerprint();
        if let Some(known) = read(&file)? {
            if let Some(taken) = known.taken(fingerprint, &ends) {
                let lines: u64 = taken.iter().sum();
                progress
                    .say(&format!("going on with the input of the interrupted run, of which {lines} lines are taken"));
                return Ok(Unfinished { file: Some(file), taken });
            }
            progress.say("the interrupted run had another input: the lines that were taken of it stay counted");
        }
        let Some(fingerprint) = fingerprint else {
            remove(&file)?;
            return Ok(nothing);
        };
        write(&file, &Content { fingerprint, ends })?;
        Ok(Unfinished { file: Some(file), ..nothing })
    }

    /// True if an interrupted run can go on.
    pub(crate) fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// The input is counted: the next run counts it once more.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.file.map_or(Ok(()), |file| remove(&file))
    }
}

fn read(file: &Path) -> anyhow::Result<Option<Content>> {
    match fs::read(file) {
        Ok(bytes) => {
            let content = serde_json::from_slice(&bytes);
            content.map(Some).with_context(|| {
                format!("{} is damaged: remove it, and the next input is read from its beginning", file.display())
            })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn write(file: &Path, content: &Content) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", file.display());
    // A crash leaves the old file or the new one.
    let next = file.with_extension("next");
    let mut out = File::create(&next).with_context(failed)?;
    out.write_all(&serde_json::to_vec(content)?).and_then(|()| out.sync_all()).with_context(failed)?;
    fs::rename(&next, file).with_context(failed)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_what_the_partitions_have_more_than_before() {
        let content = Content { fingerprint: 7, ends: vec![10, 20] };
        assert_eq!(content.taken(Some(7), &[13, 20]), Some(vec![3, 0]));
        assert_eq!(content.taken(Some(8), &[13, 20]), None, "another input");
        assert_eq!(content.taken(None, &[13, 20]), None, "standard input");
        assert_eq!(content.taken(Some(7), &[9, 20]), None, "another topic");
        assert_eq!(content.taken(Some(7), &[13]), None, "another topic");
    }
}
