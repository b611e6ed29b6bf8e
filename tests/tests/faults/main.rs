//! Servers that are killed, robbed of their index, run side by side, out of disk, or left by their clients: nothing
//! acknowledged is lost, nothing half done is seen, nothing is held for long, and reads go on.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test damages files, measures time and panics with what it saw"
)]

mod child;
mod cut;
mod disk_full;
mod four_writers;
mod hogged;
mod index_lost;
mod killed;
mod ledger;
mod refused;
mod released;
mod traced;

/// Runs a test's own side of the network on threads that no server uses.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}
