//! Generates the gRPC types and services of CSI from `proto/csi.proto`, with no `protoc` on the
//! machine. The engine alone has none, and nothing is generated.

#[cfg(feature = "driver")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTO: &str = "proto/csi.proto";
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

#[cfg(not(feature = "driver"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
