//! Accepts connections, up to the configured numbers in all and from one address, and no faster than configured.

use super::connection::{self, Place};
use super::{Event, Lease, Net};
use crate::budget::{Budget, Share};
use crate::env::{Env, Listener};
use seedlog_core::ids::ListenerId;
use seedlog_core::time::MonoMs;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tracing::{debug, warn};

/// A refusal repeats at the rate of a client's loop; the log tells of it this often.
const WARN_INTERVAL_MS: u64 = 10_000;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;

/// Accepts for ever. Dropping the future closes the listener and leaves its connections.
pub async fn listen<E, L>(net: Arc<Net<E, L>>, mut listener: E::Listener, id: ListenerId)
where
    E: Env,
    L: Lease,
{
    let mut warned: Option<MonoMs> = None;
    let mut may_warn = |net: &Net<E, L>| {
        let now = net.env.now().mono;
        let due = warned.is_none_or(|before| now - before >= WARN_INTERVAL_MS);
        if due {
            warned = Some(now);
        }
        due
    };
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if may_warn(&net) {
                    warn!(listener = id.0, %error, "cannot accept a connection; raise the limit of open files if that is it");
                }
                sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                continue;
            }
        };
        let wait = net.pace.enter(net.env.now().mono);
        if !wait.is_zero() {
            if may_warn(&net) {
                warn!(
                    listener = id.0,
                    "connections wait: more come than max.connection.creation.rate lets in"
                );
            }
            // The others wait in the socket's backlog.
            sleep(wait).await;
        }
        let guest = match Guest::enter(&net, peer.ip()) {
            Ok(guest) => guest,
            Err(limit) => {
                net.metrics.refused.inc();
                if may_warn(&net) {
                    warn!(listener = id.0, %peer, "connection refused: {limit} are open");
                }
                continue;
            }
        };
        open(&net, guest, stream, peer, id);
    }
}

fn open<E, L>(
    net: &Arc<Net<E, L>>,
    guest: Guest<E, L>,
    stream: <E::Listener as Listener>::Stream,
    peer: SocketAddr,
    listener: ListenerId,
) where
    E: Env,
    L: Lease,
{
    let place = Place { conn: net.number_connection(), peer, listener };
    debug!(conn = place.conn.0, %peer, listener = listener.0, "connected");
    net.env.spawn(connection::serve(Arc::clone(net), guest, stream, place));
}

/// Spreads connections: so many in a second, and as many at once after a second without any (KIP-612).
#[derive(Debug)]
pub(super) struct Pace {
    rate: u32,
    /// When the next one is due if none may come early, in thousandths of a connection since the start.
    due: Mutex<u128>,
}

impl Pace {
    /// With this many in a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), due: Mutex::default() }
    }

    /// Counts a connection; says how long it waits for its turn.
    fn enter(&self, now: MonoMs) -> Duration {
        let rate = u128::from(self.rate);
        let now = u128::from(now.0) * rate;
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        *due = now.max(*due) + 1000;
        let early = due.saturating_sub(now + 1000 * rate);
        Duration::from_millis(u64::try_from(early.div_ceil(rate)).unwrap_or(u64::MAX))
    }
}

/// Who is in.
#[derive(Debug, Default)]
pub(super) struct Caps(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    total: u32,
    /// How many an address has, and what they may take.
    per_ip: BTreeMap<IpAddr, (u32, Share)>,
}

impl Caps {
    /// Counts a connection in; gives it its address's share, or says which limit is reached.
    fn enter(
        &self,
        ip: IpAddr,
        (total_max, per_ip_max): (u32, u32),
        budget: &Budget,
    ) -> Result<Share, &'static str> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.total >= total_max {
            return Err("max.connections connections");
        }
        if counted.per_ip.get(&ip).map_or(0, |(count, _)| *count) >= per_ip_max {
            return Err("max.connections.per.ip connections from this address");
        }
        counted.total += 1;
        let (count, share) = counted.per_ip.entry(ip).or_insert_with(|| (0, budget.share()));
        *count += 1;
        Ok(share.clone())
    }

    /// Counts a connection out; says how many are left.
    fn leave(&self, ip: IpAddr) -> u32 {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.total -= 1;
        if let Some((count, _)) = counted.per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                counted.per_ip.remove(&ip);
            }
        }
        counted.total
    }
}

/// A connection that is counted until this is dropped.
pub(super) struct Guest<E: Env, L: Lease> {
    net: Arc<Net<E, L>>,
    ip: IpAddr,
    /// What the connections of its address may take.
    pub(super) share: Share,
}

impl<E: Env, L: Lease> Guest<E, L> {
    fn enter(net: &Arc<Net<E, L>>, ip: IpAddr) -> Result<Self, &'static str> {
        // An IPv4 client on an IPv6 socket is the same client.
        let ip = ip.to_canonical();
        let limits = &net.limits;
        let per_ip_max = limits.connections_per_ip_overrides.get(&ip).copied();
        let per_ip_max = per_ip_max.unwrap_or(limits.connections_per_ip_max);
        let share = net.caps.enter(ip, (limits.connections_max, per_ip_max), &net.budget)?;
        Ok(Self { net: Arc::clone(net), ip, share })
    }
}

impl<E: Env, L: Lease> Drop for Guest<E, L> {
    fn drop(&mut self) {
        self.net.caps.leave(self.ip);
    }
}

/// Tells the driver that a connection opened, and when dropped, that it closed: once each, even if its task panics.
pub(super) struct Told<E: Env, L: Lease> {
    net: Arc<Net<E, L>>,
    place: Place,
}

impl<E: Env, L: Lease> Told<E, L> {
    pub(super) fn open(net: &Arc<Net<E, L>>, place: Place, outbox: &Arc<super::Outbox<L>>) -> Self {
        let Place { conn, peer, listener } = place;
        net.tell(Event::Opened { conn, listener, peer, outbox: Arc::clone(outbox) });
        Self { net: Arc::clone(net), place }
    }
}

impl<E: Env, L: Lease> Drop for Told<E, L> {
    fn drop(&mut self) {
        self.net.tell(Event::Closed { conn: self.place.conn });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::budget_for_tests;

    #[test]
    fn connections_come_at_their_rate_and_a_second_of_them_at_once() {
        let pace = Pace::new(4);
        let wait_ms = |at_ms| pace.enter(MonoMs(at_ms)).as_millis();
        assert_eq!([0; 6].map(wait_ms), [0, 0, 0, 0, 250, 500]);
        assert_eq!(wait_ms(500), 250, "who waited has had its turn, and the next is due after it");
        assert_eq!(
            [60_000; 5].map(wait_ms),
            [0, 0, 0, 0, 250],
            "a quiet minute counts no more than a second"
        );
        let unlimited = Pace::new(i32::MAX as u32);
        assert!((0..10_000).all(|_| unlimited.enter(MonoMs(u64::MAX / 2)).is_zero()));
    }

    #[test]
    fn caps_count_in_all_and_by_address() {
        let caps = Caps::default();
        let budget = budget_for_tests(16 << 20);
        let enter = |ip| caps.enter(ip, (3, 2), &budget).map(drop);
        let (one, two) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(enter(one), Ok(()));
        assert_eq!(enter(one), Ok(()));
        assert!(enter(one).is_err());
        assert_eq!(enter(two), Ok(()));
        assert!(enter(two).is_err());
        assert_eq!(caps.leave(one), 2);
        assert_eq!(enter(two), Ok(()));
        for ip in [one, two, two] {
            caps.leave(ip);
        }
        assert!(caps.0.lock().unwrap().per_ip.is_empty());
    }
}
