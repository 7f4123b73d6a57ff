//! What a node says of itself over HTTP: that Prometheus accepts it, and what it never says.

#[path = "support/mix.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod mix;
#[path = "support/neighbour.rs"]
mod neighbour;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::crypto::tier;
use mixline::host;
use mixline::node::{METRICS, Tier};

use mix::{World, ask, send, wait, work_for};

/// Series of a node, at most.
const SERIES_MAX: usize = 500;
/// How long Prometheus may take to start and to ask.
const PROMETHEUS_MAX: Nanos = Nanos::from_secs(30);

/// A world whose mix shows what any operator may see.
fn private(name: &str, subnet: u8) -> World {
    let world = World::new(name, subnet);
    world.configure("detail = \"lab\"", "detail = \"private\"");
    world
}

/// The samples of a text: name with labels, and value.
fn samples(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            (series, value.parse().expect("a number"))
        })
        .collect()
}

#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let found = samples(text).into_iter().find(|(name, _)| *name == series);
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).1
}

#[test]
fn promtool_accepts_what_nodes_say_private_or_lab() {
    let promtool = prometheus_package().join("promtool");
    let lab_metrics = METRICS.iter().filter(|metric| metric.tier == Tier::Lab).count();
    for (mut world, expected) in
        [(private("prom-p", 21), 0), (World::new("prom-l", 22), lab_metrics)]
    {
        let _mix = world.start();
        // When packets pass, the node has been up for a while.
        let _both = world.neighbours();
        let (status, text) = world.ask("/metrics");
        assert_eq!(status, 200);
        let output = fed(Command::new(&promtool).args(["check", "metrics"]), &text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
        let is_there = |tier: Tier| {
            let named = METRICS.iter().filter(move |metric| metric.tier == tier);
            named.filter(|metric| text.contains(&format!("\n# TYPE {} ", metric.name))).count()
        };
        let shown: usize = [Tier::Live, Tier::Window].map(is_there).iter().sum();
        assert_eq!((shown, is_there(Tier::Lab)), (METRICS.len() - lab_metrics, expected));
        assert!(samples(&text).len() < SERIES_MAX);
    }
}

#[test]
fn prometheus_scrapes_a_node() {
    let mut world = World::new("scrape", 23);
    let _mix = world.start();
    let _both = world.neighbours();
    let target = world.metrics_address();
    let config = world.folder.join("prometheus.yml");
    let text = format!(
        "scrape_configs:\n- job_name: mixline\n  scrape_interval: 1s\n  \
         static_configs:\n  - targets: [\"{target}\"]\n"
    );
    fs::write(&config, text).expect("it can be written");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
    let address = free.expect("a free port");
    let child = Command::new(prometheus_package().join("prometheus"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", world.folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Ended(child.expect("Prometheus starts"));
    let start = clock::now();
    let mut answer = String::new();
    while clock::now() - start < PROMETHEUS_MAX && !answer.contains("\"1\"]") {
        std::thread::sleep(Duration::from_millis(200));
        if std::net::TcpStream::connect(address).is_ok() {
            answer = ask(address, "/api/v1/query?query=mixline_epoch").1;
        }
    }
    assert!(answer.contains(&target.to_string()) && answer.contains("\"1\"]"), "{answer}");
}

#[test]
fn a_private_node_does_not_say_what_passes_it() {
    let mut world = private("private", 24);
    let _mix = world.start();
    let mut both = world.neighbours();
    let packets = world.packets(200);
    send(&mut both, &packets);
    send(&mut both, &packets);
    assert!(wait(&mut both, |both| both[1].received.len() > 150), "they pass");
    let (_, text) = world.ask("/metrics");
    for metric in METRICS {
        let all = samples(&text);
        let mut of_metric =
            all.iter().filter(|(series, _)| series.split('{').next() == Some(metric.name));
        match metric.tier {
            Tier::Live => assert!(of_metric.next().is_some(), "{}", metric.name),
            // The minute is not over.
            Tier::Window => assert!(of_metric.all(|(_, value)| *value == 0.0), "{}", metric.name),
            Tier::Lab => assert!(of_metric.next().is_none(), "{}", metric.name),
        }
    }
    assert!(!text.contains("reason=\"replay\""), "{text}");
    // A table of eight millions does not show hundreds.
    assert!([0.0, 0.01].contains(&value(&text, "mixline_replay_fill_ratio{key=\"current\"}")));
}

#[test]
fn a_lab_node_counts_exactly() {
    let mut world = World::new("exact", 25);
    let _mix = world.start();
    let mut both = world.neighbours();
    let before = value(&world.ask("/metrics").1, "mixline_packets_received_total");
    let packets = world.packets(100);
    world.pass(&mut both, &packets);
    world.pass(&mut both, &packets);
    assert!(wait(&mut both, |both| both[1].received.len() == 100), "they pass");
    // What the node has received it may not have judged yet.
    let replays = "mixline_replays_total{stage=\"sphinx\"}";
    assert!(wait(&mut both, |_| value(&world.ask("/metrics").1, replays) >= 100.0));
    let (_, text) = world.ask("/metrics");
    assert_eq!(value(&text, "mixline_packets_received_total") - before, 200.0);
    assert_eq!(value(&text, replays), 100.0);
}

#[test]
fn no_label_names_anybody() {
    let mut world = World::new("labels", 26);
    let _mix = world.start();
    let _both = world.neighbours();
    let (_, text) = world.ask("/metrics");
    let values = text.split('"').skip(1).step_by(2);
    for value in values {
        let is_word = value.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let of_machine = [env!("CARGO_PKG_VERSION"), tier::Tier::chosen().name().as_str()];
        assert!(is_word || of_machine.contains(&value), "{value}");
    }
    for node in &world.summary.nodes {
        assert!(!text.contains(&node.name) && !text.contains(&node.address.ip().to_string()));
        assert!(!text.contains(&node.id.to_string()[..8]));
    }
}

#[test]
fn a_node_is_healthy_while_it_idles_and_not_ready_while_it_drains() {
    let mut world = World::new("health", 27);
    world.delay = Nanos::from_secs(2);
    let mix = world.start();
    assert!(up_to_its_listener(&world));
    // Its workers sleep, and are woken to show that they are there.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.ask("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(world.ask("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(world.ask("/").0, 404);
    let mut both = world.neighbours();
    let packets = world.packets(20);
    send(&mut both, &packets);
    host::terminate(mix.0.id());
    work_for(&mut both, Nanos::from_millis(500));
    assert_eq!(world.ask("/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(world.ask("/healthz").0, 200);
}

#[test]
fn the_pages_of_an_operator_explain_every_metric() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    for metric in METRICS {
        let tier = match metric.tier {
            Tier::Live => "live",
            Tier::Window => "minute",
            Tier::Lab => "lab",
        };
        let row = format!("| `{}` | {tier} | {} |", metric.name, metric.help);
        assert!(page.contains(&row), "docs/operations.md lacks\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `mixline_")).count();
    assert_eq!(rows, METRICS.len(), "a row without a metric");
}

fn up_to_its_listener(world: &World) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::net::TcpStream::connect(world.metrics_address()).is_ok()
    })
}

/// A process of the test, ended with it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fed(command: &mut Command, input: &str) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(input.as_bytes()).expect("it reads");
    drop(pipe);
    child.wait_with_output().expect("it ends")
}

/// The folder with `prometheus` and `promtool`: Debian's package, unpacked below `target`, never
/// installed.
fn prometheus_package() -> PathBuf {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    let unpack = || {
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
        let package = tools.join("prometheus");
        if !package.join("usr/bin/promtool").exists() {
            let work = tools.join(format!("prometheus-{}", std::process::id()));
            fs::create_dir_all(&work).expect("a folder below target");
            if !is_downloaded(&work) {
                // A fresh machine knows no package yet.
                let _ = Command::new("apt-get").args(["update", "-q"]).output();
                assert!(is_downloaded(&work), "`apt-get download prometheus` fails");
            }
            let archive = fs::read_dir(&work).expect("it is ours").next().expect("a package");
            let archive = archive.expect("it can be read").path();
            let unpacked = Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&work).status();
            assert!(unpacked.expect("dpkg is there").success());
            let _ = fs::remove_file(archive);
            // Another test process may have been faster: then its folder is as good.
            if fs::rename(&work, &package).is_err() {
                let _ = fs::remove_dir_all(&work);
            }
        }
        package.join("usr/bin")
    };
    UNPACKED.get_or_init(unpack).clone()
}

fn is_downloaded(folder: &Path) -> bool {
    let mut command = Command::new("apt-get");
    let output = command.args(["download", "-q", "prometheus"]).current_dir(folder).output();
    output.is_ok_and(|output| output.status.success())
}
