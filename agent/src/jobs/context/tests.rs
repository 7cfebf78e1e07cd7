//! Contexts of real directories, read back from their archives.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::limits::build::DEFAULT_CONTEXT_SIZE;

/// More than is on its way between the thread and the reader: whoever has read a little of it has stopped the thread in it.
const LARGE_BYTES: usize = 2 << 20;

pub(super) fn limits(directories: &[&Path], git: &[&str]) -> BuildLimits {
    BuildLimits {
        images: vec!["*".parse().unwrap()],
        directories: directories.iter().map(|path| path.to_str().unwrap().parse().unwrap()).collect(),
        git: git.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        git_config: None,
        context_size: DEFAULT_CONTEXT_SIZE,
    }
}

/// A directory with these files; those with a `/` at the end are directories.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let place = root.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, content).unwrap();
        }
    }
    root
}

async fn open(root: &TempDir) -> Result<Context, Error> {
    open_with(&limits(&[root.path()], &[]), root.path(), "Dockerfile").await
}

async fn open_with(limits: &BuildLimits, path: &Path, dockerfile: &str) -> Result<Context, Error> {
    let allowed = limits.judge_directory(path.to_str().unwrap())?;
    Context::of_directory(limits, &allowed, dockerfile).await
}

pub(super) async fn bytes(context: Context) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match context.into_tar().read_to_end(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// What is in an archive: path, and `dir`, `-> target` or the content, in the order of the archive.
pub(super) fn entries(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let kind = entry.header().entry_type();
        let what = if kind.is_dir() {
            "dir".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", entry.link_name().unwrap().unwrap().display())
        } else {
            std::io::read_to_string(&mut entry).unwrap()
        };
        (path, what)
    };
    archive.entries().unwrap().map(read).collect()
}

async fn sent(root: &TempDir) -> Vec<(String, String)> {
    entries(&bytes(open(root).await.unwrap()).await.unwrap())
}

async fn paths(root: &TempDir) -> Vec<String> {
    sent(root).await.into_iter().map(|(path, _)| path).collect()
}

fn pairs(expect: &[(&str, &str)]) -> Vec<(String, String)> {
    expect.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect()
}

#[tokio::test]
async fn a_directory_is_sent_in_the_order_of_its_names() {
    let root = tree(&[
        ("b", "2"),
        ("Dockerfile", "FROM scratch"),
        ("a/x", ""),
        ("a/y/z", "3"),
        ("c/", ""),
        (".git/HEAD", "ref"),
    ]);
    let deep = format!("{}/{}", "d".repeat(90), "f".repeat(200));
    fs::create_dir(root.path().join("d".repeat(90))).unwrap();
    fs::write(root.path().join(&deep), "long").unwrap();
    let expect = [
        (".git", "dir"),
        (".git/HEAD", "ref"),
        ("Dockerfile", "FROM scratch"),
        ("a", "dir"),
        ("a/x", ""),
        ("a/y", "dir"),
        ("a/y/z", "3"),
        ("b", "2"),
        ("c", "dir"),
        (&"d".repeat(90), "dir"),
        (&deep, "long"),
    ];
    assert_eq!(sent(&root).await, pairs(&expect));
    let twice = [bytes(open(&root).await.unwrap()).await.unwrap(), bytes(open(&root).await.unwrap()).await.unwrap()];
    assert!(twice[0] == twice[1], "the same directory gives the same bytes");
}

#[tokio::test]
async fn names_are_bytes() {
    let root = tree(&[("Dockerfile", ""), (".dockerignore", "?x")]);
    let names: [&[u8]; 4] = [b"\xff", b"\xffx", b"a\nb", b"a\\b"];
    names.iter().for_each(|name| fs::write(root.path().join(OsStr::from_bytes(name)), "").unwrap());
    let bytes = bytes(open(&root).await.unwrap()).await.unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let found: Vec<Vec<u8>> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    let expect: [&[u8]; 5] = [b".dockerignore", b"Dockerfile", b"a\nb", b"a\\b", b"\xff"];
    assert_eq!(found, expect);
}

#[tokio::test]
async fn permissions_and_times_are_kept_and_owners_are_not() {
    let root = tree(&[("Dockerfile", ""), ("run.sh", "#!/bin/sh"), ("d/", "")]);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (name, mode) in [("Dockerfile", 0o640), ("run.sh", 0o4755), ("d", 0o1700)] {
        let path = root.path().join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        File::open(&path).unwrap().set_modified(then).unwrap();
    }
    // Only root can give a file away; for others it is their own already.
    let _ = std::os::unix::fs::chown(root.path().join("run.sh"), Some(1234), Some(1234));
    let _ = fs::set_permissions(root.path().join("run.sh"), Permissions::from_mode(0o4755));
    let bytes = bytes(open(&root).await.unwrap()).await.unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let facts = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let entry = entry.unwrap();
        let header = entry.header();
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.mtime().unwrap(), owner)
    };
    let found: Vec<_> = archive.entries().unwrap().map(facts).collect();
    let expect = [("Dockerfile", 0o640), ("d", 0o1700), ("run.sh", 0o4755)];
    assert_eq!(found, expect.map(|(name, mode)| (name.to_owned(), mode, 1_000_000_000, (0, 0))));
}

#[tokio::test]
async fn links_are_sent_as_they_are_and_never_followed() {
    let outside = tree(&[("secret", "hunter2"), ("d/secret", "hunter2")]);
    let root = tree(&[("Dockerfile", "")]);
    let long = format!("/{}", "x".repeat(300));
    let targets = [
        ("a", outside.path().join("secret").display().to_string()),
        ("b", outside.path().display().to_string()),
        ("c", "../../etc/passwd".to_owned()),
        ("d", "/proc/self/root".to_owned()),
        ("e", "gone".to_owned()),
        ("f", long),
        ("g", "./x/../y".to_owned()),
    ];
    targets.iter().for_each(|(name, target)| symlink(target, root.path().join(name)).unwrap());
    let bytes = bytes(open(&root).await.unwrap()).await.unwrap();
    let links = targets.iter().map(|(name, target)| ((*name).to_owned(), format!("-> {target}")));
    let expect: Vec<_> = pairs(&[("Dockerfile", "")]).into_iter().chain(links).collect();
    assert_eq!(entries(&bytes), expect);
    assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));
}

#[tokio::test]
async fn what_is_neither_file_nor_directory_nor_link_is_left_out() {
    let root = tree(&[("Dockerfile", ""), ("z", "")]);
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    // Opening it would wait for a writer.
    rustix::fs::mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    assert_eq!(paths(&root).await, ["Dockerfile", "z"]);
}

#[tokio::test]
async fn what_is_ignored_is_not_sent_and_what_is_taken_back_brings_its_directories() {
    let files = [("Dockerfile", ""), ("a/b/keep", ""), ("a/b/x", ""), ("a/c/x", ""), ("m/x", ""), ("z/keep", "")];
    for (ignore, expect) in [
        ("m\na", vec![".dockerignore", "Dockerfile", "z", "z/keep"]),
        ("**\n", vec![".dockerignore", "Dockerfile"]),
        ("*\n!a/b/keep", vec![".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep"]),
        ("*\n!**/keep", vec![".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep", "z", "z/keep"]),
        ("a/*/x\nm", vec![".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep", "a/c", "z", "z/keep"]),
    ] {
        let root = tree(&files);
        fs::write(root.path().join(".dockerignore"), ignore).unwrap();
        assert_eq!(paths(&root).await, expect, "{ignore}");
    }
}

#[tokio::test]
async fn a_dockerfile_may_have_its_own_list_of_what_is_ignored() {
    let root = tree(&[
        ("ci/Dockerfile", ""),
        ("ci/Dockerfile.dockerignore", "*"),
        (".dockerignore", "y"),
        ("x", ""),
        ("y", ""),
    ]);
    let context = open_with(&limits(&[root.path()], &[]), root.path(), "ci/Dockerfile").await.unwrap();
    let sent: Vec<String> = entries(&bytes(context).await.unwrap()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(sent, ["ci", "ci/Dockerfile", "ci/Dockerfile.dockerignore"]);
}

#[tokio::test]
async fn a_place_that_is_no_context_is_refused_before_anything_is_sent() {
    let root =
        tree(&[("Dockerfile", ""), ("file", ""), ("bad/Dockerfile", ""), ("bad/.dockerignore", "x\n["), ("none/", "")]);
    symlink("/etc", root.path().join("etc")).unwrap();
    symlink("bad", root.path().join("link")).unwrap();
    fs::create_dir(root.path().join("linked")).unwrap();
    fs::write(root.path().join("linked/Dockerfile"), "").unwrap();
    symlink("/etc/hostname", root.path().join("linked/.dockerignore")).unwrap();
    for (directory, dockerfile, expect) in [
        ("gone", "Dockerfile", "cannot open the context `ROOT/gone`: No such file or directory (os error 2)"),
        ("file", "Dockerfile", "cannot open the context `ROOT/file`: Not a directory (os error 20)"),
        (
            "etc",
            "hostname",
            "`ROOT/etc (in fact /etc)` is no context for builds on this node: not allowed; hint: see `limits.build.directories` in \
             its agent's configuration",
        ),
        (
            "none",
            "Dockerfile",
            "cannot use `Dockerfile` of the context as its Dockerfile: No such file or directory (os error 2)",
        ),
        ("", "none", "cannot use `none` of the context as its Dockerfile: it is no file"),
        (
            "",
            "link/Dockerfile",
            "cannot use `link/Dockerfile` of the context as its Dockerfile: Not a directory (os error 20)",
        ),
        (
            "none",
            "../Dockerfile",
            "`../Dockerfile` cannot be used as `dockerfile`, allowed is a path inside the context without `.` and `..`",
        ),
        (
            "",
            "/etc/hostname",
            "`/etc/hostname` cannot be used as `dockerfile`, allowed is a path inside the context without `.` and `..`",
        ),
        ("", "-f", "`-f` cannot be used as `dockerfile`, allowed is a path inside the context without `.` and `..`"),
        ("", "", "`` cannot be used as `dockerfile`, allowed is a path inside the context without `.` and `..`"),
        (
            "bad",
            "Dockerfile",
            "`.dockerignore` of the context is not understood: line 2 is no pattern: a `[` is not closed, or has nothing in it",
        ),
        (
            "linked",
            "Dockerfile",
            "cannot read `.dockerignore` of the context: Too many levels of symbolic links (os error 40)",
        ),
    ] {
        let opened = open_with(&limits(&[root.path()], &[]), &root.path().join(directory), dockerfile).await;
        let error = opened.expect_err(directory).to_string();
        assert_eq!(error.replace(root.path().to_str().unwrap(), "ROOT"), expect);
    }
}

#[tokio::test]
async fn a_root_that_is_a_link_itself_holds_for_where_it_leads() {
    let place = tree(&[("real/web/Dockerfile", ""), ("other/Dockerfile", "")]);
    symlink("real", place.path().join("allowed")).unwrap();
    symlink("../other", place.path().join("real/out")).unwrap();
    let limits = limits(&[&place.path().join("allowed")], &[]);
    open_with(&limits, &place.path().join("allowed/web"), "Dockerfile").await.unwrap();
    let out = open_with(&limits, &place.path().join("allowed/out"), "Dockerfile").await.expect_err("it leads out");
    assert!(matches!(out, Error::Refused(Refusal::Directory { .. })), "{out}");
}

/// Opens a context, reads its begin so that the thread stands in the middle of `large`, lets `change` happen, and reads on.
async fn disturbed(files: &[(&str, &str)], change: impl FnOnce(&Path)) -> Result<Vec<u8>, String> {
    let root = tree(files);
    fs::write(root.path().join("large"), vec![b'x'; LARGE_BYTES]).unwrap();
    let mut stream = open(&root).await.unwrap().into_tar();
    let mut bytes = vec![0; 10_000];
    stream.read_exact(&mut bytes).await.unwrap();
    change(root.path());
    match stream.read_to_end(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
            assert!(zeros < 1_024, "what was sent looks like a whole archive");
            Err(error.to_string())
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_an_error() {
    let files = [("Dockerfile", ""), ("z", "z")];
    let shrunk = disturbed(&files, |root| {
        File::options().write(true).open(root.join("large")).unwrap().set_len(1 << 20).unwrap()
    });
    assert_eq!(shrunk.await, Err("`large` of the context shrank while it was read".into()));
    let grown = disturbed(&files, |root| {
        let mut large = File::options().append(true).open(root.join("large")).unwrap();
        large.write_all(b"more").unwrap();
    });
    assert_eq!(grown.await, Err("`large` of the context grew while it was read".into()));
    let gone = disturbed(&files, |root| fs::remove_file(root.join("z")).unwrap());
    assert_eq!(gone.await, Err("cannot look at `z` of the context: No such file or directory (os error 2)".into()));
    let moved = disturbed(&files, |root| fs::rename(root.join("large"), root.join("other")).unwrap());
    assert_eq!(entries(&moved.await.unwrap()).len(), 3, "a file that is open is read to its end");
}

#[tokio::test]
async fn what_is_exchanged_for_a_link_in_the_midst_leads_nowhere() {
    let outside = tree(&[("secret", "hunter2")]);
    let sent = disturbed(&[("Dockerfile", ""), ("z/secret", "own")], |root| {
        fs::remove_dir_all(root.join("z")).unwrap();
        symlink(outside.path(), root.join("z")).unwrap();
    });
    let found: BTreeMap<String, String> = entries(&sent.await.unwrap()).into_iter().collect();
    assert_eq!(found.get("z").map(String::as_str), Some(format!("-> {}", outside.path().display()).as_str()));
    // The root itself: it stays the directory that was judged.
    let root = tree(&[("Dockerfile", "own")]);
    let context = open(&root).await.unwrap();
    fs::rename(root.path(), root.path().with_extension("away")).unwrap();
    symlink(outside.path(), root.path()).unwrap();
    assert_eq!(entries(&bytes(context).await.unwrap()), pairs(&[("Dockerfile", "own")]));
    fs::remove_file(root.path()).unwrap();
    fs::rename(root.path().with_extension("away"), root.path()).unwrap();
}

#[tokio::test]
async fn a_context_beyond_its_limits_is_an_error() {
    let root = tree(&[("Dockerfile", "")]);
    let mut limits = limits(&[root.path()], &[]);
    limits.context_size = Memory(1 << 20);
    File::create(root.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
    let context = open_with(&limits, root.path(), "Dockerfile").await.unwrap();
    let error = bytes(context).await.expect_err("a terabyte");
    assert!(error.starts_with("the context is larger than 1m; hint: "), "{error}");

    let root = tree(&[("Dockerfile", "")]);
    let deep = root.path().join("d/".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let error = bytes(open(&root).await.unwrap()).await.expect_err("too deep");
    assert!(error.ends_with("is more than 128 directories deep"), "{error}");
}

#[tokio::test]
async fn an_error_never_ends_an_archive_wherever_it_comes() {
    // The end of an archive is two empty blocks: one of these sizes makes them the last of a piece.
    let root = tree(&[("Dockerfile", "")]);
    fs::create_dir_all(root.path().join("d/".repeat(200))).unwrap();
    for blocks in 0..128 {
        fs::write(root.path().join("a"), vec![b'x'; blocks * 512]).unwrap();
        let mut sent = Vec::new();
        open(&root).await.unwrap().into_tar().read_to_end(&mut sent).await.expect_err("too deep");
        let zeros = sent.iter().rev().take_while(|byte| **byte == 0).count();
        assert!(zeros < 1_024, "with {blocks} blocks before it, what was sent looks like a whole archive");
    }
}

#[tokio::test]
async fn too_many_entries_are_an_error() {
    let root = tree(&[("Dockerfile", ""), ("d/", "")]);
    let directory = root.path().join("d");
    let first = directory.join("first");
    fs::write(&first, "").unwrap();
    // Names of one file: the quickest way to many entries. A file system may allow 65,000 of one.
    for number in 0..archive::ENTRY_LIMIT {
        if number % 60_000 == 0 {
            fs::write(directory.join(format!("file-{number}")), "").unwrap();
        }
        let file = directory.join(format!("file-{}", number - number % 60_000));
        fs::hard_link(file, directory.join(number.to_string())).unwrap();
    }
    let error = bytes(open(&root).await.unwrap()).await.expect_err("too many");
    assert!(error.starts_with("the context has more than 200000 entries; hint: "), "{error}");
}

#[tokio::test]
async fn a_file_that_another_user_keeps_for_himself_is_an_error_not_a_gap() {
    let root = tree(&[("Dockerfile", ""), ("secret", "x")]);
    fs::set_permissions(root.path().join("secret"), Permissions::from_mode(0o000)).unwrap();
    let sent = bytes(open(&root).await.unwrap()).await;
    if rustix::process::geteuid().is_root() {
        assert_eq!(entries(&sent.unwrap()), pairs(&[("Dockerfile", ""), ("secret", "x")]), "root reads everything");
    } else {
        assert_eq!(sent, Err("cannot open `secret` of the context: Permission denied (os error 13)".into()));
    }
}
