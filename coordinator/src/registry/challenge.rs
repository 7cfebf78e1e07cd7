//! The `WWW-Authenticate` header: what a registry asks for when it answers 401.

/// Longest header that is read, in bytes: real ones have about 200.
const LIMIT_BYTES: usize = 4096;

/// What the registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password.
    Basic,
    /// A token that another server gives out.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
}

/// The best of several challenges: a bearer token tells the registry less than a password.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<_> = headers.filter_map(parse).collect();
    challenges.iter().find(|one| **one != Challenge::Basic).or(challenges.first()).cloned()
}

fn parse(header: &str) -> Option<Challenge> {
    if header.len() > LIMIT_BYTES {
        return None;
    }
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest;
    while let Some((key, value, after)) = parameter(rest) {
        match key.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            // The scope is our own: to read what we ask for, and nothing else.
            _ => {}
        }
        rest = after;
    }
    realm.map(|realm| Challenge::Bearer { realm, service })
}

/// The first `key="value"` or `key=value`, and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.trim_start_matches([' ', ',']).split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        return Some((key.trim(), rest[..end].to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((key.trim(), value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn challenges_read_as_registries_write_them() {
        for (headers, expect) in [
            (
                vec![
                    r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#,
                ],
                bearer("https://auth.example/token", Some("r.example")),
            ),
            (
                vec![r#"bearer service=r , realm="https://a/t?x=\"y\"&z=1""#],
                bearer(r#"https://a/t?x="y"&z=1"#, Some("r")),
            ),
            (vec![r#"Basic realm="Registry""#], Some(Challenge::Basic)),
            (vec!["Basic"], Some(Challenge::Basic)),
            (vec![r#"Basic realm="x""#, r#"Bearer realm="y""#], bearer("y", None)),
            (vec!["Negotiate", "Basic"], Some(Challenge::Basic)),
            (vec![r#"Bearer service="no realm""#], None),
            (vec![r#"Bearer realm="never closed"#], None),
            (vec!["Bearer"], None),
            (vec![""], None),
            (vec![], None),
        ] {
            assert_eq!(choose(headers.iter().copied()), expect, "{headers:?}");
        }
        let long = format!(r#"Bearer realm="{}""#, "x".repeat(LIMIT_BYTES));
        assert_eq!(choose([long.as_str()].into_iter()), None);
    }
}
