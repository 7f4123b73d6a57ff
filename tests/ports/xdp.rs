//! AF_XDP on hosts of their own, joined by a switch.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Mutex;

use mixline::io::xdp::{Mode, XdpPort};

use crate::hosts::{self, Host};
use crate::redirect::Redirect;
use crate::suite::{LENGTH, Site, sleep};
use crate::switch::Switch;
use crate::xdp_host;

pub(crate) struct Xdp {
    switch: OnceCell<Switch>,
    mode: Mode,
    ip: fn(u8) -> IpAddr,
    queues: u32,
    /// What must last as long as the ports.
    rest: Mutex<Vec<(Host, Redirect)>>,
}

impl Xdp {
    pub(crate) fn new(mode: Mode, ip: fn(u8) -> IpAddr, queues: u32) -> Self {
        Xdp { switch: OnceCell::new(), mode, ip, queues, rest: Mutex::default() }
    }
}

impl Site for Xdp {
    type Port = XdpPort;

    fn port(&self, number: u8, datagram_bytes: usize) -> XdpPort {
        let host = self.switch.get_or_init(Switch::new).host(number, self.queues);
        let ip = (self.ip)(number);
        let options = xdp_host::options(&host, ip, self.mode, self.queues, datagram_bytes);
        let hops = xdp_host::hops(&host, 1..=99, None);
        let (port, program) = xdp_host::open(&host, &options, hops);
        self.rest.lock().unwrap().push((host, program));
        port
    }

    /// What ethernet carries.
    fn other_lengths(&self) -> Vec<usize> {
        vec![1, 64, LENGTH - 1, LENGTH + 1, 1452]
    }

    fn settle(&self, port: &XdpPort) {
        sleep(port);
    }

    fn missing(&self) -> Option<String> {
        hosts::look().err()
    }
}
