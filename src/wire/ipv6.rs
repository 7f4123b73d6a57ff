//! IPv6 (RFC 8200): the header of 40 bytes.

use super::checksum::Sum;
use super::{Foreign, HOP_LIMIT, PROTOCOL_UDP, length_bytes};
use std::net::Ipv6Addr;

pub(super) const BYTES: usize = 40;

const VERSION: u8 = 0x60;
const FRAGMENT: u8 = 44;
/// Hop-by-hop, routing, security payload, authentication, destination, mobility, HIP, shim6
/// (IANA, IPv6 extension header types).
const EXTENSIONS: [u8; 8] = [0, 43, 50, 51, 60, 135, 139, 140];

/// Source, destination, and what the packet carries without the padding of ethernet.
pub(super) fn parse(packet: &[u8]) -> Result<(Ipv6Addr, Ipv6Addr, &[u8]), Foreign> {
    let (header, rest) = packet.split_first_chunk::<BYTES>().ok_or(Foreign::Short)?;
    if header[0] & 0xf0 != VERSION {
        return Err(Foreign::OtherVersion);
    }
    let content_bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let content = rest.get(..content_bytes).ok_or(Foreign::Length)?;
    match header[6] {
        PROTOCOL_UDP => {}
        FRAGMENT => return Err(Foreign::Fragment),
        next if EXTENSIONS.contains(&next) => return Err(Foreign::ExtensionHeader),
        _ => return Err(Foreign::OtherProtocol),
    }
    let address = |at: usize| {
        let octets: [u8; 16] = std::array::from_fn(|index| header[at + index]);
        Ipv6Addr::from(octets)
    };
    Ok((address(8), address(24), content))
}

/// Fills exactly [`BYTES`] in front of a UDP segment; returns what of it enters the checksum of
/// UDP, the pseudo header of RFC 8200, section 8.1.
pub(super) fn write(
    header: &mut [u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    segment_bytes: usize,
) -> Sum {
    header[..4].copy_from_slice(&[VERSION, 0, 0, 0]);
    header[4..6].copy_from_slice(&length_bytes(segment_bytes));
    header[6] = PROTOCOL_UDP;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    // The length fills 32 bits there, of which the upper half is 0.
    let pseudo = Sum::default().with(&source.octets()).with(&destination.octets());
    pseudo.with(&length_bytes(segment_bytes)).with(&[0, PROTOCOL_UDP])
}
