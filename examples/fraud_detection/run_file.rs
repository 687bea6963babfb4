//! What a data folder holds: which input, and whether its run was finished.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// A run, as the file `run.json` in its folder describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) checksum: u32,
    pub(crate) rows: usize,
    pub(crate) label_delay_seconds: u64,
    pub(crate) is_finished: bool,
}

/// Topics and state, below the data folder.
const FOLDERS: [&str; 2] = ["log", "state"];

fn path(data: &Path) -> PathBuf {
    data.join("run.json")
}

impl RunFile {
    /// Makes the folder ready for this run. One that was interrupted goes on; one that is finished makes place.
    pub(crate) fn begin(&self, data: &Path, is_reset: bool) -> anyhow::Result<()> {
        fs::create_dir_all(data)
            .with_context(|| format!("cannot create the data folder {}: choose another with --data", data.display()))?;
        let known = match fs::read(path(data)) {
            Ok(bytes) => {
                Some(serde_json::from_slice::<RunFile>(&bytes).context("run.json in the data folder is damaged")?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).context("cannot read run.json in the data folder"),
        };
        match known {
            None => {}
            Some(known) if known.is_finished || is_reset => {
                if !is_reset {
                    examples::say("the last run in this folder was finished: starting over");
                }
                for folder in FOLDERS {
                    match fs::remove_dir_all(data.join(folder)) {
                        Err(error) if error.kind() != ErrorKind::NotFound => {
                            return Err(error).with_context(|| format!("cannot empty {}", data.join(folder).display()));
                        }
                        _ => {}
                    }
                }
            }
            Some(known) if known == *self => examples::say("going on with the run that was interrupted"),
            Some(_) => bail!(
                "the data folder {} holds an interrupted run of another input or label delay: start over with --reset, \
                 or choose another folder with --data",
                data.display()
            ),
        }
        self.write(data)
    }

    /// The run is done.
    pub(crate) fn finish(&self, data: &Path) -> anyhow::Result<()> {
        RunFile { is_finished: true, ..self.clone() }.write(data)
    }

    fn write(&self, data: &Path) -> anyhow::Result<()> {
        let path = path(data);
        // The old file or the new one, never half of one.
        let new = path.with_extension("json.new");
        fs::write(&new, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
