//! Events that only debugging needs.

use std::time::Duration;

use stun::message::METHOD_BINDING;
use turnd_proto::server::output::Event;

use crate::support::messages::{request, status};
use crate::support::world::World;

#[test]
fn details_are_told_only_when_they_are_wanted() {
    let mut world = World::new(|s| s.auth.stale_nonce = Duration::from_secs(60));
    let mut seen = Vec::new();
    for wanted in [false, true] {
        world.server.tell_details(wanted);
        world.events.clear();
        let client = ["192.0.2.50:1", "192.0.2.51:1"][usize::from(wanted)];
        let (caller, _) = world.allocated(client);
        assert_eq!(world.permit(&caller, &["45.0.0.7:1", "198.41.0.4:1"]), 200);
        assert_eq!(world.bind_channel(&caller, 0x4000, "45.0.0.7:1"), 200);
        let binding = request(METHOD_BINDING, vec![]);
        assert_eq!(status(&world.reply(&caller.path, &binding)), 200);
        world.at_second(if wanted { 290 } else { 100 });
        assert_eq!(status(&world.refresh(&caller, None)), 438);
        seen.push(world.events.iter().map(told).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], ["other"]);
    assert_eq!(
        seen[1],
        [
            "401 no-integrity",
            "other",
            "permitted 2 for 300 s",
            "channel 16384 to 45.0.0.7:1 for 600 s",
            "binding 0",
            "438 stale-nonce",
        ]
    );
}

fn told(event: &Event) -> String {
    match event {
        Event::Challenged { code, reason, .. } => format!("{code} {reason}"),
        Event::Binding { code, .. } => format!("binding {code}"),
        Event::Permitted {
            peers, lifetime, ..
        } => format!("permitted {} for {} s", peers.len(), lifetime.as_secs()),
        Event::ChannelBound {
            number,
            peer,
            lifetime,
            ..
        } => format!("channel {number} to {peer} for {} s", lifetime.as_secs()),
        _ => "other".to_owned(),
    }
}
