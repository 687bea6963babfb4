//! The file `transactions.log`: which transactions are committed, and which producer ids are given away.
//!
//! One record here is what makes a transaction over many partitions a single durable event. It is written after the
//! data of all its partitions is synced and before the first marker; markers that a crash took are written again from
//! it when the log is opened. Aborts are not recorded: a transaction that is not in this file is aborted.
//!
//! ```text
//! "log-store txn 1\n"  frame  frame  …  zeros
//! frame:  body length u32 · crc-32c of the body u32 · body · zeros up to a multiple of 8
//! body:   kind u8 · position up to which the file was synced u64 · …
//!   kind 1  producer ids: next i64
//!   kind 2  committed: producer id i64 · epoch i16 · transactional id u16 + bytes
//! ```
//!
//! All numbers are big-endian. The file is extended with zeros ahead of what is written, so that a commit overwrites
//! bytes that are there, which is the cheapest sync there is.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::Arc,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::coordinator::Identity;
use crate::{
    Error, Result,
    embedded::storage::{Directory, OpenMode, SegmentFile, read_small, write_atomically},
};

/// Name of the file, in the root of the log.
pub(crate) const FILE_NAME: &str = "transactions.log";

const MAGIC: &[u8; 16] = b"log-store txn 1\n";
const FRAME_HEADER_BYTES: usize = 8;
const ALIGNMENT: usize = 8;
/// Longest body that is believed.
const BODY_BYTES_MAX: usize = 1 << 20;
const KIND_IDS: u8 = 1;
const KIND_COMMITTED: u8 = 2;
/// Bytes of zeros written ahead at a time.
const GROWTH_BYTES: u64 = 256 << 10;
/// Bytes of frames from which the file is written anew without what is no longer needed.
const COMPACTION_BYTES: u64 = 4 << 20;

/// What the file of an earlier run says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Committed transactions whose markers may be missing, with their transactional ids.
    pub(crate) committed: HashMap<Identity, Arc<str>>,
    /// Producer ids below this one may be in use.
    pub(crate) next_producer_id: i64,
}

/// The open file. Many commits may be under way; those that wait at the same time share one sync.
pub(crate) struct Decisions {
    directory: Arc<dyn Directory>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Positions rise for ever: the file begins at position `shift`, which grows when the front is dropped.
struct State {
    file: Arc<dyn SegmentFile>,
    shift: u64,
    end: u64,
    synced: u64,
    /// End of what is zeros or frames in the file.
    allocated: u64,
    is_syncing: bool,
    failure: Option<String>,
    next_producer_id: i64,
    /// Where the decisions begin whose markers are not all written.
    unsettled: BTreeSet<u64>,
}

impl State {
    fn needed_from(&self) -> u64 {
        self.unsettled.first().copied().unwrap_or(self.end)
    }
}

/// A decision that is durable; to be given back to [`Decisions::settle`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Decided(u64);

/// Reads what an earlier run left; `None` if there is no file.
///
/// # Errors
///
/// `Corrupt` if a frame is damaged that was synced: transactions that were acknowledged would be lost.
pub(crate) fn recover(directory: &dyn Directory) -> Result<Option<Recovered>> {
    let Some(bytes) = read_small(directory, FILE_NAME)? else { return Ok(None) };
    let parsed = parse(&bytes).map_err(|(position, reason)| Error::Corrupt {
        file: directory.locate(FILE_NAME),
        position: position as u64,
        reason,
    });
    parsed.map(Some)
}

impl Decisions {
    /// Starts the file of this run, which replaces the recovered one. The markers of recovered transactions are durable
    /// by then; those of `kept` are not, because a damaged partition waits for an operator.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(crate) fn create(directory: Arc<dyn Directory>, kept: &Recovered) -> Result<Self> {
        let next_producer_id = kept.next_producer_id;
        let mut bytes = beginning(next_producer_id);
        let mut unsettled = BTreeSet::new();
        for (identity, transactional_id) in &kept.committed {
            unsettled.insert(bytes.len() as u64);
            bytes.extend_from_slice(&frame(&committed_body(*identity, transactional_id, 0)));
        }
        write_atomically(&*directory, FILE_NAME, &bytes)?;
        let file = open(&*directory)?;
        let end = bytes.len() as u64;
        let state = State {
            file,
            shift: 0,
            end,
            synced: end,
            allocated: end,
            is_syncing: false,
            failure: None,
            next_producer_id,
            unsettled,
        };
        Ok(Decisions { directory, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Records that a transaction is committed. Durable when it returns, if `durable`.
    ///
    /// # Errors
    ///
    /// `Io` if there was no room: nothing was written, and the transaction is undecided. `Poisoned` if it is not known
    /// what was written.
    pub(crate) fn commit(&self, identity: Identity, transactional_id: &str, durable: bool) -> Result<Decided> {
        let mut state = self.state.lock();
        let start = state.end;
        self.append(&mut state, |synced| committed_body(identity, transactional_id, synced))?;
        state.unsettled.insert(start);
        let end = state.end;
        if durable {
            self.wait(state, end)?;
        }
        Ok(Decided(start))
    }

    /// All markers of the transaction are written (not necessarily synced).
    pub(crate) fn settle(&self, decided: Decided) {
        self.state.lock().unsettled.remove(&decided.0);
    }

    /// Gives away the producer ids below `next` for ever. Durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`Decisions::commit`].
    pub(crate) fn reserve_ids(&self, next: i64) -> Result<()> {
        let mut state = self.state.lock();
        // Two may ask at the same time, and the later of two frames counts.
        let next = next.max(state.next_producer_id);
        self.append(&mut state, |synced| ids_body(next, synced))?;
        state.next_producer_id = next;
        let end = state.end;
        self.wait(state, end)
    }

    /// If the file has grown large: the position from which it is needed, once everything appended to partitions so far
    /// is synced. To be given to [`Decisions::drop_before`] then.
    pub(crate) fn compaction_due(&self) -> Option<u64> {
        let state = self.state.lock();
        let needed = state.needed_from();
        (needed - state.shift > COMPACTION_BYTES).then_some(needed)
    }

    /// Leaves in the file what is still needed; all markers are durable, and the ids from `next_producer_id` on were never
    /// given.
    ///
    /// # Errors
    ///
    /// As [`Decisions::drop_before`].
    pub(crate) fn close(&self, next_producer_id: i64) -> Result<()> {
        let position = {
            let mut state = self.state.lock();
            state.next_producer_id = next_producer_id;
            state.needed_from()
        };
        self.drop_before(position)
    }

    /// Writes the file anew without what is before `position`.
    ///
    /// # Errors
    ///
    /// `Poisoned`: it is not known which of the two files is in place.
    pub(crate) fn drop_before(&self, position: u64) -> Result<()> {
        let mut state = self.state.lock();
        while state.is_syncing {
            self.changed.wait(&mut state);
        }
        check(&state)?;
        if position <= state.shift {
            return Ok(());
        }
        let mut bytes = beginning(state.next_producer_id);
        // The first frame says that nothing behind it was synced before, and the frames that are kept say so of
        // positions that are gone: written anew, they are.
        let start = bytes.len();
        let kept = usize::try_from(state.end - position).expect("a few megabytes");
        bytes.resize(start + kept, 0);
        let failure = |error| Error::io("read", self.directory.locate(FILE_NAME), error);
        state.file.read_at(position - state.shift, &mut bytes[start..]).map_err(failure)?;
        restamp(&mut bytes[start..]);
        let replaced = write_atomically(&*self.directory, FILE_NAME, &bytes).and_then(|()| open(&*self.directory));
        match replaced {
            Ok(file) => state.file = file,
            Err(error) => return Err(self.fail(&mut state, &error)),
        }
        state.shift = position - start as u64;
        state.synced = state.end;
        state.allocated = state.end;
        self.changed.notify_all();
        Ok(())
    }

    fn append(&self, state: &mut State, body: impl FnOnce(u64) -> Vec<u8>) -> Result<()> {
        check(state)?;
        let frame = frame(&body(state.synced - state.shift));
        let end = state.end + frame.len() as u64;
        let failure = |operation, error| Error::io(operation, self.directory.locate(FILE_NAME), error);
        if end > state.allocated {
            let grown = end + GROWTH_BYTES;
            let zeros = vec![0; usize::try_from(grown - state.allocated).expect("a few hundred kilobytes")];
            // Whatever of the zeros is written does no harm.
            let position = state.allocated - state.shift;
            state.file.write_at(position, &zeros).map_err(|error| failure("extend", error))?;
            state.allocated = grown;
        }
        let position = state.end - state.shift;
        if let Err(error) = state.file.write_at(position, &frame).map_err(|error| failure("append to", error)) {
            return Err(self.fail(state, &error));
        }
        state.end = end;
        Ok(())
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, upto: u64) -> Result<()> {
        loop {
            check(&state)?;
            if state.synced >= upto {
                return Ok(());
            }
            if state.is_syncing {
                self.changed.wait(&mut state);
                continue;
            }
            state.is_syncing = true;
            let target = state.end;
            let file = Arc::clone(&state.file);
            let result = MutexGuard::unlocked(&mut state, || file.sync());
            state.is_syncing = false;
            self.changed.notify_all();
            match result {
                Ok(()) => state.synced = state.synced.max(target),
                Err(error) => {
                    let error = Error::io("sync", self.directory.locate(FILE_NAME), error);
                    return Err(self.fail(&mut state, &error));
                }
            }
        }
    }

    fn fail(&self, state: &mut State, error: &Error) -> Error {
        let reason = error.to_string();
        state.failure.get_or_insert_with(|| reason.clone());
        self.changed.notify_all();
        Error::Poisoned { reason }
    }
}

fn check(state: &State) -> Result<()> {
    match &state.failure {
        None => Ok(()),
        Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
    }
}

fn open(directory: &dyn Directory) -> Result<Arc<dyn SegmentFile>> {
    let opened = directory.open(FILE_NAME, OpenMode::Existing);
    opened.map_err(|error: io::Error| Error::io("open", directory.locate(FILE_NAME), error))
}

fn beginning(next_producer_id: i64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&frame(&ids_body(next_producer_id, 0)));
    bytes
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + body.len() + ALIGNMENT);
    out.extend_from_slice(&u32::try_from(body.len()).expect("a body is short").to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn ids_body(next: i64, synced: u64) -> Vec<u8> {
    let mut body = vec![KIND_IDS];
    body.extend_from_slice(&synced.to_be_bytes());
    body.extend_from_slice(&next.to_be_bytes());
    body
}

fn committed_body(identity: Identity, transactional_id: &str, synced: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    body.push(KIND_COMMITTED);
    body.extend_from_slice(&synced.to_be_bytes());
    body.extend_from_slice(&identity.producer_id.to_be_bytes());
    body.extend_from_slice(&identity.epoch.to_be_bytes());
    // An id is checked where it comes in.
    let length = u16::try_from(transactional_id.len()).expect("a transactional id is short");
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(transactional_id.as_bytes());
    body
}

/// Sets the synced position of every frame to "nothing", after the frames were moved.
fn restamp(mut frames: &mut [u8]) {
    while let Ok(body) = body_at(frames, 0) {
        let length = body.len();
        frames[FRAME_HEADER_BYTES + 1..FRAME_HEADER_BYTES + 9].fill(0);
        let crc = crc32c::crc32c(&frames[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length]);
        frames[4..8].copy_from_slice(&crc.to_be_bytes());
        let size = (FRAME_HEADER_BYTES + length).next_multiple_of(ALIGNMENT).min(frames.len());
        frames = &mut frames[size..];
    }
}

/// The body of the frame at `position`.
fn body_at(bytes: &[u8], position: usize) -> Result<&[u8], String> {
    let header = bytes.get(position..).and_then(<[u8]>::first_chunk::<FRAME_HEADER_BYTES>).ok_or("cut off")?;
    let [a, b, c, d, stored @ ..] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length == 0 || length > BODY_BYTES_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    let start = position + FRAME_HEADER_BYTES;
    let body = bytes.get(start..start + length).ok_or("a frame that is cut off")?;
    if crc32c::crc32c(body) != u32::from_be_bytes(stored) {
        return Err("a checksum that does not match".to_owned());
    }
    Ok(body)
}

/// Reads all frames up to the first that is not whole. `Err` has the position and the reason.
fn parse(bytes: &[u8]) -> Result<Recovered, (usize, String)> {
    if bytes.first_chunk() != Some(MAGIC) {
        return Err((0, "this is not a file of transactions, or of a newer version".to_owned()));
    }
    let mut recovered = Recovered::default();
    let mut position = MAGIC.len();
    loop {
        let body = match body_at(bytes, position) {
            Ok(body) => body,
            Err(reason) => break torn_or_damaged(bytes, position, reason).map(|()| recovered),
        };
        take_in(&mut recovered, body).ok_or_else(|| (position, "a frame of unknown content".to_owned()))?;
        position = (position + FRAME_HEADER_BYTES + body.len()).next_multiple_of(ALIGNMENT);
    }
}

/// A frame that is not whole is the torn end of the file, unless a later one knows that it was synced.
fn torn_or_damaged(bytes: &[u8], position: usize, reason: String) -> Result<(), (usize, String)> {
    let mut later = position + ALIGNMENT;
    while later + FRAME_HEADER_BYTES < bytes.len() {
        if let Ok(body) = body_at(bytes, later)
            && let Some(synced) = body.get(1..).and_then(<[u8]>::first_chunk::<8>)
            && u64::from_be_bytes(*synced) > position as u64
        {
            let advice = "acknowledged transactions may be among the damaged ones; restore the file, or remove it to \
                          have them aborted";
            return Err((position, format!("{reason}, in a part that was synced; {advice}")));
        }
        later += ALIGNMENT;
    }
    Ok(())
}

fn take_in(recovered: &mut Recovered, body: &[u8]) -> Option<()> {
    let mut rest = body;
    let [kind] = take(&mut rest)?;
    let _synced: [u8; 8] = take(&mut rest)?;
    match kind {
        KIND_IDS => {
            let next = i64::from_be_bytes(take(&mut rest)?);
            recovered.next_producer_id = recovered.next_producer_id.max(next);
        }
        KIND_COMMITTED => {
            let producer_id = i64::from_be_bytes(take(&mut rest)?);
            let epoch = i16::from_be_bytes(take(&mut rest)?);
            let length = u16::from_be_bytes(take(&mut rest)?);
            let transactional_id = std::str::from_utf8(rest.get(..usize::from(length))?).ok()?;
            recovered.committed.insert(Identity { producer_id, epoch }, transactional_id.into());
        }
        _ => return None,
    }
    Some(())
}

/// The next bytes of `rest`, which moves on; `None` if there are not so many.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*field)
}
