//! Finds out what NAT this machine is behind: `cargo run --example nat -- 192.0.2.1:3478`.

use std::net::SocketAddr;

use turnd_client::nat::{Options, driver};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Some(Ok(server)) = std::env::args()
        .nth(1)
        .map(|text| text.parse::<SocketAddr>())
    else {
        eprintln!("usage: nat IP:PORT (of a STUN server with two addresses)");
        std::process::exit(2);
    };
    let report = driver::discover(&driver::Tokio, server, Options::default(), |stage| {
        eprintln!("{stage:?}");
    })
    .await;
    match report.mapped {
        Ok(public) => println!("public address: {public}"),
        Err(why) => println!("no public address: {why}"),
    }
    match (report.mapping, report.filtering) {
        (Ok(mapping), Ok(filtering)) => {
            println!("{} mapping, {} filtering", mapping.name(), filtering.name());
        }
        (Ok(mapping), Err(why)) => println!("{} mapping; filtering: {why}", mapping.name()),
        (Err(why), _) => println!("mapping: {why}"),
    }
    println!("{}", report.meaning());
}
