//! Record batch v2, byte for byte as Apache Kafka has it: the checksummed unit of append, fetch and compaction.
//!
//! * [`BatchBuilder`] makes one, [`marker`] makes the two that end a transaction, [`BatchRewriter`] makes a smaller one.
//! * [`batches`] walks over bytes that hold several; [`RecordBatch::records`] reads what one holds.
//! * [`header`] has the 61 bytes in front, and what may be changed in them without opening the batch.
//!
//! Nothing here trusts a length, a count or a size that it reads: each is checked before it is used or allocated.
//! Checksums are checked where bytes come from a file ([`header::verify`]), once.
//!
//! ```
//! use log_store::{Offset, RecordView, batch};
//!
//! let mut builder = batch::BatchBuilder::new();
//! builder.append(RecordView::new(1_700_000_000_000, Some(b"alice"), Some(b"home")))?;
//! let mut bytes = builder.finish(batch::ProducerStamp::NONE, batch::Compression::None);
//! // What the log does on append: a few bytes in place, no matter how large the batch or how it is compressed.
//! batch::header::set_base_offset(&mut bytes, Offset::new(41));
//!
//! let first = batch::batches(&bytes).next().expect("one batch").expect("well formed");
//! assert_eq!(first.header.next_offset(), Offset::new(42));
//! # Ok::<(), log_store::Error>(())
//! ```

mod compression;
mod decode;
mod encode;
pub mod header;
mod malformed;
mod marker;
mod rewrite;
pub(crate) mod varint;

pub use compression::{Compression, DECOMPRESSED_BYTES_MAX};
pub use decode::{Batches, RecordBatch, RecordRef, Records, batches};
pub(crate) use decode::{Found, HEAD_BYTES_MAX, RecordReader};
pub use encode::{BatchBuilder, ProducerStamp};
pub use header::{BatchHeader, HEADER_BYTES, TimestampType};
pub use malformed::Malformed;
pub use marker::{Marker, MarkerKind, marker};
pub use rewrite::{BatchRewriter, Retained};
