//! A port that also keeps what it received, byte for byte.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use mixline::io::{Port, PortCounters, Unsent};

/// Datagrams with their sources, in the order in which they were received.
pub(crate) type Log = Rc<RefCell<Vec<(SocketAddr, Vec<u8>)>>>;

/// The port `port`, listened to.
pub(crate) struct Tap<P> {
    pub(crate) port: P,
    pub(crate) log: Log,
}

impl<P: Port> Port for Tap<P> {
    fn receive(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut log = self.log.borrow_mut();
        self.port.receive(most, |source, datagram| {
            log.push((source, datagram.to_vec()));
            take(source, datagram);
        })
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.port.send(fill)
    }

    fn flush(&mut self) {
        self.port.flush();
    }

    fn queued(&self) -> usize {
        self.port.queued()
    }

    fn datagram_bytes(&self) -> usize {
        self.port.datagram_bytes()
    }

    fn local(&self) -> SocketAddr {
        self.port.local()
    }

    fn counters(&self) -> &PortCounters {
        self.port.counters()
    }

    fn fd(&self) -> Option<RawFd> {
        self.port.fd()
    }
}
