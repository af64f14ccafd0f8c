//! The accept loop of one listener.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::Shutdown;
use super::authority::RepairAuthority;
use super::connection::{Connections, Peer, Place, Service, serve};
use super::listener::{Accepted, Listener};
use crate::caller::Caller;
use crate::grpc::edge::Known;

/// After an error, for it is most often a full file table, and the loop would else spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until the drain begins; the listener closes with it.
pub(super) async fn accept(
    listener: Listener,
    connections: Connections,
    service: Service,
    steps: Shutdown,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = steps.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => start(accepted, &connections, &service, &steps, &tracker),
            Err(error) => {
                warn!(%error, address = %listener.address(), "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn start(accepted: Accepted, connections: &Connections, service: &Service, steps: &Shutdown, tracker: &TaskTracker) {
    let Some((peer, caller)) = peer(&accepted) else {
        warn!("a connection was closed: the system does not say who its peer is");
        return;
    };
    let service = service.clone().for_caller(caller);
    let Some(place) = connections.take(peer) else {
        debug!(?peer, "a connection was closed: there are as many as are kept");
        return;
    };
    tracker.spawn(hold(accepted, place, service, steps.clone()));
}

async fn hold(accepted: Accepted, place: Place, service: Service, steps: Shutdown) {
    match accepted {
        Accepted::Tcp(stream, _) => serve(stream, service, &steps).await,
        Accepted::Unix(stream) => serve(RepairAuthority::new(stream), service, &steps).await,
    }
    drop(place);
}

/// Whose connection it is, and whom its calls come from.
fn peer(accepted: &Accepted) -> Option<(Peer, Known)> {
    match accepted {
        Accepted::Tcp(_, address) => {
            let ip = address.ip().to_canonical();
            let far = "this listener has no authentication for callers of other hosts; use the broker's Unix socket";
            Some((Peer::Address(ip), if ip.is_loopback() { Ok(Caller::Loopback) } else { Err(far) }))
        }
        Accepted::Unix(stream) => {
            let process = stream.peer_cred().ok()?;
            let nobody = "the kernel gives your user as 65534, which stands for many; run as a user that the broker's user \
                          namespace has a name for";
            Some((Peer::Uid(process.uid()), Caller::process(process.uid(), process.gid()).ok_or(nobody)))
        }
    }
}
