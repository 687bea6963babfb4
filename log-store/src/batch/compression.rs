//! The five codecs, by Kafka's numbers. The records of a batch are compressed as one stream; its header stays plain.

use std::io::{self, Read, Write};

use super::Malformed;

/// Most bytes that the records of one batch may have when decompressed; what says more is refused as corrupt.
///
/// A gzip or zstd stream can grow a thousandfold, so a damaged or hostile batch of one megabyte could otherwise take
/// the memory of the process. It is 64 times Kafka's default for the largest batch. Whoever has more in one batch
/// stores it uncompressed, as [`super::BatchBuilder::finish`] does by itself.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// First bytes of snappy-java's framing: a magic, its version and the oldest version that can read it.
const SNAPPY_JAVA_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Bytes in one block of snappy-java's framing.
const SNAPPY_JAVA_BLOCK: usize = 32 << 10;
/// A snappy copy of three bytes yields at most 64: no honest block grows more than this.
const SNAPPY_GROWTH_MAX: usize = 32;

/// How the records of a batch are compressed. The default is none: an embedded log pays for bytes with its own CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// zlib's gzip.
    Gzip,
    /// Snappy, in Java's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Kafka's name (`compression.type`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub(crate) fn from_id(id: u16) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    pub(crate) const fn id(self) -> u16 {
        self as u16
    }

    /// Appends `plain`, compressed, to `out`.
    pub(crate) fn compress(self, plain: &[u8], out: &mut Vec<u8>) {
        let done = match self {
            Compression::None => {
                out.extend_from_slice(plain);
                Ok(())
            }
            Compression::Gzip => gzip(plain, out),
            Compression::Snappy => snappy(plain, out),
            Compression::Lz4 => lz4(plain, out),
            Compression::Zstd => zstd::stream::copy_encode(plain, out, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        done.expect("writing to memory does not fail");
    }

    /// Replaces the content of `out` by `packed`, decompressed.
    pub(crate) fn decompress(self, packed: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.clear();
        let done = match self {
            Compression::None => read_limited(packed, out),
            Compression::Gzip => read_limited(flate2::bufread::MultiGzDecoder::new(packed), out),
            Compression::Snappy => return unsnappy(packed, out),
            Compression::Lz4 => read_limited(lz4_flex::frame::FrameDecoder::new(packed), out),
            Compression::Zstd => {
                zstd::stream::read::Decoder::with_buffer(packed).and_then(|decoder| read_limited(decoder, out))
            }
        };
        done.map_err(|problem| Malformed::new(format!("{} cannot be decompressed: {problem}", self.name())))
    }
}

fn read_limited(plain: impl Read, out: &mut Vec<u8>) -> io::Result<()> {
    let read = plain.take(DECOMPRESSED_BYTES_MAX as u64 + 1).read_to_end(out)?;
    if read > DECOMPRESSED_BYTES_MAX {
        return Err(io::Error::other(format!("more than {DECOMPRESSED_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn gzip(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish().map(drop)
}

fn lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Kafka's reader wants independent blocks, and its own writer makes them of 64 KiB.
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(plain)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

fn snappy(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.extend_from_slice(&SNAPPY_JAVA_HEADER);
    let mut packed = vec![0; snap::raw::max_compress_len(SNAPPY_JAVA_BLOCK)];
    for block in plain.chunks(SNAPPY_JAVA_BLOCK) {
        let length = encoder.compress(block, &mut packed).map_err(io::Error::other)?;
        let length_field = u32::try_from(length).map_err(io::Error::other)?;
        out.extend_from_slice(&length_field.to_be_bytes());
        out.extend_from_slice(&packed[..length]);
    }
    Ok(())
}

/// Both forms are met: framed as snappy-java does it, and one bare block as librdkafka does it.
fn unsnappy(packed: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let magic = &SNAPPY_JAVA_HEADER[..8];
    if !packed.starts_with(magic) {
        return unsnappy_block(packed, out);
    }
    let mut rest = packed.get(SNAPPY_JAVA_HEADER.len()..).ok_or_else(|| Malformed::new("snappy header is cut off"))?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| Malformed::new("snappy block is cut off"))?;
        unsnappy_block(block, out)?;
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed::new("snappy block length is cut off")) }
}

fn unsnappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let problem = |problem| Malformed::new(format!("snappy cannot be decompressed: {problem}"));
    let length = snap::raw::decompress_len(block).map_err(problem)?;
    let begin = out.len();
    if length > block.len().saturating_mul(SNAPPY_GROWTH_MAX) || length > DECOMPRESSED_BYTES_MAX - begin {
        return Err(Malformed::new(format!("snappy block of {} bytes claims {length}", block.len())));
    }
    out.resize(begin + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[begin..]).map_err(problem)?;
    out.truncate(begin + written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(codec: Compression, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        codec.compress(plain, &mut out);
        out
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; DECOMPRESSED_BYTES_MAX + 1];
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let bomb = packed(codec, &zeros);
            assert!(bomb.len() < zeros.len() / 15, "{codec:?}");
            let mut out = Vec::new();
            codec.decompress(&bomb, &mut out).expect_err("too large");
            codec.decompress(&packed(codec, &zeros[1..]), &mut out).expect("exactly the limit");
            assert_eq!(out.len(), DECOMPRESSED_BYTES_MAX);
        }
    }

    #[test]
    fn a_small_block_that_claims_gigabytes_allocates_nothing() {
        // A varint of 4 GiB - 1, then nothing to back it.
        let mut out = Vec::new();
        Compression::Snappy.decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], &mut out).expect_err("a lie");
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn bare_snappy_is_read_too() {
        let bare = snap::raw::Encoder::new().compress_vec(b"hello hello hello").unwrap();
        let mut out = Vec::new();
        Compression::Snappy.decompress(&bare, &mut out).unwrap();
        assert_eq!(out, b"hello hello hello");
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_decompressed(plain in prop::collection::vec(0_u8..4, 0..100_000)) {
            let mut out = vec![1, 2, 3];
            for codec in Compression::ALL {
                codec.decompress(&packed(codec, &plain), &mut out).unwrap();
                prop_assert!(out == plain, "{codec:?}");
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, plain: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let mut out = Vec::new();
            for codec in Compression::ALL {
                let _ = codec.decompress(&bytes, &mut out);
                let mut near = packed(codec, &plain);
                if !near.is_empty() {
                    let at = at.index(near.len());
                    near[at] = byte;
                }
                let _ = codec.decompress(&near, &mut out);
            }
        }
    }
}
