//! A day of numbers in memory that never grows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::net::control::Status;

/// Interval at which the numbers are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// A number of the history.
pub(super) struct Column {
    /// Name in the API.
    pub(super) name: &'static str,
    /// Whether the largest value of a step is kept, and not the increase.
    is_level: bool,
    value: fn(&Status) -> u64,
}

impl Column {
    const fn level(name: &'static str, value: fn(&Status) -> u64) -> Self {
        Self {
            name,
            is_level: true,
            value,
        }
    }

    const fn count(name: &'static str, value: fn(&Status) -> u64) -> Self {
        Self {
            name,
            is_level: false,
            value,
        }
    }
}

/// The numbers that are kept.
pub(super) const COLUMNS: [Column; 16] = [
    Column::level("allocations", Status::allocations),
    Column::level("relay_ports_used", |s| s.ports_taken.into()),
    Column::count("allocations_created", |s| s.counters.created),
    Column::count("allocations_ended", |s| s.counters.ended_in_all()),
    Column::count("binding_requests", |s| s.counters.binding_requests),
    Column::count("auth_failures", Status::auth_failures),
    Column::count("quota_refusals", Status::quota_refusals),
    Column::count("packets_dropped", Status::dropped),
    Column::count("clients_received_packets", |s| s.counters.clients.received),
    Column::count("clients_received_bytes", |s| {
        s.counters.clients.received_bytes
    }),
    Column::count("clients_sent_packets", |s| s.counters.clients.sent),
    Column::count("clients_sent_bytes", |s| s.counters.clients.sent_bytes),
    Column::count("peers_received_packets", |s| s.counters.peers.received),
    Column::count("peers_received_bytes", |s| s.counters.peers.received_bytes),
    Column::count("peers_sent_packets", |s| s.counters.peers.sent),
    Column::count("peers_sent_bytes", |s| s.counters.peers.sent_bytes),
];

/// A value for each of [`COLUMNS`].
type Values = [u64; COLUMNS.len()];

/// One step of the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// End of the step, in seconds since the start.
    pub(super) end: u64,
    pub(super) values: Values,
}

/// The step that has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: u64,
    /// Counts at its beginning, and the largest levels since.
    values: Values,
}

/// Steps of one length, as many as there is room for.
#[derive(Debug)]
pub(super) struct Series {
    /// Length of a step, in seconds.
    pub(super) step: u64,
    points: VecDeque<Point>,
    room: usize,
    open: Open,
}

impl Series {
    /// Steps of so many seconds; the first begins with the server.
    fn new(step: u64, room: usize) -> Self {
        let open = Open {
            number: 0,
            values: [0; COLUMNS.len()],
        };
        Self {
            step,
            points: VecDeque::with_capacity(room),
            room,
            open,
        }
    }

    /// Takes the values at a time, in seconds since the start.
    fn add(&mut self, time: u64, values: &Values) {
        let number = time / self.step;
        let mut ended = self.open.values;
        for ((ended, now), column) in ended.iter_mut().zip(values).zip(&COLUMNS) {
            *ended = match column.is_level {
                true => (*ended).max(*now),
                false => now.saturating_sub(*ended),
            };
        }
        if number > self.open.number {
            if self.points.len() == self.room {
                self.points.pop_front();
            }
            self.points.push_back(Point {
                end: number * self.step,
                values: ended,
            });
            let values = *values;
            self.open = Open { number, values };
        } else {
            for (index, column) in COLUMNS.iter().enumerate() {
                if column.is_level {
                    self.open.values[index] = ended[index];
                }
            }
        }
    }

    /// The steps that have ended, the oldest first.
    pub(super) fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter()
    }
}

/// The last minutes in seconds, and the last day in minutes.
#[derive(Debug)]
pub(super) struct History {
    /// The last ten minutes.
    pub(super) minutes: Series,
    /// The last day.
    pub(super) day: Series,
}

impl Default for History {
    fn default() -> Self {
        Self {
            minutes: Series::new(LOOK.as_secs(), 120),
            day: Series::new(60, 1440),
        }
    }
}

impl History {
    /// Takes the numbers at a time since the start.
    pub(super) fn add(&mut self, time: Duration, status: &Status) {
        let values = COLUMNS.each_ref().map(|column| (column.value)(status));
        for series in [&mut self.minutes, &mut self.day] {
            series.add(time.as_secs(), &values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(live: u64, created: u64) -> Status {
        let mut status = Status::default();
        status.counters.active[0][0] = live;
        status.counters.created = created;
        status
    }

    fn column(series: &Series, name: &str) -> Vec<u64> {
        let index = COLUMNS.iter().position(|c| c.name == name).unwrap();
        series.points().map(|point| point.values[index]).collect()
    }

    fn add(history: &mut History, seconds: u64, status: &Status) {
        history.add(Duration::from_secs(seconds), status);
    }

    #[test]
    fn steps_hold_the_largest_level_and_the_increase_of_counts() {
        let mut history = History::default();
        for (seconds, live, created) in [(0, 1, 1), (5, 9, 10), (55, 2, 10), (60, 3, 12)] {
            add(&mut history, seconds, &status(live, created));
        }
        assert_eq!(column(&history.day, "allocations"), [9]);
        assert_eq!(column(&history.day, "allocations_created"), [12]);
        let ends: Vec<u64> = history.minutes.points().map(|p| p.end).collect();
        assert_eq!(ends, [5, 55, 60]);
        assert_eq!(column(&history.minutes, "allocations_created"), [10, 0, 2]);
        add(&mut history, 125, &status(0, 20));
        assert_eq!(column(&history.day, "allocations_created"), [12, 8]);
        assert_eq!(column(&history.day, "allocations"), [9, 3]);
    }

    #[test]
    fn a_week_takes_no_more_memory_than_a_day() {
        let mut history = History::default();
        let (minutes, day) = (
            history.minutes.points.capacity(),
            history.day.points.capacity(),
        );
        for look in 0..(7 * 86_400 / 5) {
            add(&mut history, look * 5, &status(look % 7, look));
        }
        assert_eq!(history.minutes.points.capacity(), minutes);
        assert_eq!(history.day.points.capacity(), day);
        assert_eq!(history.minutes.points().len(), 120);
        assert_eq!(history.day.points().len(), 1440);
        let ends: Vec<u64> = history.day.points().map(|p| p.end).collect();
        assert!(ends.windows(2).all(|two| two[1] == two[0] + 60));
        assert!(
            column(&history.day, "allocations_created")
                .iter()
                .all(|made| *made == 12)
        );
    }
}
