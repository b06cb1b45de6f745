//! The generated types, clients and servers of CSI 1.12.

tonic::include_proto!("csi.v1");
