//! Changed and allocated blocks over CSI, on a simulated machine.

use calf::csi::v1;
use calf::csi::v1::snapshot_metadata_client::SnapshotMetadataClient;
use calf::{Key, SnapshotSpec, VolumeSpec};
use calf_test_kit::simulated_driver::{Server, accepted, map, refusal};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, put_store, spec};
use tonic::Code;
use tonic::transport::Channel;

const CHUNK: i64 = 4096;

/// A driver of a pool with the snapshots `first` (chunks 0 to 3 were written) and `second` (1 and 3 rewritten).
async fn start(environment: &Environment) -> (Server, SnapshotMetadataClient<Channel>) {
    let pool = environment.pool();
    let volume = pool.create_volume(&spec("v")).expect("create");
    volume.activate().expect("activate");
    let cow = pool.root().join("volumes").join(Key::of("v").as_str()).join("cow");
    for (name, bytes) in [("first", [1, 2, 3, 4]), ("second", [1, 9, 3, 9])] {
        put_store(&cow, &bytes);
        volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
    }
    let other = pool.create_volume(&VolumeSpec::new("w", "debian").chunk_size(16 << 10));
    other.and_then(|it| it.take_snapshot(&SnapshotSpec::new("coarse"))).expect("a snapshot");
    let server = Server::start(pool, &environment.path("csi.sock")).await.expect("a server");
    let client = SnapshotMetadataClient::new(server.channel().await);
    (server, client)
}

fn allocated(id: &str) -> v1::GetMetadataAllocatedRequest {
    v1::GetMetadataAllocatedRequest { snapshot_id: id.to_owned(), ..Default::default() }
}

fn delta(base: &str, target: &str) -> v1::GetMetadataDeltaRequest {
    v1::GetMetadataDeltaRequest {
        base_snapshot_id: base.to_owned(),
        target_snapshot_id: target.to_owned(),
        ..Default::default()
    }
}

/// The ranges of each message, in chunks.
async fn messages(
    client: &mut SnapshotMetadataClient<Channel>,
    request: v1::GetMetadataDeltaRequest,
) -> Vec<Vec<(i64, i64)>> {
    let mut stream = accepted(client.get_metadata_delta(request)).await;
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.expect("a message") {
        assert_eq!(message.block_metadata_type(), v1::BlockMetadataType::VariableLength);
        assert_eq!(message.volume_capacity_bytes, TEMPLATE_SIZE as i64);
        let ranges = message.block_metadata.iter();
        messages.push(ranges.map(|it| (it.byte_offset / CHUNK, it.size_bytes / CHUNK)).collect());
    }
    messages
}

#[tokio::test]
async fn what_changed_is_streamed_and_may_be_resumed_anywhere() {
    let environment = Environment::new();
    let (server, mut client) = start(&environment).await;
    let whole = delta("node-1/first", "node-1/second");
    assert_eq!(messages(&mut client, whole.clone()).await, [vec![(1, 1), (3, 1)]]);
    for (starting_offset, max_results, expected) in [
        (0, 1, vec![vec![(1, 1)], vec![(3, 1)]]),
        (0, i32::MAX, vec![vec![(1, 1), (3, 1)]]),
        (CHUNK, 0, vec![vec![(1, 1), (3, 1)]]),
        (2 * CHUNK, 0, vec![vec![(3, 1)]]),
        // Nothing is left, and the size is told all the same.
        (4 * CHUNK, 0, vec![vec![]]),
        (TEMPLATE_SIZE as i64 - 1, 1, vec![vec![]]),
    ] {
        let request = v1::GetMetadataDeltaRequest { starting_offset, max_results, ..whole.clone() };
        assert_eq!(messages(&mut client, request).await, expected, "{starting_offset}");
    }
    let nothing = delta("node-1/first", "node-1/first");
    assert_eq!(messages(&mut client, nothing).await, [vec![]]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_allocated_has_the_template_and_what_was_written() {
    let environment = Environment::new();
    let (server, mut client) = start(&environment).await;
    let mut stream = accepted(client.get_metadata_allocated(allocated("node-1/first"))).await;
    let message = stream.message().await.expect("a message").expect("one");
    assert_eq!(message.volume_capacity_bytes, TEMPLATE_SIZE as i64);
    let first = message.block_metadata.first().expect("a range");
    assert!(first.byte_offset == 0 && first.size_bytes >= 4 * CHUNK, "{message:?}");
    assert_eq!(stream.message().await.expect("the end"), None);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_gets_the_code_of_the_specification() {
    let environment = Environment::new();
    let (server, mut client) = start(&environment).await;
    let (one, size) = ("node-1/first", TEMPLATE_SIZE as i64);
    let secrets = map(&[("password", "hunter2")]);
    for (id, starting_offset, max_results, code) in [
        ("", 0, 0, Code::InvalidArgument),
        ("node-1/none", 0, 0, Code::NotFound),
        ("node-2/first", 0, 0, Code::NotFound),
        ("first", 0, 0, Code::NotFound),
        (one, -1, 0, Code::InvalidArgument),
        (one, 0, -1, Code::InvalidArgument),
        (one, size, 0, Code::OutOfRange),
        (one, i64::MAX, 0, Code::OutOfRange),
    ] {
        let request = v1::GetMetadataAllocatedRequest {
            snapshot_id: id.to_owned(),
            starting_offset,
            max_results,
            secrets: secrets.clone(),
        };
        let (found, message) = refusal(client.get_metadata_allocated(request)).await;
        assert_eq!(found, code, "{id} {starting_offset} {max_results}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
        for [base, target] in [[id, one], [one, id]] {
            let request = v1::GetMetadataDeltaRequest {
                starting_offset,
                max_results,
                secrets: secrets.clone(),
                ..delta(base, target)
            };
            let (found, message) = refusal(client.get_metadata_delta(request)).await;
            assert_eq!(found, code, "{base} {target} {starting_offset}: {message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
    let foreign = delta("node-1/coarse", one);
    let (code, message) = refusal(client.get_metadata_delta(foreign)).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    server.stop().await;
}
