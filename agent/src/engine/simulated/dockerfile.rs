//! A Dockerfile as a simulated engine reads it: the instructions that tests need. Any other is a failed build.

use std::collections::BTreeMap;

use serde_json::Value;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    /// In upper case.
    pub(super) word: String,
    /// What follows it, continued lines put together.
    pub(super) rest: String,
}

/// The instructions that are known.
const KNOWN: [&str; 13] = [
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "RUN",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile.
///
/// # Errors
/// In the engine's words.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Instruction>, String> {
    let (mut found, mut open) = (Vec::new(), String::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            open.push_str(continued);
            continue;
        }
        open.push_str(line);
        let whole = std::mem::take(&mut open);
        let (word, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let error = |what: String| format!("dockerfile parse error line {}: {what}", number + 1);
        let word = word.to_ascii_uppercase();
        if !KNOWN.contains(&word.as_str()) {
            return Err(error(format!("unknown instruction: {word}")));
        }
        if rest.trim().is_empty() {
            return Err(error(format!("{word} requires at least one argument")));
        }
        found.push(Instruction { word, rest: rest.trim().to_owned() });
    }
    if text.trim().is_empty() {
        return Err(format!("the Dockerfile ({name}) cannot be empty"));
    }
    match found.iter().find(|instruction| instruction.word != "ARG") {
        None => Err("failed to parse Dockerfile: file with no instructions".to_owned()),
        Some(first) if first.word != "FROM" => {
            Err(format!("dockerfile parse error line 1: no build stage in current context: {}", first.word))
        }
        Some(_) => Ok(found),
    }
}

/// Puts the values of `$NAME` and `${NAME}` into a text; a name without a value is nothing.
pub(super) fn substituted(text: &str, values: &BTreeMap<String, String>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, behind) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        if name.is_empty() {
            out.push('$');
        } else {
            out.push_str(values.get(name).map_or("", String::as_str));
        }
        rest = behind;
    }
    out + rest
}

/// The words of a text; quotes keep blanks together.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => found.extend(word.take()),
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    found.extend(word);
    found
}

/// `K=V` pairs, or the old form `K V`.
pub(super) fn pairs(rest: &str) -> Vec<(String, String)> {
    let words = words(rest);
    match words.as_slice() {
        [key, values @ ..] if !key.contains('=') => vec![(key.clone(), values.join(" "))],
        _ => words.iter().filter_map(|word| word.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
    }
}

/// A command in its JSON form, or for a shell.
pub(super) fn command(rest: &str) -> Vec<String> {
    json_words(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

/// `["a", "b"]`.
pub(super) fn json_words(rest: &str) -> Option<Vec<String>> {
    let list: Value = serde_json::from_str(rest).ok()?;
    list.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_over_comments_and_continued_lines() {
        let text = "# syntax\nARG BASE\nfrom $BASE as web\n\nLABEL a=b \\\n  # between\n  c=\"d e\"\n";
        let found = parse("Dockerfile", text).expect("good");
        let plain: Vec<_> = found.iter().map(|found| (found.word.as_str(), found.rest.as_str())).collect();
        assert_eq!(plain, [("ARG", "BASE"), ("FROM", "$BASE as web"), ("LABEL", "a=b c=\"d e\"")]);
        assert_eq!(pairs("a=b c=\"d e\""), [("a".into(), "b".into()), ("c".into(), "d e".into())]);
        assert_eq!(pairs("PATH /bin"), [("PATH".into(), "/bin".into())]);
    }

    #[test]
    fn what_is_no_dockerfile_is_refused_in_the_engines_words() {
        for (text, expect) in [
            ("FROM scratch\nFOO x\n", "dockerfile parse error line 2: unknown instruction: FOO"),
            ("FROM\n", "dockerfile parse error line 1: FROM requires at least one argument"),
            ("", "the Dockerfile (Dockerfile) cannot be empty"),
            ("# nothing\n", "failed to parse Dockerfile: file with no instructions"),
            ("RUN true\n", "dockerfile parse error line 1: no build stage in current context: RUN"),
        ] {
            assert_eq!(parse("Dockerfile", text), Err(expect.to_owned()));
        }
    }

    #[test]
    fn values_are_put_in() {
        let values = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
        for (text, expect) in [("$A-${A}b $B.", "x-xb ."), ("1 $ 2 ${A", "1 $ 2 ${A"), ("plain", "plain")] {
            assert_eq!(substituted(text, &values), expect);
        }
    }

    #[test]
    fn commands_have_two_forms() {
        assert_eq!(command(r#"["serve", "-p"]"#), ["serve", "-p"]);
        assert_eq!(command("serve -p"), ["/bin/sh", "-c", "serve -p"]);
    }
}
