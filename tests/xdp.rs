//! AF_XDP ports on real interfaces: what the suite of `tests/ports.rs`, which they pass as well,
//! does not say of every port.

use mixline::clock::{self, Nanos};
use mixline::io::udp::{self, UdpPort};
use mixline::io::wake;
use mixline::io::xdp::hops::{Hop, Hops, HopsWriter};
use mixline::io::xdp::{Balance, BusyPoll, Mode, Options, XdpError, XdpPort, queues_of};
use mixline::io::{BATCH, Port, PortCounters};
use mixline::wire::{Ends, Ethernet, Headers};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hosts::{Host, v4, v6};
use redirect::Redirect;
use xdp_host::{PORT, hops, open, options};

#[cfg(test)]
#[path = "xdp/halves.rs"]
mod halves;
#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/redirect.rs"]
mod redirect;
#[path = "support/wire.rs"]
mod wire;
#[path = "support/xdp_host.rs"]
mod xdp_host;

const LENGTH: usize = 1400;
/// Long enough for anything that happens at all.
const PATIENCE: Nanos = Nanos::from_secs(5);

/// Skips the test where it cannot run.
macro_rules! root_or_return {
    ($name:literal) => {
        if !$crate::hosts::is_possible($name) {
            return;
        }
    };
}
pub(crate) use root_or_return;

/// Ports on the two hosts of one wire, each knowing the way to the other by one VLAN or none.
fn ports(hosts: &[Host; 2], mode: Mode, queues: u32, tag: Option<u16>) -> [(XdpPort, Redirect); 2] {
    hosts.each_ref().map(|host| {
        let options = options(host, v4(host.number), mode, queues, LENGTH);
        open(host, &options, hops(host, 1..=2, tag))
    })
}

fn send(port: &mut impl Port, to: SocketAddr, number: usize) {
    let sent = port.send(|frame| {
        frame.fill(0xa5);
        frame[..8].copy_from_slice(&number.to_le_bytes());
        Ok::<_, Infallible>(to)
    });
    sent.expect("there is room");
}

/// The next datagrams, with their sources; as many as asked for, unless patience ends.
fn receive(port: &mut impl Port, count: usize) -> Vec<(SocketAddr, usize)> {
    let mut arrived = vec![];
    let end = clock::now() + PATIENCE;
    let (mut sleeper, _waker) = wake::pair().expect("descriptors are left");
    while arrived.len() < count && clock::now() < end {
        let taken = port.receive(BATCH, |source, datagram| {
            assert_eq!(datagram[8..], [0xa5; LENGTH - 8]);
            let number = usize::from_le_bytes(*datagram.first_chunk().expect("it is longer"));
            arrived.push((source, number));
        });
        if taken == 0 {
            sleeper.sleep(port, clock::now(), end);
        }
    }
    arrived
}

fn balances(port: &XdpPort) -> impl Iterator<Item = Balance> {
    port.receive_balances().chain(port.send_balance())
}

fn assert_all_frames_are_home(port: &XdpPort) {
    for balance in port.receive_balances() {
        assert!(balance.is_whole(), "{balance:?}");
        assert_eq!((balance.returned, balance.inside_kernel()), (0, 0), "{balance:?}");
    }
    if let Some(balance) = port.send_balance() {
        assert_eq!(balance.free, balance.frames, "{balance:?}");
    }
}

/// 100 000 datagrams there and back, checked one by one.
fn ping_pong(mode: Mode) {
    const COUNT: usize = 100_000;
    let hosts = wire::pair(1);
    let [(mut near, _one), (mut far, _two)] = ports(&hosts, mode, 1, None);
    for first in (0..COUNT).step_by(BATCH) {
        let burst = first..COUNT.min(first + BATCH);
        for number in burst.clone() {
            send(&mut near, far.local(), number);
        }
        near.flush();
        for (source, number) in receive(&mut far, burst.len()) {
            send(&mut far, source, number);
        }
        far.flush();
        let returned = receive(&mut near, burst.len());
        assert!(returned.into_iter().eq(burst.map(|number| (far.local(), number))));
        for port in [&near, &far] {
            assert!(balances(port).all(|balance| balance.is_whole()));
        }
    }
    let count = COUNT as u64;
    let expected = PortCounters { received: count, sent: count, ..PortCounters::default() };
    for port in [&mut near, &mut far] {
        port.flush();
        port.read_statistics();
        assert_eq!(*port.counters(), expected);
        assert_all_frames_are_home(port);
    }
}

#[test]
fn after_100_000_datagrams_every_frame_is_where_it_was_natively() {
    root_or_return!("after_100_000_datagrams_every_frame_is_where_it_was_natively");
    ping_pong(Mode::Native);
}

#[test]
fn after_100_000_datagrams_every_frame_is_where_it_was_generically() {
    root_or_return!("after_100_000_datagrams_every_frame_is_where_it_was_generically");
    ping_pong(Mode::Generic);
}

/// A datagram from host 1 to host 2, as it stands on the wire.
fn frame(source: [u8; 4], destination: [u8; 4], vlan_tag: Option<u16>) -> Vec<u8> {
    let ethernet = Ethernet { destination: hosts::mac(2), source: hosts::mac(1), vlan_tag };
    let end = |ip: [u8; 4]| SocketAddrV4::new(ip.into(), PORT);
    let ends = Ends::V4 { source: end(source), destination: end(destination) };
    let headers = Headers { ethernet, ends };
    let mut frame = vec![0xa5; headers.bytes() + LENGTH];
    let payload = headers.bytes();
    frame[payload..payload + 8].copy_from_slice(&7usize.to_le_bytes());
    headers.write(&mut frame);
    frame
}

#[test]
fn tagged_frames_arrive_and_are_answered_with_the_tag() {
    root_or_return!("tagged_frames_arrive_and_are_answered_with_the_tag");
    // The kernel has no interface for any VLAN: what arrives has come past it.
    let hosts = wire::pair(1);
    let [(mut near, _one), (mut far, _two)] = ports(&hosts, Mode::Native, 1, Some(0x6007));
    wire::inject(&hosts[0], &frame([198, 18, 0, 1], [198, 18, 0, 2], Some(0x6007)));
    assert_eq!(receive(&mut far, 1), [(near.local(), 7)]);
    send(&mut far, near.local(), 8);
    far.flush();
    assert_eq!(receive(&mut near, 1), [(far.local(), 8)]);
}

#[test]
fn frames_that_no_wire_can_have_brought_are_foreign() {
    root_or_return!("frames_that_no_wire_can_have_brought_are_foreign");
    let hosts = wire::pair(1);
    let [_near, (mut far, _program)] = ports(&hosts, Mode::Native, 1, None);
    let (here, there) = ([198, 18, 0, 1], [198, 18, 0, 2]);
    let sources = [[127, 0, 0, 1], [0; 4], [255; 4], [224, 0, 0, 9], there];
    for source in sources {
        wire::inject(&hosts[0], &frame(source, there, None));
    }
    wire::inject(&hosts[0], &frame(here, [198, 18, 0, 99], None));
    let mut fragment = frame(here, there, None);
    fragment[20] = 0x20;
    wire::inject(&hosts[0], &fragment);
    wire::inject(&hosts[0], &frame(here, there, None));
    assert_eq!(receive(&mut far, 1).len(), 1);
    let expected = PortCounters { received: 1, foreign: 7, ..PortCounters::default() };
    assert_eq!(*far.counters(), expected);
    assert_all_frames_are_home(&far);
}

/// Hops to host 2 that give 198.18.0.77 as the source: it tells which way a datagram came.
fn marked_hops(host: &Host) -> (Hops, IpAddr) {
    let mark = v4(77);
    let ethernet =
        Ethernet { destination: hosts::mac(2), source: hosts::mac(host.number), vlan_tag: None };
    ([(v4(2), Arc::new(Hop::new(ethernet, mark)))].into_iter().collect(), mark)
}

#[test]
fn what_has_no_hop_goes_through_the_kernel_until_there_is_one() {
    root_or_return!("what_has_no_hop_goes_through_the_kernel_until_there_is_one");
    let hosts = wire::pair(1);
    let [near, far] = &hosts;
    let (mut far, _program) =
        open(far, &options(far, v4(2), Mode::Native, 1, LENGTH), Hops::default());
    let mut writer = HopsWriter::new();
    let reader = writer.reader();
    let mut port = near
        .namespace
        .enter(|| XdpPort::open(&options(near, v4(1), Mode::Native, 1, LENGTH), reader).unwrap());
    let mut source = || {
        send(&mut port, far.local(), 1);
        assert_eq!(port.queued(), 1);
        port.flush();
        let arrived = receive(&mut far, 1);
        assert_eq!(arrived.len(), 1);
        arrived[0].0.ip()
    };
    assert_eq!(source(), v4(1));
    assert_eq!((writer.wish(), writer.wish()), (Some(v4(2)), None));
    let (hops, mark) = marked_hops(near);
    writer.publish(hops);
    // The table is taken after a flush.
    assert_eq!([source(), source(), source()], [v4(1), mark, mark]);
    writer.latest().hop(&v4(2)).unwrap().mark_stale();
    assert_eq!([source(), source()], [v4(1), mark]);
    assert_eq!(port.counters().sent, 6);
}

#[test]
fn a_sleeping_worker_wakes_for_its_queue_and_for_its_socket() {
    root_or_return!("a_sleeping_worker_wakes_for_its_queue_and_for_its_socket");
    let hosts = wire::pair(2);
    let [(mut near, _one), (mut far, program)] = ports(&hosts, Mode::Native, 2, None);
    let (to, mut program) = (far.local(), Some(program));
    for number in 0..2 {
        let (mut sleeper, _waker) = wake::pair().unwrap();
        while far.receive(BATCH, |_, _| {}) > 0 {}
        let start = clock::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30));
                send(&mut near, to, number);
                near.flush();
            });
            sleeper.sleep(&far, start, start + PATIENCE);
        });
        assert!(clock::now() - start < PATIENCE, "nothing ended the sleep");
        assert_eq!(receive(&mut far, 1).len(), 1);
        // Without the program everything is the kernel's.
        program = None;
    }
    drop(program);
}

#[test]
fn what_finds_no_room_in_the_receive_ring_is_counted() {
    root_or_return!("what_finds_no_room_in_the_receive_ring_is_counted");
    const RING: u64 = 2048;
    let hosts = wire::pair(1);
    let [(mut near, _one), (mut far, _two)] = ports(&hosts, Mode::Native, 1, None);
    for number in 0..3000 {
        if near.queued() == BATCH {
            near.flush();
        }
        send(&mut near, far.local(), number);
    }
    near.flush();
    assert_eq!(receive(&mut far, 2048).len(), 2048);
    far.read_statistics();
    let counters = far.counters();
    assert_eq!((counters.received, counters.kernel_dropped), (RING, 3000 - RING));
    assert!(balances(&far).all(|balance| balance.is_whole() && balance.inside_kernel() >= 0));
    // It goes on.
    send(&mut near, far.local(), 9);
    near.flush();
    assert_eq!(receive(&mut far, 1), [(near.local(), 9)]);
}

#[test]
fn datagrams_arrive_by_every_queue() {
    root_or_return!("datagrams_arrive_by_every_queue");
    const FLOWS: u16 = 64;
    let hosts = wire::pair(4);
    let (mut far, _program) =
        open(&hosts[1], &options(&hosts[1], v4(2), Mode::Native, 4, LENGTH), Hops::default());
    let to = far.local();
    // veth takes the queue that the sender's side took.
    hosts[0].namespace.enter(|| {
        for core in mixline::host::cores() {
            mixline::host::pin(core);
            for _ in 0..FLOWS {
                let options = udp::Options::new(SocketAddr::new(v4(1), 0), LENGTH);
                let mut flow = UdpPort::open(&options).unwrap();
                send(&mut flow, to, 1);
                flow.flush();
            }
        }
    });
    let used = far.receive_balances().filter(|balance| balance.returned > 0).count();
    assert!(used > 1 || mixline::host::cores().len() == 1, "{used} queues were used");
    let count = usize::from(FLOWS) * mixline::host::cores().len();
    assert_eq!(receive(&mut far, count).len(), count);
    assert_all_frames_are_home(&far);
}

#[test]
fn a_port_that_polls_busily_receives_and_says_so() {
    root_or_return!("a_port_that_polls_busily_receives_and_says_so");
    let hosts = wire::pair(1);
    let near = options(&hosts[0], v4(1), Mode::Native, 1, LENGTH);
    let (mut near, _one) = open(&hosts[0], &near, hops(&hosts[0], 2..=2, None));
    let mut options = options(&hosts[1], v4(2), Mode::Native, 1, LENGTH);
    options.busy_poll = Some(BusyPoll { microseconds: 20, packets: 64 });
    let (mut far, _two) = open(&hosts[1], &options, Hops::default());
    send(&mut near, far.local(), 1);
    near.flush();
    assert_eq!(receive(&mut far, 1), [(near.local(), 1)]);
    assert!(far.to_string().ends_with("8192 frames, busy polling)"), "{far}");
}

#[test]
fn a_port_without_a_queue_is_its_udp_socket() {
    root_or_return!("a_port_without_a_queue_is_its_udp_socket");
    let hosts = wire::pair(1);
    let [near, far] = &hosts;
    let mut bare = near.namespace.enter(|| {
        let options = options(near, v6(1), Mode::Native, 0, LENGTH);
        XdpPort::open(&options, HopsWriter::new().reader()).unwrap()
    });
    let (mut far, _program) =
        open(far, &options(far, v6(2), Mode::Native, 1, LENGTH), hops(far, 1..=1, None));
    let mut sender = bare.detach_sender().unwrap();
    for port in [&mut bare, &mut sender] {
        send(port, far.local(), 1);
        port.flush();
        assert_eq!(receive(&mut far, 1), [(port.local(), 1)]);
    }
    send(&mut far, bare.local(), 2);
    far.flush();
    assert_eq!(receive(&mut bare, 1), [(far.local(), 2)]);
    assert_eq!((bare.counters().received, bare.counters().sent), (1, 1));
    assert!(bare.to_string().contains("for want of another queue of eth0"), "{bare}");
    assert!(far.to_string().starts_with("AF_XDP on eth0 queue 0 (native, copy, "), "{far}");
}

/// What a case does to options that are right.
type Change = fn(&mut Options);

#[test]
fn opening_errors_name_the_queue_and_the_remedy() {
    root_or_return!("opening_errors_name_the_queue_and_the_remedy");
    let hosts = wire::pair(1);
    let host = &hosts[0];
    let options = options(host, v4(1), Mode::Native, 1, LENGTH);
    let _held = open(host, &options, Hops::default());
    let refusal = |change: Change| {
        let mut options = options.clone();
        options.socket.address.set_port(0);
        change(&mut options);
        let opened = host.namespace.enter(|| XdpPort::open(&options, HopsWriter::new().reader()));
        opened.expect_err("it was to fail")
    };
    let cases: [(Change, &str); 4] = [
        (|_| {}, "queue 0 of eth0 has an AF_XDP socket: stop the program"),
        (|options| options.queues = vec![9], "there is no queue 9 of eth0: `ethtool -l eth0`"),
        (|options| options.index = 9999, "there is no interface for queue 0 of eth0: name one"),
        (|options| options.socket.datagram_bytes = 4000, "datagrams of 4000 bytes are too long"),
    ];
    for (change, text) in cases {
        let error = refusal(change);
        assert!(error.to_string().starts_with(text), "{error}");
    }
    let address_in_use = refusal(|options| options.socket.address.set_port(PORT));
    assert!(matches!(address_in_use, XdpError::Socket(_)), "{address_in_use}");
}

#[test]
fn a_queue_whose_owner_ends_is_waited_for() {
    root_or_return!("a_queue_whose_owner_ends_is_waited_for");
    let hosts = wire::pair(1);
    let host = &hosts[0];
    let mut options = options(host, v4(1), Mode::Native, 1, LENGTH);
    let held = open(host, &options, Hops::default());
    options.socket.address.set_port(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        host.namespace.enter(|| XdpPort::open(&options, HopsWriter::new().reader())).unwrap();
    });
}

#[test]
fn every_queue_belongs_to_one_worker() {
    assert_eq!(queues_of(0, 2, 4), [0, 2]);
    assert_eq!(queues_of(1, 2, 4), [1, 3]);
    assert_eq!(queues_of(2, 4, 2), Vec::<u32>::new());
    let mut all: Vec<u32> = (0..3).flat_map(|worker| queues_of(worker, 3, 8)).collect();
    all.sort();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}
