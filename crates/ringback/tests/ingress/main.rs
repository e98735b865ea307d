//! Clients of every kind over real sockets: what they ask for is found, and they hear a refusal.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod garbage;
mod name;
mod real;
mod refuse;

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener().await;
    let client = TcpStream::connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
