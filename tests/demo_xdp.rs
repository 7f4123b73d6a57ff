//! `mixline demo --xdp` as people use it: every node in a network of its own takes its packets by
//! AF_XDP, as seen from outside, and nothing stays behind however the demo ends.
//!
//! Needs root. Each demo starts in a network of the test's own, so that it would be seen if it
//! changed anything there.

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/nobody.rs"]
mod nobody;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use hosts::Namespace;
use libbpf_rs::query::{LinkInfoIter, ProgInfoIter};
use nobody::Nobody;
use processes::{Demo, Folder, PATIENCE, is_alive, within};

/// Mixes and gateways of a demo.
const NODES: usize = 8;
/// Queues of the interface of each.
const QUEUES: u64 = 2;

/// Where a demo is: its folder, and the network that it starts in.
struct Place {
    folder: Folder,
    namespace: Namespace,
    interfaces: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let (folder, namespace) = (Folder::new(name), hosts::namespace());
        let interfaces = interfaces(&namespace);
        Place { folder, namespace, interfaces }
    }

    fn stand(&self, messages: &str) -> Demo {
        let mut command = Demo::command(&self.folder, &["--xdp", "--messages", messages]);
        // As a terminal does it, for its Ctrl-C.
        command.process_group(0);
        self.namespace.enter(|| Demo::stand(&mut command))
    }

    /// Processes that work in the folder.
    fn processes(&self) -> Vec<u32> {
        let folder = self.folder.0.to_str().expect("the path is text");
        let all = fs::read_dir("/proc").expect("there are processes");
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&pid: &u32| is_alive(pid))
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environment).contains(folder)
            })
            .collect()
    }

    /// No process; so also no namespace of the demo's, since those live only as long as a process
    /// is in them or holds them. No interface, none of `programs` and their links.
    #[track_caller]
    fn holds_nothing_of(&self, programs: &Programs) {
        assert!(within(PATIENCE, || self.processes().is_empty()), "{:?}", self.processes());
        assert_eq!(interfaces(&self.namespace), self.interfaces);
        // The kernel lets go of them a moment after the process.
        assert!(within(PATIENCE, || !programs.any_is_left()), "{programs:?}");
    }

    #[track_caller]
    fn holds_no_files(&self) {
        let left = fs::read_dir(&self.folder.0).expect("it is there");
        let left: Vec<_> = left.map(|entry| entry.expect("readable").path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// What `ip` says of the interfaces in a namespace; an XDP program would be among it.
fn interfaces(namespace: &Namespace) -> String {
    let output = namespace.enter(|| Command::new("ip").args(["-oneline", "link"]).output());
    String::from_utf8(output.expect("ip starts").stdout).expect("text")
}

/// The kernel's numbers of XDP programs and of what attaches them.
#[derive(Debug)]
struct Programs {
    programs: Vec<u32>,
    links: Vec<u32>,
}

impl Programs {
    fn of(processes: &[u32]) -> Self {
        let numbers = |key| processes.iter().flat_map(|pid| descriptors(*pid, key)).collect();
        Programs { programs: numbers("prog_id:"), links: numbers("link_id:") }
    }

    fn any_is_left(&self) -> bool {
        ProgInfoIter::default().any(|program| self.programs.contains(&program.id))
            || LinkInfoIter::default().any(|link| self.links.contains(&link.id))
    }
}

/// What the kernel says under `key` of the files that a process has open.
fn descriptors(pid: u32, key: &str) -> Vec<u32> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it is alive");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    texts
        .flat_map(|text| {
            let values =
                text.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            values.collect::<Vec<_>>()
        })
        .collect()
}

/// The processes of nodes among `processes`, by what they were started with.
fn nodes_among(processes: &[u32]) -> Vec<(String, u32)> {
    let name = |pid: u32| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let folder = words.split('\0').find_map(|word| word.strip_suffix("/mixline.toml"))?;
        Some((folder.rsplit('/').next()?.to_owned(), pid))
    };
    processes.iter().filter_map(|pid| name(*pid)).collect()
}

/// Sends a signal to a process, or with a minus in front of its number to its group.
fn signal(name: &str, number: &str) {
    let words = format!("kill -s {name} -- {number}");
    assert!(Command::new("sh").args(["-c", &words]).status().expect("a shell").success());
}

/// The number under `name` in the two lines of a protocol in /proc/net/snmp of a process.
fn udp_statistic(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).expect("it is alive");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|pair| pair.0 == name).expect("it counts that").1.parse().expect("a number")
}

/// Packets received and sent by `eth0` of a process's network.
fn interface_packets(pid: u32) -> [u64; 2] {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("it is alive");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let fields: Vec<_> = line.expect("it has an interface").split_whitespace().collect();
    [1, 9].map(|field| fields[field].parse().expect("a number"))
}

/// AF_XDP sockets in a process's network.
fn xdp_sockets(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/protocols")).expect("it is alive");
    let fields = text.lines().find_map(|line| line.strip_prefix("XDP ")).expect("it is known");
    fields.split_whitespace().nth(1).expect("sockets").parse().expect("a number")
}

/// That a node's packets come and go past the kernel's stack.
fn takes_its_packets_by_xdp(name: &str, pid: u32) {
    let enter = format!("--net=/proc/{pid}/ns/net");
    let words = [&enter, "ip", "-oneline", "link", "show", "dev", "eth0"];
    let shown = Command::new("nsenter").args(words).output().expect("it starts").stdout;
    let shown = String::from_utf8(shown).expect("text");
    assert!(shown.contains(" xdp ") && shown.contains("name shield"), "{name}: {shown}");
    assert_eq!(xdp_sockets(pid), QUEUES, "{name}");
    let [received, sent] = interface_packets(pid);
    let by_stack = ["InDatagrams", "OutDatagrams"].map(|way| udp_statistic(pid, way));
    eprintln!("{name}: {received} received, {sent} sent, {by_stack:?} by the kernel's stack");
    // What has no next hop yet goes by the stack: the first to each neighbour and client.
    assert!(received > 500 && by_stack[0] * 20 < received, "{name}: {by_stack:?} of {received}");
    assert!(sent > 500 && by_stack[1] * 20 < sent, "{name}: {by_stack:?} of {sent}");
}

#[test]
fn every_message_of_a_demo_with_xdp_goes_past_the_kernels_stack() {
    if !hosts::is_possible("every_message_of_a_demo_with_xdp_goes_past_the_kernels_stack") {
        return;
    }
    let place = Place::new("demo-xdp");
    let demo = place.stand("50");
    let nodes = nodes_among(&demo.children());
    assert_eq!(nodes.len(), NODES, "{nodes:?}");
    for (name, pid) in nodes {
        takes_its_packets_by_xdp(&name, pid);
    }
    signal("TERM", &demo.process.0.id().to_string());
    let end = demo.end();
    assert!(end.status.success(), "{:?}", end.log);
    assert!(end.report.contains("50 of 50 messages delivered, 0 duplicates"), "{}", end.report);
    let port = end.report.lines().find_map(|line| line.trim().strip_prefix("port "));
    assert_eq!(port.map(str::trim), Some("xdp native copy"), "{}", end.report);
}

#[test]
fn ctrl_c_leaves_nothing_of_a_demo_with_xdp() {
    if !hosts::is_possible("ctrl_c_leaves_nothing_of_a_demo_with_xdp") {
        return;
    }
    let place = Place::new("demo-xdp-interrupted");
    let demo = place.stand("5");
    let programs = Programs::of(&demo.children());
    assert_eq!(programs.links.len(), NODES, "{programs:?}");
    assert!(programs.any_is_left(), "they are found while they are there");
    signal("INT", &format!("-{}", demo.process.0.id()));
    let end = demo.end();
    assert!(end.status.success(), "{:?}", end.log);
    place.holds_nothing_of(&programs);
    place.holds_no_files();
}

#[test]
fn a_node_that_is_killed_ends_a_demo_with_xdp_which_names_it() {
    if !hosts::is_possible("a_node_that_is_killed_ends_a_demo_with_xdp_which_names_it") {
        return;
    }
    let place = Place::new("demo-xdp-node");
    let demo = place.stand("5");
    let children = demo.children();
    let programs = Programs::of(&children);
    let nodes = nodes_among(&children);
    let (name, pid) = nodes.iter().find(|node| node.0 == "mix-2-1").expect("it is a node");
    signal("KILL", &pid.to_string());
    let end = demo.end();
    assert_eq!(end.status.code(), Some(1), "{:?}", end.log);
    let last = end.log.last().expect("it says why");
    assert!(last.contains(&format!("{name} ended early (signal: 9")), "{last}");
    place.holds_nothing_of(&programs);
    place.holds_no_files();
}

#[test]
fn a_node_that_is_killed_early_ends_a_demo_with_xdp_too() {
    if !hosts::is_possible("a_node_that_is_killed_early_ends_a_demo_with_xdp_too") {
        return;
    }
    let place = Place::new("demo-xdp-early");
    let mut command = Demo::command(&place.folder, &["--xdp", "--messages", "60000"]);
    let demo = place.namespace.enter(|| Demo::start(&mut command));
    let mut node = None;
    assert!(within(PATIENCE, || {
        node = nodes_among(&demo.children()).into_iter().find(|node| node.0 == "gateway-1");
        // Not before it has the program on its interface.
        node.as_ref().is_some_and(|node| !Programs::of(&[node.1]).links.is_empty())
    }));
    let programs = Programs::of(&demo.children());
    signal("KILL", &node.expect("it was found").1.to_string());
    let end = demo.end();
    assert_eq!(end.status.code(), Some(1), "{:?}", end.log);
    let last = end.log.last().expect("it says why");
    assert!(last.contains("gateway-1 ended early (signal: 9"), "{last}");
    place.holds_nothing_of(&programs);
    place.holds_no_files();
}

#[test]
fn a_demo_with_xdp_that_is_killed_takes_its_processes_with_it() {
    if !hosts::is_possible("a_demo_with_xdp_that_is_killed_takes_its_processes_with_it") {
        return;
    }
    let place = Place::new("demo-xdp-killed");
    let demo = place.stand("5");
    let programs = Programs::of(&demo.children());
    assert!(place.processes().len() > NODES, "they are found while they are there");
    signal("KILL", &demo.process.0.id().to_string());
    demo.end();
    place.holds_nothing_of(&programs);
}

#[test]
fn an_ordinary_user_is_told_what_a_demo_with_xdp_takes() {
    let nobody = Nobody::new("demo-xdp-user");
    let mut demo = nobody.mixline();
    let output = demo.args(["demo", "--xdp"]).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{error}");
    for word in ["CAP_SYS_ADMIN", "CAP_BPF", "CAP_NET_RAW", "as root"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    nobody.holds_no_files();
}
