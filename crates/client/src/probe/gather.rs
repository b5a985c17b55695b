//! Candidates that a browser would gather from one address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{Connection, NoResponse};
use super::explain;
use super::finding::{Finding, Level, known};
use super::internal;
use super::link::{self, Link};
use super::relay::{self, Traffic};
use super::resolve::Target;
use super::tls::{self, Roots};
use super::uri::{Transport, Uri};
use crate::turn::{Login, Request, Response};

/// Number of times that a 300 is followed.
const MOST_ALTERNATES: usize = 3;

/// Credentials, authorities and time that asking takes.
#[derive(Clone, Debug)]
pub struct Means {
    /// Credentials, for `turn:` and `turns:`.
    pub login: Option<Login>,
    /// Realm of the credentials, if it is known.
    pub realm: Option<String>,
    /// Trusted authorities.
    pub roots: Roots,
    /// Time limit of one address.
    pub limit: Duration,
    /// Ask whether the server relays to private and loopback peers.
    pub peer_check: bool,
}

/// A candidate, and the time that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address that peers send to.
    pub addr: SocketAddr,
    /// Time from the first packet until the address was known.
    pub after: Duration,
}

/// Results of one address.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// Server that was asked.
    pub target: Target,
    /// Server-reflexive candidate: this host as the server sees it.
    pub reflexive: Option<Candidate>,
    /// Relayed candidate.
    pub relayed: Option<Candidate>,
    /// End of the certificate, in seconds since the Unix epoch.
    pub certificate_ends: Option<u64>,
    /// Data through the relay.
    pub traffic: Option<Traffic>,
    /// Private and loopback peers that the server accepts; `None`: it was not asked, or did not answer in time.
    pub internal_peers: Option<Vec<IpAddr>>,
    /// Time that all of it took.
    pub took: Duration,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

impl Gathered {
    fn new(target: Target) -> Self {
        Self {
            target,
            reflexive: None,
            relayed: None,
            certificate_ends: None,
            traffic: None,
            internal_peers: None,
            took: Duration::ZERO,
            findings: Vec::new(),
        }
    }

    /// Whether a browser gets what it asks this address for.
    pub fn serves(&self, turn: bool) -> bool {
        let candidate = if turn { self.relayed } else { self.reflexive };
        self.target.browser
            && candidate.is_some()
            && self
                .findings
                .iter()
                .all(|finding| finding.level < Level::Fault)
    }
}

/// Asks one address for all that `uri` promises; ends within the limit, or a moment later.
pub async fn gather(uri: &Uri, target: Target, means: &Means) -> Gathered {
    let begun = Instant::now();
    let mut gathered = Gathered::new(target);
    let asker = Asker {
        uri,
        target,
        means,
        begun,
        deadline: begun + means.limit,
    };
    asker.ask(&mut gathered).await;
    gathered.took = begun.elapsed();
    gathered
}

struct Asker<'a> {
    uri: &'a Uri,
    target: Target,
    means: &'a Means,
    begun: Instant,
    deadline: Instant,
}

impl Asker<'_> {
    /// Asks, and follows the server to where it sends clients on.
    async fn ask(mut self, gathered: &mut Gathered) {
        for _ in 0..=MOST_ALTERNATES {
            let asked = if self.uri.turn {
                self.turn(gathered).await
            } else {
                self.stun(gathered).await.map(|()| None)
            };
            match asked {
                Ok(None) => return,
                Ok(Some(alternate)) => {
                    let text = format!("the server sends clients on to {alternate}");
                    let why = "it answers with error 300, as alternate-server or draining makes it";
                    let remedy = "nothing, if that is wanted: browsers follow";
                    gathered
                        .findings
                        .push(Finding::note(text, why, remedy).with_code(300));
                    self.target.addr = alternate;
                }
                Err(finding) => return gathered.findings.push(finding),
            }
        }
        let text = "the servers send clients on to one another";
        let (why, remedy) = (
            "their alternate-server lists form a circle",
            "take the circle apart",
        );
        gathered
            .findings
            .push(Finding::fault(text, why, remedy).with_code(300));
    }

    fn candidate(&self, addr: SocketAddr) -> Candidate {
        Candidate {
            addr,
            after: self.begun.elapsed(),
        }
    }

    /// Connects as the target says.
    async fn connect(&self, gathered: &mut Gathered) -> Result<Connection, Finding> {
        let Target {
            addr, transport, ..
        } = self.target;
        let failed = |error: io::Error| explain::unreachable(addr, transport, &error);
        let link = match transport {
            Transport::Udp => Link::udp(addr).await.map_err(failed)?,
            Transport::Tcp | Transport::Tls => {
                let stream = timeout_at(self.deadline, TcpStream::connect(addr)).await;
                let timed_out = |_| failed(io::ErrorKind::TimedOut.into());
                let stream = stream.map_err(timed_out)?.map_err(failed)?;
                // Small packets go at once.
                let _ = stream.set_nodelay(true);
                Link::Stream(match transport {
                    Transport::Tls => Box::new(self.secure(stream, gathered).await?),
                    Transport::Udp | Transport::Tcp => Box::new(stream),
                })
            }
        };
        Ok(Connection::new(link, self.deadline))
    }

    async fn secure(
        &self,
        stream: TcpStream,
        gathered: &mut Gathered,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Finding> {
        let Target {
            addr, transport, ..
        } = self.target;
        let host = self.uri.host.to_string();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let unusable = |error: &dyn std::fmt::Display| {
            let what = "TLS cannot be tried";
            Finding::fault(what, error.to_string(), "write a host name or an address")
        };
        // The name is the URI's, whatever records led here (RFC 5928 §5).
        let name = ServerName::try_from(host.clone()).map_err(|error| unusable(&error))?;
        let (config, seen) = tls::config(&self.means.roots).map_err(|error| unusable(&error))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        let outcome = timeout_at(self.deadline, handshake).await;
        let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        gathered.certificate_ends = seen.not_after;
        match outcome {
            Ok(Ok(stream)) => {
                gathered.findings.extend(tls::ending(&seen, unix()));
                Ok(stream)
            }
            Ok(Err(error)) => {
                let cause = error
                    .get_ref()
                    .and_then(|e| e.downcast_ref::<rustls::Error>());
                Err(match cause {
                    Some(cause) => tls::failure(cause, &seen, &host),
                    None => explain::unreachable(addr, transport, &error),
                })
            }
            Err(_) => Err(Finding::fault(
                "the TLS handshake does not end",
                "the server takes the connection and is silent: it may wait for plain TURN",
                "write the tls-listening-port into the URI",
            )
            .with_code(701)),
        }
    }

    /// Reason why nothing came: a STUN server may answer other requests, and a refusal shows at the second try.
    async fn no_response(&self, client: &mut Connection, why: &NoResponse) -> Finding {
        let Target {
            addr, transport, ..
        } = self.target;
        if let NoResponse::Silent(None) = why {
            if self.uri.turn && client.answers_binding().await {
                return explain::stun_alone(addr, transport);
            }
            if transport == Transport::Udp
                && let Some(error) = link::refusal(addr).await
            {
                return explain::unreachable(addr, transport, &error);
            }
        }
        explain::no_response(addr, transport, why)
    }

    async fn stun(&self, gathered: &mut Gathered) -> Result<(), Finding> {
        let mut client = self.connect(gathered).await?;
        let response = match client.ask_once(&Request::Binding).await {
            Ok(response) => response,
            Err(why) => return Err(self.no_response(&mut client, &why).await),
        };
        if let Some(code) = response.error {
            let code = known(code);
            return Err(Finding::fault(
                "the server refuses a Binding request",
                format!("it answers with error {code}"),
                "look at its log: secure-stun and the like make it refuse browsers",
            )
            .with_code(code));
        }
        match response.mapped() {
            Some(mapped) => gathered.reflexive = Some(self.candidate(mapped)),
            None => {
                return Err(Finding::fault(
                    "the server's answer holds no address",
                    "it speaks RFC 3489 alone, or is broken",
                    "use a server of this century",
                )
                .with_code(701));
            }
        }
        Ok(())
    }

    /// `Some` when the server sends on to another one.
    async fn turn(&self, gathered: &mut Gathered) -> Result<Option<SocketAddr>, Finding> {
        let mut first = self.connect(gathered).await?;
        let browsers = &Request::ALLOCATE;
        let allocated = match self.allocate(&mut first, browsers, gathered).await? {
            Allocated::Relay(allocated) => allocated,
            Allocated::Alternate(alternate) => return Ok(Some(alternate)),
        };
        gathered.relayed = Some(self.candidate(allocated.relayed));
        gathered.reflexive = allocated.mapped.map(|mapped| self.candidate(mapped));
        let outside = match allocated.mapped {
            Some(mapped) => {
                relay::from_outside(&mut first, allocated.relayed, mapped, self.deadline).await
            }
            None => relay::Outside::NotTried,
        };
        self.judge(gathered, &allocated, outside);
        // The certificate has been judged.
        let mut discard = Gathered::new(self.target);
        let second = match self.connect(&mut discard).await {
            Ok(mut second) => match self.allocate(&mut second, browsers, &mut discard).await {
                Ok(Allocated::Relay(other)) => Ok((second, other)),
                Ok(Allocated::Alternate(_)) => Err(None),
                Err(finding) => Err(Some(finding)),
            },
            Err(finding) => Err(Some(finding)),
        };
        match second {
            Ok((mut second, other)) => {
                let ends = [
                    (&mut first, allocated.relayed),
                    (&mut second, other.relayed),
                ];
                match relay::round_trip(ends, self.deadline).await {
                    Ok(traffic) => {
                        gathered.findings.extend(traffic.finding());
                        gathered.traffic = Some(traffic);
                    }
                    Err(finding) => gathered.findings.push(finding),
                }
                second.release().await;
            }
            Err(finding) => {
                let why = match finding {
                    Some(finding) => format!("{}: {}", finding.what, finding.why),
                    None => "the server sent it elsewhere".to_owned(),
                };
                gathered.findings.push(Finding::warning(
                    "no second allocation, so nothing was sent through the relay",
                    why,
                    "two clients of this server could not call each other",
                ));
            }
        }
        if self.means.peer_check {
            self.check_peers(&mut first, allocated.relayed.ip(), gathered)
                .await;
        }
        first.release().await;
        Ok(None)
    }

    /// Finds out which private and loopback peers the server accepts: from the relay, and from one of the other family.
    async fn check_peers(&self, client: &mut Connection, relayed: IpAddr, gathered: &mut Gathered) {
        let Some(mut tried) = internal::try_peers(client, relayed).await else {
            return;
        };
        let mut discard = Gathered::new(self.target);
        if relayed.is_ipv4()
            && let Ok(mut other) = self.connect(&mut discard).await
        {
            let ipv6 = Request::Allocate {
                tcp: false,
                ipv6: true,
            };
            // Most servers have no address of IPv6 to relay from.
            if let Ok(Allocated::Relay(relay)) =
                self.allocate(&mut other, &ipv6, &mut discard).await
            {
                if relay.relayed.is_ipv6()
                    && let Some(more) = internal::try_peers(&mut other, relay.relayed.ip()).await
                {
                    tried.add(more);
                }
                other.release().await;
            }
        }
        gathered.findings.extend(tried.finding());
        gathered.internal_peers = Some(tried.addresses());
    }

    /// Adds findings on the relayed address as others see it.
    fn judge(&self, gathered: &mut Gathered, allocated: &Relay, outside: relay::Outside) {
        let relayed = allocated.relayed;
        match outside {
            relay::Outside::Both => {}
            relay::Outside::InOnly => gathered.findings.push(explain::nothing_out(relayed)),
            relay::Outside::NotIn { out } => {
                let finding = explain::unanswered(relayed, self.target.addr, out);
                gathered.findings.push(finding);
            }
            relay::Outside::Refused(peer, code) => gathered.findings.push(
                Finding::warning(
                    format!("the server refuses {} as a peer", peer.ip()),
                    format!("its peer rules are against this host's address (error {code}), so nobody there is reached by relay, and the relay ports could not be tried from here"),
                    "if peers are to be there, name them in allowed-peer-ip or take them out of denied-peer-ip",
                )
                .with_code(code),
            ),
            relay::Outside::NotTried => gathered.findings.push(Finding::note(
                "the relay ports were not tried from outside",
                "this host has no address of the relay's family, or is the server itself",
                "try it from another host",
            )),
        }
        let arrived = !matches!(outside, relay::Outside::NotIn { .. });
        let elsewhere = relayed.ip() != self.target.addr.ip() && arrived;
        let reason = explain::unroutable(relayed.ip());
        // Within one private network all is well.
        let reason = reason.filter(|_| reason != explain::unroutable(self.target.addr.ip()));
        if let (true, Some(reason)) = (elsewhere, reason) {
            let finding = explain::not_routable(relayed, self.target.addr, reason);
            gathered.findings.push(finding);
        }
    }

    async fn allocate(
        &self,
        client: &mut Connection,
        request: &Request,
        gathered: &mut Gathered,
    ) -> Result<Allocated, Finding> {
        let Some(login) = &self.means.login else {
            return Err(Finding::fault(
                "there are no credentials to try",
                "turn: needs them",
                "give --user, --secret-file, or -c",
            ));
        };
        let challenge = match client.ask_once(request).await {
            Ok(challenge) => challenge,
            Err(why) => return Err(self.no_response(client, &why).await),
        };
        let response = match challenge.error {
            None => {
                gathered.findings.push(Finding::warning(
                    "the server asks for no credentials",
                    "anyone can relay through it (no-auth)",
                    "set user or static-auth-secret",
                ));
                return allocated(&challenge);
            }
            Some(401) => {
                let realm = client.log_in(login, &challenge);
                let realm = realm.map_err(|why| explain::no_log_in(&why).with_code(401))?;
                if let Some(expected) = self.means.realm.as_ref().filter(|r| **r != realm) {
                    gathered.findings.push(Finding::warning(
                        format!("the server's realm is {realm:?}, not {expected:?}"),
                        "it runs with another configuration, or the realm was changed",
                        "restart it with this configuration; keys made for the old realm no longer work",
                    ));
                }
                let response = match client.ask_once(request).await {
                    Ok(response) => response,
                    Err(NoResponse::Silent(None)) => {
                        return Err(explain::silent_to_login(self.target.addr));
                    }
                    Err(why) => return Err(self.no_response(client, &why).await),
                };
                if let Some(code) = response.error.filter(|code| *code != 300) {
                    return Err(explain::refused(code, login, &realm, unix()));
                }
                response
            }
            Some(300) => challenge,
            Some(code) => return Err(explain::refused(code, login, "", unix())),
        };
        if response.error.is_some() {
            return alternate(&response);
        }
        if !response.signed {
            return Err(Finding::fault(
                "the server's answer is not signed, or not with these credentials",
                "browsers drop it; something else may have answered in the server's name",
                "look at the server, and at what is between",
            )
            .with_code(701));
        }
        allocated(&response)
    }
}

enum Allocated {
    Relay(Relay),
    Alternate(SocketAddr),
}

struct Relay {
    relayed: SocketAddr,
    mapped: Option<SocketAddr>,
}

fn alternate(response: &Response) -> Result<Allocated, Finding> {
    match response.alternate() {
        Some(alternate) => Ok(Allocated::Alternate(alternate)),
        None => Err(Finding::fault(
            "the server sends clients on without saying where",
            "its error 300 has no ALTERNATE-SERVER",
            "name one in alternate-server",
        )
        .with_code(300)),
    }
}

fn allocated(response: &Response) -> Result<Allocated, Finding> {
    match response.relayed() {
        Some(relayed) => Ok(Allocated::Relay(Relay {
            relayed,
            mapped: response.mapped(),
        })),
        None => Err(Finding::fault(
            "the server allocates without telling an address",
            "its success response has no XOR-RELAYED-ADDRESS",
            "look for a newer version of it",
        )
        .with_code(701)),
    }
}

/// Seconds since the Unix epoch.
fn unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
