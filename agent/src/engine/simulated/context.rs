//! The context of a simulated build: an uncompressed tar, read for the names in it and for the Dockerfile.

use std::collections::BTreeMap;
use std::io;

use ring::digest::{Context as Hash, SHA256};
use tokio::io::AsyncReadExt as _;

use crate::engine::BuildContext;

/// A tar is made of blocks of this size.
const BLOCK_BYTES: usize = 512;
/// Longest Dockerfile or name that is read.
const TEXT_LIMIT_BYTES: u64 = 1 << 20;
/// Most entries that are remembered.
const ENTRY_LIMIT: usize = 100_000;

/// What a build knows of its files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Sizes in bytes, by path.
    sizes: BTreeMap<String, u64>,
    /// The Dockerfile, if it is there.
    pub(super) dockerfile: Option<String>,
    /// Stands for everything that was in it.
    pub(super) hash: String,
}

/// Why there are none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The reader failed.
    Broken(String),
    /// What it gave is no tar, in the engine's words.
    Malformed(&'static str),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Files {
    /// Reads a tar to its end and keeps only what is needed of it.
    pub(super) async fn read(mut context: BuildContext, dockerfile: &str) -> Result<Self, Unread> {
        let wanted = plain_path(dockerfile);
        let (mut files, mut hash) = (Self::default(), Hash::new(&SHA256));
        let mut long_name = None;
        while let Some(block) = next_block(&mut context).await? {
            hash.update(&block);
            if block.iter().all(|&byte| byte == 0) {
                continue;
            }
            let header = Header::of(&block).ok_or(Unread::Malformed("archive/tar: invalid tar header"))?;
            let is_name = matches!(header.kind, b'L' | b'x');
            let path = long_name.take().unwrap_or_else(|| plain_path(&header.path));
            let is_file = matches!(header.kind, 0 | b'0');
            let content = content(&mut context, header.size, is_name || is_file && path == wanted, &mut hash).await?;
            match header.kind {
                b'L' => long_name = content.map(|name| plain_path(name.trim_end_matches('\0'))),
                b'x' => long_name = content.and_then(|records| path_record(&records)),
                // Of the archive as a whole: `git archive` writes the commit here.
                b'g' => {}
                _ if files.sizes.len() < ENTRY_LIMIT => {
                    files.dockerfile = content.or(files.dockerfile);
                    files.sizes.insert(path, header.size);
                }
                _ => return Err(Unread::Malformed("archive/tar: too many entries for a simulated engine")),
            }
        }
        files.hash = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(files)
    }

    /// The size of a file, or of everything below a directory; `None` when there is neither.
    pub(super) fn size_of(&self, path: &str) -> Option<u64> {
        let path = plain_path(path);
        let below = format!("{path}/");
        let is_meant = |name: &str| path.is_empty() || name == path || name.starts_with(&below);
        let found: Vec<u64> = self.sizes.iter().filter(|(name, _)| is_meant(name)).map(|(_, size)| *size).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }
}

/// A path without `./`, `/` at its ends and the like.
fn plain_path(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

async fn next_block(context: &mut BuildContext) -> Result<Option<[u8; BLOCK_BYTES]>, Unread> {
    let mut block = [0; BLOCK_BYTES];
    let mut length = 0;
    while length < BLOCK_BYTES {
        match context.read(block.get_mut(length..).unwrap_or_default()).await? {
            0 if length == 0 => return Ok(None),
            0 => return Err(Unread::Malformed("Error processing tar file(exit status 1): unexpected EOF")),
            more => length += more,
        }
    }
    Ok(Some(block))
}

/// Reads an entry's content, and keeps it where it is wanted.
async fn content(context: &mut BuildContext, size: u64, keep: bool, hash: &mut Hash) -> Result<Option<String>, Unread> {
    if keep && size > TEXT_LIMIT_BYTES {
        return Err(Unread::Malformed("archive/tar: too long a text for a simulated engine"));
    }
    let (mut left, mut kept) = (size, Vec::new());
    while left > 0 {
        let block = next_block(context).await?;
        let block = block.ok_or(Unread::Malformed("Error processing tar file(exit status 1): unexpected EOF"))?;
        let used = usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let part = block.get(..used).unwrap_or_default();
        hash.update(part);
        if keep {
            kept.extend_from_slice(part);
        }
        left -= used as u64;
    }
    Ok(keep.then(|| String::from_utf8_lossy(&kept).into_owned()))
}

struct Header {
    path: String,
    size: u64,
    kind: u8,
}

impl Header {
    fn of(block: &[u8; BLOCK_BYTES]) -> Option<Self> {
        let text = |from: usize, length: usize| {
            let field = block.get(from..from + length).unwrap_or_default();
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
        };
        let number = |from, length| u64::from_str_radix(text(from, length).trim(), 8).ok();
        let checksum = number(148, 8)?;
        let counted = |(place, &byte): (usize, &u8)| u64::from(if (148..156).contains(&place) { b' ' } else { byte });
        if block.iter().enumerate().map(counted).sum::<u64>() != checksum {
            return None;
        }
        let prefix = if block.get(257..262) == Some(&b"ustar"[..]) { text(345, 155) } else { String::new() };
        Some(Self { path: format!("{prefix}/{}", text(0, 100)), size: number(124, 12)?, kind: *block.get(156)? })
    }
}

/// The path among the records of an extended header: `LENGTH path=…` and a line feed.
fn path_record(records: &str) -> Option<String> {
    records.lines().find_map(|record| record.split_once(' ')?.1.strip_prefix("path=").map(plain_path))
}

/// A tar of some files, for tests and rehearsals: paths of at most 100 bytes, plain files that can be executed.
#[must_use]
pub fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, content) in files {
        let mut header = [0_u8; BLOCK_BYTES];
        let size = format!("{:011o}\0", content.len());
        let fields: [(usize, &[u8]); 8] = [
            (0, path.as_bytes()),
            (100, b"0000755\0"),
            (108, b"0000000\0"),
            (116, b"0000000\0"),
            (124, size.as_bytes()),
            (136, b"00000000000\0"),
            (148, b"        0"),
            (257, b"ustar\x0000"),
        ];
        for (from, bytes) in fields {
            for (place, byte) in header.iter_mut().skip(from).zip(bytes) {
                *place = *byte;
            }
        }
        let checksum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        for (place, byte) in header.iter_mut().skip(148).zip(format!("{checksum:06o}\0 ").bytes()) {
            *place = byte;
        }
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK_BYTES, 0);
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(tar: Vec<u8>, dockerfile: &str) -> Result<Files, Unread> {
        Files::read(Box::new(io::Cursor::new(tar)), dockerfile).await
    }

    /// A tar with an entry of another kind before its one file.
    fn with_special(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut tar = tar_of(&[("special", content)]);
        tar[156] = kind;
        let sum: u64 = tar[..148].iter().chain(&tar[156..512]).map(|&byte| u64::from(byte)).sum::<u64>() + 8 * 32;
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.truncate(tar.len() - 2 * BLOCK_BYTES);
        tar.extend(tar_of(&[("name", b"FROM scratch\n")]));
        tar
    }

    #[tokio::test]
    async fn names_sizes_and_the_dockerfile_are_known() {
        let long = [b'x'; 1_300];
        let tar = tar_of(&[("./a/Dockerfile", b"FROM scratch\n"), ("a/b/c", &long), ("ab", b"")]);
        let files = read(tar.clone(), "/a/Dockerfile").await.expect("a tar");
        assert_eq!(files.dockerfile.as_deref(), Some("FROM scratch\n"));
        for (path, size) in [
            ("a/b/c", Some(1_300)),
            ("./a/", Some(1_313)),
            (".", Some(1_313)),
            ("ab", Some(0)),
            ("a/x", None),
            ("b", None),
        ] {
            assert_eq!(files.size_of(path), size, "{path}");
        }
        assert_eq!(read(tar, "Dockerfile").await.expect("a tar").dockerfile, None);
    }

    #[tokio::test]
    async fn long_names_and_the_headers_of_git_archive_are_read() {
        let long = format!("dir/{}", "n".repeat(200));
        let record = format!("  path={long}\n");
        let record = format!("{} path={long}\n", record.len() + 2);
        for (kind, content, path) in [
            (b'L', format!("{long}\0"), long.as_str()),
            (b'x', record, long.as_str()),
            (b'g', "52 comment=0123\n".to_owned(), "name"),
        ] {
            let files = read(with_special(kind, content.as_bytes()), path).await.expect("a tar");
            assert_eq!(files.dockerfile.as_deref(), Some("FROM scratch\n"), "{}", char::from(kind));
            assert_eq!(files.size_of("special"), None, "it is no file");
        }
    }

    #[tokio::test]
    async fn other_bytes_are_another_context() {
        let hash = async |content: &[u8]| read(tar_of(&[("a", content)]), "a").await.expect("a tar").hash;
        assert_ne!(hash(b"1").await, hash(b"2").await);
        assert_eq!(hash(b"1").await, hash(b"1").await);
    }

    #[tokio::test]
    async fn what_is_no_tar_is_told_in_the_engines_words() {
        let whole = tar_of(&[("Dockerfile", &[b' '; 600])]);
        for (bytes, expect) in [
            (vec![b'x'; 2_000], "archive/tar: invalid tar header"),
            (whole[..700].to_vec(), "Error processing tar file(exit status 1): unexpected EOF"),
            (whole[..1_024].to_vec(), "Error processing tar file(exit status 1): unexpected EOF"),
        ] {
            assert_eq!(read(bytes, "Dockerfile").await.map(|files| files.hash), Err(Unread::Malformed(expect)));
        }
    }
}
