//! Where a broker would be: a WebSocket from the client, and another one to the back.

use std::io;
use std::path::Path;

use ::tests::frames::Side;
use tokio::net::{TcpListener, UnixStream};
use tokio_tungstenite::{accept_async, client_async};

use crate::pump::pass_on;

pub(crate) async fn serve(back: &Path) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("ready {}", listener.local_addr()?.port());
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let mut client = accept_async(client).await.map_err(io::Error::other)?.into_inner();
        let back = UnixStream::connect(back).await?;
        let (back, _) = client_async("ws://back/", back).await.map_err(io::Error::other)?;
        let mut back = back.into_inner();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_back, mut to_back) = back.split();
        // Either end is the end of both.
        tokio::select! {
            ended = pass_on(&mut from_client, &mut to_back, Side::Client) => ended?,
            ended = pass_on(&mut from_back, &mut to_client, Side::Server) => ended?,
        }
    }
}
