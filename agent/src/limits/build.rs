//! What may be built and pushed from this node, and from where its contexts may come.
//!
//! What a judgement gives back is the proof that it was made: [`crate::jobs`] builds from an [`AllowedDirectory`] or an
//! [`AllowedGit`] alone. Whether a directory is where its path says is looked at when it is opened: links can change.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use nightshift_core::config::ImagePattern;
use nightshift_core::image::Repository;
use nightshift_core::spec::Memory;

use super::git_url::{GitPrefix, GitUrl};
use super::{Limits, Refusal, fits};

/// Largest context unless the file says otherwise: sources of any service, and no disk's content by a slip.
pub const DEFAULT_CONTEXT_SIZE: Memory = Memory(2 << 30);
/// Longest name of a branch: git keeps it as a file name.
const BRANCH_LIMIT_BYTES: usize = 255;

/// What may be built and pushed from this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLimits {
    /// Repositories that may be built and pushed.
    pub images: Vec<ImagePattern>,
    /// Contexts may be these directories, and those below.
    pub directories: Vec<AllowedRoot>,
    /// Contexts may be in these git repositories.
    pub git: Vec<GitPrefix>,
    /// git's own configuration with credentials; `None`: none is read.
    pub git_config: Option<PathBuf>,
    /// Largest context that is sent to the engine.
    pub context_size: Memory,
}

/// A directory of this node of which all below may be a context: absolute, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedRoot(PathBuf);

/// Text that is no such directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be used, allowed is an absolute path without `.` and `..`, and not `/`")]
pub struct InvalidRoot(String);

/// A directory that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedDirectory {
    path: PathBuf,
    roots: Vec<AllowedRoot>,
}

/// A branch of a git repository that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedGit {
    url: GitUrl,
    branch: String,
}

impl Limits {
    /// Whether images of this repository may be built and pushed here. What may not run here is not built here.
    ///
    /// # Errors
    /// They may not.
    pub fn judge_build(&self, repository: &Repository) -> Result<&BuildLimits, Refusal> {
        let build = self.build.as_ref().ok_or(Refusal::NoBuilds)?;
        if !self.allow(repository) {
            return Err(Refusal::Repository { repository: repository.clone() });
        }
        if !fits(&build.images, repository) {
            return Err(Refusal::BuildRepository { repository: repository.clone() });
        }
        Ok(build)
    }
}

impl BuildLimits {
    /// Whether this directory may be a context, by its path.
    ///
    /// # Errors
    /// It may not, or it is no absolute path.
    pub fn judge_directory(&self, directory: &str) -> Result<AllowedDirectory, Refusal> {
        let refused = |reason: &'static str| Refusal::Directory { directory: excerpt(directory), reason };
        let path = plain_absolute(directory).ok_or_else(|| refused("no absolute path without `.` and `..`"))?;
        if !self.directories.iter().any(|root| path.starts_with(&root.0)) {
            return Err(refused("not allowed"));
        }
        Ok(AllowedDirectory { path, roots: self.directories.clone() })
    }

    /// Whether this branch of this repository may be a context.
    ///
    /// # Errors
    /// It may not, or the address or the branch has no form in which it can be judged.
    pub fn judge_git(&self, url: &str, branch: &str) -> Result<AllowedGit, Refusal> {
        let url: GitUrl = url.parse().map_err(|reason| Refusal::GitUrl { reason })?;
        if !self.git.iter().any(|prefix| prefix.allows(&url)) {
            return Err(Refusal::Git { url });
        }
        if !is_branch(branch) {
            return Err(Refusal::Branch { branch: excerpt(branch) });
        }
        Ok(AllowedGit { url, branch: branch.to_owned() })
    }
}

impl AllowedDirectory {
    /// Where it is said to be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Below which directories it must be found.
    #[must_use]
    pub fn roots(&self) -> &[AllowedRoot] {
        &self.roots
    }
}

impl AllowedRoot {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl AllowedGit {
    /// The repository.
    #[must_use]
    pub const fn url(&self) -> &GitUrl {
        &self.url
    }

    /// Its branch.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
    }
}

impl FromStr for AllowedRoot {
    type Err = InvalidRoot;
    fn from_str(text: &str) -> Result<Self, InvalidRoot> {
        let path = plain_absolute(text).filter(|path| path.parent().is_some());
        path.map(Self).ok_or_else(|| InvalidRoot(excerpt(text)))
    }
}

impl fmt::Display for AllowedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

fn plain_absolute(text: &str) -> Option<PathBuf> {
    // `Path` itself leaves a `.` out and takes two slashes for one: the path that is used is the one that is left.
    let dots = text.split('/').any(|part| matches!(part, "." | ".."));
    let path: PathBuf = Path::new(text).components().collect();
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    (path.is_absolute() && plain && !dots && !text.contains('\0')).then_some(path)
}

/// A name that git takes for a branch and for nothing else: no option, no revision, no pattern.
fn is_branch(name: &str) -> bool {
    let part_good = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let char_good = |char: char| !char.is_control() && !char.is_whitespace() && !"~^:?*[\\".contains(char);
    name.len() <= BRANCH_LIMIT_BYTES
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && name.chars().all(char_good)
        && name.split('/').all(part_good)
}

/// What is shown of a text from elsewhere.
fn excerpt(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> BuildLimits {
        BuildLimits {
            images: vec!["r.example/shop/*".parse().expect("a pattern")],
            directories: vec!["/srv/build".parse().expect("a root"), "/home/ann/web/".parse().expect("a root")],
            git: vec!["https://git.example/acme/".parse().expect("a prefix")],
            git_config: None,
            context_size: DEFAULT_CONTEXT_SIZE,
        }
    }

    #[test]
    fn a_node_builds_what_its_own_file_allows_and_what_may_run_there() {
        for (allow, build, repository, expect) in [
            (
                vec![],
                None,
                "r.example/shop/web",
                "this node builds no images; hint: see `limits.build` in its agent's configuration",
            ),
            (vec![], Some(limits()), "r.example/shop/web", ""),
            (vec!["r.example/shop/*"], Some(limits()), "r.example/shop/web", ""),
            (
                vec!["r.example/blog"],
                Some(limits()),
                "r.example/shop/web",
                "this node does not run images of `r.example/shop/web`; hint: see `allow_images` in its agent's configuration",
            ),
            (
                vec![],
                Some(limits()),
                "r.example/blog",
                "this node does not build images of `r.example/blog`; hint: see `limits.build.images` in its agent's configuration",
            ),
        ] {
            let allow_images = allow.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
            let limits = Limits { allow_images, build, ..Limits::default() };
            let verdict = limits.judge_build(&repository.parse().expect("a repository"));
            assert_eq!(verdict.map_or_else(|refusal| refusal.to_string(), |_| String::new()), expect);
        }
    }

    #[test]
    fn a_directory_is_allowed_by_its_whole_name() {
        for (directory, expect) in [
            ("/srv/build", Ok("/srv/build")),
            ("/srv/build/web", Ok("/srv/build/web")),
            ("//srv//build/web/", Ok("/srv/build/web")),
            ("/home/ann/web", Ok("/home/ann/web")),
            ("/srv/builder", Err("not allowed")),
            ("/srv", Err("not allowed")),
            ("/", Err("not allowed")),
            ("/srv/build/../secret", Err("no absolute path without `.` and `..`")),
            ("/srv/build/.", Err("no absolute path without `.` and `..`")),
            ("srv/build", Err("no absolute path without `.` and `..`")),
            ("-srv/build", Err("no absolute path without `.` and `..`")),
            ("/srv/build/\0", Err("no absolute path without `.` and `..`")),
            ("", Err("no absolute path without `.` and `..`")),
        ] {
            let limits = limits();
            let verdict = limits.judge_directory(directory);
            let expect =
                expect.map(Path::new).map_err(|reason| Refusal::Directory { directory: excerpt(directory), reason });
            assert_eq!(verdict.as_ref().map(AllowedDirectory::path), expect.as_ref().copied(), "{directory:?}");
        }
        assert_eq!(
            limits().judge_directory("/etc").expect_err("refused").to_string(),
            "`/etc` is no context for builds on this node: not allowed; hint: see `limits.build.directories` in its agent's \
             configuration"
        );
    }

    #[test]
    fn a_repository_is_allowed_by_a_prefix_and_its_branch_is_a_branch() {
        let good = limits().judge_git("https://git.example/acme/web", "release/1.2").expect("allowed");
        assert_eq!((good.url().to_string().as_str(), good.branch()), ("https://git.example/acme/web", "release/1.2"));
        for (url, branch, expect) in [
            (
                "https://git.example.evil/acme/web",
                "main",
                "builds on this node take nothing from `https://git.example.evil/acme/web`; hint: see `limits.build.git` in its \
                 agent's configuration",
            ),
            (
                "https://ann:hunter2@git.example/acme/web",
                "main",
                "builds on this node cannot use the git repository: the address has credentials before the host (they belong in \
                 `limits.build.git_config`), allowed is `https://host/path`, `http://host/path`, `ssh://user@host/path` or \
                 `file:///path`; hint: see `limits.build.git` in its agent's configuration",
            ),
            ("https://git.example/acme/web", "--upload-pack=x", "`--upload-pack=x` is no name of a git branch"),
        ] {
            assert_eq!(limits().judge_git(url, branch).expect_err(url).to_string(), expect);
        }
    }

    #[test]
    fn names_that_git_would_read_as_something_else_are_no_branches() {
        for name in ["main", "release/1.2", "feature-x", "a@b", "ä", "x.y_z"] {
            assert!(is_branch(name), "{name}");
        }
        let long = "x".repeat(BRANCH_LIMIT_BYTES + 1);
        for name in [
            "", "-x", "--all", "@", "a..b", "a@{1}", "a b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "[a]", "a\\b",
            "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", &long,
        ] {
            assert!(!is_branch(name), "{name:?}");
        }
    }
}
