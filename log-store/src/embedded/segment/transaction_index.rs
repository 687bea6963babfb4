//! The aborted transactions of a segment: `.txnindex`. There is no such file where none was aborted.

use crate::{
    Error, Offset, Result,
    embedded::{
        producer_state::Aborted,
        storage::{Directory, OpenMode, read_small},
    },
};

/// Version, producer id, first offset, offset of the marker, last stable offset.
pub(crate) const ENTRY_BYTES: usize = 2 + 4 * 8;
const VERSION: i16 = 0;

/// Reads the entries of a file, and whether they are all of it: one that is damaged (or zeros, which a power cut can
/// leave at the end) ends them.
pub(crate) fn read(directory: &dyn Directory, path: &str) -> Result<(Vec<Aborted>, bool)> {
    let bytes = read_small(directory, path)?.unwrap_or_default();
    let mut entries: Vec<Aborted> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for entry in bytes.chunks_exact(ENTRY_BYTES).map_while(decode) {
        // Markers rise, and come after their data.
        if entry.first >= entry.last || entries.last().is_some_and(|before| before.last >= entry.last) {
            break;
        }
        entries.push(entry);
    }
    let is_whole = entries.len() * ENTRY_BYTES == bytes.len();
    if !is_whole {
        tracing::warn!(file = %directory.locate(path).display(), "an index of aborted transactions has a damaged end");
    }
    Ok((entries, is_whole))
}

/// The bytes of entries.
pub(crate) fn encode(entries: &[Aborted]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(entry.producer_id.to_be_bytes());
        for offset in [entry.first, entry.last, entry.last_stable] {
            bytes.extend(offset.as_i64().to_be_bytes());
        }
    }
    bytes
}

/// Writes `entries` behind the first `stored` ones, and cuts what was there. Not synced.
pub(crate) fn write(directory: &dyn Directory, path: &str, stored: usize, entries: &[Aborted]) -> Result<()> {
    let bytes = encode(entries);
    let position = (stored * ENTRY_BYTES) as u64;
    let write = || {
        let file = directory.open(path, OpenMode::Create)?;
        file.write_at(position, &bytes)?;
        file.truncate(position + bytes.len() as u64)
    };
    write().map_err(|error| Error::io("write", directory.locate(path), error))
}

/// Reads an entry from [`ENTRY_BYTES`] bytes.
pub(crate) fn decode(bytes: &[u8]) -> Option<Aborted> {
    let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    if i16::from_be_bytes([bytes[0], bytes[1]]) != VERSION {
        return None;
    }
    let [first, last, last_stable] = [10, 18, 26].map(|at| Offset::from_i64(number(at)));
    Some(Aborted { producer_id: number(2), first: first?, last: last?, last_stable: last_stable? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::storage::MemoryDirectory;

    fn aborted(number: u64) -> Aborted {
        let offset = |plus| Offset::new(number + plus);
        Aborted { producer_id: 7, first: offset(0), last: offset(3), last_stable: offset(4) }
    }

    #[test]
    fn entries_read_back_and_a_damaged_end_is_left_out() {
        let directory = MemoryDirectory::new();
        write(&directory, "a", 0, &[aborted(0), aborted(10)]).unwrap();
        write(&directory, "a", 1, &[aborted(20), aborted(30)]).unwrap();
        assert_eq!(read(&directory, "a").unwrap(), (vec![aborted(0), aborted(20), aborted(30)], true));
        let file = directory.open("a", OpenMode::Existing).unwrap();
        assert_eq!(file.len().unwrap(), 3 * 34);
        file.truncate(3 * 34 - 1).unwrap();
        assert_eq!(read(&directory, "a").unwrap(), (vec![aborted(0), aborted(20)], false));
        assert_eq!(read(&directory, "no such file").unwrap(), (vec![], true));
        // Zeros are no entries.
        file.truncate(0).unwrap();
        file.truncate(2 * 34).unwrap();
        assert_eq!(read(&directory, "a").unwrap(), (vec![], false));
    }
}
