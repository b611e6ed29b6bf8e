//! What the client does with a server, right or wrong.

mod moves;
mod reads;
mod streams;
