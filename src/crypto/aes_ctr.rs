//! The AES-128 stream in counter mode (NIST SP 800-38A) from a zero counter block: every key is
//! used once.

mod serial;
#[cfg(target_arch = "x86_64")]
mod vaes;

use super::tier::Tier;

/// For each job (key, text): XORs the key's stream into the text.
pub fn xor<'a>(tier: Tier, jobs: impl Iterator<Item = (&'a [u8; 16], &'a mut [u8])>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = vaes::Vaes::of(tier) {
        return jobs.for_each(|(key, text)| vaes::xor(proof, key, text));
    }
    jobs.for_each(|(key, text)| serial::xor(key, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// The zero key, counters 0, 1 and 2: the hash key, the pad of the tag and the ciphertext of
    /// test cases 1 and 2 of the GCM specification (McGrew, Viega 2005).
    #[test]
    fn the_stream_of_the_zero_key_is_that_of_the_gcm_specification() {
        let mut text = [0; 48];
        xor(Tier::SERIAL, std::iter::once((&[0; 16], &mut text[..])));
        let stream = "66e94bd4ef8a2c3b884cfa59ca342b2e58e2fccefa7e3061367f1d57a4e7455a\
                      0388dace60b6a392f328c2b971b2fe78";
        assert_eq!(HEXLOWER.encode(&text), stream);
    }

    /// The second key's first block is a known answer of NIST's (AESAVS, KeySbox128, count 0).
    #[test]
    fn a_batch_takes_each_text_under_its_own_key() {
        let mut key = [0; 16];
        HEXLOWER.decode_mut(b"10a58869d74be5a374cf867cfb473859", &mut key).unwrap();
        let mut texts = [[0; 16]; 2];
        let keys = [[0; 16], key];
        xor(Tier::SERIAL, keys.iter().zip(&mut texts).map(|(key, text)| (key, &mut text[..])));
        assert_eq!(HEXLOWER.encode(&texts[0]), "66e94bd4ef8a2c3b884cfa59ca342b2e");
        assert_eq!(HEXLOWER.encode(&texts[1]), "6d251e6944b051e04eaa6fb4dbf78465");
    }
}
