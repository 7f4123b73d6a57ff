//! Keyed BLAKE2b (RFC 7693) with a key of 64 bytes and a digest of 32.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod serial;

use super::tier::Tier;

/// Key, message, digest.
type Job<'a> = (&'a [u8; 64], &'a [u8], &'a mut [u8; 32]);

/// For each job (key, message, digest): writes the message's keyed digest.
pub fn keyed<'a>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a [u8; 64], &'a [u8], &'a mut [u8; 32])>,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = super::vectors::Avx512::of(tier) {
        return avx512::keyed(proof, jobs);
    }
    jobs.for_each(|(key, message, digest)| serial::keyed(key, message, digest));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::for_every_lane;
    use data_encoding::HEXLOWER;

    /// No published vector has these lengths of key and digest. These come from Python's
    /// `hashlib.blake2b`, for the key 0, 1, 2, ... and messages whose byte i is 7i modulo 256.
    #[test]
    fn digests_are_those_of_an_independent_implementation() {
        let vectors = [
            (0, "2fa9fbd9be36437de204e139e97d402bce68c828f43391608c891b5faed8a98a"),
            (1, "34758b647135628297fb09c7930cd04e9528e5669112f5b1318493e14de77e55"),
            (128, "734f1c118d0053ac1770316ff99ec289285953474693b88d4b9f343f74ff9fc7"),
            (129, "adef4f1c2d5de394776232cd4ad434b0ff276f96be81eedc57fd866903ed8ea8"),
            (992, "9c457a276b782ea19bcb977674591883a8dd1ef9f4e9cc2ccbc6ebef23704d65"),
        ];
        let byte = |index: u32| u8::try_from(7 * index % 256).unwrap();
        for (bytes, expected) in vectors {
            for_every_lane(|tier, batch, lane| {
                let bytes = usize::try_from(bytes).unwrap();
                let mut jobs = vec![([0x5c; 64], vec![0x36; bytes], [0; 32]); batch];
                jobs[lane].0 = std::array::from_fn(|index| u8::try_from(index).unwrap());
                jobs[lane].1 = (0..).map(byte).take(bytes).collect();
                let all = jobs.iter_mut();
                keyed(tier, all.map(|(key, message, digest)| (&*key, &message[..], digest)));
                let digest = HEXLOWER.encode(&jobs[lane].2);
                assert_eq!(digest, expected, "{tier:?} {batch} {lane} {bytes}");
            });
        }
    }
}
