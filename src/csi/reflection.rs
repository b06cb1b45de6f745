//! gRPC reflection: tools such as `grpcurl` query the socket for the available methods.

use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::{Builder, v1, v1alpha};

use crate::csi::v1::DESCRIPTION;
use crate::csi::v1::controller_server::ControllerServer;
use crate::csi::v1::group_controller_server::GroupControllerServer;
use crate::csi::v1::identity_server::IdentityServer;
use crate::csi::v1::node_server::NodeServer;
use crate::csi::v1::snapshot_metadata_server::SnapshotMetadataServer;
use crate::error::{Error, ErrorKind, Result};

/// The services of the socket, apart from reflection.
pub(super) const SERVICES: [&str; 6] = [
    IdentityServer::<()>::NAME,
    ControllerServer::<()>::NAME,
    NodeServer::<()>::NAME,
    GroupControllerServer::<()>::NAME,
    SnapshotMetadataServer::<()>::NAME,
    HealthServer::<()>::NAME,
];

/// Reflection in its current version.
pub(super) fn current() -> Result<v1::ServerReflectionServer<impl v1::ServerReflection>> {
    let name = "grpc.reflection.v1.ServerReflection";
    builder().with_service_name(name).build_v1().map_err(failed)
}

/// Reflection in the version that older tools use.
pub(super) fn former() -> Result<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>> {
    let name = "grpc.reflection.v1alpha.ServerReflection";
    builder().with_service_name(name).build_v1alpha().map_err(failed)
}

fn builder() -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTION)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    SERVICES.into_iter().fold(builder, Builder::with_service_name)
}

fn failed(error: tonic_reflection::server::Error) -> Error {
    Error::new(ErrorKind::Internal, "describe", "the driver's services", error)
}
