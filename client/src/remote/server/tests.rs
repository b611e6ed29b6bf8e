//! What the client does with a server, right or wrong.

mod moves;
mod patience;
mod reads;
mod streams;
