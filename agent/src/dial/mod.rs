//! One TLS connection to the coordinator, with an error that says what a person can do.
//!
//! The connection is made here and handed to tonic finished: tonic's own errors hide the reason, and a channel that
//! reconnects by itself would go on with an old certificate. When it breaks, the channel is of no more use.

mod wire;

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::identity::WrongAuthority;
use crate::reason;
pub use wire::Ending;
use wire::Wire;

/// How long name resolution, TCP and TLS may take together: a few round trips, even over a bad line.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How often an idle connection is probed, and how long the answer may take: a lost one is noticed within 20 s, before
/// the coordinator gives the node up.
const PING: Duration = Duration::from_secs(10);

/// Where a coordinator listens for agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// A text that is no server address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no coordinator address: allowed are `host:port` and `https://host:port`")]
pub struct InvalidServer(String);

impl FromStr for Server {
    type Err = InvalidServer;
    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let wrong = || InvalidServer(text.chars().take(100).collect());
        let address = text.strip_prefix("https://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong())?;
        Ok(Self { host: host.to_owned(), port, name })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error(
        "cannot connect to coordinator `{server}`: {reason}; hint: check that it runs and that the address is right"
    )]
    Unreachable {
        /// Where it was looked for.
        server: Server,
        /// What the system said.
        reason: String,
    },
    /// It did not answer in time.
    #[error(
        "coordinator `{0}` did not answer within 10 s; hint: check that it runs and that no firewall is in between"
    )]
    Timeout(Server),
    /// It does not come from the authority that the join token pins.
    #[error("cannot trust coordinator `{server}`: {source}; hint: use a token of this coordinator")]
    WrongAuthority {
        /// Who it was.
        server: Server,
        /// Which authority was expected.
        source: WrongAuthority,
    },
    /// Its certificate is not good.
    #[error(
        "cannot trust coordinator `{server}`: {reason}; hint: check the address; a coordinator with a new authority needs each \
         node to join again"
    )]
    Untrusted {
        /// Who it was.
        server: Server,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// It does not accept our certificate.
    #[error(
        "coordinator `{server}` does not accept this node's certificate ({alert}); hint: the node may have been removed; join \
         again with a new token"
    )]
    NotAccepted {
        /// Who refused.
        server: Server,
        /// TLS's word for it.
        alert: String,
    },
    /// TLS or HTTP/2 failed in another way.
    #[error(
        "connection to coordinator `{server}` failed: {reason}; hint: check that it is a nightshift coordinator's port"
    )]
    Protocol {
        /// Who it was.
        server: Server,
        /// What happened.
        reason: String,
    },
}

/// The TLS provider of the whole product, in one place.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes one connection. The channel does not reconnect; the [`Ending`] says later what ended it.
///
/// # Errors
/// The server cannot be reached, or is not to be trusted. Whether it trusts *us* shows only at the first call.
pub async fn connect(server: &Server, mut config: ClientConfig) -> Result<(Channel, Ending), Error> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let attempt = timeout(CONNECT_DEADLINE, open(server, config)).await;
    let stream = attempt.map_err(|_| Error::Timeout(server.clone()))??;
    let protocol = |error: &(dyn std::error::Error + 'static)| Error::Protocol {
        server: server.clone(),
        reason: reason::of(error),
    };
    // The scheme is `http`: TLS is done already, and tonic would start it a second time.
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .map_err(|error| protocol(&error))?
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true);
    let ending = Ending::default();
    let mut once = Some(TokioIo::new(Wire::new(stream, ending.clone())));
    let connector = tower::service_fn(move |_uri| {
        let stream = once.take().ok_or_else(|| io::Error::other("the connection was lost"));
        std::future::ready(stream)
    });
    match endpoint.connect_with_connector(connector).await {
        Ok(channel) => Ok((channel, ending)),
        Err(error) => Err(ending.refusal(server).unwrap_or_else(|| protocol(&error))),
    }
}

async fn open(server: &Server, config: ClientConfig) -> Result<TlsStream<TcpStream>, Error> {
    let unreachable = |error: io::Error| Error::Unreachable { server: server.clone(), reason: error.to_string() };
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(server.name.clone(), tcp).await.map_err(|error| refused(server, &error))
}

/// Sorts what a TLS handshake can end with.
fn refused(server: &Server, error: &io::Error) -> Error {
    let server = server.clone();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => match other.0.downcast_ref() {
            Some(source) => Error::WrongAuthority { server, source: *source },
            None => Error::Untrusted { server, reason: other.to_string() },
        },
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Error::Untrusted { server, reason: "its certificate comes from another authority than ours".to_owned() }
        }
        Some(rustls::Error::InvalidCertificate(certificate)) => {
            Error::Untrusted { server, reason: certificate.to_string() }
        }
        Some(_) | None => Error::Protocol { server, reason: reason::of(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (text, expect) in [
            ("coordinator.example:7443", "coordinator.example:7443"),
            ("https://127.0.0.1:7443", "127.0.0.1:7443"),
            ("https://[::1]:7443/", "[::1]:7443"),
        ] {
            assert_eq!(text.parse::<Server>().map(|server| server.to_string()), Ok(expect.to_owned()));
        }
        for bad in ["", "host", "host:", "host:0", "host:70000", ":7443", "http://host:7443", "a b:1", "https://h:1/x"]
        {
            assert!(bad.parse::<Server>().is_err(), "{bad:?} was accepted");
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_is_named_with_the_reason() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let error = connect(&free.to_string().parse().unwrap(), config).await.expect_err("nobody listens").to_string();
        assert_eq!(
            error,
            format!(
                "cannot connect to coordinator `{free}`: Connection refused (os error 111); hint: check that it runs and \
                 that the address is right"
            )
        );
    }
}
