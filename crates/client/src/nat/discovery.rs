//! All tests over UDP in their order.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ask::{Answer, Reply, Step};
use super::exchange::{Arrived, Exchange, Transmit};
use super::filtering::FilteringTest;
use super::hairpin::HairpinTest;
use super::lifetime::LifetimeTest;
use super::mapping::{MappingTest, is_other};
use super::report::{Filtering, Report, Unknown};
use crate::turn::Transactions;

/// Choice of tests, and the time that they may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A second server, for the mapping when the first one has no other address.
    pub second: Option<SocketAddr>,
    /// Time limit of one answer.
    pub answer_timeout: Duration,
    /// Time limit of all tests but the one of the lifetime.
    pub limit: Duration,
    /// Longest lifetime to look for; `None`: do not look.
    pub lifetime: Option<Duration>,
    /// Greatest uncertainty of the lifetime.
    pub precision: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            second: None,
            answer_timeout: Duration::from_secs(2),
            limit: Duration::from_secs(20),
            lifetime: None,
            precision: Duration::from_secs(5),
        }
    }
}

/// The test that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// UDP gets through, and how ports are mapped.
    Mapping,
    /// Packets that are let in.
    Filtering,
    /// Packets to this host's own public address.
    Hairpinning,
    /// The lifetime of a mapping; this time is tried.
    Lifetime(Duration),
    /// No test: all are done.
    Finished,
}

/// The tests, one after the other, driven by packets and time.
///
/// After each `handle_*`: send what [`Self::poll_transmit`] gives until it gives nothing, then
/// wait for a datagram on any port or for [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Discovery {
    server: SocketAddr,
    options: Options,
    test: Test,
    exchange: Option<Exchange>,
    limit: Instant,
    outgoing: VecDeque<Transmit>,
    transactions: Transactions,
    report: Report,
}

#[derive(Debug)]
enum Test {
    Mapping(MappingTest),
    Filtering(FilteringTest),
    Hairpin(HairpinTest),
    Lifetime(LifetimeTest),
    Finished,
}

impl Discovery {
    /// Begins with the server at this address.
    pub fn new(server: SocketAddr, options: Options, now: Instant) -> Self {
        let mut report = Report::unknown(server, Unknown::OutOfTime);
        report.tcp_mapping = Err(Unknown::NotAsked);
        if options.lifetime.is_none() {
            report.lifetime = Err(Unknown::NotAsked);
        }
        let mut discovery = Self {
            server,
            options,
            test: Test::Mapping(MappingTest::new(server, options.second)),
            exchange: None,
            limit: now + options.limit,
            outgoing: VecDeque::new(),
            transactions: Transactions::default(),
            report,
        };
        discovery.advance(now, None);
        discovery
    }

    /// The test that is running now.
    pub fn stage(&self) -> Stage {
        match &self.test {
            Test::Mapping(_) => Stage::Mapping,
            Test::Filtering(_) => Stage::Filtering,
            Test::Hairpin(_) => Stage::Hairpinning,
            Test::Lifetime(test) => Stage::Lifetime(test.time()),
            Test::Finished => Stage::Finished,
        }
    }

    /// The results so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outgoing.pop_front()
    }

    /// Time of the next [`Self::handle_timeout`]; `None` when all is done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.exchange.as_ref()?.deadline();
        let next = self.transactions.poll_timeout();
        let next = next.map_or(deadline, |next| next.min(deadline));
        Some(match self.test {
            Test::Lifetime(_) => next,
            _ => next.min(self.limit),
        })
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, arrived: &Arrived<'_>) {
        let exchange = self.exchange.as_mut();
        let reply =
            exchange.and_then(|exchange| exchange.handle_datagram(arrived, &self.transactions));
        if let Some(reply) = reply {
            self.advance(now, Some(reply));
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        if self.limit <= now && !matches!(self.test, Test::Lifetime(_)) {
            return self.finish();
        }
        match exchange.handle_timeout(now) {
            Some(reply) => self.advance(now, Some(reply)),
            None => self.transmit(now),
        }
    }

    /// Takes the requests that are due.
    fn transmit(&mut self, now: Instant) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        while let Some((id, bytes)) = self.transactions.poll_transmit(now) {
            self.outgoing.extend(exchange.transmit(id, bytes));
        }
    }

    /// Ends all tests because this host's network failed.
    pub fn handle_failure(&mut self, kind: std::io::ErrorKind) {
        let why = Unknown::Local(kind);
        let Report {
            mapped,
            mapping,
            filtering,
            hairpinning,
            lifetime,
            port_preservation,
            alg,
            ..
        } = &mut self.report;
        let open = |known: &mut Unknown| {
            if *known == Unknown::OutOfTime {
                *known = why;
            }
        };
        mapped.as_mut().err().map(open);
        mapping.as_mut().err().map(open);
        filtering.as_mut().err().map(open);
        hairpinning.as_mut().err().map(open);
        lifetime.as_mut().err().map(open);
        port_preservation.as_mut().err().map(open);
        alg.as_mut().err().map(open);
        self.finish();
    }

    fn finish(&mut self) {
        self.test = Test::Finished;
        self.exchange = None;
    }

    /// Hands a reply to the test that is on, and begins what comes next.
    fn advance(&mut self, now: Instant, mut reply: Option<Reply>) {
        self.exchange = None;
        self.transactions.end_all();
        // Answers of the lifetime test are told the port of another socket than the one that they reach.
        if let (Some(Reply::Answer(answer)), false) =
            (&reply, matches!(self.test, Test::Lifetime(_)))
        {
            self.observe(answer);
        }
        let timeout = self.options.answer_timeout;
        loop {
            let first = self.first_timeout();
            let exchange = match &mut self.test {
                Test::Mapping(test) => match test.step(reply) {
                    Step::Done(mapped) => {
                        let Some(first) = self.mapped(&mapped) else {
                            return self.finish();
                        };
                        self.test = self.filtering(&first);
                        None
                    }
                    step => Exchange::new(&step, now, first, &mut self.transactions),
                },
                Test::Filtering(test) => match test.step(reply) {
                    Step::Done(filtering) => {
                        self.report.filtering = filtering;
                        self.test = Test::Hairpin(HairpinTest::new(self.server));
                        None
                    }
                    step => Exchange::new(&step, now, timeout, &mut self.transactions),
                },
                Test::Hairpin(test) => match test.step(reply) {
                    Step::Done(hairpinning) => {
                        self.report.hairpinning = hairpinning;
                        let Some(test) = self.lifetime() else {
                            return self.finish();
                        };
                        self.test = Test::Lifetime(test);
                        None
                    }
                    step => Exchange::new(&step, now, timeout, &mut self.transactions),
                },
                Test::Lifetime(test) => match test.step(reply) {
                    Step::Done(lifetime) => {
                        self.report.lifetime = lifetime;
                        return self.finish();
                    }
                    step => Exchange::new(&step, now, timeout, &mut self.transactions),
                },
                Test::Finished => return self.finish(),
            };
            if exchange.is_some() {
                self.exchange = exchange;
                return self.transmit(now);
            }
            reply = None;
        }
    }

    /// Time limit of the next answer: the very first may take twice as long, as all else hangs on it.
    fn first_timeout(&self) -> Duration {
        match self.report.mapped {
            Ok(_) => self.options.answer_timeout,
            Err(_) => self.options.answer_timeout * 2,
        }
    }

    /// Takes from any answer what it shows of the NAT.
    fn observe(&mut self, answer: &Answer) {
        let preserved = answer.mapped.port() == answer.local.port();
        let report = &mut self.report;
        report.port_preservation = if answer.mapped == answer.local {
            Err(Unknown::NotTranslated)
        } else {
            Ok(preserved && report.port_preservation != Ok(false))
        };
        report.alg = match (answer.plain, report.alg) {
            (_, Ok(true)) => Ok(true),
            (Some(plain), _) => Ok(plain != answer.mapped),
            (None, Ok(false)) => Ok(false),
            (None, Err(_)) => Err(Unknown::NotSupported(
                "MAPPED-ADDRESS beside XOR-MAPPED-ADDRESS",
            )),
        };
        if self.report.mapped.is_err() {
            self.report.local = Some(answer.local);
            self.report.mapped = Ok(answer.mapped);
        }
    }

    fn mapped(&mut self, mapped: &super::mapping::Mapped) -> Option<Answer> {
        self.report.mapping = mapped.mapping;
        match mapped.first {
            Ok(first) => Some(first),
            Err(why) => {
                let Report {
                    server,
                    tcp_mapping,
                    ..
                } = self.report;
                self.report = Report {
                    tcp_mapping,
                    ..Report::unknown(server, why)
                };
                None
            }
        }
    }

    fn filtering(&mut self, first: &Answer) -> Test {
        match first.other.filter(|other| is_other(self.server, *other)) {
            Some(other) => Test::Filtering(FilteringTest::new(self.server, other)),
            None => {
                self.report.filtering = Err(Unknown::NoOtherAddress);
                Test::Hairpin(HairpinTest::new(self.server))
            }
        }
    }

    /// The test of the lifetime, if it is wanted and there is one.
    fn lifetime(&mut self) -> Option<LifetimeTest> {
        let longest = self.options.lifetime?;
        let open = self.report.filtering == Ok(Filtering::EndpointIndependent);
        if self.report.translated() == Some(false) && open {
            self.report.lifetime = Err(Unknown::NotTranslated);
            return None;
        }
        Some(LifetimeTest::new(
            self.server,
            longest,
            self.options.precision,
        ))
    }
}
