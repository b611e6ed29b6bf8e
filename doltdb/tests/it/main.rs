//! `holdfast-doltdb` against databases that Dolt made.

mod databases;
mod golden;
mod noms;
