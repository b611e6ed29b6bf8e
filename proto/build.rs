//! Compiles the protocol definitions without a `protoc`: protox parses them, tonic writes the code.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const ROOT: &str = "protos";
const FILES: [&str; 2] = [
    "dolt/services/remotesapi/v1alpha1/chunkstore.proto",
    "dolt/services/remotesapi/v1alpha1/credentials.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let descriptors = protox::compile(FILES, [ROOT])?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    write_descriptors(
        out_dir.join("descriptors.bin"),
        &descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Keeps the descriptors for the reflection service, since `compile_fds` does not.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the build, not of a store"
)]
fn write_descriptors(path: PathBuf, encoded: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, encoded)
}
