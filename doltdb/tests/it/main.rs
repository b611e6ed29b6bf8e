//! `holdfast-doltdb` against databases that Dolt made, and against made-up ones.

#[cfg(test)]
mod closures;
#[cfg(test)]
mod databases;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod history;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod noms;
#[cfg(test)]
mod padded;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod refs;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod written;
