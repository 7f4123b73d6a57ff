//! The ChaCha20 stream (RFC 8439) from block 0 under a zero nonce: every key is used once.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
mod serial;

use super::tier::{Name, Tier};

/// For each job (key, text): XORs the key's stream into the text.
pub fn xor<'a>(tier: Tier, jobs: impl Iterator<Item = (&'a [u8; 32], &'a mut [u8])>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = super::lanes::Avx512::of(tier) {
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
    use data_encoding::HEXLOWER;

    /// RFC 8439, A.1: vectors 1 and 2 are the first two blocks of the zero key, vector 4 is the
    /// third block of a key that begins 00 ff.
    #[test]
    fn streams_are_those_of_rfc_8439() {
        let mut keys = [[0; 32]; 2];
        keys[1][1] = 0xff;
        let mut texts = [[0; 192]; 2];
        xor(Tier::SERIAL, keys.iter().zip(&mut texts).map(|(key, text)| (key, &mut text[..])));
        let zero_key = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7\
                        da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586\
                        9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
                        29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f";
        let third_block = "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca\
                           13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096";
        assert_eq!(HEXLOWER.encode(&texts[0][..128]), zero_key);
        assert_eq!(HEXLOWER.encode(&texts[1][128..]), third_block);
    }

    #[test]
    fn a_text_of_any_length_is_changed_by_the_same_stream() {
        let mut whole = [0; 200];
        xor(Tier::SERIAL, std::iter::once((&[7; 32], &mut whole[..])));
        for bytes in 0..200 {
            let mut text = vec![0; bytes];
            xor(Tier::SERIAL, std::iter::once((&[7; 32], &mut text[..])));
            assert_eq!(text, whole[..bytes]);
        }
    }
}
