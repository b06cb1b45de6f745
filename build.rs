//! Generates the gRPC types and services of CSI and of kubelet's registration from `proto`, and the
//! descriptors of CSI that the driver serves to clients by reflection, without `protoc` on the machine.
//! The engine alone has no gRPC, so nothing is generated for it.

#[cfg(feature = "driver")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::path::PathBuf;
    use std::{env, fs};

    let out = PathBuf::from(env::var("OUT_DIR")?);
    for name in ["csi", "kubelet"] {
        println!("cargo::rerun-if-changed=proto/{name}.proto");
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_imports(true).include_source_info(true);
        compiler.open_file(format!("{name}.proto"))?;
        let descriptors = compiler.file_descriptor_set();
        if name == "csi" {
            // Comments belong in the generated code, not in the descriptors.
            let description = compiler.include_source_info(false).encode_file_descriptor_set();
            fs::write(out.join("csi.bin"), description)?;
        }
        tonic_prost_build::configure()
            .build_client(true)
            .build_server(true)
            .emit_rerun_if_changed(false)
            .compile_fds(descriptors)?;
    }
    Ok(())
}

#[cfg(not(feature = "driver"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
