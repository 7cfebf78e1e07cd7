//! The connection to a coordinator: TLS with its own CA pinned, a bearer token on each call, a deadline on everything.
//!
//! What goes wrong on the way is told in words: the reason is often only deep in an error's chain of sources.

use std::error::Error;
use std::time::Duration;

use nightshift_proto::pb::operator_service_client::OperatorServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::context::Target;
use crate::failure::{Exit, Failure};

/// How long connecting may take, TLS included: a person waits, and a coordinator across an ocean needs one second.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long an answer may take. The slowest one is a status of thousands of nodes, below a second.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Pings on an idle connection, so that a stream to a dead coordinator ends.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long the answer to a ping may take.
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer in bytes: a status of ten thousand nodes has about 20 MiB.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The generated client with our token on each call.
pub(crate) type Api = OperatorServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts the token on each call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connection to a coordinator.
#[derive(Clone)]
pub(crate) struct Client {
    api: Api,
    server: String,
}

/// Why a call did not give an answer.
pub(crate) enum CallError {
    /// The connection broke or never was: the same call may work later.
    Lost(Failure),
    /// The coordinator's answer is no.
    Answered(Failure),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Lost(failure) | CallError::Answered(failure) => failure,
        }
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Token or certificate are none, nobody answers, or whoever answers is not that coordinator.
    pub(crate) async fn connect(target: &Target) -> Result<Self, Failure> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", target.token.trim())
            .parse()
            .map_err(|_| Failure::usage("the token has characters that no token has").hint(TOKEN_HINT))?;
        value.set_sensitive(true);
        let channel = match tokio::time::timeout(CONNECT_DEADLINE, endpoint(target)?.connect()).await {
            Ok(connected) => connected.map_err(|error| connect_failure(&target.server, &error))?,
            Err(_) => return Err(nobody(&target.server, "no answer within 5 s")),
        };
        let api = OperatorServiceClient::with_interceptor(channel, Bearer(value))
            .max_decoding_message_size(ANSWER_LIMIT_BYTES);
        Ok(Self { api, server: target.server.clone() })
    }

    /// The coordinator's address.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// The coordinator refuses, or does not answer in time.
    pub(crate) async fn ask<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Api) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        Ok(self.call(call).await?)
    }

    /// Opens a stream; the deadline is for its beginning only, pings watch over the rest.
    ///
    /// # Errors
    /// The coordinator refuses, or the connection is lost.
    pub(crate) async fn open<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Api) -> Result<Response<Streaming<T>>, Status>,
    ) -> Result<Streaming<T>, CallError> {
        self.call(call).await
    }

    /// The error of a stream that ended badly.
    pub(crate) fn stream_error(&self, status: &Status) -> CallError {
        call_error(&self.server, status)
    }

    /// One question, one answer; a lost connection is told from a refusal.
    ///
    /// # Errors
    /// The coordinator refuses, or the connection is lost.
    pub(crate) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Api) -> Result<Response<T>, Status>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(REQUEST_DEADLINE, call(&mut self.api)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(call_error(&self.server, &status)),
            Err(_) => Err(CallError::Lost(nobody(&self.server, "no answer within 30 s"))),
        }
    }
}

const TOKEN_HINT: &str = "make one with `nightshift token create`, or use the context file of this coordinator";
const CA_HINT: &str =
    "use the CA file or context file of this very coordinator, and the address that it was set up with";
const ABSENT_HINT: &str =
    "is it running? start `nightshift dev`, or check `--server`, `NIGHTSHIFT_SERVER` or the context file";

fn endpoint(target: &Target) -> Result<Endpoint, Failure> {
    let no_ca = || Failure::usage("the CA file holds no certificate in PEM").hint(CA_HINT);
    if !target.ca_pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(no_ca());
    }
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&target.ca_pem));
    Endpoint::from_shared(target.server.clone())
        .map_err(|error| Failure::usage(format!("`{}` is no address: {}", target.server, innermost(&error))))?
        .tls_config(tls)
        .map_err(|_| no_ca())
        .map(|endpoint| {
            endpoint
                .connect_timeout(CONNECT_DEADLINE)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_DEADLINE)
                .keep_alive_while_idle(true)
                .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
                .expect("a fixed text without control characters")
        })
}

/// The error at the end of the chain of sources: it names the cause, the others only say that something failed.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(source) = error.source() {
        text.push_str(": ");
        text.push_str(&source.to_string());
        error = source;
    }
    text
}

fn nobody(server: &str, why: &str) -> Failure {
    Failure::failed(format!("no coordinator answers at `{server}`: {why}")).hint(ABSENT_HINT)
}

fn connect_failure(server: &str, error: &(dyn Error + 'static)) -> Failure {
    let chain = chain(error);
    if chain.contains("UnknownIssuer") || chain.contains("BadSignature") {
        return Failure::failed(format!("`{server}` shows a certificate that is not signed by the CA in use"))
            .hint(CA_HINT);
    }
    if chain.contains("not valid for name") || chain.contains("NotValidForName") {
        return Failure::failed(format!("`{server}` shows a certificate for another address")).hint(CA_HINT);
    }
    if chain.contains("certificate") || chain.contains("InvalidContentType") || chain.contains("tls") {
        return Failure::failed(format!("no trusted connection to `{server}`: {}", innermost(error))).hint(CA_HINT);
    }
    nobody(server, &innermost(error).to_string())
}

fn call_error(server: &str, status: &Status) -> CallError {
    let transport = status.source().is_some();
    let code = status.code();
    if code == Code::Unavailable || (transport && matches!(code, Code::Unknown | Code::Cancelled | Code::Internal)) {
        let why = status.source().map_or_else(|| status.message().to_owned(), |source| innermost(source).to_string());
        return CallError::Lost(nobody(server, &why));
    }
    CallError::Answered(refusal(server, status))
}

/// What the coordinator's answer means here. The head of operator.proto has the words.
fn refusal(server: &str, status: &Status) -> Failure {
    let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    // Where trust refuses, the message brings its own advice.
    let (message, advice) = message.split_once("\nhint: ").map_or((message, None), |(text, hint)| (text, Some(hint)));
    let code = status.code();
    let mut failure = if code == Code::Unauthenticated {
        Failure::failed(format!("the coordinator at `{server}` does not accept the token: {message}")).hint(TOKEN_HINT)
    } else if code == Code::PermissionDenied {
        Failure::failed(message).hint("use a token whose role may do this; `nightshift token list` shows the roles")
    } else if code == Code::Unimplemented {
        Failure::failed(format!("the coordinator at `{server}` does not know this call: {message}"))
            .hint("run the same version of nightshift on both sides")
    } else {
        Failure::new(exit_of(code, text("nightshift-refusal").as_deref()), message)
    };
    if let Some(hint) = text("nightshift-hint").or_else(|| advice.map(str::to_owned)) {
        failure = failure.hint(hint);
    }
    failure
}

fn exit_of(code: Code, refusal: Option<&str>) -> Exit {
    match refusal {
        Some("rule") => Exit::Refused,
        Some("usage") => Exit::Usage,
        // `not-found`, `conflict`, and words of a newer coordinator.
        Some(_) => Exit::Failed,
        None if matches!(code, Code::InvalidArgument | Code::OutOfRange) => Exit::Usage,
        None if matches!(code, Code::Internal | Code::DataLoss | Code::Unknown) => Exit::Internal,
        None => Exit::Failed,
    }
}
