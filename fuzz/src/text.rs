//! Text that others wrote: what is shown of it is harmless, and says the same.

use confab_protocol::control::text;

/// Characters near the rules, each by one byte above ASCII: joiners, marks, letters that join, emoji and their parts,
/// spaces, and what is refused.
const NEAR: [char; 48] = [
    '\u{200c}',
    '\u{200d}',
    '\u{fe0f}',
    '\u{20e3}',
    '\u{301}',
    '\u{302}',
    '\u{64b}',
    '\u{94d}',
    '\u{344}',
    '\u{915}',
    '\u{628}',
    '\u{627}',
    '\u{6cc}',
    '\u{d7}',
    '\u{e9}',
    '\u{df}',
    '\u{2764}',
    '\u{1f469}',
    '\u{1f3fd}',
    '\u{1f3f4}',
    '\u{1f1e9}',
    '\u{1f1ea}',
    '\u{e0067}',
    '\u{e0062}',
    '\u{e0065}',
    '\u{e006e}',
    '\u{e007f}',
    '\u{202e}',
    '\u{2066}',
    '\u{61c}',
    '\u{ad}',
    '\u{180e}',
    '\u{3164}',
    '\u{2800}',
    '\u{a0}',
    '\u{3000}',
    '\u{1680}',
    '\u{ac00}',
    '\u{1112}',
    '\u{1161}',
    '\u{11ab}',
    '\u{b7}',
    '\u{30fb}',
    '\u{660}',
    '\u{6f0}',
    '\u{e000}',
    '\u{ffff}',
    '\u{85}',
];

/// Reads how text is made of the bytes, then the text.
pub fn run(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else {
        return;
    };
    let text = match how % 2 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        _ => bytes.iter().map(|byte| character(*byte)).collect(),
    };
    shown(&text);
    kept(&text);
}

fn character(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        None => byte.into(),
        Some(near) => NEAR[usize::from(near) % NEAR.len()],
    }
}

fn shown(text: &str) {
    let line = text::escaped(text);
    assert_eq!(text::check(&line), Ok(()), "{text:?}");
    assert_eq!(text::escaped(&line), line);
    assert_eq!(text::check(text).is_ok(), line == text);

    let within = usize::from(text.len() as u8);
    let beginning = text::escaped_within(text, within);
    assert!(beginning.chars().count() <= within);
    assert_eq!(text::escaped_within(&beginning, within), beginning);

    let value = serde_json::json!({ text: text });
    let json = value.to_string();
    let shown = text::json_escaped(&json);
    assert_eq!(text::check(&shown), Ok(()), "{text:?}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&shown).ok(),
        Some(value)
    );
}

fn kept(text: &str) {
    if let Ok(kept) = text::prepared(text) {
        assert_eq!(text::check(&kept), Ok(()));
        assert_eq!(text::prepared(&kept), Ok(kept));
    }
    if let Ok(password) = text::opaque(text) {
        assert_eq!(text::opaque(&password), Ok(password));
    }
}
