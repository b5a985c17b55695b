use proptest::prelude::*;

use super::*;

const ROOMY: UnallocatedLimits = UnallocatedLimits {
    clients: 1000,
    per_source: 1000,
    bytes: 1 << 30,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A table, the places that were taken in it, and who was displaced since the last look.
struct Fixture {
    all: Arc<Unallocated<u32>>,
    places: Vec<Option<Place<u32>>>,
    displaced: Vec<Displaced<u32>>,
}

impl Fixture {
    fn new(limits: UnallocatedLimits) -> Self {
        Self {
            all: Arc::new(Unallocated::new(limits)),
            places: Vec::new(),
            displaced: Vec::new(),
        }
    }

    /// Admits a client whose socket is named by its number of arrival.
    fn admit(&mut self, source: &str, bytes: usize) -> usize {
        let number = self.places.len();
        let place = self
            .all
            .admit(number as u32, ip(source), bytes, &mut self.displaced);
        self.places.push(Some(place));
        number
    }

    fn displaced(&mut self) -> Vec<u32> {
        let ended = std::mem::take(&mut self.displaced);
        ended.iter().map(|d| d.client).collect()
    }
}

#[test]
fn the_longest_silent_of_the_network_that_holds_most_ends_for_a_newcomer() {
    let mut fixture = Fixture::new(UnallocatedLimits {
        clients: 4,
        ..ROOMY
    });
    fixture.admit("192.0.2.1", 100);
    for _ in 0..3 {
        fixture.admit("198.51.100.1", 100);
    }
    assert_eq!(fixture.displaced(), [0; 0]);
    fixture.admit("203.0.113.1", 100);
    assert_eq!(fixture.displaced(), [1], "not the oldest of all");
    fixture.places[2].as_ref().unwrap().heard();
    fixture.admit("203.0.113.2", 100);
    assert_eq!(fixture.displaced(), [3], "the other one was heard since");
    // Now all are equal: the oldest of all goes.
    fixture.admit("203.0.113.3", 100);
    assert_eq!(fixture.displaced(), [0]);
    assert_eq!(fixture.all.held(), (4, 400));
}

#[test]
fn whoever_floods_displaces_itself_and_no_other() {
    let mut fixture = Fixture::new(UnallocatedLimits {
        clients: 100,
        ..ROOMY
    });
    let honest = fixture.admit("192.0.2.1", 100);
    for n in 0..10_000 {
        let source = format!("198.51.100.{}", n % 10);
        fixture.admit(&source, 100);
    }
    assert_eq!(fixture.displaced.len(), 10_001 - 100);
    assert!(!fixture.displaced().contains(&(honest as u32)));
}

#[test]
fn bytes_count_whoever_holds_them_and_however_they_came() {
    let mut fixture = Fixture::new(UnallocatedLimits {
        bytes: 1000,
        ..ROOMY
    });
    fixture.admit("192.0.2.1", 100);
    let greedy = fixture.admit("198.51.100.1", 100);
    let place = fixture.places[greedy].take().unwrap();
    place.set_bytes(900, &mut fixture.displaced);
    assert_eq!(fixture.displaced(), [0; 0]);
    fixture.admit("203.0.113.1", 100);
    assert_eq!(fixture.displaced(), [greedy as u32]);
    drop(place);
    assert_eq!(fixture.all.held(), (2, 200));
    // One that alone is over the budget ends itself.
    let place = fixture.places[0].take().unwrap();
    place.set_bytes(950, &mut fixture.displaced);
    assert_eq!(fixture.displaced(), [0]);
}

#[test]
fn a_source_has_its_own_limit_and_an_ipv6_site_four_times_that() {
    let mut fixture = Fixture::new(UnallocatedLimits {
        per_source: 2,
        ..ROOMY
    });
    fixture.admit("192.0.2.1", 1);
    fixture.admit("::ffff:192.0.2.1", 1);
    fixture.admit("192.0.2.2", 1);
    assert_eq!(fixture.displaced(), [0; 0]);
    fixture.admit("192.0.2.1", 1);
    assert_eq!(fixture.displaced(), [0]);

    let mut fixture = Fixture::new(UnallocatedLimits {
        per_source: 2,
        ..ROOMY
    });
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"] {
        fixture.admit(host, 1);
    }
    assert_eq!(fixture.displaced(), [0], "one /64");
    for subnet in 1..7 {
        fixture.admit(&format!("2001:db8:0:{subnet}::1"), 1);
    }
    assert_eq!(fixture.displaced(), [0; 0]);
    fixture.admit("2001:db8:0:8::1", 1);
    assert_eq!(fixture.displaced(), [1], "one /48");
    fixture.admit("2001:db8:1::1", 1);
    assert_eq!(fixture.displaced(), [0; 0]);
}

#[test]
fn a_place_that_was_taken_away_is_not_given_back_twice() {
    let mut fixture = Fixture::new(UnallocatedLimits {
        clients: 1,
        ..ROOMY
    });
    fixture.admit("192.0.2.1", 10);
    fixture.admit("192.0.2.2", 20);
    let first = fixture.places[0].take().unwrap();
    first.heard();
    first.set_bytes(500, &mut fixture.displaced);
    drop(first);
    assert_eq!(fixture.all.held(), (1, 20));
    fixture.all.displace_one(&mut fixture.displaced);
    assert_eq!(fixture.displaced(), [0, 1]);
    assert_eq!(fixture.all.held(), (0, 0));
    fixture.all.displace_one(&mut fixture.displaced);
    assert_eq!(fixture.displaced(), [0; 0]);
}

proptest! {
    /// Limits hold after every step, sums are those of the places alive, and nothing is left when
    /// all are gone.
    #[test]
    fn the_sums_are_right_and_nobody_is_remembered(
        steps in prop::collection::vec((0u8..4, 0usize..40, 0u16..6, 1usize..200), 0..200),
    ) {
        let limits = UnallocatedLimits { clients: 8, per_source: 3, bytes: 600 };
        let mut fixture = Fixture::new(limits);
        for (step, which, source, bytes) in steps {
            match step {
                0 | 1 => {
                    let source = match source {
                        0..3 => format!("192.0.2.{source}"),
                        _ => format!("2001:db8:{}:{source}::1", source % 2),
                    };
                    fixture.admit(&source, bytes);
                }
                2 => {
                    if let Some(place) = fixture.places.get(which).and_then(Option::as_ref) {
                        place.set_bytes(bytes, &mut fixture.displaced);
                        place.heard();
                    }
                }
                _ => {
                    if let Some(place) = fixture.places.get_mut(which) {
                        *place = None;
                    }
                }
            }
            for displaced in std::mem::take(&mut fixture.displaced) {
                let place = fixture.places[displaced.client as usize].take();
                prop_assert_eq!(place.unwrap().serial(), displaced.serial);
            }
            let (clients, bytes) = fixture.all.held();
            prop_assert_eq!(clients, fixture.places.iter().flatten().count());
            prop_assert!(clients <= 8 && bytes <= 600);
            let table = fixture.all.lock();
            let of_networks: u64 = table.by_weight.iter().map(|(bytes, _, _)| bytes).sum();
            prop_assert_eq!(of_networks, bytes);
            prop_assert_eq!(table.clients.values().map(|c| c.bytes).sum::<u64>(), bytes);
        }
        fixture.places.clear();
        prop_assert_eq!(fixture.all.held(), (0, 0));
        let table = fixture.all.lock();
        prop_assert!(table.networks.is_empty() && table.by_weight.is_empty());
    }
}
