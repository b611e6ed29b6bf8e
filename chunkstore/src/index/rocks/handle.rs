//! The blocking face of the index: private, called only on threads that may block.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use quick_cache::sync::Cache;
use rocksdb::statistics::Ticker;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::rocks::keys::{self, FileNumber, PoolNumber};
use crate::index::rocks::options::{self, RocksSettings};
use crate::index::rocks::sorted::SortedFiles;
use crate::index::rocks::{RocksStatistics, failure, values};
use crate::index::{
    CheckedEntries, ChunkEntry, ChunkLocation, ChunkSpan, FoundPlaces, IndexError, SortedEntries,
};

/// Files with at most so many entries go in by write batch: about a megabyte.
const BATCH_ENTRIES: u64 = 16_384;

/// So many addresses are looked up at once. What is found keeps its block in memory meanwhile.
const LOOKUP_ADDRESSES: usize = 512;

/// So many records of file numbers, and so many markers, are remembered.
const REMEMBERED_FILES: usize = 1 << 15;

/// An open database.
pub(super) struct Handle {
    pub(super) database: DB,
    options: Options,
    pub(super) reads: ReadOptions,
    pub(super) writes: WriteOptions,
    sorted_directory: PathBuf,
    next_number: AtomicU32,
    /// The pools that were asked for and are known; also those whose first file is on its way in.
    pools: RwLock<HashMap<PoolId, PoolNumber>>,
    pub(super) files: Cache<FileNumber, (PoolNumber, UploadId)>,
    pub(super) markers: Cache<(PoolNumber, UploadId), ()>,
    /// Held for reading while a question is answered and while entries go in, for writing while rows are rewritten.
    pub(super) rewriting: RwLock<()>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("database", &self.database)
            .field("next_number", &self.next_number)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// Opens or creates; on damage removes what is there, creates, and returns the damage too.
    pub(super) fn open(
        directory: &Path,
        settings: &RocksSettings,
    ) -> Result<(Self, Option<IndexError>), IndexError> {
        let damage = match Self::open_whole(directory, settings) {
            Err(damage @ IndexError::Damaged { .. }) => damage,
            result => return Ok((result?, None)),
        };
        remove_directory(&directory.join("db"))?;
        Ok((Self::open_whole(directory, settings)?, Some(damage)))
    }

    fn open_whole(directory: &Path, settings: &RocksSettings) -> Result<Self, IndexError> {
        let path = directory.join("db");
        let sorted_directory = directory.join("sorted");
        remove_directory(&sorted_directory)?;
        std::fs::create_dir_all(&sorted_directory)
            .map_err(failure::files("create the directory of sorted files"))?;
        let is_new = !path.join("CURRENT").exists();
        if is_new {
            remove_directory(&path)?;
        }
        let options = options::database(settings);
        let column =
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let database = DB::open_cf_descriptors(&options, &path, [column])
            .map_err(failure::rocks("open the database"))?;
        let handle = Self::new(database, options, sorted_directory);
        if is_new {
            handle.write_schema()?;
        }
        handle.check_schema()?;
        handle.find_next_number()?;
        Ok(handle)
    }

    /// Opens what is on disk and writes nothing there, also where another process has it open.
    pub(super) fn open_read_only(
        directory: &Path,
        settings: &RocksSettings,
        log_directory: &Path,
    ) -> Result<Self, IndexError> {
        let options = options::read_only(settings, log_directory);
        let column =
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let path = directory.join("db");
        let database = DB::open_cf_descriptors_read_only(&options, &path, [column], false)
            .map_err(failure::rocks("open the database for reading"))?;
        let handle = Self::new(database, options, log_directory.to_path_buf());
        handle.check_schema()?;
        Ok(handle)
    }

    fn new(database: DB, options: Options, sorted_directory: PathBuf) -> Self {
        Self {
            database,
            options,
            reads: options::reads(),
            writes: options::writes(),
            sorted_directory,
            next_number: AtomicU32::new(0),
            pools: RwLock::default(),
            files: Cache::new(REMEMBERED_FILES),
            markers: Cache::new(REMEMBERED_FILES),
            rewriting: RwLock::new(()),
        }
    }

    /// Makes the schema durable before anything else can be.
    fn write_schema(&self) -> Result<(), IndexError> {
        let version = values::encode_u32(keys::SCHEMA_VERSION);
        self.database
            .put_opt(keys::schema(), version, &self.writes)
            .and_then(|()| self.database.flush())
            .map_err(failure::rocks("write the schema"))
    }

    fn check_schema(&self) -> Result<(), IndexError> {
        let action = "read the schema";
        let version = self.get(action, &keys::schema(), |value| {
            values::decode_fixed_u32("the schema", value)
        })?;
        if version == Some(keys::SCHEMA_VERSION) {
            return Ok(());
        }
        let found = format!("version {version:?}, not {}", keys::SCHEMA_VERSION);
        Err(failure::damaged(action)(found))
    }

    fn find_next_number(&self) -> Result<(), IndexError> {
        let action = "find the greatest file number";
        let mut rows = self.database.raw_iterator();
        rows.seek_for_prev(keys::number(FileNumber(u32::MAX)));
        rows.status().map_err(failure::rocks(action))?;
        let greatest = rows.key().and_then(keys::decode_number);
        let next = greatest.map_or(Some(0), |number| number.0.checked_add(1));
        let next = next.ok_or_else(|| failure::damaged(action)("all numbers are used"))?;
        self.next_number.store(next, Ordering::Relaxed);
        Ok(())
    }

    fn new_number(&self) -> Result<u32, IndexError> {
        self.next_number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                number.checked_add(1)
            })
            .map_err(|_| failure::damaged("number a file")("all numbers are used"))
    }

    pub(super) fn column(&self) -> &ColumnFamily {
        self.database
            .cf_handle(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
            .expect("it was opened by this name")
    }

    pub(super) fn get<T>(
        &self,
        action: &'static str,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, values::ValueError>,
    ) -> Result<Option<T>, IndexError> {
        let value = self
            .database
            .get_pinned_opt(key, &self.reads)
            .map_err(failure::rocks(action))?;
        value
            .map(|value| decode(&value).map_err(failure::damaged(action)))
            .transpose()
    }

    /// The number of a pool that has files.
    pub(super) fn pool_number(&self, pool: &PoolId) -> Result<Option<PoolNumber>, IndexError> {
        if let Some(number) = self.pools.read().get(pool) {
            return Ok(Some(*number));
        }
        let number = self.get("read the number of a pool", &keys::pool(pool), |value| {
            values::decode_fixed_u32("the number of a pool", value)
        })?;
        let number = number.map(PoolNumber);
        if let Some(number) = number {
            self.pools.write().insert(*pool, number);
        }
        Ok(number)
    }

    fn pool_number_or_new(&self, pool: &PoolId) -> Result<PoolNumber, IndexError> {
        if let Some(number) = self.pool_number(pool)? {
            return Ok(number);
        }
        let mut pools = self.pools.write();
        if let Some(number) = pools.get(pool) {
            return Ok(*number);
        }
        let number = PoolNumber(self.new_number()?);
        pools.insert(*pool, number);
        Ok(number)
    }

    pub(super) fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        let pool_number = self.pool_number_or_new(&pool)?;
        if self.is_marked(pool_number, &file)? {
            return Ok(());
        }
        let number = FileNumber(self.new_number()?);
        let records = Records::new(pool, pool_number, (file, number), count);
        let entries = CheckedEntries::new(file, count, entries);
        if count <= BATCH_ENTRIES {
            return self.add_batch(pool_number, number, entries, &records);
        }
        let mut sorted = SortedFiles::new(&self.sorted_directory, number);
        sorted.write_chunks(&self.options, pool_number, entries)?;
        sorted.write_records(&self.options, records.in_order())?;
        let _rows_stay = self.answering();
        sorted.ingest(&self.database)
    }

    /// While this is held no rows are rewritten.
    pub(super) fn answering(&self) -> RwLockReadGuard<'_, ()> {
        self.rewriting.read()
    }

    fn add_batch(
        &self,
        pool: PoolNumber,
        number: FileNumber,
        entries: CheckedEntries,
        records: &Records,
    ) -> Result<(), IndexError> {
        let mut batch = WriteBatch::default();
        let mut value = Vec::new();
        for entry in entries {
            let ChunkEntry { address, span } = entry?;
            value.clear();
            values::encode_place(&mut value, number, &span);
            batch.merge(keys::chunk(pool, &address), &value);
        }
        for (key, value) in records.in_order() {
            batch.put(key, value);
        }
        let _rows_stay = self.answering();
        self.database
            .write_opt(batch, &self.writes)
            .map_err(failure::rocks("add the entries of a file"))
    }

    fn is_marked(&self, pool: PoolNumber, file: &UploadId) -> Result<bool, IndexError> {
        let _rows_stay = self.answering();
        self.has_file(pool, file)
    }

    /// Whether a file has its marker; the caller keeps rows from being rewritten.
    pub(super) fn has_file(&self, pool: PoolNumber, file: &UploadId) -> Result<bool, IndexError> {
        if self.markers.get(&(pool, *file)).is_some() {
            return Ok(true);
        }
        let marker = self.get("read a marker", &keys::marker(pool, file), |value| {
            values::decode_fixed_u32("a marker", value)
        })?;
        if marker.is_some() {
            self.markers.insert((pool, *file), ());
        }
        Ok(marker.is_some())
    }

    /// Tells which files have their markers; the caller keeps rows from being rewritten.
    pub(super) fn has_files(
        &self,
        pool: PoolId,
        files: &[UploadId],
    ) -> Result<Vec<bool>, IndexError> {
        let Some(pool) = self.pool_number(&pool)? else {
            return Ok(vec![false; files.len()]);
        };
        files.iter().map(|file| self.has_file(pool, file)).collect()
    }

    /// Looks addresses up; the caller keeps rows from being rewritten.
    pub(super) fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        let mut found = vec![FoundPlaces::new(); addresses.len()];
        let Some(pool) = self.pool_number(&pool)? else {
            return Ok(found);
        };
        let mut order: Vec<(ChunkAddress, usize)> = addresses.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut lookup = Lookup::default();
        for group in order.chunks(LOOKUP_ADDRESSES) {
            self.locate_group(pool, group, &mut lookup, &mut found)?;
        }
        Ok(found)
    }

    /// Looks up some addresses in ascending order, and puts what is found where they were asked.
    fn locate_group(
        &self,
        pool: PoolNumber,
        group: &[(ChunkAddress, usize)],
        lookup: &mut Lookup,
        found: &mut [FoundPlaces],
    ) -> Result<(), IndexError> {
        let distinct = group.chunk_by(|(one, _), (other, _)| one == other);
        lookup.keys.clear();
        let keys = distinct.clone().map(|same| keys::chunk(pool, &same[0].0));
        lookup.keys.extend(keys);
        let is_sorted = true;
        let values = self.database.batched_multi_get_cf_opt(
            self.column(),
            &lookup.keys,
            is_sorted,
            &self.reads,
        );
        for (same, value) in distinct.zip(values) {
            let value: Option<DBPinnableSlice<'_>> =
                value.map_err(failure::rocks("look addresses up"))?;
            let Some(value) = value else { continue };
            lookup.numbered.clear();
            values::decode_places(&value, |file, span| lookup.numbered.push((file, span)))
                .map_err(failure::damaged("read the places of a chunk"))?;
            self.name_files(pool, lookup)?;
            for (_, position) in same {
                found[*position] = lookup.places.clone();
            }
        }
        Ok(())
    }

    /// Exchanges file numbers for upload ids. A file that was added twice is one.
    fn name_files(&self, pool: PoolNumber, lookup: &mut Lookup) -> Result<(), IndexError> {
        lookup.places.clear();
        for (number, span) in &lookup.numbered {
            let (owner, file) = match self.files.get(number) {
                Some(known) => known,
                None => self.read_file_record(*number)?,
            };
            if owner != pool {
                let action = "read the places of a chunk";
                return Err(failure::damaged(action)("a file of another pool is named"));
            }
            lookup.places.push(ChunkLocation { file, span: *span });
        }
        if lookup.places.len() > 1 {
            lookup.places.sort_unstable();
            lookup.places.dedup_by_key(|place| place.file);
        }
        Ok(())
    }

    pub(super) fn read_file_record(
        &self,
        number: FileNumber,
    ) -> Result<(PoolNumber, UploadId), IndexError> {
        let action = "read the record of a file number";
        let record = self
            .get(action, &keys::number(number), values::decode_file)?
            .ok_or_else(|| failure::damaged(action)(format!("{number:?} has none")))?;
        self.files.insert(number, record);
        Ok(record)
    }

    pub(super) fn settle(&self) -> Result<(), IndexError> {
        let mut wait = WaitForCompactOptions::default();
        wait.set_flush(true);
        self.database
            .wait_for_compact(&wait)
            .map_err(failure::rocks("wait for compactions"))
    }

    pub(super) fn statistics(&self) -> RocksStatistics {
        let count = |ticker| self.options.get_ticker_count(ticker);
        let passed = count(Ticker::BloomFilterFullPositive);
        RocksStatistics {
            lookups: count(Ticker::NumberMultigetKeysRead),
            hits: count(Ticker::NumberMultigetKeysFound),
            false_positives: passed.saturating_sub(count(Ticker::BloomFilterFullTruePositive)),
        }
    }
}

/// What is kept of one group of a question for the next.
#[derive(Default)]
struct Lookup {
    keys: Vec<keys::ChunkKey>,
    numbered: Vec<(FileNumber, ChunkSpan)>,
    places: FoundPlaces,
}

/// What the index says about a file beside its entries.
struct Records {
    entries: ([u8; 5], [u8; 4]),
    marker: ([u8; 21], [u8; 4]),
    number: ([u8; 5], [u8; 20]),
    pool: ([u8; 17], [u8; 4]),
}

impl Records {
    fn new(
        pool: PoolId,
        pool_number: PoolNumber,
        (file, number): (UploadId, FileNumber),
        count: u64,
    ) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            entries: (keys::entries(number), values::encode_u32(count)),
            marker: (
                keys::marker(pool_number, &file),
                values::encode_u32(number.0),
            ),
            number: (
                keys::number(number),
                values::encode_file(pool_number, &file),
            ),
            pool: (keys::pool(&pool), values::encode_u32(pool_number.0)),
        }
    }

    /// In the order of the keys.
    fn in_order(&self) -> [(&[u8], &[u8]); 4] {
        [
            (&self.entries.0, &self.entries.1),
            (&self.marker.0, &self.marker.1),
            (&self.number.0, &self.number.1),
            (&self.pool.0, &self.pool.1),
        ]
    }
}

fn remove_directory(path: &Path) -> Result<(), IndexError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failure::files("remove a directory of the index")(error))
        }
        _ => Ok(()),
    }
}
