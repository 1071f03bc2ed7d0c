//! From a CLDR emoji name ("woman: red hair", "twelve o’clock") to the words of a caption ("a woman with red hair",
//! "a clock showing twelve o'clock"), by rules: the names are labels, captions need noun phrases. Everything comes out
//! in lower-case ASCII.

use unicode_normalization::UnicodeNormalization;

/// Nouns that take no article, and words that stand for a mass or an activity.
const UNCOUNTABLE: &[&str] = &[
    "fire",
    "fog",
    "ice",
    "bread",
    "butter",
    "salt",
    "sushi",
    "sake",
    "bacon",
    "popcorn",
    "wood",
    "luggage",
    "soap",
    "yarn",
    "thread",
    "confetti",
    "rice",
    "spaghetti",
    "tea",
    "milk",
    "meat",
    "chocolate",
    "oden",
    "dango",
    "fish-and-chips",
    "music",
    "lightning",
    "wind",
    "rain",
    "snow",
    "poo",
    "joy",
    "tennis",
    "golf",
    "ping-pong",
    "badminton",
    "lacrosse",
    "judo",
    "zzz",
    "hundred",
];

/// Singulars that end in one "s" ("…ss" is always taken for a singular).
const SINGULAR_IN_S: &[&str] = &[
    "bus",
    "minibus",
    "trolleybus",
    "claus",
    "cactus",
    "abacus",
    "octopus",
    "walrus",
    "hibiscus",
    "lotus",
    "rhinoceros",
    "hippopotamus",
    "lens",
    "canvas",
    "atlas",
    "gas",
    "platypus",
];

/// Plurals without an "s".
const PLURAL: &[&str] = &["people", "men", "women", "feet", "teeth", "children"];

/// Words that end the head of a phrase: the noun before them decides the article.
const END_OF_HEAD: &[&str] = &[
    "with",
    "of",
    "in",
    "on",
    "from",
    "without",
    "behind",
    "over",
    "at",
    "facing",
    "to",
    "and",
    "into",
    "for",
    "by",
    "holding",
    "hugging",
    "wrestling",
    "showing",
    "embracing",
    "playing",
    "near",
    "lifting",
];

/// Beginnings that are spelt with a vowel and spoken with a consonant.
const SPOKEN_CONSONANT: &[&str] = &["uni", "uk", "eu", "ewe", "ufo", "one", "use", "ure"];

/// Beginnings that are spelt with a consonant (or a digit) and spoken with a vowel, and whole words of that kind.
const SPOKEN_VOWEL: &[&str] = &["hour", "heir", "honest", "x-ray", "8", "11", "18"];
const SPOKEN_VOWEL_WORDS: &[&str] = &["atm", "sos", "ng", "mrs"];

/// Last words that make the name of a symbol a noun; any other symbol is called "the … symbol".
const SYMBOL_NOUNS: &[&str] = &[
    "button", "sign", "arrow", "symbol", "mark", "square", "circle", "triangle", "diamond", "star", "cross", "badge",
    "emblem", "heart", "loop", "wheel", "hexagram", "trident", "asterisk", "atm", "wave", "orb", "yin-yang",
    "infinity", "hash", "digit", "menorah", "om",
];

/// At most so many of CLDR's keywords are kept for a picture.
const MAX_TAGS: usize = 5;

/// `phrase` with "a" or "an" before it, or as it is where its head noun is plural or uncountable.
pub(super) fn article(phrase: &str) -> String {
    let bare = phrase.replace(':', "");
    let words: Vec<&str> = bare.split_whitespace().collect();
    let Some(&first) = words.first() else { return phrase.to_owned() };
    let head = words.iter().take_while(|word| !END_OF_HEAD.contains(word)).last().copied().unwrap_or(first);
    let plural_in_s = head.ends_with('s') && !head.ends_with("ss") && !SINGULAR_IN_S.contains(&head);
    if plural_in_s || UNCOUNTABLE.contains(&head) || PLURAL.contains(&head) || PLURAL.contains(&first) {
        return phrase.to_owned();
    }
    format!("{} {phrase}", if begins_with_vowel(first) { "an" } else { "a" })
}

/// How `word` sounds, not how it is spelt.
fn begins_with_vowel(word: &str) -> bool {
    let begins = |list: &[&str]| list.iter().any(|start| word.starts_with(start));
    begins(SPOKEN_VOWEL)
        || SPOKEN_VOWEL_WORDS.contains(&word)
        || word.starts_with(['a', 'e', 'i', 'o', 'u']) && !begins(SPOKEN_CONSONANT)
}

/// "a", "a and b", "a, b and c".
fn list<S: AsRef<str>>(items: &[S]) -> String {
    let words: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [front @ .., last] if !front.is_empty() => format!("{} and {last}", front.join(", ")),
        _ => words.concat(),
    }
}

/// A noun phrase for the emoji with this CLDR `label` in this group and subgroup of the emoji chart.
pub(super) fn noun_phrase(label: &str, group: &str, subgroup: &str) -> String {
    let plain = label.to_lowercase().replace('’', "'").replace(['“', '”'], "").replace('&', "and");
    let label: String = plain.nfkd().filter(char::is_ascii).collect();
    if let Some(country) = label.strip_prefix("flag: ") {
        return format!("the flag of {country}");
    }
    if label.starts_with("keycap") {
        let key = label.rsplit(':').next().unwrap_or_default().replace("keycap", "");
        return match key.trim() {
            "#" => "the keycap hash".to_owned(),
            "*" => "the keycap asterisk".to_owned(),
            key => format!("the keycap {key}"),
        };
    }
    if let Some((who, detail)) = label.split_once(": ") {
        return qualified(who, detail);
    }
    if subgroup == "time" && (label.contains("o'clock") || label.contains("-thirty")) {
        return format!("a clock showing {label}");
    }
    let is_noun = label.split_whitespace().last().is_some_and(|word| SYMBOL_NOUNS.contains(&word));
    if group == "symbols" && !is_noun {
        return format!("the {label} symbol");
    }
    article(&label)
}

/// The phrase for a label of the form "`who`: `detail`".
fn qualified(who: &str, detail: &str) -> String {
    let members = || list(&detail.split(',').map(|part| article(part.trim())).collect::<Vec<_>>());
    match (who, detail) {
        (_, "bald") => article(&format!("bald {who}")),
        (_, "red hair" | "curly hair" | "white hair" | "blond hair") => format!("{} with {detail}", article(who)),
        (_, "beard") => format!("{} with a beard", article(who)),
        ("family", _) => format!("a family of {}", members()),
        ("kiss", _) => format!("a kiss between {}", members()),
        ("couple with heart", _) => format!("{} with a heart", members()),
        _ => format!("{} {}", article(who), detail.replace(',', "")),
    }
}

/// The CLDR keywords, lower-cased, that say something which `phrase` does not: at most five.
pub(super) fn new_tags(phrase: &str, tags: &[String]) -> Vec<String> {
    tags.iter().map(|tag| tag.to_lowercase()).filter(|tag| !phrase.contains(tag.as_str())).take(MAX_TAGS).collect()
}

/// The three or four wordings for one picture: style first, style last, the phrase alone, the phrase with keywords.
pub(super) fn captions(phrase: &str, style: &str, tags: &[String]) -> Vec<String> {
    let a = if style.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let mut captions = vec![format!("{a} {style} emoji of {phrase}"), format!("{phrase}, {style}"), phrase.to_owned()];
    if tags.len() >= 2 {
        captions.push(format!("{phrase}, {}", list(&tags[..tags.len().min(3)])));
    }
    captions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_noun_phrases() {
        let (people, food, objects) = ("people-body", "food-drink", "objects");
        let (places, symbols, flags) = ("travel-places", "symbols", "flags");
        for (label, group, subgroup, phrase) in [
            ("red apple", food, "food-fruit", "a red apple"),
            ("avocado", food, "food-vegetable", "an avocado"),
            ("grapes", food, "food-fruit", "grapes"),
            ("bread", food, "food-prepared", "bread"),
            ("bowl with spoon", food, "food-prepared", "a bowl with spoon"),
            ("piñata", "activities", "game", "a pinata"),
            ("unicorn", "animals-nature", "animal-mammal", "a unicorn"),
            ("ewe", "animals-nature", "animal-mammal", "a ewe"),
            ("octopus", "animals-nature", "animal-marine", "an octopus"),
            ("umbrella", places, "sky-weather", "an umbrella"),
            ("fire", places, "sky-weather", "fire"),
            ("minibus", places, "transport-ground", "a minibus"),
            ("compass", places, "place-map", "a compass"),
            ("hourglass done", places, "time", "an hourglass done"),
            ("alarm clock", places, "time", "an alarm clock"),
            ("twelve o’clock", places, "time", "a clock showing twelve o'clock"),
            ("eleven-thirty", places, "time", "a clock showing eleven-thirty"),
            ("woman’s hat", objects, "clothing", "a woman's hat"),
            ("glasses", objects, "clothing", "glasses"),
            ("x-ray", objects, "medical", "an x-ray"),
            ("euro banknote", objects, "money", "a euro banknote"),
            ("one-piece swimsuit", objects, "clothing", "a one-piece swimsuit"),
            ("crossed swords", objects, "tool", "crossed swords"),
            ("skull and crossbones", "smileys-emotion", "face-negative", "a skull and crossbones"),
            ("people hugging", people, "person-symbol", "people hugging"),
            ("women with bunny ears", people, "person-activity", "women with bunny ears"),
            ("person lifting weights", people, "person-sport", "a person lifting weights"),
            ("man: bald", people, "person", "a bald man"),
            ("woman: red hair", people, "person", "a woman with red hair"),
            ("woman: beard", people, "person", "a woman with a beard"),
            ("man kneeling: facing right", people, "person-activity", "a man kneeling facing right"),
            ("family: man, man, boy", people, "family", "a family of a man, a man and a boy"),
            ("kiss: woman, woman", people, "family", "a kiss between a woman and a woman"),
            ("couple with heart: woman, man", people, "family", "a woman and a man with a heart"),
            ("Japanese “discount” button", symbols, "alphanum", "a japanese discount button"),
            ("ATM sign", symbols, "transport-sign", "an atm sign"),
            ("SOS button", symbols, "alphanum", "an sos button"),
            ("Aries", symbols, "zodiac", "the aries symbol"),
            ("clockwise vertical arrows", symbols, "arrow", "the clockwise vertical arrows symbol"),
            ("keycap: #", symbols, "keycap", "the keycap hash"),
            ("keycap: *", symbols, "keycap", "the keycap asterisk"),
            ("keycap: 10", symbols, "keycap", "the keycap 10"),
            ("flag: Türkiye", flags, "country-flag", "the flag of turkiye"),
            ("flag: Heard & McDonald Islands", flags, "country-flag", "the flag of heard and mcdonald islands"),
            ("", objects, "tool", ""),
        ] {
            assert_eq!(noun_phrase(label, group, subgroup), phrase, "{label}");
        }
    }

    #[test]
    fn the_head_noun_and_the_sound_decide_the_article() {
        for (phrase, with_article) in [
            ("cup of tea", "a cup of tea"),
            ("hot springs", "hot springs"),
            ("glass of milk", "a glass of milk"),
            ("ufo", "a ufo"),
            ("atm", "an atm"),
            ("atmosphere", "an atmosphere"),
            ("8 ball", "an 8 ball"),
            ("ngultrum", "a ngultrum"),
            ("men holding hands", "men holding hands"),
            ("of gold", "an of gold"),
        ] {
            assert_eq!(article(phrase), with_article);
        }
    }

    #[test]
    fn captions_name_the_style_and_then_new_keywords() {
        let tags = ["Apple", "Fruit", "Red", "diet", "food", "health", "ripe", "snack"].map(str::to_owned);
        let tags = new_tags("a red apple", &tags);
        assert_eq!(tags, ["fruit", "diet", "food", "health", "ripe"]);
        assert_eq!(
            captions("a red apple", "outline style", &tags),
            [
                "an outline style emoji of a red apple",
                "a red apple, outline style",
                "a red apple",
                "a red apple, fruit, diet and food"
            ]
        );
        assert_eq!(captions("fire", "3d style", &tags[..1]), ["a 3d style emoji of fire", "fire, 3d style", "fire"]);
    }
}
