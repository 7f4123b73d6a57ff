//! What it costs that a packet changes core: from one thread to another, in chunks of 32.

use crate::{Figure, Measurement};
use crossbeam_queue::ArrayQueue;
use mixline::clock::{self, Nanos};
use mixline::host;
use mixline::worker::ring::ring;
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::thread;

/// Messages of a round.
const MESSAGES: u64 = 400_000;
/// Messages that a worker hands over together.
const CHUNK: u64 = 32;
/// Places of a queue.
const PLACES: u32 = 4096;

/// As large as a worker's: when the packet is due, and which it is.
type Message = (Nanos, u64);

pub(crate) fn measurements(cores: [usize; 2]) -> [Measurement; 2] {
    let measurement = |name: &'static str, round: fn([usize; 2]) -> Nanos| {
        Measurement::new(name, move |seconds| figures(name, seconds, || round(cores)))
    };
    [measurement("handoff", through_ring), measurement("handoff_array_queue", through_queue)]
}

/// The shortest and the median of the rounds that fit into so many seconds, in ns a message.
fn figures(name: &str, seconds: u64, mut round: impl FnMut() -> Nanos) -> Vec<Figure> {
    let end = clock::now() + Nanos::from_secs(seconds);
    let mut rounds = vec![round()];
    while clock::now() < end {
        rounds.push(round());
    }
    rounds.sort_unstable();
    let ns = |round: Nanos| round.0 as f64 / MESSAGES as f64;
    let (shortest, median) = (ns(rounds[0]), ns(rounds[rounds.len() / 2]));
    vec![(name.to_owned(), shortest, "ns"), (format!("{name}_median"), median, "ns")]
}

/// From when both threads run until the last message has arrived.
fn timed(cores: [usize; 2], produce: impl FnOnce() + Send, consume: impl FnOnce() + Send) -> Nanos {
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            host::pin(cores[0]);
            start.wait();
            produce();
        });
        let consumer = scope.spawn(|| {
            host::pin(cores[1]);
            start.wait();
            let begin = clock::now();
            consume();
            clock::now() - begin
        });
        consumer.join().unwrap_or(Nanos::NEVER)
    })
}

fn through_ring(cores: [usize; 2]) -> Nanos {
    let (mut producer, mut consumer) = ring::<Message>(PLACES);
    let produce = move || {
        for number in 0..MESSAGES {
            while producer.push((Nanos::ZERO, number)).is_err() {
                producer.publish();
                spin_loop();
            }
            if (number + 1) % CHUNK == 0 {
                producer.publish();
            }
        }
    };
    let consume = move || {
        let mut arrived = 0;
        while arrived < MESSAGES {
            match consumer.pop() {
                Some(message) => {
                    black_box(message);
                    arrived += 1;
                }
                None => {
                    consumer.give_back();
                    spin_loop();
                }
            }
        }
    };
    timed(cores, produce, consume)
}

fn through_queue(cores: [usize; 2]) -> Nanos {
    let queue = ArrayQueue::<Message>::new(PLACES as usize);
    let produce = || {
        for number in 0..MESSAGES {
            while queue.push((Nanos::ZERO, number)).is_err() {
                spin_loop();
            }
        }
    };
    let consume = || {
        let mut arrived = 0;
        while arrived < MESSAGES {
            match queue.pop() {
                Some(message) => {
                    black_box(message);
                    arrived += 1;
                }
                None => spin_loop(),
            }
        }
    };
    timed(cores, produce, consume)
}
