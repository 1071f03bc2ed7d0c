//! The art styles: where their pictures come from, under which licence, and what captions call them.

use super::art::Format;
use super::npm::Package;

/// An art style.
#[derive(Debug)]
pub struct Style {
    /// Short, lower-case: a part of keys and file names.
    pub name: &'static str,
    /// Where its pictures are.
    pub package: Package,
    /// How the package holds them.
    pub format: Format,
    /// The art's licence (SPDX).
    pub license: &'static str,
    /// Whom to name.
    pub credit: &'static str,
    /// What captions call it.
    pub words: &'static str,
    /// True for the five that the experiments use.
    pub default: bool,
}

/// Names, keywords and groups of all emoji.
pub const NAMES: Package = Package {
    spec: "emojibase-data@17.0.0",
    sha256: "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
};

/// The licence of [`NAMES`].
pub const NAMES_LICENSE: &str = "MIT (CLDR data: Unicode-3.0)";

/// Every style that can be built.
pub const STYLES: &[Style] = &[
    Style {
        name: "noto",
        package: Package {
            spec: "@iconify-json/noto@1.2.9",
            sha256: "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        },
        format: Format::Iconify,
        license: "Apache-2.0",
        credit: "Google Noto Emoji",
        words: "noto style",
        default: true,
    },
    Style {
        name: "twemoji",
        package: Package {
            spec: "@iconify-json/twemoji@1.2.5",
            sha256: "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        },
        format: Format::Iconify,
        license: "CC-BY-4.0",
        credit: "Twitter/jdecked Twemoji",
        words: "twemoji style",
        default: true,
    },
    Style {
        name: "fluentflat",
        package: Package {
            spec: "@iconify-json/fluent-emoji-flat@1.2.6",
            sha256: "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        },
        format: Format::Iconify,
        license: "MIT",
        credit: "Microsoft Fluent Emoji (flat)",
        words: "flat style",
        default: true,
    },
    Style {
        name: "fluent3d",
        package: Package {
            spec: "@lobehub/fluent-emoji-3d@1.1.0",
            sha256: "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        },
        format: Format::WebP,
        license: "MIT",
        credit: "Microsoft Fluent Emoji (3D), packed by LobeHub",
        words: "3d style",
        default: true,
    },
    Style {
        name: "openmoji",
        package: Package {
            spec: "@iconify-json/openmoji@1.2.29",
            sha256: "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        },
        format: Format::Iconify,
        license: "CC-BY-SA-4.0",
        credit: "OpenMoji",
        words: "outline style",
        default: true,
    },
    Style {
        name: "fluentcolor",
        package: Package {
            spec: "@iconify-json/fluent-emoji@1.2.7",
            sha256: "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
        },
        format: Format::Iconify,
        license: "MIT",
        credit: "Microsoft Fluent Emoji (colour)",
        words: "glossy style",
        default: false,
    },
    Style {
        name: "notoblob",
        package: Package {
            spec: "@iconify-json/noto-v1@1.2.5",
            sha256: "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        },
        format: Format::Iconify,
        license: "Apache-2.0",
        credit: "Google Noto Emoji v1 (blob)",
        words: "blob style",
        default: false,
    },
    Style {
        name: "emojione",
        package: Package {
            spec: "@iconify-json/emojione@1.2.3",
            sha256: "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        },
        format: Format::Iconify,
        license: "CC-BY-4.0",
        credit: "Emoji One / EmojiTwo",
        words: "emojione style",
        default: false,
    },
    Style {
        name: "fxemoji",
        package: Package {
            spec: "@iconify-json/fxemoji@1.2.2",
            sha256: "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        },
        format: Format::Iconify,
        license: "Apache-2.0",
        credit: "Mozilla Firefox OS Emoji",
        words: "firefox style",
        default: false,
    },
];
