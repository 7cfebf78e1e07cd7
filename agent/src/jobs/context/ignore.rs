//! `.dockerignore`: which entries of a context are not sent.
//!
//! Docker's rules: patterns are anchored at the root and match whole paths; what a pattern matches goes with all below it; the
//! last pattern that fits decides, and one that begins with `!` takes back. `*`, `?`, `[a-z]` and `\` are those of Go's
//! `filepath.Match` and stay inside one name; `**` stands for any number of directories. Matching takes time in
//! proportion to pattern and path, whatever they are.

use std::path::Path;

/// Most patterns: each is compared with each entry.
const PATTERN_LIMIT: usize = 1_000;
/// Longest pattern: as long as the longest path it could mean.
const PATTERN_LIMIT_BYTES: usize = 4_096;

/// What is not sent.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

/// What is wrong with the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidIgnore {
    /// A line is no pattern.
    #[error("line {line} is no pattern: {reason}")]
    Pattern {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Too many lines.
    #[error("more than {PATTERN_LIMIT} patterns")]
    TooMany,
}

#[derive(Debug)]
struct Pattern {
    /// It takes back what others ignore.
    exception: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// `?`: any character but `/`.
    One,
    /// `[a-z]`, `[^a]`: one of these, or none of these; never `/`.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// `*`: any text without `/`.
    Name,
    /// `**/`: any number of directories, none, too.
    Directories,
    /// `**` at the end: whatever follows.
    Rest,
}

/// What became of one entry; those below it are judged with it.
#[derive(Debug)]
pub(super) struct Verdict {
    /// It is not sent.
    pub(super) ignored: bool,
    /// Which patterns matched it or a directory above it.
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads the file. `sent` are paths from the root that are sent whatever it says.
    pub(super) fn read(text: &str, sent: &[&str]) -> Result<Self, InvalidIgnore> {
        let mut patterns = Vec::new();
        for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            if let Some(pattern) =
                Pattern::of_line(line).map_err(|reason| InvalidIgnore::Pattern { line: index + 1, reason })?
            {
                patterns.push(pattern);
            }
            if patterns.len() > PATTERN_LIMIT {
                return Err(InvalidIgnore::TooMany);
            }
        }
        let literal = |path: &&str| Pattern { exception: true, tokens: path.chars().map(Token::Char).collect() };
        if !patterns.is_empty() {
            patterns.extend(sent.iter().map(literal));
        }
        Ok(Self { patterns })
    }

    /// The root itself, which is always sent.
    pub(super) fn root(&self) -> Verdict {
        Verdict { ignored: false, matched: vec![false; self.patterns.len()] }
    }

    /// Whether an entry is sent, from its path below the root and what became of the directory that it is in.
    pub(super) fn judge(&self, path: &Path, parent: &Verdict) -> Verdict {
        let text: Vec<char> = path.to_string_lossy().chars().collect();
        let known = self.patterns.iter().zip(&parent.matched);
        let matched: Vec<bool> = known.map(|(pattern, above)| *above || matches(&pattern.tokens, &text)).collect();
        let mut ignored = false;
        for (pattern, matched) in self.patterns.iter().zip(&matched) {
            if *matched {
                ignored = !pattern.exception;
            }
        }
        Verdict { ignored, matched }
    }

    /// Whether something below an ignored directory may be taken back: else nobody has to look into it.
    pub(super) fn may_take_back_below(&self, directory: &Path) -> bool {
        let below: Vec<char> = format!("{}/", directory.to_string_lossy()).chars().collect();
        let may = |pattern: &Pattern| {
            let fixed =
                pattern.tokens.iter().map_while(|token| if let Token::Char(char) = token { Some(*char) } else { None });
            let fixed: Vec<char> = fixed.collect();
            let open = fixed.len() < pattern.tokens.len();
            fixed.starts_with(&below) || (open && below.starts_with(&fixed))
        };
        self.patterns.iter().any(|pattern| pattern.exception && may(pattern))
    }
}

impl Pattern {
    /// A line of the file; `None` for one that says nothing.
    fn of_line(line: &str) -> Result<Option<Self>, &'static str> {
        if line.starts_with('#') {
            return Ok(None);
        }
        let line = line.trim();
        if line.len() > PATTERN_LIMIT_BYTES {
            return Err("it is too long");
        }
        let (exception, text) = match line.strip_prefix('!') {
            Some(text) => (true, text.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return if exception { Err("nothing follows the `!`") } else { Ok(None) };
        }
        Ok(Some(Self { exception, tokens: tokens(&cleaned(text))? }))
    }
}

/// Without `.`, `..`, slashes that say nothing, and the one at the begin: every pattern is meant from the root.
fn cleaned(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            // Nothing is above the root.
            ".." if text.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

fn tokens(text: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                let _ = chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Directories }
            }
            '*' => Token::Name,
            '?' => Token::One,
            '[' => class(&mut chars)?,
            '\\' => Token::Char(chars.next().ok_or("nothing follows the `\\`")?),
            _ => Token::Char(char),
        });
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "a `[` is not closed, or has nothing in it";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let bound = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        Some('\\') => chars.next().ok_or(OPEN),
        None | Some('-' | ']') => Err(OPEN),
        Some(char) => Ok(char),
    };
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let first = bound(chars)?;
        let last = if chars.next_if_eq(&'-').is_some() { bound(chars)? } else { first };
        ranges.push((first, last));
    }
    Ok(Token::Class { negated, ranges })
}

/// Whether the tokens match the whole text: for each token in turn, at which places the text may go on after it.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let mut places = vec![false; text.len() + 1];
    places[0] = true;
    for token in tokens {
        places = after(token, &places, text);
        if !places.contains(&true) {
            return false;
        }
    }
    places[text.len()]
}

fn after(token: &Token, before: &[bool], text: &[char]) -> Vec<bool> {
    let mut places = vec![false; before.len()];
    let one = |fits: &dyn Fn(char) -> bool, places: &mut Vec<bool>| {
        for (index, char) in text.iter().enumerate() {
            places[index + 1] = before[index] && fits(*char);
        }
    };
    match token {
        Token::Char(wanted) => one(&|char| char == *wanted, &mut places),
        Token::One => one(&|char| char != '/', &mut places),
        Token::Class { negated, ranges } => {
            let within = |char| ranges.iter().any(|(first, last)| (*first..=*last).contains(&char));
            one(&|char| char != '/' && within(char) != *negated, &mut places);
        }
        Token::Name => {
            let mut running = false;
            for index in 0..places.len() {
                running = before[index] || (running && text[index - 1] != '/');
                places[index] = running;
            }
        }
        Token::Directories | Token::Rest => {
            let mut begun = false;
            for index in 0..places.len() {
                let stop = *token == Token::Rest || (index > 0 && text[index - 1] == '/');
                places[index] = before[index] || (begun && stop);
                begun |= before[index];
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges a path as the walk does: each directory above it first.
    fn ignored(file: &str, path: &str) -> bool {
        let ignore =
            Ignore::read(file, &["Dockerfile", ".dockerignore"]).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let mut verdict = ignore.root();
        let above: Vec<&Path> = Path::new(path).ancestors().filter(|path| *path != Path::new("")).collect();
        for path in above.into_iter().rev() {
            if verdict.ignored && !ignore.may_take_back_below(path.parent().expect("it is below another")) {
                return true;
            }
            verdict = ignore.judge(path, &verdict);
        }
        verdict.ignored
    }

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (file, yes, no) in [
            ("", vec![], vec!["a", "Dockerfile"]),
            ("# a\n\n  \n", vec![], vec!["a", "# a"]),
            (" # a", vec!["# a"], vec!["a"]),
            ("a", vec!["a", "a/b", "a/b/c"], vec!["b/a", "ab", "A"]),
            ("\u{feff}a\r\n", vec!["a"], vec!["b"]),
            ("/a", vec!["a", "a/b"], vec!["b/a"]),
            ("./a//b/", vec!["a/b", "a/b/c"], vec!["a", "b"]),
            ("a/../b", vec!["b"], vec!["a", "a/b"]),
            ("/../b", vec!["b"], vec!["a/b"]),
            ("../b", vec![], vec!["b"]),
            (".", vec![], vec!["a"]),
            ("/", vec![], vec!["a"]),
            ("*", vec!["a", "a/b"], vec!["Dockerfile", ".dockerignore"]),
            ("*/temp*", vec!["x/temporary.txt", "x/temp", "x/temp/y"], vec!["temp", "x/y/temp"]),
            ("*/*/temp*", vec!["x/y/temp"], vec!["x/temp", "x/y/z/temp"]),
            ("temp?", vec!["tempa", "tempa/x"], vec!["temp", "tempab", "temp/x"]),
            ("**/*.go", vec!["a.go", "x/a.go", "x/y/a.go"], vec!["a.goo", "x/a"]),
            ("**", vec!["a", "a/b"], vec!["Dockerfile"]),
            ("a/**", vec!["a/b", "a/b/c"], vec!["a", "ab"]),
            ("a/**/z", vec!["a/z", "a/b/z", "a/b/c/z"], vec!["az", "a/bz", "z"]),
            ("**/node_modules", vec!["node_modules/x", "a/node_modules/x"], vec!["my_node_modules"]),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x"]),
            ("[^a-c]x", vec!["dx"], vec!["ax"]),
            ("a[^b]c", vec!["axc"], vec!["a/c"]),
            ("[a\\]]", vec!["a", "]"], vec!["\\"]),
            ("\\*", vec!["*"], vec!["a"]),
            ("a.b+(c)|{d}$", vec!["a.b+(c)|{d}$"], vec!["axb"]),
            ("ä?", vec!["äö"], vec!["ä"]),
        ] {
            yes.iter().for_each(|path| assert!(ignored(file, path), "{file:?} does not ignore {path}"));
            no.iter().for_each(|path| assert!(!ignored(file, path), "{file:?} ignores {path}"));
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        for (file, yes, no) in [
            ("*.md\n!README.md", vec!["a.md"], vec!["README.md"]),
            ("*.md\n!README*.md\nREADME-secret.md", vec!["a.md", "README-secret.md"], vec!["README.md"]),
            ("*.md\nREADME-secret.md\n!README*.md", vec!["a.md"], vec!["README-secret.md"]),
            ("!a\na", vec!["a"], vec![]),
            ("a\n! a", vec![], vec!["a"]),
            ("a\n!a/b", vec!["a", "a/c"], vec!["a/b", "a/b/c"]),
            ("a\n!a/b/c", vec!["a", "a/b", "a/b/d"], vec!["a/b/c"]),
            ("a\n!**/*.md", vec!["a/b/x"], vec!["a/b/x.md"]),
            ("a\n!a/*/c", vec!["a/b"], vec!["a/b/c"]),
            ("a/b\n!a", vec![], vec!["a/b"]),
            ("a\n!b/c", vec!["a/c"], vec!["b/c"]),
            ("*\n!src\nsrc/x", vec!["y", "src/x"], vec!["src", "src/y", "Dockerfile"]),
            ("Dockerfile\n.dockerignore\nDockerfile", vec![], vec!["Dockerfile", ".dockerignore"]),
        ] {
            yes.iter().for_each(|path| assert!(ignored(file, path), "{file:?} does not ignore {path}"));
            no.iter().for_each(|path| assert!(!ignored(file, path), "{file:?} ignores {path}"));
        }
    }

    #[test]
    fn nobody_looks_into_a_directory_from_which_nothing_comes_back() {
        for (file, directory, expect) in [
            ("a", "a", false),
            ("a\n!b", "a", false),
            ("a\n!ab", "a", false),
            ("a\n!a/b", "a", true),
            ("a\n!a/b", "a/c", false),
            ("a\n!a/b/c", "a/b", true),
            ("a\n!**/b", "a", true),
            ("a\n!a*/b", "a", true),
            ("a\n!b*/b", "a", false),
        ] {
            let ignore = Ignore::read(file, &[]).expect(file);
            assert_eq!(ignore.may_take_back_below(Path::new(directory)), expect, "{file:?} {directory}");
        }
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        for (file, line, reason) in [
            ("a\n!", 2, "nothing follows the `!`"),
            ("[a", 1, "a `[` is not closed, or has nothing in it"),
            ("[]", 1, "a `[` is not closed, or has nothing in it"),
            ("[a-]", 1, "a `[` is not closed, or has nothing in it"),
            ("[^", 1, "a `[` is not closed, or has nothing in it"),
            ("#\n\na\\", 3, "nothing follows the `\\`"),
            (&"x".repeat(PATTERN_LIMIT_BYTES + 1), 1, "it is too long"),
        ] {
            assert_eq!(Ignore::read(file, &[]).expect_err(file), InvalidIgnore::Pattern { line, reason });
        }
        assert_eq!(Ignore::read(&"x\n".repeat(PATTERN_LIMIT + 1), &[]).expect_err("many"), InvalidIgnore::TooMany);
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let path = "a".repeat(4_000);
        for pattern in
            [format!("{}b", "*a".repeat(200)), format!("{}b", "**/".repeat(200)), format!("{}b", "*".repeat(501))]
        {
            assert!(!ignored(&pattern, &path), "{pattern}");
        }
    }
}
