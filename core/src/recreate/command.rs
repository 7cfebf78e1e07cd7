//! Which of entrypoint and command are the user's.
//!
//! The engine takes the image's command only when the user gave neither entrypoint nor command, and the image's
//! entrypoint only when the user gave none. An entrypoint of one empty text (`--entrypoint ""`) removes the image's,
//! and is shown as `null` afterwards.

/// What a user typed: `None` is nothing, so that the image's applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// `Entrypoint` of the create body.
    pub(super) entrypoint: Option<Vec<String>>,
    /// `Cmd` of the create body.
    pub(super) cmd: Option<Vec<String>>,
}

/// Entrypoint and command as the engine shows them, unset ones empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown<'a> {
    /// `Config.Entrypoint`.
    pub(super) entrypoint: &'a [&'a str],
    /// `Config.Cmd`.
    pub(super) cmd: &'a [&'a str],
}

/// What the user must have typed for the engine to show `container` on top of `image`.
pub(super) fn users(container: Shown<'_>, image: Shown<'_>) -> Command {
    let owned = |list: &[&str]| list.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
    if container == image {
        return Command { entrypoint: None, cmd: None };
    }
    let cmd = (!container.cmd.is_empty()).then(|| owned(container.cmd));
    if container.entrypoint == image.entrypoint && cmd.is_some() {
        return Command { entrypoint: None, cmd };
    }
    // Another entrypoint than the image's; or the image's own, typed so that the image's command does not apply.
    let entrypoint = if container.entrypoint.is_empty() { vec![String::new()] } else { owned(container.entrypoint) };
    Command { entrypoint: Some(entrypoint), cmd }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    /// What the engine shows for what a user typed. `-` in the table below is "not typed".
    fn engine_shows<'a>(
        entrypoint: Option<Vec<&'a str>>,
        cmd: Option<Vec<&'a str>>,
        image: Shown<'a>,
    ) -> [Vec<&'a str>; 2] {
        let mut cmd = cmd.unwrap_or_default();
        let mut shown = entrypoint.clone().unwrap_or_default();
        if shown.is_empty() {
            if cmd.is_empty() {
                cmd = image.cmd.to_vec();
            }
            if entrypoint.is_none() {
                shown = image.entrypoint.to_vec();
            }
        }
        if shown == [""] {
            shown = vec![];
        }
        [shown, cmd]
    }

    #[test]
    fn what_was_typed_is_found_again() {
        let typed = |text: &'static str| match text {
            "-" => None,
            "\"\"" => Some(vec![""]),
            other => Some(list(other)),
        };
        for (entrypoint, cmd, image_entrypoint, image_cmd, expect_entrypoint, expect_cmd) in [
            ("-", "-", "run", "serve", "-", "-"),
            ("-", "-", "", "serve", "-", "-"),
            ("-", "other x", "run", "serve", "-", "other x"),
            ("-", "other", "", "serve", "-", "other"),
            ("mine", "-", "run", "serve", "mine", "-"),
            ("mine", "a b", "run", "serve", "mine", "a b"),
            ("mine", "serve", "run", "serve", "mine", "serve"),
            ("\"\"", "a b", "run", "serve", "\"\"", "a b"),
            ("run", "-", "run", "serve", "run", "-"),
            ("run", "-", "run", "", "-", "-"),
            ("run", "a", "run", "serve", "-", "a"),
            ("-", "serve", "run", "serve", "-", "-"),
            ("\"\"", "a", "", "serve", "-", "a"),
        ] {
            let (image_entrypoint, image_cmd) = (list(image_entrypoint), list(image_cmd));
            let image = Shown { entrypoint: &image_entrypoint, cmd: &image_cmd };
            let [shown_entrypoint, shown_cmd] = engine_shows(typed(entrypoint), typed(cmd), image);
            let found = users(Shown { entrypoint: &shown_entrypoint, cmd: &shown_cmd }, image);
            let owned = |list: Option<Vec<&str>>| list.map(|list| list.into_iter().map(str::to_owned).collect());
            let expect = Command { entrypoint: owned(typed(expect_entrypoint)), cmd: owned(typed(expect_cmd)) };
            assert_eq!(found, expect, "--entrypoint {entrypoint} IMAGE {cmd}, image {image:?}");
        }
    }
}
