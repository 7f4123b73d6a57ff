//! What an observer of a pool can tell from times and order, in virtual time with fixed seeds.

use mixline::audit::statistics::{P_MIN, kendall_tau, kolmogorov_smirnov_p, uniform_p};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::pool::{Evicted, Options, Pool, Strategy};

const MEAN: Nanos = Nanos::from_millis(50);
const OPTIONS: Options =
    Options { packets_max: 10_000, delay_mean: MEAN, strategy: Strategy::Poisson };

/// The mean time between two arrivals at 62 500 packets a second.
const ARRIVAL_GAP_MEAN: Nanos = Nanos::from_micros(16);

fn tick() -> Nanos {
    Pool::<()>::new(OPTIONS, Rng::from_seed([0; 32])).tick()
}

#[derive(Clone, Copy)]
struct Packet {
    number: u64,
    arrived: Nanos,
}

/// Sends `packets` Poisson arrivals with exponential delays through a pool that is looked at
/// once a tick; `burst` sees what leaves together, in order, and when.
fn run(packets: u64, seed: u8, mut burst: impl FnMut(&[Packet], Nanos)) {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut pool = Pool::new(OPTIONS, rng.fork());
    let mut arrived = Nanos::ZERO;
    let mut leaving = Vec::new();
    for number in 0..packets {
        arrived = arrived + rng.exponential(ARRIVAL_GAP_MEAN);
        while let Some(due) = pool.next_due().filter(|&due| due <= arrived) {
            leaving.clear();
            pool.release(due, |packet| leaving.push(packet));
            burst(&leaving, due);
        }
        let due = arrived + rng.exponential(MEAN).min(pool.delay_cap());
        assert!(pool.insert(due, Packet { number, arrived }, arrived).is_ok());
    }
}

/// Packets that are looked at; as many as arrive in the longest delay follow them, so that each
/// of them has left when the run ends.
const PACKETS: u64 = 160_000;
const PACKETS_AFTER: u64 = 90_000;

#[test]
fn residence_times_are_exponential() {
    let mut residences = Vec::new();
    run(PACKETS + PACKETS_AFTER, 1, |burst, now| {
        let first = burst.iter().filter(|packet| packet.number < PACKETS);
        residences.extend(first.map(|packet| (now - packet.arrived).as_secs_f64()));
    });
    assert_eq!(residences.len() as u64, PACKETS);
    let offset = tick().as_secs_f64() / 2.0;
    let p = kolmogorov_smirnov_p(&mut residences, |x| {
        1.0 - (-(x - offset).max(0.0) / MEAN.as_secs_f64()).exp()
    });
    assert!(p > P_MIN, "p = {p}");
}

#[test]
fn the_order_inside_a_burst_says_nothing_about_the_order_of_arrival() {
    // One pair a burst, because pairs of one burst are not independent.
    let mut ascending = 0i64;
    let mut bursts = 0i64;
    run(1_000_000, 2, |burst, _| {
        if let [first, second, ..] = burst {
            ascending += if first.number < second.number { 1 } else { -1 };
            bursts += 1;
        }
    });
    let tau = ascending as f64 / bursts as f64;
    assert!(bursts > 100_000 && tau.abs() < 0.012, "tau = {tau} over {bursts} bursts");
}

#[test]
fn all_orders_of_a_burst_are_equally_likely() {
    let mut pool = Pool::new(OPTIONS, Rng::from_seed([3; 32]));
    let tick = tick();
    let mut orders = [0; 256];
    let mut now = Nanos::ZERO;
    for _ in 0..48_000 {
        for packet in 0..4usize {
            assert!(pool.insert(now + Nanos(1), packet, now).is_ok());
        }
        now = now + tick;
        let mut order = 0;
        pool.release(now, |packet| order = order * 4 + packet);
        orders[order] += 1;
    }
    let seen: Vec<u64> = orders.into_iter().filter(|&times| times > 0).collect();
    assert_eq!(seen.len(), 24);
    let p = uniform_p(&seen);
    assert!(p > P_MIN, "p = {p}");
}

#[test]
fn after_a_stall_deadlines_decide_nothing_about_the_order() {
    let mut pool = Pool::new(OPTIONS, Rng::from_seed([4; 32]));
    let tick = tick();
    // A thousand ticks, two packets each.
    for number in 0..2000u64 {
        let due = Nanos(tick.0 * (number / 2));
        assert!(pool.insert(due, number, Nanos::ZERO).is_ok());
    }
    let mut order = Vec::new();
    pool.release(Nanos(tick.0 * 1000), |number| order.push(number));
    assert_eq!(order.len(), 2000);
    // The standard error of tau is 0.015 for 2000 items.
    let tau = kendall_tau(&order);
    assert!(tau.abs() < 0.06, "tau = {tau}");
}

#[test]
fn a_full_pool_evicts_residents_and_newcomer_with_equal_probability() {
    const RESIDENTS: usize = 60;
    let options = Options { packets_max: 60, ..OPTIONS };
    let mut pool = Pool::new(options, Rng::from_seed([5; 32]));
    let tick = tick();
    let mut evictions = [0; RESIDENTS + 1];
    for _ in 0..61_000 {
        for packet in 0..RESIDENTS {
            // Crowded ticks, lonely ticks, and ones that are overdue.
            let due = Nanos(tick.0 * [5, 5, 5, packet as u64, 9000][packet % 5]);
            assert!(pool.insert(due, packet, Nanos::ZERO).is_ok());
        }
        let Err(Evicted(victim)) = pool.insert(MEAN, RESIDENTS, Nanos::ZERO) else {
            panic!("one too many was kept");
        };
        evictions[victim] += 1;
        assert_eq!(pool.drain(drop), RESIDENTS);
    }
    let p = uniform_p(&evictions);
    assert!(p > P_MIN, "p = {p}");
}
