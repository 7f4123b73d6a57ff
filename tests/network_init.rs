//! A network made by `network init`: its files fit together, and its secrets are closed.

use mixline::clock::UnixMicros;
use mixline::config::{AuthorityFile, ClientFile, NodeFile, load_anchor};
use mixline::crypto::random::Rng;
use mixline::network::{DirectoryPlan, InitError, NodeSummary, Options, Summary, init};
use mixline::pki::{Consensus, KeyFolder, MailboxKeys, Role};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WALL: UnixMicros = UnixMicros::from_secs(1_700_000_000);

/// The authority's.
const ADDRESS: &str = "127.77.0.100:7780";

/// A folder of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let unique = format!("mixline-init-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).expect("a new folder");
        Scratch(path)
    }

    fn options(&self) -> Options {
        Options::new(self.0.join("net"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn make(options: &Options) -> Result<Summary, InitError> {
    init(options, &mut Rng::from_seed([1; 32]), WALL)
}

fn consensus(network: &Path, consensus: &Path) -> Consensus {
    let anchor = load_anchor(network).expect("a trust anchor");
    let document = fs::read(consensus).expect("a consensus");
    Consensus::verify(&document, &anchor, WALL, None).expect("a valid consensus")
}

#[test]
fn every_node_finds_itself_in_the_consensus_with_the_keys_and_address_it_has() {
    let scratch = Scratch::new("nodes");
    let summary = make(&scratch.options()).unwrap();
    assert_eq!(summary.nodes.len(), 8);
    for node in &summary.nodes {
        let file = NodeFile::load(&node.config).unwrap();
        let consensus = consensus(&file.network, &file.consensus);
        let folder = KeyFolder::with_credentials(&file.keys, None);
        let (keys, epoch) = (folder.node_keys().unwrap(), consensus.epoch());
        let entry = consensus.node(&keys.identity.id()).unwrap();
        assert_eq!((entry.name(), entry.role()), (node.name.as_str(), node.role));
        assert_eq!(entry.addresses(), file.listen);
        assert_eq!(*entry.link_public(), keys.link.public());
        let keys = folder.epoch_keys(epoch).unwrap();
        assert_eq!(entry.mix_public(epoch), Some(&keys.mix.public()));
        assert_eq!(entry.kem_public(epoch), Some(keys.kem.public()));
    }
}

#[test]
fn with_a_directory_every_node_has_a_seat_and_knows_where_to_register() {
    let scratch = Scratch::new("directory");
    let mut options = scratch.options();
    let plan = DirectoryPlan { address: ADDRESS.parse().unwrap(), epoch: Duration::from_secs(16) };
    options.directory = Some(plan);
    let summary = make(&options).unwrap();
    let authority = AuthorityFile::load(&summary.authority.unwrap()).unwrap();
    assert_eq!((authority.listen, authority.policy.epochs.length_s()), (plan.address, 16));
    let anchor = load_anchor(&authority.network).unwrap();
    let key = KeyFolder::with_credentials(&authority.keys, None).authority_key("authority");
    assert_eq!(anchor.authorities(), [key.unwrap().public()]);
    let seats = authority.policy.seats.unwrap();
    assert_eq!(seats.len(), 8);
    for node in &summary.nodes {
        let file = NodeFile::load(&node.config).unwrap();
        let member = file.membership.unwrap();
        assert_eq!((member.name, member.role, member.addresses), node_said(node));
        assert_eq!(member.authorities[0].host_and_port(), ADDRESS);
        assert_eq!(member.epochs, authority.policy.epochs);
        let keys = KeyFolder::with_credentials(&file.keys, None);
        assert_eq!(keys.node_keys().unwrap().identity.id(), node.id);
        assert!(keys.epochs().unwrap().is_empty(), "it makes them itself");
        assert_eq!(seats[&node.id].layer.is_some(), node.role == Role::Mix);
    }
    let client = ClientFile::load(&summary.client).unwrap();
    assert!(client.directory().unwrap().is_some());
    options.folder = scratch.0.join("two");
    options.authorities = 2;
    assert!(matches!(make(&options), Err(InitError::Authorities(2))));
}

fn node_said(node: &NodeSummary) -> (String, Role, Vec<SocketAddr>) {
    (node.name.clone(), node.role, vec![node.address])
}

#[test]
fn the_client_can_use_its_files() {
    let scratch = Scratch::new("client");
    let summary = make(&scratch.options()).unwrap();
    let file = ClientFile::load(&summary.client).unwrap();
    let consensus = consensus(&file.network, &file.consensus);
    let gateway = consensus.node_named("gateway-1").unwrap();
    let address = MailboxKeys::load(&file.mailbox).unwrap().address(gateway.id());
    assert_eq!(address.to_string().parse(), Ok(address));
}

#[test]
fn the_network_is_the_one_that_the_options_ask_for() {
    let scratch = Scratch::new("options");
    let mut options = scratch.options();
    (options.mixes, options.layers, options.gateways, options.authorities) = (5, 2, 1, 4);
    (options.payload_bytes, options.network) = (960, "small".into());
    options.valid = Duration::from_secs(60);
    let summary = make(&options).unwrap();
    let consensus = consensus(&summary.anchor, &summary.consensus);
    assert_eq!(consensus.network(), "small");
    assert_eq!((consensus.layer(1).len(), consensus.layer(2).len()), (3, 2));
    assert_eq!(consensus.gateways().len(), 1);
    assert_eq!(consensus.geometry().payload_bytes(), 960);
    assert_eq!(consensus.valid_until(), UnixMicros::from_secs(1_700_000_060));
    assert_eq!(load_anchor(&summary.anchor).unwrap().threshold(), 3);
}

#[test]
fn secret_keys_are_closed_to_everybody_else() {
    let scratch = Scratch::new("modes");
    make(&scratch.options()).unwrap();
    let mut folders = vec![scratch.0.clone()];
    let mut keys = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "key") {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
                keys += 1;
            }
        }
    }
    assert_eq!(keys, 8 * 4 + 1 + 1, "four a node, the authority's, the mailbox's");
}

#[test]
fn a_folder_that_is_not_empty_is_left_alone() {
    let scratch = Scratch::new("occupied");
    let options = scratch.options();
    make(&options).unwrap();
    let before = fs::read(options.folder.join("network.toml")).unwrap();
    let error = make(&options).unwrap_err();
    assert!(matches!(&error, InitError::Occupied(path) if *path == options.folder));
    assert_eq!(fs::read(options.folder.join("network.toml")).unwrap(), before);
}

#[test]
fn options_that_make_no_network_are_refused_before_anything_is_written() {
    let scratch = Scratch::new("refused");
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = scratch.options();
        change(&mut options);
        let error = make(&options).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!options.folder.exists(), "{error}");
    };
    refused(&|options| options.mixes = 2);
    refused(&|options| options.layers = 0);
    refused(&|options| options.layers = 4);
    refused(&|options| options.gateways = 0);
    refused(&|options| options.authorities = 0);
    refused(&|options| options.network = "Not a name".into());
    refused(&|options| options.payload_bytes = 7);
    refused(&|options| options.valid = Duration::ZERO);
    refused(&|options| options.delay_mean = Duration::ZERO);
    refused(&|options| options.addresses = [255, 255, 255, 250].into());
    refused(&|options| options.port = 0);
}
