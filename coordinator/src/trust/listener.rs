//! The one port: TCP connections become TLS connections with a known peer. Those that speak HTTP/2 go to tonic, the others to
//! whoever took [`Connections::http1`].
//!
//! tonic's own TLS cannot replace a certificate while it runs and has no limits on handshakes; hence this loop.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::Utc;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::Connected;

use super::identity::HTTP1;
use super::peer::identity_of;
use super::{ConnectInfo, Error, Trust};

/// Longest handshake: a slow link needs two seconds, a client that says nothing must not stay.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Handshakes at the same time: each costs a millisecond of CPU; what comes beyond waits in the kernel's queue.
const HANDSHAKE_LIMIT: usize = 512;
/// Connections at the same time: twice the 10,000 nodes that the product is measured with.
const CONNECTION_LIMIT: usize = 20_000;
/// Finished handshakes that wait for a server: it takes them at once.
const READY_LIMIT: usize = 64;
/// Rest after a failed accept (no file descriptors left): without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the age of the server's certificate is looked at: a sleeping machine must not miss its half-life.
const RENEWAL_CHECK: Duration = Duration::from_secs(3600);

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    stream: TlsStream<TcpStream>,
    info: ConnectInfo,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Who is at the other end.
    #[must_use]
    pub const fn info(&self) -> &ConnectInfo {
        &self.info
    }

    /// Whether HTTP/1.1 was agreed upon. Who agrees upon nothing is no client of gRPC.
    fn is_http1(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol().is_none_or(|protocol| protocol == HTTP1)
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The HTTP/2 connections of one port, for `Server::serve_with_incoming_shutdown`. Dropping it closes the port.
#[derive(Debug)]
pub struct Connections {
    address: SocketAddr,
    ready: mpsc::Receiver<Connection>,
    http1: Option<mpsc::Receiver<Connection>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Connections {
    /// Where it really listens: says the port when 0 was asked for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The port's HTTP/1.1 connections, once; they end with the port.
    #[must_use]
    pub const fn http1(&mut self) -> Option<mpsc::Receiver<Connection>> {
        self.http1.take()
    }
}

impl Stream for Connections {
    type Item = Result<Connection, io::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().ready.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}

impl Trust {
    /// Listens on an address and keeps the server's certificate fresh for as long as the connections are wanted.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn listen(self: &Arc<Self>, address: SocketAddr) -> Result<Connections, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let ((to_http2, ready), (to_http1, http1)) = (mpsc::channel(READY_LIMIT), mpsc::channel(READY_LIMIT));
        let servers = Servers { http1: to_http1, http2: to_http2 };
        let accept = tokio::spawn(accept_all(listener, TlsAcceptor::from(self.tls.clone()), servers));
        let renew = tokio::spawn(keep_fresh(self.clone()));
        let tasks = [AbortOnDropHandle::new(accept), AbortOnDropHandle::new(renew)];
        Ok(Connections { address, ready, http1: Some(http1), _tasks: tasks })
    }
}

async fn keep_fresh(trust: Arc<Trust>) {
    loop {
        sleep(RENEWAL_CHECK).await;
        match trust.renew_server_certificate(Utc::now()) {
            Ok(true) => tracing::info!("server certificate renewed"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot renew the server certificate");
            }
        }
    }
}

/// Who takes a connection over when its handshake is done.
#[derive(Clone)]
struct Servers {
    http1: mpsc::Sender<Connection>,
    http2: mpsc::Sender<Connection>,
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, servers: Servers) {
    let connections = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKE_LIMIT));
    loop {
        let connection = connections.clone().acquire_owned().await.expect("it is never closed");
        let handshake = handshakes.clone().acquire_owned().await.expect("it is never closed");
        let (stream, remote_addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, servers) = (acceptor.clone(), servers.clone());
        tokio::spawn(async move {
            let shaken = shake_hands(&acceptor, stream, remote_addr).await;
            drop(handshake);
            if let Some((stream, info)) = shaken {
                let connection = Connection { stream, info, _permit: connection };
                let server = if connection.is_http1() { servers.http1 } else { servers.http2 };
                // Nobody receives any more: the coordinator is stopping, and the connection ends here.
                let _ = server.send(connection).await;
            }
        });
    }
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    remote_addr: SocketAddr,
) -> Option<(TlsStream<TcpStream>, ConnectInfo)> {
    // Small messages that someone waits for: none is held back to be sent with the next.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote_addr, error = &error as &dyn std::error::Error, "connection lost before its handshake");
        return None;
    }
    match timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let node = certificate.and_then(identity_of);
            Some((stream, ConnectInfo { remote_addr, node }))
        }
        Ok(Err(error)) => {
            tracing::info!(%remote_addr, error = &error as &dyn std::error::Error, "handshake refused");
            None
        }
        Err(_) => {
            tracing::info!(%remote_addr, "handshake took too long");
            None
        }
    }
}
