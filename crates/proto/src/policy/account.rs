//! Resources that the allocations of one user, and of all users, share: bytes per second,
//! permissions, channels.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rate::{Ticks, TokenBucket};

/// The two ways that data goes, each with its own limit.
#[derive(Debug, Default)]
pub struct Directions<T> {
    /// Client to peers.
    pub to_peers: T,
    /// Peers to client.
    pub to_client: T,
}

impl<T> Directions<T> {
    /// The value of one direction.
    #[must_use]
    pub fn of(&self, to_peer: bool) -> &T {
        if to_peer {
            &self.to_peers
        } else {
            &self.to_client
        }
    }
}

/// A count that several workers change.
#[derive(Debug, Default)]
pub struct Tally(AtomicU32);

impl Tally {
    /// Counts `more` unless that would be more than `most`.
    #[must_use]
    pub fn take(&self, more: u32, most: u32) -> bool {
        let sum = |count: u32| count.checked_add(more).filter(|sum| *sum <= most);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
            .is_ok()
    }

    /// Counts `fewer` of what was taken no longer.
    pub fn give_back(&self, fewer: u32) {
        self.0.fetch_sub(fewer, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Resources that some allocations share.
#[derive(Debug, Default)]
pub struct Account {
    /// Bytes that they may carry.
    pub bandwidth: Directions<TokenBucket>,
    /// Permissions that they have.
    pub permissions: Tally,
    /// Channels that they have.
    pub channels: Tally,
}

impl Account {
    fn is_full(&self, now: Ticks) -> bool {
        self.bandwidth.to_peers.is_full(now) && self.bandwidth.to_client.is_full(now)
    }
}

/// The accounts of the users who have allocations; shared between the workers.
#[derive(Debug, Default)]
pub struct Accounts(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    accounts: HashMap<Arc<str>, Arc<Account>>,
    /// Users who had no allocation left when they were put here. They are forgotten once they owe
    /// nothing, so that nobody gets another second's worth by beginning anew.
    resting: VecDeque<Arc<str>>,
}

impl Accounts {
    /// The account of a user, who is known as long as the guard lives.
    #[must_use]
    pub fn open(self: &Arc<Self>, now: Ticks, user: &Arc<str>) -> AccountGuard {
        let mut registry = self.lock();
        registry.forget(now);
        let account = registry.accounts.entry(Arc::clone(user)).or_default();
        AccountGuard {
            account: Arc::clone(account),
            accounts: Arc::clone(self),
            user: Arc::clone(user),
        }
    }

    /// Users who are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().accounts.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        // Another worker's panic leaves plain counters behind, and service must go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Looks at two of those who rest, one more than a call can add.
    fn forget(&mut self, now: Ticks) {
        for _ in 0..2 {
            let Some(user) = self.resting.pop_front() else {
                return;
            };
            let Some(account) = self.accounts.get(&user) else {
                continue;
            };
            // With an allocation again: its end puts the user here.
            let is_held = Arc::strong_count(account) > 1;
            if is_held {
                continue;
            }
            if account.is_full(now) {
                self.accounts.remove(&user);
            } else {
                self.resting.push_back(user);
            }
        }
    }
}

/// One allocation's hold on its user's account.
#[derive(Debug)]
pub struct AccountGuard {
    account: Arc<Account>,
    accounts: Arc<Accounts>,
    user: Arc<str>,
}

impl AccountGuard {
    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for AccountGuard {
    fn drop(&mut self) {
        let mut registry = self.accounts.lock();
        // The registry's and this one.
        if Arc::strong_count(&self.account) == 2 {
            if self.account.is_full(Ticks::START) {
                registry.accounts.remove(&self.user);
            } else {
                registry.resting.push_back(Arc::clone(&self.user));
            }
        }
    }
}

/// The permissions and channels of one allocation, counted for its user and for all.
#[derive(Debug)]
pub struct Holding {
    total: Arc<Account>,
    user: AccountGuard,
    permissions: u32,
    channels: u32,
}

/// Limits on the permissions, or channels, of a user and of all; `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Limit of each user.
    pub user: Option<u32>,
    /// Limit of all users together.
    pub total: Option<u32>,
}

impl Holding {
    /// A share that holds nothing yet.
    #[must_use]
    pub fn new(total: Arc<Account>, user: AccountGuard) -> Self {
        Self {
            total,
            user,
            permissions: 0,
            channels: 0,
        }
    }

    /// The user's account.
    #[must_use]
    pub fn user(&self) -> &Account {
        self.user.account()
    }

    /// Counts more permissions, if so many may be had.
    #[must_use]
    pub fn add_permissions(&mut self, more: usize, cap: Cap) -> bool {
        let user = &self.user.account().permissions;
        add(
            &mut self.permissions,
            user,
            &self.total.permissions,
            more,
            cap,
        )
    }

    /// Counts more channels, if so many may be had.
    #[must_use]
    pub fn add_channels(&mut self, more: usize, cap: Cap) -> bool {
        let user = &self.user.account().channels;
        add(&mut self.channels, user, &self.total.channels, more, cap)
    }

    /// Gives back what is more than there is.
    pub fn settle(&mut self, permissions: usize, channels: usize) {
        let user = self.user.account();
        let total = &self.total;
        for (held, there, tallies) in [
            (
                &mut self.permissions,
                permissions,
                [&user.permissions, &total.permissions],
            ),
            (
                &mut self.channels,
                channels,
                [&user.channels, &total.channels],
            ),
        ] {
            let surplus = u32::try_from(there).map_or(0, |there| held.saturating_sub(there));
            *held -= surplus;
            for tally in tallies {
                tally.give_back(surplus);
            }
        }
    }
}

fn add(held: &mut u32, user: &Tally, total: &Tally, more: usize, cap: Cap) -> bool {
    let Ok(more) = u32::try_from(more) else {
        return false;
    };
    if !user.take(more, cap.user.unwrap_or(u32::MAX)) {
        return false;
    }
    if !total.take(more, cap.total.unwrap_or(u32::MAX)) {
        user.give_back(more);
        return false;
    }
    *held += more;
    true
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.settle(0, 0);
    }
}

#[cfg(test)]
mod tests;
