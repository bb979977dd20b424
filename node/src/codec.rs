//! The five codecs of Kafka's record batches: a batch's payload in, its compressed form out, and back.
//!
//! Shared by the store (which must look into compressed batches) and the command line's client. Decompression takes a
//! budget: no input, however hostile, makes it write more than that many bytes (CVE-2023-34455 was Kafka's). It is not a
//! stream: a batch is whole in memory, as it is on the wire. Which batch has which codec says its header, in `records`.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use seedlog_core::records::Compression;

/// What snappy-java puts in front of its blocks, before two version numbers.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The two version numbers behind the magic: this format's, and the oldest that can read it.
const XERIAL_VERSIONS: &[u8; 8] = &[0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes in one block of snappy-java, as Kafka's producers write them.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// zstd frames with a larger window are refused: 128 MiB is what Kafka's own clients accept, and the largest that any level
/// of the encoder asks for.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Why a payload could not be decompressed.
#[derive(Debug)]
pub enum CodecError {
    /// The output would be larger than the budget.
    OverBudget {
        /// The budget, in bytes.
        budget: usize,
    },
    /// The bytes are not what the codec writes.
    Corrupt {
        /// The codec that the batch names.
        codec: Compression,
        /// What its decoder says.
        source: io::Error,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverBudget { budget } => {
                write!(f, "the batch is larger than {budget} bytes when decompressed")
            }
            Self::Corrupt { codec, source } => write!(f, "the batch is not valid {}: {source}", name(*codec)),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::OverBudget { .. } => None,
            Self::Corrupt { source, .. } => Some(source),
        }
    }
}

/// Kafka's name of a codec, as in `compression.type`.
#[must_use]
pub fn name(codec: Compression) -> &'static str {
    match codec {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// Compresses a payload in the form that Kafka's own clients write: snappy in snappy-java's framing, LZ4 as a frame of
/// independent blocks (the only kind that Kafka's Java reader takes).
///
/// # Errors
/// Only when the codec's library cannot allocate its state.
pub fn compress(codec: Compression, payload: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(payload.to_vec()),
        Compression::Gzip => {
            let mut out = GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(payload)?;
            out.finish()
        }
        Compression::Snappy => compress_xerial(payload),
        Compression::Lz4 => {
            let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut out = FrameEncoder::with_frame_info(info, Vec::new());
            out.write_all(payload)?;
            out.finish().map_err(io::Error::from)
        }
        Compression::Zstd => zstd::bulk::compress(payload, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

/// Decompresses a payload to at most `budget` bytes. An uncompressed payload is handed back as it is, if it is within
/// the budget.
///
/// # Errors
/// [`CodecError::OverBudget`] as soon as more would be written; [`CodecError::Corrupt`] for anything else.
pub fn decompress(codec: Compression, payload: &[u8], budget: usize) -> Result<Cow<'_, [u8]>, CodecError> {
    let corrupt = |source| CodecError::Corrupt { codec, source };
    match codec {
        Compression::None if payload.len() > budget => Err(CodecError::OverBudget { budget }),
        Compression::None => Ok(Cow::Borrowed(payload)),
        Compression::Gzip => read_within(MultiGzDecoder::new(payload), codec, payload.len(), budget),
        Compression::Snappy => decompress_snappy(payload, budget),
        Compression::Lz4 => read_within(FrameDecoder::new(payload), codec, payload.len(), budget),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(payload).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            read_within(decoder, codec, payload.len(), budget)
        }
    }
}

/// Reads `input` to its end. The first allocation is by the input's size, and growth follows what is really there.
fn read_within(
    input: impl Read,
    codec: Compression,
    compressed_bytes: usize,
    budget: usize,
) -> Result<Cow<'static, [u8]>, CodecError> {
    let mut out = Vec::with_capacity(compressed_bytes.saturating_mul(2).min(budget));
    let limit = (budget as u64).saturating_add(1);
    input.take(limit).read_to_end(&mut out).map_err(|source| CodecError::Corrupt { codec, source })?;
    if out.len() > budget {
        return Err(CodecError::OverBudget { budget });
    }
    Ok(Cow::Owned(out))
}

fn compress_xerial(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::with_capacity(16 + payload.len() / 2);
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(XERIAL_VERSIONS);
    for block in payload.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let length = u32::try_from(compressed.len()).expect("snappy grows 32 KiB by a sixth at most");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

/// Clients that do not use snappy-java send one bare block: both forms are read.
fn decompress_snappy(payload: &[u8], budget: usize) -> Result<Cow<'static, [u8]>, CodecError> {
    let mut out = Vec::new();
    let Some(framed) = payload.strip_prefix(XERIAL_MAGIC) else {
        append_snappy_block(payload, &mut out, budget)?;
        return Ok(Cow::Owned(out));
    };
    let mut rest =
        framed.get(XERIAL_VERSIONS.len()..).ok_or_else(|| snappy_corrupt("the header is cut short"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk().ok_or_else(|| snappy_corrupt("a block's length is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) =
            after.split_at_checked(length).ok_or_else(|| snappy_corrupt("a block is cut short"))?;
        append_snappy_block(block, &mut out, budget)?;
        rest = after;
    }
    Ok(Cow::Owned(out))
}

/// A block claims its size in its first bytes; no block can expand more than 64-fold per three bytes, so a claim far
/// beyond its own bytes is refused before memory is taken for it.
fn append_snappy_block(block: &[u8], out: &mut Vec<u8>, budget: usize) -> Result<(), CodecError> {
    let corrupt = |error| CodecError::Corrupt { codec: Compression::Snappy, source: io::Error::other(error) };
    let claimed = snap::raw::decompress_len(block).map_err(corrupt)?;
    if claimed > budget.saturating_sub(out.len()) {
        return Err(CodecError::OverBudget { budget });
    }
    if claimed > block.len().saturating_mul(64) {
        return Err(snappy_corrupt("a block claims more than it can hold"));
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(corrupt)?;
    out.truncate(start + written);
    Ok(())
}

fn snappy_corrupt(what: &'static str) -> CodecError {
    CodecError::Corrupt {
        codec: Compression::Snappy,
        source: io::Error::new(io::ErrorKind::InvalidData, what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn samples() -> Vec<Vec<u8>> {
        let noise: Vec<u8> =
            (0..200_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        vec![Vec::new(), b"a".to_vec(), b"seedlog ".repeat(20_000), noise]
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in ALL {
            for sample in samples() {
                let packed = compress(codec, &sample).unwrap();
                let back = decompress(codec, &packed, sample.len()).unwrap();
                assert_eq!(*back, *sample, "{codec:?}, {} bytes", sample.len());
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_budget() {
        let zeros = vec![0_u8; 8 << 20];
        for codec in ALL {
            let bomb = compress(codec, &zeros).unwrap();
            match decompress(codec, &bomb, 64 * 1024) {
                Err(CodecError::OverBudget { budget }) => assert_eq!(budget, 64 * 1024),
                other => panic!("{codec:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn cut_and_flipped_input_is_an_error_or_other_bytes_but_never_a_panic() {
        let sample = b"the quick brown fox ".repeat(500);
        for codec in ALL {
            let packed = compress(codec, &sample).unwrap();
            for cut in 0..packed.len().min(200) {
                drop(decompress(codec, &packed[..cut], 1 << 20));
            }
            for at in 0..packed.len().min(400) {
                let mut flipped = packed.clone();
                flipped[at] ^= 0x55;
                if let Ok(out) = decompress(codec, &flipped, 1 << 20) {
                    assert!(out.len() <= 1 << 20);
                }
            }
        }
    }

    #[test]
    fn snappy_is_read_framed_and_bare() {
        let sample = b"abcabcabc".repeat(10);
        let bare = snap::raw::Encoder::new().compress_vec(&sample).unwrap();
        assert_eq!(*decompress(Compression::Snappy, &bare, 1000).unwrap(), *sample);
        let framed = compress(Compression::Snappy, &sample).unwrap();
        assert_eq!(&framed[..8], XERIAL_MAGIC);
        // Claims 2^31 bytes in a block of five.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(matches!(decompress(Compression::Snappy, &lie, usize::MAX), Err(CodecError::Corrupt { .. })));
    }

    #[test]
    fn gzip_takes_several_members_as_java_does() {
        let mut two = compress(Compression::Gzip, b"one ").unwrap();
        two.extend(compress(Compression::Gzip, b"two").unwrap());
        assert_eq!(*decompress(Compression::Gzip, &two, 100).unwrap(), *b"one two");
    }
}
