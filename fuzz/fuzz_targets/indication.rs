//! Any datagram as a Send indication or channel data: no panic, payload within the datagram.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::wire::{channel_data, indication};

fuzz_target!(|datagram: &[u8]| {
    let within = |payload: &[u8]| payload.len() <= datagram.len();
    if let Some((_, payload)) = channel_data::parse(datagram) {
        assert!(within(payload));
    }
    if indication::is_send(datagram)
        && let Some(send) = indication::parse_send(datagram)
    {
        assert!(within(send.data));
    }
});
