//! A queue whose halves two threads have.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};

use mixline::io::xdp::hops::Hops;
use mixline::io::xdp::{BusyPoll, Mode, Options};
use mixline::io::{BATCH, Port as _};

use crate::hosts::v4;
use crate::xdp_host::{hops, open, options};
use crate::{LENGTH, assert_all_frames_are_home, marked_hops, receive, root_or_return, send, wire};

#[test]
fn the_first_sender_to_be_detached_takes_the_way_past_the_kernel_along() {
    root_or_return!("the_first_sender_to_be_detached_takes_the_way_past_the_kernel_along");
    let hosts = wire::pair(2);
    let [near, far] = &hosts;
    let (mut far, _one) = open(far, &options(far, v4(2), Mode::Native, 1, LENGTH), Hops::default());
    let (marked, mark) = marked_hops(near);
    let (mut port, _two) = open(near, &options(near, v4(1), Mode::Native, 2, LENGTH), marked);
    let mut first = port.detach_sender().unwrap();
    let mut second = port.detach_sender().unwrap();
    for (sender, source) in [(&mut first, mark), (&mut second, v4(1)), (&mut port, v4(1))] {
        send(sender, far.local(), 1);
        sender.flush();
        assert_eq!(receive(&mut far, 1)[0].0.ip(), source);
    }
    assert!(port.to_string().starts_with("AF_XDP on eth0 queues 0,1 (native, copy, "), "{port}");
    assert!(port.to_string().ends_with(" 12288 frames)"), "{port}");
    assert!(first.to_string().starts_with("AF_XDP on eth0 queue 0 (sends only, "), "{first}");
    assert!(first.to_string().ends_with(" 2048 frames)"), "{first}");
    assert!(second.to_string().starts_with("UDP 198.18.0.1:4000 (sends only, "), "{second}");
}

#[test]
fn a_queue_is_free_again_when_both_of_its_halves_are_dropped() {
    root_or_return!("a_queue_is_free_again_when_both_of_its_halves_are_dropped");
    let hosts = wire::pair(1);
    let [near, far] = &hosts;
    let (mut far, _program) =
        open(far, &options(far, v4(2), Mode::Native, 1, LENGTH), Hops::default());
    let options = options(near, v4(1), Mode::Native, 1, LENGTH);
    for receiver_first in [true, false] {
        let (mut port, _program) = open(near, &options, hops(near, 2..=2, None));
        let mut sender = port.detach_sender().unwrap();
        if receiver_first {
            drop(port);
            send(&mut sender, far.local(), 1);
            sender.flush();
            assert_eq!(receive(&mut far, 1), [(sender.local(), 1)]);
        } else {
            drop(sender);
            send(&mut far, port.local(), 1);
            far.flush();
            assert_eq!(receive(&mut port, 1), [(far.local(), 1)]);
        }
    }
}

#[test]
fn both_threads_of_a_queue_that_is_polled_busily_go_on() {
    root_or_return!("both_threads_of_a_queue_that_is_polled_busily_go_on");
    const COUNT: usize = 20_000;
    let hosts = wire::pair(1);
    let busy_poll = Some(BusyPoll { microseconds: 20, packets: 64 });
    let [mut near, mut far] = hosts.each_ref().map(|host| {
        let options = options(host, v4(host.number), Mode::Native, 1, LENGTH);
        open(host, &Options { busy_poll, ..options }, hops(host, 1..=2, None))
    });
    let mut sender = near.0.detach_sender().unwrap();
    let (here, there) = (near.0.local(), far.0.local());
    // The far end sends back what comes, no more of it than a ring holds.
    let returned = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while sent < COUNT {
                let end = COUNT.min(returned.load(Acquire) + 4 * BATCH);
                for number in sent..end.min(sent + BATCH) {
                    send(&mut sender, there, number);
                    sent += 1;
                }
                sender.flush();
            }
        });
        scope.spawn(|| {
            let mut count = 0;
            while count < COUNT {
                for (_, number) in receive(&mut far.0, 1) {
                    if far.0.queued() == BATCH {
                        far.0.flush();
                    }
                    send(&mut far.0, here, number);
                    count += 1;
                }
                far.0.flush();
            }
        });
        while returned.load(Acquire) < COUNT {
            let next = returned.load(Acquire);
            let arrived = receive(&mut near.0, 1);
            assert!(!arrived.is_empty(), "{next} came back");
            returned.store(next + arrived.len(), Release);
        }
    });
    for port in [&mut near.0, &mut sender, &mut far.0] {
        port.flush();
        assert_eq!(port.audit(), 0);
        assert_all_frames_are_home(port);
        assert_eq!((port.counters().kernel_dropped, port.counters().wrong_descriptors), (0, 0));
    }
}
