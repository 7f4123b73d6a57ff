//! Deterministic CBOR (RFC 8949, section 4.2): one value, one encoding.
//!
//! Documents are maps with ascending integer keys, definite lengths and shortest integers, which
//! is what the derived encoders write. A decoder must refuse every other spelling, or a document
//! could be changed without its meaning changing: it encodes again what it understood and
//! compares. That also refuses unknown keys, repeated keys and bytes behind the end.

use minicbor::{Decode, Decoder, Encode};

/// Why bytes are no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than any document of its kind may be.
    #[error("longer than a document of this kind may be")]
    TooLong,
    /// Not CBOR of the expected shape.
    #[error("not of the expected form")]
    Malformed,
    /// The right shape, but not the one encoding that is allowed.
    #[error("not in the one encoding allowed (RFC 8949, section 4.2)")]
    NotDeterministic,
}

/// The encoding of `value`.
pub(super) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "a Vec takes every write")]
    minicbor::to_vec(value).expect("encoding into memory does not fail")
}

/// The value that `bytes`, at most `bytes_max` of them, encode.
///
/// # Errors
/// When the bytes are too many, of another shape, or not the encoding that [`encode`] writes.
pub(super) fn decode<'b, T>(bytes: &'b [u8], bytes_max: usize) -> Result<T, CodecError>
where
    T: Encode<()> + Decode<'b, ()>,
{
    if bytes.len() > bytes_max {
        return Err(CodecError::TooLong);
    }
    let value = minicbor::decode(bytes).map_err(|_| CodecError::Malformed)?;
    if encode(&value) == bytes { Ok(value) } else { Err(CodecError::NotDeterministic) }
}

/// The first fields of every signed document: enough to say what it is before it is believed.
pub(super) struct Head<'b> {
    /// Version of the document's format.
    pub(super) version: u32,
    /// Name of its network.
    pub(super) network: &'b str,
    /// Decoder behind the network's name.
    rest: Decoder<'b>,
}

impl<'b> Head<'b> {
    /// Reads the head of the map in `bytes`, without allocating and whatever the version is.
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, CodecError> {
        Self::parse(Decoder::new(bytes)).map_err(|_| CodecError::Malformed)
    }

    fn parse(mut rest: Decoder<'b>) -> Result<Self, minicbor::decode::Error> {
        rest.map()?;
        expect_key(&mut rest, 0)?;
        let version = rest.u32()?;
        expect_key(&mut rest, 1)?;
        let network = rest.str()?;
        Ok(Head { version, network, rest })
    }

    /// The 32 bytes that follow under key 2.
    pub(super) fn key_2(mut self) -> Result<[u8; 32], CodecError> {
        expect_key(&mut self.rest, 2).map_err(|_| CodecError::Malformed)?;
        let bytes = self.rest.bytes().map_err(|_| CodecError::Malformed)?;
        bytes.try_into().map_err(|_| CodecError::Malformed)
    }
}

fn expect_key(decoder: &mut Decoder<'_>, key: u32) -> Result<(), minicbor::decode::Error> {
    if decoder.u32()? == key {
        Ok(())
    } else {
        Err(minicbor::decode::Error::message("key out of order"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Sample {
        #[n(0)]
        count: u32,
        #[n(1)]
        names: Vec<String>,
    }

    fn decode_sample(bytes: &[u8]) -> Result<Sample, CodecError> {
        decode(bytes, 64)
    }

    #[test]
    fn a_value_is_the_same_after_bytes_and_back() {
        let sample = Sample { count: 24, names: vec!["a".into()] };
        let bytes = encode(&sample);
        assert_eq!(bytes, [0xa2, 0, 0x18, 24, 1, 0x81, 0x61, b'a']);
        assert_eq!(decode_sample(&bytes), Ok(sample));
    }

    #[test]
    fn every_other_spelling_of_the_same_value_is_refused() {
        let spellings: [&[u8]; 6] = [
            &[0xa2, 0, 0x18, 5, 1, 0x80],    // 5 in two bytes
            &[0xa2, 1, 0x80, 0, 5],          // keys in descending order
            &[0xbf, 0, 5, 1, 0x80, 0xff],    // map of indefinite length
            &[0xa2, 0, 5, 1, 0x9f, 0xff],    // array of indefinite length
            &[0xa2, 0, 5, 1, 0x80, 0],       // a byte behind the end
            &[0xa3, 0, 5, 1, 0x80, 2, 0xf6], // an unknown key
        ];
        for bytes in spellings {
            assert_eq!(decode_sample(bytes), Err(CodecError::NotDeterministic), "{bytes:x?}");
        }
        let repeated = [0xa3, 0, 4, 0, 5, 1, 0x80];
        assert_eq!(decode_sample(&repeated), Err(CodecError::NotDeterministic));
    }

    #[test]
    fn a_claim_of_a_huge_length_is_refused_without_taking_the_memory() {
        let claim = [0xa2, 0, 5, 1, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(decode_sample(&claim), Err(CodecError::Malformed));
        assert_eq!(decode_sample(&[0; 65]), Err(CodecError::TooLong));
    }
}
