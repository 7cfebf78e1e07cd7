//! The end of an output of unknown length.

use std::collections::VecDeque;

/// Keeps the last bytes of what is pushed.
#[derive(Debug)]
pub(crate) struct Tail {
    limit_bytes: usize,
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, bytes: VecDeque::new(), cut: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(self.limit_bytes);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// Whether something was cut off.
    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// What is kept. When something was cut off, the torn first line goes, too (unless it is the only one); what is no
    /// UTF-8 is replaced.
    pub(crate) fn into_text(self) -> String {
        self.text()
    }

    /// The same, while more may come.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let whole_lines = match bytes.iter().position(|&byte| byte == b'\n') {
            Some(end) if self.cut && end + 1 < bytes.len() => bytes.get(end + 1..).unwrap_or_default(),
            Some(_) | None => &bytes,
        };
        String::from_utf8_lossy(whole_lines).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_in_whole_lines() {
        for (limit_bytes, pushed, expect) in [
            (100, vec!["one\n", "two\n"], "one\ntwo\n"),
            (6, vec!["one\n", "two\n"], "two\n"),
            (4, vec!["one\n", "two\n"], "two\n"),
            (5, vec!["abcdefgh"], "defgh"),
            (0, vec!["abc"], ""),
        ] {
            let mut tail = Tail::new(limit_bytes);
            pushed.iter().for_each(|piece| tail.push(piece.as_bytes()));
            assert_eq!(tail.into_text(), expect, "{limit_bytes} {pushed:?}");
        }
    }
}
