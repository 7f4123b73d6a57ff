//! A port that also writes down what is done with it, and byte for byte what it received.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::rc::Rc;

use mixline::io::{OpenError, Port, PortCounters, Unsent};

/// What is done with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Receive,
    /// A datagram and its source, which the last call hands over.
    Received(SocketAddr, Vec<u8>),
    Send,
    Flush,
}

/// In the order in which it was done.
pub(crate) type Log = Rc<RefCell<Vec<Step>>>;

/// The port `port`, listened to.
pub(crate) struct Tap<P> {
    pub(crate) port: P,
    pub(crate) log: Log,
}

impl<P: Port> Port for Tap<P> {
    fn receive(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut log = self.log.borrow_mut();
        log.push(Step::Receive);
        self.port.receive(most, |source, datagram| {
            log.push(Step::Received(source, datagram.to_vec()));
            take(source, datagram);
        })
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.log.borrow_mut().push(Step::Send);
        self.port.send(fill)
    }

    fn flush(&mut self) {
        self.log.borrow_mut().push(Step::Flush);
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

    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        Ok(Tap { port: self.port.detach_sender()?, log: self.log.clone() })
    }
}
