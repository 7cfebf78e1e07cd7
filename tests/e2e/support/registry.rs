//! The registry, and images made on the spot.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD as STANDARD, BASE64_URL_SAFE as URL_SAFE};
use serde_json::json;

use super::engine::Engine;
use super::http::{self, Place};
use super::script_of;

/// What a registry calls a manifest of the images here.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry, and the part of it that belongs to one scenario.
#[derive(Debug)]
pub(crate) struct Registry {
    address: String,
    /// What `scripts/engines` made.
    made: PathBuf,
    unique: String,
    /// Its name in `scripts/engines`; the one that all scenarios share has none.
    name: Option<String>,
    login: Option<Login>,
}

/// Who may use a registry.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// The user's name.
    pub(crate) user: &'static str,
    /// The password.
    pub(crate) password: &'static str,
}

impl Login {
    /// Docker's `config.json` with it.
    pub(crate) fn docker_config(&self, registry: &str) -> String {
        json!({"auths": {registry: {"auth": self.basic()}}}).to_string()
    }

    /// As HTTP and Docker's own file write it.
    pub(crate) fn basic(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    /// As an engine takes it with a pull.
    pub(super) fn header(&self) -> String {
        URL_SAFE.encode(json!({"username": self.user, "password": self.password}).to_string())
    }
}

/// An image in the registry.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// `HOST:PORT/PATH`.
    pub(crate) repository: String,
    /// `sha256:…`.
    pub(crate) digest: String,
}

impl Image {
    /// `REPOSITORY@DIGEST`.
    pub(crate) fn by_digest(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

impl Registry {
    pub(super) fn new(engines: &[Engine], address: String, unique: &str) -> Self {
        let made = engines.first().expect("there are engines").directory();
        Self { address, made, unique: unique.to_owned(), name: None, login: None }
    }

    /// A registry of the scenario's own, that may go down or ask for a login. It ends with this value.
    pub(crate) fn of_its_own(&self, login: Option<Login>) -> Self {
        let name = Some(format!("registry-{}", self.unique));
        let (made, unique) = (self.made.clone(), self.unique.clone());
        let mut own = Self { address: String::new(), made, unique, name, login };
        own.address = own.start();
        own
    }

    /// Takes the registry up; its address.
    pub(crate) fn start(&self) -> String {
        let directory = self.made.to_str().expect("text");
        let mut arguments = vec!["registry", "start", directory];
        if let Some(login) = &self.login {
            arguments.extend([login.user, login.password]);
        }
        self.script(&arguments)
    }

    /// Takes the registry down, with all its images kept.
    pub(crate) fn stop(&self) {
        self.script(&["registry", "stop", self.made.to_str().expect("text")]);
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What an engine takes to pull from it.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    fn script(&self, arguments: &[&str]) -> String {
        script_of(self.name.as_deref(), arguments)
    }

    /// The name of a scenario's repository, with the registry's address.
    pub(crate) fn repository(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.address, self.unique)
    }

    /// Makes an image and puts it at `NAME:TAG`. The options are those of `scripts/lib/images.sh`.
    pub(crate) fn push(&self, name_and_tag: &str, options: &[&str]) -> Image {
        let (name, _) = name_and_tag.split_once(':').expect("NAME:TAG");
        let path = format!("{}/{name_and_tag}", self.unique);
        let login = self.login.as_ref().map(|login| format!("{}:{}", login.user, login.password));
        let mut arguments = vec!["push", self.made.to_str().expect("text"), &path];
        arguments.extend(options);
        if let Some(login) = &login {
            arguments.extend(["--login", login]);
        }
        let digest = self.script(&arguments);
        Image { repository: self.repository(name), digest }
    }

    /// Makes an image whose web server answers the text, and which is like no other image.
    pub(crate) fn push_text(&self, name_and_tag: &str, text: &str, options: &[&str]) -> Image {
        let text = format!("{text} of {}", self.unique);
        let mut all = vec!["--text", &text];
        all.extend(options);
        self.push(name_and_tag, &all)
    }

    /// Puts an index of images at `NAME:TAG`: each with the platform that it is for.
    pub(crate) fn index(&self, name_and_tag: &str, images: &[(&Image, &str)]) -> Image {
        let (name, _) = name_and_tag.split_once(':').expect("NAME:TAG");
        let path = format!("{}/{name_and_tag}", self.unique);
        let mut arguments = vec!["index", self.made.to_str().expect("text"), &path];
        arguments.extend(images.iter().flat_map(|(image, platform)| [image.digest.as_str(), *platform]));
        Image { repository: self.repository(name), digest: self.script(&arguments) }
    }

    /// Signs an image in the way of cosign with a private key of OpenSSL. The signed text names `named`.
    pub(crate) fn sign(&self, image: &Image, key: &Path, named: &Image) {
        let path = image.repository.split_once('/').expect("it has a path").1;
        let (made, key) = (self.made.to_str().expect("text"), key.to_str().expect("text"));
        self.script(&["sign", made, path, &image.digest, key, &named.digest]);
    }

    /// The manifest at `:TAG` or `@DIGEST` of a repository, as the registry itself has it.
    pub(crate) fn manifest(&self, name: &str, reference: &str) -> String {
        let place = Place::Tcp(self.address.clone());
        let path = format!("/v2/{}/{name}/manifests/{reference}", self.unique);
        let answer = http::ask(&place, "GET", &path, &[("Accept", MANIFEST)], "").expect("the registry is up");
        assert_eq!(answer.status, 200, "{path}");
        answer.text()
    }

    /// Makes a tag point to an image that is there already.
    pub(crate) fn tag(&self, image: &Image, tag: &str) {
        let name = image.repository.rsplit_once('/').expect("it has a path").1;
        let manifest = self.manifest(name, &image.digest);
        let place = Place::Tcp(self.address.clone());
        let to = format!("/v2/{}/{name}/manifests/{tag}", self.unique);
        let answer =
            http::ask(&place, "PUT", &to, &[("Content-Type", MANIFEST)], &manifest).expect("the registry is up");
        assert_eq!(answer.status, 201, "the tag is set");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if self.name.is_some() {
            self.stop();
        }
    }
}
