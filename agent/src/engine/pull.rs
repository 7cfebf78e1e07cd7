//! What an engine says during a pull: its progress messages summed up, and its error texts sorted by kind.

use std::collections::BTreeMap;

use nightshift_core::image::{Digest, Repository};
use nightshift_core::instance::PullProgress;

use super::{Error, PullFailure, Result};

/// Most layers that are followed one by one. Images have at most 127; a hostile stream must not fill the memory.
const LAYER_LIMIT: usize = 512;

/// Lets only `repository@sha256:…` through.
pub(super) fn require_digest(reference: &str) -> Result<()> {
    let wrong = || Error::InvalidArgument {
        expected: "image reference with a digest (`repository@sha256:…`)",
        found: reference.chars().take(300).collect(),
    };
    let (repository, digest) = reference.split_once('@').ok_or_else(wrong)?;
    let good = repository.parse::<Repository>().is_ok() && digest.parse::<Digest>().is_ok();
    if good { Ok(()) } else { Err(wrong()) }
}

/// What is known of one layer.
#[derive(Debug, Default, Clone, Copy)]
struct Layer {
    done: bool,
    bytes_done: u64,
    bytes_total: u64,
}

/// Sums up the messages of one pull.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    layers: BTreeMap<String, Layer>,
}

impl Tracker {
    /// Takes in one message and says how far the pull is now.
    ///
    /// Observed on Engine 20.10: a layer goes `Pulling fs layer`, `Waiting`, `Downloading` (with numbers), `Verifying
    /// Checksum`, `Download complete`, `Extracting` (numbers start again from 0), `Pull complete`; one that is there
    /// says `Already exists` only. Messages about the image as a whole (`Pulling from web`, `Digest: …`, `Status: …`)
    /// have no id, or the tag or digest as id.
    pub(super) fn take(&mut self, id: Option<&str>, status: &str, numbers: Option<(u64, u64)>) -> PullProgress {
        if let Some(id) = id
            && is_layer_status(status)
            && (self.layers.len() < LAYER_LIMIT || self.layers.contains_key(id))
        {
            let layer = self.layers.entry(id.to_owned()).or_default();
            match status {
                "Downloading" => {
                    let (current, total) = numbers.unwrap_or_default();
                    layer.bytes_total = layer.bytes_total.max(total);
                    layer.bytes_done = layer.bytes_done.max(current);
                }
                "Download complete" | "Verifying Checksum" | "Extracting" => layer.bytes_done = layer.bytes_total,
                "Pull complete" | "Already exists" => {
                    layer.bytes_done = layer.bytes_total;
                    layer.done = true;
                }
                _ => {}
            }
        }
        self.progress()
    }

    fn progress(&self) -> PullProgress {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        PullProgress {
            layers_done: count(self.layers.values().filter(|layer| layer.done).count()),
            layers_total: count(self.layers.len()),
            bytes_done: self.layers.values().map(|layer| layer.bytes_done).fold(0, u64::saturating_add),
            bytes_total: self.layers.values().map(|layer| layer.bytes_total).fold(0, u64::saturating_add),
        }
    }
}

fn is_layer_status(status: &str) -> bool {
    const OF_A_LAYER: [&str; 9] = [
        "Pulling fs layer",
        "Waiting",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
        "Already exists",
        "Retrying",
    ];
    OF_A_LAYER.iter().any(|known| status.starts_with(known))
}

/// Sorts a failed pull by kind. The engine answers 404 for what is not there and 500 for nearly everything else, so the
/// text decides; the texts are those of the engine, of the registry client inside it, and of the kernel.
pub(super) fn classify(status: Option<u16>, message: &str) -> PullFailure {
    let text = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&["no space left on device", "disk quota exceeded"]) {
        return PullFailure::DiskFull;
    }
    if says(&["toomanyrequests", "too many requests", "rate limit"]) {
        return PullFailure::RateLimited;
    }
    // Docker Hub and others hide that a repository exists: `pull access denied for x, repository does not exist or may
    // require 'docker login'`. Credentials are then the more likely cure.
    if says(&["unauthorized", "no basic auth credentials", "denied", "authentication required", "incorrect username"]) {
        return PullFailure::Denied;
    }
    if says(&["manifest unknown", "not found", "name unknown", "does not exist"]) || status == Some(404) {
        return PullFailure::NotFound;
    }
    let network = [
        "connection refused",
        "connection reset",
        "broken pipe",
        "no such host",
        "i/o timeout",
        "timeout",
        "deadline exceeded",
        "network is unreachable",
        "no route to host",
        "server misbehaving",
        "unexpected eof",
        ": eof",
        "tls:",
        "x509",
        "http response to https client",
        "bad gateway",
        "service unavailable",
        "received unexpected http status: 5",
    ];
    if says(&network) { PullFailure::Unreachable } else { PullFailure::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(layers_done: u32, layers_total: u32, bytes_done: u64, bytes_total: u64) -> PullProgress {
        PullProgress { layers_done, layers_total, bytes_done, bytes_total }
    }

    #[test]
    fn progress_only_grows() {
        let mut tracker = Tracker::default();
        for (id, status, numbers, expect) in [
            (Some("stable"), "Pulling from web", None, progress(0, 0, 0, 0)),
            (Some("a"), "Already exists", None, progress(1, 1, 0, 0)),
            (Some("b"), "Pulling fs layer", None, progress(1, 2, 0, 0)),
            (Some("b"), "Downloading", Some((10, 80)), progress(1, 2, 10, 80)),
            (Some("b"), "Downloading", Some((70, 80)), progress(1, 2, 70, 80)),
            (Some("b"), "Verifying Checksum", None, progress(1, 2, 80, 80)),
            (Some("b"), "Extracting", Some((1, 80)), progress(1, 2, 80, 80)),
            (Some("b"), "Pull complete", None, progress(2, 2, 80, 80)),
            (None, "Digest: sha256:00", None, progress(2, 2, 80, 80)),
        ] {
            assert_eq!(tracker.take(id, status, numbers), expect, "{id:?} {status}");
        }
    }

    #[test]
    fn failed_pulls_are_sorted_by_what_the_engine_says() {
        use PullFailure::{Denied, DiskFull, NotFound, Other, RateLimited, Unreachable};
        for (status, message, expect) in [
            (
                Some(404),
                "manifest for 127.0.0.1:5000/web@sha256:00 not found: manifest unknown: manifest unknown",
                NotFound,
            ),
            (Some(500), "Get \"http://127.0.0.1:5000/v2/web/manifests/sha256:00\": no basic auth credentials", Denied),
            (Some(404), "pull access denied for x, repository does not exist or may require 'docker login'", Denied),
            (
                Some(500),
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                Unreachable,
            ),
            (Some(500), "Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client", Unreachable),
            (Some(500), "toomanyrequests: You have reached your pull rate limit.", RateLimited),
            (None, "failed to register layer: write /big: no space left on device", DiskFull),
            (None, "filesystem layer verification failed for digest sha256:00", Other),
        ] {
            assert_eq!(classify(status, message), expect, "{message}");
        }
    }
}
