//! The page: escaping, sections with a table of contents, tables, and the style. No script and nothing from outside;
//! the page's own policy forbids both.

use crate::error::printable;
use std::fmt::Write;

/// Text made safe inside elements and inside quoted attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A part of the page that the table of contents names. `title` is text, `body` is HTML.
pub(super) struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub body: String,
}

/// The whole page. `title` is text; `header` is HTML.
pub(super) fn page(title: &str, header: &str, sections: &[Section]) -> String {
    let mut contents = String::new();
    let mut body = String::new();
    for Section { id, title, body: inner } in sections {
        let _ = write!(contents, "<li><a href=\"#{id}\">{}</a></li>", escape(title));
        let _ = writeln!(body, "<section id=\"{id}\">\n<h2>{}</h2>\n{inner}</section>", escape(title));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<header>\n{header}</header>\n\
         <nav aria-label=\"Contents\"><ol>{contents}</ol></nav>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        include_str!("style.css"),
    )
}

/// A table of names (text) and values (HTML).
pub(super) fn facts(rows: &[(String, String)]) -> String {
    let mut table = String::from("<table class=\"facts\">\n");
    for (name, value) in rows {
        let _ = writeln!(table, "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>", escape(name));
    }
    table + "</table>\n"
}

/// A paragraph that says why something is not there. `text` is plain.
pub(super) fn notice(text: &str) -> String {
    format!("<p class=\"notice\">{}</p>\n", escape(text))
}

/// Seconds in words: "12.3 s", "9 min 12 s", "2 h 5 min".
pub fn duration(seconds: f64) -> String {
    if !(0.0..1e9).contains(&seconds) {
        return "–".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_text_or_attribute() {
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!(escape("a\u{202e}<b>\u{1b}"), "a\u{fffd}&lt;b&gt;\u{fffd}");
    }

    #[test]
    fn durations_read_well() {
        let cases =
            [(12.34, "12.3 s"), (59.96, "1 min 0 s"), (552.0, "9 min 12 s"), (7500.0, "2 h 5 min"), (f64::NAN, "–")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
