//! IPv4 (RFC 791): the header of 20 bytes.

use super::checksum::Sum;
use super::{Foreign, HOP_LIMIT, PROTOCOL_UDP, length_bytes};
use std::net::Ipv4Addr;

pub(super) const BYTES: usize = 20;

/// Version 4, and 5 words of header: no options.
const VERSION_AND_LENGTH: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the offset.
const FRAGMENT: u16 = 0x3fff;

/// Source, destination, and what the packet carries without the padding of ethernet.
pub(super) fn parse(packet: &[u8]) -> Result<(Ipv4Addr, Ipv4Addr, &[u8]), Foreign> {
    let (header, _) = packet.split_first_chunk::<BYTES>().ok_or(Foreign::Short)?;
    match header[0] {
        VERSION_AND_LENGTH => {}
        0x46..=0x4f => return Err(Foreign::Options),
        0x40..=0x44 => return Err(Foreign::Length),
        _ => return Err(Foreign::OtherVersion),
    }
    let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let content = packet.get(BYTES..total_bytes).ok_or(Foreign::Length)?;
    if u16::from_be_bytes([header[6], header[7]]) & FRAGMENT != 0 {
        return Err(Foreign::Fragment);
    }
    if header[9] != PROTOCOL_UDP {
        return Err(Foreign::OtherProtocol);
    }
    let address = |at: usize| Ipv4Addr::from([0, 1, 2, 3].map(|index| header[at + index]));
    Ok((address(12), address(16), content))
}

/// Fills exactly [`BYTES`] in front of a UDP segment; returns what of it enters the checksum of
/// UDP, the pseudo header of RFC 768.
pub(super) fn write(
    header: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    segment_bytes: usize,
) -> Sum {
    // What is not written below is 0: service class, identification (meaningless without
    // fragments, RFC 6864), checksum.
    header.fill(0);
    header[0] = VERSION_AND_LENGTH;
    header[2..4].copy_from_slice(&length_bytes(BYTES + segment_bytes));
    header[6..8].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
    header[8] = HOP_LIMIT;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let checksum = Sum::default().with(header).checksum();
    header[10..12].copy_from_slice(&checksum);
    let pseudo = Sum::default().with(&source.octets()).with(&destination.octets());
    pseudo.with(&[0, PROTOCOL_UDP]).with(&length_bytes(segment_bytes))
}
