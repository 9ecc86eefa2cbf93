//! A TCP proxy in front of one server: cuts, stalls and slows its connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Passes everything on.
    Clear,
    /// Ends every connection and refuses new ones.
    Cut,
    /// Connections stay open; nothing passes.
    Stalled,
    /// About this many bytes per second and direction.
    Slow(u64),
}

/// Accepts on a port of its own until dropped.
pub struct Proxy {
    pub port: u16,
    weather: watch::Sender<Weather>,
    /// Connections that were ended.
    pub cut: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::new(Weather::Clear);
        let cut = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, to, weather.clone(), cut.clone()));
        Self { port, weather, cut, task }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: u16, weather: watch::Sender<Weather>, cut: Arc<AtomicUsize>) {
    loop {
        let Ok((inner, _)) = listener.accept().await else { return };
        if *weather.borrow() == Weather::Cut {
            continue;
        }
        let (weather, cut) = (weather.subscribe(), cut.clone());
        tokio::spawn(async move {
            let Ok(outer) = TcpStream::connect(("127.0.0.1", to)).await else { return };
            let (from_inner, to_inner) = inner.into_split();
            let (from_outer, to_outer) = outer.into_split();
            let mut watched = weather.clone();
            tokio::select! {
                () = pump(from_inner, to_outer, weather.clone()) => {}
                () = pump(from_outer, to_inner, weather.clone()) => {}
                _ = watched.wait_for(|weather| *weather == Weather::Cut) => {
                    cut.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let now = *weather.borrow_and_update();
        match now {
            Weather::Stalled => {
                if weather.wait_for(|weather| *weather != Weather::Stalled).await.is_err() {
                    return;
                }
            }
            Weather::Slow(rate) => tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await,
            Weather::Clear | Weather::Cut => {}
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
