//! The directory: authorities and those who follow them, over real HTTP on loopback.

#[path = "directory/http.rs"]
mod http;
#[path = "support/scratch.rs"]
mod scratch;
#[path = "directory/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use data_encoding::BASE64;
use mixline::authority::{Authority, Options, Policy, Seat};
use mixline::clock::{self, Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::directory::{self, AuthorityAddress, Directory, obtain};
use mixline::pki::{
    Consensus, ConsensusDraft, Descriptor, DescriptorFields, EpochKeys, EpochPublic, Epochs,
    NodeKeys, Parameters, PlacedMix, Rates, Role, SigningKey, TrustAnchor,
};
use mixline::sphinx::Geometry;

use scratch::Scratch;
use world::{Process, World, wait_for};

/// Seconds of an epoch of the network of processes.
const EPOCH_S: u64 = 12;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The letters that arrive, until there are `count` or none comes for long.
fn arrivals(recv: &Process, count: usize) -> Vec<String> {
    let mut all = vec![];
    while all.len() < count {
        let Some(line) = recv.line(seconds(15)) else { break };
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let bytes = BASE64.decode(line["base64"].as_str().expect("a letter").as_bytes());
        all.push(String::from_utf8(bytes.expect("base64")).expect("text"));
    }
    all
}

fn letter(number: usize) -> String {
    format!("{{\"base64\":\"{}\"}}", BASE64.encode(format!("letter {number}").as_bytes()))
}

/// Every `letter` from `first` on, once.
#[track_caller]
fn assert_letters(mut arrived: Vec<String>, numbers: std::ops::Range<usize>) {
    arrived.sort();
    let mut expected: Vec<_> = numbers.map(|number| format!("letter {number}")).collect();
    expected.sort();
    assert_eq!(arrived, expected);
}

#[test]
fn a_network_goes_on_from_epoch_to_epoch_while_keys_change_and_parts_of_it_fail() {
    let mut world = World::new("epochs", EPOCH_S);
    // Nodes that find no authority wait for it.
    (0..6).for_each(|place| world.start_node(place));
    std::thread::sleep(Duration::from_millis(700));
    world.start_authority();
    // Who is late for one consensus is in the next.
    wait_for("a consensus with all nodes", seconds(3 * EPOCH_S), || {
        world.consensus("current").filter(|consensus| consensus.nodes().count() == 6)
    });
    world.wait_until_connected(6);
    let recv = world.start_client("recv", &["--json", "--gateway", "gateway-2"]);
    let address = recv.line(seconds(30)).expect("the receiving client has its mailbox");
    let address: serde_json::Value = serde_json::from_str(&address).expect("JSON");
    let address = address["address"].as_str().expect("an address").to_owned();
    let mut send =
        world.start_client("send", &["--lines", "--gateway", "gateway-1", "--to", &address]);

    // Letters all the time, over three changes of epoch. Meanwhile the authority is restarted.
    let (mut number, mut epochs) = (0, BTreeMap::new());
    let mut restarted = false;
    while epochs.len() < 4 {
        send.say(&letter(number));
        number += 1;
        std::thread::sleep(Duration::from_millis(50));
        if number % 10 == 0 {
            let Some(consensus) = world.consensus("current") else { continue };
            epochs.insert(consensus.epoch(), consensus);
        }
        if epochs.len() == 2 && !restarted {
            let epoch = epochs.keys().max().expect("there are two").to_string();
            let before = world.bytes(&epoch).expect("a consensus");
            drop(world.authority.take());
            world.start_authority();
            let after = wait_for("the authority is back", seconds(10), || world.bytes(&epoch));
            assert!(after == before, "a second document for one epoch");
            restarted = true;
        }
    }
    let mut arrived = arrivals(&recv, number);
    assert_letters(std::mem::take(&mut arrived), 0..number);

    // Every epoch has its own keys, and those of epochs that are over are gone.
    let id = world.summary.nodes[0].id;
    let keys = epochs.iter().map(|(epoch, consensus)| {
        *consensus.node(&id).expect("a node").mix_public(*epoch).expect("a key")
    });
    assert_eq!(keys.collect::<BTreeSet<_>>().len(), epochs.len());
    let now = Epochs::new(EPOCH_S).expect("epochs").at(clock::wall());
    wait_for("old keys are erased", seconds(5), || {
        let kept = world.key_epochs(0);
        (kept.len() <= 3 && kept[0] + 1 >= now).then_some(())
    });

    a_node_goes_away_and_comes_back(&mut world);
    (number..number + 20).for_each(|number| send.say(&letter(number)));
    assert_letters(arrivals(&recv, 20), number..number + 20);
}

/// The second mix of the first layer is left out when it is away, and let in again.
fn a_node_goes_away_and_comes_back(world: &mut World) {
    let place = world.summary.nodes.iter().position(|node| node.name == "mix-1-2");
    let place = place.expect("there are two mixes in the first layer");
    let id = world.summary.nodes[place].id;
    drop(world.nodes[place].take());
    let without = wait_for("a consensus without the node", seconds(4 * EPOCH_S), || {
        world.consensus("current").filter(|consensus| consensus.node(&id).is_none())
    });
    assert_eq!(without.nodes().count(), 5);
    world.start_node(place);
    wait_for("a consensus with the node", seconds(4 * EPOCH_S), || {
        world.consensus("current").filter(|consensus| consensus.node(&id).is_some())
    });
    world.wait_until_connected(1);
}

/// A network of one mix and one gateway whose nodes are the test itself.
struct Small {
    key: [u8; 32],
    anchor: TrustAnchor,
    nodes: [NodeKeys; 2],
    epochs: Epochs,
    rng: Rng,
}

impl Small {
    fn new() -> Self {
        let mut rng = Rng::from_os();
        let key = SigningKey::generate(&mut rng);
        let anchor = TrustAnchor::new("small", vec![key.public()], None).expect("an anchor");
        let nodes = [(); 2].map(|()| NodeKeys::generate(&mut rng));
        let epochs = Epochs::new(600).expect("epochs");
        Small { key: *key.secret(), anchor, nodes, epochs, rng }
    }

    fn parameters() -> Parameters {
        Parameters {
            layers: 1,
            delay_mean: Nanos::from_millis(50),
            rates: Rates::default(),
            geometry: Geometry::DEFAULT,
        }
    }

    fn start(&self, scratch: &Scratch) -> Authority {
        let seats = [Some(1), None].map(|layer| Seat { layer, weight: 1 });
        let ids = self.nodes.iter().map(|keys| keys.identity.id());
        let parameters = Self::parameters();
        let seats = Some(ids.zip(seats).collect());
        Authority::start(Options {
            anchor: self.anchor.clone(),
            key: SigningKey::from_secret(&self.key),
            policy: Policy { epochs: self.epochs, parameters, seats },
            listen: ([127, 0, 0, 1], 0).into(),
            state: scratch.files.join("state"),
        })
        .expect("an authority")
    }

    fn descriptor(&mut self, node: usize, network: &str) -> Descriptor {
        let wall = clock::wall();
        let epoch = self.epochs.at(wall);
        let keys = [epoch - 1, epoch, epoch + 1, epoch + 2];
        let keys = keys.map(|epoch| EpochKeys::generate(epoch, &mut self.rng));
        let fields = DescriptorFields {
            network: network.into(),
            name: format!("node-{node}"),
            role: if node == 0 { Role::Mix } else { Role::Gateway },
            addresses: vec![([127, 0, 0, 1], 7700 + u16::try_from(node).expect("small")).into()],
            epochs: keys.iter().map(EpochPublic::of).collect(),
            published: wall,
        };
        Descriptor::sign(&fields, &self.nodes[node]).expect("a descriptor")
    }

    /// A consensus made beside the authority, of `epoch` and valid for as long as it would be.
    fn sign(&mut self, epoch: u64, key: &SigningKey) -> Vec<u8> {
        let mix = PlacedMix { layer: 1, weight: 1, descriptor: self.descriptor(0, "small") };
        let draft = ConsensusDraft {
            epoch,
            epoch_s: self.epochs.length_s(),
            valid_from: self.epochs.publication(epoch),
            valid_until: self.epochs.valid_until(epoch),
            parameters: Self::parameters(),
            mixes: vec![mix],
            gateways: vec![self.descriptor(1, "small")],
        };
        draft.sign(&self.anchor, std::slice::from_ref(key))
    }

    fn own_key(&self) -> SigningKey {
        SigningKey::from_secret(&self.key)
    }

    fn epoch(&self) -> u64 {
        self.epochs.at(clock::wall())
    }

    /// What a client that asks `authorities` gets.
    fn obtain(
        &self,
        scratch: &Scratch,
        authorities: &[SocketAddr],
    ) -> Result<std::sync::Arc<Consensus>, String> {
        let authorities = authorities.iter().map(|address| url(*address)).collect();
        let kept = scratch.files.join("kept.cbor");
        let options = directory::Options { anchor: self.anchor.clone(), authorities, kept };
        obtain(options, Nanos::ZERO).map_err(|error| error.to_string())
    }
}

fn url(address: SocketAddr) -> AuthorityAddress {
    format!("http://{address}").parse().expect("an address")
}

#[test]
fn what_is_uploaded_is_published_byte_for_byte_also_after_a_restart() {
    let (scratch, mut small) = (Scratch::new("directory-upload"), Small::new());
    let authority = small.start(&scratch);
    let posted = [0, 1].map(|node| small.descriptor(node, "small"));
    for descriptor in &posted {
        assert_eq!(http::post(authority.address(), descriptor.signed_bytes()).0, 200);
    }
    let address = authority.address();
    let current = || http::fetch(address, "/v1/consensus/current");
    wait_for("a consensus", seconds(5), || (current().status == 200).then_some(()));
    let bytes = current().body;
    let epoch = small.epoch();
    assert_eq!(http::fetch(address, &format!("/v1/consensus/{epoch}")).body, bytes);
    let consensus = Consensus::verify(&bytes, &small.anchor, clock::wall(), None).unwrap();
    for descriptor in &posted {
        let node = consensus.node(&descriptor.id()).expect("the node is listed");
        assert_eq!(node.descriptor().signed_bytes(), descriptor.signed_bytes());
    }
    drop(authority);
    let authority = small.start(&scratch);
    assert_eq!(http::fetch(authority.address(), "/v1/consensus/current").body, bytes);
    let health = http::fetch(authority.address(), "/v1/health").body;
    let health: serde_json::Value = serde_json::from_slice(&health).expect("JSON");
    assert_eq!(health["nodes"], 2);
    assert!(health["consensus"].as_u64() >= Some(epoch), "{health}");
}

#[test]
fn bad_uploads_and_requests_get_a_reason_and_change_nothing() {
    let (scratch, mut small) = (Scratch::new("directory-refusals"), Small::new());
    let authority = small.start(&scratch);
    let to = authority.address();
    let good = small.descriptor(0, "small");
    let mut changed = good.signed_bytes().to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let refused = |body: &[u8], status: u16, word: &str| {
        let (found, reason) = http::post(to, body);
        assert_eq!(found, status, "{reason}");
        assert!(reason.contains(word), "{reason}");
    };
    refused(&changed, 400, "signature");
    refused(b"", 400, "not of the expected form");
    refused(&[0; 9000], 413, "longer");
    refused(small.descriptor(0, "other").signed_bytes(), 400, "another network");
    small.nodes.swap(0, 1);
    refused(small.descriptor(0, "small").signed_bytes(), 403, "gateway");
    small.nodes[0] = NodeKeys::generate(&mut small.rng);
    refused(small.descriptor(0, "small").signed_bytes(), 403, "no seat");

    assert_eq!(http::fetch(to, "/v1/consensus/current").status, 404);
    assert_eq!(http::fetch(to, "/v1/consensus/-1").status, 404);
    assert_eq!(http::fetch(to, "/").status, 404);
    assert_eq!(http::fetch(to, "/v1/descriptor").status, 405);
    let put = format!("PUT /v1/health HTTP/1.1\r\nhost: {to}\r\n\r\n");
    assert_eq!(http::exchange(to, put.as_bytes()).expect("an answer").status, 405);
    let long = format!("GET /{} HTTP/1.1\r\nhost: {to}\r\n\r\n", "x".repeat(100_000));
    assert!(http::exchange(to, long.as_bytes()).is_none_or(|answer| answer.status >= 400));
    assert!(http::exchange(to, b"\x16\x03\x01\r\n\r\n").is_none_or(|answer| answer.status == 400));

    let files = fs::read_dir(scratch.files.join("state/descriptors")).expect("the state");
    assert_eq!(files.count(), 0);
    assert_eq!(http::post(to, good.signed_bytes()).0, 200);
}

#[test]
fn a_descriptor_that_is_here_already_is_answered_and_not_written_again() {
    let (scratch, mut small) = (Scratch::new("directory-again"), Small::new());
    let authority = small.start(&scratch);
    let first = small.descriptor(0, "small");
    let path = scratch.files.join(format!("state/descriptors/{}.cbor", first.id()));
    assert_eq!(http::post(authority.address(), first.signed_bytes()).0, 200);
    fs::remove_file(&path).expect("it was written");
    assert_eq!(http::post(authority.address(), first.signed_bytes()).0, 200);
    assert!(!path.exists(), "written again");
    let newer = small.descriptor(0, "small");
    assert_eq!(http::post(authority.address(), newer.signed_bytes()).0, 200);
    assert!(path.exists());
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has sockets")
}

/// A connection from another loopback address.
fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let stream = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((source, 0).into()).expect("an address of loopback");
        socket.connect(to).await.expect("a connection").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("it blocks");
    stream
}

#[test]
fn a_source_that_holds_its_connections_locks_nobody_else_out() {
    let (scratch, small) = (Scratch::new("directory-slow"), Small::new());
    let authority = small.start(&scratch);
    let to = authority.address();
    let health = format!("GET /v1/health HTTP/1.1\r\nhost: {to}\r\n\r\n");
    let head = format!("POST /v1/descriptor HTTP/1.1\r\nhost: {to}\r\ncontent-length: 99\r\n\r\n");
    let mut slow: Vec<_> = (0..8).map(|_| TcpStream::connect(to).expect("a place")).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).expect("it is heard");
    }
    assert_eq!(http::exchange(to, health.as_bytes()), None, "a ninth connection");
    let other = connect_from([127, 0, 0, 2], to);
    let answer = http::exchange_on(other, health.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200);
    // The bodies do not come in time, and the places are free again.
    let last = http::exchange_on(slow.pop().expect("a connection"), b"x").expect("an answer");
    assert_eq!(last.status, 408);
    wait_for("a free place", seconds(5), || http::exchange(to, health.as_bytes()));
}

#[test]
fn an_authority_serves_what_it_signed_ahead_of_its_clock_and_signs_no_second_document() {
    let (scratch, mut small) = (Scratch::new("directory-clock"), Small::new());
    let epoch = small.epoch();
    let folder = scratch.files.join("state/consensuses");
    fs::create_dir_all(&folder).expect("a folder");
    let ahead = small.sign(epoch + 2, &small.own_key());
    for (epoch, bytes) in [(epoch + 2, &ahead[..]), (epoch, b"damaged")] {
        fs::write(folder.join(format!("{epoch}.cbor")), bytes).expect("a file");
    }
    let authority = small.start(&scratch);
    let to = authority.address();
    assert!(http::fetch(to, &format!("/v1/consensus/{}", epoch + 2)).body == ahead);
    for node in [0, 1] {
        assert_eq!(http::post(to, small.descriptor(node, "small").signed_bytes()).0, 200);
    }
    std::thread::sleep(seconds(1));
    assert_eq!(http::fetch(to, &format!("/v1/consensus/{epoch}")).status, 404);
    let kept = fs::read(folder.join(format!("{epoch}.cbor"))).expect("it is there");
    assert_eq!(kept, b"damaged");
}

#[test]
fn lies_of_an_authority_are_refused_and_an_honest_one_is_found() {
    let (scratch, mut small) = (Scratch::new("directory-lies"), Small::new());
    let epoch = small.epoch();
    let honest = small.sign(epoch, &small.own_key());
    let mut changed = honest.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let stranger = SigningKey::generate(&mut small.rng);
    let lies = [
        (changed, "changed"),
        (small.sign(epoch, &stranger), "0 of 1 authorities signed"),
        (small.sign(epoch - 2, &small.own_key()), "expired"),
        (small.sign(epoch + 2, &small.own_key()), "valid in"),
        (Small::new().sign(epoch, &small.own_key()), "authorities differ"),
        (honest[..honest.len() - 1].to_vec(), "malformed"),
        (vec![], "malformed"),
    ];
    let mut liars = vec![];
    for (lie, word) in lies {
        let liar = http::liar(lie);
        let error = small.obtain(&scratch, &[liar]).expect_err("a lie");
        assert!(error.contains(word), "{error} instead of {word}");
        liars.push(liar);
    }
    liars.push(http::liar(honest));
    assert_eq!(small.obtain(&scratch, &liars).expect("one is honest").epoch(), epoch);
}

#[test]
fn the_last_consensus_is_kept_and_serves_when_no_authority_answers() {
    let (scratch, mut small) = (Scratch::new("directory-kept"), Small::new());
    let (epoch, nobody) = (small.epoch(), SocketAddr::from(([127, 0, 0, 1], 9)));
    assert!(small.obtain(&scratch, &[nobody]).is_err());
    let honest = http::liar(small.sign(epoch, &small.own_key()));
    small.obtain(&scratch, &[honest]).expect("a consensus");
    assert_eq!(small.obtain(&scratch, &[nobody]).expect("it was kept").epoch(), epoch);

    // That of the epoch before is still valid, and better than none, but not than a newer one.
    let kept = scratch.files.join("kept.cbor");
    fs::write(&kept, small.sign(epoch - 1, &small.own_key())).expect("a file");
    assert_eq!(small.obtain(&scratch, &[nobody]).expect("still valid").epoch(), epoch - 1);
    assert_eq!(small.obtain(&scratch, &[honest]).expect("a newer one").epoch(), epoch);

    fs::write(&kept, "damaged").expect("a file");
    assert!(small.obtain(&scratch, &[nobody]).is_err());
    assert_eq!(small.obtain(&scratch, &[honest]).expect("fetched again").epoch(), epoch);
}

/// The directory of `scratch` at `wall`, which asks somebody with that one `consensus`.
fn open(small: &Small, scratch: &Scratch, wall: UnixMicros, consensus: Vec<u8>) -> Directory {
    let (anchor, kept) = (small.anchor.clone(), scratch.files.join("kept.cbor"));
    let authorities = vec![url(http::liar(consensus))];
    Directory::open(directory::Options { anchor, authorities, kept }, wall, Rng::from_os())
}

fn fetch(directory: &mut Directory, wall: UnixMicros) -> Result<u64, String> {
    let fetched = runtime().block_on(directory.fetch(clock::now(), wall));
    fetched.map(|consensus| consensus.epoch()).map_err(|error| error.to_string())
}

fn at_hand(directory: &Directory) -> Vec<u64> {
    directory.at_hand().iter().map(|consensus| consensus.epoch()).collect()
}

#[test]
fn what_is_kept_serves_the_present_while_the_next_epoch_has_not_begun() {
    let (scratch, mut small) = (Scratch::new("directory-ahead"), Small::new());
    let (epoch, epochs) = (small.epoch(), small.epochs);
    for ahead in 0..3 {
        let wall = epochs.publication(epoch + ahead);
        let consensus = small.sign(epoch + ahead, &small.own_key());
        let mut directory = open(&small, &scratch, wall, consensus);
        assert_eq!(fetch(&mut directory, wall), Ok(epoch + ahead));
        let again = open(&small, &scratch, wall, vec![]);
        let current = again.current(wall).map(|current| current.epoch());
        assert_eq!(current, Some((epoch + ahead).saturating_sub(1).max(epoch)));
        let begun = epochs.start(epoch + ahead);
        let current = again.current(begun).map(|current| current.epoch());
        assert_eq!(current, Some(epoch + ahead));
    }
    let wall = epochs.publication(epoch + 2);
    assert_eq!(at_hand(&open(&small, &scratch, wall, vec![])), [epoch + 1, epoch + 2]);
}

#[test]
fn that_of_now_is_asked_for_if_only_that_of_the_next_epoch_was_kept() {
    let (scratch, mut small) = (Scratch::new("directory-only-ahead"), Small::new());
    let epoch = small.epoch();
    let wall = small.epochs.publication(epoch + 1);
    let kept = scratch.files.join("kept.cbor");
    fs::write(&kept, small.sign(epoch + 1, &small.own_key())).expect("a file");
    let now = small.sign(epoch, &small.own_key());
    let mut directory = open(&small, &scratch, wall, now);
    assert!(!directory.is_up_to_date(wall));
    assert_eq!(directory.fetch_in(clock::now(), wall), Nanos::ZERO);
    assert_eq!(fetch(&mut directory, wall), Ok(epoch));
    assert_eq!(directory.current(wall).map(|current| current.epoch()), Some(epoch));
    assert_eq!(at_hand(&directory), [epoch, epoch + 1]);
    assert!(fetch(&mut directory, wall).expect_err("it is here").contains("after that of"));
}

#[test]
fn an_older_consensus_than_the_one_at_hand_is_refused() {
    let (scratch, mut small) = (Scratch::new("directory-older"), Small::new());
    let epoch = small.epoch();
    let anchor = small.anchor.clone();
    let older = http::liar(small.sign(epoch - 1, &small.own_key()));
    let kept = scratch.files.join("kept.cbor");
    fs::write(&kept, small.sign(epoch, &small.own_key())).expect("a file");
    let options = directory::Options { anchor, authorities: vec![url(older)], kept };
    let wall = clock::wall();
    let mut directory = Directory::open(options, wall, Rng::from_seed([1; 32]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(directory.fetch(clock::now(), wall)).unwrap_err();
    assert!(error.to_string().contains("at hand already"), "{error}");
    assert!(directory.fetch_in(clock::now(), wall) > Nanos::ZERO, "not at once again");
    assert_eq!(directory.current(wall).map(|current| current.epoch()), Some(epoch));
    let later = UnixMicros(wall.0 + 600_000_000);
    assert!(directory.is_up_to_date(wall) && !directory.is_up_to_date(later));
}
