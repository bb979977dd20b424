//! The segments that a cleaning pass writes: files that nobody knows until the journal names them ([`clean`](super::clean)).

use super::buffers::Stage;
use super::disk::{Disk, Lane, Open, Then};
use super::segment::{
    LINE_BYTES, LineMaker, Segment, SegmentName, Tail, partition_dir, segment_path, side_path,
};
use bytes::Bytes;
use seedlog_core::ids::{Lsn, Offset, TopicPartition};
use seedlog_core::log::CompactedSegment;
use seedlog_core::records::BatchHeader;
use std::io;
use std::path::PathBuf;

/// Where they go, and how large they may get.
#[derive(Clone)]
pub(super) struct Place<D> {
    pub(super) disk: D,
    pub(super) log_dir: PathBuf,
    pub(super) partition: TopicPartition,
    pub(super) made: Lsn,
    pub(super) segment_bytes: u64,
    pub(super) interval_bytes: u32,
    /// No segment is begun that could leave less than this on the disk.
    pub(super) free_bytes_min: u64,
}

/// New segments.
pub(super) struct NewSegments<D: Disk> {
    place: Place<D>,
    /// All of which files may be there.
    names: Vec<SegmentName>,
    done: Vec<Segment>,
    current: Option<Current<D::File>>,
    stage: Stage,
    bytes: u64,
    bytes_max: u64,
}

struct Current<F> {
    segment: Segment,
    data: F,
    side: F,
}

impl<D: Disk> NewSegments<D> {
    /// At most `bytes_max` bytes are going to be written.
    pub(super) fn new(place: Place<D>, bytes_max: u64) -> Self {
        let (names, done) = (Vec::new(), Vec::new());
        Self { place, names, done, current: None, stage: Stage::default(), bytes: 0, bytes_max }
    }

    /// Bytes of batches written.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets go of the files; gives the names of all that may be there.
    pub(super) fn into_names(self) -> Vec<SegmentName> {
        self.names
    }

    /// Adds batches.
    ///
    /// # Errors
    /// As the operating system says; [`io::ErrorKind::StorageFull`] also where too little room would be left.
    pub(super) async fn write(&mut self, batches: &[(BatchHeader, Bytes)]) -> io::Result<()> {
        let mut rest = batches;
        while let Some((first, _)) = rest.first() {
            if self.current.is_none() {
                self.current = Some(self.begin(first.base_offset).await?);
            }
            let current = self.current.as_ref().expect("it was begun");
            let (base, limit) = (current.segment.base, self.place.segment_bytes);
            let mut bytes = current.segment.bytes;
            let fits = rest.iter().take_while(|(header, _)| {
                let is_near = header.next_offset().0 - base.0 <= i64::from(i32::MAX);
                let fits = bytes == 0 || is_near && bytes + u64::from(header.batch_bytes) <= limit;
                bytes += u64::from(header.batch_bytes);
                fits
            });
            let (now, later) = rest.split_at(fits.count());
            if !now.is_empty() {
                self.append(now, !later.is_empty()).await?;
            }
            rest = later;
            if !later.is_empty() {
                self.end().await?;
            }
        }
        Ok(())
    }

    /// All is on the disk: the segments, oldest first.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) async fn finish(&mut self) -> io::Result<Vec<CompactedSegment>> {
        self.end().await?;
        let dir = partition_dir(&self.place.log_dir, self.place.partition);
        self.place.disk.sync_dir(Lane::Background, &dir).await?;
        let segments = self.done.iter().map(|segment| CompactedSegment {
            base: segment.base,
            next: segment.next,
            bytes: segment.bytes,
            lines: segment.lines,
            max_timestamp: segment.max_timestamp,
        });
        Ok(segments.collect())
    }

    async fn begin(&mut self, base: Offset) -> io::Result<Current<D::File>> {
        let (lane, place) = (Lane::Background, &self.place);
        let room = place.disk.room(lane, &place.log_dir).await?;
        let needed = place.segment_bytes.min(self.bytes_max.saturating_sub(self.bytes));
        if room.free_bytes < needed.saturating_add(place.free_bytes_min) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let segment = Segment { made: place.made, tail: Tail::Short, ..Segment::new(base) };
        self.names.push(segment.name());
        let path = |path: PathBuf, how| place.disk.open(lane, &path, how);
        let data = path(segment_path(&place.log_dir, place.partition, segment.name()), Open::Direct).await?;
        let side = path(side_path(&place.log_dir, place.partition, segment.name()), Open::Write).await?;
        // A pass of this number may have been here before a crash.
        place.disk.set_length(lane, &data, 0).await?;
        place.disk.set_length(lane, &side, 0).await?;
        Ok(Current { segment, data, side })
    }

    async fn append(&mut self, batches: &[(BatchHeader, Bytes)], ends: bool) -> io::Result<()> {
        let current = self.current.as_mut().expect("a segment was begun");
        let mut maker = LineMaker::new(self.place.partition, current.segment, self.place.interval_bytes);
        let side_position = current.segment.lines * LINE_BYTES as u64;
        self.stage.begin(maker.position(), batches.iter().map(|(_, bytes)| bytes.len()).sum());
        for (header, bytes) in batches {
            maker.add(bytes, header.next_offset(), header.max_timestamp);
            self.stage.extend(bytes);
        }
        let (segment, lines) = maker.finish();
        self.bytes += segment.bytes - current.segment.bytes;
        current.segment = segment;
        let (position, bytes) = self.stage.finish(ends);
        let (lane, disk) = (Lane::Background, &self.place.disk);
        if !bytes.is_empty() {
            disk.write_at(lane, &current.data, position, vec![bytes], Then::Nothing).await?;
        }
        disk.write_at(lane, &current.side, side_position, vec![lines.into()], Then::Nothing).await?;
        Ok(())
    }

    /// The current segment is whole: it goes to the disk.
    async fn end(&mut self) -> io::Result<()> {
        let Some(current) = self.current.as_ref() else { return Ok(()) };
        // What did not fill a block.
        self.stage.begin(current.segment.bytes, 0);
        let (position, bytes) = self.stage.finish(true);
        let (lane, disk) = (Lane::Background, &self.place.disk);
        if !bytes.is_empty() {
            disk.write_at(lane, &current.data, position, vec![bytes], Then::Nothing).await?;
        }
        disk.sync(lane, &current.data).await?;
        disk.sync(lane, &current.side).await?;
        self.done.extend(self.current.take().map(|current| current.segment));
        Ok(())
    }
}
