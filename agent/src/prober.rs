//! Probes: asks a container from outside whether it works, by HTTP, by TCP, or by a command inside it.
//!
//! How a port of a container is reached is the engine's matter ([`Engine::reach`]).

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use nightshift_core::ids::ContainerId;
use nightshift_core::spec::HealthCheck;
use tokio::time::timeout;

use crate::engine::{Connection, Engine};

/// A whole probe. A service that needs longer for one answer does not serve.
pub const PROBE: Duration = Duration::from_secs(5);
/// What connecting may add to it.
const CONNECT: Duration = Duration::from_secs(1);
/// Most of a command's output that is told, in characters.
const OUTPUT_LIMIT_CHARS: usize = 200;

/// Probes a running container once. [`HealthCheck::Auto`] and [`HealthCheck::Docker`] have nothing to be asked for here.
///
/// # Errors
/// Why it is not healthy, in words for people.
pub async fn probe(engine: &dyn Engine, container: &ContainerId, check: &HealthCheck) -> Result<(), String> {
    let asked = async {
        match check {
            HealthCheck::Auto | HealthCheck::Docker => Ok(()),
            HealthCheck::Tcp { port } => engine.reach(container, *port).await.map(drop),
            HealthCheck::Http { port, path } => {
                let connection = engine.reach(container, *port).await?;
                http(connection, *port, path).await
            }
            HealthCheck::Exec { command } => exec(engine, container, command).await,
        }
    };
    // A command's own deadline is the engine's; this one is for everything around it.
    match timeout(PROBE + CONNECT, asked).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", PROBE.as_secs())),
    }
}

async fn exec(engine: &dyn Engine, container: &ContainerId, command: &[String]) -> Result<(), String> {
    let outcome = engine.exec(container, command, &[], PROBE).await.map_err(|error| error.to_string())?;
    if outcome.exit_code == 0 {
        return Ok(());
    }
    let output: String = outcome.output.trim().chars().take(OUTPUT_LIMIT_CHARS).collect();
    Err(format!("the command ended with {}: {output}", outcome.exit_code))
}

async fn http(connection: Connection, port: u16, path: &str) -> Result<(), String> {
    let (mut sender, driver) = hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(connection))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the sender, at the end of this function; the body is never read.
    let driver = tokio::spawn(driver);
    let request = Request::get(path)
        .header(header::HOST, format!("localhost:{port}"))
        .header(header::USER_AGENT, "nightshift-probe")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| format!("`{path}` is no path: {error}"))?;
    let result = timeout(PROBE, sender.send_request(request)).await;
    driver.abort();
    match result {
        Err(_) => Err(format!("HTTP :{port}{path}: no answer within {} s", PROBE.as_secs())),
        Ok(Err(error)) => Err(format!("HTTP :{port}{path}: {error}")),
        Ok(Ok(response)) if (200..400).contains(&response.status().as_u16()) => Ok(()),
        Ok(Ok(response)) => Err(format!("HTTP :{port}{path} answers {}", response.status())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives one answer to one request.
    async fn answer(text: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let count = connection.read(&mut request).await.unwrap();
            connection.write_all(text.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let result = http(Box::new(connection), 80, "/healthz").await;
        assert!(server.await.unwrap().starts_with("GET /healthz HTTP/1.1\r\n"));
        result
    }

    #[tokio::test]
    async fn http_is_healthy_from_200_to_399() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\n").await, Ok(()));
        assert_eq!(answer("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n").await, Ok(()));
        let error = answer("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.expect_err("503");
        assert_eq!(error, "HTTP :80/healthz answers 503 Service Unavailable");
        let error = answer("what?\r\n\r\n").await.expect_err("no HTTP");
        assert!(error.starts_with("HTTP :80/healthz: "), "{error}");
    }
}
