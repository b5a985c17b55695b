//! The public form of a local address as STUN servers see it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use turnd_proto::wire::address::{decode_plain, decode_xor};
use turnd_proto::wire::encoder::Encoder;
use turnd_proto::wire::message::Message;
use turnd_proto::wire::numbers::{AttributeType, Class, MessageType, Method, TransactionId};

/// Time until the first repetition of a request; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Largest answer that is read.
const LARGEST: usize = 1500;

/// Asks `server` from `local`. The caller bounds the time.
pub(super) async fn mapped(local: IpAddr, server: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((local, 0)).await?;
    // From here on the kernel drops what others send.
    socket.connect(server).await?;
    let mut id = TransactionId::default();
    getrandom::fill(&mut id.0).map_err(io::Error::other)?;
    let mut request = Vec::new();
    Encoder::new(
        &mut request,
        MessageType::new(Method::BINDING, Class::Request),
        id,
    );
    let mut wait = FIRST_WAIT;
    loop {
        socket.send(&request).await?;
        match timeout(wait, answer(&socket, &id)).await {
            Ok(answer) => return answer,
            Err(_) => wait *= 2,
        }
    }
}

/// Waits for the answer to this request, whatever else comes.
async fn answer(socket: &UdpSocket, id: &TransactionId) -> io::Result<IpAddr> {
    let mut buffer = [0; LARGEST];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(len) => {
                if let Some(address) = parse(&buffer[..len], id) {
                    return Ok(address);
                }
            }
            // A server that starts, perhaps: it is asked again.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        }
    }
}

fn parse(datagram: &[u8], id: &TransactionId) -> Option<IpAddr> {
    let message = Message::parse(datagram).ok()?;
    let expected = MessageType::new(Method::BINDING, Class::Success);
    if message.head().typ != expected || message.head().id != *id {
        return None;
    }
    let xor = message.get(AttributeType::XOR_MAPPED_ADDRESS);
    let plain = message.get(AttributeType::MAPPED_ADDRESS);
    let address = xor
        .and_then(|value| decode_xor(value, id))
        .or_else(|| decode_plain(plain?));
    Some(address?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: MessageType = MessageType::new(Method::BINDING, Class::Success);

    fn reply(typ: MessageType, id: TransactionId, attribute: AttributeType) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut encoder = Encoder::new(&mut reply, typ, id);
        let address = "5.6.7.8:9".parse().unwrap();
        if attribute == AttributeType::MAPPED_ADDRESS {
            encoder.plain_address(attribute, address);
        } else {
            encoder.xor_address(attribute, address);
        }
        reply
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let (id, other) = (TransactionId([1; 12]), TransactionId([2; 12]));
        let xor = AttributeType::XOR_MAPPED_ADDRESS;
        let expected: IpAddr = "5.6.7.8".parse().unwrap();
        assert_eq!(parse(&reply(SUCCESS, id, xor), &id), Some(expected));
        let plain = reply(SUCCESS, id, AttributeType::MAPPED_ADDRESS);
        assert_eq!(parse(&plain, &id), Some(expected));
        assert_eq!(parse(&reply(SUCCESS, other, xor), &id), None);
        let request = MessageType::new(Method::BINDING, Class::Request);
        assert_eq!(parse(&reply(request, id, xor), &id), None);
        let none = reply(SUCCESS, id, AttributeType::XOR_PEER_ADDRESS);
        assert_eq!(parse(&none, &id), None);
        let good = reply(SUCCESS, id, xor);
        for len in 0..good.len() {
            assert_eq!(parse(&good[..len], &id), None, "{len} bytes");
        }
    }

    #[test]
    fn a_server_that_loses_and_answers_nonsense_is_asked_again() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            let (_, lost) = server.recv_from(&mut buffer).unwrap();
            server.send_to(b"nonsense", lost).unwrap();
            let (_, client) = server.recv_from(&mut buffer).unwrap();
            let mut id = TransactionId::default();
            id.0.copy_from_slice(&buffer[8..20]);
            let xor = AttributeType::XOR_MAPPED_ADDRESS;
            server.send_to(&reply(SUCCESS, id, xor), client).unwrap();
        });
        let local = "127.0.0.1".parse().unwrap();
        let found = runtime.block_on(mapped(local, address)).unwrap();
        assert_eq!(found, "5.6.7.8".parse::<IpAddr>().unwrap());
        serving.join().unwrap();
    }
}
