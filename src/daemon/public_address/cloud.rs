//! The metadata services of clouds, which tell a machine its public addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::timeout;

use super::choice::Pair;
use super::http::ask;

/// The link-local address at which every one of these clouds answers, and nobody else may.
pub(super) const SERVICE: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// Most interfaces, and addresses of one, that are asked for.
const MOST: usize = 16;

/// Asks for the public addresses of this machine, and tells which cloud it is in. Nothing of the
/// machine's identity or credentials is asked for.
pub(super) async fn ask_clouds(
    service: SocketAddr,
    limit: Duration,
) -> Option<(&'static str, Vec<Pair>)> {
    // All at once: what is no cloud's does not answer, and one time limit is enough to wait.
    let (aws, gcp, azure, hetzner, oracle, digitalocean) = tokio::join!(
        timeout(limit, aws(service)),
        timeout(limit, gcp(service)),
        timeout(limit, azure(service)),
        timeout(limit, hetzner(service)),
        timeout(limit, oracle(service)),
        timeout(limit, digitalocean(service)),
    );
    let answers = [
        ("AWS", aws),
        ("GCP", gcp),
        ("Azure", azure),
        ("Hetzner", hetzner),
        ("Oracle", oracle),
        ("DigitalOcean", digitalocean),
    ];
    answers.into_iter().find_map(|(name, answer)| {
        let pairs = answer.ok()?.ok()?;
        (!pairs.is_empty()).then_some((name, pairs))
    })
}

async fn get(service: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<String> {
    ask(service, Method::GET, path, headers).await
}

/// Version 2 of the service, where each question has a token. A machine has several interfaces, each
/// with several private addresses, and a public one for some of them.
async fn aws(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let lifetime = [("X-aws-ec2-metadata-token-ttl-seconds", "60")];
    let token = ask(service, Method::PUT, "/latest/api/token", &lifetime).await?;
    let token = [("X-aws-ec2-metadata-token", token.trim())];
    let root = "/latest/meta-data";
    let mut pairs = Vec::new();
    let macs = format!("{root}/network/interfaces/macs/");
    let listed = get(service, &macs, &token).await.unwrap_or_default();
    for mac in words(&listed).filter(|mac| is_mac(mac)) {
        let associations = format!("{macs}{mac}/ipv4-associations/");
        // An interface without a public address has no such list.
        let publics = get(service, &associations, &token).await;
        let publics = publics.unwrap_or_default();
        for public in words(&publics).filter_map(|word| word.parse::<IpAddr>().ok()) {
            let locals = get(service, &format!("{associations}{public}"), &token).await;
            let locals = locals.unwrap_or_default();
            pairs.extend(words(&locals).filter_map(|local| Pair::tied(public, local)));
        }
    }
    if pairs.is_empty() {
        // Services of the same kind that know no interfaces.
        let public = get(service, &format!("{root}/public-ipv4"), &token).await?;
        pairs.extend(Pair::alone(&public));
    }
    Ok(pairs)
}

async fn gcp(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let path = "/computeMetadata/v1/instance/network-interfaces/?recursive=true";
    let text = get(service, path, &[("Metadata-Flavor", "Google")]).await?;
    Ok(parse_gcp(&text))
}

async fn azure(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let header = [("Metadata", "true")];
    let network = "/metadata/instance/network?api-version=2021-02-01";
    let pairs = parse_azure(&get(service, network, &header).await?);
    if !pairs.is_empty() {
        return Ok(pairs);
    }
    // Where public addresses of the standard kind are told.
    let balancer = "/metadata/loadbalancer?api-version=2020-10-01";
    Ok(parse_azure_balancer(
        &get(service, balancer, &header).await?,
    ))
}

async fn hetzner(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let text = get(service, "/hetzner/v1/metadata/public-ipv4", &[]).await?;
    Ok(Pair::alone(&text).into_iter().collect())
}

async fn oracle(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let header = [("Authorization", "Bearer Oracle")];
    let text = get(service, "/opc/v2/vnics/", &header).await?;
    Ok(parse_oracle(&text))
}

async fn digitalocean(service: SocketAddr) -> io::Result<Vec<Pair>> {
    let text = get(service, "/metadata/v1.json", &[]).await?;
    Ok(parse_digitalocean(&text))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.trim().trim_end_matches('/'));
    lines.filter(|line| !line.is_empty()).take(MOST)
}

fn is_mac(word: &str) -> bool {
    word.len() == 17 && word.bytes().all(|b| b == b':' || b.is_ascii_hexdigit())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().take(MOST)
}

fn pair(public: &Value, local: &Value) -> Option<Pair> {
    Pair::tied(public.as_str()?.parse().ok()?, local.as_str()?)
}

fn parse_gcp(text: &str) -> Vec<Pair> {
    let interfaces = json(text);
    let of = |interface: &Value| -> Vec<Pair> {
        list(&interface["accessConfigs"])
            .filter_map(|access| pair(&access["externalIp"], &interface["ip"]))
            .collect()
    };
    list(&interfaces).flat_map(of).collect()
}

fn parse_azure(text: &str) -> Vec<Pair> {
    let network = json(text);
    let of = |interface: &Value| -> Vec<Pair> {
        ["ipv4", "ipv6"]
            .iter()
            .flat_map(|family| list(&interface[family]["ipAddress"]))
            .filter_map(|ip| pair(&ip["publicIpAddress"], &ip["privateIpAddress"]))
            .collect()
    };
    list(&network["interface"]).flat_map(of).collect()
}

fn parse_azure_balancer(text: &str) -> Vec<Pair> {
    let balancer = json(text);
    list(&balancer["loadbalancer"]["publicIpAddresses"])
        .filter_map(|ip| pair(&ip["frontendIpAddress"], &ip["privateIpAddress"]))
        .collect()
}

/// Oracle seldom tells a public address: docs/install.md has the remedy.
fn parse_oracle(text: &str) -> Vec<Pair> {
    let interfaces = json(text);
    list(&interfaces)
        .filter_map(|interface| pair(&interface["publicIp"], &interface["privateIp"]))
        .collect()
}

/// A reserved address comes to the anchor address of the first public interface.
fn parse_digitalocean(text: &str) -> Vec<Pair> {
    let droplet = json(text);
    let interfaces: Vec<_> = list(&droplet["interfaces"]["public"]).collect();
    let mut pairs = Vec::new();
    for reserved in ["reserved_ip", "floating_ip"] {
        let reserved = &droplet[reserved]["ipv4"];
        if reserved["active"] != true {
            continue;
        }
        pairs.extend(interfaces.iter().filter_map(|interface| {
            let anchor = &interface["anchor_ipv4"]["ip_address"];
            pair(&reserved["ip_address"], anchor)
        }));
    }
    for interface in interfaces {
        let address = interface["ipv4"]["ip_address"].as_str();
        pairs.extend(address.and_then(Pair::alone));
    }
    pairs
}

#[cfg(test)]
mod tests;
