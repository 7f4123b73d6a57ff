//! An unlisted gateway: silence for whoever probes it, an open door for the invited.

#[path = "support/lab.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod lab;
#[path = "support/scratch.rs"]
mod scratch;
#[path = "support/user.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod user;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mixline::client::{Connection, network_of};
use mixline::clock::{self, Nanos, UnixMicros};
use mixline::config;
use mixline::crypto::kem;
use mixline::crypto::random::Rng;
use mixline::link::{self, Action, Capacity, Links, Local, Peer};
use mixline::network;
use mixline::pki::{
    Consensus, ConsensusDraft, Descriptor, DescriptorFields, EpochKeys, EpochPublic, Invitation,
    KeyFolder, MailboxKeys, PlacedMix, Role,
};

use lab::{Lab, Process};
use user::User;

/// Probes in all, half of them right after a restart.
const PROBES: usize = 10_000;
/// Sources that they come from: one alone would be held back by its rate.
const SOURCES: usize = 100;
/// Probes sent at once, and the pause after them: 4000 a second at most.
const BURST: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);
/// First flights recorded to be sent again.
const RECORDED: usize = 40;
const PATIENCE: Duration = Duration::from_secs(10);

/// A network whose gateway is unlisted.
fn unlisted(name: &str, number: u8) -> Lab {
    let options = network::Options {
        mixes: 1,
        layers: 1,
        gateways: 1,
        addresses: lab::addresses(number),
        ..network::Options::new(PathBuf::new())
    };
    let lab = Lab::new(name, &options, |_| true);
    let config = &lab.first(Role::Gateway).config;
    let text = fs::read_to_string(config).expect("the file is there");
    let text = text.replace("#unlisted = false", "unlisted = true");
    fs::write(config, text).expect("the file is ours");
    lab
}

fn start(lab: &Lab) -> Process {
    let process = lab.start(lab.first(Role::Gateway));
    process.wait_for("READY=1");
    process
}

fn invite(lab: &Lab) -> Invitation {
    let config = &lab.first(Role::Gateway).config;
    let output =
        lab.scratch.mixline().arg("invite").arg(config).output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    text.parse().unwrap_or_else(|error| panic!("{error}: {:?}", output.stderr))
}

/// A socket on a loopback address of its own.
fn socket(number: usize) -> UdpSocket {
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = u8::try_from(1 + number % 250).expect("below 251");
    let address = Ipv4Addr::new(127, 180 + high % 70, low, host);
    let socket = UdpSocket::bind((address, 0)).expect("a loopback address is free");
    socket.set_nonblocking(true).expect("a socket can be so");
    socket
}

/// A client's first flight to `peer`.
fn first_flight(consensus: &Consensus, peer: &Peer) -> Vec<u8> {
    let (network, capacity) = (network_of(consensus), Capacity { nodes: 1, clients: 0 });
    let (now, wall, rng) = (clock::now(), clock::wall(), Rng::from_os());
    let mut links =
        Links::new(link::Options::default(), network, capacity, Local::Client, rng, wall);
    links.dial(peer, now).expect("there is a place");
    links.tick(now + Nanos::from_secs(5), wall);
    std::iter::from_fn(|| links.poll())
        .find_map(|action| match action {
            Action::Send { datagram, .. } => Some(datagram),
            _ => None,
        })
        .expect("a first flight is due")
}

fn peer(invitation: &Invitation) -> Peer {
    Peer {
        id: invitation.gateway.0,
        address: invitation.address,
        link_public: invitation.link_public,
        kem_public: Arc::from(&invitation.kem_public[..]),
    }
}

/// Whether an answer comes to `socket` within `patience`.
fn is_answered(socket: &UdpSocket, patience: Duration) -> bool {
    let (end, mut answer) = (lab::instant() + patience, [0; 2048]);
    while lab::instant() < end {
        if socket.recv_from(&mut answer).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// First flights of the invited that were answered when they were new.
fn record(consensus: &Consensus, invitation: &Invitation) -> Vec<Vec<u8>> {
    let record_one = |number| {
        let (socket, flight) = (socket(100 + number), first_flight(consensus, &peer(invitation)));
        socket.send_to(&flight, invitation.address).expect("loopback takes it");
        assert!(is_answered(&socket, PATIENCE), "an invited client is answered");
        flight
    };
    (0..RECORDED).map(record_one).collect()
}

/// What a censor may send, in turn.
struct Prober<'a> {
    consensus: &'a Consensus,
    recorded: &'a [Vec<u8>],
    wrong: [Peer; 2],
    rng: Rng,
}

impl<'a> Prober<'a> {
    fn new(consensus: &'a Consensus, invitation: &Invitation, recorded: &'a [Vec<u8>]) -> Self {
        let mut rng = Rng::from_os();
        let right = peer(invitation);
        let other_kem = Arc::from(&kem::Secret::generate().public()[..]);
        let wrong = [
            Peer { kem_public: other_kem, ..right.clone() },
            Peer { link_public: EpochKeys::generate(1, &mut rng).mix.public(), ..right },
        ];
        Prober { consensus, recorded, wrong, rng }
    }

    fn probe(&mut self, number: usize) -> Vec<u8> {
        let replay = self.recorded[number / 4 % self.recorded.len()].clone();
        match number % 4 {
            0 => {
                let mut random = vec![0; replay.len()];
                self.rng.fill(&mut random);
                random
            }
            1 => replay,
            2 => first_flight(self.consensus, &self.wrong[number / 4 % 2]),
            _ => {
                let length = self.rng.below(u32::try_from(replay.len()).expect("it is short"));
                replay[..length as usize].to_vec()
            }
        }
    }
}

/// Sends `count` probes at 1000/s and more; how many datagrams came back.
fn answers(prober: &mut Prober<'_>, gateway: SocketAddr, count: usize) -> usize {
    // Made beforehand: a handshake costs the prober more than the gateway.
    let probes: Vec<Vec<u8>> = (0..count).map(|number| prober.probe(number)).collect();
    let sockets: Vec<UdpSocket> = (0..SOURCES).map(socket).collect();
    let start = lab::instant();
    for (number, probe) in probes.iter().enumerate() {
        // A kernel without room has dropped it; that is no answer either.
        let _ = sockets[number / 4 % SOURCES].send_to(probe, gateway);
        if number % BURST == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    assert!(rate >= 1000.0, "{rate} probes a second");
    std::thread::sleep(Duration::from_millis(500));
    let mut answer = [0; 2048];
    sockets.iter().filter(|socket| socket.recv_from(&mut answer).is_ok()).count()
}

fn invited(lab: &Lab, invitation: &Invitation) -> User {
    let mut rng = Rng::from_os();
    let port = user::port(&lab.consensus);
    let (now, wall) = (clock::now(), clock::wall());
    let connection = Connection::invited(invitation, port, now, wall, &mut rng);
    let connection = connection.expect("the invitation names an address");
    User::over(connection, &lab.consensus, invitation.gateway, MailboxKeys::generate(&mut rng))
}

#[test]
fn an_unlisted_gateway_answers_no_probe_and_lets_the_invited_in() {
    let lab = unlisted("probe", 0);
    let mut process = start(&lab);
    let invitation = invite(&lab);
    let recorded = record(&lab.consensus, &invitation);
    let mut prober = Prober::new(&lab.consensus, &invitation, &recorded);

    let address = invitation.address;
    assert_eq!(answers(&mut prober, address, PROBES / 2), 0);
    assert!(invited(&lab, &invitation).open_mailbox(PATIENCE), "a new client gets in");

    // After a restart the gateway does not know what it has seen: what is older than itself is
    // not answered.
    process.kill();
    let _process = start(&lab);
    assert_eq!(answers(&mut prober, address, PROBES / 2), 0);
    assert!(invited(&lab, &invitation).open_mailbox(PATIENCE), "the same client gets in");
}

#[test]
fn an_invited_client_gets_in_that_was_away_for_ten_epochs() {
    let lab = unlisted("probe-epochs", 1);
    let invitation = invite(&lab);
    let before = lab.consensus.clone();
    move_to_epoch(&lab, before.epoch() + 10);
    let _process = start(&lab);
    assert!(invited(&lab, &invitation).open_mailbox(PATIENCE), "the invitation is in force");

    // Without it the client's documents lead to a key that is long gone.
    let mut rng = Rng::from_os();
    let mut late = User::new(&before, invitation.gateway, MailboxKeys::generate(&mut rng));
    assert!(!late.open_mailbox(Duration::from_secs(2)));
}

/// Gives the network's nodes new keys and its files a consensus for `epoch`.
fn move_to_epoch(lab: &Lab, epoch: u64) {
    let root = lab.scratch.files.join("network");
    let anchor = config::load_anchor(&root.join("network.toml")).expect("the file is there");
    let authority = KeyFolder::with_credentials(&root.join("authorities"), None)
        .authority_key("authority-1")
        .expect("the key is there");
    let now = clock::wall();
    let (mix, gateway) =
        (renew(lab, &root, Role::Mix, epoch), renew(lab, &root, Role::Gateway, epoch));
    let draft = ConsensusDraft {
        epoch,
        epoch_s: 3600,
        valid_from: UnixMicros::from_secs(now.as_secs() - 60),
        valid_until: UnixMicros::from_secs(now.as_secs() + 3600),
        parameters: *lab.consensus.parameters(),
        mixes: vec![PlacedMix { layer: 1, weight: 1, descriptor: mix }],
        gateways: vec![gateway],
    };
    let bytes = draft.sign(&anchor, &[authority]);
    fs::write(root.join("consensus.cbor"), bytes).expect("the folder is ours");
}

/// A node's descriptor with keys of `epoch` alone.
fn renew(lab: &Lab, root: &Path, role: Role, epoch: u64) -> Descriptor {
    let node = lab.first(role);
    let folder = root.join("nodes").join(&node.name).join("keys");
    let folder = KeyFolder::with_credentials(&folder, None);
    let keys = EpochKeys::generate(epoch, &mut Rng::from_os());
    folder.create_epoch_keys(&keys).expect("the folder is ours");
    let fields = DescriptorFields {
        network: lab.consensus.network().to_owned(),
        name: node.name.clone(),
        role,
        addresses: vec![node.address],
        epochs: vec![EpochPublic::of(&keys)],
        published: clock::wall(),
    };
    Descriptor::sign(&fields, &folder.node_keys().expect("they are there")).expect("it is sound")
}
