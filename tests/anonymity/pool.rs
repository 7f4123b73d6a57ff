//! Every strategy of the pool follows its own law: who leaves when, in which order, who is evicted,
//! and how many bits that hides.

use mixline::audit::statistics::{
    P_MIN, chi_square_p, kendall_tau, kolmogorov_smirnov_p, uniform_p,
};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::pool::{Evicted, Fraction, Options, Pool, Strategy};

const MEAN: Nanos = Nanos::from_millis(50);
const POISSON: Options =
    Options { packets_max: 10_000, delay_mean: MEAN, strategy: Strategy::Poisson };

/// The mean time between two arrivals at 62 500 packets a second.
const ARRIVAL_GAP_MEAN: Nanos = Nanos::from_micros(16);

/// The interval at which a tenth leaves whose mean delay is [`MEAN`]: a packet waits half an
/// interval for the first flush, and 1 / 0.1 - 1 flushes let it stay.
const INTERVAL: Nanos = Nanos::from_micros(5263);

fn timed_dynamic(fraction: f64, packets_min: u32) -> Strategy {
    let fraction = Fraction::new(fraction).unwrap();
    Strategy::TimedDynamic { interval: INTERVAL, fraction, packets_min }
}

fn pool<T>(strategy: Strategy, packets_max: u32, seed: u8) -> Pool<T> {
    Pool::new(Options { packets_max, strategy, ..POISSON }, Rng::from_seed([seed; 32]))
}

fn tick() -> Nanos {
    pool::<()>(Strategy::Poisson, 1, 0).tick()
}

#[derive(Clone, Copy)]
struct Packet {
    number: u64,
    arrived: Nanos,
}

/// What leaves together.
struct Burst<'a> {
    /// In the order in which it leaves.
    packets: &'a [Packet],
    at: Nanos,
    /// How many were inside before.
    inside: usize,
}

/// Sends `packets` Poisson arrivals with exponential delays through a pool that is looked at
/// whenever something is due.
fn run(strategy: Strategy, packets: u64, seed: u8, mut burst: impl FnMut(Burst<'_>)) {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut pool = pool(strategy, POISSON.packets_max, seed + 100);
    let mut now = Nanos::ZERO;
    let mut leaving = Vec::new();
    for number in 0..packets {
        let arrived = now + rng.exponential(ARRIVAL_GAP_MEAN);
        while let Some(due) = pool.next_due().filter(|&due| due <= arrived) {
            now = now.max(due);
            leaving.clear();
            let inside = pool.len();
            pool.release(now, |packet| leaving.push(packet));
            burst(Burst { packets: &leaving, at: now, inside });
        }
        now = arrived;
        let due = now + rng.exponential(MEAN).min(pool.delay_cap());
        assert!(pool.insert(due, Packet { number, arrived }, now).is_ok());
    }
}

/// Packets that are looked at; as many as arrive in the longest delay follow them, so that each
/// of them has left when the run ends.
const PACKETS: u64 = 160_000;
const PACKETS_AFTER: u64 = 90_000;

#[test]
fn residence_times_are_exponential() {
    let mut residences = Vec::new();
    run(Strategy::Poisson, PACKETS + PACKETS_AFTER, 1, |burst| {
        let first = burst.packets.iter().filter(|packet| packet.number < PACKETS);
        residences.extend(first.map(|packet| (burst.at - packet.arrived).as_secs_f64()));
    });
    assert_eq!(residences.len() as u64, PACKETS);
    let p = exponential_p(&mut residences, MEAN);
    assert!(p > P_MIN, "p = {p}");
}

/// The p-value of "exponential with this mean", half a tick later: a packet leaves up to one after
/// its deadline.
fn exponential_p(residences: &mut [f64], mean: Nanos) -> f64 {
    let offset = tick().as_secs_f64() / 2.0;
    kolmogorov_smirnov_p(residences, |x| 1.0 - (-(x - offset).max(0.0) / mean.as_secs_f64()).exp())
}

#[test]
fn the_order_inside_a_burst_says_nothing_about_the_order_of_arrival() {
    // One pair a burst, because pairs of one burst are not independent.
    let mut ascending = 0i64;
    let mut bursts = 0i64;
    run(Strategy::Poisson, 1_000_000, 2, |burst| {
        if let [first, second, ..] = burst.packets {
            ascending += if first.number < second.number { 1 } else { -1 };
            bursts += 1;
        }
    });
    let tau = ascending as f64 / bursts as f64;
    assert!(bursts > 100_000 && tau.abs() < 0.012, "tau = {tau} over {bursts} bursts");
}

#[test]
fn whoever_leaves_in_whatever_order_is_as_likely_as_anybody_else_in_any_other() {
    // Of four packets all leave, or two: there are 4! or 4 * 3 outcomes.
    let threshold = Strategy::Threshold { packets: 4 };
    for (strategy, outcomes) in
        [(Strategy::Poisson, 24), (timed_dynamic(0.5, 0), 12), (threshold, 24)]
    {
        let mut pool = pool(strategy, 10, 3);
        let mut seen = [0; 256];
        let mut now = Nanos::ZERO;
        for _ in 0..48_000 {
            for packet in 0..4usize {
                assert!(pool.insert(now + Nanos(1), packet, now).is_ok());
            }
            now = now + pool.tick();
            let mut order = 0;
            pool.release(now, |packet| order = order * 4 + packet);
            seen[order] += 1;
            pool.drain(drop);
        }
        let seen: Vec<u64> = seen.into_iter().filter(|&times| times > 0).collect();
        assert_eq!(seen.len(), outcomes, "{strategy}");
        let p = uniform_p(&seen);
        assert!(p > P_MIN, "{strategy}: p = {p}");
    }
}

#[test]
fn after_a_stall_deadlines_decide_nothing_about_the_order() {
    let mut pool = pool(Strategy::Poisson, 2000, 4);
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
    let threshold = Strategy::Threshold { packets: 60 };
    for strategy in [Strategy::Poisson, timed_dynamic(0.1, 10), threshold] {
        let mut pool = pool(strategy, 60, 5);
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
        assert!(p > P_MIN, "{strategy}: p = {p}");
    }
}

#[test]
fn at_twice_its_quota_a_pool_evicts_uniformly_and_its_delays_stay_exponential() {
    // Packets come at the rate r, ask for a mean delay m, and find quota = r m / 2 places: the
    // pool is full. Who is inside leaves by its own deadline at the rate 1/m and is evicted at a
    // rate h that knows nothing of it, so who leaves has waited for the shorter of two independent
    // exponential times: exponential again, of mean 1 / (1/m + h). What comes goes, one way or
    // the other: r = quota (1/m + h), so h = r/quota - 1/m = 1/m, and the mean is quota/r = m/2.
    const QUOTA: u32 = 1999;
    const BINS: usize = 40;
    let gap_mean = Nanos(MEAN.0 / (2 * u64::from(QUOTA)));
    let mut rng = Rng::from_seed([6; 32]);
    let mut pool = pool(Strategy::Poisson, QUOTA, 7);
    // In order of arrival, so that a place in it is a rank.
    let mut residents: Vec<u64> = Vec::new();
    let (mut evictions, mut residences) = ([0; BINS], Vec::new());
    let mut now = Nanos::ZERO;
    let warm = Nanos(10 * MEAN.0);
    for number in 0..300_000 {
        let arrived = now + rng.exponential(gap_mean);
        while let Some(due) = pool.next_due().filter(|&due| due <= arrived) {
            pool.release(due, |packet: Packet| {
                residents.remove(residents.binary_search(&packet.number).unwrap());
                if packet.arrived > warm {
                    residences.push((due - packet.arrived).as_secs_f64());
                }
            });
        }
        now = arrived;
        residents.push(number);
        let packet = Packet { number, arrived };
        if let Err(Evicted(victim)) = pool.insert(now + rng.exponential(MEAN), packet, now) {
            let rank = residents.binary_search(&victim.number).unwrap();
            residents.remove(rank);
            evictions[rank * BINS / (QUOTA as usize + 1)] += 1;
        }
    }
    let share = evictions.iter().sum::<u64>() as f64 / 300_000.0;
    assert!((0.45..0.5).contains(&share), "{share} were evicted");
    let p = uniform_p(&evictions);
    assert!(p > P_MIN, "evictions by rank of arrival: p = {p}");
    let p = exponential_p(&mut residences, Nanos(MEAN.0 / 2));
    assert!(p > P_MIN && residences.len() > 100_000, "residences: p = {p}");
}

#[test]
fn residence_in_a_timed_pool_is_geometric_and_a_tenth_leaves_each_time() {
    // With 100 arrivals in each interval there are 1000 inside before each flush, so that who is
    // inside leaves with probability 0.1 exactly.
    const SURVIVED_MAX: usize = 60;
    let mut pool = pool(timed_dynamic(0.1, 50), 2000, 8);
    let mut survived = [0u64; SURVIVED_MAX + 1];
    (0..900).for_each(|_| pool.insert(Nanos::ZERO, 0, Nanos::ZERO).unwrap());
    for flush in 1..3000u64 {
        let at = Nanos(INTERVAL.0 * flush);
        (0..100).for_each(|_| pool.insert(Nanos::ZERO, flush, at - Nanos(1)).unwrap());
        let left = pool.release(at, |arrived| {
            // Those of the last flushes would have to leave early to be seen at all.
            if (100..2000).contains(&arrived) {
                let flushes = usize::try_from(flush - arrived).unwrap();
                survived[flushes.min(SURVIVED_MAX)] += 1;
            }
        });
        assert_eq!((left, pool.len()), (100, 900));
    }
    let packets = 1900.0 * 100.0;
    assert_eq!(survived.iter().sum::<u64>() as f64, packets);
    let statistic = |(flushes, &seen): (usize, &u64)| {
        let tail = 0.9f64.powi(i32::try_from(flushes).unwrap());
        let probability = if flushes == SURVIVED_MAX { tail } else { 0.1 * tail };
        (seen as f64 - packets * probability).powi(2) / (packets * probability)
    };
    let p = chi_square_p(survived.iter().enumerate().map(statistic).sum(), SURVIVED_MAX);
    assert!(p > P_MIN, "p = {p}");
}

#[test]
fn a_timed_pool_lets_go_its_share_and_never_the_minimum() {
    let mut rng = Rng::from_seed([9; 32]);
    let mut pool = pool(timed_dynamic(0.3, 40), 200, 10);
    let (mut now, mut flushes, mut short) = (Nanos::ZERO, 0, 0);
    for number in 0..100_000u64 {
        // Between none and many in an interval.
        let arrived = now + rng.exponential(Nanos(INTERVAL.0 / (1 + number % 1000 / 20)));
        while let Some(due) = pool.next_due().filter(|&due| due <= arrived) {
            assert_eq!(due.0 % INTERVAL.0, 0);
            let inside = pool.len();
            let share = inside * 3 / 10;
            assert_eq!(pool.release(due, drop), share.min(inside - 40));
            assert!(pool.len() >= 40);
            short += usize::from(share > inside - 40);
            flushes += 1;
        }
        now = arrived;
        let _ = pool.insert(Nanos::ZERO, (), now);
    }
    assert!(flushes > 1000 && short > 100, "{flushes} flushes, {short} of less than the share");
}

#[test]
fn a_threshold_pool_lets_go_complete_batches_at_once() {
    let (mut bursts, mut last) = (0, Nanos::ZERO);
    run(Strategy::Threshold { packets: 500 }, 100_000, 11, |burst| {
        assert_eq!((burst.packets.len(), burst.inside), (500, 500));
        // The last to arrive is the one that completed the batch.
        assert_eq!(burst.packets.iter().map(|packet| packet.arrived).max(), Some(burst.at));
        assert!(burst.packets.iter().all(|packet| packet.arrived > last));
        last = burst.at;
        bursts += 1;
    });
    assert_eq!(bursts, (100_000 - 1) / 500);
}

/// What an observer of the wires sees of a burst: numbers.
struct Seen {
    inside: usize,
    left: usize,
}

/// A packet that is followed: the first burst that it could leave in, and where it left.
#[derive(Clone, Copy)]
struct Target {
    first: usize,
    burst: usize,
    position: usize,
}

/// Follows a target from numbers alone: who is inside with n others leaves with probability 1/n in
/// each place. Returns the entropy of where it left, in bits, and how much probability lay before
/// the place where it did, and a random share of that place's own: uniform if the posterior is the
/// right one.
fn follow(seen: &[Seen], target: Target, share: f64) -> (f64, f64) {
    let (mut inside, mut entropy, mut before) = (1.0f64, 0.0, f64::NAN);
    for (index, burst) in (target.first..).zip(&seen[target.first..]) {
        let each = inside / burst.inside as f64;
        if index == target.burst {
            before = 1.0 - inside + each * (target.position as f64 + share);
        }
        entropy -= burst.left as f64 * each * each.log2();
        inside -= each * burst.left as f64;
        if inside < 1e-7 && index >= target.burst {
            break;
        }
    }
    (entropy, before)
}

/// The mean entropy over 20 000 packets, and the p-value of the posteriors.
fn entropy_bits(strategy: Strategy, seed: u8) -> (f64, f64) {
    const TARGETS: usize = 20_000;
    // Every eighth packet, after the pool has filled, and long before the end.
    let is_target =
        |number: u64| number % 8 == 0 && (60_000..60_000 + 8 * 20_000).contains(&number);
    let (mut seen, mut left) = (Vec::new(), Vec::with_capacity(TARGETS));
    run(strategy, 60_000 + 8 * 20_000 + 90_000, seed, |burst| {
        for (position, packet) in burst.packets.iter().enumerate() {
            if is_target(packet.number) {
                left.push((packet.arrived, seen.len(), position));
            }
        }
        seen.push((burst.at, Seen { inside: burst.inside, left: burst.packets.len() }));
    });
    let (times, seen): (Vec<Nanos>, Vec<Seen>) = seen.into_iter().unzip();
    assert_eq!(left.len(), TARGETS);
    let mut rng = Rng::from_seed([seed + 1; 32]);
    let followed = left.into_iter().map(|(arrived, burst, position)| {
        let first = times.partition_point(|&at| at < arrived);
        follow(&seen, Target { first, burst, position }, rng.unit())
    });
    let (entropies, mut before): (Vec<f64>, Vec<f64>) = followed.unzip();
    let p = kolmogorov_smirnov_p(&mut before, |x| x.clamp(0.0, 1.0));
    (entropies.iter().sum::<f64>() / TARGETS as f64, p)
}

#[test]
fn the_entropy_of_each_strategy_is_that_of_its_law() {
    let rate = 1.0 / ARRIVAL_GAP_MEAN.as_secs_f64();
    let poisson = (std::f64::consts::E * rate * MEAN.as_secs_f64()).log2();
    // The interval that a packet leaves at is geometric, and the packets of an interval are alike.
    let share = 0.1f64;
    let geometric = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2()) / share;
    let timed = (rate * INTERVAL.as_secs_f64()).log2() + geometric;
    for (strategy, expected, slack) in [
        (Strategy::Poisson, poisson, 0.02),
        (timed_dynamic(0.1, 100), timed, 0.02),
        (Strategy::Threshold { packets: 6250 }, 6250f64.log2(), 1e-9),
    ] {
        let (bits, p) = entropy_bits(strategy, 12);
        println!("{strategy}: {bits:.3} bits, expected {expected:.3}, posteriors p = {p:.3}");
        assert!((bits - expected).abs() < slack, "{strategy}: {bits} bits, not {expected}");
        assert!(p > P_MIN, "{strategy}: posteriors p = {p}");
    }
}
