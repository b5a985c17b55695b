//! A worker without listening sockets, under a clock that stands still unless a test moves it.

use std::net::Ipv4Addr;
use std::time::Duration;

use turnd_proto::policy::unallocated::{Unallocated, UnallocatedLimits};
use turnd_proto::server::Filter;
use turnd_proto::server::five_tuple::Path;
use turnd_udp::Datagram;

use super::*;
use crate::net::admission::ClientId;
use crate::net::control::Settings;
use crate::net::counters::DropReason;
use crate::net::egress::UdpFlow;
use crate::net::mailbox::mailbox;
use crate::net::proxy::TrustedProxies;
use crate::net::test_bed::{IDLE_TIMEOUT, binding_request, config, proxy_header};

const PROXY: &str = "192.0.2.9:7000";
/// The same proxy, for another client.
const OTHER: &str = "192.0.2.9:7001";

type All = Arc<Unallocated<ClientId>>;

/// Places for so many clients without an allocation.
fn places(clients: u32) -> All {
    Arc::new(Unallocated::new(UnallocatedLimits {
        clients,
        per_source: clients,
        bytes: 1 << 20,
    }))
}

struct TestWorker {
    worker: Worker,
    mailbox: Mailbox,
    now: Now,
}

impl TestWorker {
    /// Workers of one process, which trust the proxy.
    fn several(count: usize, all: &All) -> Vec<Self> {
        let mut config = config();
        // Relays are bound, and hear nothing.
        config.listen.ips = vec![Ipv4Addr::LOCALHOST.into()];
        let settings = Settings::new(&config, Default::default(), Vec::new(), &[], None).unwrap();
        let proxies = Arc::new(TrustedProxies::new(vec!["192.0.2.9".parse().unwrap()]));
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mailbox().unwrap()).unzip();
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let now = now();
        let workers = inboxes.into_iter().enumerate().map(|(index, inbox)| {
            let options = WorkerOptions {
                tcp: TcpOptions {
                    plain: true,
                    certificates: None,
                    proxies: Arc::clone(&proxies),
                },
                udp: UdpOptions {
                    plain: true,
                    certificates: None,
                    proxies: Arc::clone(&proxies),
                },
                admission: AdmissionOptions {
                    all: Arc::clone(all),
                    idle_timeout: IDLE_TIMEOUT,
                    rates: None,
                },
                index,
                mailboxes: Arc::clone(&mailboxes),
            };
            let shared = Arc::clone(&settings.shared);
            let worker = Worker::new(shared, inbox, Listening::default(), options).unwrap();
            Self {
                worker,
                mailbox: mailboxes[index].clone(),
                now,
            }
        });
        workers.collect()
    }

    fn one() -> Self {
        Self::several(1, &places(10)).remove(0)
    }

    /// Has a datagram come from a port of the proxy, for a client that it names.
    fn receive(&mut self, proxy: &str, message: &[u8]) {
        let (source, server) = (proxy.parse().unwrap(), "203.0.113.1:3478".parse().unwrap());
        let header = proxy_header("198.51.100.7:4000".parse().unwrap(), server);
        let flow = UdpFlow {
            listener: 0,
            server,
            client: source,
        };
        let datagram = Datagram {
            source,
            local: None,
            traffic_class: 0,
            bytes: &[&header[..], message].concat(),
        };
        let Worker {
            parts,
            receiver,
            udp,
            ..
        } = &mut self.worker;
        let ctx = &mut parts.ctx(self.now, receiver);
        udp.on_datagram(ctx, flow, Path::udp(0, source, server), &datagram);
        self.worker.after_turn(self.now);
    }

    /// Lets time pass, deadline by deadline.
    fn sleep(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(due) = self.worker.next_due().filter(|due| *due <= end) {
            self.now.mono = due;
            self.worker.on_due(self.now);
        }
        self.now.mono = end;
    }

    fn serve_commands(&mut self) -> ControlFlow<()> {
        let turn = self
            .worker
            .dispatch(self.now, Source::Commands, Readiness::default());
        self.worker.after_turn(self.now);
        turn.map_continue(drop)
    }

    /// Clients behind the proxy that are served.
    fn clients(&self) -> usize {
        self.worker.parts.egress.proxied.len()
    }

    fn displaced(&self) -> u64 {
        self.worker
            .parts
            .counters
            .dropped(DropReason::TooManyStreams)
    }
}

/// A bare Allocate request for UDP.
fn allocate_request() -> Vec<u8> {
    let mut message = binding_request();
    message[1] = 3;
    message[3] = 8;
    message.extend([0, 0x19, 0, 4, 17, 0, 0, 0]);
    message
}

#[test]
fn commands_are_carried_out_in_their_order_and_none_behind_a_stop() {
    let mut worker = TestWorker::one();
    let (sender, answers) = mpsc::channel();
    let ask = |number: u32| {
        let sender = sender.clone();
        Command::Ask(Box::new(move |now, server, _| {
            let _ = sender.send((number, now.unix, server.allocations()));
        }))
    };
    for number in [1, 2] {
        worker.mailbox.send(ask(number));
    }
    assert!(worker.serve_commands().is_continue());
    worker.mailbox.send(ask(3));
    worker.mailbox.send(Command::Stop);
    worker.mailbox.send(ask(4));
    assert!(worker.serve_commands().is_break());
    let told: Vec<_> = answers.try_iter().collect();
    assert_eq!(told, [1, 2, 3].map(|number| (number, worker.now.unix, 0)));
}

#[test]
fn a_client_is_looked_at_when_its_deadline_comes() {
    let mut worker = TestWorker::one();
    worker.receive(PROXY, &binding_request());
    worker.sleep(IDLE_TIMEOUT / 2);
    worker.receive(OTHER, &binding_request());
    assert_eq!(worker.clients(), 2);
    worker.sleep(IDLE_TIMEOUT / 2);
    assert_eq!(worker.clients(), 1);
    worker.sleep(IDLE_TIMEOUT / 2);
    assert_eq!(worker.clients(), 0);
    assert_eq!(worker.worker.parts.admission.next_due(), None);
}

#[test]
fn a_client_without_its_allocation_has_a_deadline_again() {
    let mut worker = TestWorker::one();
    worker.receive(PROXY, &allocate_request());
    assert_eq!(worker.worker.parts.server.allocations(), 1);
    worker.sleep(IDLE_TIMEOUT * 3);
    assert_eq!(worker.clients(), 1, "it has an allocation");
    worker.mailbox.send(Command::Ask(Box::new(|now, server, _| {
        server.handle_kill(now, &Filter::default());
    })));
    assert!(worker.serve_commands().is_continue());
    assert_eq!(worker.clients(), 1);
    worker.sleep(IDLE_TIMEOUT - Duration::from_millis(1));
    assert_eq!(worker.clients(), 1);
    worker.sleep(Duration::from_millis(1));
    assert_eq!(worker.clients(), 0);
}

#[test]
fn a_newcomer_takes_the_place_of_a_client_of_this_worker_or_of_another() {
    let mut worker = TestWorker::several(1, &places(1)).remove(0);
    worker.receive(PROXY, &binding_request());
    worker.receive(OTHER, &binding_request());
    worker.worker.end_round(worker.now);
    assert_eq!((worker.clients(), worker.displaced()), (1, 1));

    let mut workers = TestWorker::several(2, &places(1));
    workers[0].receive(PROXY, &binding_request());
    workers[1].receive(OTHER, &binding_request());
    let now = workers[1].now;
    workers[1].worker.end_round(now);
    assert_eq!((workers[0].clients(), workers[1].clients()), (1, 1));
    assert!(workers[0].serve_commands().is_continue());
    assert_eq!((workers[0].clients(), workers[0].displaced()), (0, 1));
    assert_eq!((workers[1].clients(), workers[1].displaced()), (1, 0));
}
