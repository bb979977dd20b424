//! Segments as numbers, and the side file that tells where batches stand in one and whether its bytes are right.
//!
//! ```text
//! <base>.log    | batch | batch | batch | batch | batch | ...        batches byte for byte as in the journal
//! <base>.index  |      line 0           |   line 1      | ...        32 bytes a line
//! ```
//!
//! A *stretch* is a run of whole batches of at least `index.interval.bytes` (at most 64 KiB and a batch). Its line says
//! where it ends in bytes and in offsets, the greatest timestamp of the segment up to there, and the CRC-32C of its bytes.
//! Both CRCs begin with topic id, partition and position, so that a misdirected write has a wrong one (SAFETY J5). Lines
//! are only ever added: what a round did not bring to the disk is written again, over itself, by the next.
//!
//! Both files are called `<base>-<number>` where the cleaning pass of that number made them (`clean`).
//!
//! A segment that a cut ends in the middle takes no more batches, so that whoever still reads it never sees bytes that were
//! not there (SAFETY R8); what follows the cut goes to a new one. It keeps the stretch in which it was cut, whose batches
//! behind `next` are no longer part of it, and loses what lies behind that.

use seedlog_core::ids::{Lsn, Offset, PartitionIndex, TopicPartition, Uuid};
use seedlog_core::log::Compaction;
use seedlog_core::records::NO_TIMESTAMP;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Size of a line.
pub(super) const LINE_BYTES: usize = 32;
/// A stretch ends at the first batch boundary from here on, whatever `index.interval.bytes` says.
const STRETCH_BYTES_MAX: u32 = 64 << 10;

/// One segment, as far as it is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Offset of its first batch.
    pub(super) base: Offset,
    /// What a cleaning pass made has that pass's number; 0: it was written behind.
    pub(super) made: Lsn,
    /// The offset after its last batch.
    pub(super) next: Offset,
    /// Its size.
    pub(super) bytes: u64,
    /// Lines in its side file.
    pub(super) lines: u64,
    /// The greatest timestamp of its batches; until it is trimmed, also of those that were cut away.
    pub(super) max_timestamp: i64,
    /// How it ends.
    pub(super) tail: Tail,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tail {
    /// With its last batch; more may follow.
    Growing,
    /// At a cut; the files hold what lay behind it.
    Cut,
    /// At a cut, with the stretch that the cut falls into; the files are longer.
    Trimmed,
    /// As before, and the files are no longer than that; or a cleaning pass made it.
    Short,
}

/// The segments of all partitions, oldest first.
pub(super) type SegmentTable = BTreeMap<TopicPartition, Vec<Segment>>;

impl Segment {
    /// An empty one.
    pub(super) fn new(base: Offset) -> Self {
        Self {
            base,
            made: Lsn::ZERO,
            next: base,
            bytes: 0,
            lines: 0,
            max_timestamp: NO_TIMESTAMP,
            tail: Tail::Growing,
        }
    }

    /// What its files are called.
    pub(super) fn name(&self) -> SegmentName {
        SegmentName { base: self.base, made: self.made }
    }

    /// A cleaning pass made it.
    pub(super) fn is_cleaned(&self) -> bool {
        self.made != Lsn::ZERO
    }
}

/// What a segment's files are called: another segment of its log may begin at the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) base: Offset,
    pub(super) made: Lsn,
}

impl SegmentName {
    /// Reads a file's name as [`segment_path`] and [`side_path`] write it.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".log").or_else(|| file.strip_suffix(".index"))?;
        let (base, made) = stem.split_once('-').unwrap_or((stem, "0"));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if base.len() != 20 || !is_number(base) || !is_number(made) {
            return None;
        }
        Some(Self { base: Offset(base.parse().ok()?), made: Lsn(made.parse().ok()?) })
    }

    fn stem(self) -> String {
        if self.made == Lsn::ZERO {
            format!("{:020}", self.base.0)
        } else {
            format!("{:020}-{}", self.base.0, self.made.0)
        }
    }
}

/// Takes away what lies at `to` and behind. Gives the segments that are gone as a whole.
pub(super) fn cut(segments: &mut Vec<Segment>, to: Offset) -> Vec<SegmentName> {
    let keep = segments.partition_point(|segment| segment.base < to);
    let gone = segments.drain(keep..).map(|segment| segment.name()).collect();
    if let Some(last) = segments.last_mut().filter(|last| last.next > to) {
        last.next = to;
        last.tail = Tail::Cut;
    }
    gone
}

/// Gives what a cleaning pass made the place of what it read. Gives the segments that are gone; none if a later pass went over
/// them already.
pub(super) fn swap(segments: &mut Vec<Segment>, compaction: &Compaction) -> Vec<SegmentName> {
    let from = segments.partition_point(|segment| segment.base < compaction.from);
    let to = segments.partition_point(|segment| segment.base < compaction.to);
    let replaced = segments.get(from..to).unwrap_or_default();
    if replaced.iter().any(|segment| segment.made >= compaction.made) {
        return Vec::new();
    }
    // What a segment got since it was read would go with its file, acknowledged records too: better no node than that.
    assert!(
        replaced.last().is_none_or(|last| last.next <= compaction.to),
        "a pass reads segments that have ended: {replaced:?} do not end at {}",
        compaction.to
    );
    let new = compaction.segments.iter().map(|segment| Segment {
        base: segment.base,
        made: compaction.made,
        next: segment.next,
        bytes: segment.bytes,
        lines: segment.lines,
        max_timestamp: segment.max_timestamp,
        tail: Tail::Short,
    });
    segments.splice(from..to, new).map(|segment| segment.name()).collect()
}

/// The offset after the last batch that a partition's segments hold.
pub(super) fn end_of(segments: &[Segment]) -> Offset {
    segments.last().map_or(Offset::ZERO, |last| last.next)
}

/// The folder of a partition.
pub(super) fn partition_dir(log_dir: &Path, partition: TopicPartition) -> PathBuf {
    log_dir.join(partition.to_string())
}

/// Reads a folder's name as [`partition_dir`] writes it.
pub(super) fn parse_partition_dir(name: &str) -> Option<TopicPartition> {
    let (topic, index) = name.split_at_checked(22)?;
    let topic_id = Uuid::parse(topic)?;
    let digits = index.strip_prefix('-').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    Some(TopicPartition { topic_id, partition: PartitionIndex(digits.parse().ok()?) })
}

/// A segment's file.
pub(super) fn segment_path(log_dir: &Path, partition: TopicPartition, name: SegmentName) -> PathBuf {
    partition_dir(log_dir, partition).join(format!("{}.log", name.stem()))
}

/// A segment's side file.
pub(super) fn side_path(log_dir: &Path, partition: TopicPartition, name: SegmentName) -> PathBuf {
    partition_dir(log_dir, partition).join(format!("{}.index", name.stem()))
}

/// The end of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it ends in the file.
    pub(super) position: u64,
    /// The offset after its last batch.
    pub(super) next: Offset,
    /// The greatest timestamp of the segment up to its end.
    pub(super) max_timestamp: i64,
    /// CRC of its bytes, as [`stretch_crc`] computes it.
    pub(super) crc: u32,
}

impl Line {
    /// Writes line `number` of a segment.
    pub(super) fn encode(&self, partition: TopicPartition, base: Offset, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.next.0.to_le_bytes());
        out.extend_from_slice(&self.max_timestamp.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c_append(seed(partition, base, number), &out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads line `number` of a segment; `None` if the bytes are not that line.
    pub(super) fn decode(partition: TopicPartition, base: Offset, number: u64, line: &[u8]) -> Option<Self> {
        let line: &[u8; LINE_BYTES] = line.try_into().ok()?;
        let (body, crc) = line.split_at(LINE_BYTES - 4);
        if crc32c::crc32c_append(seed(partition, base, number), body) != u32_at(crc, 0) {
            return None;
        }
        Some(Self {
            position: u64_at(body, 0),
            next: Offset(u64_at(body, 8).cast_signed()),
            max_timestamp: u64_at(body, 16).cast_signed(),
            crc: u32_at(body, 24),
        })
    }
}

/// CRC of a stretch that begins at `position`, before its first byte.
pub(super) fn stretch_crc(partition: TopicPartition, base: Offset, position: u64) -> u32 {
    seed(partition, base, position)
}

fn seed(partition: TopicPartition, base: Offset, place: u64) -> u32 {
    let mut bytes = [0; 36];
    bytes[..16].copy_from_slice(&partition.topic_id.0);
    bytes[16..20].copy_from_slice(&partition.partition.0.to_le_bytes());
    bytes[20..28].copy_from_slice(&base.0.to_le_bytes());
    bytes[28..36].copy_from_slice(&place.to_le_bytes());
    crc32c::crc32c(&bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Adds batches to a segment's numbers and makes the lines that go with them.
#[derive(Debug)]
pub(super) struct LineMaker {
    partition: TopicPartition,
    segment: Segment,
    interval: u64,
    start: u64,
    crc: u32,
    lines: Vec<u8>,
}

impl LineMaker {
    /// Goes on at the end of `segment`.
    pub(super) fn new(partition: TopicPartition, segment: Segment, interval_bytes: u32) -> Self {
        let crc = stretch_crc(partition, segment.base, segment.bytes);
        let interval = u64::from(interval_bytes.clamp(1, STRETCH_BYTES_MAX));
        Self { partition, segment, interval, start: segment.bytes, crc, lines: Vec::new() }
    }

    /// Where the next batch goes.
    pub(super) fn position(&self) -> u64 {
        self.segment.bytes
    }

    /// Adds a batch.
    pub(super) fn add(&mut self, batch: &[u8], next: Offset, max_timestamp: i64) {
        self.crc = crc32c::crc32c_append(self.crc, batch);
        self.segment.bytes += batch.len() as u64;
        self.segment.next = next;
        self.segment.max_timestamp = self.segment.max_timestamp.max(max_timestamp);
        if self.segment.bytes - self.start >= self.interval {
            self.end_stretch();
        }
    }

    /// The segment with what was added, and the new lines.
    pub(super) fn finish(mut self) -> (Segment, Vec<u8>) {
        if self.segment.bytes > self.start {
            self.end_stretch();
        }
        (self.segment, self.lines)
    }

    fn end_stretch(&mut self) {
        let line = Line {
            position: self.segment.bytes,
            next: self.segment.next,
            max_timestamp: self.segment.max_timestamp,
            crc: self.crc,
        };
        line.encode(self.partition, self.segment.base, self.segment.lines, &mut self.lines);
        self.segment.lines += 1;
        self.start = self.segment.bytes;
        self.crc = stretch_crc(self.partition, self.segment.base, self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: TopicPartition =
        TopicPartition { topic_id: Uuid([7; 16]), partition: PartitionIndex(3) };

    #[test]
    fn a_folder_name_reads_back_and_others_are_not_ours() {
        let dir = partition_dir(Path::new("/x"), PARTITION);
        let name = dir.file_name().and_then(|name| name.to_str()).expect("it has a name");
        assert_eq!(parse_partition_dir(name), Some(PARTITION));
        assert_eq!(parse_partition_dir("set-aside"), None);
        assert_eq!(parse_partition_dir(&format!("{}-+3", PARTITION.topic_id)), None);
        assert_eq!(parse_partition_dir(&format!("{}_3", PARTITION.topic_id)), None);
    }

    #[test]
    fn a_segments_files_have_its_name_and_others_are_not_ours() {
        for (base, made, file) in [(7, 0, "00000000000000000007.log"), (7, 31, "00000000000000000007-31.log")]
        {
            let name = SegmentName { base: Offset(base), made: Lsn(made) };
            let path = segment_path(Path::new("/x"), PARTITION, name);
            assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(file));
            assert_eq!(SegmentName::parse(file), Some(name));
            assert_eq!(SegmentName::parse(&file.replace(".log", ".index")), Some(name));
        }
        for file in
            ["7.log", "00000000000000000007", "00000000000000000007-x.log", "0000000000000000000a.log"]
        {
            assert_eq!(SegmentName::parse(file), None, "{file}");
        }
    }

    #[test]
    fn a_cut_takes_whole_segments_and_ends_the_one_it_falls_into() {
        let segment = |base, next| Segment { next: Offset(next), bytes: 100, ..Segment::new(Offset(base)) };
        let whole = || vec![segment(0, 10), segment(10, 20), segment(20, 30)];
        let cut_at = |to| {
            let mut segments = whole();
            let gone = cut(&mut segments, Offset(to));
            (segments, gone)
        };
        assert_eq!(cut_at(30), (whole(), vec![]));
        let name = |base| SegmentName { base: Offset(base), made: Lsn::ZERO };
        assert_eq!(cut_at(20), (whole()[..2].to_vec(), vec![name(20)]));
        let (left, gone) = cut_at(15);
        assert_eq!(gone, [name(20)]);
        assert_eq!((left[1].next, left[1].tail), (Offset(15), Tail::Cut));
        assert_eq!(left[0], whole()[0]);
        assert_eq!(cut_at(0), (vec![], vec![name(0), name(10), name(20)]));
    }

    #[test]
    fn lines_say_where_stretches_end_and_are_bound_to_their_place() {
        let mut maker = LineMaker::new(PARTITION, Segment::new(Offset(10)), 100);
        maker.add(&[1; 60], Offset(12), 5);
        maker.add(&[2; 60], Offset(13), 4);
        maker.add(&[3; 10], Offset(20), 9);
        let (segment, lines) = maker.finish();
        assert_eq!(segment.lines, 2);
        assert_eq!(segment.bytes, 130);
        let line = |number: u64| {
            let at = number as usize * LINE_BYTES;
            Line::decode(PARTITION, Offset(10), number, &lines[at..at + LINE_BYTES])
        };
        let first = line(0).expect("intact");
        assert_eq!((first.position, first.next, first.max_timestamp), (120, Offset(13), 5));
        let second = line(1).expect("intact");
        assert_eq!((second.position, second.next, second.max_timestamp), (130, Offset(20), 9));
        let crc = crc32c::crc32c_append(stretch_crc(PARTITION, Offset(10), 120), &[3; 10]);
        assert_eq!(second.crc, crc);
        assert_eq!(Line::decode(PARTITION, Offset(10), 1, &lines[..LINE_BYTES]), None);
        assert_eq!(Line::decode(PARTITION, Offset(11), 0, &lines[..LINE_BYTES]), None);
    }
}
