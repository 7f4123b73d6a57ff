//! A stream of packets through the node, and what was noted of it: one serves T1 to T5.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::generator::{self, AHEAD_BATCHES, AHEAD_PACKETS, Orders, Run};
use super::join::{self, Streamed};
use super::lab::Lab;
use super::neighbour::{Neighbour, wall_nanos};
use super::progress::Watch;
use super::sniffer::{self, Sniffer};
use super::stalls::{self, Told};
use super::{AuditError, sink};
use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::pki::Rate;

/// How long links may take to come up.
const LINKS_MAX: Nanos = Nanos::from_secs(30);
/// How long to wait behind the last packet, in mean delays: one in nine million stays longer.
const LAST_MEANS: u64 = 16;
/// How often the two ends and the person are looked after.
const LOOK: Duration = Duration::from_millis(5);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Packets a second.
    pub(super) rate: Rate,
    /// For how long.
    pub(super) span: Nanos,
}

impl Plan {
    /// Packets that suffice: a twentieth more than the mean number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn packets(self) -> u64 {
        let mean = self.span.as_secs_f64() * f64::from(self.rate.milli) / 1000.0;
        (mean * 1.05) as u64 + 1000
    }
}

/// Everything that was noted while the stream passed.
pub(super) struct Notes {
    pub(super) generator: generator::Log,
    pub(super) sink: sink::Log,
    pub(super) sniffer: Option<sniffer::Log>,
    pub(super) told: Option<Told>,
    /// When sending began and ended, by the wall clock.
    pub(super) span: (Nanos, Nanos),
}

/// The nodes that we play.
struct Played {
    before: Vec<Neighbour>,
    behind: Vec<Neighbour>,
}

/// Sends a stream through the node of `lab`.
pub(super) fn pass(lab: &Lab, plan: Plan, watch: &Watch<'_>) -> Result<Streamed, AuditError> {
    let stop = AtomicBool::new(false);
    let notes = thread::scope(|scope| {
        let told = lab.metrics.map(|address| {
            let stop = &stop;
            scope.spawn(move || lab.at_the_node(|| Ok(stalls::follow(address, stop))))
        });
        let notes = lab.at_our_end(|| {
            let mut played = Played::start(lab)?;
            let notes = played.connect(watch).and_then(|()| played.send(lab, plan, watch));
            played.close();
            notes
        });
        stop.store(true, Ordering::Relaxed);
        let told = told.and_then(|told| told.join().ok()).and_then(Result::ok);
        notes.map(|notes| Notes { told, ..notes })
    })?;
    Ok(join::join(lab, notes))
}

impl Played {
    fn start(lab: &Lab) -> Result<Self, AuditError> {
        let start = |files: &[_]| {
            let all = files.iter().map(|file| Neighbour::start(file, &lab.node));
            all.collect::<Result<Vec<_>, _>>()
        };
        Ok(Played { before: start(&lab.before)?, behind: start(&lab.behind)? })
    }

    /// Waits until all links are up, and a little longer: a session that the node has answered
    /// serves it only once it was confirmed.
    fn connect(&mut self, watch: &Watch<'_>) -> Result<(), AuditError> {
        watch.phase("links come up", Nanos::ZERO);
        let start = clock::now();
        let mut up_since = None;
        while up_since.is_none_or(|since| clock::now() - since < Nanos::from_secs(1)) {
            watch.check()?;
            let all = self.before.len() + self.behind.len();
            let up = self.all().filter(|neighbour| neighbour.is_up()).count();
            if up == all {
                up_since = up_since.or(Some(clock::now()));
            } else if clock::now() - start > LINKS_MAX {
                return Err(AuditError::NoLinks { up, all });
            }
            self.all().for_each(|neighbour| neighbour.turn(|_| ()));
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.all().for_each(Neighbour::close);
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Neighbour> {
        self.before.iter_mut().chain(&mut self.behind)
    }

    fn send(&mut self, lab: &Lab, plan: Plan, watch: &Watch<'_>) -> Result<Notes, AuditError> {
        let consensus = &*lab.consensus;
        let sniffer = match lab.has_wire() {
            true => Some(Sniffer::open(consensus.geometry().datagram_bytes())?),
            false => None,
        };
        let run = Run(Rng::from_os().bytes());
        let ends = self.behind.iter().map(|neighbour| neighbour.address).collect();
        let orders = Orders { consensus, node: &lab.node, ends, run, packets: plan.packets() };
        let (sunk, known) = (&AtomicBool::new(false), &AtomicU64::new(0));
        let built = &AtomicU64::new(0);
        let Played { before, behind } = self;
        let notes = thread::scope(|scope| {
            let (sender, made) = mpsc::sync_channel(AHEAD_BATCHES);
            let wanted = orders.packets.min(AHEAD_PACKETS);
            scope.spawn(move || generator::build(&orders, &sender, built));
            let sink = scope.spawn(|| sink::take(behind, consensus, run, (sunk, known)));
            let sniffer = sniffer.as_ref().map(|sniffer| scope.spawn(|| sniffer.look(sunk)));
            build_ahead(before, (built, wanted), watch);
            let from = wall_nanos();
            let generator = hand_in(before, made, plan, watch);
            let span = (from, wall_nanos());
            wait_for_the_last(lab, generator.handed.len() as u64, known);
            sunk.store(true, Ordering::Relaxed);
            let sniffer = sniffer.map(|sniffer| sniffer.join().unwrap_or_default());
            let sink = sink.join().unwrap_or_default();
            Notes { generator, sink, sniffer, told: None, span }
        });
        watch.check()?;
        Ok(notes)
    }
}

/// Keeps the links alive until enough packets are `built`.
fn build_ahead(before: &mut [Neighbour], (built, wanted): (&AtomicU64, u64), watch: &Watch<'_>) {
    watch.phase("packets are built", Nanos::ZERO);
    // One batch may wait in the builder's hands.
    while built.load(Ordering::Relaxed) < wanted && watch.check().is_ok() {
        before.iter_mut().for_each(|neighbour| neighbour.turn(|_| ()));
        thread::sleep(LOOK);
    }
}

fn hand_in(
    before: &mut [Neighbour],
    made: mpsc::Receiver<generator::Batch>,
    plan: Plan,
    watch: &Watch<'_>,
) -> generator::Log {
    watch.phase("packets pass", plan.span);
    let over = &AtomicBool::new(false);
    let end = clock::now() + plan.span;
    thread::scope(|scope| {
        // The builder ends when nobody takes what it makes.
        let send = move || generator::hand_in(before, &made, (plan.rate, end), over);
        let send = scope.spawn(send);
        while !send.is_finished() {
            over.store(watch.check().is_err(), Ordering::Relaxed);
            watch.tick(end - clock::now());
            thread::sleep(LOOK);
        }
        send.join().unwrap_or_default()
    })
}

/// Waits until all packets are `known`, or the last of them must have come.
fn wait_for_the_last(lab: &Lab, handed: u64, known: &AtomicU64) {
    let mean = lab.consensus.parameters().delay_mean;
    let end = clock::now() + Nanos(mean.0.saturating_mul(LAST_MEANS));
    while known.load(Ordering::Relaxed) < handed && clock::now() < end {
        thread::sleep(LOOK);
    }
}
