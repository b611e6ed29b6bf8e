//! Dolt's file formats as pure functions over bytes: no I/O, no async, no clock.
