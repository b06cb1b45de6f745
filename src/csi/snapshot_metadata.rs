//! The SnapshotMetadata service: which ranges of a snapshot hold something, and which changed since another.

use tonic::{Request, Response, Status, async_trait};

use crate::api::Snapshot;
use crate::csi::capacity::to_wire as bytes;
use crate::csi::driver::{Driver, Service};
use crate::csi::request::{invalid, volume_id};
use crate::csi::snapshot_id::{self, Place};
use crate::csi::source::no_such_snapshot;
use crate::csi::v1::{self, BlockMetadata, BlockMetadataType};
use crate::error::{Error, ErrorKind, Result};
use crate::model::block_range::BlockRange;
use crate::snapshot::blocks::Blocks;

/// Most ranges in one message, of about 20 bytes each: far below what clients accept.
const MOST_RANGES: usize = 10_000;

/// Messages that are made as the client takes them.
type Messages<T> = tokio_stream::Iter<Box<dyn Iterator<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl v1::snapshot_metadata_server::SnapshotMetadata for Driver {
    type GetMetadataAllocatedStream = Messages<v1::GetMetadataAllocatedResponse>;
    type GetMetadataDeltaStream = Messages<v1::GetMetadataDeltaResponse>;

    async fn get_metadata_allocated(
        &self,
        request: Request<v1::GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        let v1::GetMetadataAllocatedRequest { snapshot_id, starting_offset, max_results, .. } =
            request.into_inner();
        let subject = snapshot_id.clone();
        let found = self.call("GetMetadataAllocated", &subject, move |service| {
            let part = Part::parse(starting_offset, max_results)?;
            let snapshot = service.snapshot_with("snapshot_id", &snapshot_id)?;
            part.of(&snapshot_id, snapshot.allocated()?)
        });
        Ok(found.await?.map(|pages| {
            pages.stream(|volume_capacity_bytes, block_metadata| v1::GetMetadataAllocatedResponse {
                block_metadata_type: BlockMetadataType::VariableLength.into(),
                volume_capacity_bytes,
                block_metadata,
            })
        }))
    }

    async fn get_metadata_delta(
        &self,
        request: Request<v1::GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        let v1::GetMetadataDeltaRequest {
            base_snapshot_id: base,
            target_snapshot_id: target,
            starting_offset,
            max_results,
            ..
        } = request.into_inner();
        let subject = target.clone();
        let found = self.call("GetMetadataDelta", &subject, move |service| {
            let part = Part::parse(starting_offset, max_results)?;
            let before = service.snapshot_with("base_snapshot_id", &base)?;
            let after = service.snapshot_with("target_snapshot_id", &target)?;
            part.of(&target, after.changed_since(&before)?)
        });
        Ok(found.await?.map(|pages| {
            pages.stream(|volume_capacity_bytes, block_metadata| v1::GetMetadataDeltaResponse {
                block_metadata_type: BlockMetadataType::VariableLength.into(),
                volume_capacity_bytes,
                block_metadata,
            })
        }))
    }
}

impl Service {
    /// The snapshot with this id, which must be on this node.
    fn snapshot_with(&self, field: &str, id: &str) -> Result<Snapshot> {
        let id = volume_id(field, id)?;
        let record = match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => self.pool.snapshot_record(&key)?,
            Place::Elsewhere(_) | Place::Nowhere => None,
        };
        self.pool.snapshot(&record.ok_or_else(|| no_such_snapshot(id))?.name)
    }
}

/// What a request wants of the ranges.
struct Part {
    start: u64,
    /// Most ranges in a message.
    most: usize,
}

impl Part {
    fn parse(starting_offset: i64, max_results: i32) -> Result<Self> {
        let start = u64::try_from(starting_offset).map_err(|_| {
            invalid("starting_offset", starting_offset, "it is negative")
                .remedy("give 0, or where an earlier call ended")
        })?;
        let most = match usize::try_from(max_results) {
            Ok(0) => MOST_RANGES,
            Ok(most) => most.min(MOST_RANGES),
            Err(_) => {
                return Err(invalid("max_results", max_results, "it is negative")
                    .remedy("give a positive number, or 0 for what fits"));
            }
        };
        Ok(Self { start, most })
    }

    fn of(self, id: &str, blocks: Blocks) -> Result<Pages> {
        if self.start >= blocks.size {
            let why = format!("starting_offset is {}, its size is {}", self.start, blocks.size);
            return Err(Error::new(ErrorKind::OutOfRange, "list blocks of snapshot", id, why)
                .remedy("give a starting_offset below the size"));
        }
        Ok(Pages { blocks, part: self })
    }
}

/// The ranges that a request wants, to be sent in messages.
struct Pages {
    blocks: Blocks,
    part: Part,
}

impl Pages {
    /// The messages: at least one, which tells the size.
    fn stream<T: 'static>(
        self,
        message: impl Fn(i64, Vec<BlockMetadata>) -> T + Send + 'static,
    ) -> Messages<T> {
        let Self { blocks, part } = self;
        let size = bytes(blocks.size);
        let mut next = Some(part.start);
        let messages = std::iter::from_fn(move || {
            let from = next?;
            let page: Vec<BlockRange> = blocks.starting_at(from).take(part.most).collect();
            let end = page.last().map(|last| last.offset + last.length);
            next = end.filter(|end| blocks.starting_at(*end).next().is_some());
            Some(Ok(message(size, page.into_iter().map(to_wire).collect())))
        });
        tokio_stream::iter(Box::new(messages) as Box<dyn Iterator<Item = _> + Send>)
    }
}

fn to_wire(BlockRange { offset, length }: BlockRange) -> BlockMetadata {
    BlockMetadata { byte_offset: bytes(offset), size_bytes: bytes(length) }
}
