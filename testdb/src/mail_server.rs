//! A mail server on a free port of 127.0.0.1 that keeps the letters it takes.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A letter as it was handed in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The address of the envelope.
    pub to: String,
    /// Headers and text, with lines that end in `\n`.
    pub content: String,
}

/// A mail server. It ends with the program.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    letters: Receiver<Received>,
}

impl MailServer {
    /// Starts one that refuses as many letters with these codes, one each, before it takes some.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn start(refusals: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (taken, letters) = mpsc::channel();
        std::thread::Builder::new()
            .name("mail server".into())
            .spawn(move || {
                let refusals = Arc::new(Mutex::new(refusals.into_iter()));
                for stream in listener.incoming().flatten() {
                    let (refusals, taken) = (refusals.clone(), taken.clone());
                    // A client that goes away in the middle harms nobody.
                    std::thread::spawn(move || serve(&stream, &refusals, &taken));
                }
            })?;
        Ok(Self { port, letters })
    }

    /// Its URL for `--smtp-url`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The next letter; `None` if none comes in this time.
    pub fn next(&self, within: Duration) -> Option<Received> {
        self.letters.recv_timeout(within).ok()
    }
}

impl Received {
    /// The first word of the text that begins with this, without it; `None` without one.
    pub fn word_after(&self, before: &str) -> Option<&str> {
        self.content.split_once(before)?.1.split_whitespace().next()
    }
}

/// The letter with its text as it was before it was made of short lines of ASCII (RFC 2045, section 6.7).
fn decoded(content: &str) -> String {
    if !content.contains("Content-Transfer-Encoding: quoted-printable") {
        return content.to_owned();
    }
    let mut bytes = Vec::new();
    let mut rest = content.replace("=\n", "").into_bytes().into_iter();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        match byte {
            b'=' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                bytes.extend(value.and_then(|value| u8::try_from(value).ok()));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn serve(
    stream: &TcpStream,
    refusals: &Mutex<std::vec::IntoIter<u16>>,
    taken: &Sender<Received>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes());
    say("220 mail.example.org")?;
    let mut to = String::new();
    while let Some(line) = lines.next() {
        let line = line?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "MAIL" => say("250 ok")?,
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1);
                to = address.unwrap_or_default().to_owned();
                let refusal = refusals
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next();
                match refusal {
                    Some(code) => say(&format!("{code} not now"))?,
                    None => say("250 ok")?,
                }
            }
            "DATA" => {
                say("354 go on")?;
                let mut content = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push('\n');
                }
                let to = std::mem::take(&mut to);
                let content = decoded(&content);
                let _ = taken.send(Received { to, content });
                say("250 ok")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 mail.example.org")?,
        }
    }
    Ok(())
}
