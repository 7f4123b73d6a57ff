//! A real gateway on real UDP sockets of the loopback network, in virtual time: datagrams cross the
//! kernel, but the clock stands still unless a test moves it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::udp::{self, UdpPort};
use mixline::io::{OpenError, wake};
use mixline::node::{self, Identity, Node, Start, Wakers, assemble};
use mixline::pki::{Consensus, Node as ListedNode, Rate, Rates};
use mixline::sphinx::Geometry;
use mixline::worker::Worker;
use mixline::worker::roles::Roles;

use crate::endpoint::Endpoint;
use crate::testnet::{self, Shape, WALL};

/// Where the two nodes stand among the identities of the network.
const MIX: usize = 0;
const GATEWAY: usize = 1;

/// So few that a client's idle link is nearly idle in both directions.
const MESSAGES_PER_SECOND: u32 = 1;
/// What clients may send beside them, so that a few fill a node: nothing else follows from it.
const CLIENT_LOOPS: Rate = Rate::per_second(20_000);

/// A network of one gateway, which runs, and one mix, which need not.
pub(crate) struct Loopback<P> {
    pub(crate) gateway: Node<P>,
    /// The time that everything here is told.
    pub(crate) at: Start,
    pub(crate) rng: Rng,
    identities: Vec<Identity>,
    subnet: [u8; 2],
}

impl<P: mixline::io::Port> Loopback<P> {
    /// In the first free one of the networks 127.x.0.0/16 from `subnet` on, so that tests may run
    /// side by side. The gateway gets what `wrap` makes of its sockets. Secrets are the system's.
    pub(crate) fn new(
        subnet: u8,
        delay_mean: Nanos,
        options: &node::Options,
        wrap: impl Fn(UdpPort) -> P,
    ) -> Self {
        let (shape, ports) = claim(subnet, delay_mean, Roles::of(options.workers));
        let mut rng = Rng::from_os();
        let at = Start { now: Nanos::from_secs(1), wall: WALL };
        let identities = testnet::identities(&shape, WALL, &mut rng);
        let waker = || wake::pair().unwrap().1;
        let workers = ports.iter().map(|_| waker()).collect();
        let wakers = Wakers { control: waker(), workers };
        let ports = ports.into_iter().map(wrap).collect();
        let gateway =
            assemble(&identities[GATEWAY], options, ports, &wakers, at, &mut rng).unwrap();
        Loopback { gateway, at, rng, identities, subnet: shape.subnet }
    }

    /// Moves the clock.
    pub(crate) fn advance(&mut self, span: Nanos) {
        self.at.now = self.at.now + span;
        self.at.wall.0 += span.0 / 1000;
    }

    /// Lets the gateway do all that it finds to do; `turn` gives each worker its turns. Bounded,
    /// because a node that never rests would be at fault.
    pub(crate) fn turn_gateway(&mut self, mut turn: impl FnMut(&mut Worker<P>, Nanos) -> usize) {
        for _ in 0..100_000 {
            let Node { control, workers, .. } = &mut self.gateway;
            let mut work = control.turn(self.at.now, self.at.wall);
            work += workers.iter_mut().map(|worker| turn(worker, self.at.now)).sum::<usize>();
            if work == 0 {
                return;
            }
        }
        panic!("the gateway never rests");
    }

    /// Client number `number`, on an address of its own and a port that the kernel chooses.
    pub(crate) fn client(&mut self, number: usize) -> Endpoint {
        let [a, b] = self.subnet;
        let host = |part: usize| u8::try_from(part + 2).unwrap();
        let ip = Ipv4Addr::new(a, b, host(number / 250), host(number % 250));
        let Loopback { identities, at, rng, .. } = self;
        let gateway = identities[GATEWAY].listed().unwrap();
        Endpoint::client(&identities[GATEWAY].consensus, gateway, (ip, 0).into(), *at, rng)
    }

    /// The gateway's one neighbour.
    pub(crate) fn neighbour(&mut self) -> Endpoint {
        let Loopback { identities, at, rng, .. } = self;
        let gateway = identities[GATEWAY].listed().unwrap();
        Endpoint::node(&identities[MIX], gateway, *at, rng)
    }

    pub(crate) fn consensus(&self) -> &Arc<Consensus> {
        &self.identities[GATEWAY].consensus
    }

    pub(crate) fn listed_gateway(&self) -> &ListedNode {
        self.identities[GATEWAY].listed().unwrap()
    }

    pub(crate) fn listed_mix(&self) -> &ListedNode {
        self.identities[MIX].listed().unwrap()
    }
}

/// A network whose gateway's address was free, with the sockets that hold it now.
fn claim(subnet: u8, delay_mean: Nanos, roles: Roles) -> (Shape, Vec<UdpPort>) {
    for second in subnet..=u8::MAX {
        let shape = Shape {
            layers: 1,
            mixes_per_layer: 1,
            gateways: 1,
            delay_mean,
            messages_per_second: MESSAGES_PER_SECOND,
            rates: Rates { client_loop: CLIENT_LOOPS, ..Rates::default() },
            subnet: [127, second],
            ..Shape::default()
        };
        match open_ports(testnet::address(&shape, GATEWAY), roles) {
            Err(OpenError::InUse(_)) => {}
            ports => return (shape, ports.unwrap()),
        }
    }
    panic!("every loopback network is in use");
}

fn open_ports(address: SocketAddr, roles: Roles) -> Result<Vec<UdpPort>, OpenError> {
    let exclusive = udp::Options::new(address, Geometry::DEFAULT.datagram_bytes());
    // Shared sockets would join those of another run: ask once without.
    drop(UdpPort::open(&exclusive)?);
    let sockets = roles.workers();
    let options = udp::Options { shared: sockets > 1, ..exclusive };
    roles.ports((0..sockets).map(|_| UdpPort::open(&options)).collect::<Result<_, _>>()?)
}
