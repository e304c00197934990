//! The properties of a packet, read without decoding it (RFC 6716 §3).

/// Longest packet, in samples (120 ms, RFC 6716 §3.2.5).
pub const MAX_PACKET_SAMPLES: usize = 5760;

/// Longest frame inside a packet, in bytes (RFC 6716 §3.2.1).
const MAX_FRAME_BYTES: usize = 1275;

/// How a packet breaks the framing of RFC 6716 §3.4; R1 to R7 are its requirements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// No TOC byte (R1).
    #[error("an Opus packet has at least one byte")]
    Empty,
    /// Lengths inside the packet go past its end, or do not divide it evenly (R3, R4, R6, R7).
    #[error("the lengths inside an Opus packet do not fit its size")]
    Lengths,
    /// A frame of more than 1275 bytes (R2).
    #[error("a frame in an Opus packet is longer than 1275 bytes")]
    FrameTooLong,
    /// No frames, or more than 120 ms of them (R5).
    #[error("an Opus packet holds up to 120 ms, and at least one frame")]
    FrameCount,
}

/// The duration of a packet in samples, after checking all of its framing (RFC 6716 §3.1, §3.2, §3.4).
pub fn packet_duration(packet: &[u8]) -> Result<usize, super::CodecError> {
    let (&toc, body) = packet.split_first().ok_or(PacketError::Empty)?;
    let frames = match toc & 0b11 {
        0 => one_frame(body)?,
        1 => two_equal_frames(body)?,
        2 => two_frames(body)?,
        _ => many_frames(body, frame_samples(toc))?,
    };
    Ok(frames * frame_samples(toc))
}

/// True for a packet that holds no audio: what an encoder with DTX makes of a pause, and need not be sent.
pub fn is_silence(packet: &[u8]) -> bool {
    packet.len() <= 2
}

/// Samples of each frame, from the TOC byte's configuration (RFC 6716 §3.1, table 2).
fn frame_samples(toc: u8) -> usize {
    let configuration = usize::from(toc >> 3);
    match configuration {
        // SILK: 10, 20, 40, 60 ms.
        0..12 => [480, 960, 1920, 2880][configuration % 4],
        // Hybrid: 10, 20 ms.
        12..16 => [480, 960][configuration % 2],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][configuration % 4],
    }
}

fn one_frame(body: &[u8]) -> Result<usize, PacketError> {
    check_frame(body.len())?;
    Ok(1)
}

fn two_equal_frames(body: &[u8]) -> Result<usize, PacketError> {
    if !body.len().is_multiple_of(2) {
        return Err(PacketError::Lengths);
    }
    check_frame(body.len() / 2)?;
    Ok(2)
}

fn two_frames(body: &[u8]) -> Result<usize, PacketError> {
    let (first, rest) = read_length(body)?;
    let second = rest.len().checked_sub(first).ok_or(PacketError::Lengths)?;
    check_frame(second)?;
    Ok(2)
}

fn many_frames(body: &[u8], frame_samples: usize) -> Result<usize, PacketError> {
    let (&head, mut body) = body.split_first().ok_or(PacketError::Lengths)?;
    let (variable, padded, count) = (head & 0x80 != 0, head & 0x40 != 0, usize::from(head & 0x3f));
    if count == 0 || count * frame_samples > MAX_PACKET_SAMPLES {
        return Err(PacketError::FrameCount);
    }
    if padded {
        body = strip_padding(body)?;
    }
    if !variable {
        if !body.len().is_multiple_of(count) {
            return Err(PacketError::Lengths);
        }
        check_frame(body.len() / count)?;
        return Ok(count);
    }
    let mut frames_bytes = 0;
    for _ in 1..count {
        let (length, rest) = read_length(body)?;
        frames_bytes += length;
        body = rest;
    }
    let last = body
        .len()
        .checked_sub(frames_bytes)
        .ok_or(PacketError::Lengths)?;
    check_frame(last)?;
    Ok(count)
}

/// Takes the padding's length off the front and the padding off the end (RFC 6716 §3.2.5).
fn strip_padding(mut body: &[u8]) -> Result<&[u8], PacketError> {
    let mut padding = 0;
    loop {
        let (&byte, rest) = body.split_first().ok_or(PacketError::Lengths)?;
        body = rest;
        // 255 says: 254 bytes, and another length byte.
        padding += usize::from(byte.min(254));
        if byte != 255 {
            break;
        }
    }
    let kept = body
        .len()
        .checked_sub(padding)
        .ok_or(PacketError::Lengths)?;
    Ok(&body[..kept])
}

/// A frame's length of one or two bytes (RFC 6716 §3.2.1), and what follows it.
fn read_length(body: &[u8]) -> Result<(usize, &[u8]), PacketError> {
    match *body {
        [first @ 0..252, ref rest @ ..] => Ok((usize::from(first), rest)),
        [first, second, ref rest @ ..] => Ok((usize::from(second) * 4 + usize::from(first), rest)),
        _ => Err(PacketError::Lengths),
    }
}

fn check_frame(bytes: usize) -> Result<(), PacketError> {
    if bytes > MAX_FRAME_BYTES {
        return Err(PacketError::FrameTooLong);
    }
    Ok(())
}
