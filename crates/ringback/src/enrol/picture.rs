//! A code as a picture of half blocks that a camera reads off a terminal.
//!
//! Colors are given, since a picture of light on dark is one that many cameras do not read.

use anyhow::Context;
use qrcode::{Color, EcLevel, QrCode};

/// Modules left light around the picture (ISO/IEC 18004).
const QUIET: usize = 4;
const DARK_ON_LIGHT: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Draws a text, two modules a character.
pub(super) fn of(text: &str) -> anyhow::Result<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L);
    let code = code.context("the code does not fit a picture")?;
    let width = code.width();
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|it| *it < width);
        let place = inside(x).zip(inside(y));
        place.is_some_and(|place| code[place] == Color::Dark)
    };
    let mut picture = String::new();
    for y in (0..width + 2 * QUIET).step_by(2) {
        picture.push_str(DARK_ON_LIGHT);
        for x in 0..width + 2 * QUIET {
            picture.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            });
        }
        picture.push_str(PLAIN);
        picture.push('\n');
    }
    Ok(picture)
}

#[test]
fn a_picture_has_its_finders_and_a_light_edge_all_round() {
    let picture = of(&format!("RBE1{}", "0".repeat(112))).unwrap();
    let lines: Vec<Vec<char>> = picture
        .lines()
        .map(|it| it.replace(DARK_ON_LIGHT, "").replace(PLAIN, "").chars().collect())
        .collect();
    assert_eq!(lines.len(), lines[0].len().div_ceil(2));
    assert!(lines[..2].iter().flatten().all(|it| *it == ' '));
    assert!(lines.iter().all(|it| it[..4] == [' '; 4] && it[it.len() - 4..] == [' '; 4]));
    let finder: String = lines[2][4..11].iter().collect();
    assert_eq!(finder, "█▀▀▀▀▀█");
    // All letters of a code are of QR's alphanumeric kind: the picture stays small.
    assert!(lines[0].len() <= 37 + 2 * QUIET);
}
