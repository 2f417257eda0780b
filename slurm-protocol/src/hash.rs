//! The hash of a body that travels inside the credential, so that nobody can put another body behind it.

use k12::{CustomRefKt128, ExtendableOutput, Update, XofReader};

/// The kind that all releases use unless configured otherwise: KangarooTwelve.
const K12: u8 = 2;
const HASH_LEN: usize = 32;

/// Why a body is not the one that its credential was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HashError {
    #[error("the credential holds no hash of the message")]
    Missing,
    #[error("the credential holds a hash of kind {0}; only K12 (2) is accepted")]
    Kind(u8),
    #[error("the message is not the one that its credential was made for")]
    Differs,
}

/// KangarooTwelve of the body, customized by the message type.
pub fn k12(message_type: u16, body: &[u8]) -> [u8; HASH_LEN] {
    let custom = message_type.to_be_bytes();
    let mut hasher = CustomRefKt128::new_customized(&custom);
    hasher.update(body);
    let mut hash = [0; HASH_LEN];
    hasher.finalize_xof().read(&mut hash);
    hash
}

/// What a credential for this message holds.
pub fn payload(message_type: u16, body: &[u8]) -> [u8; 1 + HASH_LEN] {
    let mut payload = [K12; 1 + HASH_LEN];
    payload[1..].copy_from_slice(&k12(message_type, body));
    payload
}

/// Compares what a credential holds with the message it came with. Slurm lets credentials pass that hold nothing, or the
/// message type only; we do not.
pub fn check(payload: &[u8], message_type: u16, body: &[u8]) -> Result<(), HashError> {
    match payload {
        [] => Err(HashError::Missing),
        [K12, hash @ ..] if *hash == k12(message_type, body) => Ok(()),
        [K12, ..] => Err(HashError::Differs),
        [kind, ..] => Err(HashError::Kind(*kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_fits_its_message_only() {
        let good = payload(4003, b"body");
        assert_eq!(check(&good, 4003, b"body"), Ok(()));
        assert_eq!(check(&good, 4004, b"body"), Err(HashError::Differs));
        assert_eq!(check(&good, 4003, b"bodz"), Err(HashError::Differs));
        assert_eq!(check(&good[..20], 4003, b"body"), Err(HashError::Differs));
        assert_eq!(check(&[], 4003, b"body"), Err(HashError::Missing));
        assert_eq!(check(&[1, 15, 163], 4003, b"body"), Err(HashError::Kind(1)));
    }

    #[test]
    fn the_hash_is_that_of_rfc_9861() {
        // Its first test vectors: nothing, customized by nothing or by one byte's pattern.
        let mut hash = [0; 32];
        CustomRefKt128::new_customized(b"").finalize_xof().read(&mut hash);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "1ac2d450fc3b4205d19da7bfca1b37513c0803577ac7167f06fe2ce1f0ef39e5");
    }
}
