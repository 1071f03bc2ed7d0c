//! HTML character references, as Python's `html.unescape` reads them: captions from the web hold many.
//!
//! By name only those of HTML 4 and `&apos;`; the two thousand that HTML 5 added stay as they are written.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The names of U+00A0 to U+00FF in order. A semicolon may be missing after these.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// Names and code points; a semicolon may be missing after these too.
const PLAIN: &str = "quot 22 QUOT 22 amp 26 AMP 26 lt 3c LT 3c gt 3e GT 3e COPY a9 REG ae";

/// Names and code points; a semicolon must follow.
const CLOSED: &str = "apos 27 OElig 152 oelig 153 Scaron 160 scaron 161 Yuml 178 fnof 192 circ 2c6 tilde 2dc Alpha 391 \
    Beta 392 Gamma 393 Delta 394 Epsilon 395 Zeta 396 Eta 397 Theta 398 Iota 399 Kappa 39a Lambda 39b Mu 39c Nu 39d Xi 39e \
    Omicron 39f Pi 3a0 Rho 3a1 Sigma 3a3 Tau 3a4 Upsilon 3a5 Phi 3a6 Chi 3a7 Psi 3a8 Omega 3a9 alpha 3b1 beta 3b2 gamma 3b3 \
    delta 3b4 epsilon 3b5 zeta 3b6 eta 3b7 theta 3b8 iota 3b9 kappa 3ba lambda 3bb mu 3bc nu 3bd xi 3be omicron 3bf pi 3c0 \
    rho 3c1 sigmaf 3c2 sigma 3c3 tau 3c4 upsilon 3c5 phi 3c6 chi 3c7 psi 3c8 omega 3c9 thetasym 3d1 upsih 3d2 piv 3d6 \
    ensp 2002 emsp 2003 thinsp 2009 zwnj 200c zwj 200d lrm 200e rlm 200f ndash 2013 mdash 2014 lsquo 2018 rsquo 2019 \
    sbquo 201a ldquo 201c rdquo 201d bdquo 201e dagger 2020 Dagger 2021 bull 2022 hellip 2026 permil 2030 prime 2032 \
    Prime 2033 lsaquo 2039 rsaquo 203a oline 203e frasl 2044 euro 20ac image 2111 weierp 2118 real 211c trade 2122 \
    alefsym 2135 larr 2190 uarr 2191 rarr 2192 darr 2193 harr 2194 crarr 21b5 lArr 21d0 uArr 21d1 rArr 21d2 dArr 21d3 \
    hArr 21d4 forall 2200 part 2202 exist 2203 empty 2205 nabla 2207 isin 2208 notin 2209 ni 220b prod 220f sum 2211 \
    minus 2212 lowast 2217 radic 221a prop 221d infin 221e ang 2220 and 2227 or 2228 cap 2229 cup 222a int 222b there4 2234 \
    sim 223c cong 2245 asymp 2248 ne 2260 equiv 2261 le 2264 ge 2265 sub 2282 sup 2283 nsub 2284 sube 2286 supe 2287 \
    oplus 2295 otimes 2297 perp 22a5 sdot 22c5 lceil 2308 rceil 2309 lfloor 230a rfloor 230b lang 27e8 rang 27e9 loz 25ca \
    spades 2660 clubs 2663 hearts 2665 diams 2666";

/// What `&#128;` to `&#159;` stand for: the signs of Windows-1252, and themselves where it has none.
const WINDOWS: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// The longest run after `&` that is looked at.
const LONGEST: usize = 32;

/// The character of a name, and whether it needs its semicolon.
static NAMES: LazyLock<HashMap<&str, (char, bool)>> = LazyLock::new(|| {
    let mut names: HashMap<&str, (char, bool)> =
        LATIN.split(' ').zip('\u{a0}'..).map(|(n, c)| (n, (c, false))).collect();
    for (table, closed) in [(PLAIN, false), (CLOSED, true)] {
        let mut words = table.split(' ');
        while let (Some(name), Some(code)) = (words.next(), words.next()) {
            let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
            names.extend(code.map(|code| (name, (code, closed))));
        }
    }
    names
});

/// `text` with its character references replaced, once: `&amp;lt;` becomes `&lt;`.
pub fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match number(rest).or_else(|| name(rest)) {
            Some((character, length)) => {
                out.extend(character);
                rest = &rest[length..];
            }
            None => out.push('&'),
        }
    }
    out + rest
}

/// A reference by number at the start of `text`: what it stands for, if anything, and its length.
fn number(text: &str) -> Option<(Option<char>, usize)> {
    let digits = text.strip_prefix('#')?;
    let (digits, radix, prefix) = match digits.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16, 2),
        None => (digits, 10, 1),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let code = u32::from_str_radix(&digits[..length], radix).unwrap_or(u32::MAX); // too long: no character either
    let character = match code {
        0 => Some('\u{fffd}'),
        0x80..=0x9f => WINDOWS.chars().nth(code as usize - 0x80),
        1..=8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if code <= 0x10_ffff && code & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(code).unwrap_or('\u{fffd}')),
    };
    Some((character, prefix + length + usize::from(digits[length..].starts_with(';'))))
}

/// A reference by name at the start of `text`, or the longest start of one that needs no semicolon.
fn name(text: &str) -> Option<(Option<char>, usize)> {
    let ends = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let run: usize = text.chars().take_while(|&c| !ends(c)).take(LONGEST).map(char::len_utf8).sum();
    if let Some(&(character, _)) = NAMES.get(&text[..run]).filter(|_| text[run..].starts_with(';')) {
        return Some((Some(character), run + 1));
    }
    let starts = (2..=run).rev().filter_map(|length| text.get(..length));
    let open = |start: &str| NAMES.get(start).filter(|(_, closed)| !closed).map(|&(c, _)| (Some(c), start.len()));
    starts.filter_map(open).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_python_reads_them() {
        // Python 3.11: html.unescape.
        let cases = [
            ("Tom &amp; Jerry &lt3", "Tom & Jerry <3"),
            ("&ampx; &notit; &notin; &amp;lt;", "&x; ¬it; ∉ &lt;"),
            ("&#39;&#x1F600;&#128;&#0;&#xD800;&#1;&#99999999999;&#65x", "'😀€\u{fffd}\u{fffd}\u{fffd}Ax"),
            ("& &; &# &#x; &#\u{308} &unknown; &Alpha x", "& &; &# &#x; &#\u{308} &unknown; &Alpha x"),
            ("&hellip;&nbsp;&eacute&yuml;&apos;&lang;", "…\u{a0}éÿ'⟨"),
            ("no reference", "no reference"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescape(text), expected, "{text:?}");
        }
        assert_eq!(NAMES.len(), 96 + 10 + 153);
        assert_eq!(WINDOWS.chars().count(), 32);
    }
}
