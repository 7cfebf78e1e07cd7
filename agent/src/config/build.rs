//! `[limits.build]`: what may be built and pushed from a node. Without it nothing is.

use std::path::PathBuf;

use nightshift_core::config::{ImagePattern, Table};
use nightshift_core::spec::Memory;

use crate::limits::BuildLimits;
use crate::limits::build::{AllowedRoot, DEFAULT_CONTEXT_SIZE};
use crate::limits::git_url::GitPrefix;

/// Most entries of each list: each is compared for each build, and a person must see what is allowed.
const LIST_LIMIT: usize = 100;
/// Least size of a context: less holds no program. Most: no engine's disk has more to spare.
const CONTEXT_SIZE: (Memory, Memory) = (Memory(1 << 20), Memory(1 << 40));

pub(super) fn read(table: &mut Table<'_>) -> Option<BuildLimits> {
    table.require("images");
    let images: Option<Vec<ImagePattern>> = table.list("images");
    let directories: Option<Vec<AllowedRoot>> = table.list("directories");
    let git: Option<Vec<GitPrefix>> = table.list("git");
    let git_config: Option<PathBuf> = table.optional("git_config");
    let context_size = context_size(table);
    for (key, found) in [
        ("images", images.as_ref().map(Vec::len)),
        ("directories", directories.as_ref().map(Vec::len)),
        ("git", git.as_ref().map(Vec::len)),
    ] {
        let name = table.full(key);
        match found {
            // It would look like a limit and allow nothing.
            Some(0) => table.problem(key, &format!("`{name}` is empty, allowed is one entry or more"), None),
            Some(found) if found > LIST_LIMIT => {
                table.problem(key, &format!("`{name}` has {found} entries, allowed are up to {LIST_LIMIT}"), None);
            }
            Some(_) | None => {}
        }
    }
    if !table.has("directories") && !table.has("git") {
        table.problem("", "`limits.build` has none of `directories`, `git`, one is required", None);
    }
    if git_config.is_some() && !table.has("git") {
        let message = "`limits.build.git_config` is of no use without `limits.build.git`";
        table.problem("git_config", message, None);
    }
    Some(BuildLimits {
        images: images?,
        directories: directories.unwrap_or_default(),
        git: git.unwrap_or_default(),
        git_config,
        context_size,
    })
}

fn context_size(table: &mut Table<'_>) -> Memory {
    let size: Memory = table.optional("context_size").unwrap_or(DEFAULT_CONTEXT_SIZE);
    let (least, most) = CONTEXT_SIZE;
    if !(least..=most).contains(&size) {
        let message = format!("`{}` is {size}, allowed are {least} to {most}", table.full("context_size"));
        table.problem("context_size", &message, None);
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FILE: &str = "coordinator = 'https://coordinator.example:7443'\n";

    fn read(build: &str) -> Result<Option<BuildLimits>, String> {
        let config = config::read("agent.toml", &format!("{FILE}{build}"));
        config.map(|config| config.limits.build).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_node_builds_nothing_unless_it_is_said() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("[limits]\nallow_images = ['*']\n"), Ok(None));
    }

    #[test]
    fn what_may_be_built_is_read() {
        let least = "[limits.build]\nimages = ['r.example/*']\ndirectories = ['/srv/build']\n";
        let expect = BuildLimits {
            images: vec!["r.example/*".parse().expect("a pattern")],
            directories: vec!["/srv/build".parse().expect("a root")],
            git: vec![],
            git_config: None,
            context_size: Memory(2 << 30),
        };
        assert_eq!(read(least), Ok(Some(expect.clone())));
        let all = "[limits.build]\nimages = ['r.example/*']\ngit = ['https://git.example/']\ngit_config = 'git.conf'\n\
                   context_size = '512m'\n";
        let expect = BuildLimits {
            directories: vec![],
            git: vec!["https://git.example/".parse().expect("a prefix")],
            git_config: Some("git.conf".into()),
            context_size: Memory(512 << 20),
            ..expect
        };
        assert_eq!(read(all), Ok(Some(expect)));
    }

    #[test]
    fn every_problem_is_reported() {
        let mut all = String::new();
        for build in [
            "[limits.build]\n",
            "[limits.build]\nimages = []\ndirectories = []\ngit = []\n",
            "[limits.build]\nimages = ['Web']\ndirectories = ['srv', '/', '/srv/../etc']\ngit = ['git://x/', 'https://a:hunter2@x/']\n",
            "[limits.build]\nimages = ['*']\ndirectories = ['/srv']\ngit_config = 'x'\ncontext_size = '2t'\ndirectory = '/srv'\n",
            "[limits.build]\nimages = ['*']\ndirectories = ['/srv']\ncontext_size = '1k'\n",
            "[limits]\nbuild = true\n",
        ] {
            all += &format!("{}\n\n", read(build).expect_err(build));
        }
        assert!(!all.contains("hunter2"));
        insta::assert_snapshot!(all);
    }
}
