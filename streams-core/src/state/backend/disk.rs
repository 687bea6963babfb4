//! RocksDB: one database for each task, one column family for each store.
//!
//! The offset that a store's files correspond to lies in the store's own column family and is written together with the
//! rows, so both reach the disk as one, without a log of RocksDB's own: the changelog is the log. Files are made when
//! the first row is written, and opened when they are there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use log_store::Offset;
use parking_lot::Mutex;
use rocksdb::{
    BoundColumnFamily, ColumnFamilyDescriptor, DBRawIteratorWithThreadMode, DBWithThreadMode, FlushOptions,
    IngestExternalFileOptions, MultiThreaded, ReadOptions, SstFileWriter, WriteBatch, WriteOptions,
    checkpoint::Checkpoint,
};

use super::{Backend, Cursor, KeyRange, META, POSITION_KEY, RocksDbConfigSetter, SharedBackend, options};
use crate::{
    Error, Result,
    state::{
        directory::Ownership,
        layer::{Direction, MemoryBudget, RowBuffer},
    },
};

type Database = DBWithThreadMode<MultiThreaded>;

/// Name of a task's database folder.
const DATABASE: &str = "rocksdb";

/// A file of this name says that reading found damage: the database is moved aside at the next start.
const DAMAGE_NOTE: &str = "damaged";

/// So many damaged databases of a task are kept for inspection.
const DAMAGED_KEPT: usize = 2;

/// From here on rows are written as a file that RocksDB takes over: several times faster than its write buffers.
const INGEST_BYTES: usize = 4 << 20;

/// The files of one task.
pub(crate) struct TaskFiles {
    directory: PathBuf,
    budget: Arc<MemoryBudget>,
    setter: Option<RocksDbConfigSetter>,
    database: Mutex<Option<Arc<Database>>>,
    /// Given back after the database is closed: the order of the fields matters.
    _ownership: Ownership,
}

impl TaskFiles {
    pub(crate) fn new(
        directory: PathBuf,
        budget: Arc<MemoryBudget>,
        setter: Option<RocksDbConfigSetter>,
        ownership: Ownership,
    ) -> Self {
        TaskFiles { directory, budget, setter, database: Mutex::new(None), _ownership: ownership }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The database, if there are files.
    fn existing(&self) -> Result<Option<Arc<Database>>> {
        let mut database = self.database.lock();
        if database.is_none() && self.directory.join(DATABASE).exists() {
            *database = self.open_or_move_aside()?;
        }
        Ok(database.clone())
    }

    /// The database, made if there is none.
    fn create(&self) -> Result<Arc<Database>> {
        if let Some(database) = self.existing()? {
            return Ok(database);
        }
        let database = Arc::new(self.open(&[]).map_err(|error| self.error("", "open", &error))?);
        *self.database.lock() = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Opens what is there. Damaged files are moved aside, so that the stores are rebuilt from their changelogs.
    fn open_or_move_aside(&self) -> Result<Option<Arc<Database>>> {
        let path = self.directory.join(DATABASE);
        let note = self.directory.join(DAMAGE_NOTE);
        if let Ok(reason) = fs::read_to_string(&note) {
            self.move_aside(&reason)?;
            fs::remove_file(&note).map_err(|error| self.error("", "remove the note of damage of", &error))?;
            return Ok(None);
        }
        if is_unfinished(&path).map_err(|error| self.error("", "list", &error))? {
            // A kill while the database was made: there never was anything in it.
            fs::remove_dir_all(&path).map_err(|error| self.error("", "remove the beginnings of", &error))?;
            return Ok(None);
        }
        let options = options::database_options(&self.budget);
        let opened = Database::list_cf(&options, &path).and_then(|families| self.open(&families));
        match opened {
            Ok(database) => Ok(Some(Arc::new(database))),
            Err(error) if is_damage(&error) => {
                self.move_aside(error.as_ref())?;
                Ok(None)
            }
            Err(error) => Err(self.error("", "open", &error)),
        }
    }

    fn open(&self, families: &[String]) -> Result<Database, rocksdb::Error> {
        let described = families.iter().map(|store| {
            let options = options::store_options(store, &self.budget, self.setter.as_ref());
            ColumnFamilyDescriptor::new(store, options)
        });
        let options = options::database_options(&self.budget);
        Database::open_cf_descriptors(&options, self.directory.join(DATABASE), described)
    }

    fn move_aside(&self, reason: &str) -> Result<()> {
        let aside = self.next_aside()?;
        tracing::error!(
            directory = %self.directory.display(), aside = %aside.display(), reason,
            "state files are damaged; they are moved aside and rebuilt from the changelogs"
        );
        let from = self.directory.join(DATABASE);
        fs::rename(&from, &aside).map_err(|error| self.error("", "move aside", &error))
    }

    /// A free name for a damaged database, after the oldest ones have made room.
    fn next_aside(&self) -> Result<PathBuf> {
        let prefix = format!("{DATABASE}.damaged-");
        let entries = fs::read_dir(&self.directory).map_err(|error| self.error("", "list", &error))?;
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(&prefix)?.parse::<u64>().ok();
        let mut numbers: Vec<u64> = entries.filter_map(|entry| number(entry.ok()?)).collect();
        numbers.sort_unstable();
        let surplus = (numbers.len() + 1).saturating_sub(DAMAGED_KEPT);
        for oldest in &numbers[..surplus] {
            let path = self.directory.join(format!("{prefix}{oldest}"));
            fs::remove_dir_all(&path).map_err(|error| self.error("", "remove an old damaged copy in", &error))?;
        }
        let next = numbers.last().map_or(0, |last| last + 1);
        Ok(self.directory.join(format!("{prefix}{next}")))
    }

    /// Notes for the next start that the files are damaged.
    fn note_damage(&self, store: &str, reason: &str) {
        let note = self.directory.join(DAMAGE_NOTE);
        if let Err(error) = fs::write(&note, format!("store {store}: {reason}")) {
            tracing::error!(file = %note.display(), %error, "cannot note that state files are damaged");
        }
    }

    #[cold]
    fn error(&self, store: &str, verb: &str, error: &dyn std::error::Error) -> Error {
        let reason = format!("cannot {verb} its files: {error}");
        Error::Store { store: store.to_owned(), directory: self.directory.join(DATABASE), reason }
    }
}

/// True if the making of the database at `path` was interrupted: RocksDB names the one that counts in the file `CURRENT`,
/// last of all, and from then on replaces it as a whole. Tables without it are another matter: that is damage.
fn is_unfinished(path: &Path) -> io::Result<bool> {
    if path.join("CURRENT").exists() {
        return Ok(false);
    }
    for entry in fs::read_dir(path)? {
        if entry?.path().extension().is_some_and(|extension| extension == "sst") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True if the files are not what they should be; false if they could not be reached.
fn is_damage(error: &rocksdb::Error) -> bool {
    match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::NotFound => true,
        rocksdb::ErrorKind::IOError | rocksdb::ErrorKind::InvalidArgument => {
            let text = error.as_ref();
            text.contains("No such file") || text.contains("does not exist")
        }
        _ => false,
    }
}

/// One store's column family.
pub(crate) struct DiskBackend {
    files: Arc<TaskFiles>,
    store: String,
    /// `None` as long as the store has no column family.
    database: Option<Arc<Database>>,
    position: Option<Offset>,
    durable_position: Option<Offset>,
    /// Restored rows that are being written while the next ones are read.
    restoring: Option<Restoring>,
}

/// Writes restored rows on a thread of its own.
struct Restoring {
    position: Offset,
    thread: Option<JoinHandle<(RowBuffer, Result<(), rocksdb::Error>)>>,
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // RocksDB must not be at work when the process ends.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl DiskBackend {
    pub(crate) fn open(files: Arc<TaskFiles>, store: &str) -> Result<Self> {
        let database = files.existing()?.filter(|database| database.cf_handle(store).is_some());
        let mut backend = DiskBackend {
            files,
            store: store.to_owned(),
            database,
            position: None,
            durable_position: None,
            restoring: None,
        };
        let mut row = POSITION_KEY.to_vec();
        if backend.get(&mut row)? {
            let position = row[POSITION_KEY.len()..].try_into().map(u64::from_be_bytes).ok().map(Offset::new);
            backend.position = position;
            backend.durable_position = position;
        }
        Ok(backend)
    }

    fn family(&self) -> Option<(&Arc<Database>, Arc<BoundColumnFamily<'_>>)> {
        let database = self.database.as_ref()?;
        Some((database, database.cf_handle(&self.store)?))
    }

    #[cold]
    fn failed(&self, verb: &str, error: &rocksdb::Error) -> Error {
        if is_damage(error) {
            self.files.note_damage(&self.store, error.as_ref());
        }
        self.files.error(&self.store, verb, error)
    }

    /// The same rows, for another thread.
    fn for_thread(&self) -> Self {
        DiskBackend {
            files: Arc::clone(&self.files),
            store: self.store.clone(),
            database: self.database.clone(),
            position: self.position,
            durable_position: self.durable_position,
            restoring: None,
        }
    }

    /// Waits for the rows that are being written; their memory, empty.
    fn take_restored(&mut self) -> Result<RowBuffer> {
        let Some(mut restoring) = self.restoring.take() else { return Ok(RowBuffer::default()) };
        let Some(thread) = restoring.thread.take() else { return Ok(RowBuffer::default()) };
        let Ok((mut rows, written)) = thread.join() else {
            let reason = "cannot write its files: the thread that restores them panicked".to_owned();
            return Err(Error::Store { store: self.store.clone(), directory: self.files.directory.clone(), reason });
        };
        written.map_err(|error| self.failed("write", &error))?;
        self.position = Some(restoring.position);
        self.durable_position = self.position;
        rows.clear();
        Ok(rows)
    }

    fn create_family(&mut self) -> Result<()> {
        if self.database.is_none() {
            let database = self.files.create()?;
            if database.cf_handle(&self.store).is_none() {
                let options = options::store_options(&self.store, &self.files.budget, self.files.setter.as_ref());
                database.create_cf(&self.store, &options).map_err(|error| self.failed("create", &error))?;
            }
            self.database = Some(database);
        }
        Ok(())
    }

    /// Writes through RocksDB's write buffer: for few rows.
    fn write_batch(
        &self,
        rows: &RowBuffer,
        dropped: &[KeyRange],
        position: Option<Offset>,
    ) -> Result<(), rocksdb::Error> {
        let Some((database, family)) = self.family() else { return Ok(()) };
        let mut batch = WriteBatch::with_capacity_bytes(rows.len_bytes() + 64);
        for (key, value) in rows.iter() {
            match value {
                Some(value) => batch.put_cf(&family, key, value),
                None => batch.delete_cf(&family, key),
            }
        }
        for (from, to) in dropped {
            batch.delete_range_cf(&family, from, to);
        }
        if let Some(position) = position {
            batch.put_cf(&family, POSITION_KEY, position.value().to_be_bytes());
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        database.write_opt(batch, &options)
    }

    /// Writes a file and hands it over: for many rows.
    fn ingest(&self, rows: &RowBuffer, position: Option<Offset>) -> Result<(), rocksdb::Error> {
        let Some((database, family)) = self.family() else { return Ok(()) };
        let path = self.files.directory.join(format!("{}.ingest", self.store));
        let options = options::store_options(&self.store, &self.files.budget, self.files.setter.as_ref());
        let mut writer = SstFileWriter::create(&options);
        writer.open(&path)?;
        if let Some(position) = position {
            // Sorts before all rows of stores.
            writer.put(POSITION_KEY, position.value().to_be_bytes())?;
        }
        for (key, value) in rows.iter() {
            debug_assert!(key[0] > META || key > POSITION_KEY, "the position comes first");
            match value {
                Some(value) => writer.put(key, value)?,
                None => writer.delete(key)?,
            }
        }
        writer.finish()?;
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        database.ingest_external_file_cf_opts(&family, &ingest, vec![path])
    }
}

impl Backend for DiskBackend {
    fn get(&self, row: &mut Vec<u8>) -> Result<bool> {
        let Some((database, family)) = self.family() else { return Ok(false) };
        match database.get_pinned_cf(&family, &row[..]) {
            Ok(None) => Ok(false),
            Ok(Some(value)) => {
                row.extend_from_slice(&value);
                Ok(true)
            }
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_iterate_lower_bound(from);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to.max(from));
        }
        self.cursor(options, direction, None)
    }

    fn scan_group(&self, prefix: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        self.cursor(options, Direction::Forward, Some(prefix))
    }

    fn apply(&mut self, rows: &RowBuffer, dropped: &[KeyRange], position: Option<Offset>) -> Result<()> {
        self.create_family()?;
        let is_ingested = rows.len_bytes() >= INGEST_BYTES;
        let written = if is_ingested {
            self.ingest(rows, position).and_then(|()| {
                if dropped.is_empty() { Ok(()) } else { self.write_batch(&RowBuffer::default(), dropped, None) }
            })
        } else {
            self.write_batch(rows, dropped, position)
        };
        written.map_err(|error| self.failed("write", &error))?;
        if let Some((database, family)) = self.family() {
            for (from, to) in dropped {
                // Whole files go at once; the range deletion covers the rest.
                database.delete_file_in_range_cf(&family, from, to).map_err(|error| self.failed("write", &error))?;
            }
        }
        if position.is_some() {
            self.position = position;
            if is_ingested {
                self.durable_position = position;
            }
        }
        Ok(())
    }

    fn restore(&mut self, mut rows: RowBuffer, dropped: &[KeyRange], position: Offset) -> Result<RowBuffer> {
        // The thread is still busy with the rows before these.
        rows.sort();
        let spare = self.take_restored()?;
        if rows.len_bytes() < INGEST_BYTES || !dropped.is_empty() {
            self.apply(&rows, dropped, Some(position))?;
            return Ok(spare);
        }
        self.create_family()?;
        let backend = self.for_thread();
        let write = move || {
            let written = backend.ingest(&rows, Some(position));
            (rows, written)
        };
        let thread = Builder::new().name(format!("restore-{}", self.store)).spawn(write);
        let thread = thread.map_err(|error| self.files.error(&self.store, "start a thread for", &error))?;
        self.restoring = Some(Restoring { position, thread: Some(thread) });
        Ok(spare)
    }

    fn settle(&mut self) -> Result<()> {
        self.take_restored().map(drop)
    }

    fn position(&self) -> Option<Offset> {
        self.position
    }

    fn durable_position(&self) -> Option<Offset> {
        self.durable_position
    }

    fn make_durable(&mut self) -> Result<()> {
        if self.durable_position == self.position {
            return Ok(());
        }
        if let Some((database, family)) = self.family() {
            database.flush_cf_opt(&family, &FlushOptions::default()).map_err(|error| self.failed("flush", &error))?;
        }
        self.durable_position = self.position;
        Ok(())
    }

    fn share(&self) -> Option<SharedBackend> {
        Some(Arc::new(self.for_thread()))
    }

    fn is_empty(&self) -> bool {
        self.database.is_none()
    }

    fn approximate_rows(&self) -> u64 {
        let count = self
            .family()
            .map(|(database, family)| database.property_int_value_cf(&family, rocksdb::properties::ESTIMATE_NUM_KEYS));
        // An estimate: what cannot be estimated counts as nothing.
        count.and_then(Result::ok).flatten().unwrap_or(0)
    }

    fn reset(&mut self, reason: &str) -> Result<()> {
        // Whether these rows were written makes no difference now.
        let _ = self.take_restored();
        let Some(database) = self.database.take() else { return Ok(()) };
        self.position = None;
        self.durable_position = None;
        let aside = self.files.next_aside()?;
        tracing::error!(
            store = %self.store, directory = %self.files.directory.display(), aside = %aside.display(), reason,
            "the store's files are of no use; a copy is kept aside and the store rebuilt from its changelog"
        );
        let copied = Checkpoint::new(&database).and_then(|checkpoint| checkpoint.create_checkpoint(&aside));
        copied.and_then(|()| database.drop_cf(&self.store)).map_err(|error| self.failed("move aside", &error))
    }
}

/// Steps through a column family, or through nothing if there is none.
struct DiskCursor<'a> {
    backend: &'a DiskBackend,
    rows: Option<DBRawIteratorWithThreadMode<'a, Database>>,
    direction: Direction,
}

impl DiskBackend {
    fn cursor(&self, options: ReadOptions, direction: Direction, at: Option<&[u8]>) -> Result<Box<dyn Cursor + '_>> {
        let rows = self.family().map(|(database, family)| {
            let mut rows = database.raw_iterator_cf_opt(&family, options);
            match (at, direction) {
                (Some(key), _) => rows.seek(key),
                (None, Direction::Forward) => rows.seek_to_first(),
                (None, Direction::Backward) => rows.seek_to_last(),
            }
            rows
        });
        if let Some(Err(error)) = rows.as_ref().map(DBRawIteratorWithThreadMode::status) {
            return Err(self.failed("read", &error));
        }
        Ok(Box::new(DiskCursor { backend: self, rows, direction }))
    }
}

impl Cursor for DiskCursor<'_> {
    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.rows.as_ref().and_then(DBRawIteratorWithThreadMode::item)
    }

    fn advance(&mut self) -> Result<()> {
        let Some(rows) = &mut self.rows else { return Ok(()) };
        match self.direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.prev(),
        }
        match rows.status() {
            Ok(()) => Ok(()),
            Err(error) => Err(self.backend.failed("read", &error)),
        }
    }
}
