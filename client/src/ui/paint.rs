//! Colors, where there is a terminal that shows them.

use crate::args::{Color, Environment, Output};

/// What is colored; the colors are git's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// The address of a commit.
    Commit,
    /// The branch that is checked out, and what is in order.
    Good,
    /// What somebody should look at.
    Attention,
}

/// Decides what `auto` means.
pub(crate) fn settled(color: Color, environment: &Environment, is_terminal: bool) -> Color {
    match color {
        Color::Auto if is_terminal && !environment.is_plain => Color::Always,
        Color::Auto => Color::Never,
        settled => settled,
    }
}

impl Output {
    /// The text in its color, if things are colored.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Commit => "33",
            Paint::Good => "32",
            Paint::Attention => "31",
        };
        match self.color {
            Color::Always => format!("\x1b[{code}m{text}\x1b[0m"),
            Color::Auto | Color::Never => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_client::remote::ProxySettings;

    use super::*;
    use crate::args::Format;

    fn environment(is_plain: bool) -> Environment {
        Environment {
            home: None,
            password: None,
            proxies: ProxySettings::default(),
            is_plain,
        }
    }

    #[test]
    fn color_is_for_terminals_unless_somebody_says_otherwise() {
        let (fine, plain) = (environment(false), environment(true));
        for (color, environment, is_terminal, wanted) in [
            (Color::Auto, &fine, true, Color::Always),
            (Color::Auto, &fine, false, Color::Never),
            (Color::Auto, &plain, true, Color::Never),
            (Color::Always, &plain, false, Color::Always),
            (Color::Never, &fine, true, Color::Never),
        ] {
            assert_eq!(settled(color, environment, is_terminal), wanted);
        }
    }

    #[test]
    fn without_color_text_stays_as_it_is() {
        let output = |color| Output {
            format: Format::Text,
            quiet: false,
            color,
        };
        assert_eq!(output(Color::Never).paint(Paint::Good, "main"), "main");
        let painted = output(Color::Always).paint(Paint::Commit, "abc");
        assert_eq!(painted, "\x1b[33mabc\x1b[0m");
    }
}
