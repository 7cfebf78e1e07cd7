//! Runs a program with a bounded output, and ends it with everything that it started when nobody waits for it any more.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::engine::tail::Tail;

/// Most of the output that is given back: it is for programs that answer in a line.
const ANSWER_LIMIT_BYTES: usize = 4_096;
/// How long the output is read on after the program has ended: something that it left behind may hold it open for ever.
const DRAIN: Duration = Duration::from_secs(1);

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The begin of what it wrote to its output.
    pub(super) answer: Vec<u8>,
}

/// Runs a program to its end; both outputs go to `log`. It has nothing to read. When this future is dropped, the program is
/// killed, and so is all that it started, unless that made a process group of its own.
///
/// # Errors
/// It cannot be started.
pub(super) async fn run(mut command: Command, log: &mut Tail) -> io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut answer = Vec::new();
    let status = {
        let drained = drain(stdout, stderr, log, &mut answer);
        tokio::pin!(drained);
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(DRAIN, drained).await;
                status?
            }
            () = &mut drained => child.wait().await?,
        }
    };
    // Its number is free for others from here on.
    group.0 = None;
    Ok(Ended { status, answer })
}

async fn drain(
    mut stdout: Option<impl AsyncRead + Unpin>,
    mut stderr: Option<impl AsyncRead + Unpin>,
    log: &mut Tail,
    answer: &mut Vec<u8>,
) {
    let (mut first, mut second) = ([0; 4_096], [0; 4_096]);
    while stdout.is_some() || stderr.is_some() {
        tokio::select! {
            Some(read) = next(&mut stdout, &mut first) => {
                let kept = read.len().min(ANSWER_LIMIT_BYTES - answer.len());
                answer.extend_from_slice(&read[..kept]);
                log.push(read);
            }
            Some(read) = next(&mut stderr, &mut second) => log.push(read),
            else => {}
        }
    }
}

/// What comes next; `None` at the end, after which the source is gone.
async fn next<'b>(source: &mut Option<impl AsyncRead + Unpin>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let read = source.as_mut()?.read(buffer).await.unwrap_or_default();
    if read == 0 {
        *source = None;
        return None;
    }
    Some(&buffer[..read])
}

/// A process group that is killed when it is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn both_outputs_are_logged_and_the_first_is_the_answer() {
        let mut log = Tail::new(100);
        let ended = run(shell("echo out; echo err >&2; read x || exit 3"), &mut log).await.unwrap();
        assert_eq!((ended.status.code(), ended.answer.as_slice()), (Some(3), b"out\n".as_slice()));
        let text = log.into_text();
        assert!(text == "out\nerr\n" || text == "err\nout\n", "{text}");
        let missing = run(Command::new("/no/such/program"), &mut Tail::new(1)).await.expect_err("missing");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_output_without_end_is_bounded() {
        let mut log = Tail::new(10);
        let ended =
            run(shell("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done"), &mut log).await.unwrap();
        assert_eq!((ended.answer.len(), log.into_text().as_str()), (ANSWER_LIMIT_BYTES, "line 4999\n"));
    }

    #[tokio::test]
    async fn what_was_left_behind_is_not_waited_for() {
        let ended = run(shell("sleep 30 & echo $!"), &mut Tail::new(10)).await.unwrap();
        assert!(ended.status.success());
        let left: i32 = String::from_utf8(ended.answer).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn dropping_it_ends_the_whole_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        // The inner shell holds a connection for as long as it lives.
        let script = format!(
            "(perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"{}\"); sleep 60') & wait",
            path.display()
        );
        let mut log = Tail::new(100);
        let running = run(shell(&script), &mut log);
        let (mut held, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            ended = running => panic!("{ended:?}"),
        };
        let ended = timeout(Duration::from_secs(10), held.read(&mut [0])).await.expect("the inner process lives on");
        assert_eq!(ended.unwrap(), 0);
    }
}
