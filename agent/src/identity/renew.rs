//! Renewal: the certificate in use, replaced while everything runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;
use nightshift_proto::pb;
use nightshift_proto::pb::agent_service_client::AgentServiceClient;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::enrol::CALL_DEADLINE;
use super::request::KeyRequest;
use super::{FILE, Identity};
use crate::backoff::Backoff;
use crate::dial::{self, Server};
use crate::surroundings::Surroundings;
use crate::{files, reason};

/// Longest sleep before the clock is looked at again: a machine that was suspended must not sleep through its renewal.
const LOOK: Duration = Duration::from_secs(15 * 60);
/// Between two attempts, first and longest: the last third of a life has room for many.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15 * 60));

/// Why a certificate could not be renewed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Dial(#[from] dial::Error),
    #[error("the authority cannot be used: {0}")]
    Authority(#[from] rustls::Error),
    #[error("the coordinator refused: {0}")]
    Refused(String),
    #[error("the coordinator did not answer within 30 s")]
    Late,
    #[error("the new certificate cannot be used: {0}")]
    BadAnswer(String),
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    File(#[from] files::Error),
}

/// A node's place in the fleet: the identity in force. Whoever dials asks for it anew.
#[derive(Debug)]
pub struct Membership {
    file: PathBuf,
    node: NodeName,
    current: watch::Sender<Arc<Identity>>,
}

impl Membership {
    /// Starts from an identity that was loaded from or stored in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path, identity: Identity) -> Self {
        let node = identity.node.clone();
        Self { file: data_dir.join(FILE), node, current: watch::Sender::new(Arc::new(identity)) }
    }

    /// The identity for the next connection.
    #[must_use]
    pub fn current(&self) -> Arc<Identity> {
        Arc::clone(&self.current.borrow())
    }

    /// Every identity that follows the one in force.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Identity>> {
        self.current.subscribe()
    }

    /// Renews at two thirds of each life, until `shutdown`. Connections that stand are left alone.
    pub async fn keep(&self, server: &Server, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(RETRY, Surroundings::default());
        let mut said = String::new();
        loop {
            let pause = match due_in(self.current().renew_at(), Utc::now()) {
                Some(rest) => rest.min(LOOK),
                None => match self.renew(server).await {
                    Ok(not_after) => {
                        info!(%not_after, "certificate renewed");
                        backoff.reset();
                        said.clear();
                        // Not at once again, whatever dates the coordinator wrote into it.
                        RETRY.0
                    }
                    Err(error) => {
                        let error = error.to_string();
                        let not_after = self.current().not_after();
                        if error == said {
                            debug!(%error, "certificate still not renewed");
                        } else {
                            warn!(%error, %not_after, "cannot renew the certificate; trying again");
                            said = error;
                        }
                        backoff.pause()
                    }
                },
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn renew(&self, server: &Server) -> Result<DateTime<Utc>, Error> {
        let old = self.current();
        let key = KeyRequest::new(&self.node)?;
        let (channel, ending) = dial::connect(server, old.client_config()?).await?;
        let request = pb::RenewRequest { certificate_request: key.csr().to_owned() };
        let mut client = AgentServiceClient::new(channel);
        let answer = timeout(CALL_DEADLINE, client.renew(request)).await.map_err(|_| Error::Late)?;
        let answer = answer.map_err(|status| Error::Refused(reason::of_call(&status, &ending)))?.into_inner();
        let authority = pem(&old.authority);
        let (identity, text) = key.complete(&answer.certificate, &authority, &self.node).map_err(Error::BadAnswer)?;
        if identity.not_after <= old.not_after {
            return Err(Error::BadAnswer("it does not last longer than the one in use".to_owned()));
        }
        files::write(&self.file, &text)?;
        let not_after = identity.not_after;
        self.current.send_replace(Arc::new(identity));
        Ok(not_after)
    }
}

/// How long until `at`; `None` when it has come.
fn due_in(at: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (at - now).to_std().ok().filter(|rest| !rest.is_zero())
}

/// A certificate as PEM text: base64 in lines of 64.
fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
