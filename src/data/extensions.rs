//! Which files are pictures and which hold captions, by the end of their names, in any letter case.

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A picture in a format that is read; its first bytes say which.
    Picture,
    /// Captions, one a line.
    Text,
    /// Captions in JSON.
    Json,
    /// A picture in a format that is not read.
    Unread,
}

impl Role {
    /// A word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Picture => "picture",
            Role::Text => "text",
            Role::Json => "json",
            Role::Unread => "unread",
        }
    }
}

/// The extensions that are looked for, in lower case and without their dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    picture: Vec<String>,
    caption: Vec<String>,
}

const PICTURE: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "img"];
const CAPTION: [&str; 4] = ["txt", "cap", "caption", "json"];
const UNREAD: [&str; 11] = ["gif", "bmp", "tif", "tiff", "avif", "heic", "heif", "jxl", "jp2", "svg", "ppm"];

impl Default for Extensions {
    fn default() -> Self {
        Extensions::new(&[], &[])
    }
}

impl Extensions {
    /// Those given, or the usual ones where a list is empty.
    pub fn new(picture: &[String], caption: &[String]) -> Self {
        let of = |given: &[String], usual: &[&str]| match given {
            [] => usual.iter().map(ToString::to_string).collect(),
            given => given.iter().map(|extension| extension.trim_start_matches('.').to_lowercase()).collect(),
        };
        Extensions { picture: of(picture, &PICTURE), caption: of(caption, &CAPTION) }
    }

    /// What an extension stands for.
    pub(super) fn role(&self, extension: &str) -> Option<Role> {
        let extension = extension.to_lowercase();
        if self.picture.contains(&extension) {
            Some(Role::Picture)
        } else if self.caption.contains(&extension) {
            Some(if extension.ends_with("json") { Role::Json } else { Role::Text })
        } else {
            UNREAD.contains(&extension.as_str()).then_some(Role::Unread)
        }
    }

    /// The stem of a file's name and what the file is, by the longest extension that is known.
    pub(super) fn split<'n>(&self, name: &'n str) -> Option<(&'n str, Role)> {
        let mut dots = name.match_indices('.').map(|(dot, _)| dot).filter(|&dot| dot > 0);
        dots.find_map(|dot| Some((&name[..dot], self.role(&name[dot + 1..])?)))
    }

    /// "png, jpg… beside txt…", for messages.
    pub fn expected(&self) -> String {
        format!("pictures ({}) with captions ({})", self.picture.join(", "), self.caption.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_longest_extension_that_is_known() {
        let usual = Extensions::default();
        for (name, expected) in [
            ("a.png", Some(("a", Role::Picture))),
            ("a.JFIF", Some(("a", Role::Picture))),
            ("a.v2.Jpeg", Some(("a.v2", Role::Picture))),
            ("22.05.txt", Some(("22.05", Role::Text))),
            ("a.json", Some(("a", Role::Json))),
            ("a.gif", Some(("a", Role::Unread))),
            ("a.pdf", None),
            (".png", None),
            ("png", None),
        ] {
            assert_eq!(usual.split(name), expected, "{name}");
        }
        let own = Extensions::new(&[".PIC".into()], &["en.txt".into(), "meta.json".into()]);
        assert_eq!(own.split("a.pic"), Some(("a", Role::Picture)));
        assert_eq!(own.split("a.en.txt"), Some(("a", Role::Text)));
        assert_eq!(own.split("a.meta.json"), Some(("a", Role::Json)));
        assert_eq!((own.split("a.png"), own.split("a.txt")), (None, None));
    }
}
