//! `holdfast-doltdb` against databases that Dolt made, and against made-up ones.

mod databases;
mod golden;
mod hostile;
mod noms;
mod rebuild;
mod refs;
mod trees;
