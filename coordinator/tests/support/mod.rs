//! A real registry in a process of its own, and a server that answers as scripted.

use std::ops::Add as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Debian's name for the registry's program.
const PROGRAM: &str = "docker-registry";
/// User `tester`, password `correct-horse`, as bcrypt: the only hash that the registry takes.
const HTPASSWD: &str = "tester:$2b$04$8hRwMShoacc6lV/w7XwR4eoy/.nAWAnCDw1tYK3YFx8G9PsKZEySy\n";
/// The password that the registry takes.
pub(crate) const PASSWORD: &str = "correct-horse";

/// Every test that makes an HTTP client calls this first.
pub(crate) fn install_tls() {
    // Another test of the same process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A running registry on loopback.
pub(crate) struct RegistryProcess {
    directory: tempfile::TempDir,
    port: u16,
    kind: Kind,
    notified: Option<Notified>,
    child: Child,
}

/// Whom the registry tells of pushes.
struct Notified {
    url: String,
    authorization: String,
    ca_pem: String,
}

/// What the registry wants of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Password,
    Tls,
}

impl RegistryProcess {
    /// Starts one; `None`, said aloud, where the program is not installed.
    pub(crate) async fn start(password: bool) -> Option<Self> {
        let kind = if password { Kind::Password } else { Kind::Open };
        Self::of(tempfile::tempdir().unwrap(), kind).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(certificate: &str, key: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("certificate.pem"), certificate).unwrap();
        std::fs::write(directory.path().join("key.pem"), key).unwrap();
        Self::of(directory, Kind::Tls).await
    }

    async fn of(directory: tempfile::TempDir, kind: Kind) -> Option<Self> {
        // The registry cannot choose a port itself, and another process may take the one found free.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            match spawn(directory.path(), port, kind, None).await {
                Ok(Some(child)) => return Some(Self { directory, port, kind, notified: None, child }),
                Ok(None) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    skipped();
                    return None;
                }
                Err(error) => panic!("cannot run {PROGRAM}: {error}"),
            }
        }
        panic!("{PROGRAM} found no port");
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// The same one again, after `kill`.
    pub(crate) async fn restart(&mut self) {
        let child = spawn(self.directory.path(), self.port, self.kind, self.notified.as_ref()).await.unwrap();
        self.child = child.expect("its port is still free");
    }

    /// From the next start on it tells this address of pushes.
    pub(crate) fn notify(&mut self, url: &str, authorization: &str, ca_pem: &str) {
        let [url, authorization, ca_pem] = [url, authorization, ca_pem].map(str::to_owned);
        self.notified = Some(Notified { url, authorization, ca_pem });
    }

    /// Pushes an image of one configuration; its digest.
    pub(crate) async fn push(&self, repository: &str, tag: &str, created: Option<&str>) -> String {
        let config = created.map_or("{}".to_owned(), |created| format!(r#"{{"created": "{created}"}}"#));
        let manifest = self.push_config(repository, &config).await;
        self.put_manifest(repository, tag, MANIFEST, &manifest).await
    }

    /// Pushes an index of one image behind an attestation; its digest.
    pub(crate) async fn push_index(&self, repository: &str, tag: &str, created: &str) -> String {
        let image = self.push(repository, "part", Some(created)).await;
        let attestation = self.push(repository, "attestation", None).await;
        let entry = |digest: &str, os: &str| {
            format!(
                r#"{{"mediaType": "{MANIFEST}", "digest": "{digest}", "size": 1, "platform": {{"os": "{os}", "architecture": "amd64"}}}}"#
            )
        };
        let index = format!(
            r#"{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": [{}, {}]}}"#,
            entry(&attestation, "unknown"),
            entry(&image, "linux")
        );
        self.put_manifest(repository, tag, INDEX, &index).await
    }

    /// Pushes an image for a platform, `os/architecture[/variant]`; its digest.
    pub(crate) async fn push_for(&self, repository: &str, tag: &str, platform: &str) -> String {
        let config = format!(r#"{{"created": "2026-11-20T10:00:00Z", {}}}"#, names(platform));
        let manifest = self.push_config(repository, &config).await;
        self.put_manifest(repository, tag, MANIFEST, &manifest).await
    }

    /// Pushes an index with an image for each of these platforms; its digest.
    pub(crate) async fn push_index_for(&self, repository: &str, tag: &str, platforms: &[&str]) -> String {
        let mut entries = Vec::new();
        for platform in platforms {
            let digest = self.push_for(repository, &platform.replace('/', "-"), platform).await;
            let names = names(platform);
            entries.push(format!(
                r#"{{"mediaType": "{MANIFEST}", "digest": "{digest}", "size": 1, "platform": {{{names}}}}}"#
            ));
        }
        let entries = entries.join(", ");
        let index = format!(r#"{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": [{entries}]}}"#);
        self.put_manifest(repository, tag, INDEX, &index).await
    }

    /// Signs a digest as cosign does, with OpenSSL; the digest that the signed text names may be another one. A new layer stands
    /// behind those that are there already (`before`). Returns all layers.
    pub(crate) async fn sign(&self, repository: &str, digest: &str, named: &str, key: &Path, before: &str) -> String {
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{repository}"}},"image":{{"docker-manifest-digest":"{named}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("payload");
        std::fs::write(&file, &payload).unwrap();
        let arguments = [Path::new("dgst"), Path::new("-sha256"), Path::new("-sign"), key, &file];
        let signed = Command::new("openssl").args(arguments).output().await.unwrap();
        assert!(signed.status.success(), "{signed:?}");
        let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &signed.stdout);
        self.push_config(repository, &payload).await;
        let layer = format!(
            r#"{{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": {}, "digest": "{}", "annotations": {{"dev.cosignproject.cosign/signature": "{signature}"}}}}"#,
            payload.len(),
            sha256(payload.as_bytes())
        );
        let layers = if before.is_empty() { layer } else { format!("{before}, {layer}") };
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.push_config(repository, "{}").await;
        let manifest = format!(
            r#"{{"schemaVersion": 2, "mediaType": "{kind}", "config": {{"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": "{}"}}, "layers": [{layers}]}}"#,
            sha256(b"{}")
        );
        self.put_manifest(repository, &digest.replace("sha256:", "sha256-").add(".sig"), kind, &manifest).await;
        layers
    }

    async fn push_config(&self, repository: &str, config: &str) -> String {
        let digest = sha256(config.as_bytes());
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host());
        let answer = self.client().post(url).basic_auth("tester", Some(PASSWORD)).send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        let url = format!("{location}&digest={digest}");
        let request = self.client().put(url).basic_auth("tester", Some(PASSWORD)).body(config.to_owned());
        let status = request.send().await.unwrap().status();
        assert_eq!(status.as_u16(), 201);
        let size = config.len();
        format!(
            r#"{{"schemaVersion": 2, "mediaType": "{MANIFEST}", "config": {{"mediaType": "application/vnd.docker.container.image.v1+json", "size": {size}, "digest": "{digest}"}}, "layers": []}}"#
        )
    }

    async fn put_manifest(&self, repository: &str, tag: &str, kind: &str, text: &str) -> String {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host());
        let request = self.client().put(url).basic_auth("tester", Some(PASSWORD)).header("content-type", kind);
        let answer = request.body(text.to_owned()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 201, "{}", answer.text().await.unwrap());
        sha256(text.as_bytes())
    }

    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().build().unwrap()
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A platform's names as JSON has them.
fn names(platform: &str) -> String {
    let mut parts = platform.split('/');
    let [os, architecture] = [parts.next().unwrap(), parts.next().unwrap()];
    let variant = parts.next().map(|variant| format!(r#", "variant": "{variant}""#)).unwrap_or_default();
    format!(r#""os": "{os}", "architecture": "{architecture}"{variant}"#)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skipped() {
    eprintln!("SKIPPED: `{PROGRAM}` is not installed; scripts/test installs it");
}

/// Starts the program; `None` when its port was taken meanwhile.
async fn spawn(directory: &Path, port: u16, kind: Kind, notified: Option<&Notified>) -> std::io::Result<Option<Child>> {
    let path = directory.display();
    let tls = match kind {
        Kind::Tls => format!(", tls: {{certificate: '{path}/certificate.pem', key: '{path}/key.pem'}}"),
        Kind::Open | Kind::Password => String::new(),
    };
    let mut config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: '{path}/storage'}}}}\n\
         validation: {{disabled: true}}\nhttp: {{addr: '127.0.0.1:{port}', secret: s{tls}}}\n"
    );
    if kind == Kind::Password {
        std::fs::write(directory.join("htpasswd"), HTPASSWD)?;
        config += &format!("auth: {{htpasswd: {{realm: test, path: '{path}/htpasswd'}}}}\n");
    }
    let mut command = Command::new(PROGRAM);
    if let Some(Notified { url, authorization, ca_pem }) = notified {
        config += &format!(
            "notifications: {{endpoints: [{{name: nightshift, url: '{url}', headers: {{Authorization: ['{authorization}']}}, \
             timeout: 2s, threshold: 5, backoff: 1s}}]}}\n"
        );
        let ca_file = directory.join("coordinator-ca.pem");
        std::fs::write(&ca_file, ca_pem)?;
        command.env("SSL_CERT_FILE", ca_file);
    }
    let file = directory.join("config.yml");
    std::fs::write(&file, config)?;
    command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("listening on") {
                return true;
            }
        }
        false
    };
    let listening = timeout(Duration::from_secs(20), listening).await.expect("the registry starts or ends");
    // Read on, so that the registry never blocks on a full pipe; it ends with the process.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    Ok(listening.then_some(child))
}

/// A server that answers each request by a function of its head, and keeps what it was asked.
pub(crate) struct Scripted {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Scripted {
    /// `answer` gets the request (head, and the body of a form) and the server's own host; it gives a whole response.
    pub(crate) async fn start(answer: impl Fn(&str, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (own, kept, answer) = (host.clone(), asked.clone(), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, kept, answer) = (own.clone(), kept.clone(), answer.clone());
                tokio::spawn(async move { serve(stream, &own, &kept, &*answer).await });
            }
        });
        Self { host, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// How many of the requests so far hold this word, in lower case.
    pub(crate) fn requests_with(&self, word: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| request.to_lowercase().contains(word)).count()
    }

    /// What was asked since the last time: request lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let line = |request: &String| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        asked.iter().map(line).collect()
    }
}

async fn serve(mut stream: TcpStream, own: &str, kept: &Mutex<Vec<String>>, answer: &impl Fn(&str, &str) -> String) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request);
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|n| n.parse().ok());
        let whole = text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length.unwrap_or(0));
        if whole {
            kept.lock().unwrap().push(text.clone().into_owned());
            let response = answer(&text, own);
            let _ = stream.write_all(response.as_bytes()).await;
            return;
        }
        if read == 0 {
            return;
        }
    }
}

/// A response with these header lines and this body.
pub(crate) fn response(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}
