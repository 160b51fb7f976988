//! The same number of frames of the same size through as many sockets, each sent back by a server that does nothing
//! else, and one frame that such a server sends on to all other sockets: what the machine can do.

use std::thread;
use std::time::{Duration, Instant};

use ::tests::frames::{self, Frame, READ_BYTES, Side};
use bytes::BytesMut;
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tokio_tungstenite::{accept_async, client_async};

/// All of it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts the server, sends `each` frames of `bytes` through each of so many sockets at once, and waits for all of them.
pub(crate) async fn measure(sockets: usize, each: usize, bytes: usize) -> Result<Duration, String> {
    let (port, server) = start(move |listener| serve(listener, sockets))?;
    let streams = try_join_all((0..sockets).map(|_| enter(port))).await?;
    let mut burst = BytesMut::new();
    let payload = vec![b'x'; bytes];
    (0..each).for_each(|_| frames::put(Side::Client, Data::Text, &[&payload], &mut burst));
    let burst = burst.freeze();
    let begun = Instant::now();
    let all = try_join_all(streams.into_iter().map(|stream| exchange(stream, &burst, each)));
    timeout(DEADLINE, all).await.map_err(|_| format!("no end of the echo within {DEADLINE:?}"))??;
    let took = begun.elapsed();
    ended(server)?;
    Ok(took)
}

/// Starts a server and sends it one frame of `bytes` through the first of so many sockets, again and again; it writes each
/// to all the others, one after the other. From each send to the last arrival.
pub(crate) async fn fan_out(sockets: usize, times: usize, bytes: usize) -> Result<Vec<Duration>, String> {
    let (port, server) = start(move |listener| pass_on(listener, sockets))?;
    let mut first = enter(port).await?;
    let streams = try_join_all((1..sockets).map(|_| enter(port))).await?;
    let mut others: Vec<_> = streams.into_iter().map(|stream| (stream, BytesMut::new())).collect();
    let mut found = Vec::with_capacity(times);
    let mut frame = BytesMut::new();
    frames::put(Side::Client, Data::Text, &[&vec![b'x'; bytes]], &mut frame);
    for _ in 0..times {
        let begun = Instant::now();
        first.write_all(&frame).await.map_err(words)?;
        let all = try_join_all(others.iter_mut().map(|(stream, input)| arrival(stream, input)));
        timeout(DEADLINE, all).await.map_err(|_| format!("no end of the fan-out within {DEADLINE:?}"))??;
        found.push(begun.elapsed());
    }
    drop((first, others));
    ended(server)?;
    Ok(found)
}

type Server = thread::JoinHandle<Result<(), String>>;

/// Serves on a free port, on a thread of its own as a broker is a process of its own. It ends with the last socket.
fn start<S>(serve: impl FnOnce(TcpListener) -> S + Send + 'static) -> Result<(u16, Server), String>
where
    S: Future<Output = Result<(), String>>,
{
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(words)?;
    listener.set_nonblocking(true).map_err(words)?;
    let port = listener.local_addr().map_err(words)?.port();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
        runtime.block_on(async { serve(TcpListener::from_std(listener).map_err(words)?).await })
    });
    Ok((port, server))
}

fn ended(server: Server) -> Result<(), String> {
    server.join().map_err(|_| "the bare server panicked")?
}

/// Accepts a socket that becomes a WebSocket. Nothing is lost with the library's buffer: a client waits for the handshake.
async fn greeted(stream: TcpStream) -> Result<TcpStream, String> {
    stream.set_nodelay(true).map_err(words)?;
    Ok(accept_async(stream).await.map_err(words)?.into_inner())
}

async fn pass_on(listener: TcpListener, sockets: usize) -> Result<(), String> {
    let mut streams = Vec::new();
    for _ in 0..sockets {
        let (stream, _) = listener.accept().await.map_err(words)?;
        streams.push(greeted(stream).await?);
    }
    let (first, others) = streams.split_first_mut().ok_or("no socket")?;
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        while let Some(frame) = frames::take(&mut input).map_err(words)? {
            if let Frame::Message(message) = frame {
                frames::put(Side::Server, Data::Text, &[&message], &mut output);
                for stream in &mut *others {
                    stream.write_all(&output).await.map_err(words)?;
                }
                output.clear();
            }
        }
        input.reserve(READ_BYTES);
        if first.read_buf(&mut input).await.map_err(words)? == 0 {
            return Ok(());
        }
    }
}

/// Waits for one frame.
async fn arrival(stream: &mut TcpStream, input: &mut BytesMut) -> Result<(), String> {
    while frames::take(input).map_err(words)?.is_none() {
        input.reserve(READ_BYTES.min(4 * 1024));
        if stream.read_buf(input).await.map_err(words)? == 0 {
            return Err("the fan-out server ended the connection".to_owned());
        }
    }
    Ok(())
}

async fn serve(listener: TcpListener, sockets: usize) -> Result<(), String> {
    let mut served = tokio::task::JoinSet::new();
    for _ in 0..sockets {
        let (stream, _) = listener.accept().await.map_err(words)?;
        served.spawn(answer(stream));
    }
    while let Some(ended) = served.join_next().await {
        ended.map_err(words)??;
    }
    Ok(())
}

async fn answer(stream: TcpStream) -> Result<(), String> {
    let mut stream = greeted(stream).await?;
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        while let Some(frame) = frames::take(&mut input).map_err(words)? {
            if let Frame::Message(message) = frame {
                frames::put(Side::Server, Data::Text, &[&message], &mut output);
            }
        }
        stream.write_all_buf(&mut output).await.map_err(words)?;
        input.reserve(READ_BYTES);
        if stream.read_buf(&mut input).await.map_err(words)? == 0 {
            return Ok(());
        }
    }
}

async fn enter(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(words)?;
    stream.set_nodelay(true).map_err(words)?;
    let (socket, _) = client_async(format!("ws://127.0.0.1:{port}/"), stream).await.map_err(words)?;
    Ok(socket.into_inner())
}

async fn exchange(mut stream: TcpStream, burst: &[u8], each: usize) -> Result<(), String> {
    let (mut reader, mut writer) = stream.split();
    let read = async {
        let mut input = BytesMut::new();
        let mut heard = 0;
        while heard < each {
            input.reserve(READ_BYTES);
            if reader.read_buf(&mut input).await.map_err(words)? == 0 {
                return Err("the echo server ended the connection".to_owned());
            }
            while frames::take(&mut input).map_err(words)?.is_some() {
                heard += 1;
            }
        }
        Ok(())
    };
    let write = async { writer.write_all(burst).await.map_err(words) };
    futures_util::future::try_join(read, write).await.map(drop)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_frame_comes_back() {
        measure(3, 50, 700).await.unwrap();
    }

    #[tokio::test]
    async fn every_other_socket_has_each_frame() {
        assert_eq!(fan_out(4, 3, 700).await.unwrap().len(), 3);
    }
}
