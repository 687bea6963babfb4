//! The shape of the topology that wrote a state directory, kept beside the state.
//!
//! A changed program is compared with it before anything is opened. New stores and stateless changes are fine; a store
//! that is gone (renamed, or renumbered because an operator was inserted before it), holds something else, or has another
//! number of partitions is not: going on would count from zero, or read bytes as what they are not.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use super::process_id::write_durably;
use crate::{Error, Result};

/// Name of the file in the application's state directory.
const FILE: &str = "topology-fingerprint.json";

/// Partition count that is not known yet; it is not compared.
pub(crate) const UNKNOWN_PARTITIONS: u32 = 0;

/// What matters of a topology to its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) stores: BTreeMap<String, StoreShape>,
    /// The application's own topics between sub-topologies, with their partitions: records wait in them.
    pub(crate) repartition_topics: BTreeMap<String, u32>,
}

/// What matters of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreShape {
    /// Kind of store and types, as text.
    pub(crate) format: String,
    /// Directories of tasks carry this number.
    pub(crate) subtopology: u32,
    pub(crate) partitions: u32,
    /// Topic that holds its changes, if it is the store's own.
    pub(crate) changelog: Option<String>,
}

impl Fingerprint {
    /// What wrote `directory`, if anything did. A damaged file counts as none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(log_store::Error::io("read", path, error).into()),
        }
    }

    /// Forgets what wrote `directory`.
    ///
    /// # Errors
    ///
    /// If the file cannot be deleted.
    pub(crate) fn remove(directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(log_store::Error::io("delete", path, error).into())
            }
            _ => Ok(()),
        }
    }

    /// Compares with what wrote `directory`, and takes its place if that is allowed.
    ///
    /// # Errors
    ///
    /// [`Error::Incompatible`] with the differences and the way out.
    pub(crate) fn check(&self, known: Option<&Self>, application_id: &str, directory: &Path) -> Result<()> {
        match known {
            Some(known) if known == self => return Ok(()),
            Some(known) => self.compare(known, application_id, directory)?,
            None => {}
        }
        let path = directory.join(FILE);
        let bytes = serde_json::to_vec_pretty(self).expect("maps of names are JSON");
        write_durably(&path, &bytes).map_err(|error| log_store::Error::io("write", path, error).into())
    }

    /// Compares with what wrote `directory`.
    ///
    /// # Errors
    ///
    /// [`Error::Incompatible`] with the differences and the way out.
    pub(crate) fn compare(&self, known: &Fingerprint, application_id: &str, directory: &Path) -> Result<()> {
        let mut lost = Vec::new();
        let mut moved = Vec::new();
        for (name, before) in &known.stores {
            match self.stores.get(name) {
                None => lost.push(format!("- store {name} ({}) is gone or has another name", before.format)),
                Some(now) => {
                    if now.format != before.format {
                        lost.push(format!("~ store {name} was {} and is {}", before.format, now.format));
                    }
                    if now.partitions != before.partitions && now.partitions != UNKNOWN_PARTITIONS {
                        lost.push(format!(
                            "~ store {name} had {} partitions and has {}",
                            before.partitions, now.partitions
                        ));
                    }
                    if now.subtopology != before.subtopology {
                        moved.push(format!(
                            "~ store {name} moved from sub-topology {} to {}",
                            before.subtopology, now.subtopology
                        ));
                    }
                }
            }
        }
        for (name, before) in &known.repartition_topics {
            match self.repartition_topics.get(name) {
                None => lost.push(format!("- topic {name} is gone or has another name; records may wait in it")),
                Some(now) if now != before && *now != UNKNOWN_PARTITIONS => {
                    lost.push(format!("~ topic {name} had {before} partitions and has {now}"));
                }
                Some(_) => {}
            }
        }
        if lost.is_empty() && moved.is_empty() {
            return Ok(());
        }
        let added = self.stores.keys().filter(|name| !known.stores.contains_key(*name));
        let added = added.map(|name| format!("+ store {name} ({}) is new", self.stores[name].format));
        let way_out = if lost.is_empty() {
            "the changelogs still fit: remove the local state (Streams::clean_up) and start again, it is rebuilt from them"
        } else {
            "run the earlier program again, or name stores and topics as they were; or start under another \
             application.id; or reset this application (its offsets, internal topics and state) and begin anew"
        };
        let differences: Vec<String> = lost.into_iter().chain(moved).chain(added).collect();
        Err(Error::Incompatible(format!(
            "the topology of application {application_id} does not fit the state in {}:\n  {}\n{way_out}",
            directory.display(),
            differences.join("\n  ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name format subtopology partitions`, separated by commas; a name that ends in `-repartition` is a topic.
    fn shape(text: &str) -> Fingerprint {
        let mut shape = Fingerprint::default();
        for line in text.split(", ").filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0].ends_with("-repartition") {
                shape.repartition_topics.insert(words[0].into(), words[1].parse().unwrap());
            } else {
                let (subtopology, partitions) = (words[2].parse().unwrap(), words[3].parse().unwrap());
                shape.stores.insert(
                    words[0].into(),
                    StoreShape { format: words[1].into(), subtopology, partitions, changelog: None },
                );
            }
        }
        shape
    }

    fn check_in(directory: &Path, text: &str) -> Result<()> {
        shape(text).check(Fingerprint::read(directory).unwrap().as_ref(), "app", directory)
    }

    /// What the error says of the step from one shape to another; empty if it is allowed.
    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        check_in(directory.path(), before).unwrap();
        let result = check_in(directory.path(), after);
        let said = result.err().map_or(String::new(), |error| error.to_string());
        assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
        for part in expected {
            assert!(said.contains(part), "{part:?} not in {said}");
        }
        // What was refused has changed nothing; what was allowed is what counts from now on.
        check_in(directory.path(), if expected.is_empty() { after } else { before }).unwrap();
    }

    #[test]
    fn the_same_and_the_larger_topology_may_go_on() {
        check("counts KV<String,i64> 1 4", "counts KV<String,i64> 1 4", &[]);
        check("counts KV<String,i64> 1 4", "counts KV<String,i64> 1 4, more KV<u8,u8> 2 4", &[]);
        check("", "counts KV<String,i64> 0 1, x-repartition 4", &[]);
    }

    #[test]
    fn a_store_that_is_gone_changed_or_repartitioned_is_refused_with_the_way_out() {
        check("a X 0 1", "", &["- store a (X) is gone", "application.id"]);
        check("a X 0 1", "b X 0 1", &["- store a (X) is gone", "+ store b (X) is new"]);
        check("a KV<String,i64> 0 1", "a KV<String,u64> 0 1", &["was KV<String,i64> and is KV<String,u64>"]);
        check("a X 0 4", "a X 0 8", &["had 4 partitions and has 8"]);
        check("a X 0 4, a-repartition 4", "a X 0 4", &["- topic a-repartition is gone"]);
    }

    #[test]
    fn a_store_that_only_moved_is_rebuilt_from_its_changelog() {
        check("a X 0 4", "a X 1 4", &["moved from sub-topology 0 to 1", "clean_up"]);
    }

    #[test]
    fn a_damaged_fingerprint_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "{").unwrap();
        check_in(directory.path(), "a X 0 1").unwrap();
        assert!(check_in(directory.path(), "").is_err(), "written anew");
    }
}
