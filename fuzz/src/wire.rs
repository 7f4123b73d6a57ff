//! Frames that a network card hands over.

use mixline::wire::{Ends, Ethernet, Headers, parse};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

/// The input as a frame. What is read is written, and reads the same. Accepted when it is a
/// plain datagram.
pub fn run(input: &[u8]) -> bool {
    let Ok((headers, payload)) = parse(input) else { return false };
    let mut frame = vec![0; headers.bytes()];
    assert!(frame.len() + payload.len() <= input.len(), "more came out than went in");
    frame.extend_from_slice(payload);
    headers.write(&mut frame);
    assert_eq!(parse(&frame), Ok((headers, payload)));
    true
}

/// A datagram of each IP version, one of them tagged, and one that is cut off.
pub fn seeds() -> Vec<Vec<u8>> {
    let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4000);
    let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 4000, 0, 0);
    let v4 = frame(Ends::V4 { source: v4, destination: v4 }, None);
    let v6 = frame(Ends::V6 { source: v6, destination: v6 }, Some(7));
    let cut = v4[..v4.len() - 1].to_vec();
    vec![v4, v6, cut]
}

fn frame(ends: Ends, vlan_tag: Option<u16>) -> Vec<u8> {
    let ethernet = Ethernet { destination: [2; 6], source: [4; 6], vlan_tag };
    let headers = Headers { ethernet, ends };
    let mut frame = vec![0xab; headers.bytes() + 30];
    headers.write(&mut frame);
    frame
}
