//! What stands between both proxies, and may keep back what the public one says: a lane for each
//! connection, in the order in which they come.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What becomes of the datagrams to the private proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    #[default]
    Open,
    /// They wait, and none is lost.
    Held,
    Shut,
}

pub(crate) struct Relay {
    ways: watch::Sender<BTreeMap<usize, Way>>,
    _task: AbortOnDropHandle<Result<()>>,
}

impl Relay {
    /// From this address to the public proxy's.
    pub(crate) async fn open(from: SocketAddr, to: SocketAddr) -> Result<Self> {
        let socket = Arc::new(UdpSocket::bind(from).await?);
        let (ways, watched) = watch::channel(BTreeMap::new());
        let task = TaskTracker::new().spawn(relay(socket, to, watched));
        Ok(Self { ways, _task: AbortOnDropHandle::new(task) })
    }

    pub(crate) fn set(&self, lane: usize, way: Way) {
        self.ways.send_modify(|it| {
            it.insert(lane, way);
        });
    }
}

type Ways = watch::Receiver<BTreeMap<usize, Way>>;

async fn relay(socket: Arc<UdpSocket>, to: SocketAddr, ways: Ways) -> Result<()> {
    let mut lanes = BTreeMap::new();
    let mut back = Vec::new();
    let mut datagram = vec![0; 65_536];
    loop {
        let (octets, from) = socket.recv_from(&mut datagram).await?;
        let lane = lanes.len();
        if let std::collections::btree_map::Entry::Vacant(vacant) = lanes.entry(from) {
            let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
            upstream.connect(to).await?;
            vacant.insert(upstream.clone());
            let returning = returning(upstream, (socket.clone(), from), (lane, ways.clone()));
            back.push(AbortOnDropHandle::new(TaskTracker::new().spawn(returning)));
        }
        let _ = lanes[&from].send(&datagram[..octets]).await;
    }
}

async fn returning(
    upstream: Arc<UdpSocket>,
    (socket, to): (Arc<UdpSocket>, SocketAddr),
    (lane, mut ways): (usize, Ways),
) -> Result<()> {
    let mut datagram = vec![0; 65_536];
    loop {
        let octets = upstream.recv(&mut datagram).await?;
        let way = |it: &BTreeMap<usize, Way>| it.get(&lane).copied().unwrap_or_default();
        let decided = way(&*ways.wait_for(|it| way(it) != Way::Held).await?);
        if decided == Way::Open {
            socket.send_to(&datagram[..octets], to).await?;
        }
    }
}
