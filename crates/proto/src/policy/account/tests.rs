use std::time::{Duration, Instant};

use super::*;
use crate::policy::rate::Clock;

const CAP: Cap = Cap {
    user: Some(10),
    total: Some(15),
};

fn holding(total: &Arc<Account>, accounts: &Arc<Accounts>, user: &str) -> Holding {
    let user = accounts.open(Ticks::START, &user.into());
    Holding::new(Arc::clone(total), user)
}

#[test]
fn a_user_has_a_share_and_all_together_no_more_than_there_is() {
    let (total, accounts) = (Arc::default(), Arc::default());
    let mut one = holding(&total, &accounts, "alice");
    let mut two = holding(&total, &accounts, "alice");
    let mut other = holding(&total, &accounts, "bob");
    assert!(one.add_permissions(6, CAP));
    assert!(!two.add_permissions(5, CAP), "all or nothing");
    assert!(two.add_permissions(4, CAP));
    assert!(!other.add_permissions(6, CAP));
    assert!(other.add_permissions(5, CAP));
    assert!(other.add_channels(10, CAP), "counted apart");
    assert_eq!(
        (total.permissions.count(), total.channels.count()),
        (15, 10)
    );
    // Permissions that are gone are free at once; those never counted are not given back.
    one.settle(2, 0);
    assert_eq!(total.permissions.count(), 11);
    one.settle(5, 9);
    assert_eq!(total.permissions.count(), 11);
    assert!(two.add_permissions(4, CAP));
    drop((one, two, other));
    assert_eq!((total.permissions.count(), total.channels.count()), (0, 0));
    assert!(accounts.is_empty());
}

#[test]
fn a_refusal_by_all_costs_the_user_nothing() {
    let (total, accounts) = (Arc::default(), Arc::default());
    let mut bob = holding(&total, &accounts, "bob");
    assert!(bob.add_channels(10, CAP));
    let mut alice = holding(&total, &accounts, "alice");
    for _ in 0..5 {
        assert!(!alice.add_channels(6, CAP));
    }
    assert_eq!(alice.user().channels.count(), 0);
    assert!(alice.add_channels(5, CAP));
}

#[test]
fn whoever_begins_anew_has_what_was_left() {
    let accounts = Arc::<Accounts>::default();
    let (clock, start) = (Clock::default(), Instant::now());
    clock.begin(start);
    let at = |second| clock.ticks(start + Duration::from_secs(second));
    let take = |second, bytes| {
        let guard = accounts.open(at(second), &"alice".into());
        let bucket = &guard.account().bandwidth.to_peers;
        bucket.take(at(second), 1000, bytes)
    };
    assert!(take(5, 1000));
    assert!(!take(5, 1), "another allocation, no other second's worth");
    // Once all is paid back, nothing is left of the user.
    assert_eq!(accounts.len(), 1);
    drop(accounts.open(at(6), &"bob".into()));
    assert!(accounts.is_empty());
    assert!(take(6, 1000));
}

#[test]
fn users_who_come_and_go_leave_nothing_behind() {
    let accounts = Arc::<Accounts>::default();
    let (clock, start) = (Clock::default(), Instant::now());
    clock.begin(start);
    for n in 0..10_000_u32 {
        let now = clock.ticks(start + Duration::from_millis(n.into()));
        let guard = accounts.open(now, &format!("user{}", n % 3000).into());
        assert!(guard.account().bandwidth.to_client.take(now, 1000, 100));
    }
    assert!(accounts.len() <= 250, "{} are known", accounts.len());
}
