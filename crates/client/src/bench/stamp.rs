//! Stamps in packets: the flow, the number in the flow, and the time of sending.

/// The stamp of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) flow: u32,
    pub(super) sequence: u64,
    /// Nanoseconds since the run began.
    pub(super) nanos: u64,
}

/// Bytes of a stamp in a payload; the least that `--size` can be.
pub const LEN: usize = 24;

impl Stamp {
    /// Writes it at the start of a payload. `run` tells this run's packets from others.
    pub(super) fn write(self, run: u32, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&run.to_be_bytes());
        payload[4..8].copy_from_slice(&self.flow.to_be_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        payload[16..LEN].copy_from_slice(&self.nanos.to_be_bytes());
    }

    /// Reads the stamp of a payload of this run.
    pub(super) fn read(run: u32, payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = payload.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        (word(0) == run).then(|| Self {
            flow: word(4),
            sequence: long(8),
            nanos: long(16),
        })
    }

    /// The transaction id of a Binding request: 16 bits of flow, 32 of sequence, 48 of time.
    pub(super) fn to_id(self) -> [u8; 12] {
        let mut id = [0; 12];
        id[..2].copy_from_slice(&(self.flow as u16).to_be_bytes());
        id[2..6].copy_from_slice(&(self.sequence as u32).to_be_bytes());
        id[6..].copy_from_slice(&self.nanos.to_be_bytes()[2..]);
        id
    }

    /// Reads what [`Self::to_id`] wrote.
    pub(super) fn from_id(id: [u8; 12]) -> Self {
        let [l0, l1, s @ .., t0, t1, t2, t3, t4, t5] = id;
        Self {
            flow: u16::from_be_bytes([l0, l1]).into(),
            sequence: u32::from_be_bytes(s).into(),
            nanos: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        let stamp = Stamp {
            flow: 7,
            sequence: 0x1_2345,
            nanos: 0x1234_5678_9ABC,
        };
        let mut payload = [0; 40];
        stamp.write(9, &mut payload);
        assert_eq!(Stamp::read(9, &payload), Some(stamp));
        assert_eq!(Stamp::read(8, &payload), None);
        assert_eq!(Stamp::read(9, &payload[..23]), None);
        assert_eq!(Stamp::from_id(stamp.to_id()), stamp);
    }
}
