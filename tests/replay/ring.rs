//! The ring from one thread to one other: a model over the lines of `src/worker/ring.rs`, and the
//! ring itself.

#[expect(dead_code, unreachable_pub, reason = "the library needs more of it than its model")]
#[path = "../../src/worker/ring.rs"]
mod product;

use crate::sync::{Arc, outcomes};
use mixline::worker::ring::ring;

/// Messages that are offered, to a ring for two.
const OFFERED: u32 = 3;

/// What the ring took, and what came out while it was filled and after that.
fn pass_messages() -> (Vec<u32>, Vec<u32>) {
    let (mut producer, mut consumer) = product::ring(2);
    let offers = loom::thread::spawn(move || {
        let mut taken = vec![];
        for message in 0..OFFERED {
            match producer.push(Arc::new(message)) {
                Ok(()) => taken.push(message),
                Err(refused) => assert_eq!(*refused, message),
            }
            // The last one is only staged: it is handed over when the producer goes.
            if message + 1 < OFFERED {
                producer.publish();
            }
        }
        taken
    });
    let mut came = vec![];
    for _ in 0..2 {
        came.extend(consumer.pop().map(|message| *message));
        consumer.give_back();
    }
    let taken = offers.join().expect("it ends");
    came.extend(std::iter::from_fn(|| consumer.pop()).map(|message| *message));
    (taken, came)
}

#[test]
fn no_message_is_lost_doubled_or_overtaken_and_a_full_ring_refuses() {
    let found = outcomes(|| {
        let (taken, came) = pass_messages();
        assert_eq!(taken, came);
        taken
    });
    // The third one is refused unless a place was given back before it came.
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["[0, 1, 2]", "[0, 1]"]);
}

#[test]
fn messages_that_nobody_takes_go_with_the_ring_whoever_ends_last() {
    // The checker counts every `Arc` at the end.
    let found = outcomes(|| {
        let (mut producer, mut consumer) = product::ring(2);
        let other = loom::thread::spawn(move || {
            assert!(producer.push(Arc::new(0)).is_ok());
            producer.publish();
            assert!(producer.push(Arc::new(1)).is_ok());
        });
        let came = consumer.pop().is_some();
        drop(consumer);
        other.join().expect("it ends");
        came
    });
    assert_eq!(found.len(), 2);
}

#[test]
fn what_is_published_comes_out_in_order_and_what_is_only_staged_does_not() {
    let (mut producer, mut consumer) = ring(4);
    assert!(!producer.publish());
    producer.push(1).unwrap();
    producer.push(2).unwrap();
    assert_eq!((consumer.pop(), consumer.len()), (None, 0));
    assert!(producer.publish() && !producer.publish());
    producer.push(3).unwrap();
    assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Some(1), Some(2), None]);
}

#[test]
fn a_full_ring_gives_the_message_back_until_places_are_given_back() {
    let (mut producer, mut consumer) = ring(2);
    producer.push(1).unwrap();
    producer.push(2).unwrap();
    assert_eq!(producer.push(3), Err(3));
    producer.publish();
    assert_eq!(consumer.pop(), Some(1));
    assert_eq!(producer.push(3), Err(3), "taken, and not yet given back");
    consumer.give_back();
    assert_eq!(producer.push(3), Ok(()));
}

#[test]
fn messages_that_nobody_took_are_dropped_with_the_ring() {
    let message = std::rc::Rc::new(());
    let (mut producer, mut consumer) = ring(4);
    (0..4).for_each(|_| producer.push(message.clone()).unwrap());
    producer.publish();
    assert!(consumer.pop().is_some());
    drop((producer, consumer));
    assert_eq!(std::rc::Rc::strong_count(&message), 1);
}

#[test]
fn between_two_threads_nothing_is_lost_doubled_or_overtaken() {
    const MESSAGES: u64 = 300_000;
    let (mut producer, mut consumer) = ring(64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0;
            while next < MESSAGES {
                match producer.push(next) {
                    Ok(()) => next += 1,
                    Err(_) => std::thread::yield_now(),
                }
                if next % 7 == 0 || next == MESSAGES {
                    producer.publish();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            match consumer.pop() {
                Some(message) => {
                    assert_eq!(message, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
            if expected % 5 == 0 {
                consumer.give_back();
            }
        }
    });
}
