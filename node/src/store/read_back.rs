//! What a round of writing behind reads back from the journal because it is in memory no more: whole stretches, each once, however
//! many partitions' batches lie in one. Small requests to many partitions leave no two batches of a partition side by side.

use super::disk::{Disk, Lane};
use super::index::{GroupPlace, Job, JournalFile};
use super::pieces::PIECE_BYTES;
use super::segments::RoundError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Bytes that are read for nothing rather than beginning another stretch.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Stretches of journal files, by file and position.
#[derive(Debug, Default)]
pub(super) struct Stretches(BTreeMap<(u64, u64), Bytes>);

/// A stretch to be read.
struct Wanted<'a, F> {
    file: &'a JournalFile<F>,
    from: u64,
    to: u64,
}

impl Stretches {
    /// Reads all batches of the jobs that stand in the journal only. Those of a file that is too short are left out.
    pub(super) async fn read<'a, D: Disk>(
        disk: &D,
        jobs: impl Iterator<Item = &'a Job<D::File>>,
    ) -> Result<Self, RoundError>
    where
        D::File: 'a,
    {
        let mut places = Vec::new();
        for (place, batches) in jobs.flat_map(Job::parts) {
            if let GroupPlace::Journal(file, position) = place {
                places.extend(batches.iter().map(|batch| {
                    let from = position + u64::from(batch.at);
                    Wanted { file, from, to: from + u64::from(batch.bytes) }
                }));
            }
        }
        places.sort_by_key(|place| (place.file.seq, place.from));
        let mut read = BTreeMap::new();
        for stretch in join(places) {
            let bytes = usize::try_from(stretch.to - stretch.from).unwrap_or(usize::MAX);
            match disk.read_at(Lane::Background, &stretch.file.file, stretch.from, bytes).await {
                Ok(bytes) => {
                    read.insert((stretch.file.seq, stretch.from), bytes);
                }
                // Whatever of it is there is found batch by batch.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(RoundError::Failed(format!("the disk cannot be read: {error}"))),
            }
        }
        Ok(Self(read))
    }

    /// Bytes of a file, if they were read.
    pub(super) fn get(&self, seq: u64, position: u64, bytes: u32) -> Option<Bytes> {
        let (&(of, from), held) = self.0.range(..=(seq, position)).next_back()?;
        let at = usize::try_from(position - from).ok().filter(|_| of == seq)?;
        let end = at.checked_add(bytes as usize).filter(|end| *end <= held.len())?;
        Some(held.slice(at..end))
    }
}

/// Joins neighbours, in order, to stretches of about 1 MiB.
fn join<F>(places: Vec<Wanted<'_, F>>) -> Vec<Wanted<'_, F>> {
    let mut joined: Vec<Wanted<'_, F>> = Vec::new();
    for place in places {
        match joined.last_mut() {
            Some(last)
                if last.file.seq == place.file.seq
                    && place.from <= last.to + GAP_BYTES_MAX
                    && place.to <= last.from + PIECE_BYTES =>
            {
                last.to = last.to.max(place.to);
            }
            Some(_) | None => joined.push(place),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together_and_gaps_are_not() {
        let files = [JournalFile { seq: 1, file: () }, JournalFile { seq: 2, file: () }];
        let wanted = |file: usize, from, to| Wanted { file: &files[file], from, to };
        let places = vec![
            wanted(0, 0, 100),
            wanted(0, 4_096, 4_200),
            wanted(0, 200_000, 200_100),
            wanted(0, 200_100, 200_000 + PIECE_BYTES),
            wanted(0, 200_000 + PIECE_BYTES, 200_001 + PIECE_BYTES),
            wanted(1, 200_002 + PIECE_BYTES, 200_003 + PIECE_BYTES),
        ];
        let joined: Vec<_> = join(places).iter().map(|it| (it.file.seq, it.from, it.to)).collect();
        let edge = 200_000 + PIECE_BYTES;
        let expected = [(1, 0, 4_200), (1, 200_000, edge), (1, edge, edge + 1), (2, edge + 2, edge + 3)];
        assert_eq!(joined, expected);
    }

    #[test]
    fn only_what_was_read_is_given_out() {
        let held =
            Stretches([((1, 100), Bytes::from_static(b"abcdef")), ((2, 0), Bytes::from_static(b"x"))].into());
        assert_eq!(held.get(1, 102, 3).as_deref(), Some(&b"cde"[..]));
        assert_eq!(held.get(1, 100, 6).as_deref(), Some(&b"abcdef"[..]));
        for (seq, position, bytes) in
            [(1, 99, 1), (1, 104, 3), (1, 107, 1), (2, 1, 1), (3, 0, 1), (0, 100, 1)]
        {
            assert_eq!(held.get(seq, position, bytes), None, "{seq} {position} {bytes}");
        }
    }
}
