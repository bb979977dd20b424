//! Memory that files are read into, used again once nobody holds what was read: fresh memory costs as much as reading from the page
//! cache.

use super::pieces::PIECE_BYTES;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A usual buffer.
const USUAL_BYTES: usize = PIECE_BYTES as usize;
/// What is smaller has memory of its own: most of a buffer should be in use.
const POOLED_BYTES_MIN: usize = USUAL_BYTES / 4 * 3;
/// Idle buffers that are kept.
const IDLE_MAX: usize = 8;

/// A pool of buffers. Clones are handles of the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadBuffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer in use.
struct Filled {
    memory: Vec<u8>,
    bytes: usize,
    home: ReadBuffers,
}

impl ReadBuffers {
    /// Reads exactly `bytes` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file is shorter, others as the system says.
    pub(super) fn read(&self, file: &File, position: u64, bytes: usize) -> io::Result<Bytes> {
        if !(POOLED_BYTES_MIN..=USUAL_BYTES).contains(&bytes) {
            let mut memory = vec![0; bytes];
            file.read_exact_at(&mut memory, position)?;
            return Ok(memory.into());
        }
        let idle = self.lock().pop();
        let memory = idle.unwrap_or_else(|| vec![0; USUAL_BYTES]);
        let mut filled = Filled { memory, bytes, home: self.clone() };
        file.read_exact_at(&mut filled.memory[..bytes], position)?;
        Ok(Bytes::from_owner(filled))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.bytes]
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut idle = self.home.lock();
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write};

    #[test]
    fn memory_is_used_again_when_nobody_holds_what_was_read() {
        let content: Vec<u8> = (0..2 * USUAL_BYTES as u32).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let buffers = ReadBuffers::default();
        for (position, bytes) in [(0, 1), (5, POOLED_BYTES_MIN), (7, USUAL_BYTES), (1, content.len() - 1)] {
            let read = buffers.read(&file, position, bytes).unwrap();
            assert_eq!(read, content[position as usize..position as usize + bytes]);
        }
        assert_eq!(buffers.lock().len(), 1, "one after the other, they shared one buffer");
        let kept = buffers.read(&file, 0, USUAL_BYTES).unwrap();
        let other = buffers.read(&file, 5, USUAL_BYTES).unwrap();
        assert_eq!((&kept[..], &other[..]), (&content[..USUAL_BYTES], &content[5..5 + USUAL_BYTES]));
        drop((kept, other));
        for bytes in [10, USUAL_BYTES] {
            let error = buffers.read(&file, content.len() as u64 - 3, bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
        assert_eq!(buffers.lock().len(), 2, "a failed read gives its buffer back");
    }
}
