//! Generates the wire types with a protobuf compiler that is itself a crate: no `protoc` to install.

use prost::Message as _;

const FILES: [&str; 4] = [
    "nightshift/v1/jobs.proto",
    "nightshift/v1/types.proto",
    "nightshift/v1/agent.proto",
    "nightshift/v1/operator.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("nightshift.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
