//! Attention patterns as pictures: a crisp pixel per (query, key), text and image regions told apart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::axis::Fitted;
use super::charts::{self, Drawn, FINE, INK, LINE, MUTED, WIDTH, font_size, text, text_width};
use super::grid::encoded;

/// Keys that may be attended to: text and image ones. Mid-tones, so that they read on light and on dark.
const TEXT_KEY: [u8; 4] = [0x56, 0x9f, 0xd6, 255];
const IMAGE_KEY: [u8; 4] = [0xe0, 0x7b, 0x39, 255];
/// The picture's side in CSS pixels.
const SIDE: i32 = 300;
const LEFT: i32 = 42;
/// Larger patterns are not drawn: the picture would have more pixels than any screen.
const MOST: usize = 4096;

/// Draws an attention pattern as an `<svg>` element: one row per query position, one column per key position, the first
/// `text` of which are text. `rows[query][key]` says whether the query may attend to the key; all rows must be as long
/// as there are rows. Never fails: what cannot be drawn is said in the picture.
pub fn mask(title: &str, rows: &[Vec<bool>], text_positions: usize) -> String {
    let side = rows.len();
    if side == 0 || side > MOST || text_positions > side || rows.iter().any(|row| row.len() != side) {
        let why = format!("not a square of at most {MOST} positions with {text_positions} for text");
        return charts::note(title, &why);
    }
    let pixels: Vec<u8> = rows
        .iter()
        .flat_map(|row| row.iter().enumerate())
        .flat_map(|(key, allowed)| match allowed {
            false => [0; 4],
            true if key < text_positions => TEXT_KEY,
            true => IMAGE_KEY,
        })
        .collect();
    let Ok(png) = encoded(&pixels, side, side, image::ExtendedColorType::Rgba8) else {
        return charts::note(title, "could not be encoded");
    };
    let allowed = rows.iter().flatten().filter(|allowed| **allowed).count();
    let share = format!("{:.1} % of all pairs", 100.0 * allowed as f64 / (side * side) as f64);
    let mut svg = String::new();
    if let Err(error) = draw(&mut svg, title, &share, side, text_positions) {
        return charts::note(title, &format!("could not be drawn: {error}"));
    }
    let image = format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" style=\"image-rendering:pixelated\" \
         preserveAspectRatio=\"none\" href=\"data:image/png;base64,{}\"/>\n<g",
        STANDARD.encode(png),
        x = LEFT * FINE,
        y = TOP * FINE,
        size = SIDE * FINE,
    );
    let description = format!(
        "Attention pattern {title}: {side} query positions by {side} key positions, the first {text_positions} are text; {share} are allowed"
    );
    // The picture goes behind the frame and the region marks.
    let svg = svg.replacen('>', &format!(">\n{image}>"), 1).replace("</svg>", "</g></svg>");
    charts::finished(&svg, TOP + SIDE + 2 * LINE + 2, &description)
}

const TOP: i32 = 2 * LINE + 4;

fn draw(svg: &mut String, title: &str, share: &str, side: usize, text_positions: usize) -> Drawn {
    let height = TOP + SIDE + 2 * LINE + 2;
    let root = SVGBackend::with_string(svg, ((WIDTH * FINE) as u32, (height * FINE) as u32)).into_drawing_area();
    text(&root, title, 0, 9, 13.0, INK, HPos::Left)?;
    text(&root, "query position", 0, 9 + LINE, 11.5, MUTED, HPos::Left)?;
    text(&root, share, LEFT + SIDE, 9 + LINE, 11.5, MUTED, HPos::Right)?;
    text(&root, "key position", LEFT + SIDE, TOP + SIDE + LINE + 11, 11.5, MUTED, HPos::Right)?;

    let (end, boundary) = (side as f64, text_positions as f64);
    let ticks = if text_positions > 0 && text_positions < side { vec![0.0, boundary, end] } else { vec![0.0, end] };
    let mut area = ChartBuilder::on(&root)
        .margin_top(TOP * FINE)
        .margin_right((WIDTH - LEFT - SIDE) * FINE)
        .margin_bottom((LINE - 2) * FINE)
        .set_label_area_size(LabelAreaPosition::Left, LEFT * FINE)
        .set_label_area_size(LabelAreaPosition::Bottom, (LINE + 4) * FINE)
        .build_cartesian_2d(Fitted::exact(0.0, end, &ticks), Fitted::exact(end, 0.0, &ticks))?;
    area.configure_mesh()
        .disable_mesh()
        .axis_style(MUTED.stroke_width(FINE as u32))
        .set_all_tick_mark_size(4 * FINE)
        .label_style(("sans-serif", font_size(11.0)).into_font().color(&MUTED))
        .draw()?;
    let frame = MUTED.stroke_width(FINE as u32);
    area.draw_series([PathElement::new(vec![(0.0, 0.0), (end, 0.0), (end, end)], frame)])?;
    if text_positions > 0 && text_positions < side {
        let line = INK.stroke_width(FINE as u32);
        area.draw_series([
            PathElement::new(vec![(boundary, 0.0), (boundary, end)], line),
            PathElement::new(vec![(0.0, boundary), (end, boundary)], line),
        ])?;
        for (name, first, last) in [("text", 0.0, boundary), ("image", boundary, end)] {
            let middle = (first + last) / 2.0 / end * f64::from(SIDE);
            if (last - first) / end * f64::from(SIDE) > f64::from(text_width(name)) {
                text(&root, name, LEFT + SIDE + 8, TOP + middle as i32, 11.5, INK, HPos::Left)?;
            }
        }
    }
    root.present()
}

/// Reads a pattern from its rows of 0 and 1.
///
/// # Errors
/// Says which row holds something else.
pub(super) fn rows(pattern: &[String]) -> Result<Vec<Vec<bool>>, String> {
    let cell = |digit: u8| match digit {
        b'0' => Some(false),
        b'1' => Some(true),
        _ => None,
    };
    let row = |(index, row): (usize, &String)| {
        let cells: Option<Vec<bool>> = row.bytes().map(cell).collect();
        cells.ok_or_else(|| format!("row {index} holds other characters than 0 and 1"))
    };
    pattern.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_one_pixel_per_pair() {
        let causal = rows(&["100".into(), "110".into(), "111".into()]).unwrap();
        let svg = mask("full", &causal, 1);
        let start = svg.find("base64,").unwrap() + 7;
        let png = STANDARD.decode(&svg[start..start + svg[start..].find('"').unwrap()]).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgba8();
        let colours: Vec<[u8; 4]> = picture.pixels().map(|pixel| pixel.0).collect();
        let (no, text, image) = ([0; 4], TEXT_KEY, IMAGE_KEY);
        assert_eq!(colours, [text, no, no, text, image, no, text, image, image]);
        assert!(svg.contains("66.7 %") && svg.contains("pixelated") && svg.matches("<g").count() == 1);
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        assert!(rows(&["10".into(), "1x".into()]).unwrap_err().contains("row 1"));
        assert!(mask("row", &[vec![true]], 2).contains("not a square"));
        assert!(mask("row", &[vec![true, false]], 1).contains("not a square"));
    }
}
