//! Random and mutated input to everything that the server reads: 10,000 for each message, each HTTP endpoint,
//! and each pure decoder.
//!
//! Whatever comes, the answer is a refusal that fits or what was asked for; nothing panics; nothing is logged
//! that a person would have to look at; and the repository, its store and the spool stay as they were. The seed
//! is fixed and printed; `HOLDFAST_SEED` chooses another.

mod addresses;
mod bodies;
mod calls;
mod decoders;
mod framing;
mod inputs;
mod lengths;
mod protobuf;
mod raw;
mod samples;
mod wire;
mod world;

pub(crate) use wire::Wire;
use wire::framed;

/// How many inputs each target gets.
const INPUTS: usize = 10_000;

/// How many requests are under way at once.
const AT_ONCE: usize = 64;
