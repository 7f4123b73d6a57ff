//! The geometry: one value from which every size of the network follows.

use crate::crypto::sha256;

/// Bytes of the header: alpha 32, gamma 16, beta 300.
pub const HEADER_BYTES: usize = ALPHA_BYTES + GAMMA_BYTES + BETA_BYTES;
/// Bytes of alpha, the group element.
pub const ALPHA_BYTES: usize = 32;
/// Bytes of gamma, the header's MAC.
pub const GAMMA_BYTES: usize = 16;
/// Bytes of beta, the encrypted routing information: five hops of 60.
pub const BETA_BYTES: usize = HOPS_MAX * HOP_BYTES;
/// The longest path.
pub const HOPS_MAX: usize = 5;
/// Routing bytes of one hop: flag 1, version 3, address 32, delay 8, next gamma 16.
pub const HOP_BYTES: usize = 1 + 3 + 32 + 8 + GAMMA_BYTES;
/// Payload bytes that are not message: 16 zeros in front, one 0x01 behind.
pub const PAYLOAD_OVERHEAD_BYTES: usize = 17;
/// Bytes behind the packet inside a link frame: the epoch of the key, then three zeros.
pub const TAIL_BYTES: usize = 4;
/// Bytes that a link adds to its body: header block 16, tag 16 (`docs/link-protocol.md`).
pub const LINK_OVERHEAD_BYTES: usize = 32;

const _: () = assert!(HEADER_BYTES == 348 && HOP_BYTES == 60);

/// Smallest payload: the lioness cipher needs more than its 32-byte left half.
const PAYLOAD_BYTES_MIN: usize = 33;
/// Largest payload whose datagram still fits a UDP datagram over IPv4.
const PAYLOAD_BYTES_MAX: usize = 65_507 - HEADER_BYTES - TAIL_BYTES - LINK_OVERHEAD_BYTES;
/// Version of the wire formats that the hash covers.
const FORMAT_VERSION: u32 = 1;

/// Why a payload size makes no geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload of {payload_bytes} bytes: allowed are {PAYLOAD_BYTES_MIN} to {PAYLOAD_BYTES_MAX}")]
pub struct GeometryError {
    /// The size that was asked for.
    pub payload_bytes: usize,
}

/// All sizes of a network's packets, from one number: the payload's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    payload_bytes: usize,
}

impl Geometry {
    /// The default: a payload of 1024 bytes, a datagram of 1408 (22 cache lines).
    pub const DEFAULT: Geometry = Geometry { payload_bytes: 1024 };

    /// The geometry whose payload has `payload_bytes` bytes.
    ///
    /// # Errors
    /// When the payload is too small for the wide-block cipher or the datagram too large for UDP.
    pub fn new(payload_bytes: usize) -> Result<Self, GeometryError> {
        if (PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) {
            Ok(Geometry { payload_bytes })
        } else {
            Err(GeometryError { payload_bytes })
        }
    }

    /// Bytes of delta, the payload.
    pub const fn payload_bytes(self) -> usize {
        self.payload_bytes
    }

    /// Bytes of a whole packet: header and payload.
    pub const fn packet_bytes(self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    /// Bytes of the longest message that one packet carries.
    pub const fn message_bytes_max(self) -> usize {
        self.payload_bytes.saturating_sub(PAYLOAD_OVERHEAD_BYTES)
    }

    /// Bytes of a packet's link frame: the packet, then the tail with its key's epoch.
    pub const fn frame_bytes(self) -> usize {
        self.packet_bytes() + TAIL_BYTES
    }

    /// Bytes of every datagram of the network (the UDP payload): 1408 by default.
    pub const fn datagram_bytes(self) -> usize {
        self.frame_bytes() + LINK_OVERHEAD_BYTES
    }

    /// The hash that both ends of a link prove to share.
    pub fn hash(self) -> [u8; 32] {
        let payload = (self.payload_bytes as u64).to_be_bytes();
        let datagram = (self.datagram_bytes() as u64).to_be_bytes();
        sha256::digest(&[b"mixline geometry", &FORMAT_VERSION.to_be_bytes(), &payload, &datagram])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_datagram_has_1408_bytes_and_the_tunnel_one_1344() {
        assert_eq!(Geometry::DEFAULT.datagram_bytes(), 1408);
        assert_eq!(Geometry::new(960).unwrap().datagram_bytes(), 1344);
    }

    #[test]
    fn payloads_too_small_or_too_large_are_refused() {
        assert!(Geometry::new(32).is_err() && Geometry::new(65_507).is_err());
        assert!(Geometry::new(33).is_ok());
    }
}
