//! The batches of one segment file, damaged ones included.

use std::{fmt, io, path::PathBuf, sync::Arc};

use crate::{
    Error, Result,
    batch::{BatchHeader, HEADER_BYTES, Malformed, RecordBatch, header},
    embedded::{
        segment::recovery::bytes_before_zeros,
        storage::{Directory, OpenMode, SegmentFile},
    },
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Reads a segment file batch by batch.
pub struct SegmentReader {
    file: Arc<dyn SegmentFile>,
    path: PathBuf,
    len: u64,
    /// Where the next batch begins.
    position: u64,
    /// The file from `position` on, between `begin` and `end`.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

/// A batch in a file.
#[derive(Debug)]
pub struct FoundBatch<'a> {
    /// Where it begins.
    pub position: u64,
    /// The batch.
    pub batch: RecordBatch<'a>,
    /// What is wrong with its checksum.
    pub damage: Option<Malformed>,
}

impl SegmentReader {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn open(directory: &dyn Directory, path: &str) -> Result<Self> {
        let located = directory.locate(path);
        let open = || -> io::Result<_> {
            let file = directory.open(path, OpenMode::Existing)?;
            Ok((file.len()?, file))
        };
        let (len, file) = open().map_err(|error| Error::io("open", &located, error))?;
        Ok(SegmentReader { file, path: located, len, position: 0, buffer: Vec::new(), begin: 0, end: 0 })
    }

    /// Where the next batch begins; after an error, where the damage begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// The next batch; `None` at the end. Zeros up to the end are room for more batches.
    ///
    /// # Errors
    ///
    /// `Corrupt` where the bytes are no batch: what follows cannot be found. `Io`.
    pub fn next_batch(&mut self) -> Result<Option<FoundBatch<'_>>> {
        let left = self.len - self.position;
        if left == 0 || !self.fill(HEADER_BYTES.min(usize_of(left)))? {
            return Ok(None);
        }
        let header = match BatchHeader::parse(&self.buffer[self.begin..self.end]) {
            Ok(header) if header.len_bytes as u64 <= left => header,
            Ok(header) => {
                let reason = format!("batch of {} bytes, of which the file has {left}", header.len_bytes);
                return Err(Malformed::new(reason).at(&self.path, self.position));
            }
            Err(problem) => {
                if self.are_zeros_left()? {
                    self.len = self.position;
                    return Ok(None);
                }
                return Err(problem.at(&self.path, self.position));
            }
        };
        if !self.fill(header.len_bytes)? {
            return Ok(None);
        }
        let position = self.position;
        let bytes = &self.buffer[self.begin..self.begin + header.len_bytes];
        self.begin += header.len_bytes;
        self.position += header.len_bytes as u64;
        let damage = header::verify(bytes).err();
        Ok(Some(FoundBatch { position, batch: RecordBatch { header, bytes }, damage }))
    }

    /// The header at `position`, if one is there.
    pub(crate) fn header_at(&self, position: u64) -> Result<Option<BatchHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        if position.saturating_add(HEADER_BYTES as u64) > self.len {
            return Ok(None);
        }
        match self.file.read_at(position, &mut bytes) {
            Ok(()) => Ok(BatchHeader::parse(&bytes).ok()),
            // Cut by its owner while it is read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }

    /// Goes back (or on) to `position`, where a batch begins, and sees what was written meanwhile.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn look_again(&mut self, position: u64) -> Result<()> {
        self.len = self.file.len().map_err(|error| Error::io("measure", &self.path, error))?.max(position);
        self.position = position;
        (self.begin, self.end) = (0, 0);
        Ok(())
    }

    /// True if there is nothing but zeros from here on.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn are_zeros_left(&self) -> Result<bool> {
        match bytes_before_zeros(&*self.file, self.position, self.len) {
            Ok(bytes) => Ok(bytes == 0),
            // Cut by its owner while it is read: then there is nothing at all.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }

    /// Has `wanted` bytes from the position on in the buffer; the file has them. False if it has shrunk.
    fn fill(&mut self, wanted: usize) -> Result<bool> {
        if self.end - self.begin >= wanted {
            return Ok(true);
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let size = wanted.max(CHUNK).min(usize_of(self.len - self.position));
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        match self.file.read_at(self.position + self.end as u64, &mut self.buffer[self.end..size]) {
            Ok(()) => {
                self.end = size;
                Ok(true)
            }
            // Cut by its owner while it is read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.len = self.position;
                Ok(false)
            }
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }
}

impl fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentReader({} at {})", self.path.display(), self.position)
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
