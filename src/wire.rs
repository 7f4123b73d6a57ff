//! Byte layouts of ethernet, IP and UDP, for a port that sees whole frames.
//!
//! Only the plain form is read: ethernet with at most one VLAN tag, IPv4 without options or
//! fragments or IPv6 without extension headers, UDP. Every other frame has a name and is left to
//! the kernel. Checksums are written always and verified never: what is inside authenticates
//! itself. No state, no I/O, and no frame makes it panic.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

mod checksum;
mod ethernet;
mod ipv4;
mod ipv6;
mod udp;

/// An ethernet address.
pub type Mac = [u8; 6];

/// Everything in front of the payload that differs from frame to frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The outermost header.
    pub ethernet: Ethernet,
    /// What IP and UDP say.
    pub ends: Ends,
}

/// The ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The next machine on the link.
    pub destination: Mac,
    /// The one before.
    pub source: Mac,
    /// The tag of IEEE 802.1Q, if there is one: priority, drop eligibility, 12 bits of VLAN.
    pub vlan_tag: Option<u16>,
}

/// The two ends of a datagram, of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Over IPv4.
    V4 {
        /// Who sent it.
        source: SocketAddrV4,
        /// Whom it is for.
        destination: SocketAddrV4,
    },
    /// Over IPv6; the scope is that of the interface, so it is 0 here.
    V6 {
        /// Who sent it.
        source: SocketAddrV6,
        /// Whom it is for.
        destination: SocketAddrV6,
    },
}

/// Why a frame is not one of ours to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It ends inside a header.
    Short,
    /// It carries neither IPv4 nor IPv6.
    OtherEthernet,
    /// It has more than one VLAN tag.
    SecondTag,
    /// The version inside the IP header is not the one that ethernet promised.
    OtherVersion,
    /// IPv4 with options.
    Options,
    /// IPv6 with an extension header.
    ExtensionHeader,
    /// A part of a packet.
    Fragment,
    /// IP, but not UDP.
    OtherProtocol,
    /// The lengths of the frame, of IP and of UDP contradict each other.
    Length,
}

/// The headers of `frame`, and its UDP payload where it lies.
///
/// # Errors
/// [`Foreign`] says what else it is.
pub fn parse(frame: &[u8]) -> Result<(Headers, &[u8]), Foreign> {
    let (ethernet, kind, packet) = ethernet::parse(frame)?;
    let (ends, payload) = match kind {
        ethernet::Kind::V4 => {
            let (source, destination, segment) = ipv4::parse(packet)?;
            let (ports, payload) = udp::parse(segment)?;
            let source = SocketAddrV4::new(source, ports.source);
            let destination = SocketAddrV4::new(destination, ports.destination);
            (Ends::V4 { source, destination }, payload)
        }
        ethernet::Kind::V6 => {
            let (source, destination, segment) = ipv6::parse(packet)?;
            let (ports, payload) = udp::parse(segment)?;
            let source = SocketAddrV6::new(source, ports.source, 0, 0);
            let destination = SocketAddrV6::new(destination, ports.destination, 0, 0);
            (Ends::V6 { source, destination }, payload)
        }
    };
    Ok((Headers { ethernet, ends }, payload))
}

impl Headers {
    /// The most that headers take.
    pub const BYTES_MAX: usize = ethernet::BYTES + ethernet::TAG_BYTES + ipv6::BYTES + udp::BYTES;

    /// How much of a frame they take: where its payload begins.
    pub fn bytes(&self) -> usize {
        let ip_bytes = match self.ends {
            Ends::V4 { .. } => ipv4::BYTES,
            Ends::V6 { .. } => ipv6::BYTES,
        };
        self.ethernet.bytes() + ip_bytes + udp::BYTES
    }

    /// Writes them, with lengths and checksums, in front of the payload that stands in `frame`
    /// from [`Headers::bytes`] to its end.
    ///
    /// # Panics
    /// If `frame` is shorter than the headers or longer than IP can say.
    pub fn write(&self, frame: &mut [u8]) {
        let (ethernet, packet) = frame.split_at_mut(self.ethernet.bytes());
        match self.ends {
            Ends::V4 { source, destination } => {
                self.ethernet.write(ethernet::Kind::V4, ethernet);
                let (header, segment) = packet.split_at_mut(ipv4::BYTES);
                let pseudo = ipv4::write(header, *source.ip(), *destination.ip(), segment.len());
                udp::write(segment, source.port(), destination.port(), pseudo);
            }
            Ends::V6 { source, destination } => {
                self.ethernet.write(ethernet::Kind::V6, ethernet);
                let (header, segment) = packet.split_at_mut(ipv6::BYTES);
                let pseudo = ipv6::write(header, *source.ip(), *destination.ip(), segment.len());
                udp::write(segment, source.port(), destination.port(), pseudo);
            }
        }
    }
}

impl Ends {
    /// Who sent it.
    pub fn source(&self) -> SocketAddr {
        match *self {
            Ends::V4 { source, .. } => source.into(),
            Ends::V6 { source, .. } => source.into(),
        }
    }

    /// Whom it is for.
    pub fn destination(&self) -> SocketAddr {
        match *self {
            Ends::V4 { destination, .. } => destination.into(),
            Ends::V6 { destination, .. } => destination.into(),
        }
    }
}

/// The protocol number of UDP (RFC 768), in IPv4 and in IPv6.
const PROTOCOL_UDP: u8 = 17;

/// What most systems send: a path length that says nothing about us.
const HOP_LIMIT: u8 = 64;

/// A length as the headers write it; a frame past 65535 bytes is a bug of the caller.
fn length_bytes(bytes: usize) -> [u8; 2] {
    assert!(bytes <= usize::from(u16::MAX), "{bytes} bytes do not fit an IP packet");
    #[expect(clippy::cast_possible_truncation, reason = "the line above checked it")]
    (bytes as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    /// Sent by Linux 6.18 on a veth pair with checksum offload off; payload `mixline!!`.
    const V4: &str = "02000000000b 02000000000a 0800 \
        45000025 00004000 4011142c 0a4d0901 0a4d0902 12345678 00119b1d 6d69786c696e652121";
    const V6: &str = "02000000000b 02000000000a 86dd 60000000 00111140 \
        fd770000000000000000000000000001 fd770000000000000000000000000002 \
        12345678 0011c6c7 6d69786c696e652121";
    const IP: usize = 14;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: String = hex.split_whitespace().collect();
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// The frame with `change` made from byte `at` on.
    fn changed(hex: &str, at: usize, change: &[u8]) -> Vec<u8> {
        let mut frame = bytes(hex);
        frame[at..at + change.len()].copy_from_slice(change);
        frame
    }

    fn headers(v6: bool, vlan_tag: Option<u16>) -> Headers {
        let ends = if v6 {
            let source = "[fd77::1]:4660".parse().unwrap();
            Ends::V6 { source, destination: "[fd77::2]:22136".parse().unwrap() }
        } else {
            let source = "10.77.9.1:4660".parse().unwrap();
            Ends::V4 { source, destination: "10.77.9.2:22136".parse().unwrap() }
        };
        let (destination, source) = ([2, 0, 0, 0, 0, 0x0b], [2, 0, 0, 0, 0, 0x0a]);
        Headers { ethernet: Ethernet { destination, source, vlan_tag }, ends }
    }

    fn written(headers: Headers, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0xa5; headers.bytes()];
        frame.extend_from_slice(payload);
        headers.write(&mut frame);
        frame
    }

    #[test]
    fn frames_of_linux_are_read() {
        assert_eq!(parse(&bytes(V4)), Ok((headers(false, None), &b"mixline!!"[..])));
        assert_eq!(parse(&bytes(V6)), Ok((headers(true, None), &b"mixline!!"[..])));
    }

    #[test]
    fn frames_are_written_as_linux_writes_them() {
        assert_eq!(written(headers(false, None), b"mixline!!"), bytes(V4));
        assert_eq!(written(headers(true, None), b"mixline!!"), bytes(V6));
    }

    #[test]
    fn a_tag_stands_between_the_addresses_and_the_type() {
        for (v6, plain) in [(false, V4), (true, V6)] {
            let mut tagged = bytes(plain);
            tagged.splice(12..12, [0x81, 0x00, 0x60, 0x2a]);
            let headers = headers(v6, Some(0x602a));
            assert_eq!(parse(&tagged), Ok((headers, &b"mixline!!"[..])));
            assert_eq!(written(headers, b"mixline!!"), tagged);
        }
    }

    #[test]
    fn headers_take_what_they_say() {
        let sizes = [(false, None), (false, Some(1)), (true, None), (true, Some(1))]
            .map(|(v6, vlan_tag)| headers(v6, vlan_tag).bytes());
        assert_eq!(sizes, [42, 46, 62, Headers::BYTES_MAX]);
    }

    #[test]
    fn payloads_of_every_length_survive_writing_and_reading() {
        let mut rng = Rng::from_seed([3; 32]);
        for length in (0..80).chain([1408, 9000, 65_000]) {
            let mut payload = vec![0; length];
            rng.fill(&mut payload);
            for v6 in [false, true] {
                let frame = written(headers(v6, None), &payload);
                assert_eq!(parse(&frame), Ok((headers(v6, None), &payload[..])));
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_is_written_as_all_ones() {
        // The payload is the checksum of the frame with payload 0: with it the sum is all ones.
        let free = written(headers(false, None), &[0, 0]);
        let full = written(headers(false, None), &free[IP + 26..][..2]);
        assert_eq!(full[IP + 26..][..2], [0xff, 0xff]);
    }

    #[test]
    fn padding_of_ethernet_is_not_payload() {
        for (v6, hex) in [(false, V4), (true, V6)] {
            let mut padded = bytes(hex);
            padded.extend([0; 13]);
            assert_eq!(parse(&padded), Ok((headers(v6, None), &b"mixline!!"[..])));
        }
    }

    #[test]
    fn every_other_frame_has_a_name() {
        let two_tags = changed(V4, 12, &[0x81, 0, 0, 1, 0x81, 0]);
        let cases = [
            (changed(V4, 12, &[0x08, 0x06]), Foreign::OtherEthernet),
            (changed(V4, 12, &[0x88, 0xa8]), Foreign::OtherEthernet),
            (two_tags, Foreign::SecondTag),
            (changed(V4, 12, &[0x86, 0xdd]), Foreign::Short),
            (changed(V6, 12, &[0x08, 0x00]), Foreign::OtherVersion),
            (changed(V6, IP, &[0x45]), Foreign::OtherVersion),
            (changed(V4, IP, &[0x46]), Foreign::Options),
            (changed(V4, IP, &[0x4f]), Foreign::Options),
            (changed(V4, IP, &[0x44]), Foreign::Length),
            (changed(V4, IP + 2, &[0, 19]), Foreign::Length),
            (changed(V4, IP + 2, &[0, 0x26]), Foreign::Length),
            (changed(V4, IP + 2, &[0, 0x24]), Foreign::Length),
            (changed(V4, IP + 2, &[0, 27]), Foreign::Short),
            (changed(V4, IP + 6, &[0x20, 0]), Foreign::Fragment),
            (changed(V4, IP + 6, &[0, 1]), Foreign::Fragment),
            (changed(V4, IP + 9, &[6]), Foreign::OtherProtocol),
            (changed(V4, IP + 24, &[0, 7]), Foreign::Length),
            (changed(V4, IP + 24, &[0, 0x12]), Foreign::Length),
            (changed(V6, IP + 4, &[0, 0x12]), Foreign::Length),
            (changed(V6, IP + 4, &[0, 0x10]), Foreign::Length),
            (changed(V6, IP + 4, &[0, 0]), Foreign::Short),
            (changed(V6, IP + 6, &[0]), Foreign::ExtensionHeader),
            (changed(V6, IP + 6, &[60]), Foreign::ExtensionHeader),
            (changed(V6, IP + 6, &[44]), Foreign::Fragment),
            (changed(V6, IP + 6, &[58]), Foreign::OtherProtocol),
        ];
        for (number, (frame, name)) in cases.iter().enumerate() {
            assert_eq!(parse(frame), Err(*name), "case {number}");
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        for hex in [V4, V6] {
            let frame = bytes(hex);
            for cut in 0..frame.len() {
                assert!(matches!(parse(&frame[..cut]), Err(Foreign::Short | Foreign::Length)));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut rng = Rng::from_seed([4; 32]);
        for round in 0..200_000u32 {
            let mut frame = bytes(if round % 2 == 0 { V4 } else { V6 });
            for _ in 0..=rng.below(3) {
                let at = rng.below(u32::try_from(frame.len()).unwrap()) as usize;
                rng.fill(&mut frame[at..=at]);
            }
            frame.truncate(rng.below(90) as usize);
            if let Ok((headers, payload)) = parse(&frame) {
                assert!(headers.bytes() + payload.len() <= frame.len());
            }
        }
    }
}
