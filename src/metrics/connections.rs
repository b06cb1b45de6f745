//! Accepting connections, within bounds that nobody can use up.
//!
//! A client may open connections and never send a request. So a new connection is always accepted.
//! Where there are too many, the oldest one without a request makes way for it: of the same peer, if
//! that has its share, or of all. If each has a request that is being answered, the new one is turned
//! away.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Connections of one peer at once: more than a Prometheus or a kubelet makes.
const OF_ONE: usize = 8;
/// Connections of all peers at once.
const OF_ALL: usize = 64;
/// How long to wait after accepting a connection failed (most often for lack of file descriptors).
const PAUSE: Duration = Duration::from_millis(200);

/// Whether a connection has brought a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asked {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accepts connections and has `serve` serve them, until it is dropped; they end with it.
pub(super) async fn accept<S>(listener: TcpListener, serve: impl Fn(TcpStream, Asked) -> S)
where
    S: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut connections = Connections::default();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let peer = peer(address.ip());
        if connections.make_way(peer) {
            let asked = Asked::default();
            let task = tasks.spawn(serve(stream, asked.clone()));
            connections.0.push(Connection { peer, asked, task });
        }
    }
}

/// Whoever can have this address: all of an IPv6 network, whose hosts choose theirs at will.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    asked: Asked,
    task: AbortHandle,
}

/// The open connections, the oldest first.
#[derive(Debug, Default)]
struct Connections(Vec<Connection>);

impl Connections {
    /// Ends a connection, if one must make way for another one of `peer`. Returns false if none can.
    fn make_way(&mut self, peer: IpAddr) -> bool {
        self.0.retain(|connection| !connection.task.is_finished());
        let is_peers = |connection: &Connection| connection.peer == peer;
        if self.0.iter().filter(|connection| is_peers(connection)).count() >= OF_ONE {
            self.end_oldest(is_peers)
        } else {
            self.0.len() < OF_ALL || self.end_oldest(|_| true)
        }
    }

    /// Ends the oldest of these connections that has brought no request; false if there is none.
    fn end_oldest(&mut self, which: impl Fn(&Connection) -> bool) -> bool {
        let oldest = self.0.iter().position(|c| which(c) && !c.asked.is_set());
        let ended = oldest.map(|oldest| self.0.remove(oldest).task.abort());
        ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [192, 0, 2, 2];

    /// Connections that never end by themselves.
    struct Open {
        connections: Connections,
        tasks: JoinSet<()>,
    }

    impl Open {
        fn new() -> Self {
            Self { connections: Connections::default(), tasks: JoinSet::new() }
        }

        /// Opens a connection; `None` if it is turned away.
        fn open(&mut self, peer: impl Into<IpAddr>, has_asked: bool) -> Option<AbortHandle> {
            let (peer, asked) = (peer.into(), Asked::default());
            if has_asked {
                asked.set();
            }
            let way = self.connections.make_way(peer);
            way.then(|| {
                let task = self.tasks.spawn(std::future::pending());
                self.connections.0.push(Connection { peer, asked, task: task.clone() });
                task
            })
        }
    }

    #[tokio::test]
    async fn the_oldest_of_a_peer_makes_way_for_its_next() {
        let mut open = Open::new();
        let other = open.open(OTHER, false).unwrap();
        let oldest = open.open(ONE, false).unwrap();
        for _ in 0..OF_ONE {
            open.open(ONE, false).unwrap();
        }
        tokio::task::yield_now().await;
        assert!(oldest.is_finished() && !other.is_finished());
        assert_eq!(open.connections.0.len(), OF_ONE + 1);
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_makes_way_for_nobody() {
        let mut open = Open::new();
        for _ in 0..OF_ONE {
            open.open(ONE, true).unwrap();
        }
        assert!(open.open(ONE, false).is_none());
        let asked = open.open(OTHER, true).unwrap();
        for n in 0..2 * OF_ALL {
            let peer = [198, 51, 100, u8::try_from(n).unwrap()];
            open.open(peer, false).unwrap();
        }
        tokio::task::yield_now().await;
        assert!(!asked.is_finished());
        assert_eq!(open.connections.0.len(), OF_ALL);
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let [one, other, far] = ["2001:db8::1", "2001:db8::2:3:4:5", "2001:db8:0:1::1"]
            .map(|text| peer(text.parse().unwrap()));
        assert_eq!(one, other);
        assert_ne!(one, far);
        assert_eq!(peer("::ffff:192.0.2.1".parse().unwrap()), IpAddr::from(ONE));
    }
}
