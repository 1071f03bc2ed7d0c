//! How a value shows itself: always as plain text, and beside it as a picture or a table.

use crate::data::Picture;
use crate::harness::notice;
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Display;
use std::path::Path;

/// What a browser shows.
pub(super) enum Rich {
    Png(Vec<u8>),
    Svg(String),
    Html(String),
}

impl Rich {
    /// The mime type, and the content as a notebook keeps it.
    fn content(&self) -> (&'static str, String) {
        match self {
            Rich::Png(bytes) => ("image/png", STANDARD.encode(bytes)),
            Rich::Svg(text) => ("image/svg+xml", text.clone()),
            Rich::Html(text) => ("text/html", text.clone()),
        }
    }

    fn bytes(&self) -> (&'static str, &[u8]) {
        match self {
            Rich::Png(bytes) => ("png", bytes),
            Rich::Svg(text) => ("svg", text.as_bytes()),
            Rich::Html(text) => ("html", text.as_bytes()),
        }
    }
}

/// A value with a plain and a rich form.
pub(super) trait Show: Display {
    fn rich(&self) -> Result<Rich>;
}

/// Both forms, as evcxr reads them from standard output.
pub(super) fn display(value: &dyn Show) {
    evcxr_runtime::mime_type("text/plain").text(value.to_string().trim_end());
    match value.rich() {
        Ok(rich) => {
            let (mime, content) = rich.content();
            evcxr_runtime::mime_type(mime).text(content);
        }
        Err(error) => notice::line(format_args!("cannot be shown: {error}")),
    }
}

/// Writes the rich form to `path`, whose extension must be the right one.
pub(super) fn save(value: &dyn Show, path: &Path) -> Result<()> {
    let rich = value.rich()?;
    let (extension, bytes) = rich.bytes();
    if path.extension().is_none_or(|its| its != extension) {
        return Err(Error::Usage(format!("{}: expected a name that ends with .{extension}", path.display())));
    }
    crate::files::write(path, bytes)
}

/// The picture as a link that holds it.
pub(super) fn link(picture: &Picture) -> Result<String> {
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(crate::report::grid::png(picture)?)))
}

/// Gives types that implement [`Show`] their two public methods: evcxr looks for an inherent one.
macro_rules! shown {
    ($($kind:ty),*) => {$(
        // Evcxr falls back on it, for instance where a cell moves a variable: a line to read, and no dump.
        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl $kind {
            /// Shows itself in a notebook's cell; evcxr calls it for the last value of a cell.
            #[doc(hidden)]
            pub fn evcxr_display(&self) {
                $crate::notebook::show::display(self);
            }

            /// Writes what the cell shows to a file with the extension of its kind (`.svg`, `.png` or `.html`).
            ///
            /// # Errors
            /// [`Error::Usage`](crate::Error::Usage) for another extension, [`Error::Io`](crate::Error::Io).
            pub fn save(&self, path: impl AsRef<std::path::Path>) -> $crate::Result<()> {
                $crate::notebook::show::save(self, path.as_ref())
            }
        }
    )*};
}
pub(super) use shown;
