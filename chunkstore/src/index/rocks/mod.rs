//! An index in RocksDB.
