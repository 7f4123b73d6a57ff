//! Configuration files: what is accepted, and how what is not is shown.

use mixline::clock::Nanos;
use mixline::config::{
    AUTHORITY_KEYS, AuthorityFile, CLIENT_KEYS, ClientFile, ConfigError, Fault, GatewayChoice, Key,
    LogLevel, NETWORK_KEYS, NODE_KEYS, NodeFile, PortMode, PortOptions, example, parse_anchor,
};
use mixline::crypto::random::Rng;
use mixline::node;
use mixline::pki::{NodeId, Role};
use mixline::pool::{Fraction, Strategy};
use mixline::replay::Plan;
use std::path::{Path, PathBuf};

const NODE: &str = r#"[node]
network = "../network.toml"
consensus = "/srv/consensus.cbor"
listen = ["127.0.0.1:7700"]
"#;

fn parse_node(text: &str) -> Result<NodeFile, ConfigError> {
    NodeFile::parse(text, Path::new("/etc/mixline/mixline.toml"))
}

/// The fault of a node's file that ends with `more`.
fn fault(more: &str) -> Fault {
    let error = parse_node(&format!("{NODE}{more}")).expect_err("a file with a fault");
    assert_eq!(error.exit_code(), 78);
    error.fault().expect("a fault in the text").clone()
}

#[test]
fn a_short_node_file_has_defaults_and_paths_relative_to_itself() {
    let file = parse_node(NODE).unwrap();
    assert_eq!(file.network, PathBuf::from("/etc/mixline/../network.toml"));
    assert_eq!(file.consensus, PathBuf::from("/srv/consensus.cbor"));
    assert_eq!(file.keys, PathBuf::from("/etc/mixline/keys"));
    assert_eq!(file.listen, ["127.0.0.1:7700".parse().unwrap()]);
    assert_eq!((file.workers.count, file.workers.pin), (None, true));
    assert_eq!((file.port, file.log), (PortOptions::default(), LogLevel::Info));
    assert_eq!((file.slots, file.packets_max), (65536, 49152));
}

#[test]
fn every_key_of_a_node_file_can_be_set() {
    let more = "[workers]\ncount = 3\npin = false\n[port]\nmode = \"xdp-generic\"\n\
        interface = \"eth1\"\nbusy_poll = true\nstrangers = 9\n\
        [memory]\nslots = 2048\n[mix]\npackets_max = 1000\n[log]\nlevel = \"warn\"\n";
    let file = parse_node(&format!("{NODE}keys = \"k\"\n{more}")).unwrap();
    assert_eq!(file.keys, PathBuf::from("/etc/mixline/k"));
    assert_eq!((file.workers.count, file.workers.pin), (Some(3), false));
    let port = PortOptions {
        mode: PortMode::XdpGeneric,
        interface: Some("eth1".into()),
        busy_poll: true,
        strangers: 9,
    };
    assert_eq!((file.port, file.log), (port, LogLevel::Warn));
    assert_eq!((file.slots, file.packets_max), (2048, 1000));
}

#[test]
fn an_unknown_key_is_shown_with_file_line_column_and_caret() {
    let shown = fault("[workers]\n  cuont = 4\n").to_string();
    let expected = "/etc/mixline/mixline.toml:6:3: unknown field `cuont`, \
        expected `count` or `pin` in `workers`\n  \
        |\n6 |   cuont = 4\n  |   ^^^^^";
    assert_eq!(shown, expected);
}

#[test]
fn an_unknown_table_is_refused() {
    let fault = fault("[wrokers]\n");
    assert_eq!((fault.line, fault.column), (5, 2));
    assert!(fault.message.contains("wrokers"), "{}", fault.message);
}

#[test]
fn a_value_out_of_range_names_the_key_and_the_range() {
    let fault = fault("[workers]\ncount = 0\n");
    assert_eq!((fault.line, fault.column), (6, 9));
    assert_eq!(fault.message, "0 is out of range: use 1 to 1024 in `workers.count`");
}

#[test]
fn an_interface_is_named_as_the_kernel_does() {
    for name in ["", "a b", "eth/0", "a-name-of-16-char"] {
        let fault = fault(&format!("[port]\ninterface = {name:?}\n"));
        assert_eq!((fault.line, fault.column), (6, 13));
        assert!(fault.message.contains("ip link"), "{}", fault.message);
    }
}

#[test]
fn a_value_of_a_wrong_type_or_name_names_the_key() {
    let wrong_type = fault("[memory]\nslots = \"many\"\n");
    assert_eq!((wrong_type.line, wrong_type.column), (6, 9));
    assert!(wrong_type.message.ends_with("in `memory.slots`"), "{}", wrong_type.message);
    let unknown = fault("[log]\nlevel = \"loud\"\n");
    assert!(unknown.message.contains("`warn`") && unknown.message.ends_with("in `log.level`"));
}

#[test]
fn an_address_without_a_port_is_refused_with_an_example() {
    let text = NODE.replace("127.0.0.1:7700", "127.0.0.1");
    let error = parse_node(&text).unwrap_err();
    let fault = error.fault().unwrap();
    assert_eq!((fault.line, fault.column), (4, 11));
    assert!(fault.message.contains("192.0.2.1:7700"), "{}", fault.message);
    assert!(parse_node(&NODE.replace(":7700", ":0")).is_err());
    assert!(parse_node(&NODE.replace("\"127.0.0.1:7700\"", "")).is_err());
}

#[test]
fn a_missing_key_is_named() {
    let text = NODE.replace("consensus = \"/srv/consensus.cbor\"\n", "");
    let error = parse_node(&text).unwrap_err();
    assert!(error.fault().unwrap().message.contains("consensus"), "{error}");
    assert!(parse_node("").unwrap_err().to_string().contains("node"));
    assert!(parse_node(&NODE.replace("/srv/consensus.cbor", "")).is_err(), "an empty path");
}

#[test]
fn more_packets_in_the_mix_than_slots_are_refused_with_both_keys() {
    let fault = fault("[memory]\nslots = 2048\n[mix]\npackets_max = 2048\n");
    assert_eq!((fault.line, fault.column), (8, 15));
    assert!(fault.message.contains("mix.packets_max") && fault.message.contains("memory.slots"));
}

#[test]
fn a_strategy_of_the_mix_has_its_own_parameters() {
    let strategy = |more: &str| parse_node(&format!("{NODE}[mix]\n{more}")).unwrap().strategy;
    assert_eq!(parse_node(NODE).unwrap().strategy, Strategy::Poisson);
    assert_eq!(strategy("strategy = \"poisson\"\n"), Strategy::Poisson);
    let timed = Strategy::TimedDynamic {
        interval: Nanos::from_micros(5260),
        fraction: Fraction::new(0.1).unwrap(),
        packets_min: 100,
    };
    assert_eq!(strategy(TIMED), timed);
    let threshold = strategy("strategy = \"threshold\"\nthreshold = 50\n");
    assert_eq!(threshold, Strategy::Threshold { packets: 50 });
}

const TIMED: &str =
    "strategy = \"timed-dynamic\"\ninterval = \"5260us\"\nfraction = 0.1\npackets_min = 100\n";

#[test]
fn a_parameter_of_another_strategy_or_none_at_all_is_refused_with_both_keys() {
    let refused = |more: &str| {
        let fault = fault(&format!("[mix]\n{more}"));
        (fault.line, fault.column, fault.message)
    };
    let (line, column, message) = refused("interval = \"5ms\"\n");
    assert_eq!((line, column), (6, 12));
    assert_eq!(
        message,
        "`mix.interval` belongs to the strategy \"timed-dynamic\", but `mix.strategy` is \
         \"poisson\": remove one of them"
    );
    assert_eq!(refused("strategy = \"threshold\"\nthreshold = 9\nfraction = 0.1\n").0, 8);
    assert_eq!(refused(&format!("{TIMED}threshold = 9\n")).0, 10);
    for (key, line) in [("interval", 6), ("fraction", 6), ("packets_min", 6)] {
        let less: String = TIMED.split_inclusive('\n').filter(|l| !l.starts_with(key)).collect();
        let message = format!("`mix.strategy` \"timed-dynamic\" needs `mix.{key}`");
        assert_eq!(refused(&less), (line, 12, message));
    }
    assert!(refused("strategy = \"threshold\"\n").2.ends_with("needs `mix.threshold`"));
}

#[test]
fn a_parameter_of_the_mix_that_makes_no_sense_is_named_with_its_range() {
    let refused = |from: &str, to: &str| {
        let fault = fault(&format!("[mix]\n{}", TIMED.replace(from, to)));
        (fault.line, fault.message)
    };
    for interval in ["999us", "1001ms", "0s"] {
        let (line, message) = refused("5260us", interval);
        assert_eq!(line, 7);
        assert_eq!(message, "`mix.interval` is out of range: use \"1ms\" to \"1s\"");
    }
    for fraction in ["0", "0.0000001", "-0.1", "1.01", "nan", "inf"] {
        let (line, message) = refused("0.1", fraction);
        assert_eq!(line, 8);
        assert!(message.starts_with("`mix.fraction` is out of range"), "{message}");
    }
    assert!(refused("= 100", "= -1").1.ends_with("in `mix.packets_min`"));
    assert!(refused("timed-dynamic", "random").1.ends_with("in `mix.strategy`"));
    let single = fault("[mix]\nstrategy = \"threshold\"\nthreshold = 1\n");
    assert!(single.message.ends_with("in `mix.threshold`"), "{single}");
}

#[test]
fn a_strategy_is_held_against_the_pool_of_each_owner() {
    let check = |more: &str| {
        let text = format!("{NODE}[workers]\ncount = 2\n[mix]\npackets_max = 200\n{more}");
        let options = node::Options::of(&parse_node(&text).unwrap());
        options.check_memory().map_err(|error| error.to_string())
    };
    assert_eq!(check(&TIMED.replace("= 100", "= 99")), Ok(()));
    let refused = check(TIMED).unwrap_err();
    assert!(refused.starts_with("`mix.packets_min` is 100, but a pool has"), "{refused}");
    let threshold = |packets: u32| format!("strategy = \"threshold\"\nthreshold = {packets}\n");
    assert_eq!(check(&threshold(100)), Ok(()));
    assert!(check(&threshold(101)).unwrap_err().contains("use 2 to 100"));
}

#[test]
fn a_file_that_is_no_toml_is_shown_at_its_first_fault() {
    let fault = fault("[workers\n");
    assert_eq!(fault.line, 5);
    for text in ["\u{0}", "é = ", "[", "\"\"\"", "a.b.c = [", "\u{feff}[node]", "node = 1"] {
        let error = parse_node(text).unwrap_err();
        assert!(error.to_string().contains('^'), "{error}");
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let mut rng = Rng::from_seed([1; 32]);
    let whole = example("x", NODE_KEYS, &[("node.listen", "[\"127.0.0.1:1\", \"é\"]".into())]);
    let whole = whole.replace("\n#", "\n").into_bytes();
    let below = |rng: &mut Rng, bound: usize| rng.below(u32::try_from(bound).unwrap()) as usize;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(4) {
            let place = below(&mut rng, bytes.len());
            bytes[place] = b"\"'[]{}=\n\t#\\\r0a.\0"[below(&mut rng, 16)];
        }
        bytes.truncate(below(&mut rng, 2 * bytes.len()));
        let text = String::from_utf8_lossy(&bytes);
        if let Err(error) = parse_node(&text) {
            assert!(error.to_string().contains('^'), "{error}");
        }
    }
    assert!(parse_node(&format!("a = {}", "[".repeat(100_000))).is_err());
}

#[test]
fn a_missing_file_is_missing_input() {
    let error = NodeFile::load(Path::new("/nonexistent/mixline.toml")).unwrap_err();
    assert_eq!(error.exit_code(), 66);
    assert!(error.to_string().contains("/nonexistent/mixline.toml"));
}

#[test]
fn a_client_names_its_gateway_by_name_or_identity() {
    let parse = |gateway: &str| {
        let text = format!("[client]\nnetwork = \"n\"\nconsensus = \"c\"\n{gateway}");
        ClientFile::parse(&text, Path::new("/h/client.toml"))
    };
    let file = parse("").unwrap();
    assert_eq!((file.gateway, file.mailbox), (None, PathBuf::from("/h/mailbox.key")));
    let named = parse("gateway = \"gateway-1\"").unwrap().gateway;
    assert_eq!(named, Some(GatewayChoice::Name("gateway-1".into())));
    let id = NodeId([0xab; 32]);
    let identified = parse(&format!("gateway = \"{id}\"")).unwrap().gateway;
    assert_eq!(identified, Some(GatewayChoice::Id(id)));
    let error = parse("gateway = \"Gate way\"").unwrap_err();
    assert_eq!(error.fault().map(|fault| (fault.line, fault.column)), Some((4, 11)));
}

#[test]
fn a_fault_of_a_network_file_is_shown_at_the_key_that_has_it() {
    let parse = |text: &str| parse_anchor(text, Path::new("network.toml"));
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"; // RFC 8032
    let text = format!("[network]\nname = \"n\"\nauthorities = [\"{key}\"]\nthreshold = 1\n");
    assert_eq!(parse(&text).unwrap().threshold(), 1);
    let line =
        |from: &str, to: &str| parse(&text.replace(from, to)).unwrap_err().fault().unwrap().line;
    assert_eq!(line("\"n\"", "\"N\""), 2);
    assert_eq!(line(key, "d7"), 3);
    assert_eq!(line("threshold = 1", "threshold = 2"), 4);
}

/// Keys that stand beside one strategy of the mix only, and one that says what a rate says.
const ALTERNATIVES: [&str; 5] =
    ["interval =", "fraction =", "packets_min =", "threshold = 100", "packets_max = 8000000"];

#[test]
fn an_example_with_all_its_values_is_a_file_that_is_accepted() {
    let all = |keys: &[Key]| -> String {
        example("x", keys, &[])
            .replace("\n#", "\n")
            .lines()
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .filter(|line| !ALTERNATIVES.iter().any(|key| line.starts_with(key)))
            .fold(String::new(), |text, line| text + line + "\n")
    };
    parse_node(&all(NODE_KEYS)).unwrap();
    ClientFile::parse(&all(CLIENT_KEYS), Path::new("client.toml")).unwrap();
    AuthorityFile::parse(&all(AUTHORITY_KEYS), Path::new("mixline-authority.toml")).unwrap();
}

#[test]
fn a_node_with_authorities_says_who_it_is() {
    let authorities = "[directory]\nauthorities = [\"http://192.0.2.9:7780\"]\n";
    let refused = fault(authorities);
    assert_eq!((refused.line, refused.column), (6, 15));
    assert!(refused.message.contains("`node.name`"), "{refused}");
    let who = "name = \"mix-1\"\nrole = \"mix\"\n";
    let membership = |more: &str| parse_node(&format!("{NODE}{who}{more}")).map(|f| f.membership);
    assert_eq!(membership("").unwrap(), None);
    let member = membership(authorities).unwrap().unwrap();
    assert_eq!((member.name.as_str(), member.role), ("mix-1", Role::Mix));
    assert_eq!(member.epochs.length_s(), 1200);
    assert_eq!(member.addresses, ["127.0.0.1:7700".parse().unwrap()]);
    let line = |more: &str| {
        membership(&format!("{authorities}{more}")).unwrap_err().fault().map(|fault| fault.line)
    };
    assert_eq!(line("epoch = \"1500ms\"\n"), Some(9));
    let https = membership("[directory]\nauthorities = [\"https://192.0.2.9\"]\n").unwrap_err();
    assert!(https.to_string().contains("is no authority's address"), "{https}");
}

#[test]
fn a_fault_of_an_authority_file_is_shown_at_the_key_that_has_it() {
    let parse = |more: &str| {
        let text = format!("[authority]\nnetwork = \"n\"\n{more}");
        AuthorityFile::parse(&text, Path::new("mixline-authority.toml"))
    };
    let file = parse("").unwrap();
    assert_eq!(file.listen, "127.0.0.1:7780".parse().unwrap());
    assert_eq!(file.policy.epochs.length_s(), 1200);
    assert!(file.policy.seats.is_none());
    let fault = |more: &str| {
        let error = parse(more).unwrap_err();
        let fault = error.fault().unwrap();
        (fault.line, fault.message.clone())
    };
    let id = NodeId([0xab; 32]);
    let seats = |list: &str| format!("[admission]\nseats = [{list}]\n");
    let seat = |layer: u8| format!("{{ node = \"{id}\", layer = {layer} }}");
    assert!(parse(&seats(&seat(3))).is_ok());
    assert!(fault(&seats(&seat(4))).1.contains("layer"));
    assert!(fault(&seats(&format!("{}, {}", seat(1), seat(0)))).1.contains("two seats"));
    assert!(fault(&seats("{ node = \"x\", layer = 1 }")).1.contains("is no node"));
    assert_eq!(fault("[network]\nepoch = \"3s\"\n").0, 4);
    assert!(fault("[network]\nlayers = 4\n").1.contains("4 layers"));
    assert!(fault("[rates]\npayload = -1.0\n").1.contains("no rate"));
}

#[test]
fn the_documentation_has_a_row_for_every_key_and_no_others() {
    let page = include_str!("../docs/configuration.md");
    let keys = [NODE_KEYS, CLIENT_KEYS, AUTHORITY_KEYS, NETWORK_KEYS].concat();
    for key in &keys {
        let Key { table, name, default, change, meaning, .. } = key;
        let row = format!("| `{table}.{name}` | {default} | {} | {meaning} |", change.as_str());
        assert!(page.lines().any(|line| line == row), "docs/configuration.md lacks: {row}");
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), keys.len());
}

#[test]
fn metrics_are_for_this_machine_unless_others_are_named() {
    let listen = |more: &str| format!("[metrics]\n{more}\n");
    assert!(parse_node(NODE).unwrap().metrics.is_none());
    let local = parse_node(&format!("{NODE}{}", listen("listen = \"127.0.0.1:9477\""))).unwrap();
    assert!(local.metrics.unwrap().allow.is_empty());
    let open = fault(&listen("listen = \"0.0.0.0:9477\""));
    assert_eq!((open.line, open.column), (6, 10));
    assert!(open.message.contains("`metrics.allow`"), "{}", open.message);
    let named = listen("listen = \"0.0.0.0:9477\"\nallow = [\"192.0.2.0/24\", \"2001:db8::1\"]");
    let named = parse_node(&format!("{NODE}{named}")).unwrap().metrics.unwrap();
    assert!(named.allow[0].contains("192.0.2.9".parse().unwrap()));
    let bad = fault(&listen("listen = \"127.0.0.1:9477\"\nallow = [\"192.0.2.0/33\"]"));
    assert_eq!((bad.line, bad.column), (7, 10));
}

#[test]
fn exact_metrics_are_never_shown_to_other_machines() {
    let fault =
        fault("[metrics]\ndetail = \"lab\"\nlisten = \"0.0.0.0:9477\"\nallow = [\"192.0.2.1\"]\n");
    assert_eq!((fault.line, fault.column), (7, 10));
    assert!(fault.message.contains("lab"), "{}", fault.message);
}

/// A node of a network with epochs of 20 minutes.
fn member(replay: &str) -> String {
    let node = NODE.replace("listen", "name = \"mix-1\"\nrole = \"mix\"\nlisten");
    format!("{node}[directory]\nauthorities = [\"http://127.0.0.1:7780\"]\n[replay]\n{replay}")
}

#[test]
fn the_replay_tables_of_a_node_are_planned_and_placed() {
    let file = parse_node(NODE).unwrap();
    assert_eq!((file.replay_folder, file.replay), (None, Plan::Packets(8_000_000)));
    let more = "[replay]\nfolder = \"/run/mixline\"\npackets_max = 5\n";
    let file = parse_node(&format!("{NODE}{more}")).unwrap();
    assert_eq!(file.replay_folder, Some(PathBuf::from("/run/mixline")));
    assert_eq!(file.replay, Plan::Packets(5));
}

#[test]
fn a_member_plans_its_replay_tables_for_a_rate_over_two_epochs() {
    let plan = |text: &str| parse_node(&member(text)).unwrap().replay;
    assert_eq!(plan(""), Plan::Rate { per_second: 3400, window_s: 2400 });
    let rate = plan("packets_per_second = 60000\n");
    assert_eq!(rate, Plan::Rate { per_second: 60_000, window_s: 2400 });
    assert_eq!(plan("packets_max = 5\n"), Plan::Packets(5));
}

#[test]
fn a_rate_beside_a_number_or_without_epochs_is_refused_with_its_place() {
    let refused = |text: &str| parse_node(text).unwrap_err().to_string();
    let both = refused(&member("packets_max = 5\npackets_per_second = 7\n"));
    assert!(both.contains("remove one of them"), "{both}");
    let endless = refused(&format!("{NODE}[replay]\npackets_per_second = 7\n"));
    assert!(endless.contains("use `replay.packets_max`"), "{endless}");
}
