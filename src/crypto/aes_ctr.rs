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
    use crate::crypto::for_every_lane;
    use data_encoding::HEXLOWER;

    /// The stream of `key` in every lane begins with `expected`; the other lanes have another key.
    #[track_caller]
    fn assert_stream(key: &str, expected: &str) {
        let mut bytes = [0; 16];
        HEXLOWER.decode_mut(key.as_bytes(), &mut bytes).unwrap();
        for_every_lane(|tier, batch, lane| {
            let mut jobs = vec![([0x5c; 16], [0; 384]); batch];
            jobs[lane].0 = bytes;
            xor(tier, jobs.iter_mut().map(|(key, text)| (&*key, &mut text[..])));
            let stream = HEXLOWER.encode(&jobs[lane].1[..expected.len() / 2]);
            assert_eq!(stream, expected, "{tier:?} {batch} {lane}");
        });
    }

    /// The zero key, counters 0, 1 and 2: the hash key, the pad of the tag and the ciphertext of
    /// test cases 1 and 2 of the GCM specification (McGrew, Viega 2005).
    #[test]
    fn the_stream_of_the_zero_key_is_that_of_the_gcm_specification() {
        assert_stream(
            "00000000000000000000000000000000",
            "66e94bd4ef8a2c3b884cfa59ca342b2e58e2fccefa7e3061367f1d57a4e7455a\
             0388dace60b6a392f328c2b971b2fe78",
        );
    }

    /// The vectors of FIPS 197 and SP 800-38A begin with other counters. These are NIST's known
    /// answers for a block of zeros (AESAVS, KeySbox128 counts 0 to 2, VarKey128 count 0).
    #[test]
    fn the_first_blocks_are_the_known_answers_of_nist() {
        assert_stream("10a58869d74be5a374cf867cfb473859", "6d251e6944b051e04eaa6fb4dbf78465");
        assert_stream("caea65cdbb75e9169ecd22ebe6e54675", "6e29201190152df4ee058139def610bb");
        assert_stream("a2e2fa9baf7d20822ca9f0542f764a41", "c3b44b95d9d2f25670eee9a0de099fa3");
        assert_stream("80000000000000000000000000000000", "0edd33d3c621e546455bd8ba1418bec8");
    }
}
