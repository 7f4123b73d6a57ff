//! The ChaCha20 stream (RFC 8439) from block 0 under a zero nonce: every key is used once.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
mod serial;

use super::tier::{Name, Tier};

/// For each job (key, text): XORs the key's stream into the text.
pub fn xor<'a>(tier: Tier, jobs: impl Iterator<Item = (&'a [u8; 32], &'a mut [u8])>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = super::vectors::Avx512::of(tier) {
        return avx512::xor_each(proof, jobs);
    }
    for (key, text) in jobs {
        match tier.name() {
            Name::Serial => serial::xor(key, text),
            Name::Scalar | Name::Avx512 => scalar::xor(key, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::for_every_lane;
    use data_encoding::HEXLOWER;

    /// RFC 8439, A.1: vectors 1 and 2 are the first two blocks of the zero key, vector 3 the second
    /// block of the key 1, vector 4 the third block of a key that begins 00 ff.
    #[test]
    fn streams_are_those_of_rfc_8439() {
        let key = |place: usize, byte: u8| {
            let mut key = [0; 32];
            key[place] = byte;
            key
        };
        let vectors = [
            (
                key(0, 0),
                0,
                "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
                 da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
            ),
            (
                key(0, 0),
                1,
                "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
                 29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
            ),
            (
                key(31, 1),
                1,
                "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a\
                 8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
            ),
            (
                key(1, 0xff),
                2,
                "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca\
                 13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
            ),
        ];
        for (key, block, expected) in vectors {
            for_every_lane(|tier, batch, lane| {
                let mut jobs = vec![([0x5c; 32], [0; 192]); batch];
                jobs[lane].0 = key;
                xor(tier, jobs.iter_mut().map(|(key, text)| (&*key, &mut text[..])));
                let stream = HEXLOWER.encode(&jobs[lane].1[64 * block..][..64]);
                assert_eq!(stream, expected, "{tier:?} {batch} {lane}");
            });
        }
    }

    #[test]
    fn a_text_of_any_length_is_changed_by_the_same_stream() {
        for tier in Tier::all() {
            let mut whole = [0; 200];
            xor(tier, std::iter::once((&[7; 32], &mut whole[..])));
            for bytes in 0..200 {
                let mut text = vec![0; bytes];
                xor(tier, std::iter::once((&[7; 32], &mut text[..])));
                assert_eq!(text, whole[..bytes]);
            }
        }
    }
}
