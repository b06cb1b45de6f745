//! The generated types, clients and servers of CSI 1.13, with what 1.12 has beyond it.

tonic::include_proto!("csi.v1");

/// The descriptors of the proto file and its imports, for gRPC reflection.
pub(super) const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("csi");
