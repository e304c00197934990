//! A path to a node: each datagram takes its time on it, as with a node that everybody comes to at once, and it may come to lead
//! to another.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;

/// Leads to `node`, as that is when a client comes, for one client at a time. Its datagrams take `delay` each way. Gives the
/// address to connect to.
pub(super) async fn slow_path(node: Arc<Mutex<SocketAddr>>, delay: Duration) -> SocketAddr {
    let front = Arc::new(bind().await);
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = front.recv_from(&mut buffer).await {
            let back = match &client {
                Some((address, back)) if *address == from => back,
                _ => {
                    let back = Arc::new(bind().await);
                    let node = *node.lock().unwrap();
                    back.connect(node).await.unwrap();
                    tokio::spawn(answers(back.clone(), front.clone(), from, delay));
                    &client.insert((from, back)).1
                }
            };
            let (datagram, back) = (buffer[..length].to_vec(), back.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = back.send(&datagram).await;
            });
        }
    });
    address
}

async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, to: SocketAddr, delay: Duration) {
    let mut buffer = [0; 2048];
    while let Ok(length) = back.recv(&mut buffer).await {
        let (datagram, front) = (buffer[..length].to_vec(), front.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = front.send_to(&datagram, to).await;
        });
    }
}

async fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}
