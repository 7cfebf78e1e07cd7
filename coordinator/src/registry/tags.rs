//! The list of a repository's tags, page by page.

use nightshift_core::image::Repository;
use reqwest::Method;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;

use super::{Error, Registry, malformed};

/// Tags that are asked for at once: what most registries give at most.
const PAGE: usize = 1000;
/// Most pages of one list: some registries give a hundred tags a page, whatever is asked for.
const PAGE_LIMIT: usize = 100;
/// Most tags of one repository: who has more needs a clean-up, or a repository for each product.
const TAG_LIMIT: usize = 20_000;

#[derive(Deserialize)]
struct Page {
    /// Some registries write `null` for none.
    tags: Option<Vec<String>>,
}

impl Registry {
    /// Every tag of a repository.
    pub(super) async fn read_tags(&self, repository: &Repository) -> Result<Vec<String>, Error> {
        let mut tags = Vec::new();
        let mut path = format!("tags/list?n={PAGE}");
        for _ in 0..PAGE_LIMIT {
            let answer = self.ask(repository, Method::GET, &path).await?;
            let wrong = |problem: String| malformed(repository, problem);
            let page: Page = serde_json::from_slice(&answer.body).map_err(|error| wrong(format!("tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default());
            if tags.len() > TAG_LIMIT {
                return Err(wrong(format!("`{repository}` has more than {TAG_LIMIT} tags")));
            }
            match next(&answer.headers) {
                None => return Ok(tags),
                Some(query) => path = format!("tags/list?{query}"),
            }
        }
        Err(malformed(repository, format!("the tags of `{repository}` fill more than {PAGE_LIMIT} pages")))
    }
}

/// The query of the next page. Only that is taken from the link: where we ask, nobody else decides.
fn next(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|value| value.split(',')).find(|link| {
        let mut parameters = link.split(';').skip(1).map(str::trim);
        parameters.any(|parameter| matches!(parameter, "rel=\"next\"" | "rel=next"))
    })?;
    let address = next.split(';').next()?.trim().strip_prefix('<')?.strip_suffix('>')?;
    let query = address.split_once('?')?.1.split('#').next()?;
    Some(query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_for_where_we_asked_for_the_first() {
        for (link, expect) in [
            (r#"</v2/web/tags/list?last=b&n=2>; rel="next""#, Some("last=b&n=2")),
            (r#"<https://evil.example/v2/x/tags/list?last=b>; rel="next""#, Some("last=b")),
            (r#"</v2/web/tags/list?last=a>; rel="prev", </v2/web/tags/list?last=c>; rel=next"#, Some("last=c")),
            (r#"</v2/web/tags/list?last=b#x>; title="t"; rel="next""#, Some("last=b")),
            (r#"</v2/web/tags/list>; rel="next""#, None),
            (r#"</v2/web/tags/list?last=b>; rel="last""#, None),
            ("nonsense", None),
        ] {
            let headers = HeaderMap::from_iter([(LINK, link.parse().expect("a header"))]);
            assert_eq!(next(&headers).as_deref(), expect, "{link}");
        }
        assert_eq!(next(&HeaderMap::new()), None);
    }
}
