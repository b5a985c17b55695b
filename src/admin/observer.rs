//! The memory of the admin listener from one request to the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::history::{History, LOOK};
use super::rates::Rates;
use crate::daemon::Daemon;
use crate::net::control::{Control, NoAnswer};
use turnd_proto::server::SessionBrief;

/// Time between two looks that make a rate.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Memory of the admin listener. No worker touches it.
#[derive(Debug, Default)]
pub(super) struct Observer {
    rates: Mutex<Rates>,
    history: Mutex<History>,
}

impl Observer {
    /// Every live session, whose rates are up to date then. With `wait_for_rates` the first who asks waits a second.
    pub(super) async fn sessions(
        &self,
        control: &Control,
        wait_for_rates: bool,
    ) -> Result<Vec<SessionBrief>, NoAnswer> {
        let sessions = control.session_briefs().await?;
        self.rates().look(Instant::now(), &sessions);
        if !wait_for_rates || self.rates().are_known() {
            return Ok(sessions);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        let sessions = control.session_briefs().await?;
        self.rates().look(Instant::now(), &sessions);
        Ok(sessions)
    }

    /// Rates of the sessions.
    pub(super) fn rates(&self) -> MutexGuard<'_, Rates> {
        // At worst, the rates of one look are missing.
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of the last day.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        // At worst, one step is longer.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the history, for as long as it is polled.
    pub(super) async fn keep_history(self: Arc<Self>, daemon: Arc<Daemon>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // A look that fails is a step that is longer.
            if let Ok(status) = daemon.control().status().await {
                self.history().add(daemon.uptime(), &status);
            }
            self.rates().forget_if_old(Instant::now());
        }
    }
}
