//! The generated types, clients and servers of CSI 1.12.

tonic::include_proto!("csi.v1");

/// The proto file that these are from, and what it imports, for gRPC reflection.
pub(super) const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("csi");
