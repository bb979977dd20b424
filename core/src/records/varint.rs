//! Zigzag variable-length integers as record batches use them: signed, seven bits a byte, low bits first.

use alloc::vec::Vec;

/// Reads a 64-bit integer from the front of `bytes` and moves past it. `None` when it is cut short or over ten bytes.
pub(super) fn read_long(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag: u64 = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        zigzag |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64));
        }
    }
    None
}

/// Reads a 32-bit integer from the front of `bytes` and moves past it. `None` when it is cut short or does not fit.
pub(super) fn read_int(bytes: &mut &[u8]) -> Option<i32> {
    i32::try_from(read_long(bytes)?).ok()
}

/// Appends an integer of up to 64 bits.
pub(super) fn write(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push((zigzag as u8 & 0x7f) | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for value in
            [0, -1, 1, 63, 64, -64, -65, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!(read_long(&mut rest), Some(value));
            assert!(rest.is_empty());
            assert_eq!(read_int(&mut &bytes[..]), i32::try_from(value).ok());
            assert_eq!(read_long(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn eleven_bytes_are_refused() {
        assert_eq!(read_long(&mut &[0xff; 11][..]), None);
    }
}
