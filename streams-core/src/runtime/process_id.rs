//! The identity of an application instance: a random UUID that lies in its state directory and survives restarts.
//!
//! It is part of the transactional ids, so an instance that comes back fences what it was before. The file is Kafka
//! Streams' own.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Name of the file in the application's state directory.
const FILE: &str = "kafka-streams-process-metadata";

#[derive(Serialize, Deserialize)]
struct Contents {
    #[serde(rename = "processId")]
    process_id: String,
}

/// The id of the instance whose state is in `directory`; a new one if there is none, or if the file is damaged (then
/// what an earlier instance left open ends by its timeout).
pub(crate) fn process_id(directory: &Path) -> Result<String> {
    let path = directory.join(FILE);
    let known = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Contents>(&bytes).ok());
    if let Some(known) = known.filter(|known| is_uuid(&known.process_id)) {
        return Ok(known.process_id);
    }
    let contents = Contents { process_id: random_uuid() };
    let bytes = serde_json::to_vec(&contents).expect("a struct of one string is JSON");
    write_durably(&path, &bytes).map_err(|source| Error::from(log_store::Error::io("write", path, source)))?;
    Ok(contents.process_id)
}

/// Replaces a small file so that a crash leaves the old or the new one.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(directory) => fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// A UUID of version 4. The standard library's hash keys come from the operating system's randomness: enough for a name
/// that nobody else has, no secret.
fn random_uuid() -> String {
    let high = RandomState::new().hash_one(std::process::id());
    let low = RandomState::new().hash_one(std::time::Instant::now());
    let bits = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76 | 0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let id = process_id(directory.path()).unwrap();
        assert!(is_uuid(&id), "{id}");
        assert_eq!((id.as_bytes()[14], b"89ab".contains(&id.as_bytes()[19])), (b'4', true), "{id}");
        assert_eq!(process_id(directory.path()).unwrap(), id);
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{{\"processId\":\"{id}\"}}"));
    }

    #[test]
    fn two_instances_have_two_ids_and_a_damaged_file_is_replaced() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = process_id(one.path()).unwrap();
        assert_ne!(process_id(other.path()).unwrap(), id);
        for damaged in ["", "{}", "{\"processId\":\"../../etc\"}", "\0\0\0"] {
            fs::write(one.path().join(FILE), damaged).unwrap();
            let fresh = process_id(one.path()).unwrap();
            assert!(is_uuid(&fresh) && fresh != id, "{damaged:?} gave {fresh}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let error = process_id(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
