//! Bytes that may be compressed: one flag byte, then the bytes as they are or as an LZ4 block with its length.
//!
//! Used for frames between brokers, for records of the log and for output that is kept. Unpacking allocates no more than its caller allows.

use std::borrow::Cow;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("unpack bytes with flag {0:?}: neither plain nor LZ4")]
    Flag(Option<u8>),
    #[error("unpack {len} bytes: the limit is {max}")]
    TooLong { len: usize, max: usize },
    #[error("unpack an LZ4 block")]
    Lz4(#[from] lz4_flex::block::DecompressError),
}

/// Compresses from `len_min` bytes on, if that makes it smaller.
pub fn pack(bytes: &[u8], len_min: usize) -> Vec<u8> {
    if bytes.len() >= len_min {
        let mut packed = vec![0; 5 + lz4_flex::block::get_maximum_output_size(bytes.len())];
        let len = lz4_flex::block::compress_into(bytes, &mut packed[5..])
            .expect("the buffer has the size that the crate asks for");
        if len + 4 < bytes.len()
            && let Ok(plain_len) = u32::try_from(bytes.len())
        {
            packed[0] = LZ4;
            packed[1..5].copy_from_slice(&plain_len.to_le_bytes());
            packed.truncate(5 + len);
            packed.shrink_to_fit();
            return packed;
        }
    }
    let mut packed = Vec::with_capacity(1 + bytes.len());
    packed.push(PLAIN);
    packed.extend_from_slice(bytes);
    packed
}

/// What was packed; at most `len_max` bytes.
pub fn unpack(packed: &[u8], len_max: usize) -> Result<Cow<'_, [u8]>, UnpackError> {
    match packed {
        [PLAIN, bytes @ ..] => {
            if bytes.len() > len_max {
                return Err(UnpackError::TooLong { len: bytes.len(), max: len_max });
            }
            Ok(Cow::Borrowed(bytes))
        }
        [LZ4, block @ ..] => {
            let (len, block) = lz4_flex::block::uncompressed_size(block)?;
            if len > len_max {
                return Err(UnpackError::TooLong { len, max: len_max });
            }
            Ok(Cow::Owned(lz4_flex::block::decompress(block, len)?))
        }
        other => Err(UnpackError::Flag(other.first().copied())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(bytes in proptest::collection::vec(0u8..4, 0..2000), min in 0usize..2000) {
            let packed = pack(&bytes, min);
            prop_assert_eq!(&*unpack(&packed, bytes.len()).unwrap(), &bytes[..]);
            if !bytes.is_empty() {
                prop_assert!(unpack(&packed, bytes.len() - 1).is_err());
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plain) = unpack(&bytes, 1 << 16) {
                prop_assert!(plain.len() <= 1 << 16);
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_memory_is_taken() {
        let mut bomb = vec![LZ4];
        bomb.extend_from_slice(&u32::MAX.to_le_bytes());
        bomb.extend_from_slice(&[0; 16]);
        assert!(matches!(unpack(&bomb, 1 << 20), Err(UnpackError::TooLong { .. })));
    }
}
