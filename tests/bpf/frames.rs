//! Frames as they come from a wire, right ones and wrong ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use mixline::crypto::random::Rng;
use mixline::wire::{Ends, Ethernet, Headers};

pub(crate) const NODE_V4: &str = "198.18.0.1";
pub(crate) const NODE_V6: &str = "2001:2::1";
pub(crate) const PORT: u16 = 7700;
pub(crate) const PAYLOAD_BYTES: usize = 1400;

const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ETHERNET_BYTES: usize = 14;

pub(crate) const V4_SOURCE: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 2), 4000));
pub(crate) const V6_SOURCE: SocketAddr =
    SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2), 4000, 0, 0));

/// A datagram of the right length to the node, unless it is changed.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    source: SocketAddr,
    destination: SocketAddr,
    vlan_tag: Option<u16>,
    payload_bytes: usize,
}

impl Frame {
    pub(crate) fn from(source: SocketAddr) -> Self {
        let node = if source.is_ipv4() { NODE_V4 } else { NODE_V6 };
        let destination = SocketAddr::new(node.parse().unwrap(), PORT);
        Frame { source, destination, vlan_tag: None, payload_bytes: PAYLOAD_BYTES }
    }

    pub(crate) fn v4() -> Self {
        Frame::from(V4_SOURCE)
    }

    pub(crate) fn v6() -> Self {
        Frame::from(V6_SOURCE)
    }

    pub(crate) fn to(self, ip: IpAddr) -> Self {
        Frame { destination: SocketAddr::new(ip, PORT), ..self }
    }

    pub(crate) fn to_port(self, port: u16) -> Self {
        Frame { destination: SocketAddr::new(self.destination.ip(), port), ..self }
    }

    pub(crate) fn tagged(self) -> Self {
        Frame { vlan_tag: Some(42), ..self }
    }

    pub(crate) fn with_payload(self, payload_bytes: usize) -> Self {
        Frame { payload_bytes, ..self }
    }

    fn headers(&self) -> Headers {
        let ends = match (self.source, self.destination) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
                Ends::V4 { source, destination }
            }
            (SocketAddr::V6(source), SocketAddr::V6(destination)) => {
                Ends::V6 { source, destination }
            }
            _ => panic!("two IP versions"),
        };
        let vlan_tag = self.vlan_tag;
        Headers { ethernet: Ethernet { destination: NODE_MAC, source: SOURCE_MAC, vlan_tag }, ends }
    }

    pub(crate) fn headers_bytes(&self) -> usize {
        self.headers().bytes()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let headers = self.headers();
        let mut frame = vec![0x5a; headers.bytes() + self.payload_bytes];
        headers.write(&mut frame);
        frame
    }

    /// The frame as one part of a larger packet.
    pub(crate) fn part(&self, offset_bytes: u16, more: bool) -> Vec<u8> {
        assert!(offset_bytes.is_multiple_of(8) && self.vlan_tag.is_none());
        let mut frame = self.bytes();
        if self.source.is_ipv4() {
            let word = (offset_bytes / 8) | if more { 0x2000 } else { 0 };
            frame[ETHERNET_BYTES + 6..][..2].copy_from_slice(&word.to_be_bytes());
            return frame;
        }
        let [high, low] = (offset_bytes | u16::from(more)).to_be_bytes();
        extend(&mut frame, 44, [0, 0, high, low, 0, 0, 0, 9]);
        frame
    }

    /// The frame with so many words of IPv4 options.
    pub(crate) fn with_options(&self, words: u8) -> Vec<u8> {
        assert!(self.source.is_ipv4() && self.vlan_tag.is_none());
        let mut frame = self.bytes();
        frame[ETHERNET_BYTES] += words;
        grow(&mut frame, ETHERNET_BYTES + 2, u16::from(words) * 4);
        // Each is "no operation" (RFC 791).
        let behind = ETHERNET_BYTES + 20;
        frame.splice(behind..behind, vec![1; usize::from(words) * 4]);
        frame
    }

    /// The frame with IPv6 extension headers of these types, the first of them outermost.
    pub(crate) fn with_extensions(&self, kinds: &[u8]) -> Vec<u8> {
        let mut frame = self.bytes();
        for kind in kinds.iter().rev() {
            extend(&mut frame, *kind, [0, 0, 1, 4, 0, 0, 0, 0]);
        }
        frame
    }
}

/// Puts an extension header directly behind that of IPv6; its first byte becomes the next type.
fn extend(frame: &mut Vec<u8>, kind: u8, mut header: [u8; 8]) {
    let next = ETHERNET_BYTES + 6;
    header[0] = std::mem::replace(&mut frame[next], kind);
    grow(frame, ETHERNET_BYTES + 4, 8);
    let behind = ETHERNET_BYTES + 40;
    frame.splice(behind..behind, header);
}

/// Adds to the length that stands at `at`.
fn grow(frame: &mut [u8], at: usize, bytes: u16) {
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]) + bytes;
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// What the header of UDP says of so much payload.
pub(crate) fn udp_length(payload_bytes: usize) -> [u8; 2] {
    u16::try_from(payload_bytes + 8).unwrap().to_be_bytes()
}

/// What a machine lives on, and what is neither ours nor anybody's.
pub(crate) fn foreign() -> Vec<(&'static str, Vec<u8>)> {
    let with_type = |kind: [u8; 2]| {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&[0xff; 6]);
        frame[12..14].copy_from_slice(&kind);
        frame
    };
    // Where UDP has its ports, these say the node's as well.
    let v4 = |protocol| {
        let mut frame = Frame::v4().bytes();
        frame[ETHERNET_BYTES + 9] = protocol;
        frame
    };
    let v6 = |next| {
        let mut frame = Frame::v6().bytes();
        frame[ETHERNET_BYTES + 6] = next;
        frame
    };
    vec![
        ("ARP", with_type([0x08, 0x06])),
        ("LLDP", with_type([0x88, 0xcc])),
        ("a length in place of a type", with_type([0, 38])),
        ("nothing behind ethernet", with_type([0x08, 0x00])[..14].to_vec()),
        ("nothing behind a tag", with_type([0x81, 0x00])[..18].to_vec()),
        ("ICMP", v4(1)),
        ("TCP over IPv4", v4(6)),
        ("UDP-Lite", v4(136)),
        ("neighbour discovery", v6(58)),
        ("TCP over IPv6", v6(6)),
        ("the last header of IPv6", v6(59)),
        ("IPsec over IPv6", v6(50)),
        ("multicast listener discovery", {
            let mut frame = Frame::v6().with_extensions(&[0]);
            frame[ETHERNET_BYTES + 40] = 58;
            frame
        }),
    ]
}

/// Changes a right frame a little: bytes of the headers, or its length.
pub(crate) fn mutate(frame: &mut Vec<u8>, rng: &mut Rng) {
    const HEADERS: u32 = 66;
    for _ in 0..rng.below(3) {
        let at = rng.below(HEADERS) as usize;
        if rng.below(2) == 0 {
            frame[at] ^= 1 << rng.below(8);
        } else {
            rng.fill(&mut frame[at..=at]);
        }
    }
    let length = u32::try_from(frame.len()).unwrap();
    match rng.below(12) {
        // Within the headers, and anywhere; shorter than ethernet the kernel takes none.
        0 => frame.truncate(14 + rng.below(HEADERS) as usize),
        1 => frame.truncate(14 + rng.below(length - 14) as usize),
        2 => frame.resize(frame.len() + rng.below(64) as usize, 0),
        3 => drop(frame.splice(12..12, [0x81, 0, 0, 1])),
        _ => {}
    }
}

/// Whether no other machine can have the source's address.
pub(crate) fn is_martian(ends: &Ends) -> bool {
    match (ends.source().ip(), ends.destination().ip()) {
        (source, destination) if source == destination => true,
        (IpAddr::V4(source), _) => matches!(source.octets()[0], 0 | 127 | 224..),
        (IpAddr::V6(source), _) => source.is_multicast() || source.segments()[..4] == [0; 4],
    }
}
